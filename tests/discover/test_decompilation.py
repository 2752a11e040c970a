"""Decompiling a conversion gives back the attention, whatever its weights were hidden by; a random RNN gives nothing."""

from functools import partial

import equinox as eqx
import jax
import numpy as np
import pytest

from twofold.convert import FORMS, to_gated_rnn
from twofold.discover import decompile
from twofold.errors import InputError
from twofold.layers import GatedRNN, LinearSelfAttention

KEY = jax.random.key(0)
ATTENTIONS = {
    "d = 4": partial(LinearSelfAttention, 4, 4),
    "two heads": partial(LinearSelfAttention, 4, 4, num_heads=2, key_size=3),
    "two heads, rectangular": partial(LinearSelfAttention, 3, 2, num_heads=2, key_size=1),
    "wide": partial(LinearSelfAttention, 5, 2),
    "one feature": partial(LinearSelfAttention, 1, 1),
}
every_attention = pytest.mark.parametrize("attention", ATTENTIONS)


def cast(tree, dtype):
    return jax.tree.map(lambda x: x.astype(dtype), tree)


@jax.jit
def outputs(layer, xs):
    return layer(xs)


def difference(a, b):
    """Relative, over random tokens, in float64."""
    xs = jax.random.normal(jax.random.key(7), (100, b.in_size))
    a, b = (np.asarray(outputs(cast(layer, "float64"), xs)) for layer in (a, b))
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-6)])
@pytest.mark.parametrize("form", FORMS)
@every_attention
def test_hidden_conversion_gives_back_the_attention(corrupted, attention, form, dtype, tolerance):
    source = ATTENTIONS[attention](key=KEY)
    hidden = cast(corrupted(to_gated_rnn(source, form)), dtype)
    found = decompile(hidden)
    assert difference(found.attention, source) < tolerance
    assert found.residual < tolerance
    assert {x.dtype for x in jax.tree.leaves(found.attention)} == {np.dtype(dtype)}
    assert found.attention.num_heads <= source.num_heads
    assert found.report.startswith("attention with")


def test_branches_of_gates_may_be_exchanged():
    """Some rows of both gates: memories and queries then stand in either branch."""
    source = LinearSelfAttention(3, 3, key=KEY)
    rnn = to_gated_rnn(source)
    w_in_m, w_in_x, w_out_m, w_out_x = (np.array(w) for w in (rnn.w_in_m, rnn.w_in_x, rnn.w_out_m, rnn.w_out_x))
    for m, x in ((w_in_m, w_in_x), (w_out_m, w_out_x)):
        m[::2], x[::2] = x[::2].copy(), m[::2].copy()
    found = decompile(GatedRNN.from_weights(rnn.lam, w_in_m, w_in_x, w_out_m, w_out_x, rnn.readout))
    assert max(found.residual, found.from_degree) < 1e-10
    assert difference(found.attention, source) < 1e-10


@pytest.mark.parametrize("heads", [1, 2])
def test_eight_features(corrupted, heads):
    source = LinearSelfAttention(8, 8, num_heads=heads, key_size=3, key=KEY)
    found = decompile(corrupted(to_gated_rnn(source, "minimal")))
    assert difference(found.attention, source) < 1e-10
    # Several heads come as mixtures of each other, whose ranks add up.
    assert (found.attention.num_heads, found.attention.w_k.shape[1]) == (heads, 3 * heads)


def test_small_second_head_is_found():
    """Of a thousandth of the other's size: no tolerance stands between it and the residual."""
    one, two = (LinearSelfAttention(3, 3, key=jax.random.key(i)) for i in range(2))
    weights = [np.concatenate([getattr(one, w), getattr(two, w)]) for w in ("w_v", "w_k", "w_q")]
    weights[0][1] *= 1e-3
    source = LinearSelfAttention.from_weights(*weights)
    found = decompile(to_gated_rnn(source))
    assert found.attention.num_heads == 2
    assert difference(found.attention, source) < 1e-10


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("small", [1.1, 20.0, 1e3])
def test_a_rank_above_rounding_is_kept(small, dtype):
    """The smallest singular value of B, relative to the largest, is so many times 100 eps. A thousandth of eps is cut."""
    eps = float(np.finfo(dtype).eps)
    left, right = (np.linalg.qr(np.asarray(jax.random.normal(jax.random.key(i), (3, 3))))[0] for i in range(2))
    source = LinearSelfAttention(3, 3, key=KEY)
    for value, kept in ((100 * eps * small, 3), (1e-3 * eps, 2)):
        w_k, w_q = np.diag([1, 0.5, value]) @ left, right
        exact = LinearSelfAttention.from_weights(*(np.asarray(w, dtype) for w in (source.w_v[0], w_k, w_q)))
        found = decompile(to_gated_rnn(exact))
        assert found.attention.w_k.shape[1] == kept
        assert found.residual < 20 * eps


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_residual_is_that_of_the_layers_as_they_run(corrupted, dtype):
    rnn = cast(corrupted(to_gated_rnn(LinearSelfAttention(3, 3, key=KEY))), dtype)
    found = decompile(rnn)
    xs = jax.random.normal(jax.random.key(8), (64, 32, 3)).astype(dtype)
    run, ours = (
        np.asarray(jax.jit(jax.vmap(outputs, (None, 0)))(layer, xs), np.float64) for layer in (rnn, found.attention)
    )
    residual = np.linalg.norm(run - ours) / np.linalg.norm(run)
    np.testing.assert_allclose(found.residual, residual, rtol=0.5)
    assert 0.1 < found.residual / (found.from_cast + found.from_rounding + found.from_rank + found.from_degree) <= 1.01
    assert f"as {dtype} weights they move by" in found.report


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("lam", [None, 0.0, 1.0, (0.0, 1.0)], ids=str)
def test_random_rnn_is_not_attention(seed, lam):
    rnn = GatedRNN(3, 3, hidden_size=10, gate_size=8, key=jax.random.key(seed))
    if lam is not None:
        gates = rnn.w_in_m, rnn.w_in_x, rnn.w_out_m, rnn.w_out_x, rnn.readout
        rnn = GatedRNN.from_weights(np.resize(lam, 10), *gates)
    found = decompile(rnn)
    assert found.residual > 0.9
    assert found.report.startswith("not attention")
    assert max(found.from_lambda, found.from_degree) > 0.9


