"""Linear attention as a recurrence with a matrix for its state, computed chunk by chunk from matrix products."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array, lax
from jaxtyping import ArrayLike, Bool, Float, Real

from ..errors import InputError
from . import _native
from ._arguments import checked_resets, common_dtype
from ._dispatch import choose
from ._platform import Implementation, dispatch
from ._varying import alike, tied
from .axis import before_part, of_last_part
from .plain import plain

CHUNK = 32  # Tokens a chunk: large enough for matrix products, small enough that scores add little work to the states'.


def kv_scan(
    q: Real[ArrayLike, "time heads d_k"],
    k: Real[ArrayLike, "time heads d_k"],
    v: Real[ArrayLike, "time heads d_v"],
    state: Real[ArrayLike, "heads d_k d_v"] | None = None,
    *,
    resets: Bool[ArrayLike, " time"] | None = None,
    axis_name: str | None = None,
    implementation: Implementation = "auto",
) -> tuple[Float[Array, "heads d_k d_v"], Float[Array, "time heads d_v"]]:
    """Causal linear attention without a normaliser: o_t = sum_{s<=t} v_s (k_s . q_t) (paper A, section 2.1).

    As a recurrence: S_t = S_{t-1} + k_t v_t^T, o_t = S_t^T q_t. S is the transpose of the paper's fast weights W.

    **Arguments:**

    - `q`, `k`: queries and keys, `(time, heads, d_k)`.
    - `v`: values, `(time, heads, d_v)`.
    - `state`: S_0, `(heads, d_k, d_v)`; zeros if not given.
    - `resets`: where true, the token is the first of a new sequence. Nothing passes a reset, not even NaN or inf.
    - `axis_name`: inside of `jax.shard_map`, the axis over which time is spread. Each device has a part of the tokens, in
        the order of time, and gets their outputs. The states before and after are those of all tokens, on all devices.
    - `implementation`: `"auto"`, `"native"` or `"xla"`, of which `implementations` tells more.

    **Returns:** the state after the last token, and the outputs `(time, heads, d_v)`.

    **Raises:** `InputError` if the shapes do not fit, if numbers are complex, or if this implementation is not there.

    Where XLA computes it and there are no `resets`, a NaN or inf spreads to the tokens just before it too, in its chunk.

    Memory is O(time): the states within a chunk are never formed, neither here nor in the gradient, which is three
    such scans. Reverse mode of any order works; forward mode does not. The result has the rounding of a sum over all
    tokens.
    """
    dtype = common_dtype(q=q, k=k, v=v, state=state)
    q, k, v = (jnp.asarray(x, dtype) for x in (q, k, v))
    if not (q.ndim == k.ndim == v.ndim == 3 and q.shape == k.shape and q.shape[:2] == v.shape[:2]):
        raise InputError(
            f"q, k, v have shapes {q.shape}, {k.shape}, {v.shape};"
            " they must be (time, heads, d_k) twice and (time, heads, d_v)"
        )
    needed = (q.shape[1], q.shape[2], v.shape[2])
    state = jnp.zeros(needed, dtype) if state is None else jnp.asarray(state, dtype)
    if state.shape != needed:
        raise InputError(f"state has shape {state.shape}; these q, k, v need (heads, d_k, d_v) = {needed}")
    first = jnp.int32(0)  # the segment that the initial state belongs to
    q, k, v, state, resets, first = alike((q, k, v, state, checked_resets(resets, len(q)), first))
    chosen = choose(implementation, "kv_scan", q)
    segments = None if resets is None or len(q) == 0 else jnp.cumsum(resets, dtype=jnp.int32)
    if axis_name is not None:
        state = _before_part(k, v, state, segments, resets, axis_name)
    if segments is None:
        state, out = _scan(q, k, v, state, None, first, False, chosen)
    elif chosen == "xla":
        state, out = _portable_packed(q, k, v, state, segments, first)
    else:
        state, out = _packed(chosen, q, k, v, state, segments, first)
    return of_last_part(state, axis_name), out


def _before_part(k, v, state, segments, resets, axis_name):
    """The state before the first token of this device."""
    if segments is not None:
        ending = (segments == segments[-1])[:, None, None]
        k, v = jnp.where(ending, k, 0), jnp.where(ending, v, 0)
    added = jnp.einsum("thk,thv->hkv", k, v)
    return before_part(lambda earlier, later, _parts: earlier + later, state, added, resets, axis_name)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _packed(chosen: Implementation, *args):
    """The scan over several segments."""
    return dispatch(chosen, _portable_packed, _native_packed, *args)


def _packed_forward(chosen, *args):
    return _packed(chosen, *args), args


def _packed_backward(chosen, saved, cotangents):
    return *dispatch(chosen, _portable_packed_backward, _native_packed_backward, saved, cotangents), None, None


_packed.defvjp(_packed_forward, _packed_backward)


def _native_packed(q, k, v, state, segments, first):
    """The kernel's chunks end where segments do."""
    return _scan(q, k, v, state, segments, first, False, "native")


def _native_packed_backward(saved, cotangents):
    return _scan_backward(False, "native", saved, cotangents)[:4]


