"""A run trains a model for a task, keeps it in a folder, and measures it."""

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import Mesh
from jaxtyping import Array, Float

from ..atomic import write_whole
from ..errors import InputError
from ..layers import Layer
from ..saving import load, save
from ..train import Trained, described_run, draw_learning_curve, fit, open_run
from ..train.processes import is_first, wait_for_all
from .classification import Classification
from .control import Control
from .events import Events
from .forecasting import Forecasting
from .matched import count_parameters
from .task import Data, Metrics, Task

TASKS: dict[str, type[Task]] = {task.name: task for task in (Forecasting, Events, Classification, Control)}


class Run(NamedTuple):
    """What `train` returns."""

    models: list[Any]
    """The trained `Layer` of each seed, for raw data. It is None for a seed whose training diverged."""
    tables: list[Metrics]
    """The metrics of each seed. The table is empty for a seed that diverged."""
    figures: dict[str, Any]
    """The content of metrics.json: the data and what was done to them, the metrics, the number of parameters, the seconds of
    training, the steps at which models were kept, the seeds that diverged, and the error of streaming."""
    data: Any
    """The data that the models were trained and measured on."""


def train(
    task: Task,
    out: Path | str,
    *,
    seeds: Sequence[int] | None = None,
    mesh: Mesh | None = None,
    progress: bool = True,
) -> Run:
    """Train a model for a task, keep it in the folder `out`, and evaluate it. A run that was stopped is continued.

    The folder has the settings (run.json), the losses (metrics.jsonl, curve.png), the model (config.json,
    model.safetensors), and what the model's numbers mean (words.json). At the end the model is measured on the test part,
    once, and metrics.json is written.

    **Arguments:**

    - `task`: the task with its settings.
    - `out`: the folder of the run.
    - `seeds`: several seeds, whose models are trained together. The models are in the folders seed-0, seed-1, ... of `out`. A
        seed whose training diverged has no model. Without `seeds`, the seed of the task is used.
    - `mesh`: a mesh of devices, over which training is spread. `twofold.train.mesh_of` makes one. Of several processes, which
        `twofold.train.join_processes` joins, the first one writes the folder, and all of them read its checkpoints.
    - `progress`: whether a progress bar is shown.

    **Raises:** `InputError` for settings or data that cannot be used, before anything is written, and for a folder that holds
    something else or is in use; `FloatingPointError` if training diverges for every seed; `OSError` if a file cannot be
    written; `ConnectionError` if another process that trains along was lost. After Ctrl-C or SIGTERM, the run is saved before
    it ends, as `twofold.train.fit` explains.
    """
    task.check()
    data = task.load()
    chosen = (task.seed,) if seeds is None else tuple(seeds)
    if not chosen:
        raise InputError("seeds is empty; it must name at least one seed")
    config = task.as_json() | ({} if seeds is None else {"seeds": list(chosen)})
    begun = _begun(task, data, chosen)
    with open_run(out, config) if is_first() else contextlib.nullcontext(Path(out)) as folder:
        trained = _fitted(task, begun, folder, mesh, progress)
        deployed = _deployed(task, data, trained)
        if is_first():
            draw_learning_curve(trained, folder / "curve.png", title=f"{task.name}: {task.mixer} on {task.data_name}")
            places = [folder] if seeds is None else [folder / f"seed-{seed}" for seed in chosen]
            for place, model in zip(places, deployed, strict=True):
                if model is not None:
                    save(place, model)
                    task.words(data).write(place)
        tables = [{} if model is None else task.evaluate(model, data) for model in deployed]
        figures = _figures(task, trained, deployed, tables, data) | {
            "diverged": [seed for seed, failed in zip(chosen, trained.failed, strict=True) if failed]
        }
        if is_first():
            write_whole(folder / "metrics.json", json.dumps(figures, indent=1) + "\n")
        wait_for_all()
    return Run(deployed, tables, figures, data)


def train_on(task: Task[Data], data: Data) -> Layer:
    """Train a model for a task on data that are at hand. Nothing is kept in files, and nothing is shown.

    The model is for raw data. The seed of the task is used.

    **Raises:** `InputError` for settings or data that cannot be used, and `FloatingPointError` if training diverges.
    """
    task.check()
    return _deployed(task, data, _fitted_quietly(task, data))[0]


def validation_loss(task: Task) -> float:
    """Train a model, and return its smallest validation loss. Nothing is kept or shown, and nothing is measured on the test part.

    The seed of the task is used.

    **Raises:** `InputError` for settings or data that cannot be used, and `FloatingPointError` if training diverges.
    """
    task.check()
    trained = _fitted_quietly(task, task.load())
    return float(trained.validation[0, trained.best[0]])


class _Begun(NamedTuple):
    """What training begins with: models with random weights, the arrays of the task, and the keys of the batches."""

    models: Any
    arrays: Any
    keys: Array


