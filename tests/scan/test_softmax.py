"""softmax_scan is softmax attention over every prefix, and its gradient that of the recurrence of (m, c, o)."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from twofold.errors import InputError
from twofold.scan import SoftmaxState, softmax_scan

run = jax.jit(softmax_scan)


def prefix_softmax(scores, values):
    """Every prefix on its own, in float64, and the state after the last; masked tokens alone give zero."""
    scores, values = scores.astype(np.float64), values.astype(np.float64)
    maximum, total = np.full(scores.shape[1:], -1e30), np.zeros(scores.shape[1:])
    out = np.zeros(values.shape)
    for t in range(len(scores)):
        maximum = np.maximum(scores[: t + 1].max(0), -1e30)
        weights = np.exp(scores[: t + 1] - maximum)
        total = weights.sum(0)
        out[t] = np.einsum("th,thd->hd", weights / np.where(total == 0, 1, total), values[: t + 1])
    return SoftmaxState.exactly(maximum, total, [np.zeros(values.shape[1:]), *out][-1]), out


@settings(max_examples=20)
@given(
    dtype=st.sampled_from(["float32", "float64"]),
    time=st.integers(0, 20),
    heads=st.integers(1, 3),
    dim=st.integers(1, 3),
    scale=st.sampled_from([1.0, 1e4]),
    masked=st.integers(0, 3),
)
def test_outputs_are_softmax_over_each_prefix(normal, assert_close, dtype, time, heads, dim, scale, masked):
    scores, values = scale * normal("scores", time, heads), normal("values", time, heads, dim)
    scores[:masked, 0] = -np.inf
    scores, values = scores.astype(dtype), values.astype(dtype)
    state, out = run(scores, values)
    assert {x.dtype.name for x in (out, *state)} == {dtype}
    assert_close((state, out), prefix_softmax(scores, values))


def test_extreme_scores_leave_no_trace_of_each_other(assert_close):
    """From -1e4 to 1e4 the earlier tokens vanish, and back again the later ones count for nothing."""
    scores, values = np.array([[-1e4], [-1e4], [1e4], [1e4], [-1e4]]), np.arange(5.0)[:, None, None]
    assert_close(run(scores, values)[1].ravel(), np.array([0, 0.5, 2, 2.5, 2.5]))


def test_masked_token_is_as_if_absent(assert_close, same_gradients, problem):
    """In values and gradients: its output repeats the one before, or is zero where there is none."""
    scores, values, _ = problem(8)
    seen = np.array([0, 0, 1, 1, 0, 1, 0, 1], bool)
    scores = np.where(seen[:, None], scores, -np.inf)

    def masked(scores, values):
        return softmax_scan(scores, values)[1]

    def absent(scores, values):
        return jnp.pad(masked(scores[seen], values[seen]), [(1, 0), (0, 0), (0, 0)])[np.cumsum(seen)]

    assert_close(masked(scores, values), absent(scores, values))
    same_gradients(masked, absent, scores, values)


def test_shifting_all_scores_changes_nothing(normal, assert_close, problem):
    scores, values, _ = problem(8)

    @jax.jit
    def results(scores):
        def loss(scores):
            state, out = softmax_scan(scores, values)
            return jnp.sum(normal("pull", *values.shape) * out), (out, state)

        return jax.grad(loss, has_aux=True)(scores)

    gradient, (out, state) = results(scores)
    shifted = gradient, (out, state._replace(maximum=state.maximum + 1234.5))
    assert_close(results(scores + 1234.5), shifted, rtol=1e-11)


@given(cut=st.integers(0, 9))
def test_split_anywhere_equals_whole(assert_close, problem, cut):
    scores, values, state = problem(9)
    between, early = run(scores[:cut], values[:cut], state)
    last, late = run(scores[cut:], values[cut:], between)
    assert_close((last, np.concatenate([early, late])), run(scores, values, state))


@pytest.mark.parametrize(("resets", "scale"), [((), 1.0), ((), 1e4), ((0,), 1.0), ((2, 5), 1.0)])
def test_gradient_is_that_of_the_recurrence(same_gradients, recurrence, problem, resets, scale):
    """Of the scores, the values and all of the initial state, through the outputs and all of the last state."""
    how = {"resets": np.isin(np.arange(7), resets)}
    same_gradients(partial(softmax_scan, **how), partial(recurrence, **how), *problem(7, scale))


def test_last_maximum_pulls_on_its_own_segment_alone(same_gradients, recurrence, problem):
    """Even if a score before the reset, or what came before all, was as large."""
    scores, values, state = problem(6)
    scores, state = np.tile(scores[:3], (2, 1)), state._replace(maximum=scores[:3].max(0))
    how = {"resets": np.arange(6) == 3}
    same_gradients(partial(softmax_scan, **how), partial(recurrence, **how), scores, values, state)


def test_gradient_under_transforms(same_gradients, recurrence, problem, transform):
    same_gradients(softmax_scan, recurrence, *problem(6), transform=transform)


def test_second_gradient_is_that_of_the_recurrence(same_gradients, recurrence, problem):
    how = {"resets": np.array([0, 0, 0, 1, 0], bool)}
    same_gradients(partial(softmax_scan, **how), partial(recurrence, **how), *problem(5), order=2)


@pytest.mark.parametrize("poisoned", [False, True], ids=["finite", "poisoned"])
def test_reset_is_a_fresh_start(problem, segments_are_independent, poisoned):
    def scan(scores, values, resets):
        return softmax_scan(scores, values, resets=resets)

    segments_are_independent(scan, *problem(9)[:2], lengths=(4, 1, 4), poisoned=poisoned)


def test_state_before_a_reset_is_forgotten(assert_close, problem):
    scores, values, state = problem(3)
    resets = np.array([True, False, False])
    bad = jax.tree.map(lambda x: np.stack([np.full_like(x[0], np.nan), np.full_like(x[1], np.inf)]), state)

    @jax.jit
    @jax.value_and_grad
    def loss(state):
        return softmax_scan(scores, values, state, resets=resets)[1].sum()

    out, gradient = loss(bad)
    assert_close(out, prefix_softmax(scores, values)[1].sum())
    assert_close(gradient, jax.tree.map(np.zeros_like, state))


@pytest.mark.parametrize("scores", ["random", "equal", "rising"])
def test_long_float32_scan_stays_near_float64(normal, scores):
    time = 100_000
    scores = {
        "random": 3 * normal("scores", time, 2),
        "equal": np.zeros((time, 2)),
        "rising": np.linspace(-20, 20, 2 * time).reshape(time, 2),
    }[scores].astype(np.float32)
    values = normal("values", time, 2, 3, dtype=np.float32)
    weights = np.exp(scores.astype(np.float64))[..., None]
    expected = np.cumsum(weights * values, 0) / np.cumsum(weights, 0)
    assert np.max(np.abs(run(scores, values)[1] - expected)) <= 5e-5 * np.max(np.abs(values))


@jax.jit
def token_by_token(scores, values):
    state = SoftmaxState.empty(*values.shape[1:], dtype=values.dtype)
    state, out = lax.scan(lambda state, token: softmax_scan(*token, state), state, (scores[:, None], values[:, None]))
    return state, out[:, 0]


@pytest.mark.parametrize("scan", [run, token_by_token])
def test_an_average_of_many_tokens_with_an_offset_does_not_drift(scan, normal):
    """A token of a quarter of a million moves their average by less than its rounding."""
    time = 250_000
    scores, values = normal("scores", time, 1, dtype=np.float32), 100 + normal("values", time, 1, 1, dtype=np.float32)
    weights = np.exp(scores.astype(np.float64))[..., None]
    expected = np.cumsum(weights * values, 0) / np.cumsum(weights, 0)
    state, out = scan(scores, values)
    assert np.max(np.abs(out - expected)) <= 1e-6 * 100
    assert np.abs(np.float64(state.output) + state.output_rest - expected[-1]) <= 1e-7 * 100


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("scores", "values", "how", "named"),
    [
        ((5,), (5, 2, 3), {}, "(5,) and (5, 2, 3)"),
        ((5, 2), (5, 2), {}, "(5, 2) and (5, 2)"),
        ((5, 2), (4, 2, 3), {}, "(5, 2) and (4, 2, 3)"),
        ((5, 2), (5, 2, 3), {"state": SoftmaxState.empty(2, 4)}, "(2, 4)"),
        ((5, 2), (5, 2, 3), {"resets": np.zeros(4, bool)}, "resets have shape (4,)"),
    ],
)
def test_wrong_shapes_are_named(scores, values, how, named):
    with pytest.raises(InputError, match=re.escape(named)):
        softmax_scan(np.zeros(scores), np.zeros(values), **how)