def _portable_packed(q, k, v, state, segments, first):
    """The scan, where NaN and inf stay in their segment although matrix products run across segments (0 * NaN = NaN)."""
    clean = [jnp.where(jnp.isfinite(x), x, 0) for x in (q, k, v)]
    last, out = _scan(*clean, state, segments, first, False, "xla")
    # Zero times a bad entry is NaN, and NaN it stays until the next reset, just as in the recurrence.
    marks = lax.stop_gradient(0 * v + 0 * jnp.sum(k, -1, keepdims=True))

    def taint(carry, token):
        mark, segment = token
        total, current = carry
        total = mark + jnp.where(segment == current, total, 0)
        return (total, segment), total

    (last_taint, _), taints = lax.scan(taint, (jnp.zeros_like(v[0]), first), (marks, segments))
    taints = taints + lax.stop_gradient(0 * jnp.sum(q, -1, keepdims=True))
    # Selected, not added: so that a gradient that is itself NaN there does not come back in either.
    return jnp.where(jnp.isnan(last_taint)[:, None], jnp.nan, last), jnp.where(jnp.isnan(taints), taints, out)


def _portable_packed_backward(saved, cotangents):
    *args, segments, first = saved
    scan = partial(_portable_packed, segments=segments, first=first)
    return jax.vjp(scan, *args)[1](cotangents)


@partial(jax.custom_vjp, nondiff_argnums=(6, 7))
def _scan(q, k, v, state, segments, segment, reverse: bool, chosen: Implementation):
    """Chunks in order of time, or reversed: o_t = sum_{s>=t}. `segments` is None if there is one alone.

    `segment`: which segment the initial state belongs to.
    """
    portable, native = (partial(f, reverse=reverse) for f in (_chunks, _native_chunks))
    return dispatch(chosen, portable, native, q, k, v, state, segments, segment)


def _native_chunks(q, k, v, state, segments, segment, reverse):
    segments = _native.present(segments, jnp.int32)
    out, last = _native.call("kv_forward", [v, state], q, k, v, state, segments, segment, reverse=reverse)
    return last, out


def _chunks(q, k, v, state, segments, segment, reverse):
    time = len(q)
    if time == 0:
        return state, jnp.zeros(v.shape, v.dtype)
    size = min(CHUNK, time)
    q, k, v = (jnp.pad(x, [(0, -time % size), (0, 0), (0, 0)]) for x in (q, k, v))
    segments = None if segments is None else jnp.pad(segments, (0, -time % size), mode="edge")
    position = jnp.arange(size)
    earlier = position[:, None] <= position if reverse else position[:, None] >= position

    def absorb(state, current, chunk):
        q, k, v, here = chunk
        # Transposed chunk by chunk, within cache: in a product of matrices the heads must lead.
        queries, keys, values = jnp.transpose(q, (1, 0, 2)), jnp.transpose(k, (1, 2, 0)), jnp.transpose(v, (1, 0, 2))
        seen, before, ending = earlier, queries @ state, keys
        if here is not None:
            seen = seen & (here[:, None] == here)
            before = jnp.where((here == current)[:, None], before, 0)
            end = here[0 if reverse else -1]
            ending = jnp.where(here == end, keys, 0)
            state, current = jnp.where(end == current, state, 0), end
        found = jnp.where(seen, queries @ keys, 0) @ values + before
        return state + ending @ values, current, jnp.swapaxes(found, 0, 1)

    state = tied(state, (q, k, v))
    if time == size:
        state, _, out = absorb(state, segment, (q, k, v, segments))
        return state, out

    if plain.get():
        chunks = jax.tree.map(lambda x: x.reshape(-1, size, *x.shape[1:]), (q, k, v, segments))

        def turn(carry, chunk):
            state, current = carry
            state, current, found = absorb(state, current, chunk)
            return (state, current), found

        (state, _), out = lax.scan(turn, (state, segment), chunks, reverse=reverse)
        return state, out.reshape(-1, *v.shape[1:])[:time]

    def step(carry, start):  # Chunks are cut out of the arrays as they are: see `loop`.
        state, current, out = carry
        chunk = jax.tree.map(lambda x: lax.dynamic_slice_in_dim(x, start, size), (q, k, v, segments))
        state, current, found = absorb(state, current, chunk)
        return (state, current, lax.dynamic_update_slice_in_dim(out, found, start, 0)), None

    starts = jnp.arange(0, time, size)
    (state, _, out), _ = lax.scan(step, (state, segment, jnp.zeros_like(v)), starts, reverse=reverse)
    return state, out[:time]


def _scan_forward(q, k, v, state, segments, segment, reverse, chosen):
    return _scan(q, k, v, state, segments, segment, reverse, chosen), (q, k, v, state, segments, segment)


def _scan_backward(reverse, chosen, saved, cotangents):
    """Each gradient is linear attention again: <v_s, g_t> are the scores, and time runs back for keys and values."""
    q, k, v, state, segments, segment = saved
    g_state, g = cotangents
    if len(q) == 0:
        return q, k, v, g_state, None, None
    start, other_end = (segment, segment) if segments is None else segments[jnp.array([0, -1])]
    start, other_end = (other_end, start) if reverse else (start, other_end)
    transposed = jnp.swapaxes(g_state, 1, 2)
    _, dq = _scan(g, v, k, jnp.swapaxes(state, 1, 2), segments, segment, reverse, chosen)
    _, dk = _scan(v, g, q, transposed, segments, other_end, not reverse, chosen)
    dstate, dv = _scan(k, q, g, g_state, segments, other_end, not reverse, chosen)
    dstate = jnp.where(start == segment, dstate, 0)
    return dq, dk, dv, dstate, None, None


_scan.defvjp(_scan_forward, _scan_backward)
