"""The cubic form whose outputs are nearest to given outputs: the best attention, of any number of heads.

Attention's outputs are linear in A: y_o = sum A_oabk S_ab x_k, with S_t = sum_{s<=t} x_s x_s^T.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ..forms import Matrix, symmetric

ROWS = 8192
"""The monomials of about so many tokens are in memory together."""


class Regression(NamedTuple):
    """What `regression` found."""

    cubic: Float[Matrix, "out d d d"]
    """A, symmetric in a and b. Where tokens leave it open, it is the smallest."""
    root: Float[Matrix, "r d d d"]
    """For any form D, |sum root_rabk D_oabk| is the norm of the outputs of D on these tokens."""


def cubic_outputs(cubic: Float[Matrix, "out d d d"], xs: Float[Matrix, "n time d"]) -> Float[Matrix, "n time out"]:
    """The outputs sum A_oabk S_ab x_k over sequences of tokens."""
    out, d = len(cubic), cubic.shape[1]
    s = np.cumsum(np.einsum("nta,ntb->ntab", xs, xs), 1).reshape(*xs.shape[:2], d * d)
    maps = (s @ cubic.reshape(out, d * d, d).transpose(1, 0, 2).reshape(d * d, out * d)).reshape(*xs.shape[:2], out, d)
    return np.einsum("ntok,ntk->nto", maps, xs)


def regression(
    outputs: Float[Matrix, "n read out"], xs: Float[Matrix, "n time d"], precision: float | None = None
) -> Regression:
    """The form A for which sum A_oabk S_ab x_k is nearest to these outputs, which are those at the last tokens of `xs`.

    Combinations of the monomials S_ab x_k that are smaller than `precision`, relative to the largest, count as zero on these
    tokens. It is rounding if not given.
    """
    d, out = xs.shape[2], outputs.shape[2]
    first, second = np.triu_indices(d)
    monomials = len(first) * d
    triangle = np.zeros((0, monomials + out))
    for part in np.array_split(np.arange(len(xs)), -(-xs.shape[0] * xs.shape[1] // max(ROWS, monomials))):
        tokens = xs[part]
        s = np.cumsum(tokens[..., first] * tokens[..., second], 1)
        features = np.einsum("ntp,ntk->ntpk", s, tokens)[:, -outputs.shape[1] :].reshape(-1, monomials)
        rows = np.concatenate([features, outputs[part].reshape(-1, out)], 1)
        triangle = _triangle(np.concatenate([triangle, rows]))
    left, values, right = np.linalg.svd(triangle[:, :monomials], full_matrices=False)
    least = np.finfo(float).eps * monomials if precision is None else precision
    kept = values > least * values.max(initial=0.0)
    found = right[kept].T @ ((left[:, kept].T @ triangle[:, monomials:]) / values[kept, None])
    cubic, root = np.zeros((out, d, d, d)), np.zeros((int(np.sum(kept)), d, d, d))
    cubic[:, first, second] = found.T.reshape(out, len(first), d)
    root[:, first, second] = root[:, second, first] = (values[kept, None] * right[kept]).reshape(-1, len(first), d)
    return Regression(symmetric(cubic), root)


def _triangle(rows):
    """The same least squares problem, of far fewer equations."""
    return np.linalg.qr(rows, mode="r")
