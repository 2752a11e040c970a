"""Removing from a gated RNN what its function does not need."""

from itertools import combinations
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..errors import InputError
from ..forms import Matrix, coordinates, gated_rnn_weights, quadratic_forms, spanning_subset, states
from ..layers import GatedRNN
from .normalisation import normalise
from .rank_one import rank_one_basis
from .scoring import neuron_roles

Kind = Literal["neuron", "gate row"]


class Removal(NamedTuple):
    """One thing that `prune` took away."""

    what: Kind
    number: int
    """Its number in the network that was given."""
    error: float
    """How far the outputs had then moved since the start, relative and in root mean square."""


class Pruned(NamedTuple):
    """What `prune` returns."""

    network: GatedRNN
    removals: tuple[Removal, ...]
    """The removals in the order in which they were made."""

    @property
    def error(self) -> float:
        """How far the outputs have moved in all."""
        return self.removals[-1].error if self.removals else 0.0


class Neuron(NamedTuple):
    """What goes into a hidden neuron."""

    number: int | None
    """Its number in the network that was given. None if it was added."""
    w_in_m: Matrix
    w_in_x: Matrix
    lam: float
    degree: int | None = None
    """The degree of what it holds, if this is of one degree only."""


class Network(NamedTuple):
    """What is left while pruning: the hidden states `h` over all sequences, and the weights that read them."""

    neurons: list[Neuron]
    rows: list[int | None]
    """The numbers that the gate rows had."""
    h: Matrix
    w_m: Matrix
    w_x: Matrix
    readout: Matrix

    def outputs(self) -> Matrix:
        return ((self.h @ self.w_m.T) * (self.h @ self.w_x.T)) @ self.readout.T


class Pruning(NamedTuple):
    """What is left, and what was taken away."""

    network: Network
    removals: tuple[Removal, ...] = ()


def prune(rnn: GatedRNN, tolerance: float = 1e-3, *, time: int = 32, sequences: int = 64, seed: int = 0) -> Pruned:
    """A smaller gated RNN of nearly the same function as `rnn` (paper A, section 3.2 and appendix B.2).

    Neurons and gate rows go one at a time, the least missed first. As far as a neuron is a linear mixture of others, these take
    over what it holds, and likewise for gate rows. So dead neurons, duplicates and all linear dependences vanish without
    loss, whatever the size of their weights. Then gate rows are merged that act together like one row, because their
    kernels are proportional to one kernel of rank 1.

    Training leaves terms that cancel each other, and these cost neurons. So two other networks are pruned too. In the
    first, other neurons replace those with lambda near 1 and 0: their lambda is exactly 1 or 0, and they hold the same
    products, but purely of second or of first degree. In the second, the gate rows are replaced too: for each output and each
    query of first degree, one row multiplies this query by a mixture of memories of second degree. It is tried if nothing
    else is needed. Then as many rows as memories are tried: each multiplies a mixture of queries by a mixture of memories, for
    a mixture of outputs. That is how an attention layer of size d gets to d(d+1)/2 rows. The result with the fewest neurons,
    and then the fewest rows, is returned.

    **Arguments:**

    - `tolerance`: how far the outputs may move in all, relative and in root mean square.
    - `time`, `sequences`, `seed`: the length, the number and the seed of the random unit Gaussian sequences that this is
        measured on.

    **Returns:** the smaller network, normalised (`normalise`), and what each removal cost.

    **Raises:** `InputError` for any other layer, for a dense recurrence, for weights that are not finite, and for a tolerance
    outside (0, 1).
    """
    if not 0 < tolerance < 1:
        raise InputError(f"tolerance is {tolerance}; it is a relative error and must lie between 0 and 1")
    lam, w_in_m, w_in_x, w_out_m, w_out_x, readout = gated_rnn_weights(rnn)
    if rnn.hidden_size == 0:
        return Pruned(rnn, ())
    xs = np.asarray(jax.random.normal(jax.random.key(seed), (sequences, time, rnn.in_size)), np.float64)
    neurons = [Neuron(*neuron) for neuron in zip(range(len(lam)), w_in_m, w_in_x, lam, strict=True)]
    rows: list[int | None] = list(range(rnn.gate_size))
    network = Network(neurons, rows, _states(neurons, xs), w_out_m, w_out_x, readout)
    added = _pure_neurons(rnn)
    joined = network._replace(
        neurons=neurons + added,
        h=np.concatenate([network.h, _states(added, xs)], 1),
        w_m=np.pad(w_out_m, [(0, 0), (0, len(added))]),
        w_x=np.pad(w_out_x, [(0, 0), (0, len(added))]),
    )
    target = network.outputs()
    own = _eliminate(Pruning(network), target, tolerance)
    pure = _eliminate(Pruning(joined), target, tolerance, only_given=True)
    pure = _eliminate(_without_kinds(pure, target, tolerance), target, tolerance)
    tried = [own, pure]
    if (attention := _memories_times_queries(pure, target, tolerance)) is not None:
        tried.append(_eliminate(attention, target, tolerance))
        for start in (pure, tried[-1]):  # What is needed, and before that with all of the tolerance left.
            if (fewer := _memories_times_queries(start, target, tolerance, fewest=True)) is not None:
                tried.append(_eliminate(fewer, target, tolerance))
    results = [_merge_rows(pruning, target, tolerance) for pruning in tried]
    found, removals = min(results, key=lambda pruning: (len(pruning.network.neurons), len(pruning.network.rows)))
    return Pruned(_rebuilt(found, rnn), removals)


