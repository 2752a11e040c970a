"""Second-order training of a gated RNN towards another layer's function."""

import time as clock
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from threadpoolctl import threadpool_limits

from ..errors import InputError
from ..forms import GatedRNNWeights, Matrix, check_finite, gated_rnn_weights
from ..layers import GatedRNN
from ..layers.gated_rnn import nu_of
from ..layers.layer import Layer, check_sizes
from .normal_equations import Parameters, normal_equations

ROUNDING = 1e-26
"""A loss this small, relative to the target's mean square, is nothing but rounding: no step lowers it. Once a loss is exact, a
step that does not halve it shows the same."""
EXACT = 1e-18
"""A loss this small, relative to the target's mean square, is reached where the network can be the target."""
RESIDUALS = 3
"""The number of outputs to match for each parameter."""
MOST_PARAMETERS = 10_000
"""The normal equations of so many parameters take 0.8 GB, and a step holds three such arrays."""
FEW_PARAMETERS = 2_000
"""NumPy and SciPy have threads of their own for matrices, which wait for one another without sleep. Up to so many parameters, a
single thread is faster: more than twice for 1,500."""
LEAST_DAMPING, MOST_DAMPING = 1e-12, 1e10
"""The damping relative to the diagonal of the normal equations. The least keeps them definite. Beyond the most, no step lowers
the loss any more."""


class Finetuned(NamedTuple):
    """What `finetune` returns."""

    network: GatedRNN
    losses: Float[np.ndarray, " steps_plus_1"]
    """Half the mean squared error on the sequences trained on, at the start and after every step."""
    seconds: Float[np.ndarray, " steps_plus_1"]
    """The time at which each loss was reached, since `finetune` was called."""
    all_losses: tuple[Float[np.ndarray, " steps_of_start_plus_1"], ...]
    """The losses of every start that was trained; `losses` is the one that ends lowest."""
    exact: bool
    """Whether the network has become the target: the loss is at most 1e-18 of the mean square of the target."""


def finetune(
    rnn: GatedRNN,
    target: Layer,
    *,
    steps: int = 100,
    starts: int = 1,
    time: int = 8,
    seed: int = 0,
    enough: float = EXACT,
    progress: bool = False,
) -> Finetuned:
    """Bring the function of a gated RNN to that of `target`, from pruned weights or from random ones.

    Levenberg-Marquardt steps in float64 move all weights together. An active set keeps lambda in [0, 1], so that it ends at
    exactly 0 and 1 where these are best. The steps match all outputs on a fixed set of random unit Gaussian sequences, with
    three outputs for each parameter. If the network can be the target, the error falls to rounding, on all sequences. A
    step takes seconds for 6,000 parameters, and its time grows with their third power.

    **Arguments:**

    - `rnn`: the network to start from. `target`: a layer of the same sizes.
    - `steps`: the most steps to take from one start. They end early if the loss is nothing but rounding, or no step lowers it.
    - `starts`: the most networks to train. Random weights get stuck now and then, so it pays to begin several. The first start
        is `rnn`, and the others are random networks of its sizes, with more lambdas near 1 than near 0 (`towards_memory`).
    - `time`, `seed`: the length of the sequences, and the seed of sequences and further starts.
    - `enough`: no further network is begun after a loss this small, relative to the mean square of the target. Where `prune`
        follows, 1e-8 suffices: a network that is stuck there has the right function, in more neurons than are needed.
    - `progress`: whether to show a progress bar for each start.

    **Returns:** the network of the best start, in the dtype of `rnn`, and how the losses fell.

    **Raises:** `InputError` if sizes differ, for numbers below 1, for any other network than a diagonal `GatedRNN`, for weights
    that are not finite, and for more than 10,000 weights: prune the network first.
    """
    weights = gated_rnn_weights(rnn)
    for leaf in jax.tree.leaves(target):
        check_finite("the target", leaf)
    if (rnn.in_size, rnn.out_size) != (target.in_size, target.out_size):
        raise InputError(
            f"the RNN maps {rnn.in_size} to {rnn.out_size} features and the target {target.in_size} to {target.out_size};"
            " they must be of equal sizes"
        )
    check_sizes(steps=steps, time=time, starts=starts)
    parameters = sum(w.size for w in weights)
    if parameters == 0:
        raise InputError("the RNN has neither neurons nor gate rows; there is nothing to train")
    if parameters > MOST_PARAMETERS:
        raise InputError(
            f"the RNN has {parameters:,} parameters; second-order steps are for up to {MOST_PARAMETERS:,}: prune it first"
        )
    import scipy.linalg  # noqa: F401  # loaded late, because it takes as long as all of twofold, but before its threads are limited

    with jax.enable_x64(True), threadpool_limits(1 if parameters <= FEW_PARAMETERS else None, user_api="blas"):
        target = jax.tree.map(lambda w: jnp.asarray(w, jnp.float64) if eqx.is_inexact_array(w) else w, target)
        sequences = _sequences(parameters, target, time, seed)
        size, tried = float(np.mean(sequences.ys**2)), []
        for start in range(starts):
            first = weights if start == 0 else _random_weights(rnn, jax.random.fold_in(jax.random.key(seed), start))
            tried.append(_descend(first, sequences, steps, size, progress))
            if tried[-1].losses[-1] <= enough * size:
                break
    best = min(tried, key=lambda descent: descent.losses[-1])
    network = GatedRNN.from_weights(*(jnp.asarray(w, rnn.readout.dtype) for w in best.weights))
    losses = tuple(np.array(descent.losses) for descent in tried)
    seconds = np.array(best.seconds) - tried[0].seconds[0]
    return Finetuned(network, np.array(best.losses), seconds, losses, best.losses[-1] <= EXACT * size)


