"""A gated RNN at the question of a regression task: a polynomial in the question and in sums over the examples."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ...discover import collected
from ...forms import gated_rnn_weights
from ...layers import GatedRNN


class Polynomial(NamedTuple):
    """The coefficients of the first output at the question (x, 0). The y of the question, being 0, is no variable.

    An example is z~ = (x, y, 1), S = sum z~ z~^T runs over all examples, and the question is x~ = (x, 1). Pairs of indices of
    z~ are in the order of `np.triu_indices`. Each monomial has one coefficient.
    """

    mixed: Float[np.ndarray, "pairs pairs"]
    """The coefficients of S_ab x~_c x~_d, by (a, b) and (c, d)."""
    examples: Float[np.ndarray, "pairs pairs"]
    """The coefficients of S_ab S_cd, by (a, b) and (c, d), each product once."""
    question: Float[np.ndarray, " monomials"]
    """The coefficients of the products of four factors of x~."""


def polynomial_at_question(rnn: GatedRNN, in_size: int, time: int) -> Polynomial:
    """The polynomial of the network after `time` examples. lambda^lag counts with its mean over the lags of the examples."""
    weights, constant = gated_rnn_weights(rnn), rnn.in_size
    kept = np.mean(weights.lam ** np.arange(1, time + 1)[:, None], 0)
    branches = []
    for past, now in zip(weights.branches(kept), weights.branches(), strict=True):
        now[:, in_size:constant], now[:, :, in_size:constant] = 0, 0
        # The sum of 1 * 1 is known: it is no variable.
        now[:, constant, constant] += time * past[:, constant, constant]
        past[:, constant, constant] = 0
        branches.append((past, now))
    (past_m, now_m), (past_x, now_x) = branches

    def products(m, x):
        return np.einsum("g,gi,gj->ij", weights.readout[0], _by_pairs(m), _by_pairs(x))

    both = products(past_m, past_x)
    return Polynomial(
        mixed=products(past_m, now_x) + products(past_x, now_m),
        examples=np.triu(both) + np.tril(both, -1).T,
        question=collected(weights.product(now_m, now_x))[0],
    )


def _by_pairs(forms: Float[np.ndarray, "g v v"]) -> Float[np.ndarray, "g pairs"]:
    """The coefficients of symmetric forms by pairs of indices."""
    i, j = np.triu_indices(forms.shape[1])
    return forms[:, i, j] * np.where(i == j, 1, 2)
