"""The LRU against its equations, and against an independent implementation."""

import re

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from memax.equinox.semigroups.lru import LRU as MemaxLRU

from twofold import InputError
from twofold.layers import LRU

KEY = jax.random.key(0)
GATINGS = ["out", "in-out", "in-skip"]
every_gating = pytest.mark.parametrize("gating", GATINGS)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@settings(max_examples=8)
@given(gating=st.sampled_from(GATINGS), sizes=st.sampled_from([(1, 1, 1), (3, 2, 5), (2, 4, 3)]))
def test_equations_6_to_9(normal, assert_close, gating, sizes):
    in_size, out_size, n = sizes
    layer = LRU(in_size, out_size, hidden_size=n, gating=gating, key=KEY)
    xs = normal("x", 7, in_size)
    lam = np.exp(-np.exp(layer.nu) + 1j * np.exp(layer.theta))
    b, c = layer.b_re + 1j * layer.b_im, layer.c_re + 1j * layer.c_im
    h, ys = np.zeros(n, complex), []
    for x in xs:
        u = x if gating == "out" else sigmoid(layer.w_in_m @ x) * (layer.w_in_x @ x)
        h = lam * h + np.exp(layer.gamma_log) * (b @ u)
        y = (c @ h).real + layer.d @ u
        ys.append(sigmoid(layer.w_out_m @ (x if gating == "in-skip" else y)) * (layer.w_out_x @ y))
    state, out = jax.jit(lambda xs: layer.prefill(layer.init_state(), xs))(xs)
    assert_close((out, state), (np.array(ys), np.stack([h.real, h.imag])))


@every_gating
def test_values_and_gradients_agree_with_memax(normal, same_gradients, assert_close, gating):
    """memax's LRU ends at y~ and its D is a vector; the gates, plain formulas, are put around it here. In float32."""
    size, time = 4, 50  # memax needs as many neurons as features: its annotations say so
    theirs = MemaxLRU(size, size, KEY)
    names = ["nu_log", "theta_log", "gamma_log", "B_re", "B_im", "C_re", "C_im", "D"]
    weights = [np.asarray(getattr(theirs, name), np.float32) for name in names]
    gates = [normal(f"gate {i}", size, size, dtype=np.float32) for i in range(2 if gating == "out" else 4)]
    xs = normal("x", time, size, dtype=np.float32)
    template = jax.tree.structure(LRU(size, size, gating=gating, key=KEY))

    def ours(weights, gates, xs):
        *weights, d = weights
        return jax.tree.unflatten(template, [*weights, jnp.diag(d), *gates])(xs)

    def memax(weights, gates, xs):
        layer = eqx.tree_at(lambda l: [getattr(l, name) for name in names], theirs, weights)
        u = xs if gating == "out" else jax.nn.sigmoid(xs @ gates[2].T) * (xs @ gates[3].T)
        y = layer(layer.initialize_carry(), (u, jnp.zeros(time, bool)))[1]
        return jax.nn.sigmoid((xs if gating == "in-skip" else y) @ gates[0].T) * (y @ gates[1].T)

    assert_close(jax.jit(ours)(weights, gates, xs), jax.jit(memax)(weights, gates, xs))
    same_gradients(ours, memax, weights, gates, xs)


def test_starts_on_the_ring():
    layer = LRU(3, 2, hidden_size=2000, r_min=0.5, r_max=0.9, max_phase=1.0, key=KEY)
    size, phase = np.abs(layer.lam), np.angle(layer.lam)
    np.testing.assert_allclose([size.min(), size.max()], [0.5, 0.9], atol=0.01)
    np.testing.assert_allclose([phase.min(), phase.max()], [0, 1], atol=0.01)
    assert 0.5 <= size.min() <= size.max() <= 0.9
    # Uniform over the ring's area: |lambda|^2 is uniform.
    assert abs(np.mean(size**2) - (0.25 + 0.81) / 2) < 0.01
    np.testing.assert_allclose(np.exp(layer.gamma_log), np.sqrt(1 - size**2), rtol=1e-12)


def test_gamma_keeps_the_size_of_the_state(normal):
    layer = LRU(4, 4, hidden_size=200, r_min=0.9, r_max=0.99, key=KEY)
    xs = normal("x", 4000, 4)
    h = np.asarray(jax.jit(lambda xs: layer.prefill(layer.init_state(), xs))(xs)[0])
    assert 0.3 < np.mean(h**2) * 2 < 3  # E|B x|^2 = 1 a neuron


