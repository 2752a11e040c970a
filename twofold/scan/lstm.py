"""The recurrence of the LSTM, with a hand-written gradient."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, Bool, Float, Real

from ..errors import InputError
from . import _native
from ._arguments import checked_resets, common_dtype
from ._dispatch import choose
from ._loop import loop
from ._platform import Implementation
from ._recurrent import Cell, either, filled, plus, previous, run, unless
from ._varying import alike


class LSTMState(NamedTuple):
    """The output h and the memory c, both `(hidden,)`."""

    h: Float[Array, " hidden"]
    c: Float[Array, " hidden"]


def lstm_scan(
    inputs: Real[ArrayLike, "time four_hidden"],
    v: Real[ArrayLike, "four_hidden hidden"],
    state: tuple[Real[ArrayLike, " hidden"], Real[ArrayLike, " hidden"]],
    *,
    resets: Bool[ArrayLike, " time"] | None = None,
    implementation: Implementation = "auto",
) -> tuple[LSTMState, Float[Array, "time hidden"]]:
    """All outputs of an LSTM (paper A, eq. 10-15) whose input products are known.

    With (F, K, G, O) = `inputs[t]` + V h_{t-1}, four parts of size `hidden`:
    c_t = sigmoid(F) * c_{t-1} + sigmoid(G) * tanh(K) and h_t = sigmoid(O) * tanh(c_t).

    **Arguments:**

    - `inputs`: U x_t + b of all steps, `(time, 4 * hidden)`, in the order f, c~, g, o.
    - `v`: the recurrent weights V in the same order, `(4 * hidden, hidden)`.
    - `state`: h and c before the first step, `(hidden,)` each.
    - `resets`: where true, the step meets a zero state. Nothing passes a reset, not even NaN or inf.
    - `implementation`: `"auto"`, `"native"` or `"xla"`, of which `implementations` tells more.

    **Returns:** the state after the last step, and h of all steps, `(time, hidden)`.

    **Raises:** `InputError` if the shapes do not fit, if numbers are complex, or if this implementation is not there.

    Reverse mode of any order works; forward mode (`jax.jvp`) does not.
    """
    dtype = common_dtype(inputs=inputs, v=v, state=tuple(state))
    inputs, v, h, c = (jnp.asarray(x, dtype) for x in (inputs, v, *state))
    n = v.shape[-1] if v.ndim else 0
    if inputs.shape[1:] != (4 * n,) or v.shape != (4 * n, n) or not h.shape == c.shape == (n,):
        raise InputError(
            f"inputs, v, h, c have shapes {inputs.shape}, {v.shape}, {h.shape}, {c.shape};"
            " they must be (time, 4 * hidden), (4 * hidden, hidden), (hidden,) twice"
        )
    inputs, v, h, c, resets = alike((inputs, v, h, c, checked_resets(resets, len(inputs))))
    cell = either(choose(implementation, "lstm_scan", inputs), _PORTABLE, _NATIVE)
    last, (h, _, _) = run(cell, inputs, v, LSTMState(h, c), resets)
    return last, h


def _step(v, state, token):
    x, fresh = token
    h, c = unless(fresh, state)
    # One tanh for all gates, by sigmoid(x) = tanh(x / 2) / 2 + 1/2: with four functions XLA takes half as long again.
    half = np.repeat(np.array([0.5, 1, 0.5, 0.5], x.dtype), len(h))
    gates = jnp.tanh((x + h @ v.T) * half) * half + (1 - half)
    f, k, g, o = jnp.split(gates, 4)
    new = f * c + g * k
    h = o * jnp.tanh(new)
    return LSTMState(h, new), (h, c, gates)


def _step_back(v, carry, token):  # carry: the cotangents of h and c of this step; those of the gates: of second order
    dh, dc = carry
    fresh, c_before, gates, (dh_out, dc_before, dgates) = token
    f, k, g, o = jnp.split(gates, 4)
    tanh_c = jnp.tanh(f * c_before + g * k)
    dh = plus(dh, dh_out)
    dc = dc + dh * o * (1 - tanh_c**2)
    df, dk, dg, do = jnp.split(plus(jnp.concatenate([dc * c_before, dc * g, dc * k, dh * tanh_c]), dgates), 4)
    d = jnp.concatenate([df * f * (1 - f), dk * (1 - k**2), dg * g * (1 - g), do * o * (1 - o)])
    return unless(fresh, LSTMState(d @ v, plus(dc * f, dc_before))), d


def _forward(inputs, v, state, resets):
    return loop(_step, v, state, (inputs, resets))


def _products(v, state, resets, outputs):
    _, (h, _, _) = outputs
    return previous(state.h, h, resets) @ v.T


def _backward(v, state, resets, outputs, cotangents):
    _, (_, c_before, gates) = outputs
    last, each = cotangents
    before, d = loop(_step_back, v, filled(last, state), (resets, c_before, gates, each), True)
    return d, d, before


def _native_forward(inputs, v, state, resets):
    n = len(state.h)
    shapes = [(n,), (n,), (len(inputs), n), (len(inputs), n), inputs.shape]
    results = [jax.ShapeDtypeStruct(shape, inputs.dtype) for shape in shapes]
    h, c, *each = _native.call(
        "lstm_forward", results, inputs, v, *state, _native.present(resets), vmap_method="expand_dims"
    )
    return LSTMState(h, c), tuple(each)


def _native_backward(v, state, resets, outputs, cotangents):
    _, (_, c_before, gates) = outputs
    last, each = cotangents
    each = (_native.present(x, v.dtype) for x in each)
    args = v, _native.present(resets), c_before, gates, *filled(last, state), *each
    d, *before = _native.call("lstm_backward", [gates, *state], *args, vmap_method="expand_dims")
    return d, d, LSTMState(*before)


_PORTABLE, _NATIVE = Cell(_forward, _products, _backward), Cell(_native_forward, _products, _native_backward)
