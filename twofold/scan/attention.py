"""Causal softmax attention of every token over those before it, block by block: no array of all scores is ever formed."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import ArrayLike, Float, Int, Real

from ..errors import InputError
from . import _native
from ._arguments import common_dtype
from ._dispatch import choose
from ._platform import Implementation, dispatch
from ._varying import alike

BLOCK = 256  # Queries at a time where XLA computes it: large enough for matrix products.


def causal_attention(
    q: Real[ArrayLike, "time heads d_k"],
    k: Real[ArrayLike, "seen heads d_k"],
    v: Real[ArrayLike, "seen heads d_v"],
    first: Int[ArrayLike, " time"] | None = None,
    *,
    implementation: Implementation = "auto",
) -> Float[Array, "time heads d_v"]:
    """Causal softmax attention: o_t = sum_s softmax_s(q_t . k_s / sqrt(d_k)) v_s (Vaswani et al. 2017, section 3.2).

    The queries belong to the last `time` of the `seen` tokens: query t is that of token n = seen - time + t. It sees the
    tokens s with first[t] <= s <= n. So `first` is what windows and packed sequences are made of, and earlier tokens, as
    from a cache, come before the others in `k` and `v`.

    **Arguments:**

    - `q`: queries, `(time, heads, d_k)`.
    - `k`, `v`: keys, `(seen, heads, d_k)`, and values, `(seen, heads, d_v)`, of at least as many tokens.
    - `first`: the first token that each query sees, `(time,)`; 0 if not given. A query that sees none has the output zero.
    - `implementation`: `"auto"`, `"native"` or `"xla"`, of which `implementations` tells more.

    **Returns:** the outputs, `(time, heads, d_v)`.

    **Raises:** `InputError` if the shapes do not fit, if numbers are complex, or if this implementation is not there.

    A NaN or inf in a key or a value makes the outputs of this head NaN for exactly the queries that see the token. One in a
    query makes its own output NaN. Such an output passes no gradient on.

    Memory is O(seen): the gradient computes the scores again, after Dao et al. 2022 (FlashAttention). Where XLA computes it,
    memory is that of the scores of 256 queries. Reverse mode of any order works; forward mode does not.
    """
    dtype = common_dtype(q=q, k=k, v=v)
    q, k, v = (jnp.asarray(x, dtype) for x in (q, k, v))
    if not (
        q.ndim == k.ndim == v.ndim == 3
        and q.shape[1:] == k.shape[1:]
        and k.shape[:2] == v.shape[:2]
        and len(q) <= len(k)
    ):
        raise InputError(
            f"q, k, v have shapes {q.shape}, {k.shape}, {v.shape}; they must be (time, heads, d_k), (seen, heads, d_k) and"
            " (seen, heads, d_v), with seen at least time"
        )
    first = jnp.zeros(len(q), jnp.int32) if first is None else jnp.asarray(first)
    if first.shape != (len(q),) or not jnp.issubdtype(first.dtype, jnp.integer):
        raise InputError(
            f"first has shape {first.shape} and dtype {first.dtype}; these queries need integers of shape ({len(q)},)"
        )
    if len(q) == 0:
        return jnp.zeros((0, *v.shape[1:]), dtype)
    q, k, v, first = alike((q, k, v, first.astype(jnp.int32)))
    return _attend(q, k, v, first, choose(implementation, "causal_attention", q))


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _attend(q, k, v, first, chosen: Implementation):
    return dispatch(chosen, _portable, _native_forward, q, k, v, first)[0]


def _forward(q, k, v, first, chosen):
    out, *statistics = dispatch(chosen, _portable, _native_forward, q, k, v, first)
    return out, (q, k, v, first, out, statistics)


def _backward(chosen, saved, g):
    return *dispatch(chosen, _portable_backward, _native_backward, *saved, g), None


_attend.defvjp(_forward, _backward)


def _native_forward(q, k, v, first):
    results = [jax.ShapeDtypeStruct((*q.shape[:2], v.shape[2]), q.dtype), *[q[..., 0]] * 2]
    return _native.call("attention_forward", results, q, k, v, first)


def _native_backward(q, k, v, first, out, statistics, g):
    return tuple(_native.call("attention_backward", [q, k, v], q, k, v, first, out, *statistics, g))


def _portable_backward(q, k, v, first, out, statistics, g):
    """What the outputs and their statistics are is computed again, with the scores."""
    return jax.vjp(lambda q, k, v: _portable(q, k, v, first)[0], q, k, v)[1](g)


def _portable(q, k, v, first):
    """The outputs; m_t, the largest score of each query; and the sum over s of exp(score_s - m_t)."""
    time, seen = len(q), len(k)
    last = jnp.arange(seen - time, seen)
    # A matrix product would spread NaN and inf to queries that do not see them, because 0 * NaN is NaN. So they are taken out
    # first, and put back where they belong: to queries with more of them up to their last token than before their first.
    finite_q, finite_k, finite_v = (jnp.where(jnp.isfinite(x), x, 0) for x in (q, k, v))
    bad = ~jnp.all(jnp.isfinite(k), 2) | ~jnp.all(jnp.isfinite(v), 2)
    before = jnp.cumsum(jnp.pad(bad, [(1, 0), (0, 0)]), 0)
    tainted = (before[last + 1] > before[jnp.clip(first, 0, last + 1)]) | ~jnp.all(jnp.isfinite(q), 2)

    def attend(block):
        q, first, last = block
        return _attend_block(q, first, last, finite_k, finite_v)

    size = min(BLOCK, time)
    if time == size:
        results = attend((finite_q, first, last))
    else:
        padded = (jnp.pad(x, [(0, -time % size)] + [(0, 0)] * (x.ndim - 1)) for x in (finite_q, first, last))
        blocks = tuple(x.reshape(-1, size, *x.shape[1:]) for x in padded)
        results = (x.reshape(-1, *x.shape[2:])[:time] for x in lax.map(jax.checkpoint(attend), blocks))
    out, maximum, normaliser = results
    return [jnp.where(tainted[..., None], jnp.nan, out), maximum, jnp.where(tainted, jnp.nan, normaliser)]


def _attend_block(q, first, last, k, v):
    """Some of the queries over all keys. The division comes last, where the fewest numbers are left."""
    token = jnp.arange(len(k))
    visible = (first[:, None] <= token) & (token <= last[:, None])
    scores = jnp.einsum("thk,shk->hts", q, k) / q.shape[2] ** 0.5
    scores = jnp.where(visible, scores, -jnp.inf)
    maximum = lax.stop_gradient(jnp.max(scores, 2, initial=float(jnp.finfo(q.dtype).min)))
    weights = jnp.exp(scores - maximum[:, :, None])
    normaliser = jnp.sum(weights, 2).T
    divisor = jnp.where(normaliser == 0, 1, normaliser)
    return jnp.einsum("hts,shk->thk", weights, v) / divisor[:, :, None], maximum.T, normaliser
