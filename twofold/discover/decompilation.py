"""The attention layer that a gated RNN implements, with what it leaves unexplained: the inverse of `to_gated_rnn`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..forms import GatedRNNWeights, Matrix, cubic_form, gated_rnn_weights, symmetric
from ..layers import GatedRNN, LinearSelfAttention
from .heads import fitted_heads
from .scoring import Roles, neuron_roles

MATCH = 0.1
"""A residual up to this is reported as attention."""


class Discovery(NamedTuple):
    """What `decompile` found."""

    attention: LinearSelfAttention
    """The nearest attention layer."""
    residual: float
    """|rnn(x) - attention(x)| / |rnn(x)| over random unit Gaussian sequences: 0 is attention, 1 nothing of it."""
    from_lambda: float
    """How far the outputs would move, in the same unit, were each lambda put to 0 or 1 if near to it, and dropped if not."""
    from_degree: float
    """How large then are all terms but memories of second degree times queries of first degree."""
    from_rank: float
    """How far the heads of `attention` are from the nearest sum of such terms."""
    parts: "Parts"
    """What `error_bound` needs."""
    tokens: int
    """The length of the sequences that the residual and its causes are measured over. Where a lambda is near to 1 but not 1,
    they grow with it."""

    def error_bound(self, norm: float, tokens: int) -> float:
        """The most that |rnn(x) - attention(x)| can be for tokens up to this norm, at any of so many tokens."""
        return self.parts.error_bound(norm, tokens)

    @property
    def report(self) -> str:
        """The residual and its causes, in words."""
        heads = self.attention.num_heads
        verdict = f"attention with {heads} head{'s' * (heads > 1)}" if self.residual <= MATCH else "not attention"
        return (
            f"{verdict}: relative residual {self.residual:.1e} over {self.tokens} tokens. Putting every lambda to 0 or 1"
            f" would move the outputs by {self.from_lambda:.1e}; terms of other degrees then are {self.from_degree:.1e};"
            f" the heads miss {self.from_rank:.1e}."
        )


class Parts(NamedTuple):
    """A gated RNN's function: what is attention, and what is not."""

    cubic: Float[Matrix, "out d d d"]
    """A: y_o = sum A_oabk S_ab x_k, symmetric in a and b. The terms that attention can be."""
    fitted: Float[Matrix, "out d d d"]
    """That of the fitted heads."""
    others: dict[str, Float[Matrix, "out v v v v"]]
    """All other terms by what their two quadratic factors sum over: "now" (the present token) or "past" (all tokens)."""
    weights: GatedRNNWeights
    ideal: GatedRNNWeights
    """The same where each lambda is put to 0 or 1 if it is near to it, and where nothing reads the other neurons."""

    def error_bound(self, norm: float, tokens: int) -> float:
        size = norm**2 + 1
        power = {"past, past": 2, "past, now": 1, "now, now": 0}
        wrong = sum(np.linalg.norm(part) * size**2 * tokens ** power[kind] for kind, part in self.others.items())
        rank = np.linalg.norm(self.cubic - self.fitted) * norm**3 * tokens
        lam, w_in_m, w_in_x, *gate, readout = self.weights
        lags, added = np.arange(tokens)[:, None], np.linalg.norm(w_in_m, axis=1) * np.linalg.norm(w_in_x, axis=1) * size
        decays, ideal_decays = lam**lags, self.ideal.lam**lags
        h = added * np.sum(np.maximum(decays, ideal_decays), 0)
        off = added * np.sum(np.abs(decays - ideal_decays), 0)
        # A branch moves by what its neurons are off; by all of them, where nothing reads them any more.
        m, x = ((abs(w) @ h, abs(v) @ off + abs(w - v) @ h) for w, v in zip(gate, self.ideal[3:5], strict=True))
        return float(wrong + rank + np.linalg.norm(abs(readout) @ (m[0] * x[1] + m[1] * x[0])))


