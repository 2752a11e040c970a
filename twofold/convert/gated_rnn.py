"""Linear self-attention as one gated linear RNN, exactly, in three forms.

All three rest on the same parts. With x~ = (x, 1), a hidden neuron holds the product of two linear functions of the token,
(w_m . x~)(w_x . x~): summed over time if its lambda is 1 (a memory neuron), of the present token alone if its lambda
is 0 (a query neuron, whose second factor picks the constant 1). A row of the output gate multiplies two linear functions
of the neurons: memories times queries.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from scipy.linalg import block_diag, qr

from ..errors import InputError
from ..layers import GatedRNN, LinearSelfAttention

Matrix = np.ndarray


class _Parts(NamedTuple):
    """A construction: memories sum_s (left x_s)(right x_s), queries Q x_t, rows (memories . m)(queries . q), readout."""

    left: Matrix  # (memories, in)
    right: Matrix  # (memories, in)
    queries: Matrix  # (queries, in)
    from_memories: Matrix  # (rows, memories)
    from_queries: Matrix  # (rows, queries)
    readout: Matrix  # (out, rows)


def to_gated_rnn(attention: LinearSelfAttention, form: str = "compact") -> GatedRNN:
    """The gated RNN that computes the same function as `attention`, for every input and length.

    **Arguments:**

    - `attention`: any shape, any number of heads, any rank.
    - `form`: for one head of d x d weights,
        - `"paper"`: d^2 + d hidden neurons, d^2 gate rows (paper A, figure 1);
        - `"compact"`: d(d+1)/2 + d neurons, d(d+1)/2 rows, for any W_V, singular or not;
        - `"minimal"`: the fewest memory neurons for these weights. With r_v and r_b the ranks of W_V and W_K^T W_Q, and k
          the dimension that the row space of the one shares with the column space of the other, there are
          m = r_v r_b - k(k-1)/2 memory neurons, r_b query neurons and m rows. For several heads these are an upper
          bound a head, and neurons that serve more than one head are shared.

    **Returns:** a `GatedRNN` of the attention's dtype; memory neurons come first, then queries. The outputs agree to
    the rounding of their sums: about 1e-6 relative over 1,000 tokens in float32, 1e-15 in float64.

    **Raises:** `InputError` for an unknown form, or weights that are NaN or infinite.
    """
    if form not in FORMS:
        raise InputError(f"unknown form {form!r}; the forms are {', '.join(FORMS)}")
    w_v, w_k, w_q = (np.asarray(w, np.float64) for w in (attention.w_v, attention.w_k, attention.w_q))
    for name, w in (("w_v", w_v), ("w_k", w_k), ("w_q", w_q)):
        if not np.all(np.isfinite(w)):
            raise InputError(f"{name} contains {w[~np.isfinite(w)][0]}; only finite weights can be converted")
    dtype = attention.w_v.dtype
    return _assemble(FORMS[form](w_v, w_k, w_q, float(jnp.finfo(dtype).eps)), dtype)


def _assemble(parts: _Parts, dtype) -> GatedRNN:
    memories, queries = len(parts.left), len(parts.queries)
    constant = np.ones((memories + queries, 1)) * (np.arange(memories + queries) >= memories)[:, None]
    no_input = np.zeros((queries, parts.queries.shape[1]))
    weights = (
        np.concatenate([np.ones(memories), np.zeros(queries)]),
        np.pad(np.concatenate([parts.left, parts.queries]), [(0, 0), (0, 1)]),
        np.concatenate([np.concatenate([parts.right, no_input]), constant], 1),
        np.pad(parts.from_memories, [(0, 0), (0, queries)]),
        np.pad(parts.from_queries, [(0, 0), (memories, 0)]),
        parts.readout,
    )
    return GatedRNN.from_weights(*(jnp.asarray(w, dtype) for w in weights))


def _paper(w_v: Matrix, w_k: Matrix, w_q: Matrix, eps: float) -> _Parts:
    """One memory for every entry (i, j) of every head's v k^T; row (i, j) multiplies it with query j."""
    heads, d_v, d_k = len(w_v), w_v.shape[1], w_k.shape[1]
    left = np.repeat(w_v, d_k, axis=1)
    right = np.tile(w_k, (1, d_v, 1))
    each = heads * d_v * d_k
    return _Parts(
        left.reshape(each, -1),
        right.reshape(each, -1),
        w_q.reshape(heads * d_k, -1),
        np.eye(each),
        np.kron(np.eye(heads), np.tile(np.eye(d_k), (d_v, 1))),
        np.tile(np.kron(np.eye(d_v), np.ones(d_k)), heads),
    )


def _compact(w_v: Matrix, w_k: Matrix, w_q: Matrix, eps: float) -> _Parts:
    """Memories S = sum x x^T, shared by all heads; queries B x with B = W_K^T W_Q; y = sum over heads of W_V S (B x)."""
    heads, _, d = w_v.shape
    identity = np.eye(d)
    from_memories, from_queries, readout = _symmetric_product(d)
    first, second = np.triu_indices(d)
    return _Parts(
        identity[first],
        identity[second],
        np.concatenate(_bilinear(w_k, w_q)),
        np.tile(from_memories, (heads, 1)),
        np.kron(np.eye(heads), from_queries),
        np.concatenate([w @ readout for w in w_v], 1),
    )


