"""The LSTM. The products of its weights with the inputs are computed for all tokens at once, before the recurrence."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import ArrayLike, Float, PRNGKeyArray

from ..errors import InputError
from ..scan import LSTMState, lstm_scan
from ..scan.axis import refuse_spread_time
from .affine import affine
from .layer import Layer, check_sizes, parameter_dtype, promoted


class LSTM(Layer[LSTMState]):
    """The LSTM as in paper A (eq. 10-15), with s the sigmoid:

    f = s(U_f x + V_f h + b_f), c~ = tanh(U_c x + V_c h + b_c), g = s(U_g x + V_g h + b_g), c' = f * c + g * c~,
    o = s(U_o x + V_o h + b_o), h' = o * tanh(c').

    The output is h', with one feature for each hidden neuron. The state is `(h, c)`, each `(out,)`. PyTorch, Equinox and
    Flax compute the same function. They call g the input gate i, and c~ the cell gate g.
    """

    u: Float[Array, "four_out in"]
    """U_f, U_c, U_g and U_o, one above another. V and b have the same order."""
    v: Float[Array, "four_out out"]
    b: Float[Array, " four_out"]

    def __init__(self, in_size: int, out_size: int, *, dtype: DTypeLike | None = None, key: PRNGKeyArray):
        """A random layer. All weights are uniform between -1/sqrt(out_size) and 1/sqrt(out_size), as in PyTorch.

        **Arguments:**

        - `in_size`, `out_size`: the number of features of a token, and of hidden neurons.
        - `dtype`: the dtype of the parameters. It is JAX's default float dtype if not given.
        - `key`: the random key of the weights.

        **Raises:** `InputError` for sizes below 1.
        """
        check_sizes(in_size=in_size, out_size=out_size)
        shapes = (4 * out_size, in_size), (4 * out_size, out_size), (4 * out_size,)
        self.u, self.v, self.b = uniform(key, out_size, parameter_dtype(dtype), *shapes)

    @classmethod
    def from_weights(
        cls,
        u: Float[ArrayLike, "four_out in"],
        v: Float[ArrayLike, "four_out out"],
        b: Float[ArrayLike, " four_out"],
    ) -> "LSTM":
        """Make a layer from given weights: `u` is `(4 * out, in)`, `v` is `(4 * out, out)`, and `b` is `(4 * out,)`.

        Each has the parts for f, c~, g and o, in this order.

        **Raises:** `InputError` if the shapes do not fit.
        """
        u, v, b = promoted(u, v, b)
        n = v.shape[-1] if v.ndim else 0
        if u.ndim != 2 or len(u) != 4 * n or v.shape != (4 * n, n) or b.shape != (4 * n,):
            raise InputError(
                f"u, v, b have shapes {u.shape}, {v.shape}, {b.shape};"
                " they must be (4 * out, in), (4 * out, out), (4 * out,)"
            )
        return eqx.tree_at(lambda l: (l.u, l.v, l.b), cls(1, 1, key=jax.random.key(0)), (u, v, b))

    @property
    def in_size(self) -> int:
        return self.u.shape[1]

    @property
    def out_size(self) -> int:
        return self.v.shape[1]

    def init_state(self) -> LSTMState:
        zero = jnp.zeros(self.out_size, self.v.dtype)
        return LSTMState(zero, zero)

    def prefill(self, state, xs, *, resets=None):
        xs = self._tokens(xs, like=self.u)
        self._check(state, resets, len(xs))
        refuse_spread_time("the LSTM", "each of its steps needs the whole result of the step before")
        return lstm_scan(affine(self.u, self.b, xs), self.v, state, resets=resets)


def uniform(key: PRNGKeyArray, hidden: int, dtype: np.dtype, *shapes: tuple[int, ...]) -> list[Array]:
    """Random arrays of these shapes, uniform between -1/sqrt(hidden) and 1/sqrt(hidden)."""
    limit = hidden**-0.5
    keys = jax.random.split(key, len(shapes))
    return [jax.random.uniform(k, shape, dtype, -limit, limit) for k, shape in zip(keys, shapes, strict=True)]
