"""Sigmoid and tanh used where they are linear: how large their arguments may be, and what that costs.

    (sigmoid(e m) - sigmoid(-e m)) x * 2/e = m x (1 - (e m)^2 / 12 + ...)

makes a product out of two rows of a sigmoid gate, up to the curvature of the sigmoid. This error falls with the square of
the scale, the largest |e m|. But the smaller the scale, the more digits of x/2 the difference of the two rows cancels. (Paper
A, appendix A.1, takes sigmoid(0) as the second row. With -e m the difference is twice as large, for as many rows.)
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from ..errors import InputError
from ..forms import Matrix
from ..layers import GatedRNN, Layer, LinearSelfAttention
from .ranges import Range, inverse

OPEN = 100.0
"""The bias of a gate that is always open: sigmoid(100) = 1 in float64, and sigmoid(-100) = 4e-44. Paper A's infinity."""


class Linearisation(NamedTuple):
    """The terms under which a source is converted."""

    scale: float
    """The largest argument of a sigmoid."""
    input_bound: float
    """The largest |entry| of a token."""
    tokens: int
    """The number of tokens in a sequence."""
    dtype: jnp.dtype
    """The dtype of the source, and of what it is converted into."""

    @property
    def eps(self) -> float:
        """The precision of the dtype."""
        return float(jnp.finfo(self.dtype).eps)

    @property
    def curvature(self) -> float:
        """The relative error that the curvature of one sigmoid makes in a product."""
        return 1.1 * self.scale**2 / 12

    def rounding(self, roundings: Any, sigmoids: int = 1) -> Any:
        """The relative error that cancelled digits make in a product, after so many roundings."""
        return (2 / self.scale) ** sigmoids * (roundings + 8) * self.eps

    def input_range(self, in_size: int) -> Range:
        """The range of the tokens."""
        return Range(np.full(in_size, self.input_bound), np.zeros(in_size))

    def slopes(self, m: Range) -> Matrix:
        """The factor e of each sigmoid's argument."""
        return self.scale * inverse(m.size)


def linearisation(
    source: Layer, *, sigmoids: int, scale: float | None, input_bound: float, tokens: int
) -> Linearisation:
    """The terms for a source. If no scale is given, it balances curvature against cancellation.

    **Raises:** `InputError` if the source is of another kind, or a number is not positive and finite.
    """
    if not isinstance(source, LinearSelfAttention | GatedRNN):
        raise InputError(
            f"the source is a {type(source).__name__}; a LinearSelfAttention or a GatedRNN can be converted"
        )
    for name, number in (("scale", scale), ("input_bound", input_bound), ("tokens", tokens)):
        if number is not None and not 0 < number < np.inf:
            raise InputError(f"{name} is {number}; it must be positive and finite")
    dtype = (source.w_v if isinstance(source, LinearSelfAttention) else source.readout).dtype
    scale = scale or (500 * float(jnp.finfo(dtype).eps)) ** (1 / (sigmoids + 2))
    return Linearisation(scale, input_bound, tokens, dtype)


class Products(NamedTuple):
    """The doubled rows of a sigmoid gate that make products (w_m z)(w_x z'), and the map that recovers the products."""

    w_m: Matrix  # (2 rows, z)
    w_x: Matrix  # (2 rows, z')
    undo: Matrix  # (rows, 2 rows)


def products(w_m: Matrix, w_x: Matrix, slopes: Matrix) -> Products:
    """The gate, linearised with the given slopes."""
    small, undo = slopes[:, None] * w_m, np.diag(2 * inverse(slopes))
    return Products(np.concatenate([small, -small]), np.concatenate([w_x, w_x]), np.concatenate([undo, -undo], 1))


def steadier_first(w_m: Matrix, w_x: Matrix, first: Range, last: Range) -> tuple[Matrix, Matrix]:
    """(W_m, W_x), where each row is exchanged if its W_x z grows less than its W_m z from the first token to the last.

    `first` and `last` are the ranges of z at these tokens. W_m z goes into the sigmoid, which is linear in a small range
    only. W_x z may be of any size.
    """
    (m_first, m_last), (x_first, x_last) = ([np.abs(w) @ z.size for z in (first, last)] for w in (w_m, w_x))
    exchanged = (x_last * m_first < m_last * x_first)[:, None]
    return np.where(exchanged, w_x, w_m), np.where(exchanged, w_m, w_x)
