"""Softmax attention of a fixed query whose scores fall with age, as a recurrence in constant memory."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import ArrayLike, Bool, Float, Real

from ..errors import InputError
from ._arguments import common_dtype
from ._dispatch import choose
from ._platform import Implementation
from ._varying import alike
from .axis import before_part, of_last_part
from .softmax import SoftmaxState, checked, compensated_sum, merged, softmax_scan, two_sum

PIECE = 64  # Tokens at a time: few enough that their ramp costs no digits, enough for the kernels to be fast.
HALF_PIECE = 8  # In half precision, a ramp of 64 would cost nearly all digits.


def decaying_softmax_scan(
    scores: Real[ArrayLike, "time heads"],
    values: Real[ArrayLike, "time heads dim"],
    decay: Real[ArrayLike, " heads"],
    state: SoftmaxState | None = None,
    *,
    resets: Bool[ArrayLike, " time"] | None = None,
    axis_name: str | None = None,
    implementation: Implementation = "auto",
) -> tuple[SoftmaxState, Float[Array, "time heads dim"]]:
    """Prefix softmax attention whose scores fall by `decay` with every token: at t, token i has s_i - decay * (t - i).

    These are the linear biases of Press et al. 2022 (ALiBi). As a recurrence, the logarithm of the sum of all weights falls
    by `decay` before each token, and then `softmax_scan` takes the token in.

    **Arguments:**

    - `scores`: `(time, heads)`, s. `values`: `(time, heads, dim)`, v.
    - `decay`: by how much the scores of a head fall with every token, `(heads,)`, not negative. With 0 it is `softmax_scan`.
    - `state`: the state before the first token; empty if not given.
    - `resets`, `axis_name`, `implementation`: as for `softmax_scan`.

    **Returns:** the state after the last token, and the outputs `(time, heads, dim)`. `SoftmaxState` is as of the last token.

    **Raises:** `InputError` as `softmax_scan` does, and for a `decay` that is not `(heads,)`.

    A ramp decay * i over all tokens would give the same outputs, but it grows, and scores would lose their digits to it. Here
    the ramp ends with each piece of 64 tokens, and the state carries no ramp. So a score loses no more digits than by adding
    64 * decay to it, after any number of tokens. Reverse mode of any order works; forward mode does not.
    """
    dtype = common_dtype(scores=scores, values=values, decay=decay, state=state)
    scores, values, state, resets = checked(scores, values, state, resets, dtype)
    decay = jnp.asarray(decay, dtype)
    if decay.shape != scores.shape[1:]:
        raise InputError(f"decay has shape {decay.shape}; scores of shape {scores.shape} need {scores.shape[1:]}")
    scores, values, decay, state, resets = alike((scores, values, decay, state, resets))
    choose(implementation, "decaying_softmax_scan", scores)  # which says whether it is there; softmax_scan chooses
    take = partial(_in_pieces, decay, implementation=implementation)
    if axis_name is not None:
        state = _before_part(take, decay, scores, values, state, resets, axis_name)
    state, out = take(state, (scores, values, resets))
    return of_last_part(state, axis_name), out


def _in_pieces(decay, state, tokens, *, implementation):
    """The state and the outputs, piece after piece of the tokens: scores, values, resets."""

    def one(state, piece):
        scores, values, resets = piece
        before_last = decay * jnp.arange(1 - len(scores), 1, dtype=decay.dtype)[:, None]
        state = _aged(state, decay * len(scores))
        return softmax_scan(scores + before_last, values, state, resets=resets, implementation=implementation)

    time, size = len(tokens[0]), PIECE if decay.dtype.itemsize > 2 else HALF_PIECE
    if time <= size:
        return one(state, tokens)
    whole = time // size * size
    pieces = jax.tree.map(lambda x: x[:whole].reshape(-1, size, *x.shape[1:]), tokens)
    state, out = lax.scan(one, state, pieces)
    out = out.reshape(whole, *out.shape[2:])
    if whole < time:
        state, last = one(state, jax.tree.map(lambda x: x[whole:], tokens))
        out = jnp.concatenate([out, last])
    return state, out


def _aged(state: SoftmaxState, fall: Float[Array, " heads"]) -> SoftmaxState:
    """The state with all scores lower by `fall`.

    They are scores relative to the maximum, so it is the maximum that falls. What rounding leaves out of its fall goes to the
    normaliser: a decay of less than the rounding of the maximum would be lost otherwise, or come out the larger each time.
    """
    m, c, o, c_rest, o_rest = state
    maximum, left = two_sum(m, -fall)
    normaliser, c_rest = compensated_sum(c, c_rest, (c + c_rest) * jnp.expm1(left))
    lowest = jnp.finfo(m.dtype).min  # float16 has it for "nothing seen yet"
    return SoftmaxState(jnp.maximum(maximum, lowest), normaliser, o, c_rest, o_rest)


def _before_part(take, decay, scores, values, state, resets, axis_name):
    """The state before the first token of this device. What came earlier is aged by the tokens of the devices after it."""

    def merge(earlier, later, parts):
        return merged(_aged(earlier, decay * (parts * len(scores))), later)

    empty = SoftmaxState.empty(*values.shape[1:], dtype=values.dtype)
    own, _ = take(alike((empty, scores))[0], (scores, values, resets))
    return before_part(merge, state, own, resets, axis_name)
