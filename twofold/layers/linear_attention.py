"""Causal linear self-attention: the layer that paper A finds inside gated RNNs."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import ArrayLike, Float, PRNGKeyArray

from ..errors import InputError
from ..scan import kv_scan
from ..scan.axis import time_axis
from .layer import Layer, check_sizes, head_size, parameter_dtype, promoted


class LinearSelfAttention(Layer[Array]):
    """y_t = sum over heads of [sum_{s<=t} (W_V x_s)(W_K x_s)^T] W_Q x_t (paper A, eq. 3).

    The sum in brackets is the matrix W_t of fast weights in paper A. Its transpose is the state, `(heads, d_k, out)`. The
    outputs of the heads are added up, not concatenated. Each W_V maps to the whole output, so that it contains the output
    projection that multi-head attention usually has.
    """

    w_v: Float[Array, "heads out in"]
    w_k: Float[Array, "heads d_k in"]
    w_q: Float[Array, "heads d_k in"]

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        num_heads: int = 1,
        key_size: int | None = None,
        dtype: DTypeLike | None = None,
        key: PRNGKeyArray,
    ):
        """A random layer. Weights are drawn from N(0, 1/in_size), like the teacher in paper A, section 3.

        **Arguments:**

        - `in_size`, `out_size`: the number of features of a token, and of an output.
        - `num_heads`: the number of heads.
        - `key_size`: d_k, the size of each head's keys and queries. It is in_size / num_heads if not given.
        - `dtype`: the dtype of the parameters. It is JAX's default float dtype if not given.
        - `key`: the random key of the weights.

        **Raises:** `InputError` for sizes below 1. Without a key_size, also for an in_size that does not split into equal heads.
        """
        check_sizes(in_size=in_size, out_size=out_size, num_heads=num_heads)
        dtype = parameter_dtype(dtype)
        if key_size is None:
            key_size = head_size("in_size", in_size, num_heads)
        check_sizes(key_size=key_size)
        keys = jax.random.split(key, 3)
        rows = out_size, key_size, key_size
        self.w_v, self.w_k, self.w_q = (
            jax.random.normal(k, (num_heads, r, in_size), dtype) / in_size**0.5 for k, r in zip(keys, rows, strict=True)
        )

    @classmethod
    def from_weights(
        cls,
        w_v: Float[ArrayLike, "*heads out in"],
        w_k: Float[ArrayLike, "*heads d_k in"],
        w_q: Float[ArrayLike, "*heads d_k in"],
    ) -> "LinearSelfAttention":
        """Make a layer from given weights: `w_v` is `(out, in)`, `w_k` and `w_q` are `(d_k, in)`.

        For several heads, all three have one more axis in front.

        **Raises:** `InputError` if the shapes do not fit.
        """
        weights = promoted(w_v, w_k, w_q)
        shapes = [w.shape for w in weights]
        if weights[0].ndim == 2:
            weights = [w[None] for w in weights]
        v, k, q = weights
        if not (v.ndim == k.ndim == q.ndim == 3 and k.shape == q.shape and v.shape[::2] == k.shape[::2]):
            raise InputError(
                f"w_v, w_k, w_q have shapes {', '.join(map(str, shapes))}; they must be (out, in), (d_k, in), (d_k, in),"
                " or all with the same leading axis for heads"
            )
        layer = cls(1, 1, key=jax.random.key(0))
        return eqx.tree_at(lambda l: (l.w_v, l.w_k, l.w_q), layer, tuple(weights))

    @property
    def in_size(self) -> int:
        return self.w_v.shape[2]

    @property
    def out_size(self) -> int:
        return self.w_v.shape[1]

    @property
    def num_heads(self) -> int:
        """The number of heads."""
        return self.w_v.shape[0]

    def init_state(self) -> Float[Array, "heads d_k out"]:
        return jnp.zeros((self.num_heads, self.w_k.shape[1], self.out_size), self.w_v.dtype)

    def prefill(self, state, xs, *, resets=None):
        xs = self._tokens(xs, like=self.w_v)
        v, k, q = (
            (xs @ w.reshape(-1, self.in_size).T).reshape(len(xs), *w.shape[:2]) for w in (self.w_v, self.w_k, self.w_q)
        )
        state, out = kv_scan(q, k, v, state, resets=resets, axis_name=time_axis())
        return state, jnp.sum(out, 1)
