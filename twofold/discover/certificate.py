"""How far attention can be from a gated RNN at any token: by their functions, and by the rounding of both as they run.

`forms/exactly.py` explains how rounding is bounded. Such a bound holds for any order of the operations: for native kernels and
for XLA, and for `prefill` and `step`.
"""

import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..forms import AttentionWeights, GatedRNNWeights, Matrix, cubic_form, gamma, gated_rnn_weights
from ..layers import GatedRNN
from .scoring import neuron_roles

SLACK = 1.01
"""More than the rounding of the bounds themselves: they are short sums of positive numbers."""


class Parts(NamedTuple):
    """The function of a gated RNN, split into the part that attention can be and all other parts."""

    cubic: Float[Matrix, "out d d d"]
    """A of the terms that attention can be, y_o = sum A_oabk S_ab x_k. It is symmetric in a and b."""
    others: dict[str, Float[Matrix, "out v v v v"]]
    """All other terms, by what their two quadratic factors sum over: the present token ("now") or all tokens ("past")."""
    weights: GatedRNNWeights
    ideal: GatedRNNWeights
    """The weights where each lambda near to 0 or 1 is put there, and where nothing reads the other neurons."""
    rate: Float[Matrix, " n"]
    """exp(nu) = -log(lambda)."""
    unit: float
    """u, the unit roundoff of the network's dtype."""

    def added(self, norm: float) -> Float[Matrix, " n"]:
        """The most that one token can add to each neuron. By Cauchy and Schwarz this holds for the sizes of all terms too."""
        m, x = (np.linalg.norm(w[:, :-1], axis=1) * norm + abs(w[:, -1]) for w in self.weights[1:3])
        return m * x

    def decays(self, tokens: int) -> tuple[Float[Matrix, "tokens n"], Float[Matrix, "tokens 1"]]:
        """lambda^lag, and the lags."""
        lags = np.arange(float(tokens))[:, None]
        return self.weights.lam**lags, lags


def split(rnn: GatedRNN) -> Parts:
    """The parts of a gated RNN. **Raises:** `InputError` for what has none."""
    roles, weights, d = neuron_roles(rnn), gated_rnn_weights(rnn), rnn.in_size
    kept = ~roles.other
    ideal = weights._replace(
        lam=np.where(roles.memory, 1.0, 0.0), w_out_m=weights.w_out_m * kept, w_out_x=weights.w_out_x * kept
    )
    (past_m, past_x), (now_m, now_x) = weights.branches(roles.memory), weights.branches(roles.forget)
    mixed = weights.product(past_m, now_x) + weights.product(past_x, now_m)
    cubic = mixed[:, :d, :d, :d, d] + mixed[:, :d, :d, d, :d]
    mixed[:, :d, :d, :d, d] = mixed[:, :d, :d, d, :d] = 0
    others = {
        "past, past": weights.product(past_m, past_x),
        "past, now": mixed,
        "now, now": weights.product(now_m, now_x),
    }
    rate = np.exp(np.asarray(rnn.recurrent, np.float64))
    return Parts(cubic, others, weights, ideal, rate, float(jnp.finfo(rnn.readout.dtype).eps) / 2)


