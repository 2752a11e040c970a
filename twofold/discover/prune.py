"""Removing from a gated RNN what its function does not need."""

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import InputError
from ..layers import GatedRNN
from .scores import neuron_roles


def prune(rnn: GatedRNN, tolerance: float = 1e-3, *, time: int = 32, sequences: int = 64, seed: int = 0) -> GatedRNN:
    """A smaller gated RNN of nearly the same function (paper A, section 3.2 and appendix B.2).

    Neurons and gate rows go one at a time, the least missed first. What a neuron holds is first handed over to those
    that remain, as far as it is a linear mixture of them, and likewise for gate rows: so dead neurons, duplicates and
    all linear dependences vanish without loss, wherever training has left the weights small or not.

    **Arguments:**

    - `tolerance`: how far the outputs may move in all, relative and in root mean square, over random unit Gaussian
        `sequences` of length `time`.

    **Returns:** the smaller network, its neurons in the order memory, forgetful, other (`neuron_roles`), each in order
    of lambda.

    **Raises:** `InputError` for a dense recurrence, weights that are not finite, and a tolerance outside (0, 1).
    """
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance is {tolerance}; it is a relative error and must lie between 0 and 1")
    neuron_roles(rnn)
    weights = [np.asarray(w, np.float64) for w in (rnn.w_in_m, rnn.w_in_x, rnn.w_out_m, rnn.w_out_x, rnn.readout)]
    w_in_m, w_in_x, w_out_m, w_out_x, readout = weights
    if not all(np.all(np.isfinite(w)) for w in weights):
        raise InputError("the weights contain NaN or infinity; only finite weights can be pruned")
    if rnn.hidden_size == 0:
        return rnn
    xs = jax.random.normal(jax.random.key(seed), (sequences, time, rnn.in_size))
    h = np.asarray(jax.vmap(lambda x: rnn.states(rnn.init_state(), x))(xs), np.float64)
    h = h.reshape(-1, rnn.hidden_size)
    neurons, (w_out_m, w_out_x, readout) = _eliminate(h, w_out_m, w_out_x, readout, tolerance)

    lam = np.asarray(rnn.lam, np.float64)
    memory, forget, _ = neuron_roles(rnn)
    role = np.where(memory, 0, np.where(forget, 1, 2))
    order = np.lexsort((-lam[neurons], role[neurons]))
    kept = neurons[order]
    pruned = lam[kept], w_in_m[kept], w_in_x[kept], w_out_m[:, order], w_out_x[:, order], readout
    return GatedRNN.from_weights(*(jnp.asarray(w, rnn.readout.dtype) for w in pruned))


def _eliminate(h, w_m, w_x, readout, tolerance):
    """Which neurons are kept, and the output gate's weights between them and the gate rows that are kept."""
    neurons, rows = np.arange(h.shape[1]), np.arange(len(w_m))
    needed: set[tuple[str, int]] = set()
    target = _outputs(h, w_m, w_x, readout)
    limit = tolerance * np.linalg.norm(target)
    while True:
        m, x = h @ w_m.T, h @ w_x.T
        # How far the outputs would move, to first order, were a neuron (a row) replaced by its best substitute.
        slopes = [x @ (d[:, None] * w_m) + m @ (d[:, None] * w_x) for d in readout]
        costs = {
            "neuron": (neurons, _misses(h) * np.mean(np.square(slopes), (0, 1)) * len(readout)),
            "row": (rows, _misses(m * x) * np.sum(readout**2, 0)),
        }
        candidates = [
            (cost, kind, i, name)
            for kind, (names, all_costs) in costs.items()
            for i, (name, cost) in enumerate(zip(names, all_costs, strict=True))
            if (kind, name) not in needed
        ]
        if not candidates:
            return neurons, (w_m, w_x, readout)
        _, kind, i, name = min(candidates)
        if kind == "neuron":
            rest = np.delete(np.arange(len(neurons)), i)
            mixture = _substitute(h, i, rest)
            trial = h[:, rest], *(w[:, rest] + np.outer(w[:, i], mixture) for w in (w_m, w_x)), readout
        else:
            rest = np.delete(np.arange(len(rows)), i)
            mixture = _substitute(m * x, i, rest)
            trial = h, w_m[rest], w_x[rest], readout[:, rest] + np.outer(readout[:, i], mixture)
        if np.linalg.norm(_outputs(*trial) - target) > limit:
            needed.add((kind, name))
            continue
        h, w_m, w_x, readout = trial
        neurons, rows = (neurons[rest], rows) if kind == "neuron" else (neurons, rows[rest])


def _outputs(h, w_m, w_x, readout):
    return ((h @ w_m.T) * (h @ w_x.T)) @ readout.T


def _misses(features):
    """The mean square of each feature that no linear mixture of the others reaches."""
    size = np.sqrt(np.mean(features**2, 0))
    scaled = features / np.where(size > 0, size, 1)
    gram = scaled.T @ scaled / len(features)
    return size**2 / np.diag(np.linalg.inv(gram + 1e-12 * np.eye(len(gram))))


def _substitute(features, i, rest):
    """The mixture of the features `rest` nearest to feature i."""
    size = np.sqrt(np.mean(features**2, 0))
    scale = np.where(size > 0, size, 1)
    mixture = np.linalg.lstsq(features[:, rest] / scale[rest], features[:, i], rcond=1e-10)[0]
    return mixture / scale[rest]