def _pure_neurons(rnn: GatedRNN) -> list[Neuron]:
    """Neurons with lambda exactly 1 or 0 that hold, each degree apart, what the neurons near to it hold: all independent ones."""
    d, weights, pure = rnn.in_size, gated_rnn_weights(rnn), []
    memory, forget, _ = neuron_roles(rnn)
    one = np.eye(d + 1)[-1]
    for lam, role in ((1.0, memory), (0.0, forget)):
        if not np.any(role):
            continue
        m, x = weights.w_in_m[role], weights.w_in_x[role]
        second = m * (one == 0), x * (one == 0)
        first = (m[:, -1:] * x + x[:, -1:] * m) * (one == 0)
        degrees = {2: second, 1: (first, np.tile(one, (len(first), 1))), 0: (one[None], one[None])}
        for degree, (left, right) in degrees.items():
            chosen, _ = spanning_subset(coordinates(quadratic_forms(left, right)), 1e-10)
            pure += [Neuron(None, left[i], right[i], lam, degree) for i in chosen]
    return pure


def _weights(neurons: list[Neuron], in_size: int) -> tuple[Matrix, Matrix, Matrix]:
    """lambda, w_in_m and w_in_x of these neurons."""
    rows = np.array([[neuron.w_in_m, neuron.w_in_x] for neuron in neurons]).reshape(-1, 2, in_size + 1)
    return np.array([neuron.lam for neuron in neurons]), rows[:, 0], rows[:, 1]


def _states(neurons: list[Neuron], xs: Matrix) -> Matrix:
    return states(*_weights(neurons, xs.shape[2]), xs).reshape(xs.shape[0] * xs.shape[1], len(neurons))


def _rebuilt(network: Network, rnn: GatedRNN) -> GatedRNN:
    weights = *_weights(network.neurons, rnn.in_size), network.w_m, network.w_x, network.readout
    pruned = GatedRNN.from_weights(*(jnp.asarray(w, rnn.readout.dtype) for w in weights))
    return normalise(pruned)


