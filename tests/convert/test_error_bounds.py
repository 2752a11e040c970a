"""The error bounds of conversions hold, in the dtype of the network, for random sources, lengths, bounds and scales."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from twofold import InputError
from twofold.convert import Converted, to_gated_rnn, to_gru, to_lru, to_lstm
from twofold.forms import exact_outputs
from twofold.layers import GatedRNN, LinearSelfAttention

CONVERSIONS = {
    "LRU, out": partial(to_lru, gating="out"),
    "LRU, in-out": partial(to_lru, gating="in-out"),
    "LRU, in-skip": partial(to_lru, gating="in-skip"),
    "LSTM": to_lstm,
    "GRU": to_gru,
}
LENGTHS = (1, 2, 5, 32, 200, 1024)
LOOSE = 1e3
"""`error_on` is at most so many times what is measured."""


def random_source(rng, dtype, kind):
    """Attention of which one singular value may be small, or a gated RNN: of attention with perturbed weights, or random."""
    w_v, w_k, w_q = rng.normal(size=(3, 3, 3)) * 10 ** rng.uniform(-1, 1)
    w_k[-1] *= 10 ** rng.uniform(-18, 0)
    attention = LinearSelfAttention.from_weights(*(jnp.asarray(w, dtype) for w in (w_v, w_k, w_q)))
    if kind == "attention":
        return attention
    rnn = to_gated_rnn(attention)
    lam, *gates = (
        np.array(getattr(rnn, name)) for name in ("lam", "w_in_m", "w_in_x", "w_out_m", "w_out_x", "readout")
    )
    change = 10 ** rng.uniform(-7, 0)
    lam = np.abs(lam - change * rng.random(lam.shape))
    weights = lam, *(w + change * rng.normal(size=w.shape) for w in gates)
    return GatedRNN.from_weights(*(jnp.asarray(w, dtype) for w in weights))


def sequences(rng, largest):
    """Random tokens, and the largest: one again and again, and with changing signs."""
    xs = rng.uniform(-1, 1, (3, LENGTHS[-1], 3))
    xs[1] = np.sign(xs[1, 0])
    xs[2] = np.sign(xs[2, 0]) * (-1.0) ** np.arange(LENGTHS[-1])[:, None]
    return largest * xs


def plain(network):
    """Without its figures, which are static, a network of the same shapes is not compiled again."""
    return Converted(network.stack.layers, network.readout, embedding=network.embedding, scale=1.0, error_bound=1.0)


@jax.jit
def prefilled(layer, xs):
    return jax.vmap(layer)(xs)


@jax.jit
def stepped(layer, xs):
    return jax.vmap(lambda xs: lax.scan(lambda state, x: layer.step(state, x), layer.init_state(), xs)[1])(xs)


def measured(target, kind, dtype, seed, run=prefilled):
    """The error bound, and the largest error over each of the sequences."""
    rng = np.random.default_rng([seed, *f"{target}{kind}{dtype}".encode()])
    tokens, largest = int(rng.choice(LENGTHS)), 10 ** rng.uniform(-1, 1)
    source = random_source(rng, dtype, kind)
    scale = None if rng.random() < 0.7 else 10 ** rng.uniform(-3, 0)
    network = CONVERSIONS[target](source, tokens=tokens, input_bound=largest, scale=scale)
    xs = np.asarray(sequences(rng, largest), dtype)
    exact = exact_outputs(source, np.asarray(xs[:, :tokens], np.float64))[0]
    ours = np.asarray(run(plain(network), xs), np.float64)[:, :tokens]
    return network.error_bound, np.max(np.abs(ours - exact), (1, 2))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["attention", "gated RNN"])
@pytest.mark.parametrize("target", CONVERSIONS)
@pytest.mark.parametrize("networks", [6, pytest.param(170, marks=pytest.mark.long)])
def test_error_bound_is_never_violated(networks, target, kind, dtype):
    """For each network there are three cases: one for each sequence."""
    bounds, errors = map(np.array, zip(*(measured(target, kind, dtype, seed) for seed in range(networks)), strict=True))
    ratios = bounds[:, None] / np.maximum(errors, 1e-300)
    worst = np.min(ratios, 1)
    print(f"{target} {kind} {dtype}: {ratios.size} cases, bound / measured: least {np.min(ratios):.3g},", end=" ")
    print(f"over the sequence that is worst: median {np.median(worst):.3g}, worst {np.max(worst):.3g}")
    assert np.all(errors <= bounds[:, None])


@pytest.mark.parametrize(("kind", "dtype"), [("attention", "float32"), ("gated RNN", "float64")])
@pytest.mark.parametrize("target", CONVERSIONS)
def test_error_on_given_tokens_is_certified(target, kind, dtype):
    """It holds for the outputs, and beside them for steps and for compiled programs, whose rounding is another one."""
    rng = np.random.default_rng([*f"on {target}{kind}{dtype}".encode()])
    source = random_source(rng, dtype, kind)
    network = CONVERSIONS[target](source, tokens=100)
    xs = np.asarray(rng.normal(size=(100, 3)), dtype)
    bound = network.error_on(source, xs)
    exact = exact_outputs(source, np.asarray(xs[None], np.float64))[0][0]
    error = np.max(np.abs(np.asarray(network(xs), np.float64) - exact))
    assert error <= bound <= min(LOOSE * error, network.error_bound)
    for run in (prefilled, stepped):
        again = np.max(np.abs(np.asarray(run(plain(network), xs[None]), np.float64)[0] - exact))
        print(f"{target} {kind} {dtype}, {run.__name__}: certified / measured {bound / again:.3g}")
        assert again < 5 * bound


def test_tokens_that_do_not_fit_are_named():
    source = LinearSelfAttention(3, 3, key=jax.random.key(0))
    with pytest.raises(InputError, match="takes tokens of 3 features"):
        to_lru(source).error_on(source, np.ones((5, 2)))