def _minimal(w_v: Matrix, w_k: Matrix, w_q: Matrix, eps: float) -> _Parts:
    """W_V = P L and B = U R in bases that share what they can: y = sum over heads of P (L S U) (R x).

    L S U is symmetric where L and U share directions, so `compact`'s trick applies to that corner; its other entries take
    one memory and one row each.
    """
    left, right, rows_memory, rows_query, readouts, queries = [], [], [], [], [], []
    for v, b in zip(w_v, _bilinear(w_k, w_q), strict=True):
        basis_v, basis_b, shared = _shared_bases(v, b, eps)
        r_v, r_b = len(basis_v), len(basis_b)
        corner_memories, corner_queries, corner_readout = _symmetric_product(shared)
        first, second = np.triu_indices(shared)
        others = [(i, j) for i in range(r_v) for j in range(r_b) if i >= shared or j >= shared]
        i, j = np.array(others, int).reshape(-1, 2).T
        left.append(np.concatenate([basis_v[first], basis_v[i]]))
        right.append(np.concatenate([basis_b[second], basis_b[j]]))
        rows_memory.append(block_diag(corner_memories, np.eye(len(others))))
        rows_query.append(np.concatenate([np.pad(corner_queries, [(0, 0), (0, r_b - shared)]), np.eye(r_b)[j]]))
        to_basis = np.concatenate([np.pad(corner_readout, [(0, r_v - shared), (0, 0)]), np.eye(r_v)[:, i]], 1)
        readouts.append(v @ basis_v.T @ to_basis)
        queries.append(basis_b @ b)
    parts = _Parts(
        np.concatenate(left),
        np.concatenate(right),
        np.concatenate(queries),
        block_diag(*rows_memory),
        block_diag(*rows_query),
        np.concatenate(readouts, 1),
    )
    return _without_repetition(parts, eps) if len(w_v) > 1 and len(parts.left) else parts


FORMS: dict[str, Callable[[Matrix, Matrix, Matrix, float], _Parts]] = {
    "paper": _paper,
    "compact": _compact,
    "minimal": _minimal,
}
"""The constructions by name."""


def _bilinear(w_k: Matrix, w_q: Matrix) -> Matrix:
    """B = W_K^T W_Q of every head."""
    return np.einsum("hki,hkj->hij", w_k, w_q)


def _symmetric_product(d: int) -> tuple[Matrix, Matrix, Matrix]:
    """A symmetric matrix S times a vector q from d(d+1)/2 products instead of d^2: S q = readout @ (A s * B q).

    s are the entries S_ij, i <= j, in the order of `np.triu_indices`. The product S_ij (q_i + q_j) serves both rows i and j;
    what it adds too much to row i, S_ij q_i, is taken off the diagonal's product (S_ii - sum_{j != i} S_ij) q_i.
    Returns (A, B, readout).
    """
    first, second = np.triu_indices(d)
    diagonal = first == second
    of_index = np.eye(d)
    in_row = ((of_index[first] + of_index[second]) > 0).astype(float)  # (pairs, d): which rows of S an entry lies in
    a = np.eye(len(first))
    a[diagonal] -= in_row.T * ~diagonal
    return a, in_row, in_row.T


def _shared_bases(v: Matrix, b: Matrix, eps: float) -> tuple[Matrix, Matrix, int]:
    """Orthonormal bases, as rows, of the row space of v and the column space of b, whose first `shared` vectors coincide."""
    basis_v, basis_b = _row_basis(v, eps), _row_basis(b.T, eps)
    left, _, right = np.linalg.svd(basis_v @ basis_b.T)
    basis_v, basis_b = left.T @ basis_v, right @ basis_b
    pairs = min(len(basis_v), len(basis_b))
    # Principal vectors: each pair at an angle whose sine is the part of one that lies outside the other.
    gaps = np.linalg.norm(basis_b[:pairs] - basis_v[:pairs], axis=1)
    shared = int(np.sum(gaps <= _tolerance(v, eps)))
    basis_b[:shared] = basis_v[:shared]
    return basis_v, basis_b, shared


def _row_basis(w: Matrix, eps: float) -> Matrix:
    _, sizes, basis = np.linalg.svd(w, full_matrices=False)
    return basis[sizes > _tolerance(w, eps) * np.max(sizes, initial=0.0)]


def _tolerance(w: Matrix, eps: float) -> float:
    """Relative size below which a direction is rounding of the weights."""
    return 8 * max(w.shape) * eps


def _without_repetition(parts: _Parts, eps: float) -> _Parts:
    """The same function with neurons only for what the others do not already hold between them."""
    forms = np.einsum("mi,mj->mij", parts.left, parts.right)
    forms = (forms + np.swapaxes(forms, 1, 2)).reshape(len(forms), -1)
    memories, memory_mixture = _spanning_subset(forms, eps)
    queries, query_mixture = _spanning_subset(parts.queries, eps)
    return parts._replace(
        left=parts.left[memories],
        right=parts.right[memories],
        queries=parts.queries[queries],
        from_memories=parts.from_memories @ memory_mixture,
        from_queries=parts.from_queries @ query_mixture,
    )


def _spanning_subset(rows: Matrix, eps: float) -> tuple[Matrix, Matrix]:
    """Indices of independent rows that span all, and all rows as mixtures of these."""
    triangle, order = qr(rows.T, mode="r", pivoting=True)
    remainders = np.abs(np.diag(triangle))
    rank = np.sum(remainders > _tolerance(rows, eps) * np.max(remainders, initial=0.0))
    chosen = np.sort(order[:rank])
    return chosen, np.linalg.lstsq(rows[chosen].T, rows.T, rcond=None)[0].T