def _eliminate(pruning: Pruning, target: Matrix, tolerance: float, only_given: bool = False) -> Pruning:
    """Take neurons and gate rows away, or only the neurons given, while the outputs stay within the tolerance."""
    limit, size = tolerance * np.linalg.norm(target), max(float(np.linalg.norm(target)), np.finfo(float).tiny)
    needed: set[tuple[str, int]] = set()
    network, removals = pruning
    neurons, rows = list(range(len(network.neurons))), list(range(len(network.rows)))
    while True:
        h, w_m, w_x, readout = network[2:]
        m, x = h @ w_m.T, h @ w_x.T
        # How far the outputs would move, to first order, were a neuron (a row) replaced by its best substitute.
        slopes = [x @ (d[:, None] * w_m) + m @ (d[:, None] * w_x) for d in readout]
        costs: dict[Kind, tuple[list[int], Matrix]] = {
            "neuron": (neurons, _misses(h) * np.mean(np.square(slopes), (0, 1)) * len(readout)),
            "gate row": (rows, _misses(m * x) * np.sum(readout**2, 0)),
        }
        candidates = [
            (cost, kind, i)
            for kind, (names, all_costs) in costs.items()
            for i, (name, cost) in enumerate(zip(names, all_costs, strict=True))
            if (kind, name) not in needed
            and not (only_given and (kind == "gate row" or network.neurons[i].number is None))
        ]
        if not candidates:
            return Pruning(network, removals)
        _, kind, i = min(candidates)
        if kind == "neuron":
            trial, name = _without_neuron(network, i), neurons[i]
        else:
            trial, name = _without_row(network, m * x, i), rows[i]
        moved = float(np.linalg.norm(trial.outputs() - target))
        if moved > limit:
            needed.add((kind, name))
            continue
        number = network.neurons[i].number if kind == "neuron" else network.rows[i]
        if number is not None:
            removals += (Removal(kind, number, moved / size),)
        (neurons if kind == "neuron" else rows).pop(i)
        network = trial


def _memories_times_queries(pruning: Pruning, target: Matrix, tolerance: float, fewest: bool = False) -> Pruning | None:
    """Gate rows that multiply queries by mixtures of memories. None if more is needed.

    There is a row for each output and query, or with `fewest` one for each memory.
    """
    network = pruning.network
    memory, query = (
        np.flatnonzero([(neuron.lam, neuron.degree) == kind for neuron in network.neurons]) for kind in ((1, 2), (0, 1))
    )
    if not (memory.size and query.size):
        return None
    mixtures = sum(
        np.einsum("og,gm,gq->moq", network.readout, m[:, memory], x[:, query], optimize=True)
        for m, x in ((network.w_m, network.w_x), (network.w_x, network.w_m))
    )
    if fewest:
        outputs, queries = rank_one_basis(mixtures * np.sqrt(np.mean(network.h[:, memory] ** 2, 0))[:, None, None])
    else:
        out = len(network.readout)
        outputs, queries = np.repeat(np.eye(out), len(query), 0), np.tile(np.eye(len(query)), (out, 1))
    directions = (outputs[:, :, None] * queries[:, None]).reshape(len(outputs), -1)
    w_m, w_x = np.zeros((2, len(outputs), len(network.neurons)))
    w_m[:, memory] = np.linalg.lstsq(directions.T, mixtures.reshape(len(memory), -1).T, rcond=None)[0]
    w_x[:, query] = queries
    trial = network._replace(rows=[None] * len(outputs), w_m=w_m, w_x=w_x, readout=outputs.T)
    moved, size = float(np.linalg.norm(trial.outputs() - target)), float(np.linalg.norm(target))
    if moved > tolerance * size:
        return None
    replaced = tuple(Removal("gate row", number, moved / size) for number in network.rows if number is not None)
    return Pruning(trial, pruning.removals + replaced)


def _without_kinds(pruning: Pruning, target: Matrix, tolerance: float) -> Pruning:
    """Take away all pure neurons of one lambda and degree where that can be, the least missed first.

    One of them alone may be missed where all together are not: x_1^2 times x_2 cancels x_1 x_2 times x_1.
    """
    limit, network = tolerance * np.linalg.norm(target), pruning.network
    while kinds := {(neuron.lam, neuron.degree) for neuron in network.neurons if neuron.degree is not None}:
        trials = []
        for kind in sorted(kinds):
            rest = np.array([(neuron.lam, neuron.degree) != kind for neuron in network.neurons])
            kept = [neuron for neuron, keep in zip(network.neurons, rest, strict=True) if keep]
            trial = network._replace(
                neurons=kept, h=network.h[:, rest], w_m=network.w_m[:, rest], w_x=network.w_x[:, rest]
            )
            trials.append((float(np.linalg.norm(trial.outputs() - target)), trial))
        moved, trial = min(trials, key=lambda tried: tried[0])
        if moved > limit:
            break
        network = trial
    return pruning._replace(network=network)


