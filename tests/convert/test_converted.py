"""A conversion is its source: the same function up to a known error, with the layers that paper A's table 3 gives."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twofold import InputError
from twofold.convert import FORMS, Converted, to_gated_rnn, to_gru, to_lru, to_lstm
from twofold.layers import GRU, LRU, LSTM, GatedRNN, LinearSelfAttention

TOKENS = 256
INPUT_BOUND = 4.0
TARGETS = {  # how; which layers; how many of them for attention and for a gated RNN; largest error in float64, float32
    "LRU, out": (partial(to_lru, gating="out"), LRU, (2, 2), (1e-8, 1e-2)),
    "LRU, in-out": (partial(to_lru, gating="in-out"), LRU, (1, 1), (1e-8, 1e-2)),
    "LRU, in-skip": (partial(to_lru, gating="in-skip"), LRU, (1, 2), (1e-8, 1e-2)),
    "LSTM": (to_lstm, LSTM, (1, 2), (1e-6, 1e-2)),
    "GRU": (
        to_gru,
        GRU,
        (3, 5),
        (1e-6, 2e-1),
    ),  # in float32 the last bits of tanh matter, which processors round differently
}
every_target = pytest.mark.parametrize("target", TARGETS)


def attention(d=4, out=4, heads=1, key_size=None, seed=0):
    return LinearSelfAttention(d, out, num_heads=heads, key_size=key_size, key=jax.random.key(seed))


def rnn(d=4, out=4, n=9, g=7, lam=None):
    random = GatedRNN(d, out, hidden_size=n, gate_size=g, key=jax.random.key(1))
    gates = random.w_in_m, random.w_in_x, random.w_out_m, random.w_out_x, random.readout
    return random if lam is None else GatedRNN.from_weights(jnp.asarray(lam), *gates)


SOURCES = {
    "attention": attention,
    "attention, rectangular": partial(attention, 5, 2, 1, 3),
    "attention, 2 heads": partial(attention, 4, 3, 2),
    "attention, one feature": partial(attention, 1, 1),
    "gated RNN": rnn,
    "gated RNN, rectangular": partial(rnn, 3, 2),
    "gated RNN, lambda 0 and 1": partial(rnn, lam=[0.0, 1, 0, 1, 0.5, 1, 0, 0.9, 1]),
    "gated RNN of attention": lambda: to_gated_rnn(attention(), "paper"),
}
IN_FLOAT32 = "attention", "attention, 2 heads", "gated RNN, lambda 0 and 1"
"""One of each kind of weights. What is left are other shapes."""


def cast(tree, dtype):
    return jax.tree.map(lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x, tree)


@jax.jit
def run(layer, xs):
    return layer(xs)


def errors(source, network, xs):
    """Relative error over all outputs, and the largest of any entry, against the source in float64."""
    # Without its figures, which are static, a network of the same shapes is not compiled again.
    plain = Converted(network.stack.layers, network.readout, embedding=network.embedding, scale=1.0, error_bound=1.0)
    truth, ours = (np.asarray(run(layer, xs)) for layer in (cast(source, "float64"), plain))
    assert ours.dtype == network.readout.dtype
    assert ours.shape == truth.shape
    return np.linalg.norm(ours - truth) / np.linalg.norm(truth), np.max(np.abs(ours - truth))


@pytest.mark.parametrize(
    ("source", "dtype", "which"),
    [*((source, "float64", 0) for source in SOURCES), *((source, "float32", 1) for source in IN_FLOAT32)],
)
@every_target
def test_computes_the_function_of_its_source(normal, target, source, dtype, which):
    convert, kind, layers, tolerances = TARGETS[target]
    layer = cast(SOURCES[source](), dtype)
    network = convert(layer, tokens=TOKENS)
    relative, largest = errors(layer, network, normal("x", TOKENS, layer.in_size))
    assert relative < tolerances[which]
    assert largest < network.error_bound
    assert network.layers == layers[isinstance(layer, GatedRNN)]
    assert all(type(each) is kind for each in network.stack.layers)
    assert (network.in_size, network.out_size) == (layer.in_size, layer.out_size)


@every_target
@pytest.mark.parametrize("source", ["attention", "gated RNN"])
def test_error_falls_with_the_square_of_the_scale_until_rounding(normal, target, source):
    layer, convert = SOURCES[source](), TARGETS[target][0]
    xs = normal("x", TOKENS, layer.in_size)
    scales = [0.3, 0.1, 0.03, 0.01, 0.003]
    found = [errors(layer, convert(layer, scale=scale, tokens=TOKENS), xs)[0] for scale in scales]
    slopes = np.diff(np.log(found)) / np.diff(np.log(scales))
    np.testing.assert_allclose(slopes, 2, atol=0.1)
    chosen = errors(layer, convert(layer, tokens=TOKENS), xs)[0]
    far_below = errors(layer, convert(layer, scale=1e-9, tokens=TOKENS), xs)[0]
    assert chosen < found[-1] < far_below


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("source", ["attention, 2 heads", "gated RNN, lambda 0 and 1"])
@every_target
def test_error_bound_holds_for_the_largest_tokens(normal, target, source, dtype):
    layer = cast(SOURCES[source](), dtype)
    signs = np.sign(normal("signs", 2, layer.in_size))
    same, alternating = np.tile(signs[:1], (TOKENS, 1)), signs[np.arange(TOKENS) % 2]
    for scale in (None, 0.5):
        network = TARGETS[target][0](layer, tokens=TOKENS, input_bound=INPUT_BOUND, scale=scale)
        for xs in (same, alternating):
            assert errors(layer, network, INPUT_BOUND * xs)[1] <= network.error_bound


@every_target
def test_counts_for_attention(target):
    """Memories alone need neurons in the LRU; sigmoids are doubled once in LRU and GRU, twice in the LSTM."""
    d, pairs = 4, 10
    for form, memories in {"paper": d * d, "compact": pairs, "minimal": pairs}.items():
        network = TARGETS[target][0](attention(d, d), form=form, tokens=TOKENS)
        assert (
            network.neurons
            == {"LRU": memories, "LSTM": 4 * memories, "GRU": 5 * memories + 2 * d}[target[:4].strip(",")]
        )
        assert network.parameters == sum(x.size for x in jax.tree.leaves(network) if eqx.is_array(x))


@pytest.mark.parametrize("gating", ["out", "in-out", "in-skip"])
def test_low_rank_attention_needs_few_neurons(normal, gating):
    """The gradient step of in-context regression, d = 6: 9 neurons."""
    x, y = np.eye(6)[:3], np.eye(6)[3:]
    layer = LinearSelfAttention.from_weights(y / 14.8, x, x)
    network = to_lru(layer, gating, form="minimal")
    assert network.neurons == 9
    assert errors(layer, network, normal("x", TOKENS, 6))[0] < 1e-8


@every_target
@pytest.mark.parametrize("form", FORMS)
def test_zero_attention_is_converted(normal, target, form):
    layer = cast(attention(3, 2), "float64")
    layer = eqx.tree_at(lambda l: l.w_v, layer, 0 * layer.w_v)
    network = TARGETS[target][0](layer, form=form, tokens=20)
    assert np.all(np.abs(run(network, normal("x", 20, 3))) <= network.error_bound + 1e-12)


@every_target
@pytest.mark.parametrize("name", ["scale", "input_bound", "tokens"])
@pytest.mark.parametrize("bad", [-1, 0, np.nan, np.inf])
def test_numbers_that_are_not_positive_are_named(unchecked, target, name, bad):
    with pytest.raises(InputError, match=f"{name} is {bad}; it must be positive and finite"):
        TARGETS[target][0](attention(), **({"tokens": TOKENS} | {name: bad}))


@every_target
def test_sources_that_cannot_be_converted_are_named(unchecked, target):
    convert = partial(TARGETS[target][0], tokens=TOKENS)
    dense = GatedRNN(3, 2, recurrence="dense", key=jax.random.key(0))
    with pytest.raises(InputError, match="has a dense recurrence"):
        convert(dense)
    with pytest.raises(InputError, match="the source is a LSTM"):
        convert(LSTM(3, 2, key=jax.random.key(0)))
    lost = eqx.tree_at(lambda r: r.recurrent, rnn(), rnn().recurrent.at[2].set(np.nan))
    with pytest.raises(InputError, match="lambda contains nan"):
        convert(lost)
    with pytest.raises(InputError, match="w_out_x contains inf"):
        convert(eqx.tree_at(lambda r: r.w_out_x, rnn(), rnn().w_out_x.at[0, 0].set(np.inf)))
    with pytest.raises(InputError, match="w_k contains nan"):
        convert(eqx.tree_at(lambda a: a.w_k, attention(), attention().w_k.at[0, 0, 0].set(np.nan)))
    with pytest.raises(InputError, match="unknown form 'tiny'"):
        convert(attention(), form="tiny")


def test_unknown_gating_is_named(unchecked):
    with pytest.raises(InputError, match="unknown gating 'both'; the gatings are out, in-out, in-skip"):
        to_lru(attention(), "both")


def test_no_gru_is_attention_at_every_length():
    for source in (attention(), rnn()):
        with pytest.raises(InputError, match=r"no GRU computes .* at every length: its state stays in \(-1, 1\)"):
            to_gru(source)


def test_gru_leaves_the_linear_range_beyond_its_tokens(normal):
    """Made for 16 tokens, of a large state, it fails where its running sums have grown a thousandfold."""
    layer = attention()
    network = to_gru(layer, tokens=16)
    xs = 4 * np.ones((4096, 4))
    truth, ours = run(layer, xs), run(network, xs)
    relative = np.linalg.norm(ours - truth, axis=1) / np.linalg.norm(truth, axis=1)
    assert np.all(relative[:16] < 1e-6)
    assert np.all(np.diff(np.log(relative[[64, 256, 1024, 4095]])) > 0)
