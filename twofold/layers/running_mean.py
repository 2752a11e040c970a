"""The mean of all tokens so far: softmax attention with equal scores."""

import equinox as eqx
import jax.numpy as jnp

from ..scan import SoftmaxState, softmax_scan
from .layer import Layer


class RunningMean(Layer[SoftmaxState]):
    """y_t = mean(x_1..x_t): a summary of the whole sequence, to be had after every token."""

    size: int = eqx.field(static=True)

    @property
    def in_size(self) -> int:
        return self.size

    @property
    def out_size(self) -> int:
        return self.size

    def init_state(self) -> SoftmaxState:
        return SoftmaxState.empty(1, self.size)

    def prefill(self, state, xs, *, resets=None):
        xs = self._tokens(xs, like=state.output)
        state, out = softmax_scan(jnp.zeros((len(xs), 1), xs.dtype), xs[:, None], state, resets=resets)
        return state, out[:, 0]
