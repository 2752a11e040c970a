"""The attention layer that a gated RNN implements, and what it leaves unexplained: the inverse of `to_gated_rnn`."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..forms import Matrix, attention_weights, cubic_form
from ..layers import GatedRNN, LinearSelfAttention
from ..layers.layer import check_sizes
from .certificate import Certificate, split
from .heads import factors, fitted_heads, most_heads
from .regression import cubic_outputs, regression

MATCH = 0.1
"""A residual up to this is reported as attention."""


class Discovery(NamedTuple):
    """What `decompile` found."""

    attention: LinearSelfAttention
    """The nearest attention layer, in the dtype of the network."""
    residual: float
    """|rnn(x) - attention(x)| / |rnn(x)| over random unit Gaussian sequences, of the two layers as they run in their dtype. It
    is rounding for attention, and near 1 for a network that has nothing of attention."""
    from_lambda: float
    """How far the outputs would move, in the same unit, if each lambda near to 0 or 1 were put there, and the neurons of all
    other lambdas were dropped."""
    from_degree: float
    """How large all other terms would then be, beside memories of second degree times queries of first degree."""
    from_rank: float
    """How far the heads of `attention` are from the sum of such terms that is nearest to the network."""
    from_cast: float
    """How far the function of `attention` is from those heads: it has as few rows as rounding allows, and the network's dtype."""
    from_rounding: float
    """How far the rounding of both layers moves their difference."""
    certificate: Certificate
    """What `error_bound` needs."""
    tokens: int
    """The length of the sequences that the residual and its causes are measured over. The residual of a lambda that is near
    to 1, but not 1, grows with the length: give `decompile` the `time` that counts for you."""

    def error_bound(self, norm: float, tokens: int) -> float:
        """The most that |rnn(x) - attention(x)| can be at any of so many tokens, where no token has a larger norm than `norm`.

        It holds for both layers as they run in their dtype, by `prefill` or `step`, with native kernels or XLA: what rounding
        can do is part of it. It is proved in `certificate.py`. It does not hold where numbers overflow or underflow, nor
        where JAX is told to multiply matrices in less than their own precision.
        """
        return self.certificate.error_bound(norm, tokens)

    @property
    def report(self) -> str:
        """The residual and its causes, in words."""
        heads = self.attention.num_heads
        verdict = f"attention with {heads} head{'s' * (heads > 1)}" if self.residual <= MATCH else "not attention"
        return (
            f"{verdict}: relative residual {self.residual:.1e} over {self.tokens} tokens. Putting every lambda to 0 or 1"
            f" would move the outputs by {self.from_lambda:.1e}; terms of other degrees then are {self.from_degree:.1e};"
            f" the heads miss {self.from_rank:.1e}; as {self.attention.w_v.dtype} weights they move by {self.from_cast:.1e};"
            f" rounding in both layers makes {self.from_rounding:.1e}."
        )


def decompile(rnn: GatedRNN, *, max_heads: int | None = None, time: int = 32, seed: int = 0) -> Discovery:
    """The linear self-attention layer nearest to the function of a gated RNN, `rnn`, and how near that is.

    With lambda 0 or 1, the outputs are a polynomial in the present token and in sums over all tokens. Attention can be one
    part of it: memories of second degree times queries of first degree, y_o = sum A_oabk S_ab x_k with
    S_t = sum_{s<=t} x_s x_s^T. The rest of the outputs is regressed on the same products, so that a lambda near to 0 or 1
    counts as far as it acts like 0 or 1. Then heads are fitted to A: A_oabk = sum over heads of W_V_oa B_bk, symmetric in a
    and b, with B = W_K^T W_Q. It does not matter with which mixture of neurons and gate rows the RNN computes the function.

    **Arguments:**

    - `max_heads`: the most heads to fit. If it is not given, these are as many as are needed, with at most 2,000 weights. The
        fewest heads are taken that miss no more than the other causes do, or rounding. If even `max_heads` miss more, the
        fewest are taken that come near to the best fit.
    - `time`, `seed`: the length and the seed of the random sequences that residuals are measured over.

    **Returns:** a `Discovery`. The residual of a converted attention layer is rounding. The residual of a network that is not
    attention is near 1, and the report says so.

    **Raises:** `InputError` for any other layer, for a dense recurrence, for weights that are not finite, and for numbers
    below 1.
    """
    check_sizes(time=time, max_heads=1 if max_heads is None else max_heads)
    parts, dtype = split(rnn), rnn.readout.dtype
    eps, cubic = 2 * parts.unit, parts.cubic
    tokens = jax.random.normal(jax.random.key(seed), (64, time, rnn.in_size)).astype(dtype)
    xs = np.asarray(tokens, np.float64)
    truth, idealised = parts.weights.outputs(xs), parts.ideal.outputs(xs)
    size = max(float(np.linalg.norm(truth)), np.finfo(float).tiny)
    share = cubic_outputs(cubic, xs)
    from_lambda = float(np.linalg.norm(truth - idealised)) / size
    from_degree = float(np.linalg.norm(idealised - share)) / size
    rest, root = regression(truth - share, xs)
    nearest = cubic + rest
    nearest_share = cubic_outputs(nearest, xs)
    noise = max(float(np.linalg.norm(truth - nearest_share)) / size, 100 * eps)
    w_v, b = fitted_heads(nearest, max_heads or most_heads(rnn.in_size, rnn.out_size), noise, root)
    fitted = cubic_form(w_v, b)
    explained = cubic_outputs(fitted, xs)
    run = _as_it_runs(rnn, tokens)
    attention = _attention(w_v, b, xs, truth, float(np.linalg.norm(run - truth)) + eps * size, dtype)
    returned = attention_weights(attention)
    exact = returned.outputs(xs)
    off = run - _as_it_runs(attention, tokens)
    return Discovery(
        attention,
        residual=float(np.linalg.norm(off)) / size,
        from_lambda=from_lambda,
        from_degree=from_degree,
        from_rank=float(np.linalg.norm(nearest_share - explained)) / size,
        from_cast=float(np.linalg.norm(explained - exact)) / size,
        from_rounding=float(np.linalg.norm(off - (truth - exact))) / size,
        certificate=Certificate(parts, returned),
        tokens=time,
    )


def _attention(w_v: Matrix, b: Matrix, xs: Matrix, truth: Matrix, rounding: float, dtype) -> LinearSelfAttention:
    """The layer with B = W_K^T W_Q. W_K and W_Q have as few rows as possible, of equal size.

    A row is cut if without it, and those after it, the layer misses the outputs of the network by no more than `rounding`
    beyond what it misses with all rows.
    """
    w_k, w_q = factors(b)
    v, k, q = (np.einsum("hri,nti->hrnt", w, xs) for w in (w_v, w_k, w_q))
    missed = truth.copy()
    by_rank = []
    for row in range(len(b[0])):
        missed -= np.einsum("hont,hnt->nto", np.cumsum(v * k[:, row : row + 1], 3), q[:, row])
        by_rank.append(np.linalg.norm(missed))
    rank = 1 + int(np.argmax(np.array(by_rank) <= by_rank[-1] + rounding))
    return LinearSelfAttention.from_weights(*(jnp.asarray(w, dtype) for w in (w_v, w_k[:, :rank], w_q[:, :rank])))


def _as_it_runs(layer: GatedRNN | LinearSelfAttention, xs: Array) -> Matrix:
    """The outputs over sequences of tokens, in the dtype of the layer."""
    return np.asarray(_outputs(layer, xs), np.float64)


@jax.jit
def _outputs(layer, xs):
    return jax.vmap(layer)(xs)
