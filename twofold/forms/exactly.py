"""Outputs in float64, with a bound on their rounding: what layers in their own dtype are held against.

Rounding is bounded as in Higham, Accuracy and Stability of Numerical Algorithms (2002), chapter 3. Each operation multiplies
its result by 1 + delta, with |delta| <= u, the unit roundoff. A product of n such factors, or of their inverses, is off 1 by at
most gamma_n = exp(n u / (1 - u)) - 1, which is about n u, and less than Higham's n u / (1 - n u). So the error of a sum is at
most gamma_n times the sum of the sizes of its terms, where n counts the operations that any one term goes through. A sum of k
terms has at most k of them for any term, in whatever order it is computed, in parts, or with fused multiplications. Terms that
are zero do not count, because they are added exactly.
"""

import numpy as np
from jaxtyping import ArrayLike, Float

from ..layers import GatedRNN, LinearSelfAttention
from .quadratic import Matrix
from .weights import attention_weights, gated_rnn_weights


def gamma(operations: ArrayLike, unit: float) -> Matrix:
    """gamma_n of so many operations n, where `unit` is u."""
    return np.asarray(np.expm1(np.asarray(operations) * unit / (1 - unit)))


def exact_outputs(
    layer: LinearSelfAttention | GatedRNN, xs: Float[Matrix, "sequences time in"]
) -> tuple[Float[Matrix, "sequences time out"], Float[Matrix, "sequences time out"]]:
    """The outputs of the exact function of the weights, computed in float64, and the most that each can be off.

    The same function of the sizes of weights and tokens is the sum of the sizes of all terms. Exponential functions are taken
    to be exact to two units in the last place, so that lambda = exp(-exp(nu)) is off by 4 (1 + exp(nu)) factors.

    **Raises:** `InputError` for weights that are not finite, and for a dense recurrence.
    """
    time, d = xs.shape[1:]
    if isinstance(layer, LinearSelfAttention):
        weights = attention_weights(layer)
        heads, d_k, _ = weights.w_k.shape
        operations = 3 * d + 2 + time + d_k + heads
    else:
        rate = np.exp(np.asarray(layer.recurrent, np.float64))
        weights = gated_rnn_weights(layer)._replace(lam=np.exp(-rate))
        by_lambda = 4 * (1 + np.max(rate, where=weights.lam > 0, initial=0.0))
        g, n = weights.w_out_m.shape
        operations = 2 * (2 * (d + 1) + 1 + (2 + by_lambda) * time + n) + 1 + g
    sizes = type(weights)(*map(np.abs, weights)).outputs(np.abs(xs))
    return weights.outputs(xs), gamma(operations, np.finfo(float).eps / 2) * sizes
