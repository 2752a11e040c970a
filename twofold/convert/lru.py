"""Linear self-attention, and gated RNNs, as networks of LRU layers (paper A, appendix A.1)."""

from typing import get_args

import jax.numpy as jnp
import numpy as np

from ..errors import InputError
from ..forms import Matrix, gated_rnn_weights
from ..layers import LRU, GatedRNN, LinearSelfAttention
from ..layers.lru import Gating
from .converted import Converted
from .gated_rnn import to_gated_rnn
from .linearisation import Linearisation, linearisation, products, steadier_first
from .terms import distinct_memories, terms


def to_lru(
    source: LinearSelfAttention | GatedRNN,
    gating: Gating = "in-out",
    *,
    form: str = "compact",
    scale: float | None = None,
    input_bound: float = 4.0,
    tokens: int = 1000,
) -> Converted:
    """LRU layers that compute the function of `source`, up to the curvature of their sigmoids (paper A, table 3).

    **Arguments:**

    - `source`: a `GatedRNN` of diagonal recurrence, or a `LinearSelfAttention` of any shape and number of heads.
    - `gating`: where the layers have gates. "in-out" takes one layer, "out" takes two, and "in-skip" takes one for attention
        and two for a gated RNN.
    - `form`: the sum that attention is written as, as in `to_gated_rnn`. It has no effect on a gated RNN.
    - `scale`: the largest argument of a sigmoid for tokens within the bounds. The relative error falls with its square
        until rounding takes over. If the scale is not given, the two balance for the source's dtype.
    - `input_bound`, `tokens`: the largest |entry| of a token, and the length of the longest sequence. Scale and `error_bound`
        are made for these bounds. Beyond them the error grows gradually.

    **Returns:** a `Converted` of the source's dtype. In float64 relative errors are about 1e-10 for attention and 1e-9 for a
    gated RNN. In float32 they are about 1e-4.

    **Raises:** `InputError` for an unknown gating or form, for a source of another kind, with a dense recurrence or with weights
    that are not finite, and for a scale or bounds that are not positive.
    """
    if gating not in get_args(Gating):
        raise InputError(f"unknown gating {gating!r}; the gatings are {', '.join(get_args(Gating))}")
    limits = linearisation(source, sigmoids=1, scale=scale, input_bound=input_bound, tokens=tokens)
    if isinstance(source, LinearSelfAttention):
        if gating == "in-skip":
            return _attention_in_skip(source, form, limits)
        source = to_gated_rnn(source, form)
    return _rnn(source, gating, limits)


def _rnn(rnn: GatedRNN, gating: Gating, limits: Linearisation) -> Converted:
    """The two gates of the RNN become the gates of one layer ("in-out"), or of two layers."""
    lam, w_in_m, w_in_x, w_out_m, w_out_x, readout = gated_rnn_weights(rnn)
    eps, error = limits.eps, limits.curvature + limits.rounding(2)

    x = limits.input_range(rnn.in_size).with_constant()
    m_in, x_in = x.mapped(w_in_m, eps), x.mapped(w_in_x, eps)
    gate_in = products(w_in_m, w_in_x, limits.slopes(m_in))
    added = m_in.times(x_in, error)
    h = added.accumulated(lam, limits.tokens, eps)
    w_out_m, w_out_x = steadier_first(w_out_m, w_out_x, added, h)
    m_out, x_out = h.mapped(w_out_m, eps), h.mapped(w_out_x, eps)
    gate_out = products(w_out_m, w_out_x, limits.slopes(m_out))
    y = m_out.times(x_out, error).mapped(readout, eps)

    # Neurons that forget at once need no state: the direct path D carries them.
    kept = lam > 0
    n = len(lam)
    recurrence = (lam[kept], gate_in.undo[kept], np.eye(n)[:, kept], np.where(kept[:, None], 0, gate_in.undo))
    dtype = limits.dtype
    if gating == "in-out":
        layers = [_lru(gating, dtype, recurrence, gate_out[:2], gate_in[:2])]
        last = readout @ gate_out.undo
    elif gating == "out":
        first = _lru(gating, dtype, _memoryless(np.eye(rnn.in_size + 1)), gate_in[:2])
        layers = [first, _lru(gating, dtype, recurrence, gate_out[:2])]
        last = readout @ gate_out.undo
    else:  # sigmoid(0) = 1/2: output gates that pass their x branch on
        first = _lru(gating, dtype, recurrence, (np.zeros((n, rnn.in_size + 1)), 2 * np.eye(n)), gate_in[:2])
        passed = np.zeros((rnn.out_size, n)), 2 * np.eye(rnn.out_size)
        layers = [first, _lru(gating, dtype, _memoryless(readout @ gate_out.undo), passed, gate_out[:2])]
        last = np.eye(rnn.out_size)
    constant = np.eye(rnn.in_size + 1)
    return Converted(layers, last, embedding=constant, scale=limits.scale, error_bound=y.error_bound)


def _attention_in_skip(attention: LinearSelfAttention, form: str, limits: Linearisation) -> Converted:
    """Input gate and state make the memories. The m branch of the output gate reads x and makes the queries."""
    eps, error = limits.eps, limits.curvature + limits.rounding(2)
    sums = terms(attention, form)
    left, right, memory_mix = distinct_memories(attention, sums, form)
    queries = sums.mix @ sums.queries

    x = limits.input_range(attention.in_size)
    m_in, q = x.mapped(left, eps), x.mapped(queries, eps)
    lam = np.ones(len(left))
    memories = m_in.times(x.mapped(right, eps), error).accumulated(lam, limits.tokens, eps)
    y = q.times(memories.mapped(memory_mix, eps), error).mapped(sums.readout, eps)

    gate_in = products(left, right, limits.slopes(m_in))
    gate_out = products(queries, memory_mix, limits.slopes(q))
    recurrence = lam, gate_in.undo, np.eye(len(lam)), 0 * gate_in.undo
    layer = _lru("in-skip", limits.dtype, recurrence, gate_out[:2], gate_in[:2])
    return Converted([layer], sums.readout @ gate_out.undo, scale=limits.scale, error_bound=y.error_bound)


def _lru(gating: Gating, dtype, recurrence: tuple, gate_out: tuple, gate_in: tuple = ()) -> LRU:
    """The layer of (lambda, B, C, D), (W_out_m, W_out_x) and (W_in_m, W_in_x)."""
    weights = (jnp.asarray(w, dtype) for w in (*recurrence, *gate_out, *gate_in))
    return LRU.from_weights(*weights, gating=gating)


def _memoryless(d: Matrix) -> tuple[Matrix, ...]:
    """The (lambda, B, C, D) of a layer without neurons, y~ = D u."""
    return np.zeros(0), np.zeros((0, d.shape[1])), np.zeros((len(d), 0)), d
