"""The weights of gated RNNs and of attention: read in float64, checked, and as the forms that the outputs are made of.

With x~ = (x, 1), neuron n of a gated RNN adds up the quadratic form x~^T F_n x~ of the tokens. Each branch of a gate row
reads a mixture of these sums. Attention's output is cubic: y_o = sum A_oabk S_ab x_k, with S_t = sum_{s<=t} x_s x_s^T.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Shaped

from ..errors import InputError
from ..layers import GatedRNN, LinearSelfAttention
from .quadratic import Matrix, quadratic_forms, symmetric


class GatedRNNWeights(NamedTuple):
    """The weights of a gated RNN, in the order of `GatedRNN.from_weights`."""

    lam: Float[Matrix, " n"]
    w_in_m: Float[Matrix, "n v"]
    w_in_x: Float[Matrix, "n v"]
    w_out_m: Float[Matrix, "g n"]
    w_out_x: Float[Matrix, "g n"]
    readout: Float[Matrix, "out g"]

    def outputs(self, xs: Float[Matrix, "sequences time in"]) -> Float[Matrix, "sequences time out"]:
        """The outputs over sequences of tokens."""
        h = states(*self[:3], xs)
        return ((h @ self.w_out_m.T) * (h @ self.w_out_x.T)) @ self.readout.T

    def branches(self, shares: Shaped[ArrayLike, " n"] | float = 1.0) -> tuple[Matrix, Matrix]:
        """The quadratic forms that the branches m and x of the gate rows read, (g, v, v) each. F_n counts `shares_n` times."""
        forms = quadratic_forms(self.w_in_m, self.w_in_x)
        return np.tensordot(self.w_out_m * shares, forms, 1), np.tensordot(self.w_out_x * shares, forms, 1)

    def product(self, first: Float[Matrix, "g v v"], second: Float[Matrix, "g v v"]) -> Float[Matrix, "out v v v v"]:
        """The outputs as 4-linear forms, where each gate row multiplies two quadratic forms."""
        return np.einsum("og,gab,gcd->oabcd", self.readout, first, second, optimize=True)


class AttentionWeights(NamedTuple):
    """The weights of linear self-attention."""

    w_v: Float[Matrix, "heads out in"]
    w_k: Float[Matrix, "heads d_k in"]
    w_q: Float[Matrix, "heads d_k in"]

    @property
    def b(self) -> Float[Matrix, "heads in in"]:
        """B = W_K^T W_Q of every head."""
        return np.einsum("hki,hkj->hij", self.w_k, self.w_q)

    def outputs(self, xs: Float[Matrix, "sequences time in"]) -> Float[Matrix, "sequences time out"]:
        """The outputs over sequences of tokens."""
        v, k, q = (np.einsum("hri,nti->ntrh", w, xs) for w in self)
        memories = np.cumsum(v[:, :, :, None] * k[:, :, None], 1)
        return np.einsum("ntokh,ntkh->nto", memories, q)


def gated_rnn_weights(rnn: GatedRNN, *, dense: bool = False) -> GatedRNNWeights:
    """The weights of a gated RNN, checked. With `dense`, lambda may be a matrix.

    **Raises:** `InputError` for any other layer, a dense recurrence, a lambda outside [0, 1], and weights that are not
    finite.
    """
    if not isinstance(rnn, GatedRNN):
        raise InputError(f"a {type(rnn).__name__} has no neurons of one lambda each; only a GatedRNN has")
    if rnn.recurrence == "dense" and not dense:
        raise InputError("the GatedRNN has a dense recurrence; it must be diagonal, with one lambda in [0, 1] a neuron")
    weights = GatedRNNWeights(*(np.asarray(getattr(rnn, name), np.float64) for name in GatedRNNWeights._fields))
    outside = weights.lam[~((weights.lam >= 0) & (weights.lam <= 1))]
    if rnn.recurrence == "diagonal" and outside.size:
        raise InputError(f"lambda contains {outside[0]}; every entry must lie in [0, 1]")
    for name, w in weights._asdict().items():
        check_finite(name, w)
    return weights


def attention_weights(attention: LinearSelfAttention) -> AttentionWeights:
    """The weights of linear self-attention. **Raises:** `InputError` for weights that are not finite."""
    weights = AttentionWeights(*(np.asarray(getattr(attention, name), np.float64) for name in AttentionWeights._fields))
    for name, w in weights._asdict().items():
        check_finite(name, w)
    return weights


def check_finite(name: str, w: Shaped[ArrayLike, "..."]) -> None:
    """**Raises:** `InputError` if an entry of `w` is NaN or infinite."""
    bad = np.asarray(w)[~np.isfinite(w)]
    if bad.size:
        raise InputError(f"{name} contains {bad[0]}; all weights must be finite")


def states(
    lam: Float[Matrix, " n"],
    w_in_m: Float[Matrix, "n v"],
    w_in_x: Float[Matrix, "n v"],
    xs: Float[Matrix, "sequences time in"],
) -> Float[Matrix, "sequences time n"]:
    """The hidden states of neurons over sequences of tokens, from the zero state."""
    tokens = np.concatenate([xs, np.ones_like(xs[..., :1])], 2)
    return accumulated((tokens @ w_in_m.T) * (tokens @ w_in_x.T), lam)


def accumulated(
    b: Float[Matrix, "sequences time ..."], lam: Float[Matrix, "..."]
) -> Float[Matrix, "sequences time ..."]:
    """h_t = lam h_{t-1} + b_t over the second axis, from h_0 = 0."""
    h = b.copy()
    for t in range(1, b.shape[1]):
        h[:, t] += lam * h[:, t - 1]
    return h


def cubic_form(w_v: Float[Matrix, "heads out in"], b: Float[Matrix, "heads in in"]) -> Float[Matrix, "out in in in"]:
    """A of attention, A_oabk = sum over heads of W_V_oa B_bk, symmetric in a and b."""
    return symmetric(np.einsum("hoa,hbk->oabk", w_v, b))
