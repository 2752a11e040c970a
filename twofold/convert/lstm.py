"""Linear self-attention, and gated RNNs, as networks of LSTM layers (paper A, appendix A.2 and table 4)."""

import jax.numpy as jnp
import numpy as np

from ..forms import Matrix, gated_rnn_weights
from ..layers import LSTM, GatedRNN, LinearSelfAttention
from .converted import Converted
from .linearisation import OPEN, Linearisation, linearisation, steadier_first
from .ranges import Range, geometric_sum, inverse
from .terms import terms


def to_lstm(
    source: LinearSelfAttention | GatedRNN,
    *,
    form: str = "compact",
    scale: float | None = None,
    input_bound: float = 4.0,
    tokens: int = 1000,
) -> Converted:
    """LSTM layers that compute the function of `source`, up to the curvature of sigmoid and tanh (paper A, table 4).

    Attention takes one layer. With f = 1 its cell adds up g * c~, the products of values and keys. Its output gate multiplies
    them with the queries. A gated RNN takes two layers. In the first, g * c~ is the input gate and f is lambda. In the second,
    g * c~ is the output gate.

    **Arguments:** `form`, `scale`, `input_bound` and `tokens` are those of `to_lru`.

    **Returns:** a `Converted` of the source's dtype. It has 4 neurons for each term of attention, and 2 for each neuron and
    each gate row of a gated RNN. Relative errors in float64 are about 1e-8 for attention, where two sigmoids in one product
    cancel more digits, and 1e-9 for a gated RNN. In float32 they are about 1e-4 and 1e-3.

    **Raises:** `InputError` as `to_lru` does.
    """
    sigmoids = 2 if isinstance(source, LinearSelfAttention) else 1
    limits = linearisation(source, sigmoids=sigmoids, scale=scale, input_bound=input_bound, tokens=tokens)
    return _attention(source, form, limits) if isinstance(source, LinearSelfAttention) else _rnn(source, limits)


def _attention(attention: LinearSelfAttention, form: str, limits: Linearisation) -> Converted:
    """h = o * c with o = 1/2 + q/4 and c = sum of (1/2 + v/4) k. Four neurons with all signs of q and v leave v k q alone."""
    eps = limits.eps
    left, right, queries, mix, readout = terms(attention, form)
    queries = mix @ queries
    x = limits.input_range(attention.in_size)
    v, k, q = (x.mapped(w, eps) for w in (left, right, queries))
    memories = v.times(k, 0.0).accumulated(np.ones(len(left)), limits.tokens, eps)
    y = q.times(memories, 2 * limits.curvature + limits.rounding(limits.tokens, sigmoids=2)).mapped(readout, eps)

    small, of_v, of_q = _tanh_slopes(k, np.full(len(left), limits.tokens), eps), limits.slopes(v), limits.slopes(q)
    signs_v, signs_q = np.array([1, -1, 1, -1]), np.array([1, 1, -1, -1])
    none = np.zeros(4 * len(left))
    layer = _lstm(
        limits.dtype,
        f=(np.zeros((len(none), attention.in_size)), none + OPEN),
        c=(np.tile(small[:, None] * right, (4, 1)), none),
        g=(np.kron(signs_v[:, None], of_v[:, None] * left), none),
        o=(np.kron(signs_q[:, None], of_q[:, None] * queries), none),
    )
    undo = np.kron(signs_v * signs_q, np.diag(4 * inverse(small * of_v * of_q)))
    return Converted([layer], readout @ undo, scale=limits.scale, error_bound=y.error_bound)


def _rnn(rnn: GatedRNN, limits: Linearisation) -> Converted:
    """In each layer g * c~ = (1/2 + m/4) x. Two neurons with both signs of m leave m x alone."""
    lam, w_in_m, w_in_x, w_out_m, w_out_x, readout = gated_rnn_weights(rnn)
    eps, dtype = limits.eps, limits.dtype
    x = limits.input_range(rnn.in_size).with_constant()
    m_in, x_in = x.mapped(w_in_m, eps), x.mapped(w_in_x, eps)
    # What a step rounds fades like the state. There are three roundings, of f, of f * c and of the sum with g * c~.
    added = m_in.times(x_in, limits.curvature + limits.rounding(3 * geometric_sum(lam, limits.tokens)))
    h = added.accumulated(lam, limits.tokens, eps)
    w_out_m, w_out_x = steadier_first(w_out_m, w_out_x, added, h)
    m_out, x_out = h.mapped(w_out_m, eps), h.mapped(w_out_x, eps)
    y = m_out.times(x_out, limits.curvature + limits.rounding(2)).mapped(readout, eps)

    def layer(w_m, w_x, slopes, small, forget):
        """The layer that reads (z, 1), and the map from its neurons to m x."""
        m, x = np.kron([[1], [-1]], slopes[:, None] * w_m), np.tile(small[:, None] * w_x, (2, 1))
        made = _lstm(
            dtype,
            f=(0 * m[:, :-1], np.tile(forget, 2)),
            c=(x[:, :-1], x[:, -1]),
            g=(m[:, :-1], m[:, -1]),
            o=(0 * m[:, :-1], np.full(len(m), OPEN)),
        )
        return made, np.kron([1, -1], np.diag(2 * inverse(small * slopes)))

    with np.errstate(divide="ignore"):
        forget = np.clip(np.log(lam) - np.log1p(-lam), -OPEN, OPEN)
    first, undo = layer(
        w_in_m, w_in_x, limits.slopes(m_in), _tanh_slopes(x_in, geometric_sum(lam, limits.tokens), eps), forget
    )
    w_m, w_x = (np.pad(w @ undo, [(0, 0), (0, 1)]) for w in (w_out_m, w_out_x))
    once = np.ones(len(w_m))
    second, undo = layer(w_m, w_x, limits.slopes(m_out), _tanh_slopes(x_out, once, eps), -OPEN * once)
    return Converted([first, second], readout @ undo, scale=limits.scale, error_bound=y.error_bound)


def _tanh_slopes(z: Range, total: Matrix, eps: float) -> Matrix:
    """Factors that keep the cell so small that tanh is the identity to rounding. They cancel no digits."""
    return eps**0.5 * inverse(z.size * total)


def _lstm(dtype, **gates: tuple[Matrix, Matrix]) -> LSTM:
    """The layer with (U, b) for each of the gates f, c~, g and o. They do not read h: V = 0."""
    us, bs = zip(*(gates[name] for name in "fcgo"), strict=True)
    u, b = np.concatenate(us), np.concatenate(bs)
    v = np.zeros((len(b), len(b) // 4))
    return LSTM.from_weights(*(jnp.asarray(w, dtype) for w in (u, v, b)))
