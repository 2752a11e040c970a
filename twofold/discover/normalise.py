"""Taking out of a gated RNN's weights what its function does not fix."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..errors import InputError
from ..layers import GatedRNN


def normalise(rnn: GatedRNN) -> GatedRNN:
    """The same function with every row of the gates' matrices scaled to a largest entry of 1 (paper A, section 3.1).

    A neuron's two input rows, and a gate row's two output rows, may be scaled at will where the next matrix undoes it.

    **Raises:** `InputError` for a dense recurrence.
    """
    if rnn.recurrence != "diagonal":
        raise InputError("a dense recurrence mixes neurons, which cannot be scaled alone; only diagonal gated RNNs can")
    weights = (np.asarray(w, np.float64) for w in (rnn.w_in_m, rnn.w_in_x, rnn.w_out_m, rnn.w_out_x, rnn.readout))
    w_in_m, w_in_x, w_out_m, w_out_x, readout = weights
    w_in_m, neuron_m = _unit_rows(w_in_m)
    w_in_x, neuron_x = _unit_rows(w_in_x)
    w_out_m, row_m = _unit_rows(w_out_m * (neuron_m * neuron_x))
    w_out_x, row_x = _unit_rows(w_out_x * (neuron_m * neuron_x))
    scaled = w_in_m, w_in_x, w_out_m, w_out_x, readout * (row_m * row_x)
    return GatedRNN.from_weights(rnn.lam, *(jnp.asarray(w, rnn.readout.dtype) for w in scaled))


def _unit_rows(
    w: Float[np.ndarray, "rows columns"],
) -> tuple[Float[np.ndarray, "rows columns"], Float[np.ndarray, " rows"]]:
    """`w` with rows whose largest entry is 1, and the factors that this took; a zero row stays."""
    if w.size == 0:
        return w, np.ones(len(w))
    largest = np.take_along_axis(w, np.abs(w).argmax(1)[:, None], 1)[:, 0]
    factor = np.where(largest == 0, 1, largest)
    return w / factor[:, None], factor
