"""Aaren: softmax attention as a recurrent neural network."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PRNGKeyArray

from ..scan import SoftmaxState, decaying_softmax_scan, softmax_scan
from ..scan.axis import time_axis
from .layer import Layer, check_sizes, head_size, parameter_dtype


class Aaren(Layer[SoftmaxState]):
    """o_t = sum_{s<=t} softmax_s(q . k_s / sqrt(head_size)) v_s, where each head learns its query q (paper B, section 3.3).

    Aaren can take the place of causal self-attention, and its state does not grow. For each head, the state has the largest
    score, the normaliser and the output so far, and what rounding left out of the last two. The heads are concatenated and
    projected. The query does not depend on the input. So it is multiplied into the key projection, and the keys themselves
    are never computed.

    Aaren sees no order: the outputs depend on which tokens came before, and not on when. With `decay=True`, the score of a
    token falls by lambda > 0 with every token after it, which each head learns. The state stays as small as it was.
    """

    query: Float[Array, "heads head_size"]
    w_k: Float[Array, "inner in"]
    w_v: Float[Array, "inner in"]
    w_o: Float[Array, "out inner"]
    log_decay: Float[Array, " heads"] | None = None
    """log(lambda), or None without decay."""

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        num_heads: int = 1,
        decay: bool = False,
        dtype: DTypeLike | None = None,
        key: PRNGKeyArray,
    ):
        """A random layer. Weights are drawn from N(0, 1/fan_in), queries from N(0, 1).

        **Arguments:**

        - `in_size`, `out_size`: the number of features of a token, and of an output.
        - `num_heads`: the number of heads. Each has the size out_size / num_heads.
        - `decay`: whether scores fall with the age of their token. The heads begin with the slopes of ALiBi (Press et al.
            2022), 2^(-8 h / num_heads) for h = 1..num_heads.
        - `dtype`: the dtype of the parameters. It is JAX's default float dtype if not given.
        - `key`: the random key of the weights.

        **Raises:** `InputError` for sizes below 1, and for an out_size that does not split into equal heads.
        """
        check_sizes(in_size=in_size)
        size, dtype = head_size("out_size", out_size, num_heads), parameter_dtype(dtype)
        keys = jax.random.split(key, 4)
        self.query = jax.random.normal(keys[0], (num_heads, size), dtype)
        self.w_k, self.w_v = (jax.random.normal(k, (out_size, in_size), dtype) / in_size**0.5 for k in keys[1:3])
        self.w_o = jax.random.normal(keys[3], (out_size, out_size), dtype) / out_size**0.5
        slopes = -8 * np.arange(1, num_heads + 1) / num_heads  # as powers of 2
        self.log_decay = jnp.asarray(math.log(2) * slopes, dtype) if decay else None

    @property
    def in_size(self) -> int:
        return self.w_v.shape[1]

    @property
    def out_size(self) -> int:
        return self.w_o.shape[0]

    @property
    def num_heads(self) -> int:
        """The number of heads."""
        return self.query.shape[0]

    def init_state(self) -> SoftmaxState:
        heads, size = self.query.shape
        return SoftmaxState.empty(heads, size, dtype=self.query.dtype)

    def prefill(self, state, xs, *, resets=None):
        xs = self._tokens(xs, like=self.w_v)
        heads, size = self.query.shape
        w_score = jnp.einsum("hk,hki->hi", self.query, self.w_k.reshape(heads, size, self.in_size)) / size**0.5
        values = (xs @ self.w_v.T).reshape(len(xs), heads, size)
        scores, where = xs @ w_score.T, {"resets": resets, "axis_name": time_axis()}
        if self.log_decay is None:
            state, out = softmax_scan(scores, values, state, **where)
        else:
            state, out = decaying_softmax_scan(scores, values, jnp.exp(self.log_decay), state, **where)
        return state, out.reshape(len(xs), heads * size) @ self.w_o.T