def _begun(task: Task[Data], data: Data, seeds: Sequence[int]) -> _Begun:
    random = [jax.random.split(jax.random.key(seed)) for seed in seeds]
    model_keys, train_keys = (jnp.stack(keys) for keys in zip(*random, strict=True))
    return _Begun(eqx.filter_vmap(lambda key: task.model(data, key))(model_keys), task.arrays(data), train_keys)


def _deployed(task: Task[Data], data: Data, trained: Trained) -> list[Any]:
    """The model of each seed for raw data, or None for a seed whose training diverged."""
    return [
        None if failed else task.deployed(_of_seed(trained.models, i), data) for i, failed in enumerate(trained.failed)
    ]


@jax.jit
def _of_seed(models, i):
    return jax.tree.map(lambda x: x[i], models)


def _fitted(task: Task, begun: _Begun, folder: Path | None, mesh: Mesh | None, progress: bool) -> Trained:
    return fit(
        task.loss,
        begun.models,
        begun.arrays,
        optimiser=task.optimiser(),
        steps=task.steps,
        key=begun.keys,
        shared_data=True,
        records=task.measurements,
        validation=task.validation,
        patience=task.patience,
        log=None if folder is None else folder / "metrics.jsonl",
        checkpoint=None if folder is None else folder / "checkpoint",
        mesh=mesh,
        title=f"{task.mixer} on {task.data_name}",
        progress=progress,
    )


def _fitted_quietly(task: Task[Data], data: Data) -> Trained:
    """What training with the seed of the task finds. Nothing is kept or shown."""
    return _fitted(task, _begun(task, data, (task.seed,)), None, None, False)


def _figures(
    task: Task, trained: Trained, models: list[Layer | None], tables: list[Metrics], data: Any
) -> dict[str, Any]:
    tokens = task.example(data)
    return {
        "data": f"{data.name}: {data.notes}",
        "metrics": tables,
        "parameters": count_parameters(_of_seed(trained.models, 0)),
        "seconds": trained.seconds,
        "kept at step": [int(trained.steps[best]) if best >= 0 else None for best in trained.best],
        "streaming error": [None if model is None else streaming_error(model, tokens) for model in models],
    }


@eqx.filter_jit
def _both_faces(model: Layer, tokens):
    stepped = lax.scan(lambda state, x: model.step(state, x), model.init_state(), tokens)[1]
    return model(tokens), stepped


def streaming_error(model: Layer, tokens: Float[Array, "time in"]) -> float:
    """The largest difference between the outputs of `step` and of `prefill`, relative to the largest output."""
    parallel, stepped = map(np.asarray, _both_faces(model, jnp.asarray(tokens)))
    return float(np.max(np.abs(parallel - stepped)) / np.max(np.abs(parallel)))


def _task_from(config: dict[str, Any]) -> Task:
    """Make the task again from what `as_json` returned."""
    kind = TASKS[config["task"]]
    paths = {field.name for field in dataclasses.fields(kind) if Path in get_args(field.type)}
    fields: dict[str, Any] = {name: value for name, value in config.items() if name != "task"}
    return kind(**fields | {name: Path(fields[name]) for name in paths if fields.get(name) is not None})


def settings_of(folder: Path | str) -> dict[str, Any]:
    """The settings of the run in a folder. If it is the folder of one of several seeds, they are those of the run around it.

    **Raises:** `InputError` for the folder around several seeds, and if run.json is damaged; `OSError` if it cannot be read.
    """
    folder = Path(folder)
    if folder.name.startswith("seed-") and not (folder / "run.json").exists():
        config = described_run(folder.parent)
        seeds = {f"seed-{seed}": seed for seed in config.pop("seeds", [])}
        if folder.name not in seeds:
            raise InputError(f"the run in {folder.parent} has no {folder.name}")
        return config | {"seed": seeds[folder.name]}
    config = described_run(folder)
    if "seeds" in config:
        raise InputError(
            f"several seeds were trained there; name the folder of one, as {folder}/seed-{config['seeds'][0]}"
        )
    return config


def load_run(folder: Path | str) -> tuple[Task, Layer, Any]:
    """Read a finished run: its task, its model, and the data that it names. Each of several seeds has a folder of its own.

    **Raises:** `InputError` if the folder is not the folder of a run, has several seeds, or is damaged.
    """
    try:
        task = _task_from(settings_of(folder))
        task.check()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} is not the folder of a run that can be evaluated: {error}") from error
    model = load(folder)
    data = task.load()
    expected = jax.eval_shape(lambda: task.deployed(task.model(data, jax.random.key(0)), data))
    if (model.in_size, model.out_size) != (expected.in_size, expected.out_size):
        raise InputError(
            f"the model in {folder} maps {model.in_size} features to {model.out_size}; the data {task.data_name} need a"
            f" model that maps {expected.in_size} to {expected.out_size}"
        )
    return task, model, data


def evaluate_run(folder: Path | str) -> tuple[Task, Metrics]:
    """Measure the saved model of the run in `folder` again, on the data that the run names. Return the task and its metrics.

    **Raises:** `InputError` as `load_run`.
    """
    task, model, data = load_run(folder)
    return task, task.evaluate(model, data)