def test_nearly_perfect_lambdas_are_named_as_the_cause():
    source = to_gated_rnn(LinearSelfAttention(3, 3, key=KEY))
    gates = source.w_in_m, source.w_in_x, source.w_out_m, source.w_out_x, source.readout
    found = decompile(GatedRNN.from_weights(np.clip(source.lam, 1e-4, 0.9999), *gates))
    assert 1e-4 < found.residual <= found.from_lambda < 1e-2
    assert found.from_degree < 1e-10
    assert difference(found.attention, source) < found.from_lambda


def test_terms_of_other_degrees_are_named_as_the_cause():
    """A memory of the tokens themselves, beside those of their products."""
    source = to_gated_rnn(LinearSelfAttention(3, 3, key=KEY))
    found = decompile(eqx.tree_at(lambda r: r.w_in_x, source, source.w_in_x.at[0, -1].set(0.1)))
    assert 1e-3 < found.from_degree < 0.5
    assert found.from_lambda == 0
    assert found.residual < 2 * found.from_degree


@pytest.mark.parametrize("change", [0.0, 1e-3])
@every_attention
def test_error_bound_holds(normal, attention, change):
    source = to_gated_rnn(ATTENTIONS[attention](key=KEY))
    weights = [np.asarray(w) for w in (source.w_in_m, source.w_in_x, source.w_out_m, source.w_out_x, source.readout)]
    weights = [w + change * normal(f"change {i}", *w.shape) for i, w in enumerate(weights)]
    rnn = GatedRNN.from_weights(np.clip(source.lam, change, 1 - change), *weights)
    found = decompile(rnn)
    for tokens in (1, 5, 40):
        xs = normal("x", tokens, rnn.in_size)
        same = np.tile(xs[:1], (tokens, 1))
        for tokens_given in (xs, same):
            unit = 2 * tokens_given / np.linalg.norm(tokens_given, axis=1, keepdims=True)
            off = np.linalg.norm(outputs(rnn, unit) - outputs(found.attention, unit), axis=1)
            assert np.max(off) <= found.error_bound(2.0, tokens)


def test_rnn_of_no_function_is_no_attention():
    rnn = GatedRNN(2, 2, hidden_size=3, gate_size=2, key=KEY)
    found = decompile(eqx.tree_at(lambda r: r.readout, rnn, 0 * rnn.readout))
    assert not np.any(outputs(found.attention, np.ones((4, 2))))


@pytest.mark.parametrize("arguments", [{"time": 0}, {"max_heads": 0}])
def test_numbers_below_1_are_named(arguments):
    with pytest.raises(InputError, match=f"{next(iter(arguments))} is 0; it must be at least 1"):
        decompile(GatedRNN(2, 2, key=KEY), **arguments)


def test_what_cannot_be_analysed_is_named(unchecked):
    with pytest.raises(InputError, match="dense"):
        decompile(GatedRNN(2, 2, recurrence="dense", key=KEY))
    rnn = GatedRNN(2, 2, key=KEY)
    with pytest.raises(InputError, match="w_out_x contains nan"):
        decompile(eqx.tree_at(lambda r: r.w_out_x, rnn, rnn.w_out_x.at[0, 0].set(np.nan)))
    with pytest.raises(InputError, match="lambda contains nan"):
        decompile(eqx.tree_at(lambda r: r.recurrent, rnn, rnn.recurrent.at[0].set(np.nan)))
