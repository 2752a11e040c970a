"""The GRU. The products of its weights with the inputs are computed for all tokens at once, before the recurrence."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import ArrayLike, Float, PRNGKeyArray

from ..errors import InputError
from ..scan import gru_scan
from ..scan.axis import refuse_spread_time
from .affine import affine
from .layer import Layer, check_sizes, parameter_dtype, promoted
from .lstm import uniform


class GRU(Layer[Array]):
    """The GRU as in paper A (eq. 16-19), with s the sigmoid:

    r = s(U_r x + V_r h + b_r), h~ = tanh(U_h x + V_h (r * h) + b_h), z = s(U_z x + V_z h + b_z),
    h' = (1 - z) * h + z * h~.

    By default, r multiplies h before the recurrent product, as in this equation. With `reset_after=True`, r multiplies the
    product instead: h~ = tanh(U_h x + b_h + r * (V_h h + b_n)). PyTorch, Equinox, Flax and cuDNN compute this. Their update
    gate is 1 - z, so their weights are -U_z, -V_z and -b_z.

    The output is h', with one feature for each hidden neuron. The state is h, `(out,)`.
    """

    u: Float[Array, "three_out in"]
    """U_r, U_h and U_z, one above another. V and b have the same order."""
    v: Float[Array, "three_out out"]
    b: Float[Array, " three_out"]
    b_n: Float[Array, " out"] | None
    """The bias that r multiplies together with V_h h. It is None if the reset comes before the product."""

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        reset_after: bool = False,
        dtype: DTypeLike | None = None,
        key: PRNGKeyArray,
    ):
        """A random layer. All weights are uniform between -1/sqrt(out_size) and 1/sqrt(out_size), as in PyTorch.

        **Arguments:**

        - `in_size`, `out_size`: the number of features of a token, and of hidden neurons.
        - `reset_after`: whether the reset comes after the recurrent product, as in PyTorch.
        - `dtype`: the dtype of the parameters. It is JAX's default float dtype if not given.
        - `key`: the random key of the weights.

        **Raises:** `InputError` for sizes below 1.
        """
        check_sizes(in_size=in_size, out_size=out_size)
        shapes = (3 * out_size, in_size), (3 * out_size, out_size), (3 * out_size,), (out_size,)
        self.u, self.v, self.b, b_n = uniform(key, out_size, parameter_dtype(dtype), *shapes)
        self.b_n = b_n if reset_after else None

    @classmethod
    def from_weights(
        cls,
        u: Float[ArrayLike, "three_out in"],
        v: Float[ArrayLike, "three_out out"],
        b: Float[ArrayLike, " three_out"],
        b_n: Float[ArrayLike, " out"] | None = None,
    ) -> "GRU":
        """Make a layer from given weights: `u` is `(3 * out, in)`, `v` is `(3 * out, out)`, and `b` is `(3 * out,)`.

        Each has the parts for r, h~ and z, in this order. A layer with `b_n`, `(out,)`, has `reset_after=True`.

        **Raises:** `InputError` if the shapes do not fit.
        """
        u, v, b, *rest = promoted(*(w for w in (u, v, b, b_n) if w is not None))
        b_n = rest[0] if rest else None
        n = v.shape[-1] if v.ndim else 0
        if u.ndim != 2 or len(u) != 3 * n or v.shape != (3 * n, n) or b.shape != (3 * n,):
            raise InputError(
                f"u, v, b have shapes {u.shape}, {v.shape}, {b.shape};"
                " they must be (3 * out, in), (3 * out, out), (3 * out,)"
            )
        if b_n is not None and b_n.shape != (n,):
            raise InputError(f"b_n has shape {b_n.shape}; v of shape {v.shape} needs ({n},)")
        layer = cls(1, 1, reset_after=b_n is not None, key=jax.random.key(0))
        return eqx.tree_at(lambda l: jax.tree.leaves((l.u, l.v, l.b, l.b_n)), layer, jax.tree.leaves((u, v, b, b_n)))

    @property
    def in_size(self) -> int:
        return self.u.shape[1]

    @property
    def out_size(self) -> int:
        return self.v.shape[1]

    @property
    def reset_after(self) -> bool:
        """Whether the reset comes after the recurrent product."""
        return self.b_n is not None

    def init_state(self) -> Float[Array, " out"]:
        return jnp.zeros(self.out_size, self.v.dtype)

    def prefill(self, state, xs, *, resets=None):
        xs = self._tokens(xs, like=self.u)
        self._check(state, resets, len(xs))
        refuse_spread_time("the GRU", "each of its steps needs the whole result of the step before")
        return gru_scan(affine(self.u, self.b, xs), self.v, state, b_n=self.b_n, resets=resets)
