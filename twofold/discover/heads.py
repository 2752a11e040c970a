"""Attention heads whose sum is nearest to a given cubic form: A_oabk = sum over heads of W_V_oa B_bk, symmetric in a and b.

Let C = B^T. If C is given, the best W_V solves a linear least squares problem. So the search is over C alone, and W_V follows it
(variable projection: Golub and Pereyra, 1973, with the slopes of Kaufman, 1975).
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float

from ..forms import Matrix, coordinates, symmetric
from ..layers import LinearSelfAttention

MOST_WEIGHTS = 2000
"""A search for heads with more weights takes minutes."""
GAIN, LAST_GAIN = 1e-2, 1e-6
"""A descent ends when a step gains less than this part of what is missed. The first holds while heads are counted, the second at
the end."""


STARTS, MORE_STARTS, NEAR = 3, 100, 0.1
"""The number of descents for each number of heads, and the number where one misses less than `NEAR`: there most get stuck, though
heads may exist that miss nothing."""


class Heads(NamedTuple):
    """The factors of some heads, and what their sum leaves of the target."""

    v: Float[Matrix, "heads out d"]
    c: Float[Matrix, "heads d d"]
    off: Float[Matrix, "r out"]
    basis: Float[Matrix, "r columns"]
    """An orthonormal basis of all that other W_V can reach with the same C."""

    @property
    def missed(self) -> float:
        return float(np.linalg.norm(self.off))


class Problem(NamedTuple):
    """|target - root A| is what the heads with the cubic form A miss."""

    root: Float[Matrix, "r d d d"]
    target: Float[Matrix, "r out"]
    gram: Float[Matrix, "d3 d3"]


def fitted_heads(
    cubic: Float[Matrix, "out d d d"],
    max_heads: int,
    noise: float,
    root: Float[Matrix, "r d d d"] | None = None,
) -> tuple[Float[Matrix, "heads out d"], Float[Matrix, "heads d d"]]:
    """(W_V, B) of the fewest heads that miss no more than `noise`, relative to the form.

    If even `max_heads` miss more, these are the fewest heads that come within a factor of 3 of the best fit, and miss at most
    0.001 more of the form's square.

    What a form A misses is measured by |sum root_rabk (A - cubic)_oabk|, or by |A - cubic| without a root.
    """
    out, d = cubic.shape[:2]
    root = _plain_root(d) if root is None else root
    rows = root.reshape(-1, d**3)
    target = rows @ cubic.reshape(out, -1).T
    size = float(np.linalg.norm(target)) or 1.0
    problem = Problem(root, target / size, rows.T @ rows)
    fits: list[Heads] = []
    # As a matrix (o, a) x (b, k), a form has no larger rank than that.
    for heads in range(1, min(max_heads, out * d, d * d) + 1):
        fits.append(_best_of(problem, cubic, heads, noise))
        if fits[-1].missed <= noise:
            break
    best = min(fit.missed for fit in fits)
    enough = min(3 * best, (best**2 + 1e-3) ** 0.5)
    fit = _descent(problem, next(fit for fit in fits if fit.missed <= enough).c, LAST_GAIN)
    return fit.v * size, fit.c.swapaxes(1, 2)


def most_heads(in_size: int, out_size: int) -> int:
    """The most heads that are found in seconds."""
    return max(1, MOST_WEIGHTS // ((out_size + in_size) * in_size))


def attention_of(
    w_v: Float[Matrix, "heads out d"],
    b: Float[Matrix, "heads d d"],
    dtype: DTypeLike,
    scale: Float[Matrix, " d"] | float = 1.0,
) -> LinearSelfAttention:
    """The layer with B = W_K^T W_Q, for tokens that are divided by `scale` first. W_K and W_Q have as few rows as possible."""
    w_k, w_q = factors(b)
    values = np.sum(w_k**2, 2)
    rank = max(int(np.max(np.sum(values > 100 * float(jnp.finfo(dtype).eps) * values.max(initial=0.0), 1))), 1)
    rows = w_v, w_k[:, :rank], w_q[:, :rank]
    return LinearSelfAttention.from_weights(*(jnp.asarray(w / scale, dtype) for w in rows))


def factors(b: Float[Matrix, "heads d d"]) -> tuple[Float[Matrix, "heads d d"], Float[Matrix, "heads d d"]]:
    """W_K and W_Q with W_K^T W_Q = B. Their rows are of equal size in both, the largest first."""
    left, values, right = np.linalg.svd(b)
    root = np.sqrt(values[:, :, None])
    return root * np.swapaxes(left, 1, 2), root * right


def _plain_root(d: int) -> Matrix:
    """The root for which |root A| = |A|, if A is symmetric in its second and third axes."""
    pairs = symmetric(coordinates(np.eye(d * d).reshape(-1, d, d)).T.reshape(-1, d, d))
    return np.einsum("pab,kl->pkabl", pairs, np.eye(d)).reshape(-1, d, d, d)


def _best_of(problem: Problem, cubic: Matrix, heads: int, noise: float) -> Heads:
    """The best of several descents. No further one is begun once one misses no more than the noise.

    Before it is made symmetric, the sum is a matrix (o, a) x (b, k) with one rank for each head. So each descent starts from the
    nearest such matrix. The first takes it to the form; the others add a random antisymmetric part, up to twice as large.
    """
    out, d = cubic.shape[:2]
    rng, other, fits = np.random.default_rng(0), np.zeros_like(cubic), list[Heads]()
    while len(fits) < STARTS or (len(fits) < MORE_STARTS and min(fit.missed for fit in fits) < NEAR):
        matrix = (cubic + other).reshape(out * d, d * d)
        start = np.linalg.svd(matrix, full_matrices=False)[2][:heads].reshape(-1, d, d)
        fits.append(_descent(problem, start.swapaxes(1, 2), GAIN))
        if fits[-1].missed <= noise:
            break
        other = rng.normal(size=cubic.shape)
        other -= other.swapaxes(1, 2)
        other *= rng.uniform(0, 2) * np.linalg.norm(cubic) / (np.linalg.norm(other) or 1.0)
    return min(fits, key=lambda fit: fit.missed)


def _descent(problem: Problem, c: Matrix, least_gain: float) -> Heads:
    """Levenberg-Marquardt steps on C, until they gain little."""
    fit, damping, gain = _with_best_values(problem, c), 1e-3, np.inf
    while damping <= 1 and fit.missed > np.finfo(float).eps and not 0 < gain < least_gain * fit.missed:
        normal, slope = _normal_equations(problem, fit)
        ridge = (damping + 1e-14) * np.trace(normal) / len(normal) + np.finfo(float).tiny
        step = np.linalg.solve(normal + ridge * np.eye(len(normal)), slope)
        trial = _with_best_values(problem, fit.c + step.reshape(fit.c.shape))
        gain = fit.missed - trial.missed
        if gain > 0:
            fit, damping = trial, damping / 10
        else:
            damping *= 10
    return fit


def _with_best_values(problem: Problem, c: Matrix) -> Heads:
    """The heads with this C and the best W_V. C is made orthonormal first: heads may be mixed with each other."""
    heads, d = c.shape[:2]
    c = np.linalg.qr(c.reshape(heads, -1).T)[0].T.reshape(c.shape)
    reached = np.einsum("rabk,hkb->rha", problem.root, c, optimize=True).reshape(len(problem.root), heads * d)
    left, values, right = np.linalg.svd(reached, full_matrices=False)
    kept = values > 1e-13 * values.max(initial=0.0)
    basis = left[:, kept]
    within = basis.T @ problem.target
    v = right[kept].T @ (within / values[kept, None])
    return Heads(v.reshape(heads, d, -1).swapaxes(1, 2), c, problem.target - basis @ within, basis)


def _normal_equations(problem: Problem, fit: Heads) -> tuple[Matrix, Matrix]:
    """Those of a change of C, where W_V takes back all that it can reach."""
    heads, d = fit.c.shape[:2]
    taken = problem.root.reshape(-1, d**3).T @ fit.basis
    gram = (problem.gram - taken @ taken.T).reshape((d,) * 6)
    values = np.einsum("hoa,goc->hagc", fit.v, fit.v)
    normal = np.einsum("hagc,abkcxy->hkbgyx", values, gram, optimize=True)
    slope = np.einsum("rabk,ro,hoa->hkb", problem.root, fit.off, fit.v, optimize=True)
    return normal.reshape(heads * d * d, -1), slope.ravel()
