"""Softmax attention of a fixed query as a recurrence: over all prefixes (scan), or the whole alone (fold)."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Bool, Float, Real

from ..errors import InputError
from . import _native
from ._arguments import checked_resets, common_dtype
from ._dispatch import choose
from ._loop import loop
from ._platform import Implementation, dispatch
from ._varying import alike
from .axis import before_part, of_last_part

# Stands for "nothing seen yet": below every real score, yet finite, so that differences of maxima are never inf - inf.
EMPTY = -1e30


class SoftmaxState(NamedTuple):
    """What softmax attention needs to remember of all tokens so far (paper B, section 3.1).

    The weights of the tokens 1..t, relative to the largest, sum to `normaliser`. The average of the values is `output`.
    After millions of tokens a new one moves both by less than their rounding. So the state also has what rounding left
    out: `normaliser + normaliser_rest` and `output + output_rest` are the true numbers, and gradients are those of the sums.
    """

    maximum: Float[Array, " heads"]
    """m_t: the largest score so far."""
    normaliser: Float[Array, " heads"]
    """c_t: sum of exp(s_i - m_t)."""
    output: Float[Array, "heads dim"]
    """o_t = a_t / c_t: the attention output so far."""
    normaliser_rest: Float[Array, " heads"]
    """What rounding has left out of `normaliser`."""
    output_rest: Float[Array, "heads dim"]
    """What rounding has left out of `output`."""

    @classmethod
    def empty(cls, heads: int, dim: int, *, dtype=None) -> "SoftmaxState":
        """The state before the first token."""
        dtype = jnp.result_type(float) if dtype is None else dtype
        below = max(EMPTY, float(jnp.finfo(dtype).min))  # float16 ends at -65504
        return cls.exactly(jnp.full((heads,), below, dtype), jnp.zeros((heads,), dtype), jnp.zeros((heads, dim), dtype))

    @classmethod
    def exactly(
        cls,
        maximum: Float[ArrayLike, " heads"],
        normaliser: Float[ArrayLike, " heads"],
        output: Float[ArrayLike, "heads dim"],
    ) -> "SoftmaxState":
        """The state of these three, of which rounding has left nothing out."""
        m, c, o = map(jnp.asarray, (maximum, normaliser, output))
        return cls(m, c, o, jnp.zeros_like(c), jnp.zeros_like(o))

    def rounded(self) -> "SoftmaxState":
        """The state of the true numbers, rounded: without rests."""
        m, c, o, c_rest, o_rest = self
        return SoftmaxState.exactly(m, c + c_rest, o + o_rest)


def softmax_scan(
    scores: Real[ArrayLike, "time heads"],
    values: Real[ArrayLike, "time heads dim"],
    state: SoftmaxState | None = None,
    *,
    resets: Bool[ArrayLike, " time"] | None = None,
    axis_name: str | None = None,
    implementation: Implementation = "auto",
) -> tuple[SoftmaxState, Float[Array, "time heads dim"]]:
    """Prefix softmax attention: o_t = sum_{i<=t} exp(s_i) v_i / sum_{i<=t} exp(s_i), for every t (paper B, section 3.2).

    **Arguments:**

    - `scores`: s_t, `(time, heads)`. A score of -inf masks its token, whatever its value;
        while all are masked the output is zero.
    - `values`: v_t, `(time, heads, dim)`.
    - `state`: what came before, from an earlier call; empty if not given.
    - `resets`: where true, the token is the first of a new sequence. Nothing passes a reset, not even NaN.
    - `axis_name`: inside of `jax.shard_map`, the axis over which time is spread. Each device has a part of the tokens, in
        the order of time, and gets their outputs. The states before and after are those of all tokens, on all devices.
    - `implementation`: `"auto"`, `"native"` or `"xla"`, of which `implementations` tells more.

    **Returns:** the state after the last token, and the outputs `(time, heads, dim)`.

    **Raises:** `InputError` if the shapes do not fit, if numbers are complex, or if this implementation is not there.

    With alpha_t = exp(s_t - logsumexp(s_1..s_t)) the output is the gated recurrence
    o_t = (1 - alpha_t) o_{t-1} + alpha_t v_t, and the gradient is the same recurrence in reverse, every factor of it
    in [0, 1]: exact for scores of any size. Adding a constant to all scores changes nothing. The absolute error in float32
    is below 1e-5 of the largest value, after 1e7 tokens too. Reverse mode of any order works; forward mode does not.
    """
    dtype = common_dtype(scores=scores, values=values, state=state)
    scores, values, state, resets = alike(checked(scores, values, state, resets, dtype))
    chosen = choose(implementation, "softmax_scan", scores)
    if axis_name is not None:
        state = _before_part(scores, values, state, resets, chosen, axis_name)
    state, out = _scan(scores, values, state, resets, chosen)
    return of_last_part(state, axis_name), out


def _before_part(scores, values, state, resets, chosen, axis_name):
    """The state before the first token of this device."""
    empty = SoftmaxState.empty(*values.shape[1:], dtype=values.dtype)
    own = _scan(scores, values, alike((empty, scores))[0], resets, chosen)[0]
    return before_part(merged, state, own, resets, axis_name)


def merged(earlier: SoftmaxState, later: SoftmaxState, _parts: int = 1) -> SoftmaxState:
    """The state after the tokens of both."""
    maximum = jnp.maximum(earlier.maximum, later.maximum)
    faded, weight = jnp.exp(earlier.maximum - maximum), jnp.exp(later.maximum - maximum)
    normaliser, c_rest = compensated_sum(
        earlier.normaliser * faded, earlier.normaliser_rest * faded, later.normaliser * weight
    )
    divisor = jnp.where(normaliser == 0, 1, normaliser)
    share = ((later.normaliser + later.normaliser_rest) * weight / divisor)[..., None]
    move = share * (later.output + later.output_rest - earlier.output - earlier.output_rest)
    output, o_rest = compensated_sum(earlier.output, earlier.output_rest, move)
    return SoftmaxState(maximum, normaliser, output, c_rest + later.normaliser_rest * weight, o_rest)


def _absorb(state: SoftmaxState, score: Array, value: Array) -> tuple[SoftmaxState, Array, Array]:
    """The state after one more token, the token's share alpha, and the share 1 - alpha of what came before."""
    m, c, o, c_rest, o_rest = state
    maximum = jnp.maximum(m, score)
    weight, faded = jnp.exp(score - maximum), jnp.exp(m - maximum)
    normaliser, c_rest_next = compensated_sum(c * faded, c_rest * faded, weight)
    # All tokens masked so far: no share for anyone. (A NaN normaliser must stay NaN, hence not `> 0`.)
    divisor = jnp.where(normaliser == 0, 1, normaliser)
    alpha = weight / divisor
    # Moving towards the value, rather than weighing both, keeps an average of equal values exact over any length.
    moved = compensated_sum(o, o_rest, alpha[..., None] * (value - o - o_rest))
    # A token without a share is left out rather than multiplied by zero: padding may hold anything, even NaN.
    output, o_rest = (jnp.where(alpha[..., None] == 0, old, new) for old, new in zip((o, o_rest), moved, strict=True))
    return SoftmaxState(maximum, normaliser, output, c_rest_next, o_rest), alpha, (c + c_rest) * faded / divisor


