"""Matrices of rank one that span the same as given matrices, where there are such.

A gate row adds D_g (x_g . q)(w_g . m) to the outputs, for queries q and memories m. So each memory reaches the outputs in the
directions D_g x_g^T, which have rank one, and there must be as many of these as the memories need. Attention with one head can do
with one for each: a memory of S reaches the outputs through W_V S B, and all these matrices together, for symmetric S, are also
spanned by W_V v (B^T v)^T.
"""

import numpy as np
from jaxtyping import Float

from ..forms import Matrix, spanning_subset

STARTS = 4
"""The number of random starts for each matrix that is wanted. The better half of them is kept."""
ROUNDS = 300
"""Most starts are then within rounding, if matrices of rank one span what is given."""


def rank_one_basis(
    matrices: Float[Matrix, "m rows columns"],
) -> tuple[Float[Matrix, "r rows"], Float[Matrix, "r columns"]]:
    """Independent matrices u v^T that lie in the span of the given matrices, or near to it. Returns all u and all v.

    Alternating projections find them: from a matrix of the span to the nearest matrix of rank one, from there to the nearest of
    the span, and so on. There may be none in the span. The matrices found are then off it, so check what they reach.
    """
    rows, columns = matrices.shape[1:]
    span = np.linalg.svd(matrices.reshape(len(matrices), -1), full_matrices=False)[2]
    within = np.random.default_rng(0).normal(size=(STARTS * len(span), len(span)))
    for _ in range(ROUNDS):
        left, _, right = np.linalg.svd((within @ span).reshape(-1, rows, columns), full_matrices=False)
        u, v = left[:, :, 0], right[:, 0]
        nearest = (u[:, :, None] * v[:, None]).reshape(len(within), -1)
        within = nearest @ span.T
    best = np.argsort(-np.linalg.norm(within, axis=1))[: len(within) // 2]
    chosen, _ = spanning_subset(within[best], 1e-10)
    return u[best][chosen], v[best][chosen]