class Certificate(NamedTuple):
    """How far an attention layer can be from a gated RNN."""

    parts: Parts
    attention: AttentionWeights

    def error_bound(self, norm: float, tokens: int) -> float:
        """The most that the outputs of the two layers, as they run, can differ by."""
        norm *= 1 + 2 * self.parts.unit  # Tokens are rounded to the dtype of the layers, for both alike.
        with np.errstate(over="ignore", invalid="ignore"):
            bound = SLACK * (self.of_functions(norm, tokens) + self.of_rounding(norm, tokens))
        return bound if math.isfinite(bound) else math.inf

    def of_functions(self, norm: float, tokens: int) -> float:
        """The most that the exact functions of the weights can differ by."""
        power = {"past, past": 2, "past, now": 1, "now, now": 0}
        wrong = sum(_most(part, norm) * tokens ** power[kind] for kind, part in self.parts.others.items())
        attention = cubic_form(self.attention.w_v, self.attention.b)
        missed = np.linalg.norm(self.parts.cubic - attention) * norm**3 * tokens
        *_, w_out_m, w_out_x, readout = self.parts.weights
        added, decays, lags = self.parts.added(norm), *self.parts.decays(tokens)
        ideal_decays = self.parts.ideal.lam**lags
        h = added * np.sum(np.maximum(decays, ideal_decays), 0)
        off = added * np.sum(np.abs(decays - ideal_decays), 0)
        # A branch moves by what its neurons are off. Where it no longer reads a neuron, it moves by all that this one held.
        pairs = (w_out_m, self.parts.ideal.w_out_m), (w_out_x, self.parts.ideal.w_out_x)
        m, x = ((abs(w) @ h, abs(v) @ off + abs(w - v) @ h) for w, v in pairs)
        return float(wrong + missed + np.linalg.norm(abs(readout) @ (m[0] * x[1] + m[1] * x[0])))

    def of_rounding(self, norm: float, tokens: int) -> float:
        """The most that rounding can add: in both layers, and in the float64 numbers of this certificate.

        It holds while nothing overflows or underflows, and where matrix products have the precision of their dtype.
        """
        return self._of_rnn(norm, tokens) + self._of_attention(norm, tokens)

    def _of_rnn(self, norm: float, tokens: int) -> float:
        """h = sum of lambda^lag (W_in_m x~)(W_in_x x~), then D ((W_out_m h) * (W_out_x h)).

        With k weights in a row that are not zero, W z goes through k operations. A gated input takes two such sums and one
        product. The state takes one product and one sum for each later token, and two more sums where the kernel puts parts of
        the sequence together. If exponential functions are exact to two units in the last place, lambda = exp(-exp(nu)) is off
        by 4 (1 + exp(nu)) factors, in the layer and in this certificate. It is exact where it is next to 0 or 1.

        The certificate's tensors have the same terms. They take 2 k operations for the gate's rows, k for those of D, and 9.
        """
        _, w_in_m, w_in_x, *gate, readout = self.parts.weights
        in_k, gate_k, readout_k = (
            np.max([np.count_nonzero(w, axis=1).max(initial=1) for w in ws])
            for ws in ((w_in_m, w_in_x), gate, (readout,))
        )
        rate, unit = self.parts.rate, self.parts.unit
        inexact = np.where((rate < unit / 8) | (rate > 800), 0, 8 * (1 + rate))
        added, decays, lags = self.parts.added(norm), *self.parts.decays(tokens)
        h = added * np.sum(np.maximum(decays, self.parts.ideal.lam**lags), 0)
        off = added * np.sum(decays * gamma(2 * in_k + 3 + (2 + inexact) * lags, unit), 0)
        (m, m_off), (x, x_off) = ((abs(w) @ h, abs(w) @ (off + gamma(gate_k, unit) * (h + off))) for w in gate)
        of_readout = gamma(2 * readout_k + 2 * gate_k + 10, unit) * (m + m_off) * (x + x_off)
        return float(np.linalg.norm(abs(readout) @ (m_off * x + m * x_off + m_off * x_off + of_readout)))

    def _of_attention(self, norm: float, tokens: int) -> float:
        """The sum over heads, tokens and rows of W_K of (W_V x_s)(W_K x_s)(W_Q x_t).

        A term goes through three sums of d products, two products, and the sums over tokens, rows and heads. One sum more is that
        of a chunk of tokens and the state before it. The certificate's tensor has the same terms: they go through the sums
        over rows and heads, and 3 more operations.
        """
        heads, d_k, d = self.attention.w_k.shape
        v, k, q = (np.linalg.norm(w, axis=2) * norm for w in self.attention)
        terms = tokens * np.einsum("ho,hk,hk->o", v, k, q)
        return float(gamma(3 * d + 2 * d_k + 2 * heads + tokens + 6, self.parts.unit) * np.linalg.norm(terms))


def _most(form: Float[Matrix, "out v v v v"], norm: float) -> float:
    """The most that a 4-linear form can be, where each argument is (x, 1) with |x| <= norm.

    The part with k features is at most its norm times norm^k. There are five such parts, which are orthogonal.
    """
    size = np.append(np.full(form.shape[1] - 1, norm), 1.0)
    return 5**0.5 * float(np.linalg.norm(np.einsum("oabcd,a,b,c,d->oabcd", form, size, size, size, size)))
