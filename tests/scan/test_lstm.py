"""lstm_scan is the recurrence of the LSTM, and so is its gradient."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twofold.errors import InputError
from twofold.scan import LSTMState, lstm_scan

RESETS, LATE = np.array([0, 0, 0, 1, 0], bool), np.array([0, 0, 1], bool)


def recurrence(inputs, v, h, c, *, resets=None):
    """Paper A's equations, one token after the other."""
    resets = np.zeros(len(inputs), bool) if resets is None else resets
    outputs = []
    for x, fresh in zip(inputs, resets, strict=True):
        h, c = (0 * h, 0 * c) if fresh else (h, c)
        f, candidate, g, o = jnp.split(x + jnp.sum(v * h, 1), 4)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(g) * jnp.tanh(candidate)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        outputs.append(h)
    return LSTMState(h, c), jnp.stack(outputs)


def scan(inputs, v, h, c, *, resets=None):
    return lstm_scan(inputs, v, (h, c), resets=resets)


@pytest.fixture
def arguments(normal):
    def make(time, size=3, dtype=np.float64):
        shapes = {"inputs": (time, 4 * size), "v": (4 * size, size), "h": (size,), "c": (size,)}
        return [normal(name, *shape, dtype=dtype) for name, shape in shapes.items()]

    return make


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("time", "size", "resets"), [(1, 3, [True]), (1, 1, [False]), (5, 3, None), (5, 2, RESETS)])
def test_outputs_are_those_of_the_recurrence(arguments, assert_close, dtype, time, size, resets):
    args, resets = arguments(time, size, dtype), None if resets is None else np.array(resets)
    last, h = jax.jit(scan)(*args, resets=resets)
    assert h.dtype == last.h.dtype == last.c.dtype == dtype
    assert_close((last, h), recurrence(*(x.astype(np.float64) for x in args), resets=resets))


@pytest.mark.parametrize("resets", [None, np.zeros(0, bool)], ids=["none", "empty"])
def test_no_token_leaves_the_state(arguments, assert_close, resets):
    args = arguments(0)
    last, h = scan(*args, resets=resets)
    assert h.shape == (0, 3)
    assert_close(last, LSTMState(*args[2:]))
    of_v, of_h = jax.grad(lambda v, h: scan(args[0], v, h, args[3])[0].h.sum(), (0, 1))(*args[1:3])
    assert_close((of_v, of_h), (np.zeros((12, 3)), np.ones(3)))


@pytest.mark.parametrize(("time", "resets"), [(5, None), (5, RESETS), (1, None), (1, np.array([True]))])
def test_gradient_is_that_of_the_recurrence(arguments, same_gradients, time, resets):
    same_gradients(partial(scan, resets=resets), partial(recurrence, resets=resets), *arguments(time))


def test_gradient_under_transforms(arguments, same_gradients, transform):
    same_gradients(partial(scan, resets=RESETS), partial(recurrence, resets=RESETS), *arguments(5), transform=transform)


def test_second_gradient_is_that_of_the_recurrence(arguments, same_gradients):
    same_gradients(partial(scan, resets=LATE), partial(recurrence, resets=LATE), *arguments(3), order=2)


def test_gradients_of_a_batch_with_common_weights(arguments, normal, same_gradients):
    """The weights' gradient is the sum over the batch; of second order too."""
    _, v, h, c = arguments(2)
    inputs = normal("batch", 3, 2, 12)

    def of_batch(scan):
        return lambda inputs, v, h, c: jax.vmap(scan, (0, None, None, None))(inputs, v, h, c)

    for order in (1, 2):
        same_gradients(of_batch(scan), of_batch(recurrence), inputs, v, h, c, order=order)


def test_third_derivative_along_the_weights(arguments, assert_close):
    inputs, v, h, c = arguments(2)

    def third(f):
        def along(s):
            return f(inputs, v * s, h, c)[1].sum()

        return jax.jit(jax.grad(jax.grad(jax.grad(along))))(1.0)

    assert_close(third(scan), third(recurrence))


@pytest.mark.parametrize("poisoned", [False, True], ids=["finite", "poisoned"])
def test_reset_is_a_fresh_start(arguments, normal, segments_are_independent, poisoned):
    _, v, h, c = arguments(1)

    def from_zero(inputs, resets):
        return lstm_scan(inputs, v, (0 * h, 0 * c), resets=resets)

    segments_are_independent(from_zero, normal("inputs", 9, 12), lengths=(4, 1, 4), poisoned=poisoned)


def test_state_before_a_reset_is_forgotten(arguments, assert_close):
    inputs, v, h, c = arguments(3)

    @jax.jit
    @partial(jax.value_and_grad, argnums=(1, 2, 3))
    def loss(inputs, v, h, c):
        return scan(inputs, v, h, c, resets=np.array([True, False, False]))[1].sum()

    value, (of_v, *of_state) = loss(inputs, v, h * np.nan, c * np.inf)
    expected = jax.value_and_grad(lambda v: recurrence(inputs, v, 0 * h, 0 * c)[1].sum())(v)
    assert_close((value, of_v, of_state), (*expected, [np.zeros(3)] * 2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_saturated_gates_are_finite_and_pass_exact_limits(arguments, dtype):
    """Gates of 0 and 1 exactly; all gradients finite."""
    inputs, v, h, c = arguments(6, dtype=dtype)
    signs = np.array([[1, 1, 1, 1], [1, -1, 0, 1], [-1, 1, 1, -1], [-1, -1, -1, 1], [1, 1, -1, -1], [0, 0, 0, 0]])
    inputs = (1e4 * np.repeat(signs, 3, axis=1) + inputs).astype(dtype)
    (value, (_, hs)), gradients = jax.jit(
        jax.value_and_grad(lambda *args: (lambda out: (out[1].sum(), out))(scan(*args)), (0, 1, 2, 3), has_aux=True)
    )(inputs, v, h, c)
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(x)) for x in gradients)
    np.testing.assert_allclose(hs[0], np.tanh(c + 1), rtol=1e-6)
    np.testing.assert_array_equal(hs[2], np.zeros(3))
    np.testing.assert_array_equal(gradients[0][0, 3:6], np.zeros(3))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("shapes", "resets", "named"),
    [
        (((5, 8), (8, 3), (2,), (2,)), None, "(5, 8), (8, 3), (2,), (2,)"),
        (((5, 9), (8, 2), (2,), (2,)), None, "(5, 9)"),
        (((8,), (8, 2), (2,), (2,)), None, "(8,)"),
        (((5, 8), (), (2,), (2,)), None, "()"),
        (((5, 8), (8, 2), (3,), (2,)), None, "(3,)"),
        (((5, 8), (8, 2), (2,), (1,)), None, "(1,)"),
        (((5, 8), (8, 2), (2,), (2,)), (4,), "resets have shape (4,)"),
    ],
)
def test_wrong_shapes_are_named(shapes, resets, named):
    inputs, v, h, c = map(np.zeros, shapes)
    with pytest.raises(InputError, match=re.escape(named)):
        lstm_scan(inputs, v, (h, c), resets=None if resets is None else np.zeros(resets, bool))
