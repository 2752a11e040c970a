"""The linear recurrent unit: a complex diagonal recurrence with a gated linear unit at its output and, optionally, its input."""

from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.typing import DTypeLike
from jaxtyping import ArrayLike, Complex, Float, Inexact, PRNGKeyArray

from ..errors import InputError
from ..scan import linear_scan
from ..scan.axis import of_last_part, time_axis
from .gated_rnn import nu_of
from .layer import Layer, check_sizes, parameter_dtype

Gating = Literal["out", "in-out", "in-skip"]


class LRU(Layer[Array]):
    """h_t = lambda * h_{t-1} + gamma * (B u_t), y~_t = Re[C h_t] + D u_t, y_t = sigmoid(W_m z_t) * (W_x y~_t).

    These are eq. 6-9 of paper A, after Orvieto et al. (2023). `gating` says what u and z are:

    - `"out"`: u = x and z = y~. This is the LRU itself.
    - `"in-out"`: u = sigmoid(W_in_m x) * (W_in_x x) and z = y~.
    - `"in-skip"`: u = sigmoid(W_in_m x) * (W_in_x x) and z = x. The m branch of the output gate skips the recurrence.

    h is complex. lambda = exp(-exp(nu) + i exp(theta)) lies inside the unit circle for any nu and theta, and
    gamma = exp(gamma_log). All parameters are real numbers. The state is real too: `(2, n)`, with Re h and Im h.
    """

    nu: Float[Array, " n"]
    theta: Float[Array, " n"]
    gamma_log: Float[Array, " n"]
    b_re: Float[Array, "n u"]
    b_im: Float[Array, "n u"]
    c_re: Float[Array, "p n"]
    c_im: Float[Array, "p n"]
    d: Float[Array, "p u"]
    w_out_m: Float[Array, "out z"]
    w_out_x: Float[Array, "out p"]
    w_in_m: Float[Array, "u in"] | None
    """None if there is no input gate."""
    w_in_x: Float[Array, "u in"] | None
    gating: Gating = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        hidden_size: int | None = None,
        gating: Gating = "out",
        r_min: float = 0.0,
        r_max: float = 1.0,
        max_phase: float = 2 * jnp.pi,
        dtype: DTypeLike | None = None,
        key: PRNGKeyArray,
    ):
        """A random layer. Weights are drawn from N(0, 1/fan_in).

        lambda is uniform over the ring r_min <= |lambda| < r_max. gamma = sqrt(1 - |lambda|^2) keeps h as large as its
        input.

        **Arguments:**

        - `in_size`, `out_size`: the number of features of a token, and of an output.
        - `hidden_size`: n, the number of complex neurons. It is `in_size` if not given.
        - `gating`: where the gates are. The class explains the choices.
        - `r_min`, `r_max`: the bounds of |lambda|. For long memory, choose `r_min` near 1.
        - `max_phase`: the largest phase of lambda, in radians.
        - `dtype`: the real dtype of the parameters. It is JAX's default float dtype if not given. In half precision the
            recurrence itself runs in complex64.
        - `key`: the random key of the weights.

        **Raises:** `InputError` for sizes below 1, an empty ring, or an unknown gating.
        """
        n = in_size if hidden_size is None else hidden_size
        check_sizes(in_size=in_size, out_size=out_size, hidden_size=n)
        dtype = parameter_dtype(dtype)
        if not 0 <= r_min < r_max <= 1:
            raise InputError(f"r_min, r_max are {r_min}, {r_max}; lambda's ring needs 0 <= r_min < r_max <= 1")
        if not max_phase > 0:
            raise InputError(f"max_phase is {max_phase}; it must be positive")
        _check_gating(gating)
        keys = jax.random.split(key, 11)

        def normal(key, *shape):
            return jax.random.normal(key, shape, dtype) / shape[-1] ** 0.5

        square = jax.random.uniform(keys[0], (n,), dtype, r_min**2, r_max**2)
        self.nu = nu_of(jnp.sqrt(square))
        self.theta = _theta_of(max_phase * jax.random.uniform(keys[1], (n,), dtype))
        self.gamma_log = jnp.log(-jnp.expm1(-2 * jnp.exp(self.nu))) / 2
        self.b_re, self.b_im = normal(keys[2], 2, n, in_size) / 2**0.5
        self.c_re, self.c_im = normal(keys[3], 2, out_size, n)
        self.d = normal(keys[4], out_size, in_size)
        self.w_out_m = normal(keys[5], out_size, in_size if gating == "in-skip" else out_size)
        self.w_out_x = normal(keys[6], out_size, out_size)
        gated = gating != "out"
        self.w_in_m = normal(keys[7], in_size, in_size) if gated else None
        self.w_in_x = normal(keys[8], in_size, in_size) if gated else None
        self.gating = gating

    @classmethod
    def from_weights(
        cls,
        lam: Inexact[ArrayLike, " n"],
        b: Inexact[ArrayLike, "n u"],
        c: Inexact[ArrayLike, "p n"],
        d: Float[ArrayLike, "p u"],
        w_out_m: Float[ArrayLike, "out z"],
        w_out_x: Float[ArrayLike, "out p"],
        w_in_m: Float[ArrayLike, "u in"] | None = None,
        w_in_x: Float[ArrayLike, "u in"] | None = None,
        *,
        gamma: Float[ArrayLike, " n"] | None = None,
        gating: Gating = "out",
    ) -> "LRU":
        """Make a layer from given weights, with the dtype of `d`. `lam`, `b` and `c` may be real or complex.

        `w_in_m` and `w_in_x` are for the gatings with an input gate. In the shapes, `z` equals `p`, except for "in-skip",
        where it equals `in`. gamma is 1 if not given.

        **Raises:** `InputError` if the shapes do not fit, or an entry of lambda is outside the unit circle.
        """
        _check_gating(gating)
        lam, b, c, d, w_out_m, w_out_x = map(jnp.asarray, (lam, b, c, d, w_out_m, w_out_x))
        gate = None if w_in_m is None or w_in_x is None else (jnp.asarray(w_in_m), jnp.asarray(w_in_x))
        if (gate is None) == (gating != "out"):
            raise InputError(f"gating {gating!r} {'needs' if gate is None else 'has no'} w_in_m and w_in_x")
        gamma = jnp.ones(lam.shape, d.dtype) if gamma is None else jnp.asarray(gamma)
        n, out = lam.size, w_out_x.shape[0] if w_out_x.ndim else 0
        p, u = d.shape if d.ndim == 2 else (0, 0)
        tokens = u if gate is None else gate[0].shape[-1]
        needed = {
            "lam": (lam, (n,)),
            "d": (d, (p, u)),
            "b": (b, (n, u)),
            "c": (c, (p, n)),
            "gamma": (gamma, (n,)),
            "w_out_m": (w_out_m, (out, tokens if gating == "in-skip" else p)),
            "w_out_x": (w_out_x, (out, p)),
        }
        if gate is not None:
            needed |= {"w_in_m": (gate[0], (u, tokens)), "w_in_x": (gate[1], (u, tokens))}
        for name, (w, shape) in needed.items():
            if w.shape != shape:
                raise InputError(
                    f"{name} has shape {w.shape}; with lam of shape {lam.shape} and d of shape {d.shape} it must be {shape}"
                )
        sizes = jnp.abs(lam)
        if not bool(jnp.all(sizes <= 1)):
            worst = lam[jnp.argmax(jnp.where(jnp.isnan(sizes), jnp.inf, sizes))]
            raise InputError(f"lambda contains {worst}; every entry must lie in the unit circle, |lambda| <= 1")
        weights = (
            nu_of(sizes),
            _theta_of(jnp.mod(jnp.angle(lam), 2 * jnp.pi)),
            jnp.log(gamma),
            *(jnp.real(b), jnp.imag(b), jnp.real(c), jnp.imag(c), d, w_out_m, w_out_x),
            *(gate or ()),
        )
        return eqx.tree_at(
            jax.tree.leaves, cls(1, 1, gating=gating, key=jax.random.key(0)), [w.astype(d.dtype) for w in weights]
        )

    @property
    def in_size(self) -> int:
        return self.b_re.shape[1] if self.w_in_m is None else self.w_in_m.shape[1]

    @property
    def out_size(self) -> int:
        return self.w_out_x.shape[0]

    @property
    def hidden_size(self) -> int:
        """n, the number of complex hidden neurons."""
        return self.nu.shape[0]

    @property
    def lam(self) -> Complex[Array, " n"]:
        """The recurrent weights lambda, `(n,)`."""
        wide = jnp.promote_types(self.d.dtype, jnp.float32)  # JAX has no complex numbers in half precision
        phase, nu = jnp.exp(self.theta.astype(wide)), self.nu.astype(wide)
        return jnp.exp(-jnp.exp(nu)) * lax.complex(jnp.cos(phase), jnp.sin(phase))

    def init_state(self) -> Float[Array, "2 n"]:
        return jnp.zeros((2, self.hidden_size), self.d.dtype)

    def prefill(self, state, xs, *, resets=None):
        xs = self._tokens(xs, like=self.d)
        self._check(state, resets, len(xs))
        u = xs if self.w_in_m is None or self.w_in_x is None else _glu(xs, self.w_in_m, xs, self.w_in_x)
        gamma = jnp.exp(self.gamma_log)[:, None]
        # One matrix product makes the real and the imaginary part, and another makes y~: this saves a quarter of a training step.
        re, im = jnp.split(u @ jnp.concatenate([gamma * self.b_re, gamma * self.b_im]).T, 2, axis=1)
        lam = self.lam
        wide, narrow = lam.real.dtype, xs.dtype
        start = lax.complex(*state.astype(wide))
        h = linear_scan(lam, lax.complex(re.astype(wide), im.astype(wide)), start, resets=resets, axis_name=time_axis())
        parts = jnp.concatenate([h.real.astype(narrow), h.imag.astype(narrow), u], 1)
        y = parts @ jnp.concatenate([self.c_re, -self.c_im, self.d], 1).T
        last = h[-1] if len(h) else start
        ys = _glu(xs if self.gating == "in-skip" else y, self.w_out_m, y, self.w_out_x)
        return of_last_part(jnp.stack([last.real, last.imag]).astype(state.dtype), time_axis()), ys


def _glu(z: Array, w_m: Array, y: Array, w_x: Array) -> Array:
    """sigmoid(W_m z) * (W_x y), the gated linear unit of Dauphin et al. (2017)."""
    if z is y:
        m, x = jnp.split(y @ jnp.concatenate([w_m, w_x]).T, 2, axis=1)
        return jax.nn.sigmoid(m) * x
    return jax.nn.sigmoid(z @ w_m.T) * (y @ w_x.T)


def _theta_of(phase: Array) -> Array:
    """theta = log(phase). For a phase of 0 it is -100, so that it is finite and exp(theta) is 0 up to rounding."""
    return jnp.maximum(jnp.log(phase), -100)


def _check_gating(gating: str) -> None:
    if gating not in get_args(Gating):
        raise InputError(f"unknown gating {gating!r}; the gatings are {', '.join(get_args(Gating))}")
