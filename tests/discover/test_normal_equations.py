"""The normal equations are those of the whole Jacobian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from twofold.discover.normal_equations import Parameters, normal_equations
from twofold.forms import gated_rnn_weights
from twofold.layers import GatedRNN


def outputs(parameters, xs):
    """The outputs, step by step, as a function that JAX can differentiate."""
    neurons, gates, readout = parameters
    v = xs.shape[2] + 1
    tokens = jnp.concatenate([xs, jnp.ones_like(xs[..., :1])], 2)
    h, found = 0.0, []
    for t in range(xs.shape[1]):
        h = neurons[:, 0] * h + (tokens[:, t] @ neurons[:, 1 : 1 + v].T) * (tokens[:, t] @ neurons[:, 1 + v :].T)
        m, x = jnp.split(h @ gates.T, 2, axis=1)
        found.append((m * x) @ readout.T)
    return jnp.stack(found, 1)


@pytest.mark.parametrize(("n", "g", "out", "time"), [(5, 4, 2, 7), (1, 1, 1, 1), (3, 6, 4, 2)])
def test_they_are_those_of_the_whole_jacobian(assert_close, n, g, out, time):
    rnn = GatedRNN(3, out, hidden_size=n, gate_size=g, key=jax.random.key(0))
    parameters, noise = Parameters.of(gated_rnn_weights(rnn)), np.random.default_rng(0)
    xs, misses = noise.normal(size=(6, time, 3)), noise.normal(size=(6, time, out))
    with jax.enable_x64(True):
        flat, whole = ravel_pytree(tuple(parameters))
        slopes = jax.jit(jax.jacfwd(lambda flat: outputs(whole(flat), xs).ravel()))(flat)
    np.testing.assert_array_equal(flat, parameters.flat())
    normal, gradient = normal_equations(parameters, xs, misses)
    assert_close(normal, slopes.T @ slopes, rtol=1e-12)
    assert_close(gradient, slopes.T @ misses.ravel(), rtol=1e-12)


def test_parameters_are_the_weights_in_another_order():
    weights = gated_rnn_weights(GatedRNN(3, 2, hidden_size=5, gate_size=4, key=jax.random.key(0)))
    parameters = Parameters.of(weights)
    for one, other in zip(parameters.like(parameters.flat()).weights(), weights, strict=True):
        np.testing.assert_array_equal(one, other)
    lower, upper = map(parameters.like, parameters.bounds())
    assert np.all(lower.weights().lam == 0)
    assert np.all(upper.weights().lam == 1)
    assert np.sum(np.isfinite(lower.flat())) == np.sum(np.isfinite(upper.flat())) == 5
