"""Attention as a gated RNN: the same function, in exactly as many neurons as each form promises."""

import jax
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from twofold.convert import FORMS, to_gated_rnn
from twofold.errors import InputError
from twofold.layers import LinearSelfAttention

run = jax.jit(lambda layer, xs: layer(xs))

SIZES, RANKS = st.integers(1, 5), st.tuples(*[st.integers(1, 5)] * 3)
every_form = pytest.mark.parametrize("form", FORMS)


@pytest.fixture(scope="session")
def random_attention(normal):
    """`random_attention(in_size, out_size, key_size, heads, ranks, dtype)`: products of normal factors of these ranks."""

    def draw(in_size, out_size, key_size, heads=1, ranks=(5, 5, 5), dtype=np.float64):
        def weight(name, rows, rank):
            inner = min(rank, rows, in_size)
            return normal(f"{name} left", heads, rows, inner) @ normal(f"{name} right", heads, inner, in_size)

        weights = map(weight, ("V", "K", "Q"), (out_size, key_size, key_size), ranks)
        return LinearSelfAttention.from_weights(*(w.astype(dtype) for w in weights))

    return draw


def assert_same_function(attention, rnn, normal, assert_close):
    """Over 1,000 tokens, and in the same dtype."""
    xs = normal("x", 1000, attention.in_size, dtype=attention.w_v.dtype)
    assert (rnn.in_size, rnn.out_size) == (attention.in_size, attention.out_size)
    assert {x.dtype for x in jax.tree.leaves(rnn)} == {attention.w_v.dtype}
    assert_close(run(rnn, xs), run(attention, xs))


def counts(rnn):
    """Memory neurons, query neurons, gate rows; memories come first, and there are no other neurons."""
    lam = np.asarray(rnn.lam)
    memories = int(np.sum(lam == 1))
    assert lam.tolist() == [1] * memories + [0] * (rnn.hidden_size - memories)
    return memories, rnn.hidden_size - memories, rnn.gate_size


def bilinear(attention):
    """B = W_K^T W_Q of each head."""
    return np.einsum("hki,hkj->hij", *(np.asarray(w, np.float64) for w in (attention.w_k, attention.w_q)))


def rank(matrix, eps):
    return int(np.linalg.matrix_rank(matrix, rtol=30 * eps)) if matrix.size else 0


def dimensions(attention):
    """Of the family sym(l u^T), l a row of W_V and u a column of B, over all heads; and of all queries B x."""
    eps = np.finfo(attention.w_v.dtype).eps
    products = np.einsum("hoi,hjk->hokij", np.asarray(attention.w_v, np.float64), bilinear(attention))
    family = (products + products.swapaxes(3, 4)).reshape(-1, attention.in_size**2)
    return rank(family, eps), rank(bilinear(attention).reshape(-1, attention.in_size), eps)