def compensated_sum(total: Array, rest: Array, term: Array) -> tuple[Array, Array]:
    """total + rest + term, and what rounding leaves out of this sum (Kahan 1965, Neumaier 1974)."""
    moved, lost = two_sum(total, term)
    return two_sum(moved, rest + lost)


def two_sum(x: Array, y: Array) -> tuple[Array, Array]:
    """x + y and its rounding error, exactly (Knuth 1969). An infinity leaves nothing out."""
    total = x + y
    taken = total - x
    return total, jnp.where(jnp.isfinite(total), (x - (total - taken)) + (y - taken), 0)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _scan(scores, values, state, resets, chosen):
    state, out, _, _ = dispatch(chosen, _gates, _native_gates, scores, values, state, resets)
    return state, out


def _gates(scores, values, state, resets):
    """The last state, the outputs, and each token's share alpha and that of what came before."""
    empty = SoftmaxState.empty(*values.shape[1:], dtype=values.dtype)

    def step(empty, state, token):
        score, value, fresh = token
        if fresh is not None:
            state = jax.tree.map(lambda new, old: jnp.where(fresh, new, old), empty, state)
        state, alpha, kept = _absorb(state, score, value)
        return state, (state.output, alpha, kept)

    state, (out, alpha, kept) = loop(step, empty, state, (scores, values, resets), False)
    return state, out, alpha, kept


def _scan_forward(scores, values, state, resets, chosen):
    last, out, alpha, kept = dispatch(chosen, _gates, _native_gates, scores, values, state, resets)
    return (last, out), (scores, values, state, resets, last, out, alpha, kept)


def _scan_backward(chosen, saved, cotangents):
    return *dispatch(chosen, _pull_back, _native_pull_back, *saved, *cotangents), None


