"""Sigmoid and tanh used where they are linear: how large their arguments may be, and what that costs.

    (sigmoid(e m) - sigmoid(-e m)) x * 2/e = m x (1 - (e m)^2 / 12 + ...)

makes a product out of two rows of a sigmoid gate, up to the curvature of the sigmoid. It falls with the square of the
scale, the largest |e m|; but the smaller the scale, the more digits of x/2 the difference of the two rows cancels. (Paper
A, appendix A.1, takes sigmoid(0) as the second row; with -e m the difference is twice as large, for as many rows.)
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ..errors import InputError
from ..layers import GatedRNN, Layer, LinearSelfAttention

Matrix = np.ndarray
OPEN = 100.0
"""The bias of a gate that is always open: sigmoid(100) = 1 in float64, and sigmoid(-100) = 4e-44. Paper A's infinity."""


def inverse(x: Matrix) -> Matrix:
    """1 / x, and 0 where x is 0: a product with a factor that is always 0 is made with weights of 0."""
    return np.divide(1.0, x, out=np.zeros_like(x), where=x != 0)


def geometric_sum(lam: Matrix, tokens: int) -> Matrix:
    """1 + lambda + ... of so many terms: how often one token counts in a sum that decays by lambda."""
    return np.where(lam < 1, (1 - lam**tokens) / np.where(lam < 1, 1 - lam, 1), tokens)


class Range(NamedTuple):
    """Some quantities of the source: the most that each can be, and the most that the converted network's is off by."""

    size: Matrix
    error: Matrix

    @property
    def error_bound(self) -> float:
        """The most that any of them is off by."""
        return float(np.max(self.error, initial=0.0))

    def mapped(self, w: Matrix, eps: float) -> "Range":
        """That of W z."""
        size = np.abs(w) @ self.size
        return Range(size, np.abs(w) @ self.error + (w.shape[1] + 2) * eps * size)

    def with_constant(self) -> "Range":
        """That of (z, 1)."""
        return Range(np.append(self.size, 1.0), np.append(self.error, 0.0))

    def times(self, other: "Range", relative: float | Matrix) -> "Range":
        """That of products made with a relative error of their own."""
        size = self.size * other.size
        crossed = self.size * other.error + other.size * self.error + self.error * other.error
        return Range(size, crossed + relative * size)

    def accumulated(self, lam: Matrix, tokens: int, eps: float) -> "Range":
        """That of h_t = lambda * h_{t-1} + z_t after so many tokens."""
        total = geometric_sum(lam, tokens)
        return Range(total * self.size, total * (self.error + tokens * eps * self.size))


class Linearisation(NamedTuple):
    """The terms under which a source is converted."""

    scale: float
    """The largest argument of a sigmoid."""
    input_bound: float
    """Largest |entry| of a token."""
    tokens: int
    """Tokens in a sequence."""
    eps: float
    """Of the source's dtype."""

    @property
    def curvature(self) -> float:
        """The relative error of a product that is made by one sigmoid, from the sigmoid's curvature."""
        return 1.1 * self.scale**2 / 12

    def rounding(self, roundings: int, sigmoids: int = 1) -> float:
        """That from the digits that are cancelled, after so many roundings."""
        return (2 / self.scale) ** sigmoids * (roundings + 8) * self.eps

    def input_range(self, in_size: int) -> Range:
        """That of the tokens."""
        return Range(np.full(in_size, self.input_bound), np.zeros(in_size))

    def slopes(self, m: Range) -> Matrix:
        """The factor e of each sigmoid's argument."""
        return self.scale * inverse(m.size)


class Products(NamedTuple):
    """(w_m z)(w_x z') by the doubled rows of a sigmoid gate, with what makes products of them again."""

    w_m: Matrix  # (2 rows, z)
    w_x: Matrix  # (2 rows, z')
    undo: Matrix  # (rows, 2 rows)


def products(w_m: Matrix, w_x: Matrix, slopes: Matrix) -> Products:
    """The gate, linearised with the given slopes."""
    small, undo = slopes[:, None] * w_m, np.diag(2 * inverse(slopes))
    return Products(np.concatenate([small, -small]), np.concatenate([w_x, w_x]), np.concatenate([undo, -undo], 1))


def steadier_first(w_m: Matrix, w_x: Matrix, first: Range, last: Range) -> tuple[Matrix, Matrix]:
    """(W_m, W_x) with their rows exchanged where that of W_x grows less from the first token's range to the last's.

    The first goes into the sigmoid, which is linear in a small range only; the other may be of any size.
    """
    (m_first, m_last), (x_first, x_last) = ([np.abs(w) @ z.size for z in (first, last)] for w in (w_m, w_x))
    exchanged = (x_last * m_first < m_last * x_first)[:, None]
    return np.where(exchanged, w_x, w_m), np.where(exchanged, w_m, w_x)


def linearisation(
    source: Layer, *, sigmoids: int, scale: float | None, input_bound: float, tokens: int
) -> Linearisation:
    """The terms for a source, checked; the scale balances curvature against cancellation if not given.

    **Raises:** `InputError` if the source is not one that can be converted, or a number is not positive.
    """
    if not isinstance(source, LinearSelfAttention | GatedRNN):
        raise InputError(
            f"the source is a {type(source).__name__}; a LinearSelfAttention or a GatedRNN can be converted"
        )
    if isinstance(source, GatedRNN):
        _check_rnn(source)
    for name, number in (("scale", scale), ("input_bound", input_bound), ("tokens", tokens)):
        if number is not None and not 0 < number < np.inf:
            raise InputError(f"{name} is {number}; it must be positive and finite")
    eps = float(jnp.finfo(source_dtype(source)).eps)
    return Linearisation(scale or (500 * eps) ** (1 / (sigmoids + 2)), input_bound, tokens, eps)


def weights_in_double(rnn: GatedRNN) -> tuple[Matrix, ...]:
    """lambda, W_in_m, W_in_x, W_out_m, W_out_x and D."""
    weights = rnn.lam, rnn.w_in_m, rnn.w_in_x, rnn.w_out_m, rnn.w_out_x, rnn.readout
    return tuple(np.asarray(w, np.float64) for w in weights)


def source_dtype(source: LinearSelfAttention | GatedRNN) -> jnp.dtype:
    """The dtype of the source's weights, and of what it is converted into."""
    return (source.w_v if isinstance(source, LinearSelfAttention) else source.readout).dtype


def _check_rnn(rnn: GatedRNN) -> None:
    if rnn.recurrence == "dense":
        raise InputError("the source has a dense recurrence; only a diagonal one, lambda in [0, 1], can be converted")
    lam = np.asarray(rnn.lam)
    if not np.all((lam >= 0) & (lam <= 1)):
        raise InputError(f"lambda contains {lam[~((lam >= 0) & (lam <= 1))][0]}; every entry must lie in [0, 1]")
    for name in ("w_in_m", "w_in_x", "w_out_m", "w_out_x", "readout"):
        w = np.asarray(getattr(rnn, name))
        if not np.all(np.isfinite(w)):
            raise InputError(f"{name} contains {w[~np.isfinite(w)][0]}; only finite weights can be converted")
