"""A layer that was trained on standardised data is given raw data."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from ..errors import InputError
from .layer import Layer, dtype_of


class Rescaled(Layer[Any]):
    """y = out_scale * inner((x - in_mean) / in_scale) + out_mean: the layer `inner` in other units. Its state is the state."""

    inner: Layer
    in_mean: Float[Array, " in"]
    in_scale: Float[Array, " in"]
    out_mean: Float[Array, " out"]
    out_scale: Float[Array, " out"]

    def __init__(
        self,
        inner: Layer,
        *,
        in_mean: Float[ArrayLike, "*in"] = 0.0,
        in_scale: Float[ArrayLike, "*in"] = 1.0,
        out_mean: Float[ArrayLike, "*out"] = 0.0,
        out_scale: Float[ArrayLike, "*out"] = 1.0,
    ):
        """A layer for raw data, in the dtype of `inner`.

        **Arguments:**

        - `inner`: the layer that was trained on standardised data.
        - `in_mean`, `in_scale`: the mean and the deviation of the tokens, `(in_size,)`, or one number for all features.
        - `out_mean`, `out_scale`: the mean and the deviation of the outputs, `(out_size,)`, or one number for all features.

        **Raises:** `InputError` for a mean or a deviation whose shape does not fit.
        """
        dtype = dtype_of(inner)
        self.inner = inner
        self.in_mean, self.in_scale = (_each("in", x, inner.in_size, dtype) for x in (in_mean, in_scale))
        self.out_mean, self.out_scale = (_each("out", x, inner.out_size, dtype) for x in (out_mean, out_scale))

    @property
    def in_size(self) -> int:
        return self.inner.in_size

    @property
    def out_size(self) -> int:
        return self.inner.out_size

    def init_state(self):
        return self.inner.init_state()

    def prefill(self, state, xs, *, resets=None):
        xs = self._tokens(xs, like=self.in_mean)
        state, ys = self.inner.prefill(state, (xs - self.in_mean) / self.in_scale, resets=resets)
        return state, self.out_scale * ys + self.out_mean


def _each(side: str, x, size: int, dtype) -> Array:
    if jnp.shape(x) not in ((), (size,)):
        raise InputError(f"{side}_mean or {side}_scale has shape {jnp.shape(x)}; it must be () or ({size},)")
    return jnp.broadcast_to(jnp.asarray(x, dtype), (size,))