def _without_neuron(network: Network, i: int) -> Network:
    rest = np.delete(np.arange(len(network.neurons)), i)
    mixture = _substitute(network.h, i, rest)
    w_m, w_x = (w[:, rest] + np.outer(w[:, i], mixture) for w in (network.w_m, network.w_x))
    neurons = network.neurons[:i] + network.neurons[i + 1 :]
    return network._replace(neurons=neurons, h=network.h[:, rest], w_m=w_m, w_x=w_x)


def _without_row(network: Network, products: Matrix, i: int) -> Network:
    rest = np.delete(np.arange(len(network.rows)), i)
    mixture = _substitute(products, i, rest)
    readout = network.readout[:, rest] + np.outer(network.readout[:, i], mixture)
    rows = network.rows[:i] + network.rows[i + 1 :]
    return network._replace(rows=rows, w_m=network.w_m[rest], w_x=network.w_x[rest], readout=readout)


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
    features = np.linalg.qr(features / scale, mode="r")  # The same least squares, of far fewer equations.
    return np.linalg.lstsq(features[:, rest], features[:, i], rcond=1e-10)[0] * scale[i] / scale[rest]


def _merge_rows(pruning: Pruning, target: Matrix, tolerance: float) -> Pruning:
    """Replace two or three gate rows by one, where their summed kernels are multiples of one kernel for all outputs."""
    limit, size = tolerance * np.linalg.norm(target), float(np.linalg.norm(target))
    network, removals = pruning
    merged = True
    while merged:
        merged = False
        scale = np.sqrt(np.mean(network.h**2, 0))
        kernels = quadratic_forms(network.w_m * scale, network.w_x * scale)
        for group in _proportional(kernels, network.readout, tolerance):
            trial = _with_one_row(network, kernels, scale, list(group))
            moved = float(np.linalg.norm(trial.outputs() - target))
            if moved <= limit:
                numbers = [network.rows[i] for i in group]
                removals += tuple(Removal("gate row", number, moved / size) for number in numbers if number is not None)
                network, merged = trial, True
                break
    return Pruning(network, removals)


def _proportional(kernels: Matrix, readout: Matrix, tolerance: float) -> list[tuple[int, ...]]:
    """Pairs and triples of rows whose summed kernels for all outputs are nearly multiples of one kernel, the nearest first."""
    found = []
    flat = kernels.reshape(len(kernels), kernels.shape[1] ** 2)
    for number in range(2, min(len(flat), 3) + 1):
        groups = np.array(list(combinations(range(len(flat)), number)), int).reshape(-1, number)
        # The squared singular values of D_J K_J are the eigenvalues of (D_J^T D_J)(K_J K_J^T).
        inner = [gram[groups[:, :, None], groups[:, None, :]] for gram in (readout.T @ readout, flat @ flat.T)]
        squares = np.sort(np.abs(np.linalg.eigvals(inner[0] @ inner[1])), axis=1)
        rest = (np.sum(squares[:, :-1], 1) / np.maximum(squares[:, -1], np.finfo(float).tiny)) ** 0.5
        near = np.flatnonzero(rest <= max(10 * tolerance, 1e-6))  # Squares leave no more precision than that.
        found += [(float(rest[i]), tuple(map(int, groups[i]))) for i in near]
    return [group for _, group in sorted(found)]


def _with_one_row(network: Network, kernels: Matrix, scale: Matrix, group: list[int]) -> Network:
    n = len(scale)
    total = network.readout[:, group] @ kernels[group].reshape(len(group), -1)
    form = np.linalg.svd(total, full_matrices=False)[2][0]
    values, vectors = np.linalg.eigh(form.reshape(n, n))
    # The nearest u v^T + v u^T is that of the largest and the most negative eigenvalue.
    up = vectors[:, -1] * max(values[-1], 0) ** 0.5
    down = vectors[:, 0] * max(-values[0], 0) ** 0.5
    rest = np.delete(np.arange(len(network.rows)), group)
    safe = np.where(scale > 0, scale, 1)
    return network._replace(
        rows=[network.rows[i] for i in rest] + [None],
        w_m=np.concatenate([network.w_m[rest], ((up + down) / safe)[None]]),
        w_x=np.concatenate([network.w_x[rest], ((up - down) / safe)[None]]),
        readout=np.concatenate([network.readout[:, rest], (total @ form)[:, None]], 1),
    )
