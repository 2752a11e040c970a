"""The nearest attention of any layer: attention comes back from every architecture, and what is no attention explains nothing."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twofold.convert import to_gated_rnn, to_gru, to_lru, to_lstm
from twofold.discover import decompile, nearest_attention
from twofold.errors import InputError
from twofold.layers import GRU, LRU, LSTM, GatedRNN, LinearSelfAttention, Stack
from twofold.layers.layer import Layer
from twofold.models import SequenceModel
from twofold.tasks.students.in_context_regression import gradient_step, optimal_step, sample_tasks

KEY = jax.random.key(0)
ONE = partial(LinearSelfAttention, 4, 3)
TWO = partial(LinearSelfAttention, 4, 4, num_heads=2)
CONVERSIONS = {
    "gated RNN": to_gated_rnn,
    "LRU": to_lru,
    "LRU In-Skip": partial(to_lru, gating="in-skip"),
    "LSTM": to_lstm,
    "GRU": partial(to_gru, tokens=256),
}


@jax.jit
def run(layer, xs):
    return jax.vmap(layer)(xs)


def outputs(layer, xs):
    return np.asarray(run(layer, xs), np.float64)


def difference(a, b):
    """Relative, over random tokens."""
    xs = jax.random.normal(jax.random.key(7), (64, 32, b.in_size))
    a, b = outputs(a, xs), outputs(b, xs)
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def share(attention, layer):
    """What the attention explains of the layer, on new tokens."""
    xs = jax.random.normal(jax.random.key(9), (300, 32, layer.in_size))
    y, other = outputs(layer, xs), outputs(attention, xs)
    return 1 - np.sum((y - other) ** 2) / np.sum((y - y.mean((0, 1))) ** 2)


@pytest.mark.parametrize(("source", "dtype"), [(ONE, "float64"), (TWO, "float32")], ids=["one head", "two heads"])
@pytest.mark.parametrize("conversion", CONVERSIONS)
def test_conversions_come_back_to_their_error(conversion, source, dtype):
    source = source(dtype=dtype, key=KEY)
    converted = CONVERSIONS[conversion](source)
    error = difference(converted, source)
    found = nearest_attention(converted)
    assert difference(found.attention, source) < 3 * error + 10 * float(np.finfo(dtype).eps)
    assert found.attention.num_heads == source.num_heads
    assert {x.dtype for x in jax.tree.leaves(found.attention)} == {np.dtype(dtype)}
    unexplained = 10 * error**2 + 100 * float(np.finfo(dtype).eps) ** 2 + 1e-15
    assert 1 - unexplained < found.explained <= 1
    assert found.explained_longer > 0.9999
    assert "over 32 tokens" in found.report
    assert "Over 256 tokens" in found.report


@pytest.mark.parametrize("kind", [LSTM, GRU])
def test_random_layers_have_next_to_none(kind):
    found = nearest_attention(kind(4, 4, key=KEY))
    assert found.explained < 0.05
    assert found.explained_longer < 0.05


@pytest.mark.parametrize("change", [0.0, 1e-3, 1e-2])
@pytest.mark.parametrize("heads", [1, 2])
def test_gated_rnns_have_the_attention_that_decompile_finds(normal, change, heads):
    source = to_gated_rnn(LinearSelfAttention(4, 4, num_heads=heads, key=KEY), "compact")
    weights = [np.asarray(w) for w in (source.w_in_m, source.w_in_x, source.w_out_m, source.w_out_x, source.readout)]
    weights = [w + change * normal(f"change {i}", *w.shape) for i, w in enumerate(weights)]
    rnn = GatedRNN.from_weights(np.clip(source.lam, change / 10, 1 - change / 10), *weights)
    expected, found = decompile(rnn, max_heads=heads), nearest_attention(rnn, max_heads=heads)
    assert difference(found.attention, expected.attention) < 0.5 * expected.residual + 1e-12
    explained, also = share(found.attention, rnn), share(expected.attention, rnn)
    assert 1 - explained == pytest.approx(1 - also, rel=0.1, abs=1e-14)
    assert 1 - found.explained == pytest.approx(1 - explained, rel=0.5, abs=1e-14)


def test_fewer_heads_explain_less_and_are_the_nearest():
    source = LinearSelfAttention(4, 4, num_heads=4, key=KEY)
    found = [nearest_attention(source, max_heads=heads) for heads in (1, 2, None)]
    assert [f.attention.num_heads for f in found] == [1, 2, 4]
    shares = [f.explained for f in found]
    assert sorted(shares) == shares
    assert shares[0] < 0.9
    assert shares[-1] == pytest.approx(1)
    first_head = jax.tree.map(lambda w: w[:1], source)  # any other attention of one head explains less
    assert shares[0] > share(first_head, source)


class Scaled(Layer[tuple]):
    """c_out * layer(c_in * x)."""

    layer: Layer
    c_in: jax.Array
    c_out: jax.Array
    in_size = property(lambda self: self.layer.in_size)
    out_size = property(lambda self: self.layer.out_size)

    def init_state(self):
        return self.layer.init_state()

    def prefill(self, state, xs, *, resets=None):
        state, ys = self.layer.prefill(state, self.c_in * jnp.asarray(xs), resets=resets)
        return state, self.c_out * ys


@pytest.mark.parametrize(("c_in", "c_out"), [(1e-3, 1e4), ([1e-4, 1.0, 1e4], 1e-20)])
def test_units_do_not_matter(c_in, c_out):
    layer = LRU(3, 2, gating="in-out", key=KEY)
    xs = np.asarray(jax.random.normal(jax.random.key(1), (400, 12, 3)))
    c_in = jnp.asarray(c_in, xs.dtype)
    found = nearest_attention(layer, xs, max_heads=1)
    scaled = nearest_attention(Scaled(layer, 1 / c_in, jnp.asarray(c_out, xs.dtype)), xs * c_in, max_heads=1)
    assert 0.1 < found.explained < 0.99
    assert scaled.explained == pytest.approx(found.explained, rel=1e-6)
    assert difference(Scaled(scaled.attention, c_in, jnp.asarray(1 / c_out)), found.attention) < 1e-4


def test_dependent_tokens_and_the_last_output_alone():
    """In-context regression: y = W x in every token, and the answer is read at the question, where y is 0."""
    step = gradient_step(optimal_step(12, 2), 2, 2)
    xs, longer = (np.asarray(sample_tasks(jax.random.key(i), 2000, time=12, in_size=2, out_size=2)[0]) for i in (0, 1))
    found = nearest_attention(to_lru(step), xs, longer=longer, last=True)
    assert found.attention.num_heads == 1
    assert 1 - found.explained < 1e-12
    assert 1 - found.explained_longer < 1e-12


def test_models_with_embedding_and_readout():
    """A stack of LRUs of another width, between linear maps."""

    class Model(Layer[tuple]):
        embedding: eqx.nn.Linear
        stack: Stack
        readout: eqx.nn.Linear
        in_size, out_size = 3, 2

        def init_state(self):
            return self.stack.init_state()

        def prefill(self, state, xs, *, resets=None):
            state, ys = self.stack.prefill(state, jax.vmap(self.embedding)(jnp.asarray(xs)), resets=resets)
            return state, jax.vmap(self.readout)(ys)

    keys = jax.random.split(KEY, 4)
    stack = Stack([LRU(8, 8, gating="in-out", key=k) for k in keys[:2]])
    model = Model(eqx.nn.Linear(3, 8, key=keys[2]), stack, eqx.nn.Linear(8, 2, key=keys[3]))
    assert nearest_attention(model).explained < 0.9


def test_without_longer_sequences_nothing_is_said_of_them():
    found = nearest_attention(ONE(key=KEY), np.asarray(jax.random.normal(KEY, (40, 16, 4))))
    assert found.explained == pytest.approx(1)
    assert (found.explained_longer, found.longer_tokens, found.tokens) == (None, None, 16)
    assert found.report.count("tokens") == 1


BAD = {
    "one sequence": (ONE(key=KEY), {"xs": np.ones((1, 5, 4))}, r"xs has the shape \(1, 5, 4\).*at least 2 sequences"),
    "no batch": (ONE(key=KEY), {"xs": np.ones((5, 4))}, r"xs has the shape \(5, 4\)"),
    "no token": (ONE(key=KEY), {"xs": np.ones((5, 0, 4))}, r"xs has the shape"),
    "other size": (ONE(key=KEY), {"xs": np.ones((5, 5, 3))}, r"\(sequences, time, 4\)"),
    "longer": (ONE(key=KEY), {"longer": np.ones((5, 5, 3))}, r"longer has the shape \(5, 5, 3\)"),
    "nan": (ONE(key=KEY), {"xs": np.full((5, 5, 4), np.nan)}, "xs contains nan"),
    "complex": (ONE(key=KEY), {"xs": np.ones((5, 5, 4), complex)}, "complex128; it must hold real"),
    "heads": (ONE(key=KEY), {"max_heads": 0}, "max_heads is 0"),
    "weights": (jax.tree.map(lambda w: w * np.nan, ONE(key=KEY)), {}, "outputs of the layer contain nan"),
    "constant": (jax.tree.map(lambda w: w * 0, ONE(key=KEY)), {}, "same for every token"),
    "marks": (SequenceModel(3, 2, reads="marks", key=KEY), {}, "reads marks"),
    "wide": (LSTM(17, 2, key=KEY), {}, "takes 17 features; it must take at most 16"),
    "no layer": (np.ones(3), {}, "the layer is a ndarray"),
}


@pytest.mark.parametrize("bad", BAD)
def test_what_cannot_be_analysed_is_named(unchecked, bad):
    layer, arguments, message = BAD[bad]
    with pytest.raises(InputError, match=message):
        nearest_attention(layer, **arguments)
