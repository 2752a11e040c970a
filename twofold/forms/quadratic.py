"""Symmetric matrices as quadratic forms: x^T F x depends on the symmetric part of F alone. Arrays may be NumPy's or JAX's."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

Matrix = np.ndarray


def symmetric(tensor: Float[Any, "n v v *rest"]) -> Float[Any, "n v v *rest"]:
    """The part of a tensor that is symmetric in its second and third axes."""
    return (tensor + tensor.swapaxes(1, 2)) / 2


def quadratic_forms(left: Float[Any, "n v"], right: Float[Any, "n v"]) -> Float[Any, "n v v"]:
    """The symmetric matrices F_n of the products of two linear functions: x^T F_n x = (left_n . x)(right_n . x)."""
    return symmetric(left[:, :, None] * right[:, None, :])


def coordinates(forms: Float[Any, "n v v"]) -> Float[Any, "n pairs"]:
    """Symmetric matrices as vectors of the same norm: the upper triangle, where pairs i < j count sqrt(2) times."""
    i, j = np.triu_indices(forms.shape[1])
    return forms[:, i, j] * np.where(i == j, 1, 2**0.5)


def spanning_subset(rows: Float[Matrix, "n v"], eps: float) -> tuple[Int[Matrix, " rank"], Float[Matrix, "n rank"]]:
    """The indices of independent rows that span all rows, and all rows as mixtures of these.

    A row is independent if what it adds is more than the rounding of numbers with the precision `eps`.
    """
    if not len(rows):
        return np.arange(0), np.eye(0)
    from scipy.linalg import qr  # imported here, because it takes as long as all of twofold

    triangle, order = qr(rows.T, mode="r", pivoting=True)
    remainders = np.abs(np.diag(triangle))
    rank = np.sum(remainders > rounding(rows, eps) * np.max(remainders, initial=0.0))
    if rank == len(rows):
        return np.arange(rank), np.eye(rank)
    chosen = np.sort(order[:rank])
    return chosen, np.linalg.lstsq(rows[chosen].T, rows.T, rcond=None)[0].T


def rounding(w: Float[Matrix, "rows columns"], eps: float) -> float:
    """The relative size below which a direction of a matrix is nothing but rounding, at the precision `eps`."""
    return 8 * max(w.shape) * eps