@every_gating
def test_from_weights_gives_back_the_layer(normal, assert_close, gating):
    layer = LRU(3, 2, hidden_size=4, gating=gating, key=KEY)
    gate = () if gating == "out" else (layer.w_in_m, layer.w_in_x)
    b, c = layer.b_re + 1j * layer.b_im, layer.c_re + 1j * layer.c_im
    gamma = jnp.exp(layer.gamma_log)
    again = LRU.from_weights(layer.lam, b, c, layer.d, layer.w_out_m, layer.w_out_x, *gate, gamma=gamma, gating=gating)
    xs = normal("x", 9, 3)
    assert_close(*(jax.jit(lambda layer, xs: layer(xs))(each, xs) for each in (again, layer)))


@jax.jit
@jax.grad
def sum_gradient(layer, xs):
    return jnp.sum(layer(xs))


@pytest.mark.parametrize("lam", [0.0, 1.0, 0.5, -1.0, 1j])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_lambdas_are_kept_and_have_gradients(lam, dtype):
    one = np.ones((1, 1), dtype)
    layer = LRU.from_weights(np.array([lam]), one, one, 0 * one, 0 * one, one)
    np.testing.assert_allclose(layer.lam[0], lam, atol=2 * np.finfo(dtype).eps)
    gradient = sum_gradient(layer, np.ones((5, 1), dtype))
    assert all(np.all(np.isfinite(g)) for g in jax.tree.leaves(gradient))


def test_a_hundred_thousand_tokens_stay_accurate(normal):
    """lambda on the unit circle, the worst case: float32 against float64."""
    layer = LRU.from_weights(np.exp([0.3j, 2j]), np.eye(2), np.eye(2), np.eye(2), np.eye(2), np.eye(2))
    xs = normal("x", 100_000, 2)
    run = jax.jit(lambda layer, xs: layer.prefill(layer.init_state(), xs)[0])
    single = run(jax.tree.map(lambda x: x.astype("float32"), layer), xs.astype("float32"))
    double = run(layer, xs)
    assert np.linalg.norm(single - double) < 1e-2 * np.linalg.norm(double)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"r_min": 0.9, "r_max": 0.5}, "r_min, r_max are 0.9, 0.5"),
        ({"r_max": 1.5}, "r_min, r_max are 0.0, 1.5"),
        ({"max_phase": -1.0}, "max_phase is -1.0"),
        ({"gating": "both"}, "unknown gating 'both'; the gatings are out, in-out, in-skip"),
    ],
)
def test_unusable_options_are_named(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        LRU(3, 2, key=KEY, **options)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lam": np.array([0.5, 1.5])}, "lambda contains 1.5"),
        ({"lam": np.array([0.5, np.nan])}, "lambda contains nan"),
        ({"lam": np.ones((2, 2))}, "lam has shape (2, 2)"),
        ({"b": np.ones((2, 4))}, "b has shape (2, 4)"),
        ({"c": np.ones((3, 2))}, "c has shape (3, 2)"),
        ({"d": np.ones(3)}, "d has shape (3,)"),
        ({"w_out_m": np.ones((2, 3))}, "w_out_m has shape (2, 3)"),
        ({"gamma": np.ones(3)}, "gamma has shape (3,)"),
        ({"gating": "in-out"}, "gating 'in-out' needs w_in_m and w_in_x"),
        ({"w_in_m": np.ones((3, 3)), "w_in_x": np.ones((3, 3))}, "gating 'out' has no w_in_m and w_in_x"),
        ({"gating": "in-out", "w_in_m": np.ones((2, 3)), "w_in_x": np.ones((3, 3))}, "w_in_m has shape (2, 3)"),
        ({"gating": "in-skip", "w_in_m": np.ones((3, 5)), "w_in_x": np.ones((3, 5))}, "w_out_m has shape (2, 4)"),
    ],
)
def test_weights_that_do_not_fit_are_named(changed, message):
    weights = {
        "lam": np.array([0.5, 0.9]),
        "b": np.ones((2, 3)),
        "c": np.ones((4, 2)),
        "d": np.ones((4, 3)),
        "w_out_m": np.ones((2, 4)),
        "w_out_x": np.ones((2, 4)),
    }
    with pytest.raises(InputError, match=re.escape(message)):
        LRU.from_weights(**(weights | changed))
