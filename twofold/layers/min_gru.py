"""The minGRU: a GRU whose gates do not see the state, so that it is a linear recurrence."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import Float, PRNGKeyArray

from ..scan import linear_scan
from ..scan.axis import of_last_part, time_axis
from .affine import affine
from .layer import Layer, check_sizes, parameter_dtype
from .lstm import uniform


class MinGRU(Layer[Array]):
    """The minGRU of Feng et al. 2024, *Were RNNs all we needed?*, section 3.1, with s the sigmoid:

    z = s(U_z x + b_z), h~ = U_h x + b_h, h' = (1 - z) * h + z * h~.

    It is `linear_scan` with a_t = 1 - z_t and b_t = z_t * h~_t. All of it is computed in the dtype of the parameters. The output
    is h', with one feature for each hidden neuron. The state is h, `(out,)`.
    """

    u: Float[Array, "two_out in"]
    """U_z and U_h, one above another. b has the same order."""
    b: Float[Array, " two_out"]

    def __init__(self, in_size: int, out_size: int, *, dtype: DTypeLike | None = None, key: PRNGKeyArray):
        """A random layer. All weights are uniform between -1/sqrt(in_size) and 1/sqrt(in_size), as in PyTorch's linear layers.

        **Arguments:**

        - `in_size`, `out_size`: the number of features of a token, and of hidden neurons.
        - `dtype`: the dtype of the parameters. It is JAX's default float dtype if not given.
        - `key`: the random key of the weights.

        **Raises:** `InputError` for sizes below 1.
        """
        check_sizes(in_size=in_size, out_size=out_size)
        self.u, self.b = uniform(key, in_size, parameter_dtype(dtype), (2 * out_size, in_size), (2 * out_size,))

    @property
    def in_size(self) -> int:
        return self.u.shape[1]

    @property
    def out_size(self) -> int:
        return len(self.u) // 2

    def init_state(self) -> Float[Array, " out"]:
        return jnp.zeros(self.out_size, self.u.dtype)

    def prefill(self, state, xs, *, resets=None):
        xs = self._tokens(xs, like=self.u)
        self._check(state, resets, len(xs))
        z, candidate = jnp.split(affine(self.u, self.b, xs), 2, axis=1)
        taken = jax.nn.sigmoid(z) * candidate
        h = linear_scan(jax.nn.sigmoid(-z), taken, state, resets=resets, axis_name=time_axis())
        return of_last_part(h[-1] if len(h) else state, time_axis()), h