@settings(max_examples=8)
@given(
    in_size=SIZES,
    out_size=SIZES,
    key_size=SIZES,
    heads=st.integers(1, 3),
    ranks=RANKS,
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_every_form_computes_the_same_function(
    random_attention, normal, assert_close, in_size, out_size, key_size, heads, ranks, dtype
):
    attention = random_attention(in_size, out_size, key_size, heads, ranks, dtype)
    for form in FORMS:
        assert_same_function(attention, to_gated_rnn(attention, form), normal, assert_close)


@given(d=SIZES, r_v=SIZES)
def test_paper_form_has_a_neuron_a_pair_and_a_query(random_attention, d, r_v):
    assert counts(to_gated_rnn(random_attention(d, d, d, ranks=(r_v, d, d)), "paper")) == (d * d, d, d * d)


@given(d=SIZES, r_v=SIZES)
def test_compact_form_has_a_neuron_an_unordered_pair_and_a_query(random_attention, d, r_v):
    """For a singular W_V too."""
    pairs = d * (d + 1) // 2
    assert counts(to_gated_rnn(random_attention(d, d, d, ranks=(r_v, d, d)), "compact")) == (pairs, d, pairs)


@given(in_size=SIZES, out_size=SIZES, key_size=SIZES, heads=st.integers(1, 3))
def test_each_head_has_its_own_queries_and_rows(random_attention, in_size, out_size, key_size, heads):
    """And in the compact form all share the memories."""
    attention, pairs = random_attention(in_size, out_size, key_size, heads), in_size * (in_size + 1) // 2
    each = heads * out_size * key_size
    assert counts(to_gated_rnn(attention, "paper")) == (each, heads * key_size, each)
    assert counts(to_gated_rnn(attention, "compact")) == (pairs, heads * in_size, heads * pairs)


def attention_of_ranks(normal, r_v, r_b, k, dtype):
    """d = 5; the row space of W_V (rank r_v) and the column space of B (rank r_b) share k dimensions, by construction."""
    basis = np.linalg.qr(normal("basis", 5, 5))[0]
    directions_v, directions_b = basis[:r_v], basis[r_v - k : r_v - k + r_b]
    w_v = normal("P", 5, r_v) @ directions_v
    w_k, w_q = normal("K", 4, r_b) @ directions_b, normal("Q", 4, 5)
    return LinearSelfAttention.from_weights(*(w.astype(dtype) for w in (w_v, w_k, w_q)))


@settings(max_examples=20)
@given(r_v=SIZES, r_b=st.integers(1, 4), k=st.integers(0, 4), dtype=st.sampled_from(["float32", "float64"]))
def test_minimal_form_has_as_few_memories_as_ranks_allow(normal, r_v, r_b, k, dtype):
    """Ranks are recognised in float32, where rounding makes every matrix one of full rank."""
    assume(max(0, r_v + r_b - 5) <= k <= min(r_v, r_b))
    attention = attention_of_ranks(normal, r_v, r_b, k, dtype)
    memories = r_v * r_b - k * (k - 1) // 2
    assert counts(to_gated_rnn(attention, "minimal")) == (memories, r_b, memories)
    assert dimensions(attention) == (memories, r_b)


@settings(max_examples=30)
@given(in_size=SIZES, out_size=SIZES, key_size=SIZES, heads=st.integers(1, 3), ranks=RANKS)
def test_minimal_form_has_the_dimensions_of_what_it_must_hold(
    random_attention, in_size, out_size, key_size, heads, ranks
):
    """Over all heads: memories the dimension of the family sym(l u^T), queries that of all B x."""
    attention = random_attention(in_size, out_size, key_size, heads, ranks)
    assert counts(to_gated_rnn(attention, "minimal"))[:2] == dimensions(attention)


def test_equal_heads_cost_nothing_more(random_attention):
    one = random_attention(4, 3, 2)
    two = LinearSelfAttention.from_weights(*(np.concatenate([w, w]) for w in (one.w_v, one.w_k, one.w_q)))
    assert counts(to_gated_rnn(two, "minimal"))[:2] == counts(to_gated_rnn(one, "minimal"))[:2]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradient_descent_needs_9_and_3_neurons(normal, assert_close, dtype):
    """d = 6, tokens (x, y): W_V reads y, W_K and W_Q read x, so that outputs are a gradient step's predictions."""
    x, y = np.eye(6, dtype=dtype)[:3], np.eye(6, dtype=dtype)[3:]
    attention = LinearSelfAttention.from_weights(y / 14.8, x, x)
    rnn = to_gated_rnn(attention, "minimal")
    assert counts(rnn) == (9, 3, 9)
    assert_same_function(attention, rnn, normal, assert_close)


@every_form
@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("zero", ["VKQ", "V", "K", "Q"])
def test_zero_attention_is_converted(random_attention, normal, assert_close, form, heads, zero):
    source = random_attention(3, 2, 2, heads)
    weights = {"V": source.w_v, "K": source.w_k, "Q": source.w_q}
    attention = LinearSelfAttention.from_weights(*(0 * w if name in zero else w for name, w in weights.items()))
    assert_same_function(attention, to_gated_rnn(attention, form), normal, assert_close)


@every_form
def test_head_of_zeros_is_converted(random_attention, normal, assert_close, form):
    source = random_attention(3, 2, 2, 2)
    attention = LinearSelfAttention.from_weights(source.w_v.at[1].set(0), source.w_k.at[1].set(0), source.w_q)
    assert_same_function(attention, to_gated_rnn(attention, form), normal, assert_close)


def test_unknown_form_is_named(random_attention):
    with pytest.raises(InputError, match="unknown form 'tiny'; the forms are paper, compact, minimal"):
        to_gated_rnn(random_attention(3, 2, 2), "tiny")


@every_form
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["w_v", "w_k", "w_q"])
def test_weights_that_are_not_finite_are_named(random_attention, form, name, bad):
    source = random_attention(3, 2, 2)
    weights = {name: getattr(source, name) for name in ("w_v", "w_k", "w_q")}
    weights[name] = weights[name].at[0, 1, 1].set(bad)
    with pytest.raises(InputError, match=f"{name} contains {bad}"):
        to_gated_rnn(LinearSelfAttention.from_weights(**weights), form)
