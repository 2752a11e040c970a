"""kv_scan is the recurrence S_t = S_{t-1} + k_t v_t^T, o_t = S_t^T q_t, without ever holding all S_t."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax import lax

from twofold.errors import InputError
from twofold.scan import kv_scan

run = jax.jit(kv_scan)

# Around the chunks of 64 tokens, as one sequence and packed.
LENGTHS = [(0, False), (0, True), (1, True), (63, False), (64, True), (65, False), (130, True)]


@jax.jit
def recurrence(q, k, v, state, resets=None):
    """The docstring's equation, one token after the other."""

    def step(state, token):
        q, k, v, fresh = token
        state = jnp.where(fresh, 0, state) + k[:, :, None] * v[:, None, :]
        return state, jnp.einsum("hk,hkv->hv", q, state)

    state, out = lax.scan(step, state, (q, k, v, np.zeros(len(q), bool) if resets is None else resets))
    return state, out


@pytest.fixture(scope="session")
def problem(normal):
    """`problem(time)`: queries, keys, values and what came before."""

    def draw(time, dtype=np.float64):
        draw = partial(normal, dtype=dtype)
        return draw("q", time, 2, 3), draw("k", time, 2, 3), draw("v", time, 2, 4), draw("S", 2, 3, 4)

    return draw


@pytest.fixture(scope="session")
def resets(normal):
    """`resets(time, packed)`: some resets, or None."""
    return lambda time, packed: normal("resets", time) > 1.5 if packed else None


@pytest.mark.parametrize(("time", "packed"), LENGTHS)
def test_outputs_are_those_of_the_recurrence(assert_close, problem, resets, time, packed):
    args = problem(time, np.float32)
    actual = run(*args, resets=resets(time, packed))
    assert {x.dtype.name for x in actual} == {"float32"}
    assert_close(actual, recurrence(*(x.astype(np.float64) for x in args), resets(time, packed)))


@pytest.mark.parametrize(("time", "packed"), LENGTHS)
def test_gradient_is_that_of_the_recurrence(same_gradients, problem, resets, time, packed):
    """Of queries, keys, values and the initial state, through the outputs and the last state."""
    how = {"resets": resets(time, packed)}
    same_gradients(partial(kv_scan, **how), partial(recurrence, **how), *problem(time))


def test_gradient_under_transforms(same_gradients, problem, transform):
    same_gradients(kv_scan, recurrence, *problem(65), transform=transform)


def test_second_gradient_is_that_of_the_recurrence(same_gradients, problem, resets):
    how = {"resets": resets(65, True)}
    same_gradients(partial(kv_scan, **how), partial(recurrence, **how), *problem(65), order=2)


def test_state_is_zero_if_not_given(assert_close, problem):
    *tokens, state = problem(65)
    assert_close(run(*tokens), run(*tokens, np.zeros_like(state)))


@given(cut=st.sampled_from([0, 1, 63, 64, 130]))
def test_split_anywhere_equals_whole(assert_close, problem, cut):
    *tokens, state = problem(130)
    between, early = run(*(x[:cut] for x in tokens), state)
    last, late = run(*(x[cut:] for x in tokens), between)
    assert_close((last, np.concatenate([early, late])), run(*tokens, state))


@pytest.mark.parametrize("poisoned", [False, True], ids=["finite", "poisoned"])
@pytest.mark.parametrize("lengths", [(20, 20, 60), (32, 32, 64)])
def test_reset_is_a_fresh_start(problem, segments_are_independent, lengths, poisoned):
    def scan(q, k, v, resets):
        return kv_scan(q, k, v, resets=resets)

    segments_are_independent(scan, *problem(sum(lengths))[:3], lengths=lengths, poisoned=poisoned)


def test_gradient_of_later_tokens_does_not_see_a_poisoned_segment(assert_close, problem):
    """As above, with a loss that leaves the poisoned outputs out."""
    tokens = problem(70)[:3]
    poisoned = [x.copy() for x in tokens]
    for x in poisoned:
        x[:40, 0], x[:40, 1] = np.nan, np.inf
    gradient = jax.jit(jax.grad(lambda tokens, resets: jnp.sum(kv_scan(*tokens, resets=resets)[1][-30:] ** 2)))
    actual = gradient(poisoned, np.arange(70) == 40)
    assert_close([x[40:] for x in actual], gradient([x[40:] for x in tokens], None))


def test_state_before_a_reset_is_forgotten(assert_close, problem):
    *tokens, state = problem(3)
    resets = np.array([True, False, False])
    bad = np.stack([np.full_like(state[0], np.nan), np.full_like(state[1], np.inf)])

    @jax.jit
    @jax.value_and_grad
    def loss(state):
        return kv_scan(*tokens, state, resets=resets)[1].sum()

    out, gradient = loss(bad)
    assert_close(out, recurrence(*tokens, np.zeros_like(state))[1].sum())
    assert_close(gradient, np.zeros_like(state))


def test_memory_of_the_gradient_grows_with_time_alone(temporary_bytes):
    def gradient(*args):
        resets = args[0][:, 0, 0] > 1
        return jax.grad(lambda args: jnp.sum(kv_scan(*args, resets=resets)[1]))(args)

    short, long = (temporary_bytes(gradient, *[(time, 2, 64)] * 3) for time in (2048, 8192))
    assert long <= 4.1 * short
    assert long <= 8 * 4 * 8192 * 2 * 64  # Eight arrays like q. All the states would be 64 of them.


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("q", "k", "v", "how", "named"),
    [
        ((5, 3), (5, 3), (5, 4), {}, "(5, 3), (5, 3), (5, 4)"),
        ((5, 2, 3), (5, 2, 4), (5, 2, 3), {}, "(5, 2, 3), (5, 2, 4), (5, 2, 3)"),
        ((5, 2, 3), (5, 2, 3), (6, 2, 3), {}, "(6, 2, 3)"),
        ((5, 2, 3), (5, 2, 3), (5, 2, 4), {"state": np.zeros((2, 4, 3))}, "state has shape (2, 4, 3)"),
        ((5, 2, 3), (5, 2, 3), (5, 2, 4), {"resets": np.zeros(4, bool)}, "resets have shape (4,)"),
    ],
)
def test_wrong_shapes_are_named(q, k, v, how, named):
    with pytest.raises(InputError, match=re.escape(named)):
        kv_scan(np.zeros(q), np.zeros(k), np.zeros(v), **how)
