"""gru_scan is the recurrence of the GRU in both variants, and so is its gradient."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twofold.errors import InputError
from twofold.scan import gru_scan

RESETS, LATE = np.array([0, 0, 0, 1, 0], bool), np.array([0, 0, 1], bool)


def recurrence(inputs, v, h, b_n=None, *, resets=None):
    """The docstring's equations, one token after the other."""
    resets = np.zeros(len(inputs), bool) if resets is None else resets
    v_r, v_h, v_z = jnp.split(v, 3)
    outputs = []
    for x, fresh in zip(inputs, resets, strict=True):
        h = 0 * h if fresh else h
        x_r, x_h, x_z = jnp.split(x, 3)
        r, z = jax.nn.sigmoid(x_r + jnp.sum(v_r * h, 1)), jax.nn.sigmoid(x_z + jnp.sum(v_z * h, 1))
        of_h = jnp.sum(v_h * (r * h), 1) if b_n is None else r * (jnp.sum(v_h * h, 1) + b_n)
        h = (1 - z) * h + z * jnp.tanh(x_h + of_h)
        outputs.append(h)
    return h, jnp.stack(outputs)


def scan(inputs, v, h, b_n=None, *, resets=None):
    return gru_scan(inputs, v, h, b_n=b_n, resets=resets)


@pytest.fixture(params=["before", "after"])
def arguments(normal, request):
    """With `b_n` if the reset comes after the product."""

    def make(time, size=3, dtype=np.float64):
        shapes = {"inputs": (time, 3 * size), "v": (3 * size, size), "h": (size,)}
        shapes |= {"b_n": (size,)} if request.param == "after" else {}
        return [normal(name, *shape, dtype=dtype) for name, shape in shapes.items()]

    return make


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("time", "size", "resets"), [(1, 3, [True]), (1, 1, [False]), (5, 3, None), (5, 2, RESETS)])
def test_outputs_are_those_of_the_recurrence(arguments, assert_close, dtype, time, size, resets):
    args, resets = arguments(time, size, dtype), None if resets is None else np.array(resets)
    last, h = jax.jit(scan)(*args, resets=resets)
    assert h.dtype == last.dtype == dtype
    assert_close((last, h), recurrence(*(x.astype(np.float64) for x in args), resets=resets))


def test_no_token_leaves_the_state(arguments, assert_close):
    args = arguments(0)
    last, h = scan(*args)
    assert h.shape == (0, 3)
    assert_close(last, args[2])
    of_v, of_h = jax.grad(lambda v, h: scan(args[0], v, h, *args[3:])[0].sum(), (0, 1))(*args[1:3])
    assert_close((of_v, of_h), (np.zeros((9, 3)), np.ones(3)))


@pytest.mark.parametrize(("time", "resets"), [(5, None), (5, RESETS), (1, None), (1, np.array([True]))])
def test_gradient_is_that_of_the_recurrence(arguments, same_gradients, time, resets):
    same_gradients(partial(scan, resets=resets), partial(recurrence, resets=resets), *arguments(time))


def test_gradient_under_transforms(arguments, same_gradients, transform):
    same_gradients(partial(scan, resets=RESETS), partial(recurrence, resets=RESETS), *arguments(5), transform=transform)


def test_second_gradient_is_that_of_the_recurrence(arguments, same_gradients):
    same_gradients(partial(scan, resets=LATE), partial(recurrence, resets=LATE), *arguments(3), order=2)


def test_gradients_of_a_batch_with_common_weights(arguments, normal, same_gradients):
    """The weights' gradient is the sum over the batch; of second order too."""
    _, *common = arguments(2)
    inputs = normal("batch", 3, 2, 9)

    def of_batch(scan):
        return lambda inputs, *common: jax.vmap(lambda inputs: scan(inputs, *common))(inputs)

    for order in (1, 2):
        same_gradients(of_batch(scan), of_batch(recurrence), inputs, *common, order=order)


@pytest.mark.parametrize("poisoned", [False, True], ids=["finite", "poisoned"])
def test_reset_is_a_fresh_start(arguments, normal, segments_are_independent, poisoned):
    _, v, h, *b_n = arguments(1)

    def from_zero(inputs, resets):
        return scan(inputs, v, 0 * h, *b_n, resets=resets)

    segments_are_independent(from_zero, normal("inputs", 9, 9), lengths=(4, 1, 4), poisoned=poisoned)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_state_before_a_reset_is_forgotten(arguments, assert_close, bad):
    inputs, v, h, *b_n = arguments(3)

    @jax.jit
    @partial(jax.value_and_grad, argnums=(0, 1))
    def loss(v, h):
        return scan(inputs, v, h, *b_n, resets=np.array([True, False, False]))[1].sum()

    value, (of_v, of_h) = loss(v, h * bad)
    expected = jax.value_and_grad(lambda v: recurrence(inputs, v, 0 * h, *b_n)[1].sum())(v)
    assert_close((value, of_v, of_h), (*expected, np.zeros(3)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_saturated_gates_are_finite_and_pass_exact_limits(arguments, dtype):
    """Gates of 0 and 1 exactly; all gradients finite."""
    args = arguments(5, dtype=dtype)
    signs = np.array([[1, 1, -1], [1, 1, 1], [-1, -1, 1], [-1, 1, 1], [0, 0, 0]])
    args[0] = (1e4 * np.repeat(signs, 3, axis=1) + args[0]).astype(dtype)
    (value, hs), gradients = jax.jit(
        jax.value_and_grad(
            lambda *args: (lambda h: (h.sum(), h))(scan(*args)[1]), tuple(range(len(args))), has_aux=True
        )
    )(*args)
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(x)) for x in gradients)
    np.testing.assert_array_equal(hs[0], args[2])
    np.testing.assert_allclose(hs[1:4], np.array([1, -1, 1])[:, None] * np.ones(3), rtol=1e-6)
    np.testing.assert_array_equal(gradients[0][1], np.zeros(9))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("shapes", "how", "named"),
    [
        (((5, 6), (6, 3), (2,)), {}, "(5, 6), (6, 3), (2,)"),
        (((5, 7), (6, 2), (2,)), {}, "(5, 7)"),
        (((6,), (6, 2), (2,)), {}, "(6,)"),
        (((5, 6), (), (2,)), {}, "()"),
        (((5, 6), (6, 2), (3,)), {}, "(3,)"),
        (((5, 6), (6, 2), (2,)), {"b_n": np.zeros(3)}, "b_n has shape (3,)"),
        (((5, 6), (6, 2), (2,)), {"b_n": np.zeros(())}, "b_n has shape ()"),
        (((5, 6), (6, 2), (2,)), {"resets": np.zeros(4, bool)}, "resets have shape (4,)"),
    ],
)
def test_wrong_shapes_are_named(shapes, how, named):
    with pytest.raises(InputError, match=re.escape(named)):
        gru_scan(*map(np.zeros, shapes), **how)
