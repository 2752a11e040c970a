"""decaying_softmax_scan is softmax attention whose scores fall with age, also where a ramp over all tokens has no digits left."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from twofold import InputError
from twofold.scan import SoftmaxState, decaying_softmax_scan, softmax_scan

run = jax.jit(decaying_softmax_scan)


def by_definition(scores, values, decay, state, resets=None):
    """softmax_i(s_i - decay * (t - i)) v_i over all i <= t since the last reset, and over the state, which is as of token -1."""
    time, token = len(scores), np.arange(len(scores))
    start = np.zeros(time, int) if resets is None else np.maximum.accumulate(np.where(resets, token, 0))
    continued = np.ones(time, bool) if resets is None else np.cumsum(resets) == 0
    age = np.maximum(token[:, None] - token, 0)[..., None]
    visible = ((token <= token[:, None]) & (token >= start[:, None]))[..., None]
    aged = jnp.where(visible, scores - decay * age, -1e30)
    m, c, o = state.maximum, state.normaliser + state.normaliser_rest, state.output + state.output_rest
    before = jnp.where(continued[:, None], m - decay * (token + 1)[:, None], -1e30)
    maximum = jnp.maximum(jnp.max(aged, 1), before)
    weights, faded = jnp.exp(aged - maximum[:, None]), jnp.exp(before - maximum) * c
    total = jnp.sum(weights, 1) + faded
    out = (jnp.einsum("tih,ihd->thd", weights, values) + faded[..., None] * o) / total[..., None]
    return SoftmaxState.exactly(maximum[-1], total[-1], out[-1]), out


@pytest.fixture(scope="session")
def aging(recurrence):
    """The recurrence with the arguments of the scan."""
    return lambda scores, values, decay, state, resets=None: recurrence(scores, values, state, resets, decay)


@pytest.fixture(scope="session")
def problem(problem):
    """`problem(time, scale)`: scores, values, decays, and what came before, in float64 without ties."""

    def draw(time, scale=1.0):
        scores, values, state = problem(time, scale)
        return scores, values, np.array([0.003, 0.7]), state

    return draw


@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize(("time", "resets"), [(5, [2]), (64, []), (65, [0, 64]), (150, [70])])
def test_it_is_the_definition_and_its_gradient_that_of_the_recurrence(
    assert_close, same_gradients, aging, problem, time, resets, scale
):
    """Also over several pieces; in the gradient of the decay too."""
    how = {"resets": np.isin(np.arange(time), resets)} if resets else {}
    args = problem(time, scale)
    assert_close(partial(run, **how)(*args), partial(by_definition, **how)(*args), rtol=1e-11)
    if scale == 1:
        same_gradients(partial(decaying_softmax_scan, **how), partial(aging, **how), *args)


def test_gradient_under_transforms(same_gradients, aging, problem, transform):
    same_gradients(decaying_softmax_scan, aging, *problem(66), transform=transform)


def test_without_decay_it_is_softmax_scan(assert_close, problem):
    scores, values, _, state = problem(100)
    assert_close(run(scores, values, np.zeros(2), state), softmax_scan(scores, values, state))


@pytest.mark.parametrize("cut", [0, 1, 63, 64, 99, 100])
def test_split_anywhere_equals_whole(assert_close, problem, cut):
    scores, values, decay, state = problem(100)
    between, early = run(scores[:cut], values[:cut], decay, state)
    last, late = run(scores[cut:], values[cut:], decay, between)
    assert_close((last, np.concatenate([early, late])), run(scores, values, decay, state))


def test_masked_tokens_count_as_time(assert_close, problem):
    """A token of score -inf is not seen, whatever its value, and all others are as old as they are."""
    scores, values, decay, state = problem(8)
    scores[2:4], values[2:4] = -np.inf, np.nan
    _, out = run(scores, values, decay, state)
    assert_close(out, by_definition(scores, np.nan_to_num(values), decay, state)[1])


def float64_recurrence(scores, values, decay):
    """In the logarithm of the sum of weights, l_t = log(exp(l_{t-1} - decay) + exp(s_t)), and in NumPy."""
    l, o, outs = np.full(len(decay), -np.inf), np.zeros(values.shape[1:]), []
    for score, value in zip(scores.astype(float), values.astype(float), strict=True):
        l = np.logaddexp(l - decay, score)
        o = o + np.exp(score - l)[:, None] * (value - o)
        outs.append(o)
    return np.stack(outs)


DECAYS = np.array([0, 1e-6, 1e-4, 0.0039, 0.3, 1.1, 9.0], np.float32)


def stepwise(scores, values, decay):
    def step(state, token):
        state, out = decaying_softmax_scan(token[0][None], token[1][None], decay, state)
        return state, out[0]

    return lax.scan(step, SoftmaxState.empty(*values.shape[1:], dtype=values.dtype), (scores, values))[1]


@pytest.mark.parametrize("offset", [0.0, 30.0, -1e4])
def test_no_digits_are_lost_over_a_long_sequence(normal, offset):
    """In float32 after 1e5 tokens, of which the last are compared: decays far below the rounding of a maximum are not lost."""
    time = 100_000
    scores = (offset + 3 * normal("scores", time, len(DECAYS))).astype(np.float32)
    values = normal("values", time, len(DECAYS), 1).astype(np.float32)
    expected = float64_recurrence(scores, values, DECAYS.astype(float))
    in_pieces = 5e-4 if offset == -1e4 else 1e-5  # half of the last digit of a score, to which a ramp is added
    for face, allowed in ((lambda *args: decaying_softmax_scan(*args)[1], in_pieces), (stepwise, 1e-6)):
        error = np.max(np.abs(jax.jit(face)(scores, values, DECAYS) - expected), (0, 2)) / np.max(np.abs(values))
        assert np.all(error < allowed)


def test_an_old_large_score_fades_until_newer_ones_outweigh_it():
    """It is 1e4 larger, and loses 100 with every token. float32."""
    scores = np.zeros((300, 1), np.float32)
    scores[0] = 1e4
    values = (np.arange(300) == 0).astype(np.float32)[:, None, None]
    _, out = run(scores, values, np.array([100.0], np.float32))
    share = out[:, 0, 0]
    assert np.all(share[:99] == 1)
    assert share[100] == pytest.approx(0.5)
    assert np.all(share[102:] < 1e-30)


@pytest.mark.usefixtures("unchecked")
def test_a_decay_of_another_shape_is_named():
    with pytest.raises(InputError, match=r"decay has shape \(3,\); scores of shape \(5, 2\) need \(2,\)"):
        decaying_softmax_scan(np.ones((5, 2)), np.ones((5, 2, 3)), np.ones(3))
