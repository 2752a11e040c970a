"""The mean of all tokens so far: softmax attention with equal scores."""

import equinox as eqx
import jax.numpy as jnp
from jax.typing import DTypeLike

from ..scan import SoftmaxState, softmax_scan
from ..scan.axis import time_axis
from .layer import Layer, check_sizes, parameter_dtype


class RunningMean(Layer[SoftmaxState]):
    """y_t = mean(x_1..x_t). After every token, this summarises the sequence so far."""

    size: int = eqx.field(static=True)
    dtype: str = eqx.field(static=True)
    """The dtype of tokens, state and outputs. The layer has no parameters whose dtype could say it."""

    def __init__(self, size: int, *, dtype: DTypeLike | None = None):
        """The mean of tokens with `size` features, computed in `dtype`, which is JAX's default float dtype if not given.

        **Raises:** `InputError` for a size below 1.
        """
        check_sizes(size=size)
        self.size, self.dtype = size, parameter_dtype(dtype).name

    @property
    def in_size(self) -> int:
        return self.size

    @property
    def out_size(self) -> int:
        return self.size

    def init_state(self) -> SoftmaxState:
        return SoftmaxState.empty(1, self.size, dtype=self.dtype)

    def prefill(self, state, xs, *, resets=None):
        xs = self._tokens(xs, like=jnp.zeros((), self.dtype))
        state, out = softmax_scan(
            jnp.zeros((len(xs), 1), xs.dtype), xs[:, None], state, resets=resets, axis_name=time_axis()
        )
        return state, out[:, 0]