def decompile(rnn: GatedRNN, *, max_heads: int | None = None, time: int = 32, seed: int = 0) -> Discovery:
    """The linear self-attention layer nearest to the function of a gated RNN, and how near that is.

    With lambda 0 or 1, the outputs are a polynomial in the present token and in sums over all tokens. Its part of a
    memory of second degree times a query of first degree, y_o = sum A_oabk S_ab x_k with S_t = sum_{s<=t} x_s x_s^T, is what
    attention can be. What that leaves is regressed on the same products, so that lambdas near to 0 and 1 count as far as they
    act alike; and the sum is fitted by heads, A_oabk = sum over heads of W_V_oa B_bk, symmetric in a and b, with
    B = W_K^T W_Q. Whatever mixture of neurons and gate rows the RNN computes it with does not matter.

    **Arguments:**

    - `max_heads`: the most heads to fit. If it is not given, it is `in_size`, or fewer where these would have more than 2,000
        weights. The fewest heads are taken that miss no more than the other causes do, or rounding. If even `max_heads` miss
        more, the fewest are taken that come within a factor of 3 of the best fit.
    - `time`, `seed`: length and seed of the random sequences that residuals are measured over.

    **Returns:** a `Discovery`. For a converted attention layer the residual is that of rounding; a network that is not
    attention has one near 1, and a report that says so.

    **Raises:** `InputError` for a dense recurrence, and for weights that are not finite.
    """
    roles = neuron_roles(rnn)
    weights = gated_rnn_weights(rnn)
    kept = ~roles.other
    ideal = weights._replace(
        lam=np.where(roles.memory, 1.0, 0.0), w_out_m=weights.w_out_m * kept, w_out_x=weights.w_out_x * kept
    )
    d, eps = rnn.in_size, float(jnp.finfo(rnn.readout.dtype).eps)
    others = _terms(weights, roles)
    mixed = others["past, now"]
    cubic = mixed[:, :d, :d, :d, d] + mixed[:, :d, :d, d, :d]
    mixed[:, :d, :d, :d, d] = mixed[:, :d, :d, d, :d] = 0

    xs = np.asarray(jax.random.normal(jax.random.key(seed), (64, time, d)), np.float64)
    truth, idealised = weights.outputs(xs), ideal.outputs(xs)
    size = max(float(np.linalg.norm(truth)), np.finfo(float).tiny)
    share = _cubic_outputs(cubic, xs)
    from_lambda = float(np.linalg.norm(truth - idealised)) / size
    from_degree = float(np.linalg.norm(idealised - share)) / size
    nearest = cubic + _regression(truth - share, xs)
    nearest_share = _cubic_outputs(nearest, xs)
    noise = max(float(np.linalg.norm(truth - nearest_share)) / size, 100 * eps)
    w_v, b = fitted_heads(nearest, max_heads, noise)
    fitted = cubic_form(w_v, b)
    explained = _cubic_outputs(fitted, xs)
    return Discovery(
        _attention(w_v, b, eps, rnn.readout.dtype),
        residual=float(np.linalg.norm(truth - explained)) / size,
        from_lambda=from_lambda,
        from_degree=from_degree,
        from_rank=float(np.linalg.norm(nearest_share - explained)) / size,
        parts=Parts(cubic, fitted, others, weights, ideal),
        tokens=time,
    )


def _terms(weights: GatedRNNWeights, roles: Roles) -> dict[str, Matrix]:
    """The outputs as 4-linear forms in x~ = (x, 1), two arguments for each of two neurons, by the neurons' roles."""
    (past_m, past_x), (now_m, now_x) = weights.branches(roles.memory), weights.branches(roles.forget)
    return {
        "past, past": weights.product(past_m, past_x),
        "past, now": weights.product(past_m, now_x) + weights.product(now_m, past_x),
        "now, now": weights.product(now_m, now_x),
    }


def _cubic_outputs(cubic: Matrix, xs: Matrix) -> Matrix:
    """sum A_oabk S_ab x_k."""
    out, d = len(cubic), cubic.shape[1]
    s = np.cumsum(np.einsum("nta,ntb->ntab", xs, xs), 1).reshape(*xs.shape[:2], d * d)
    maps = (s @ cubic.reshape(out, d * d, d).transpose(1, 0, 2).reshape(d * d, out * d)).reshape(*xs.shape[:2], out, d)
    return np.einsum("ntok,ntk->nto", maps, xs)


def _regression(outputs: Matrix, xs: Matrix) -> Matrix:
    """The symmetric A whose sum A_oabk S_ab x_k is nearest to these outputs."""
    d, out = xs.shape[2], outputs.shape[2]
    first, second = np.triu_indices(d)
    s = np.cumsum(xs[..., first] * xs[..., second], 1)
    features = np.einsum("ntp,ntk->ntpk", s, xs).reshape(-1, len(first) * d)
    found = np.linalg.lstsq(features, outputs.reshape(-1, out), rcond=None)[0].T.reshape(out, len(first), d)
    tensor = np.zeros((out, d, d, d))
    tensor[:, first, second] = found
    return symmetric(tensor)


def _attention(w_v: Matrix, b: Matrix, eps: float, dtype) -> LinearSelfAttention:
    """B = W_K^T W_Q of the fewest rows, shared evenly between the two."""
    left, values, right = np.linalg.svd(b)
    rank = max(int(np.max(np.sum(values > 100 * eps * values.max(initial=0.0), 1))), 1)
    root = np.sqrt(values[:, :rank, None])
    w_k, w_q = root * np.swapaxes(left, 1, 2)[:, :rank], root * right[:, :rank]
    return LinearSelfAttention.from_weights(*(jnp.asarray(w, dtype) for w in (w_v, w_k, w_q)))
