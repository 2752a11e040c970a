"""Softmax attention of one query over all tokens, as a many-to-one recurrence in constant memory."""

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import ArrayLike, Float, Real

from ..errors import InputError
from ._arguments import common_dtype
from ._dispatch import choose
from ._platform import Implementation
from ._varying import alike, tied
from .softmax import SoftmaxState, checked_state, compensated_sum


def softmax_fold(
    query: Real[ArrayLike, "heads d_k"],
    keys: Real[ArrayLike, "time heads d_k"],
    values: Real[ArrayLike, "time heads dim"],
    state: SoftmaxState | None = None,
    *,
    block_size: int = 128,
    implementation: Implementation = "auto",
) -> tuple[SoftmaxState, Float[Array, "heads dim"]]:
    """Softmax attention of one query over all tokens, as a many-to-one RNN folded block by block (paper B, section 3.1).

    **Arguments:**

    - `query`: q, `(heads, d_k)`. Scores are s_i = q . k_i: scale the query by 1/sqrt(d_k) where that is wanted.
    - `keys`, `values`: `(time, heads, d_k)` and `(time, heads, dim)`.
    - `state`: what came before; empty if not given.
    - `block_size`: tokens a step. Beside its arguments the fold and its gradient need memory for one block of scores.
    - `implementation`: `"auto"`, `"native"` or `"xla"`, of which `implementations` tells more.

    **Returns:** the state after all tokens, and the output `(heads, dim)`, which is the state's `output`.

    **Raises:** `InputError` if the shapes do not fit, if numbers are complex, or if this implementation is not there.

    The gradient recomputes each block's scores. Reverse mode of any order works; forward mode does not.
    """
    dtype = common_dtype(query=query, keys=keys, values=values, state=state)
    query, keys, values = (jnp.asarray(x, dtype) for x in (query, keys, values))
    choose(implementation, "softmax_fold", keys)  # which has one alone: blocks are matrix products
    if query.ndim != 2 or keys.ndim != 3 or keys.shape[1:] != query.shape:
        raise InputError(f"keys have shape {keys.shape}; a query of shape {query.shape} needs (time, heads, d_k)")
    if values.ndim != 3 or values.shape[:2] != keys.shape[:2]:
        raise InputError(
            f"values have shape {values.shape}; keys of shape {keys.shape} need (time, heads, dim) of the same"
        )
    if block_size < 1:
        raise InputError(f"block_size is {block_size}; it must be at least 1")
    state = checked_state(state, values)
    query, keys, values, state = alike((query, keys, values, state))
    blocks = _blocks(min(block_size, max(len(keys), 1)), keys, values, jnp.ones(len(keys), bool))
    state = _fold(query, *blocks, state)
    return state, state.output


def _blocks(size, *arrays):
    """Each array's time axis as (blocks, size), padded with zeros (False)."""
    padded = [jnp.pad(x, [(0, -len(x) % size)] + [(0, 0)] * (x.ndim - 1)) for x in arrays]
    return [x.reshape((-1, size, *x.shape[1:])) for x in padded]


def _block_scores(query, keys, present):
    return jnp.where(present[:, None], jnp.einsum("hk,thk->th", query, keys), -jnp.inf)


@jax.custom_vjp
def _fold(query, keys, values, present, state):
    return _fold_counting(query, keys, values, present, state)[0]


def _fold_counting(query, keys, values, present, state):
    """The last state, and how many scores (the initial maximum counted as one) attain its maximum."""

    def absorb(carry, block):
        state, winners = carry
        keys, values, present = block
        scores = _block_scores(query, keys, present)
        maximum = jnp.maximum(state.maximum, jnp.max(scores, 0))
        weights, faded = jnp.exp(scores - maximum), jnp.exp(state.maximum - maximum)
        total = jnp.sum(weights, 0)
        normaliser, c_rest = compensated_sum(state.normaliser * faded, state.normaliser_rest * faded, total)
        divisor = jnp.where(normaliser == 0, 1, normaliser)
        mean = jnp.einsum("th,thd->hd", weights / divisor, values)
        towards = mean - (total / divisor)[:, None] * (state.output + state.output_rest)
        output, o_rest = compensated_sum(state.output, state.output_rest, towards)
        winners = jnp.where(maximum == state.maximum, winners, 0) + jnp.sum(scores == maximum, 0)
        return (SoftmaxState(maximum, normaliser, output, c_rest, o_rest), winners), None

    state = tied(state, (query, keys, values))
    start = alike((state, jnp.ones(len(query), int)))
    return lax.scan(absorb, start, (keys, values, present))[0]


def _fold_forward(query, keys, values, present, state):
    last, winners = _fold_counting(query, keys, values, present, state)
    return last, (query, keys, values, present, state, last, winners)


def _fold_backward(saved, g):
    query, keys, values, present, state, last, winners = saved
    state, last = state.rounded(), last.rounded()
    divisor = jnp.where(last.normaliser == 0, 1, last.normaliser)
    d_logsum = g.normaliser * last.normaliser
    small = jnp.sum(g.output * last.output, -1) - d_logsum
    reference = (g.maximum - d_logsum) / winners.astype(g.maximum.dtype)

    def pull_back(d_query, block):
        keys, values, present = block
        scores = _block_scores(query, keys, present)
        share = jnp.exp(scores - last.maximum) / divisor
        dscores = share * (jnp.einsum("hd,thd->th", g.output, values) - small)
        dscores = dscores + jnp.where(scores == last.maximum, reference, 0)
        d_query = d_query + jnp.einsum("th,thk->hk", dscores, keys)
        return d_query, (dscores[..., None] * query, share[..., None] * g.output)

    d_query, (d_keys, d_values) = lax.scan(pull_back, jnp.zeros_like(query), (keys, values, present))
    share = jnp.exp(state.maximum - last.maximum) / divisor  # of one unit of the initial normaliser
    pull = share * (jnp.sum(g.output * state.output, -1) - small)
    d_maximum = state.normaliser * pull + jnp.where(state.maximum == last.maximum, reference, 0)
    d_output = (state.normaliser * share)[:, None] * g.output
    return d_query, d_keys, d_values, None, SoftmaxState(d_maximum, pull, d_output, pull, d_output)


_fold.defvjp(_fold_forward, _fold_backward)
