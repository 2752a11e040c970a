"""How large the quantities of a network can become, and how far a converted network can be off: interval arithmetic."""

from typing import NamedTuple

import numpy as np

from ..forms import Matrix


def inverse(x: Matrix) -> Matrix:
    """1 / x, and 0 where x is 0: a product with a factor that is always 0 is made with weights of 0."""
    return np.divide(1.0, x, out=np.zeros_like(x), where=x != 0)


def geometric_sum(lam: Matrix, tokens: int) -> Matrix:
    """1 + lambda + ..., with one term for each token: how often one token counts in a sum that decays by lambda."""
    return np.where(lam < 1, (1 - lam**tokens) / np.where(lam < 1, 1 - lam, 1), tokens)


class Range(NamedTuple):
    """Quantities z of the source: how large each can be, and how far the converted network can be off."""

    size: Matrix
    error: Matrix

    @property
    def error_bound(self) -> float:
        """The largest error of any quantity."""
        return float(np.max(self.error, initial=0.0))

    def mapped(self, w: Matrix, eps: float) -> "Range":
        """The range of W z, where `eps` is the precision of the numbers."""
        size = np.abs(w) @ self.size
        return Range(size, np.abs(w) @ self.error + (w.shape[1] + 2) * eps * size)

    def with_constant(self) -> "Range":
        """The range of (z, 1)."""
        return Range(np.append(self.size, 1.0), np.append(self.error, 0.0))

    def times(self, other: "Range", relative: float | Matrix) -> "Range":
        """The range of products z z', where making a product adds a `relative` error."""
        size = self.size * other.size
        crossed = self.size * other.error + other.size * self.error + self.error * other.error
        return Range(size, crossed + relative * size)

    def accumulated(self, lam: Matrix, tokens: int, eps: float) -> "Range":
        """The range of h_t = lambda * h_{t-1} + z_t after so many tokens."""
        total = geometric_sum(lam, tokens)
        return Range(total * self.size, total * (self.error + tokens * eps * self.size))
