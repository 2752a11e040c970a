"""The settings of each mixer on each data set, chosen by the validation loss alone."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ...tasks.forecasting import Forecasting
from ...tasks.run import validation_loss
from ...tasks.task import Task
from ...train.sweep import Cell, Workers, addressed, sweep
from .comparison import described

Point = Mapping[str, Any]
"""Settings of a task by their names."""

GRID: tuple[Point, ...] = tuple({"learning_rate": rate, "width": width} for rate in (1e-3, 3e-3) for width in (32, 64))


class Tuned(NamedTuple):
    """What `tuned` returns."""

    models: list[Task]
    """Every task with every mixer, and with the settings that were chosen."""
    record: dict[str, Any]
    """The grid and the seed; and for each data set and mixer, the validation loss of each point of the grid (None if training
    diverged or failed) and the point that was chosen."""


def tuned(
    tasks: Sequence[Task],
    mixers: Sequence[str],
    grid: Sequence[Point] = GRID,
    *,
    seed: int,
    out: Path | str,
    where: Workers = Workers(),  # noqa: B008
    progress: bool = True,
) -> Tuned:
    """Train every mixer on every task at each point of the grid, with one seed, and choose the smallest validation loss.

    `seed` should not be one that the chosen models are trained with, so that no choice is made by their own luck.

    Nothing is measured on the test part. Forecasters are tuned at the shortest horizon of `tasks`, and the choice is used for
    all horizons. Each point is kept in the folder `out`/tuning once it is done, so a run that was stopped is continued. A
    mixer whose training diverges everywhere has the first point.

    **Raises:** `InputError` for settings or data that cannot be used, and as `sweep` does.
    """
    models = [dataclasses.replace(task, mixer=mixer) for task in tasks for mixer in mixers]
    shortest = min((task.horizon for task in tasks if isinstance(task, Forecasting)), default=0)

    def tried(model: Task) -> Task:
        model = dataclasses.replace(model, horizon=shortest) if isinstance(model, Forecasting) else model
        return dataclasses.replace(model, seed=seed)

    tuned_on = {model: tried(model) for model in models}
    trials = list(dict.fromkeys(tuned_on.values()))
    losses = iter(
        sweep([_cell(trial, point, Path(out)) for trial in trials for point in grid], where, progress=progress)
    )
    found = {trial: [next(losses) for _ in grid] for trial in trials}
    chosen = {trial: _best(losses, grid) for trial, losses in found.items()}
    choices = [
        {"task": trial.name, "data": trial.data_name, "mixer": trial.mixer}
        | {"losses": found[trial], "chosen": chosen[trial]}
        for trial in trials
    ]
    return Tuned(
        [dataclasses.replace(model, **chosen[tuned_on[model]]) for model in models],
        {"grid": grid, "seed": seed, "choices": choices},
    )


def _best(losses: Sequence[float | None], grid: Sequence[Point]) -> Point:
    """The point with the smallest loss. A point without a loss is the last choice."""
    return min(zip(losses, grid, strict=True), key=lambda tried: math.inf if tried[0] is None else tried[0])[1]


def _cell(task: Task, point: Point, out: Path) -> Cell:
    trial = dataclasses.replace(task, **point)
    settings = described(trial)
    at = ", ".join(f"{name} {value:g}" for name, value in point.items())
    title = f"tuning {trial.mixer} on {trial.data_name}: {at}"
    return Cell(title, addressed(out / "tuning", settings), settings, partial(_loss, trial))


def _loss(trial: Task) -> float | None:
    try:
        return validation_loss(trial)
    except FloatingPointError:
        return None