def _random_weights(rnn: GatedRNN, key: PRNGKeyArray) -> GatedRNNWeights:
    """The weights of a random network of these sizes."""
    drawn = GatedRNN(rnn.in_size, rnn.out_size, hidden_size=rnn.hidden_size, gate_size=rnn.gate_size, key=key)
    return gated_rnn_weights(towards_memory(drawn))


def towards_memory(rnn: GatedRNN) -> GatedRNN:
    """The network with the root of each lambda. A uniform lambda then has the density 2 lambda.

    So a random network has more neurons near to memories, of which attention takes more than of queries.
    """
    return eqx.tree_at(lambda rnn: rnn.recurrent, rnn, nu_of(rnn.lam**0.5))


class Sequences(NamedTuple):
    """The tokens, and the outputs to match."""

    xs: Float[Matrix, "sequences time in"]
    ys: Float[Matrix, "sequences time out"]


def _sequences(parameters: int, target: Layer, time: int, seed: int) -> Sequences:
    number = -(-RESIDUALS * parameters // (time * target.out_size))
    xs = jax.random.normal(jax.random.key(seed), (number, time, target.in_size))
    return Sequences(np.asarray(xs), np.asarray(eqx.filter_jit(jax.vmap(target))(xs)))


class Descent(NamedTuple):
    """Where the steps from one start led."""

    weights: GatedRNNWeights
    losses: list[float]
    seconds: list[float]
    """The clock at each of them."""


def _descend(weights: GatedRNNWeights, sequences: Sequences, steps: int, size: float, progress: bool) -> Descent:
    place, damping = Parameters.of(weights), 1.0
    lower, upper = place.bounds()

    def misses_at(place: Parameters) -> tuple[Matrix, float]:
        misses = place.weights().outputs(sequences.xs) - sequences.ys
        return misses, float(np.sum(misses**2)) / (2 * misses.size)

    misses, loss = misses_at(place)
    losses, seconds = [loss], [clock.perf_counter()]
    with _progress_bar(progress) as bar:
        task = bar.add_task("fitting", total=steps, loss=loss)
        for _ in range(steps):
            flat, (normal, gradient) = place.flat(), normal_equations(place, sequences.xs, misses)
            held = ((flat <= lower) & (gradient > 0)) | ((flat >= upper) & (gradient < 0))
            while damping < MOST_DAMPING:
                trial = place.like(np.clip(flat - _step(normal, gradient, held, damping), lower, upper))
                misses, loss = misses_at(trial)
                if loss < losses[-1]:
                    break
                damping *= 4
            else:
                break
            place, damping = trial, max(damping / 10, LEAST_DAMPING)
            losses.append(loss)
            seconds.append(clock.perf_counter())
            bar.update(task, advance=1, loss=loss)
            if loss <= ROUNDING * size or (loss <= EXACT * size and loss > losses[-2] / 2):
                break
        bar.update(task, completed=steps)
    return Descent(place.weights(), losses, seconds)


def _step(normal, gradient, held, damping):
    """The damped step of the weights that are not held at a bound."""
    from scipy import linalg

    free = np.flatnonzero(~held)
    damped = normal[np.ix_(free, free)]
    size = np.diagonal(damped)
    damped[np.diag_indices_from(damped)] += damping * (size + 1e-9 * np.mean(size))
    step = np.zeros_like(gradient)
    try:
        factor = linalg.cho_factor(damped, overwrite_a=True, check_finite=False)
    except linalg.LinAlgError:  # Not definite, by rounding: no step, so that the damping grows.
        return np.full_like(gradient, np.nan)
    step[free] = linalg.cho_solve(factor, gradient[free], check_finite=False)
    return step


def _progress_bar(shown: bool) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.3e}"),
        TimeElapsedColumn(),
        disable=not shown,
    )
