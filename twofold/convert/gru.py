"""Why no GRU is attention, and which stacks of GRU layers are attention over a given number of tokens.

A GRU's new state is h' = (1 - z) h + z h~. Paper A (appendix A.3, table 3) finds no conversion. To make a product, z must hold
one factor and h~ the other. But z is near 1/2 where it is linear, so the previous state leaks in. And no stack can be exact
at every length: h mixes values of tanh, so it stays in (-1, 1), while attention's memory grows without bound.

The paper's footnote adds that a growing state can do it, if the identity replaces tanh. In fact tanh can do it too, over as
many tokens as one likes: a small enough state is in tanh's linear range, and smallness costs no digits. Where tanh is
linear, with z = 1/2 + e m / 4 and h~ = u + v h, the state is

    h' = (1 + v)/2 h + u/2 + (e m / 4)(u - (1 - v) h)

- With v = 1, h' = h + z u adds up. Two neurons, one with m and one with -m, differ by the sum over time of (e/2) m u.
- With v = -1, the state is u/2 and what leaks. One neuron with m and one with -m then differ by (e/2) m_t (u_t - u_{t-1}),
  up to e^2: the leak has taken off the previous u. If u is the running sum of x, which a layer below holds, the difference
  is the product m_t x_t of a gate and nothing else. The running sum is the state that grows.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from ..errors import InputError
from ..forms import Matrix, gated_rnn_weights
from ..layers import GRU, GatedRNN, LinearSelfAttention
from .converted import Converted
from .linearisation import OPEN, Linearisation, linearisation, products, steadier_first
from .ranges import Range, inverse
from .terms import terms


def to_gru(
    source: LinearSelfAttention | GatedRNN,
    *,
    tokens: int | None = None,
    form: str = "compact",
    scale: float | None = None,
    input_bound: float = 4.0,
) -> Converted:
    """GRU layers that compute the function of `source` over a given number of `tokens`. Without `tokens` it is an error.

    No GRU computes this function at every length, and paper A's table 3 has no entry here. Over a given number of tokens,
    three layers are attention and five are a gated RNN: see this module's docstring. Beyond `tokens` the sums that the
    layers hold leave tanh's linear range, and the error grows.

    **Arguments:** `form`, `scale` and `input_bound` are those of `to_lru`. So is `tokens`, but it has no default.

    **Returns:** a `Converted` of the source's dtype. For attention with d = 4 in float64 and random tokens, the relative error
    was 2e-9 for `tokens` = 256, 2e-8 for 2,000 and 8e-8 for 10,000. A network made for 256 tokens has 3e-6 after 1,000 times as
    many, and 6e-4 after 4,700 times as many.

    **Raises:** `InputError` without `tokens`, and as `to_lru` does.
    """
    if tokens is None:
        raise InputError(
            "no GRU computes attention or a gated RNN at every length: its state stays in (-1, 1) where their memory grows"
            " without bound, and each layer leaks its previous state into its products (paper A, appendix A.3)."
            " Over a given number of tokens a stack of GRU layers does: give tokens="
        )
    limits = linearisation(source, sigmoids=1, scale=scale, input_bound=input_bound, tokens=tokens)
    if isinstance(source, LinearSelfAttention):
        return _attention(source, form, limits)
    return _rnn(source, limits)


class _Signal(NamedTuple):
    """Quantities of the source, as linear functions of what a layer reads and of a constant 1."""

    w: Matrix  # (signals, inputs + 1)
    range: Range

    def mapped(self, w: Matrix, eps: float) -> "_Signal":
        return _Signal(w @ self.w, self.range.mapped(w, eps))


class _Units(NamedTuple):
    """Some neurons of a layer with r = 1 and a diagonal V, and the quantities that they hold."""

    candidate: Matrix  # (neurons, inputs + 1): U_h and b_h
    v: Matrix  # (neurons,)
    gate: Matrix  # (neurons, inputs + 1): U_z and b_z
    undo: Matrix  # (signals, neurons)
    range: Range


def _attention(attention: LinearSelfAttention, form: str, limits: Linearisation) -> Converted:
    """The first layer makes memories, the second their running sums, and the third multiplies these with the queries."""
    left, right, queries, mix, readout = terms(attention, form)
    eps, dtype, ones = limits.eps, limits.dtype, np.ones(len(left))
    x = _tokens(limits, attention.in_size)
    first, (memories, x) = _layer(
        dtype,
        _accumulated_product(x.mapped(left, eps), x.mapped(right, eps), limits),
        _filter(x, 0 * x.range.size, limits),
    )
    second, (sums, x) = _layer(dtype, _filter(memories, ones, limits), _filter(x, 0 * x.range.size, limits))
    third, (y,) = _layer(dtype, _product(x.mapped(mix @ queries, eps), sums, memories.range, limits))
    return _converted([first, second, third], y.mapped(readout, eps), limits)


def _rnn(rnn: GatedRNN, limits: Linearisation) -> Converted:
    """The layers make running sums of the tokens, the input gate, the recurrence, running sums of the state, the output gate."""
    lam, w_in_m, w_in_x, w_out_m, w_out_x, readout = gated_rnn_weights(rnn)
    eps, dtype, size = limits.eps, limits.dtype, rnn.in_size + 1
    x = _Signal(np.eye(size), limits.input_range(rnn.in_size).with_constant())
    first, (x, sums) = _layer(dtype, _filter(x, np.zeros(size), limits), _filter(x, np.ones(size), limits))
    m, u = x.mapped(w_in_m, eps), sums.mapped(w_in_x, eps)
    second, (added,) = _layer(dtype, _product(m, u, x.range.mapped(w_in_x, eps), limits))
    third, (h,) = _layer(dtype, _filter(added, lam, limits))
    w_out_m, w_out_x = steadier_first(w_out_m, w_out_x, added.range, h.range)
    fourth, (now, sums) = _layer(dtype, _filter(h, 0 * lam, limits), _filter(h, 0 * lam + 1, limits))
    m, u = now.mapped(w_out_m, eps), sums.mapped(w_out_x, eps)
    fifth, (y,) = _layer(dtype, _product(m, u, h.range.mapped(w_out_x, eps), limits))
    return _converted([first, second, third, fourth, fifth], y.mapped(readout, eps), limits)


def _tokens(limits: Linearisation, in_size: int) -> _Signal:
    return _Signal(np.eye(in_size, in_size + 1), limits.input_range(in_size))


def _filter(x: _Signal, lam: Matrix, limits: Linearisation) -> _Units:
    """The sums of lambda^k x_{t-k}, with z = 1/2 and v = 2 lambda - 1. Lambda 0 leaves x itself, lambda 1 its running sum."""
    total = x.range.accumulated(lam, limits.tokens, limits.eps)
    slopes = _tanh_slopes(total.size, limits)
    return _Units(slopes[:, None] * x.w, 2 * lam - 1, 0 * x.w, np.diag(2 * inverse(slopes)), total)


def _accumulated_product(m: _Signal, x: _Signal, limits: Linearisation) -> _Units:
    """The running sums of m x, with v = 1."""
    tokens, ones = limits.tokens, np.ones(len(x.w))
    largest = x.range.accumulated(ones, tokens, limits.eps)
    made = m.range.times(x.range, limits.curvature + limits.rounding(tokens))
    return _gated(m, x.w, 1.0, largest, made.accumulated(ones, tokens, limits.eps), limits)


def _product(m: _Signal, sums: _Signal, x: Range, limits: Linearisation) -> _Units:
    """The products m x, with v = -1, where `sums` are the running sums of x. The leak of order e^2 is 3 times the curvature.

    Rounding in the layers below is the same for both neurons of a product. It cancels, but for that of the last step. Rounding in
    this layer does not add up over time: with v = -1, h' has less than half of the error of h. So each product is off by what
    one step rounds: its sums over what it reads and, behind it, over the neurons, and some 20 operations.
    """
    cancelled = sums.range.size * inverse(x.size)
    roundings = limits.rounding(2 * (sums.w.shape[1] + len(sums.w)) + 40)
    made = m.range.times(x, 4 * limits.curvature + roundings * cancelled)
    return _gated(m, sums.w, -1.0, sums.range, made, limits)


def _gated(m: _Signal, u: Matrix, v: float, largest: Range, made: Range, limits: Linearisation) -> _Units:
    small = _tanh_slopes(largest.size, limits)
    gate = products(m.w, small[:, None] * u, limits.slopes(m.range))
    return _Units(gate.w_x, np.full(len(gate.w_x), v), gate.w_m, inverse(small)[:, None] * gate.undo, made)


def _tanh_slopes(size: Matrix, limits: Linearisation) -> Matrix:
    """Factors that keep a state so small that tanh is the identity, to rounding, at every one of the tokens."""
    return (limits.eps / limits.tokens) ** 0.5 * inverse(size)


def _layer(dtype, *units: _Units) -> tuple[GRU, list[_Signal]]:
    """The layer of these neurons, and what each group of them holds, as linear functions of its output."""
    from scipy.linalg import block_diag  # imported here, because it takes as long as all of twofold

    candidate, gate = (np.concatenate([getattr(each, name) for each in units]) for name in ("candidate", "gate"))
    n, none = len(candidate), np.zeros((len(candidate), candidate.shape[1] - 1))
    u = np.concatenate([none, candidate[:, :-1], gate[:, :-1]])
    b = np.concatenate([np.full(n, OPEN), candidate[:, -1], gate[:, -1]])
    v = np.zeros((3, n, n))
    v[1] = np.diag(np.concatenate([each.v for each in units]))
    reads = np.pad(block_diag(*(each.undo for each in units)), [(0, 0), (0, 1)])
    ends = np.cumsum([len(each.undo) for each in units])[:-1]
    signals = [_Signal(w, each.range) for w, each in zip(np.split(reads, ends), units, strict=True)]
    return GRU.from_weights(*(jnp.asarray(w, dtype) for w in (u, v.reshape(3 * n, n), b))), signals


def _converted(layers: list[GRU], y: _Signal, limits: Linearisation) -> Converted:
    return Converted(layers, y.w[:, :-1], scale=limits.scale, error_bound=y.range.error_bound)
