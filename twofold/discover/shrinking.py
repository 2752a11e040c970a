"""The fewest gate rows that compute a function."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..forms import GatedRNNWeights, Matrix, gated_rnn_weights, states
from ..layers import GatedRNN
from ..layers.layer import Layer
from .finetuning import Finetuned, finetune
from .pruning import prune

STEPS = 60, 300
"""Most rows that can be spared are so within the first number of steps. If no row is, all are tried with the second number."""


def shrink(rnn: GatedRNN, target: Layer, tolerance: float = 1e-3, *, gate_size: int = 0) -> Finetuned:
    """The smallest gated RNN found that is `target`, from one that nearly has its function.

    `prune` takes away what is not needed within the tolerance, and `finetune` brings the rest to the target. Students of an
    attention layer of size d and one head then have d(d+1)/2 rows, as many as the compact construction. From other networks,
    the gate rows go one at a time, the smallest first, with `finetune` after each. A row comes back if the error does not fall
    to rounding without it.

    **Arguments:**

    - `rnn`: the network to start from. `target`: a layer of the same sizes.
    - `tolerance`: how far `prune` may move the outputs, relative and in root mean square.
    - `gate_size`: no more row is removed once so few are left. With 0, the end comes when each row was removed in vain.

    **Returns:** the network, and how the losses of its last `finetune` fell. If the pruned network does not become the target, no
    row is removed, and `exact` is false.

    **Raises:** what `prune` and `finetune` raise.
    """
    found = finetune(prune(rnn, tolerance).network, target)
    while found.exact and found.network.gate_size > gate_size:
        if (smaller := _with_a_row_less(found.network, target)) is None:
            break
        found = smaller
    return found


def _with_a_row_less(rnn: GatedRNN, target: Layer) -> Finetuned | None:
    """The network without the smallest row that the others can replace. None if there is no such row."""
    weights = gated_rnn_weights(rnn)
    *neurons, w_m, w_x, readout = weights
    for steps in STEPS:
        for row in np.argsort(_sizes_of_rows(weights)):
            rest = (np.delete(w, row, axis) for w, axis in ((w_m, 0), (w_x, 0), (readout, 1)))
            network = GatedRNN.from_weights(*(jnp.asarray(w, rnn.readout.dtype) for w in (*neurons, *rest)))
            if (found := finetune(network, target, steps=steps)).exact:
                return found
    return None


def _sizes_of_rows(weights: GatedRNNWeights) -> Float[Matrix, " g"]:
    """The root mean square of what each gate row adds to the outputs, over random sequences."""
    xs = np.random.default_rng(0).normal(size=(64, 8, weights.w_in_m.shape[1] - 1))
    h = states(*weights[:3], xs)
    products = (h @ weights.w_out_m.T) * (h @ weights.w_out_x.T)
    return np.sqrt(np.mean(products**2, (0, 1)) * np.sum(weights.readout**2, 0))
