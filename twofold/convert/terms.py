"""Linear self-attention as a sum of terms, each a memory times a query: what every conversion starts from.

    y_t = sum over rows r of readout_r [sum_{s<=t} (left_r . x_s)(right_r . x_s)] (query_r . x_t)

A memory is the sum over time of a product of two linear functions of the token. Input gates can make such products, and so can
the gates of an LSTM. An output gate multiplies the memory with a query. The fewer rows, the smaller the network.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ..errors import InputError
from ..forms import (
    AttentionWeights,
    Matrix,
    attention_weights,
    coordinates,
    quadratic_forms,
    rounding,
    spanning_subset,
)
from ..layers import LinearSelfAttention


class Terms(NamedTuple):
    """The matrices of the sum, in float64."""

    left: Matrix  # (rows, in)
    right: Matrix  # (rows, in)
    queries: Matrix  # (queries, in): what the rows' queries are mixtures of
    mix: Matrix  # (rows, queries)
    readout: Matrix  # (out, rows)


def terms(attention: LinearSelfAttention, form: str) -> Terms:
    """The terms of a layer in one of the `FORMS`.

    **Raises:** `InputError` for an unknown form, and for weights that are not finite.
    """
    if form not in FORMS:
        raise InputError(f"unknown form {form!r}; the forms are {', '.join(FORMS)}")
    return FORMS[form](attention_weights(attention), float(jnp.finfo(attention.w_v.dtype).eps))


def distinct_memories(attention: LinearSelfAttention, sums: Terms, form: str) -> tuple[Matrix, Matrix, Matrix]:
    """(left, right) of memories that span the memories of all rows, and the memory of each row as a mixture of these.

    Heads share memories. In the paper's form they do not: it has one memory for each row.
    """
    if form == "paper":
        return sums.left, sums.right, np.eye(len(sums.left))
    forms = coordinates(quadratic_forms(sums.left, sums.right))
    chosen, mixture = spanning_subset(forms, float(jnp.finfo(attention.w_v.dtype).eps))
    return sums.left[chosen], sums.right[chosen], mixture


def _paper(weights: AttentionWeights, eps: float) -> Terms:
    """There is one memory for every entry (i, j) of every head's v k^T. Row (i, j) multiplies it with query j."""
    w_v, w_k, w_q = weights
    heads, d_v, d_k = len(w_v), w_v.shape[1], w_k.shape[1]
    rows = heads * d_v * d_k
    return Terms(
        left=np.repeat(w_v, d_k, axis=1).reshape(rows, -1),
        right=np.tile(w_k, (1, d_v, 1)).reshape(rows, -1),
        queries=w_q.reshape(heads * d_k, -1),
        mix=np.kron(np.eye(heads), np.tile(np.eye(d_k), (d_v, 1))),
        readout=np.tile(np.kron(np.eye(d_v), np.ones(d_k)), heads),
    )


def _compact(weights: AttentionWeights, eps: float) -> Terms:
    """y = sum over heads of W_V S (B x), with S = sum x x^T and B = W_K^T W_Q. S q takes d(d+1)/2 terms."""
    heads, _, d = weights.w_v.shape
    left, right, in_row = _symmetric_product(d)
    return Terms(
        left=np.tile(left, (heads, 1)),
        right=np.tile(right, (heads, 1)),
        queries=np.concatenate(weights.b),
        mix=np.kron(np.eye(heads), in_row),
        readout=np.concatenate([w @ in_row.T for w in weights.w_v], 1),
    )


def _minimal(weights: AttentionWeights, eps: float) -> Terms:
    """y = sum over heads of P (L S U) (R x), with W_V = P L and B = U R in bases that share as many directions as they can.

    L S U is symmetric where L and U share directions. This corner takes as few terms as S q does in `compact`. The other
    entries take one term each.
    """
    from scipy.linalg import block_diag  # imported here, because it takes as long as all of twofold

    parts = [_minimal_head(v, b, eps) for v, b in zip(weights.w_v, weights.b, strict=True)]
    left, right, queries, mixes, readouts = zip(*parts, strict=True)
    chosen, mixture = spanning_subset(np.concatenate(queries), eps)
    return Terms(
        left=np.concatenate(left),
        right=np.concatenate(right),
        queries=np.concatenate(queries)[chosen],
        mix=block_diag(*mixes) @ mixture,
        readout=np.concatenate(readouts, 1),
    )


def _minimal_head(v: Matrix, b: Matrix, eps: float) -> Terms:
    basis_v, basis_b, shared = _shared_bases(v, b, eps)
    r_v, r_b = len(basis_v), len(basis_b)
    left, right, in_row = _symmetric_product(shared)
    corner = basis_v[:shared]
    others = [(i, j) for i in range(r_v) for j in range(r_b) if i >= shared or j >= shared]
    i, j = np.array(others, int).reshape(-1, 2).T
    to_basis = np.concatenate([np.pad(in_row.T, [(0, r_v - shared), (0, 0)]), np.eye(r_v)[:, i]], 1)
    return Terms(
        left=np.concatenate([left @ corner, basis_v[i]]),
        right=np.concatenate([right @ corner, basis_b[j]]),
        queries=basis_b @ b,
        mix=np.concatenate([np.pad(in_row, [(0, 0), (0, r_b - shared)]), np.eye(r_b)[j]]),
        readout=v @ basis_v.T @ to_basis,
    )


FORMS: dict[str, Callable[[AttentionWeights, float], Terms]] = {
    "paper": _paper,
    "compact": _compact,
    "minimal": _minimal,
}
"""The ways to write attention as a sum, by name."""


def _symmetric_product(d: int) -> tuple[Matrix, Matrix, Matrix]:
    """S q for the symmetric S = sum x x^T, in d(d+1)/2 terms instead of d^2.

    The term (sum x_i x_j)(q_i + q_j) of a pair i < j serves the rows i and j of S q. It adds (sum x_i x_j) q_i too much to
    row i. The row's own term, (sum x_i (x_i - sum_{j != i} x_j)) q_i, takes this off again.

    **Returns:** the left and the right factor of each term, (terms, d) each, and the rows of S q that the term belongs to,
    (terms, d).
    """
    first, second = np.triu_indices(d)
    of_index = np.eye(d)
    right = np.where((first == second)[:, None], 2 * of_index[first] - 1, of_index[second])
    in_row = ((of_index[first] + of_index[second]) > 0).astype(float)
    return of_index[first], right, in_row


def _shared_bases(v: Matrix, b: Matrix, eps: float) -> tuple[Matrix, Matrix, int]:
    """Orthonormal bases, as rows, of the row space of v and of the column space of b. Their first `shared` vectors coincide."""
    basis_v, basis_b = _row_basis(v, eps), _row_basis(b.T, eps)
    left, _, right = np.linalg.svd(basis_v @ basis_b.T)
    basis_v, basis_b = left.T @ basis_v, right @ basis_b
    pairs = min(len(basis_v), len(basis_b))
    # Principal vectors: each pair at an angle whose sine is the part of one that lies outside the other.
    gaps = np.linalg.norm(basis_b[:pairs] - basis_v[:pairs], axis=1)
    shared = int(np.sum(gaps <= rounding(v, eps)))
    basis_b[:shared] = basis_v[:shared]
    return basis_v, basis_b, shared


def _row_basis(w: Matrix, eps: float) -> Matrix:
    _, sizes, basis = np.linalg.svd(w, full_matrices=False)
    return basis[sizes > rounding(w, eps) * np.max(sizes, initial=0.0)]
