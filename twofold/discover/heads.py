"""Attention heads whose sum is a given cubic form: A_oabk = sum over heads of W_V_oa B_bk, symmetric in a and b.

With C = B^T this is one symmetric matrix for each output o and feature k, M_ok = sum over heads of (v_o c_k^T + c_k v_o^T) / 2,
where v_o is a row of W_V and c_k a row of C. The two factors play the same part. Linear least squares finds either of them
from the other.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ..forms import Matrix

MOST_WEIGHTS = 2000
"""The heads that are tried if no number is given have at most this many weights, so that the search takes seconds."""
GAIN, LAST_GAIN = 1e-2, 1e-6
"""A descent ends when a step gains less than this part of what is missed. The first holds while heads are counted, the second at
the end."""


class Heads(NamedTuple):
    """The factors of some heads, and what they miss."""

    v: Float[Matrix, "heads out d"]
    c: Float[Matrix, "heads d d"]
    missed: float


def fitted_heads(
    cubic: Float[Matrix, "out d d d"], max_heads: int | None, noise: float
) -> tuple[Float[Matrix, "heads out d"], Float[Matrix, "heads d d"]]:
    """(W_V, B) of the fewest heads that miss no more than `noise`, relative to the form.

    If even `max_heads` miss more, these are the fewest heads that come within a factor of 3 of the best fit. `max_heads` is d if
    not given, or fewer where d heads would have more than 2,000 weights.
    """
    out, d = cubic.shape[:2]
    if max_heads is None:
        max_heads = max(1, min(d, MOST_WEIGHTS // ((out + d) * d)))
    size = float(np.linalg.norm(cubic)) or 1.0
    target = np.moveaxis(cubic, 3, 1) / size
    fits: list[Heads] = []
    for heads in range(1, max_heads + 1):
        fits.append(_best_of(target, heads, noise))
        if fits[-1].missed <= noise:
            break
    enough = 3 * min(fit.missed for fit in fits)
    v, c, _ = _descent(target, *next(fit for fit in fits if fit.missed <= enough)[:2], LAST_GAIN)
    return v * size, c.swapaxes(1, 2)


def _best_of(target: Matrix, heads: int, noise: float) -> Heads:
    """The best of several descents. No further one is begun once one misses no more than the noise.

    Before it is made symmetric, the sum is a matrix (o, a) x (k, b) with one rank for each head. So each descent starts from the
    nearest such matrix. The first takes it to the target; the others add a random antisymmetric part, up to twice as large.
    """
    out, d = target.shape[0], target.shape[1]
    rng, other, fits = np.random.default_rng(0), np.zeros_like(target), []
    for _ in range(max(3, 120 // d)):  # Small forms leave little slack: there most descents get stuck.
        matrix = (target + other).swapaxes(1, 2).reshape(out * d, d * d)
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
        root = values[:heads] ** 0.5
        v, c = (left[:, :heads] * root).T.reshape(-1, out, d), (root[:, None] * right[:heads]).reshape(-1, d, d)
        for _ in range(10):
            c = _other_factor(target, v)
            v = _other_factor(target.swapaxes(0, 1), c)
        fits.append(_descent(target, v, c, GAIN))
        if fits[-1].missed <= noise:
            break
        other = rng.normal(size=target.shape)
        other -= other.swapaxes(2, 3)
        other *= rng.uniform(0, 2) / (np.linalg.norm(other) or 1.0)
    return min(fits, key=lambda fit: fit.missed)


def _descent(target: Matrix, v: Matrix, c: Matrix, least_gain: float) -> Heads:
    """Levenberg-Marquardt steps on both factors together, until they gain little."""
    off = target - _sum(v, c)
    missed, damping = float(np.linalg.norm(off)), 1e-3
    for _ in range(200):
        slopes = _slope(off.swapaxes(0, 1), c).ravel(), _slope(off, v).ravel()
        step = _solved(_both_normal(v, c), np.concatenate(slopes), damping)
        trial = v + step[: v.size].reshape(v.shape), c + step[v.size :].reshape(c.shape)
        off_then = target - _sum(*trial)
        missed_then = float(np.linalg.norm(off_then))
        gain = missed - missed_then
        if gain > 0:
            (v, c), off, missed, damping = trial, off_then, missed_then, damping / 10
        else:
            damping *= 10
        if 0 < gain < least_gain * missed or damping > 1 or missed < np.finfo(float).eps:
            break
    return Heads(v, c, missed)


def _sum(v: Matrix, c: Matrix) -> Matrix:
    """M of these heads: (out, d, d, d)."""
    products = np.einsum("hoa,hkb->okab", v, c, optimize=True)
    return (products + products.swapaxes(2, 3)) / 2


def _other_factor(target: Matrix, w: Matrix) -> Matrix:
    """The factor that is best beside w, where the first axis of the target belongs to w."""
    slope = _slope(target, w)
    heads, rows, d = slope.shape
    found = _solved(_normal(w), slope.swapaxes(1, 2).reshape(heads * d, rows))
    return found.reshape(heads, d, rows).swapaxes(1, 2)


def _slope(off: Matrix, w: Matrix) -> Matrix:
    """The slope of |off|^2 / 2 down the factor beside w, where the first axis belongs to w: (heads, rows, d)."""
    return np.einsum("xyab,hxa->hyb", off, w, optimize=True)


def _normal(w: Matrix) -> Matrix:
    """The normal equations of each row of the factor beside w: (heads d, heads d)."""
    heads, _, d = w.shape
    inner = np.einsum("hxa,gxb->hbga", w, w)
    return (inner + np.kron(np.einsum("hxa,gxa->hg", w, w), np.eye(d)).reshape(heads, d, heads, d)).reshape(
        heads * d, -1
    ) / 2


def _both_normal(v: Matrix, c: Matrix) -> Matrix:
    """The normal equations of both factors together."""
    heads, out, d = v.shape
    rows = heads * out * d
    of_v, of_c = (
        np.einsum("xy,hagb->hxagyb", np.eye(number), _normal(w).reshape(heads, d, heads, d))
        for number, w in ((out, c), (d, v))
    )
    crossed = np.einsum("goa,hkb->hoagkb", v, c) + np.einsum("ab,gox,hkx->hoagkb", np.eye(d), v, c, optimize=True)
    crossed = crossed.reshape(rows, -1) / 2
    return np.block([[of_v.reshape(rows, -1), crossed], [crossed.T, of_c.reshape(crossed.shape[1], -1)]])


def _solved(normal: Matrix, slope: Matrix, damping: float = 0.0) -> Matrix:
    """The step of the damped normal equations. They are exact enough, as every step starts from what is left."""
    ridge = (damping + 1e-14) * np.trace(normal) / len(normal) + np.finfo(float).tiny
    return np.linalg.solve(normal + ridge * np.eye(len(normal)), slope)
