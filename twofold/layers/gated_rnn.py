"""The gated linear RNN of paper A: a linear recurrence between two multiplicative gates."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jax.typing import DTypeLike
from jaxtyping import ArrayLike, Bool, Float, PRNGKeyArray

from ..errors import InputError
from ..scan import linear_scan
from ..scan.axis import of_last_part, refuse_spread_time, time_axis
from .affine import affine
from .layer import Layer, check_sizes, parameter_dtype, promoted


class GatedRNN(Layer[Array]):
    """h_t = lambda * h_{t-1} + g_in(x_t), y_t = D g_out(h_t), with g(z) = (W_m z) * (W_x z) (paper A, eq. 2).

    There are no biases. Instead, a constant 1 is appended to x_t. The recurrent weights are lambda = exp(-exp(nu)), which
    lie in [0, 1]. With `recurrence="dense"`, a full matrix A takes the place of lambda. The state is h, `(n,)`.
    """

    recurrent: Float[Array, " n"] | Float[Array, "n n"]
    """nu of a diagonal layer, or the matrix A of a dense one."""
    w_in_m: Float[Array, "n in_plus_1"]
    w_in_x: Float[Array, "n in_plus_1"]
    w_out_m: Float[Array, "g n"]
    w_out_x: Float[Array, "g n"]
    readout: Float[Array, "out g"]
    """The matrix D."""

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        hidden_size: int | None = None,
        gate_size: int | None = None,
        recurrence: Literal["diagonal", "dense"] = "diagonal",
        dtype: DTypeLike | None = None,
        key: PRNGKeyArray,
    ):
        """A random layer. Weights are drawn from N(0, 1/fan_in), and lambda is uniform over (0.01, 0.99).

        **Arguments:**

        - `in_size`, `out_size`: the number of features of a token, and of an output.
        - `hidden_size`: n, the number of hidden neurons. It is twice `in_size` if not given. It may be 0, because pruning can
            remove all neurons. The outputs are then 0.
        - `gate_size`: g, the number of rows of the output gate. It is twice `in_size` if not given.
        - `recurrence`: `"diagonal"`, or `"dense"` for a full matrix A. A has the eigenvalues that lambda would have, in a random
            orthogonal basis.
        - `dtype`: the dtype of the parameters. It is JAX's default float dtype if not given.
        - `key`: the random key of the weights.

        **Raises:** `InputError` for sizes that are too small, or an unknown recurrence.
        """
        n = 2 * in_size if hidden_size is None else hidden_size
        g = 2 * in_size if gate_size is None else gate_size
        check_sizes(in_size=in_size, out_size=out_size)
        check_sizes(at_least=0, hidden_size=n, gate_size=g)
        dtype = parameter_dtype(dtype)
        keys = jax.random.split(key, 7)

        def normal(key, *shape):
            return jax.random.normal(key, shape, dtype) / max(shape[-1], 1) ** 0.5

        lam = jax.random.uniform(keys[0], (n,), dtype, 0.01, 0.99)
        if recurrence == "diagonal":
            self.recurrent = nu_of(lam)
        elif recurrence == "dense":
            basis = jax.random.orthogonal(keys[6], n, dtype=dtype)
            self.recurrent = (basis * lam) @ basis.T
        else:
            raise InputError(f"unknown recurrence {recurrence!r}; use 'diagonal' or 'dense'")
        self.w_in_m, self.w_in_x = normal(keys[1], n, in_size + 1), normal(keys[2], n, in_size + 1)
        self.w_out_m, self.w_out_x = normal(keys[3], g, n), normal(keys[4], g, n)
        self.readout = normal(keys[5], out_size, g)

    @classmethod
    def from_weights(
        cls,
        lam: Float[ArrayLike, " n"] | Float[ArrayLike, "n n"],
        w_in_m: Float[ArrayLike, "n in_plus_1"],
        w_in_x: Float[ArrayLike, "n in_plus_1"],
        w_out_m: Float[ArrayLike, "g n"],
        w_out_x: Float[ArrayLike, "g n"],
        readout: Float[ArrayLike, "out g"],
    ) -> "GatedRNN":
        """Make a layer from given weights.

        `lam` is lambda, with the shape `(n,)` and entries in [0, 1], or the matrix A of a dense layer, `(n, n)`.

        **Raises:** `InputError` if the shapes do not fit, or if an entry of lambda is outside [0, 1].
        """
        weights = promoted(lam, w_in_m, w_in_x, w_out_m, w_out_x, readout)
        lam, w_in_m, w_in_x, w_out_m, w_out_x, readout = weights
        n, g = lam.shape[0] if lam.ndim else 0, readout.shape[-1] if readout.ndim else 0
        if not (
            lam.shape in ((n,), (n, n))
            and w_in_m.ndim == 2
            and readout.ndim == 2
            and w_in_m.shape == w_in_x.shape
            and w_in_m.shape[0] == n
            and w_out_m.shape == w_out_x.shape == (g, n)
        ):
            raise InputError(
                f"lam, w_in_m, w_in_x, w_out_m, w_out_x, readout have shapes {lam.shape}, {w_in_m.shape}, {w_in_x.shape},"
                f" {w_out_m.shape}, {w_out_x.shape}, {readout.shape};"
                " they must be (n,) or (n, n), (n, in + 1) twice, (g, n) twice, (out, g)"
            )
        if lam.ndim == 1 and not np.all((np.asarray(lam) >= 0) & (np.asarray(lam) <= 1)):
            worst = lam[jnp.argmax(jnp.where(jnp.isnan(lam), jnp.inf, jnp.abs(lam - 0.5)))]
            raise InputError(f"lambda contains {worst}; every entry must lie in [0, 1]")
        recurrent = nu_of(lam) if lam.ndim == 1 else lam
        return eqx.tree_at(
            lambda l: (l.recurrent, l.w_in_m, l.w_in_x, l.w_out_m, l.w_out_x, l.readout),
            cls(1, 1, key=jax.random.key(0)),
            (recurrent, w_in_m, w_in_x, w_out_m, w_out_x, readout),
        )

    @property
    def in_size(self) -> int:
        return self.w_in_m.shape[1] - 1

    @property
    def out_size(self) -> int:
        return self.readout.shape[0]

    @property
    def hidden_size(self) -> int:
        """n, the number of hidden neurons."""
        return self.w_in_m.shape[0]

    @property
    def gate_size(self) -> int:
        """g, the number of rows of the output gate."""
        return self.w_out_m.shape[0]

    @property
    def recurrence(self) -> Literal["diagonal", "dense"]:
        """Whether the recurrent weights are a diagonal lambda or a dense matrix A."""
        return "diagonal" if self.recurrent.ndim == 1 else "dense"

    @property
    def lam(self) -> Float[Array, " n"] | Float[Array, "n n"]:
        """The recurrent weights: lambda, `(n,)`, or the matrix A of a dense layer, `(n, n)`."""
        return jnp.exp(-jnp.exp(self.recurrent)) if self.recurrence == "diagonal" else self.recurrent

    def init_state(self) -> Float[Array, " n"]:
        return jnp.zeros(self.hidden_size, self.readout.dtype)

    def prefill(self, state, xs, *, resets=None):
        h = self.states(state, xs, resets=resets)
        ys = _gate(h @ jnp.concatenate([self.w_out_m, self.w_out_x]).T) @ self.readout.T
        return of_last_part(h[-1] if len(h) else state, time_axis()), ys

    def states(
        self,
        state: Float[Array, " n"],
        xs: Float[ArrayLike, "time in"],
        *,
        resets: Bool[ArrayLike, " time"] | None = None,
    ) -> Float[Array, "time n"]:
        """The hidden states h_1..h_time. `state`, `(n,)`, is the hidden state before the first token.

        **Raises:** `InputError` if the shapes do not fit.
        """
        xs = self._tokens(xs, like=self.readout)
        self._check(state, resets, len(xs))
        w_in = jnp.concatenate([self.w_in_m, self.w_in_x])
        gated = _gate(affine(w_in[:, :-1], w_in[:, -1], xs))
        if self.recurrence == "diagonal":
            return linear_scan(self.lam, gated, state, resets=resets, axis_name=time_axis())
        refuse_spread_time("a dense recurrence", "its parallel form would multiply matrices")
        return _dense_scan(self.lam, gated, state, resets)


def _gate(factors: Array) -> Array:
    """g(z) = (W_m z) * (W_x z). One matrix product makes both factors, which saves a quarter of the time of a training step."""
    m, x = jnp.split(factors, 2, axis=-1)
    return m * x


@jax.jit
def nu_of(lam: Array) -> Array:
    """nu = log(-log(lambda)), the inverse of lambda = exp(-exp(nu)).

    Where lambda is 0 or 1, nu would be infinite. It is clipped so far out that lambda stays the same, and gradients are finite.
    """
    return jnp.clip(jnp.log(-jnp.log(lam)), -60, 10)


def _dense_scan(a, gated, state, resets):
    """h_t = A h_{t-1} + b_t, one step after another: a parallel scan would multiply matrices, which costs more than it saves."""

    def step(h, token):
        b, fresh = token
        h = b + (a @ h if fresh is None else a @ jnp.where(fresh, 0, h))
        return h, h

    return lax.scan(step, state, (gated, resets))[1]
