"""The attention layer that a gated RNN implements, and what it leaves unexplained: the inverse of `to_gated_rnn`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..forms import GatedRNNWeights, Matrix, cubic_form, gated_rnn_weights
from ..layers import GatedRNN, LinearSelfAttention
from ..layers.layer import check_sizes
from .heads import attention_of, fitted_heads
from .regression import cubic_outputs, regression
from .scoring import Roles, neuron_roles

MATCH = 0.1
"""A residual up to this is reported as attention."""


class Discovery(NamedTuple):
    """What `decompile` found."""

    attention: LinearSelfAttention
    """The nearest attention layer."""
    residual: float
    """|rnn(x) - attention(x)| / |rnn(x)| over random unit Gaussian sequences. It is 0 for attention, and near 1 for
    a network that has nothing of attention."""
    from_lambda: float
    """How far the outputs would move, in the same unit, if each lambda near to 0 or 1 were put there, and the neurons of all
    other lambdas were dropped."""
    from_degree: float
    """How large all other terms would then be, beside memories of second degree times queries of first degree."""
    from_rank: float
    """How far the heads of `attention` are from the sum of such terms that is nearest to the network."""
    parts: "Parts"
    """What `error_bound` needs."""
    tokens: int
    """The length of the sequences that the residual and its causes are measured over. The residual of a lambda that is near
    to 1, but not 1, grows with the length: give `decompile` the `time` that counts for you."""

    def error_bound(self, norm: float, tokens: int) -> float:
        """The most that |rnn(x) - attention(x)| can be at any of so many tokens, where no token has a larger norm than `norm`."""
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
    """The function of a gated RNN, split into the part that attention can be and all other parts."""

    cubic: Float[Matrix, "out d d d"]
    """A of the terms that attention can be, y_o = sum A_oabk S_ab x_k. It is symmetric in a and b."""
    fitted: Float[Matrix, "out d d d"]
    """A of the fitted heads."""
    others: dict[str, Float[Matrix, "out v v v v"]]
    """All other terms, by what their two quadratic factors sum over: the present token ("now") or all tokens ("past")."""
    weights: GatedRNNWeights
    ideal: GatedRNNWeights
    """The weights where each lambda near to 0 or 1 is put there, and where nothing reads the other neurons."""

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
        # A branch moves by what its neurons are off. Where it no longer reads a neuron, it moves by all that this one held.
        m, x = ((abs(w) @ h, abs(v) @ off + abs(w - v) @ h) for w, v in zip(gate, self.ideal[3:5], strict=True))
        return float(wrong + rank + np.linalg.norm(abs(readout) @ (m[0] * x[1] + m[1] * x[0])))


def decompile(rnn: GatedRNN, *, max_heads: int | None = None, time: int = 32, seed: int = 0) -> Discovery:
    """The linear self-attention layer nearest to the function of a gated RNN, and how near that is.

    With lambda 0 or 1, the outputs are a polynomial in the present token and in sums over all tokens. Attention can be one
    part of it: memories of second degree times queries of first degree, y_o = sum A_oabk S_ab x_k with
    S_t = sum_{s<=t} x_s x_s^T. The rest of the outputs is regressed on the same products, so that a lambda near to 0 or 1
    counts as far as it acts like 0 or 1. Then heads are fitted to A: A_oabk = sum over heads of W_V_oa B_bk, symmetric in a
    and b, with B = W_K^T W_Q. It does not matter with which mixture of neurons and gate rows the RNN computes the function.

    **Arguments:**

    - `max_heads`: the most heads to fit. If it is not given, it is `in_size`, or fewer where these would have more than 2,000
        weights. The fewest heads are taken that miss no more than the other causes do, or rounding. If even `max_heads` miss
        more, the fewest are taken that come near to the best fit.
    - `time`, `seed`: the length and the seed of the random sequences that residuals are measured over.

    **Returns:** a `Discovery`. The residual of a converted attention layer is rounding. The residual of a network that is not
    attention is near 1, and the report says so.

    **Raises:** `InputError` for any other layer, for a dense recurrence, for weights that are not finite, and for numbers
    below 1.
    """
    check_sizes(time=time, max_heads=1 if max_heads is None else max_heads)
    roles, weights = neuron_roles(rnn), gated_rnn_weights(rnn)
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
    share = cubic_outputs(cubic, xs)
    from_lambda = float(np.linalg.norm(truth - idealised)) / size
    from_degree = float(np.linalg.norm(idealised - share)) / size
    rest, root = regression(truth - share, xs)
    nearest = cubic + rest
    nearest_share = cubic_outputs(nearest, xs)
    noise = max(float(np.linalg.norm(truth - nearest_share)) / size, 100 * eps)
    w_v, b = fitted_heads(nearest, max_heads, noise, root)
    fitted = cubic_form(w_v, b)
    explained = cubic_outputs(fitted, xs)
    return Discovery(
        attention_of(w_v, b, rnn.readout.dtype),
        residual=float(np.linalg.norm(truth - explained)) / size,
        from_lambda=from_lambda,
        from_degree=from_degree,
        from_rank=float(np.linalg.norm(nearest_share - explained)) / size,
        parts=Parts(cubic, fitted, others, weights, ideal),
        tokens=time,
    )


def _terms(weights: GatedRNNWeights, roles: Roles) -> dict[str, Matrix]:
    """The outputs as 4-linear forms in x~ = (x, 1), by the roles of the two neurons that take two arguments each."""
    (past_m, past_x), (now_m, now_x) = weights.branches(roles.memory), weights.branches(roles.forget)
    return {
        "past, past": weights.product(past_m, past_x),
        "past, now": weights.product(past_m, now_x) + weights.product(past_x, now_m),
        "now, now": weights.product(now_m, now_x),
    }
