"""The recurrence of the GRU, in both of its variants, with hand-written gradients."""

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Bool, Float, Real

from ..errors import InputError
from . import _native
from ._arguments import checked_resets, common_dtype
from ._dispatch import choose
from ._loop import loop
from ._platform import Implementation
from ._recurrent import Cell, either, filled, plus, previous, run, sigmoid, unless
from ._varying import alike


def gru_scan(
    inputs: Real[ArrayLike, "time three_hidden"],
    v: Real[ArrayLike, "three_hidden hidden"],
    state: Real[ArrayLike, " hidden"],
    *,
    b_n: Real[ArrayLike, " hidden"] | None = None,
    resets: Bool[ArrayLike, " time"] | None = None,
    implementation: Implementation = "auto",
) -> tuple[Float[Array, " hidden"], Float[Array, "time hidden"]]:
    """All outputs of a GRU (paper A, eq. 16-19) whose input products are known.

    With (R, K, Z) = `inputs[t]`, three parts of size `hidden`, and V_r, V_h, V_z those of `v`:
    r = sigmoid(R + V_r h_{t-1}), z = sigmoid(Z + V_z h_{t-1}), h~ = tanh(K + V_h (r * h_{t-1})) and
    h_t = (1 - z) * h_{t-1} + z * h~. With `b_n` the reset comes after the product: h~ = tanh(K + r * (V_h h_{t-1} + b_n)).

    **Arguments:**

    - `inputs`: U x_t + b of all steps, `(time, 3 * hidden)`, in the order r, h~, z.
    - `v`: the recurrent weights V in the same order, `(3 * hidden, hidden)`.
    - `state`: h before the first step, `(hidden,)`.
    - `b_n`: the bias of V_h h, `(hidden,)`; if given, that product is reset rather than h.
    - `resets`: where true, the step meets a zero state. Nothing passes a reset, not even NaN or inf.
    - `implementation`: `"auto"`, `"native"` or `"xla"`, of which `implementations` tells more.

    **Returns:** h after the last step, `(hidden,)`, and h of all steps, `(time, hidden)`.

    **Raises:** `InputError` if the shapes do not fit, if numbers are complex, or if this implementation is not there.

    Reverse mode of any order works; forward mode (`jax.jvp`) does not.
    """
    dtype = common_dtype(inputs=inputs, v=v, state=state, b_n=b_n)
    inputs, v, h = (jnp.asarray(x, dtype) for x in (inputs, v, state))
    b_n = None if b_n is None else jnp.asarray(b_n, dtype)
    n = v.shape[-1] if v.ndim else 0
    if inputs.shape[1:] != (3 * n,) or v.shape != (3 * n, n) or h.shape != (n,):
        raise InputError(
            f"inputs, v, state have shapes {inputs.shape}, {v.shape}, {h.shape};"
            " they must be (time, 3 * hidden), (3 * hidden, hidden), (hidden,)"
        )
    if b_n is not None and b_n.shape != (n,):
        raise InputError(f"b_n has shape {b_n.shape}; v of shape {v.shape} needs ({n},)")
    inputs, v, h, b_n, resets = alike((inputs, v, h, b_n, checked_resets(resets, len(inputs))))
    chosen = choose(implementation, "gru_scan", inputs)
    if b_n is None:
        last, (h, _) = run(either(chosen, *_RESET_BEFORE), inputs, v, h, resets)
    else:
        last, (h, _, _) = run(either(chosen, *_RESET_AFTER), inputs, (v, b_n), h, resets)
    return last, h


def _before_forward(inputs, v, h0, resets):
    def step(weights, h, token):
        v_rz, v_h = weights
        x, fresh = token
        h = unless(fresh, h)
        x_r, x_h, x_z = jnp.split(x, 3)
        r, z = jnp.split(sigmoid(jnp.concatenate([x_r, x_z]) + h @ v_rz.T), 2)
        k = jnp.tanh(x_h + (r * h) @ v_h.T)
        h = h + z * (k - h)
        return h, (h, jnp.concatenate([r, k, z]))

    return loop(step, _gates_and_candidate(v), h0, (inputs, resets))


def _before_products(v, h0, resets, outputs):
    _, (h, gates) = outputs
    v_rz, v_h = _gates_and_candidate(v)
    h = previous(h0, h, resets)
    r, _, _ = jnp.split(gates, 3, axis=1)
    of_r, of_z = jnp.split(h @ v_rz.T, 2, axis=1)
    return jnp.concatenate([of_r, (r * h) @ v_h.T, of_z], 1)


def _before_backward(v, h0, resets, outputs, cotangents):
    def step(weights, dh, token):  # those of the gates are of second order
        v_rz, v_h = weights
        fresh, h, gates, (dh_out, dgates) = token
        r, k, z = jnp.split(gates, 3)
        dh = plus(dh, dh_out)
        dr, dk, dz = (None,) * 3 if dgates is None else jnp.split(dgates, 3)
        dk = plus(dh * z, dk) * (1 - k**2)
        reset = dk @ v_h  # of r * h
        dr = plus(reset * h, dr) * r * (1 - r)
        dz = plus(dh * (k - h), dz) * z * (1 - z)
        dh = dh * (1 - z) + reset * r + jnp.concatenate([dr, dz]) @ v_rz
        return unless(fresh, dh), jnp.concatenate([dr, dk, dz])

    _, (h, gates) = outputs
    last, each = cotangents
    xs = resets, previous(h0, h, resets), gates, each
    before, d = loop(step, _gates_and_candidate(v), filled(last, h0), xs, True)
    return d, d, before