def _pull_back(scores, values, state, resets, last, out, alpha, kept, g_last, g):
    """The cotangents of scores, values and state, from those of the last state and the outputs."""

    def step(_, carry, token):
        """R_t = g_t + (1 - alpha_{t+1}) R_{t+1}, and r_t likewise from <g_t, o_t>."""
        g_t, inner, score_share, share, fresh = token
        big, small = carry
        big, small = big + g_t, small + inner
        pulled = score_share[..., None] * big, score_share * small
        carry = share[..., None] * big, share * small
        if fresh is not None:
            carry = jax.tree.map(lambda x: jnp.where(fresh, 0, x), carry)
        return carry, pulled

    state, last = state.rounded(), last.rounded()
    # The state's own cotangents enter at the last token: (m, c) only matter through logsumexp = m + log(c) ...
    d_logsum = g_last.normaliser * last.normaliser
    start = g_last.output, _inner(g_last.output, last.output) - d_logsum
    (d_output, small), (dvalues, average) = loop(step, None, start, (g, _inner(g, out), alpha, kept, resets), True)
    dscores = jnp.where(alpha == 0, 0, _inner(dvalues, values) - average)
    d_logsum0 = _inner(d_output, state.output) - small
    # ... except for the choice of the reference m itself, which is the score of the largest token.
    d_reference, d_reference0 = _to_largest(g_last.maximum - d_logsum, scores, state.maximum, last.maximum, resets)
    dscores = dscores + d_reference
    safe = jnp.where(state.normaliser == 0, 1, state.normaliser)
    d_normaliser = jnp.where(state.normaliser == 0, 0, d_logsum0 / safe)
    dstate = SoftmaxState(d_reference0 + d_logsum0, d_normaliser, d_output, d_normaliser, d_output)
    if resets is not None and len(scores):
        dstate = jax.tree.map(lambda x: jnp.where(resets[0], 0, x), dstate)
    return dscores, dvalues, dstate


def _native_gates(scores, values, state, resets):
    results = [values, *state, scores, scores]
    out, *last, alpha, kept = _native.call("softmax_forward", results, scores, values, *state, _native.present(resets))
    return SoftmaxState(*last), out, alpha, kept


def _native_pull_back(scores, values, state, resets, last, out, alpha, kept, g_last, g):
    # The kernel knows no rests: they are too small to matter here, and their cotangents are those of what they belong to.
    state, last, g_last = state[:3], last[:3], g_last[:3]
    args = scores, values, *state, _native.present(resets), out, *last, alpha, kept, g, *g_last
    dscores, dvalues, *dstate = _native.call("softmax_backward", [scores, values, *state], *args)
    return dscores, dvalues, SoftmaxState(*dstate, *dstate[1:])


def _inner(x, y):
    """<x, y> over the last axis. XLA's CPU backend can take 20 times as long for `sum(x * y, -1)` (jaxlib 0.10.2)."""
    return jnp.einsum("...d,...d->...", x, y, precision="highest")


def _to_largest(cotangent, scores, maximum0, maximum, resets):
    """The cotangent of `maximum` as one of the scores (and of the initial maximum) that attain it, shared among equals."""
    winner, winner0 = scores == maximum, maximum0 == maximum
    if resets is not None:
        segment = jnp.cumsum(resets)
        ended = segment[-1:] if len(scores) else 0
        winner = winner & (segment == ended)[:, None]
        winner0 = winner0 & jnp.all(ended == 0)
    share = cotangent / jnp.maximum(jnp.sum(winner, 0) + winner0.astype(int), 1).astype(cotangent.dtype)
    return jnp.where(winner, share, 0), jnp.where(winner0, share, 0)


_scan.defvjp(_scan_forward, _scan_backward)


def checked(scores, values, state, resets, dtype) -> tuple[Array, Array, SoftmaxState, Array | None]:
    """The arguments of a scan as arrays, with an empty state if none is given; an `InputError` if they do not fit."""
    scores, values = jnp.asarray(scores, dtype), jnp.asarray(values, dtype)
    if scores.ndim != 2 or values.ndim != 3 or values.shape[:2] != scores.shape:
        raise InputError(
            f"scores and values have shapes {scores.shape} and {values.shape}; they must be (time, heads) and (time, heads, dim)"
        )
    return scores, values, checked_state(state, values), checked_resets(resets, len(scores))


def checked_state(state: SoftmaxState | None, values: Array) -> SoftmaxState:
    """The state to begin with, empty if none is given; an `InputError` if it does not fit values `(time, heads, dim)`."""
    state = SoftmaxState.empty(*values.shape[1:], dtype=values.dtype) if state is None else state
    state = jax.tree.map(lambda x: jnp.asarray(x, values.dtype), state)
    if state.output.shape != values.shape[1:]:
        raise InputError(f"the state is for {state.output.shape} (heads, dim); these values need {values.shape[1:]}")
    return state
