"""The training loop: whole stretches of steps compiled, populations of seeds trained together."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, Scalar

from ..errors import InputError
from .history import History
from .population import Population, State
from .progress import progress_bar
from .saver import saver

Model = TypeVar("Model")


class Trained(NamedTuple):
    """What `fit` returns."""

    models: Any
    """The trained models. Every array has a leading axis for seeds, as in the models given. With validation, each model is as
    it was at its best."""
    losses: Float[np.ndarray, "seeds records"]
    """The mean training loss of each stretch of steps; NaN from where training stopped early."""
    validation: Float[np.ndarray, "seeds records"]
    """The validation loss after each stretch; all NaN without validation."""
    steps: Int[np.ndarray, " records"]
    """How many steps were done at the end of each stretch."""
    seconds: float
    """Wall time spent in training, over all sessions of a run that was continued."""
    best: list[int]
    """The record at which each seed's model was kept; -1 without validation, or where its loss was never finite."""
    failed: Bool[np.ndarray, " seeds"]
    """Which seeds have no trained model: those whose last loss or parameters are not finite, or, with validation, whose
    validation loss was never finite. Their models are of no use."""

    def checked(self) -> "Trained":
        """The same, where every seed has a trained model.

        **Raises:** `FloatingPointError` that names the seeds that failed.
        """
        if np.any(self.failed):
            failed = ", ".join(map(str, np.flatnonzero(self.failed)))
            raise FloatingPointError(
                f"training diverged for model {failed} of {len(self.failed)} (from 0); a smaller learning rate may help"
            )
        return self


def fit(
    loss: Callable[[Model, Any, PRNGKeyArray], Scalar],
    models: Model,
    data: Any,
    *,
    optimiser: optax.GradientTransformation,
    steps: int,
    key: PRNGKeyArray | Key[Array, " seeds"],
    shared_data: bool = False,
    records: int = 500,
    validation: Callable[[Model, Any], Scalar] | None = None,
    patience: int | None = None,
    log: Path | str | None = None,
    checkpoint: Path | str | None = None,
    checkpoint_seconds: float = 30.0,
    title: str = "training",
    progress: bool = True,
) -> Trained:
    """Minimise `loss` by `steps` steps of `optimiser`, for several models at once.

    **Arguments:**

    - `loss`: `(model, data, key) -> scalar`. It draws its own batch with the key, which differs in every step and seed.
    - `models`: the models to train, stacked: every array has a leading axis, with one entry for each seed.
        `eqx.filter_vmap` of a constructor over keys makes such models.
    - `data`: a pytree of arrays, stacked likewise. With `shared_data` all seeds have the same data, which is not stacked.
    - `key`: one key for all seeds, or one for each.
    - `records`: the run is compiled and reported in so many stretches of equal length.
    - `validation`: `(model, data) -> scalar`, a loss on data held out. It is measured after every stretch. Each seed's model
        is kept as it was where this loss was smallest.
    - `patience`: a seed ends after this many stretches without a smaller validation loss. The run ends with the last seed.
    - `log`: a file that gets a line of JSON for each stretch: steps, seconds, and the losses of all seeds.
    - `checkpoint`: a folder. The run is saved there every `checkpoint_seconds`, at its end, and before it ends at Ctrl-C or
        SIGTERM. A run that was stopped, in whatever way, continues from there to bit-identical results. Without a
        folder nothing is saved.

    **Raises:** `InputError` if the checkpoint belongs to a run of other settings, models, data, loss or optimiser, if all of
    it is damaged, or if another process trains in its folder; `FloatingPointError` if the loss of all models becomes NaN
    before any was validated, or if no model is finite at the end; `OSError` if a file cannot be written.
    After Ctrl-C `KeyboardInterrupt` is raised, and after SIGTERM `SystemExit` with code 143.
    """
    if steps < 1:
        raise InputError(f"steps is {steps}; it must be at least 1")
    if records < 1:
        raise InputError(f"records is {records}; it must be at least 1")
    if patience is not None and (patience < 1 or validation is None):
        raise InputError(f"patience is {patience}; it must be at least 1, and needs a validation loss")
    population = Population(
        models, data, key, shared_data=shared_data, loss=loss, validation=validation, optimiser=optimiser
    )
    history = History(steps, records, population.seeds, validated=validation is not None, patience=patience)
    with saver(checkpoint, population, history, every=checkpoint_seconds) as saved:
        state = saved.restore(population.start())
        if log is not None:
            history.write(log)
        with progress_bar(shown=progress and not history.finished()) as bar:
            task = bar.add_task(title, total=steps, completed=history.done(), loss="", speed=0.0)
            while not history.finished():
                state, shown = _stretch(population, state, history)
                bar.update(task, completed=history.done(), **shown)
                if log is not None:
                    history.append(log)
                _check_finite(history)
                saved.stretch_done(state)
    return _trained(population, state, history)


def _trained(population: Population, state: State, history: History) -> Trained:
    params = state.kept if history.validated else state.params
    failed = _failed(params, history)
    if np.all(failed):
        raise FloatingPointError("training did not reach a finite loss; a smaller learning rate may help")
    models = population.models(params)
    return Trained(models, history.losses, history.validation, history.ends, history.elapsed(), history.best(), failed)


def _stretch(population: Population, state: State, history: History) -> tuple[State, dict[str, Any]]:
    """The state after the next stretch, which is recorded, and what the progress bar shows of it."""
    began, length = time.perf_counter(), history.lengths[history.completed]
    state, now = population.stretch(state, history.done(), length)
    losses = np.asarray(now)
    shown = f"loss {np.mean(losses):.3e}"
    validation = None
    if history.validated:
        validation = np.asarray(population.validate(state))
        shown += f"  validation {np.mean(validation):.3e}"
    seconds = time.perf_counter() - began
    history.add(losses, validation, seconds)
    if history.validated:
        state = population.keep(state, np.array(history.best()) == history.completed - 1)
    return state, {"loss": shown, "speed": length / seconds}


def _check_finite(history: History) -> None:
    if np.all(np.isnan(history.losses[:, history.completed - 1])) and not np.any(np.isfinite(history.validation)):
        raise FloatingPointError(
            f"the training loss became NaN by step {history.done()}; a smaller learning rate may help"
        )


def _failed(params: Any, history: History) -> Bool[np.ndarray, " seeds"]:
    if history.validated:
        return np.array(history.best()) < 0
    finite = [np.asarray(jnp.all(jnp.isfinite(x), axis=tuple(range(1, x.ndim)))) for x in jax.tree.leaves(params)]
    return ~np.all([*finite, np.isfinite(history.losses[:, history.completed - 1])], axis=0)
