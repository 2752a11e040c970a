"""The error bound of a decompilation holds for the two layers as they run, and where rounding is all it is not far off."""

from typing import NamedTuple

import jax
import numpy as np
import pytest
from jax import lax

from twofold.convert import FORMS, to_gated_rnn
from twofold.discover import decompile
from twofold.layers import GatedRNN, LinearSelfAttention

LENGTHS = (1, 2, 5, 32, 200, 1024)
LOOSE = 1e4
"""Where the network is attention to rounding, the bound is at most so many times what is measured."""


class Case(NamedTuple):
    """A conversion whose weights may be perturbed, and sequences of four sizes."""

    rnn: GatedRNN
    heads: int
    xs: np.ndarray  # (sizes, sequences, time, d)
    exact: bool


def case(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    dtype = rng.choice(["float32", "float64"])
    exact = rng.random() < 0.5
    heads, d_k = rng.choice([1, 1, 2]), rng.integers(1, 4)
    w_v, w_k, w_q = (rng.normal(size=(heads, rows, 3)) * 10 ** rng.uniform(-1, 1) for rows in (3, d_k, d_k))
    w_k[:, -1] *= 10 ** rng.uniform(-18, 0)  # A small singular value, often near the cut.
    source = LinearSelfAttention.from_weights(*(np.asarray(w, dtype) for w in (w_v, w_k, w_q)))
    return Case(
        perturbed(to_gated_rnn(source, rng.choice(list(FORMS))), 0.0 if exact else 10 ** rng.uniform(-7, -1), rng),
        int(heads),
        np.asarray(sequences(rng), dtype),
        exact,
    )


def perturbed(rnn: GatedRNN, change: float, rng, n: int = 24, g: int = 18) -> GatedRNN:
    """With noise on all weights, and on lambda in half of the networks. Zeros fill them up to one shape for all."""
    names = "lam", "w_in_m", "w_in_x", "w_out_m", "w_out_x", "readout"
    lam, *gates = (np.array(getattr(rnn, name)) for name in names)
    if rng.random() < 0.5:
        lam = np.abs(lam - change * rng.random(lam.shape))
    w_in_m, w_in_x, w_out_m, w_out_x, readout = (w + change * rng.normal(size=w.shape) for w in gates)
    more, rows = n - rnn.hidden_size, g - rnn.gate_size
    weights = (
        np.pad(lam, (0, more)),
        *(np.pad(w, [(0, more), (0, 0)]) for w in (w_in_m, w_in_x)),
        *(np.pad(w, [(0, rows), (0, more)]) for w in (w_out_m, w_out_x)),
        np.pad(readout, [(0, 0), (0, rows)]),
    )
    return GatedRNN.from_weights(*(np.asarray(w, rnn.readout.dtype) for w in weights))


def sequences(rng) -> np.ndarray:
    """Random tokens, one token again and again, and with changing signs: all of one norm, from 0.1 to 10."""
    xs = rng.normal(size=(4, 3, LENGTHS[-1], 3))
    xs[:, 1] = xs[:, 1, :1]
    xs[:, 2] = xs[:, 2, :1] * (-1.0) ** np.arange(LENGTHS[-1])[:, None]
    return xs / np.linalg.norm(xs, axis=3, keepdims=True) * 10 ** rng.uniform(-1, 1, (4, 1, 1, 1))


@jax.jit
def prefilled(layer, xs):
    return jax.vmap(jax.vmap(layer))(xs)


@jax.jit
def stepped(layer, xs):
    return jax.vmap(jax.vmap(lambda xs: lax.scan(layer.step, layer.init_state(), xs)[1]))(xs)


def ratios(seed: int, run=prefilled) -> tuple[bool, np.ndarray]:
    """Whether the network is attention to rounding, and the bound over what is measured, by size of tokens and length."""
    rnn, heads, xs, exact = case(seed)
    found = decompile(rnn, max_heads=heads)
    ours, truth = (np.asarray(run(layer, xs), np.float64) for layer in (found.attention, rnn))
    off = np.max(np.linalg.norm(ours - truth, axis=3), 1)
    norms = np.max(np.linalg.norm(np.asarray(xs, np.float64), axis=3), (1, 2))
    bounds = [[found.error_bound(float(norm), tokens) for tokens in LENGTHS] for norm in norms]
    measured = np.stack([np.max(off[:, :tokens], 1) for tokens in LENGTHS], 1)
    return exact, np.array(bounds) / np.maximum(measured, 1e-300)


@pytest.mark.parametrize("networks", [100, pytest.param(2500, marks=pytest.mark.long)])
def test_bound_is_never_violated_and_says_something(networks):
    """For each network there are four cases: one for each size of tokens."""
    exact, found = map(np.array, zip(*map(ratios, range(networks)), strict=True))
    for name, some in (("attention to rounding", found[exact]), ("perturbed", found[~exact])):
        print(
            f"{name}: {some[..., 0].size} cases, bound / measured median {np.median(some):.3g}, worst {np.max(some):.3g}"
        )
    assert np.min(found) >= 1
    assert np.max(found[exact]) < LOOSE


def test_bound_holds_token_by_token():
    assert min(np.min(ratios(seed, stepped)[1]) for seed in range(10)) >= 1