def _gates_and_candidate(v):
    """The rows of r and z together, and those of h~."""
    v_r, v_h, v_z = jnp.split(v, 3)
    return jnp.concatenate([v_r, v_z]), v_h


def _native_before_forward(inputs, v, h0, resets):
    last, (h, gates, _) = _native_forward(inputs, v, jnp.zeros(0, v.dtype), h0, resets)
    return last, (h, gates)


def _native_before_backward(v, h0, resets, outputs, cotangents):
    none = jnp.zeros(0, v.dtype)
    _, (h, gates) = outputs
    last, each = cotangents
    d, _, before = _native_pull_back(v, none, h0, resets, (h, gates, none[None]), last, (*each, None))
    return d, d, before


_RESET_BEFORE = (
    Cell(_before_forward, _before_products, _before_backward),
    Cell(_native_before_forward, _before_products, _native_before_backward),
)


def _after_forward(inputs, weights, h0, resets):
    def step(weights, h, token):
        v, b_n = weights
        x, fresh = token
        h = unless(fresh, h)
        x_r, x_h, x_z = jnp.split(x, 3)
        of_r, of_h, of_z = jnp.split(h @ v.T, 3)
        # Joined: of two sigmoids XLA makes a loop that takes up to twice as long.
        r, z = jnp.split(sigmoid(jnp.concatenate([x_r + of_r, x_z + of_z])), 2)
        of_h = of_h + b_n
        k = jnp.tanh(x_h + r * of_h)
        h = h + z * (k - h)
        return h, (h, jnp.concatenate([r, k, z]), of_h)

    return loop(step, weights, h0, (inputs, resets))


def _after_products(weights, h0, resets, outputs):
    _, (h, _, _) = outputs
    v, b_n = weights
    zero = jnp.zeros_like(b_n)
    return previous(h0, h, resets) @ v.T + jnp.concatenate([zero, b_n, zero])


def _after_backward(weights, h0, resets, outputs, cotangents):
    def step(v, dh, token):  # those of the gates and of V_h h + b_n are of second order
        fresh, h, gates, of_h, (dh_out, dgates, dof_h) = token
        r, k, z = jnp.split(gates, 3)
        dh = plus(dh, dh_out)
        dr, dk, dz = (None,) * 3 if dgates is None else jnp.split(dgates, 3)
        dk = plus(dh * z, dk) * (1 - k**2)
        dr = plus(dk * of_h, dr) * r * (1 - r)
        dz = plus(dh * (k - h), dz) * z * (1 - z)
        products = jnp.concatenate([dr, plus(dk * r, dof_h), dz])
        return unless(fresh, dh * (1 - z) + products @ v), (jnp.concatenate([dr, dk, dz]), products)

    _, (h, gates, of_h) = outputs
    last, each = cotangents
    before, (d, products) = loop(
        step, weights[0], filled(last, h0), (resets, previous(h0, h, resets), gates, of_h, each), True
    )
    return d, products, before


def _native_after_forward(inputs, weights, h0, resets):
    v, b_n = weights
    return _native_forward(inputs, v, b_n, h0, resets)


def _native_after_backward(weights, h0, resets, outputs, cotangents):
    v, b_n = weights
    last, each = cotangents
    return _native_pull_back(v, b_n, h0, resets, outputs[1], last, each)


_RESET_AFTER = (
    Cell(_after_forward, _after_products, _after_backward),
    Cell(_native_after_forward, _after_products, _native_after_backward),
)


def _native_forward(inputs, v, b_n, h0, resets):
    """Of both variants: `b_n`, and with it the products of the candidate, are empty where the reset comes before."""
    time, n = len(inputs), len(h0)
    shapes = [(n,), (time, n), inputs.shape, (time, len(b_n))]
    results = [jax.ShapeDtypeStruct(shape, inputs.dtype) for shape in shapes]
    last, *each = _native.call(
        "gru_forward", results, inputs, v, h0, b_n, _native.present(resets), vmap_method="expand_dims"
    )
    return last, tuple(each)


def _native_pull_back(v, b_n, h0, resets, each, d_last, d_each):
    h, gates, of_h = each
    shapes = [gates.shape, (len(gates), 3 * len(b_n)), h0.shape]
    results = [jax.ShapeDtypeStruct(shape, gates.dtype) for shape in shapes]
    args = (
        v,
        h0,
        b_n,
        _native.present(resets),
        h,
        gates,
        of_h,
        filled(d_last, h0),
        *(_native.present(x, v.dtype) for x in d_each),
    )
    return tuple(_native.call("gru_backward", results, *args, vmap_method="expand_dims"))
