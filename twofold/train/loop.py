"""The training loop. It compiles whole stretches of steps, and trains all seeds together."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, Scalar

from ..errors import InputError
from ..memory import keep_memory
from .history import History
from .population import Population, State
from .processes import is_first, loss_of_another, on_all, on_this
from .progress import progress_bar
from .saver import saver

Model = TypeVar("Model")


class Trained(NamedTuple):
    """What `fit` returns."""

    models: Any
    """The trained models. Every array has a leading axis for seeds, as in the models that were given. With validation, each
    model is the one with the smallest validation loss."""
    losses: Float[np.ndarray, "seeds records"]
    """The mean training loss of each stretch of steps. It is NaN for stretches after an early end."""
    validation: Float[np.ndarray, "seeds records"]
    """The validation loss after each stretch. It is NaN without validation, and for stretches after an early end."""
    steps: Int[np.ndarray, " records"]
    """How many steps were done at the end of each stretch."""
    seconds: float
    """The wall time of training in seconds. For a run that was continued, it is the sum over all its parts."""
    best: list[int]
    """The stretch after which each seed's model was kept. It is -1 without validation, and where the validation loss was never
    finite."""
    failed: Bool[np.ndarray, " seeds"]
    """Which seeds have no trained model. With validation, a seed fails if its validation loss was never finite. Without
    validation, it fails if its last loss or its parameters are not finite. The model of such a seed is of no use."""

    def checked(self) -> "Trained":
        """Return this result, if every seed has a trained model.

        **Raises:** `FloatingPointError` with the seeds that failed.
        """
        if np.any(self.failed):
            failed = ", ".join(map(str, np.flatnonzero(self.failed)))
            raise FloatingPointError(
                f"training diverged for model {failed} of {len(self.failed)}, counted from 0; a smaller learning rate may help"
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
    mesh: Mesh | None = None,
    title: str = "training",
    progress: bool = True,
) -> Trained:
    """Minimise `loss` with `steps` steps of `optimiser`, for several models at once.

    **Arguments:**

    - `loss`: `(model, data, key) -> scalar`. It draws its own batch with the key. Every step of every seed has another key.
    - `models`: the models to train, stacked: every array has a leading axis, with one entry for each seed.
        `eqx.filter_vmap` of a constructor over keys makes such models.
    - `data`: a pytree of arrays, which are stacked in the same way.
    - `optimiser`: an optimiser of Optax.
    - `steps`: how many steps each seed takes at most.
    - `key`: one key, from which each seed gets its own, or a key for each seed.
    - `shared_data`: whether all seeds have the same data. The data are then not stacked.
    - `records`: the run is divided into this many stretches at most. The losses are recorded after each of them.
    - `validation`: `(model, data) -> scalar`, a loss on data that are held out. It is measured after every stretch. The model
        of each seed is kept as it was when this loss was smallest.
    - `patience`: a seed ends after this many stretches without a smaller validation loss. The run ends with the last seed.
    - `log`: a file that gets a line of JSON for each stretch. The line has the steps, the seconds, and the losses of all seeds.
    - `checkpoint`: a folder. The run is saved there every `checkpoint_seconds` seconds, at its end, and before it ends after
        Ctrl-C or SIGTERM. A run that was stopped, or killed, continues from there to bit-identical results. Without a
        folder, nothing is saved.
    - `mesh`: a mesh of devices with the axes "data" or "time" or both, which `mesh_of` makes. Models that `loss` applies with
        `over_batch` are spread over them. A run can be continued on another mesh, with the same results up to rounding.
        After `join_processes`, the devices belong to several processes, and each of them calls `fit` with the same arguments.
        The first one writes `log` and `checkpoint`. All of them read `checkpoint`, so it must be the same folder for all.
    - `title`, `progress`: the title of the progress bar, and whether the bar is shown.

    **Raises:**

    - `InputError` if the checkpoint belongs to a run with other settings, models, data, loss or optimiser, if it is damaged,
        or if another process trains in its folder;
    - `FloatingPointError` if the loss of all models becomes NaN before any validation loss was finite, or if no seed has a
        trained model at the end;
    - `OSError` if a file cannot be written; `ConnectionError` if another process that trains along was lost;
    - after Ctrl-C `KeyboardInterrupt`, and after SIGTERM `SystemExit` with code 143.
    """
    keep_memory()
    if steps < 1:
        raise InputError(f"steps is {steps}; it must be at least 1")
    if records < 1:
        raise InputError(f"records is {records}; it must be at least 1")
    if patience is not None and (patience < 1 or validation is None):
        raise InputError(f"patience is {patience}; it must be at least 1, and it needs a validation loss")
    population = Population(
        models, data, key, shared_data=shared_data, loss=loss, validation=validation, optimiser=optimiser
    )
    history = History(steps, records, population.seeds, validated=validation is not None, patience=patience)
    with (
        saver(checkpoint, population, history, every=checkpoint_seconds) as saved,
        contextlib.nullcontext() if mesh is None else jax.set_mesh(mesh),
        loss_of_another(),
    ):
        state = on_all(saved.restore(population.start()), mesh)
        population.data, population.keys = on_all((population.data, population.keys), mesh)
        log = log if is_first() else None
        if log is not None:
            history.write(log)
        with progress_bar(shown=progress and is_first() and not history.finished()) as bar:
            task = bar.add_task(title, total=steps, completed=history.done(), loss="", speed=0.0)
            while not history.finished():
                state, shown = _stretch(population, state, history)
                bar.update(task, completed=history.done(), **shown)
                if log is not None:
                    history.append(log)
                _check_finite(history)
                saved.stretch_done(state)
        state = on_this(state)
    if mesh is not None:
        state = jax.device_put(state, jax.local_devices()[0])  # where the caller's arrays are
    return _trained(population, state, history)


def _trained(population: Population, state: State, history: History) -> Trained:
    params = state.kept if history.validated else state.params
    failed = _failed(params, history)
    if np.all(failed):
        raise FloatingPointError("training did not reach a finite loss; a smaller learning rate may help")
    models = population.models(params)
    return Trained(models, history.losses, history.validation, history.ends, history.elapsed(), history.best(), failed)


def _stretch(population: Population, state: State, history: History) -> tuple[State, dict[str, Any]]:
    """Train for one stretch, and record it. Return the new state, and what the progress bar shows."""
    began, length = time.perf_counter(), history.lengths[history.completed]
    state, now = population.stretch(state, history.done(), length)
    losses = np.asarray(on_this(now))
    shown = f"loss {np.mean(losses):.3e}"
    validation = None
    if history.validated:
        validation = np.asarray(on_this(population.validate(state)))
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
    finite = [np.all(np.isfinite(x), axis=tuple(range(1, x.ndim))) for x in map(np.asarray, jax.tree.leaves(params))]
    return ~np.all([*finite, np.isfinite(history.losses[:, history.completed - 1])], axis=0)
