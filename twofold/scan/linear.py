"""The linear recurrence h_t = a_t * h_{t-1} + b_t, with a hand-written gradient."""

import math
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Bool, Inexact, Num

from ..errors import InputError
from . import _native
from ._arguments import checked_resets, common_dtype
from ._dispatch import choose
from ._loop import loop
from ._platform import Implementation, dispatch
from ._varying import alike
from .axis import before_part


def linear_scan(
    a: Num[ArrayLike, "..."],
    b: Num[ArrayLike, "time *rest"],
    h0: Num[ArrayLike, "*rest"] | None = None,
    *,
    reverse: bool = False,
    resets: Bool[ArrayLike, " time"] | None = None,
    axis_name: str | None = None,
    implementation: Implementation = "auto",
) -> Inexact[Array, "time *rest"]:
    """All states of h_t = a_t * h_{t-1} + b_t (elementwise), for t = 1..time.

    This is the one recurrence of both papers: paper A's gated RNN has a = lambda (its eq. 2), its LRU a complex a,
    linear attention a = 1, and Aaren (paper B) a_t = 1 - alpha_t.

    **Arguments:**

    - `a`: decay, of any shape that broadcasts against `b` (NumPy's rules: a lambda of shape `rest` is constant over
        time; `(time, heads, 1)` is one gate a head, which is never expanded in memory).
    - `b`: input, `(time, *rest)`. All arrays may be real or complex; a real `a` may meet a complex `b`.
    - `h0`: state before the first token, `rest`; zeros if not given.
    - `reverse`: run from the last token to the first: h_t = a_t * h_{t+1} + b_t.
    - `resets`: where true, the token meets a zero state: h_t = b_t. Nothing passes a reset, not even NaN or inf.
    - `axis_name`: inside of `jax.shard_map`, the axis over which time is spread. Each device has a part of the tokens, in
        the order of time, and gets their states. `h0` is the state before all tokens, the same on all devices.
    - `implementation`: `"auto"`, `"native"` or `"xla"`, of which `implementations` tells more.

    **Returns:** `(time, *rest)`, every state in time order.

    **Raises:** `InputError` if the shapes do not fit, or if this implementation is not there.

    The gradient is the same recurrence in reverse: with g_t = dL/dh_t, R_t = g_t + a_{t+1} * R_{t+1}, dL/db = R and
    dL/da_t = R_t * h_{t-1} (no conjugate: JAX's convention for complex numbers). Reverse mode of any order works;
    forward mode (`jax.jvp`) does not.

    Each state is rounded once a step: for |a| <= 1 - c the relative error stays near eps / c, and for a = 1 it grows
    like that of a running sum (about 1e-5 after 1e5 steps in float32).
    """
    dtype = common_dtype(real=False, a=a, b=b, h0=h0)
    a, b = jnp.asarray(a, dtype), jnp.asarray(b, dtype)
    h0 = jnp.zeros(b.shape[1:], dtype) if h0 is None else jnp.asarray(h0, dtype)
    _check_shapes(a, b, h0)
    resets = checked_resets(resets, len(b))
    a, b, h0, resets = alike((a.reshape((1,) * (b.ndim - a.ndim) + a.shape), b, h0, resets))
    chosen = choose(implementation, "linear_scan", b)
    if axis_name is not None:
        h0 = _before_part(a, b, h0, resets, reverse, chosen, axis_name)
    return _scan(a, b, h0, resets, reverse, chosen)


class _Part(NamedTuple):
    """What tokens do to the state before them: h becomes decay * h + added."""

    decay: Array
    added: Array


def _before_part(a, b, h0, resets, reverse, chosen, axis_name):
    """The state before the first token of this device."""
    if len(b) == 0:
        return h0
    end = 0 if reverse else -1
    added = _scan(a, b, jnp.zeros_like(h0), resets, reverse, chosen)[end]
    if a.shape[0] < len(b):  # constant over time, so that all devices know what it comes to

        def merged_added(earlier, later, parts):
            return a[0] ** (parts * len(b)) * earlier + later

        return before_part(merged_added, h0, added, resets, axis_name, reverse)
    decay = _scan(a, jnp.zeros_like(a), jnp.ones_like(a[0]), resets, reverse, chosen)[end]
    start = _Part(jnp.ones_like(decay), h0)
    return before_part(_merged, start, _Part(decay, added), resets, axis_name, reverse).added


def _merged(earlier: _Part, later: _Part, _parts: int) -> _Part:
    """What two parts do, one after the other."""
    return _Part(earlier.decay * later.decay, later.decay * earlier.added + later.added)


@partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _scan(a: Array, b: Array, h0: Array, resets: Array | None, reverse: bool, chosen: Implementation) -> Array:
    portable, native = (partial(f, reverse=reverse) for f in (_states, _native_states))
    return dispatch(chosen, portable, native, a, b, h0, resets)


def _states(a, b, h0, resets, reverse):
    constant, varying = _split_by_time(a, b)

    def step(constant, h, token):
        a_t, b_t, fresh = token
        h = b_t + _unless(fresh, (constant if a_t is None else a_t) * h)
        return h, h

    return loop(step, constant, h0, (varying, b, resets), reverse)[1]


