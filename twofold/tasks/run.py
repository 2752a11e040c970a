"""A run: a model is trained on a task, kept in a folder, and measured."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from ..atomic import write_whole
from ..errors import InputError
from ..layers import Layer
from ..saving import load, save
from ..train import Trained, described_run, draw_learning_curve, fit, open_run
from .classification import Classification
from .events import Events
from .forecasting import Forecasting
from .matched import count_parameters
from .task import Metrics, Task

TASKS: dict[str, type[Task]] = {task.name: task for task in (Forecasting, Events, Classification)}


class Run(NamedTuple):
    """What `train` returns."""

    models: list[Any]
    """The trained `Layer` of each seed, for raw data; None for a seed whose training diverged."""
    tables: list[Metrics]
    """The metrics of each seed; empty for a seed that diverged."""
    figures: dict[str, Any]
    """The content of metrics.json: the data and what was done to them, metrics, parameters, seconds, the steps whose models
    were kept, the seeds that diverged, and the error of streaming."""
    data: Any
    """The data that the models were trained and measured on."""


def train(task: Task, out: Path | str, *, seeds: Sequence[int] | None = None, progress: bool = True) -> Run:
    """Train a model on a task, keep it in the folder `out`, and evaluate it. A run that was stopped is continued.

    The folder has the settings (run.json), the losses over time (metrics.jsonl, curve.png), the model (config.json,
    model.safetensors), and at the end metrics.json. The test part is used once, then. With several `seeds` the models
    are trained together, and they are in folders seed-0, seed-1, ... A seed whose training diverged has no model.

    **Raises:** `InputError` for anything that cannot be used, before anything is written, and for a folder that holds
    something else or is in use; `FloatingPointError` if training diverges for every seed; `OSError` if a file cannot be
    written. After Ctrl-C or SIGTERM the run is saved first: see `twofold.train.fit`.
    """
    task.check()
    data = task.load()
    chosen = (task.seed,) if seeds is None else tuple(seeds)
    if not chosen:
        raise InputError("seeds is empty; it must name at least one seed")
    config = task.as_json() | ({} if seeds is None else {"seeds": list(chosen)})
    random = [jax.random.split(jax.random.key(seed)) for seed in chosen]
    model_keys, train_keys = (jnp.stack(keys) for keys in zip(*random, strict=True))
    models = eqx.filter_vmap(lambda key: task.model(data, key))(model_keys)
    arrays = task.arrays(data)
    with open_run(out, config) as folder:
        trained = _fitted(task, models, arrays, train_keys, folder, progress)
        draw_learning_curve(trained, folder / "curve.png", title=f"{task.name}: {task.mixer} on {task.data_name}")
        deployed = [
            None if failed else task.deployed(jax.tree.map(lambda x, i=i: x[i], trained.models), data)
            for i, failed in enumerate(trained.failed)
        ]
        for seed, model in zip(chosen, deployed, strict=True):
            if model is not None:
                save(folder if seeds is None else folder / f"seed-{seed}", model)
        tables = [{} if model is None else task.evaluate(model, data) for model in deployed]
        figures = _figures(task, trained, deployed, tables, data) | {
            "diverged": [seed for seed, failed in zip(chosen, trained.failed, strict=True) if failed]
        }
        write_whole(folder / "metrics.json", json.dumps(figures, indent=1) + "\n")
    return Run(deployed, tables, figures, data)


def _fitted(task: Task, models: Any, arrays: Any, keys: Array, folder: Path, progress: bool) -> Trained:
    return fit(
        task.loss,
        models,
        arrays,
        optimiser=task.optimiser(),
        steps=task.steps,
        key=keys,
        shared_data=True,
        records=task.measurements,
        validation=task.validation,
        patience=task.patience,
        log=folder / "metrics.jsonl",
        checkpoint=folder / "checkpoint",
        title=f"{task.mixer} on {task.data_name}",
        progress=progress,
    )


def _figures(
    task: Task, trained: Trained, models: list[Layer | None], tables: list[Metrics], data: Any
) -> dict[str, Any]:
    tokens = task.example(data)
    return {
        "data": f"{data.name}: {data.notes}",
        "metrics": tables,
        "parameters": count_parameters(jax.tree.map(lambda x: x[0], trained.models)),
        "seconds": trained.seconds,
        "kept at step": [int(trained.steps[best]) if best >= 0 else None for best in trained.best],
        "streaming error": [None if model is None else streaming_error(model, tokens) for model in models],
    }


@eqx.filter_jit
def _both_faces(model: Layer, tokens):
    stepped = lax.scan(lambda state, x: model.step(state, x), model.init_state(), tokens)[1]
    return model(tokens), stepped


def streaming_error(model: Layer, tokens: Float[Array, "time in"]) -> float:
    """How far the model's answers token by token are from those of the parallel run, relative to the largest answer."""
    parallel, stepped = _both_faces(model, jnp.asarray(tokens))
    return float(jnp.max(jnp.abs(parallel - stepped)) / jnp.max(jnp.abs(parallel)))


def _task_from(config: dict[str, Any]) -> Task:
    """The task whose `as_json` this is."""
    kind = TASKS[config["task"]]
    paths = {field.name for field in dataclasses.fields(kind) if Path in get_args(field.type)}
    fields: dict[str, Any] = {name: value for name, value in config.items() if name != "task"}
    return kind(**fields | {name: Path(fields[name]) for name in paths if fields.get(name) is not None})


def evaluate_run(folder: Path | str) -> tuple[Task, Metrics]:
    """The task of a finished run, and its metrics again: from the saved model and the data that the run names.

    **Raises:** `InputError` if the folder is not that of a run of one seed, or damaged.
    """
    try:
        task = _task_from(described_run(folder))
        task.check()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{folder} is not the folder of a run that can be evaluated: {error}") from error
    model = load(folder)
    data = task.load()
    expected = jax.eval_shape(lambda: task.deployed(task.model(data, jax.random.key(0)), data))
    if (model.in_size, model.out_size) != (expected.in_size, expected.out_size):
        raise InputError(f"the model in {folder} does not fit the data {task.data_name}")
    return task, task.evaluate(model, data)