def _scan_forward(a, b, h0, resets, reverse, chosen):
    h = _scan(a, b, h0, resets, reverse, chosen)
    return h, (a, h, h0, resets)


def _scan_backward(reverse, chosen, saved, g):
    portable, native = (partial(f, reverse=reverse) for f in (_pull_back, _native_pull_back))
    return *dispatch(chosen, portable, native, *saved, g), None


def _pull_back(a, h, h0, resets, g, reverse):
    """The cotangents of a, b and h0."""
    constant, varying = _split_by_time(a, h)
    zero = jnp.zeros_like(h0)
    if varying is None:

        def step_summing(
            a, carry, token
        ):  # carry: a * R_{t+1}, R_{t+1}, whether t + 1 is fresh, and da of all steps after it
            pulled, later, cut, da = carry
            g_t, h_t, fresh = token
            r = g_t + pulled
            return (_unless(fresh, a * r), r, fresh, da + _unless(cut, later * h_t)), r

        start = zero, zero, None if resets is None else jnp.zeros((), resets.dtype), zero
        (dh0, later, cut, da), r = loop(step_summing, constant, start, (g, h, resets), not reverse)
        return _sum_to(a, (da + _unless(cut, later * h0))[None]), r, dh0

    def step(_, carry, token):  # carry: a_{t+1} * R_{t+1}
        a_t, g_t, fresh = token
        r = g_t + carry
        return _unless(fresh, a_t * r), r

    dh0, r = loop(step, None, zero, (varying, g, resets), not reverse)
    da = [r[:-1] * h[1:], r[-1:] * h0] if reverse else [r[:1] * h0, r[1:] * h[:-1]]
    da = jnp.concatenate(da)
    if resets is not None:
        da = jnp.where(resets.reshape((-1,) + (1,) * (h.ndim - 1)), 0, da)
    return _sum_to(a, da), r, dh0


_scan.defvjp(_scan_forward, _scan_backward)


def _native_states(a, b, h0, resets, reverse):
    args = _as_heads(a, b, h0, resets)
    return _native.call("linear_forward", args[1], *args, reverse=reverse).reshape(b.shape)


def _native_pull_back(a, h, h0, resets, g, reverse):
    decays, states, start, resets = _as_heads(a, h, h0, resets)
    args = decays, g.reshape(states.shape), states, start, resets
    da, db, dh0 = _native.call("linear_backward", [decays, states, start], *args, reverse=reverse)
    split = _axes_of_heads(a, h)
    da = da.reshape(a.shape[:1] + h.shape[1:split] + (1,) * (h.ndim - split))
    return _sum_to(a, da), db.reshape(h.shape), dh0.reshape(h0.shape)


def _as_heads(a, b, h0, resets):
    """As the kernels take them: a `(time or 1, heads)`, b `(time, heads, dim)`: a head is what has one decay in common."""
    split = _axes_of_heads(a, b)
    inner = b.shape[1:split]
    a = jnp.broadcast_to(a.reshape(a.shape[:split]), (a.shape[0], *inner)).reshape(len(a), math.prod(inner))
    shape = math.prod(inner), math.prod(b.shape[split:])
    return a, b.reshape(len(b), *shape), h0.reshape(shape), _native.present(resets)


def _axes_of_heads(a: Array, b: Array) -> int:
    """Where the last axes begin along which `a` is broadcast; if these are few numbers it is cheaper to expand `a`."""
    split = 1 + max((axis for axis in range(1, b.ndim) if a.shape[axis] > 1), default=0)
    return split if math.prod(b.shape[split:]) >= 16 else b.ndim


def _split_by_time(a: Array, b: Array) -> tuple[Array | None, Array | None]:
    """`a` as (constant over time, varying with time), of which one is None."""
    return (None, a) if a.shape[0] == b.shape[0] else (a[0], None)


def _sum_to(a: Array, da: Array) -> Array:
    """`da` summed over the axes along which `a` is broadcast."""
    summed = tuple(axis for axis in range(a.ndim) if a.shape[axis] == 1)
    return jnp.sum(da, axis=summed, keepdims=True)


def _unless(fresh: Array | None, carried: Array) -> Array:
    """What is carried over, or zero at a reset. A select: multiplying by zero would keep NaN and inf."""
    return carried if fresh is None else jnp.where(fresh, 0, carried)


def _check_shapes(a: Array, b: Array, h0: Array) -> None:
    if b.ndim == 0:
        raise InputError("b is a scalar; linear_scan needs a leading time axis")
    try:
        fits = jnp.broadcast_shapes(a.shape, b.shape) == b.shape
    except ValueError:
        fits = False
    if not fits:
        raise InputError(f"a of shape {a.shape} does not broadcast against b of shape {b.shape}")
    if h0.shape != b.shape[1:]:
        raise InputError(f"h0 has shape {h0.shape}; b of shape {b.shape} needs {b.shape[1:]}")
