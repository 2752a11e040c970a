"""Aaren beside the Transformer and the other mixers, over three kinds of sequence problem (paper B's comparison)."""

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.stats import ttest_rel

from ...errors import InputError
from ...layers import MIXERS
from ...report.provenance import digests, write_json
from ...report.tables import console_table, markdown_table
from ...tasks.classification import Classification
from ...tasks.events import Events
from ...tasks.forecasting import HORIZONS, Forecasting
from ...tasks.run import train
from ...tasks.task import Task
from ...train.sweep import Cell as SweepCell
from ...train.sweep import Workers, sweep
from .published import published_for

AAREN, TRANSFORMER = "aaren", "softmax-attention"

FULL: tuple[Task, ...] = (
    *(Forecasting(dataset="elecdemand", horizon=horizon) for horizon in HORIZONS),
    *(Forecasting(dataset="weather", horizon=horizon) for horizon in HORIZONS),
    Forecasting(dataset="eustock", horizon=96),
    *(Events(dataset=dataset, steps=600, measurements=20) for dataset in ("hawkes", "sin", "flights")),
    *(
        Classification(dataset=dataset, width=32, steps=800, batch=16, measurements=20)
        for dataset in ("JapaneseVowels", "BasicMotions", "ItalyPowerDemand", "GunPoint")
    ),
)
"""Every task and data set. Events and classification take fewer steps than `twofold train` does. eustock is too short for
longer horizons."""

QUICK: tuple[Task, ...] = (
    Forecasting(dataset="eustock", steps=60, measurements=3),
    Events(dataset="hawkes", sequences=300, steps=100, measurements=5),
    Classification(dataset="JapaneseVowels", width=32, steps=200, measurements=5),
)


@dataclasses.dataclass
class Cell:
    """One mixer on one task and data set."""

    task: str
    data: str
    mixer: str
    """The name of the model. It is that of its mixer, unless the task has several models of a mixer."""
    parameters: int
    """The number of parameters of one model; 0 if all seeds diverged."""
    seconds: float
    """The time in which all seeds were trained together."""
    metrics: list[dict[str, dict[str, float]]]
    """The metrics of each seed, by row. A seed that diverged has an empty table. There are no tables if all seeds diverged."""
    kept_at_step: list[int | None]
    """The step at which each seed's model was kept."""
    streaming_error: list[float | None]
    """How far each seed's answers token by token are from those in parallel, relative to the largest answer."""
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The settings that differ from model to model. Tables show them."""

    def values(self, metric: str) -> np.ndarray:
        """A metric of the test part for each seed; NaN for a seed that diverged."""
        return np.array([table["test"][metric] if table else np.nan for table in self.metrics])


def reproduce(
    tasks: Sequence[Task],
    *,
    mixers: Sequence[str] = tuple(MIXERS),
    others: Sequence[Task] = (),
    seeds: int = 3,
    shown: Sequence[str] = (),
    notes: Mapping[str, Any] | None = None,
    out: Path | str,
    where: Workers = Workers(),  # noqa: B008
    progress: bool = True,
) -> list[Cell]:
    """Train every mixer on every task with several seeds, and write settings.json and settings.md to `out`.

    `others` are further models to compare with these. Each is a task with its mixer. `shown` are the names of settings that
    differ from model to model, and that tables show. `notes` are written to settings.json, too.

    Each cell is kept in a folder of its own once it is done, and training within a cell is checkpointed. So a run that was
    stopped is continued. `where` says where the cells run. A cell that fails is left out.

    **Raises:** `InputError` if `seeds` is below 1, if a folder holds another run, and as `sweep` does.
    """
    check_seeds(seeds)
    out = Path(out).absolute()
    all_tasks = [dataclasses.replace(task, mixer=mixer) for task in tasks for mixer in mixers] + list(others)
    jobs = [_job(task, out, seeds) for task in all_tasks]
    done = sweep(jobs, where, progress=progress)
    cells = [
        Cell(**result | {"settings": {name: getattr(task, name) for name in shown}})
        for task, result in zip(all_tasks, done, strict=True)
        if result is not None
    ]
    data = {(task.name, task.data_name): task for task in all_tasks}.values()
    results = {
        "seeds": seeds,
        "tasks": [described(task) | {"mixer": list(mixers)} for task in tasks] + [described(task) for task in others],
        "verdicts": [
            {"task": task.name, "data": task.data_name, "metric": metric}
            | {"verdict": verdict_of(cells_of(task, cells), metric, better)}
            for task in data
            for metric, better in task.headline.items()
        ],
        "cells": [dataclasses.asdict(cell) for cell in cells],
        "failed": [job.title for job, result in zip(jobs, done, strict=True) if result is None],
        **(notes or {}),
    }
    write_json(out / "settings.json", results)
    (out / "settings.md").write_text("\n".join(markdown(task, cells) for task in data))
    return cells


def check_seeds(seeds: int) -> None:
    """**Raises:** `InputError` if there are no seeds."""
    if seeds < 1:
        raise InputError(f"seeds is {seeds}; it must be at least 1")


def described(task: Task) -> dict[str, Any]:
    """The settings of a task. Files are named without their folders, with the SHA-256 of each, so it is known what was read."""
    settings, files = task.as_json(), task.files()
    if not files:
        return settings
    names = {name: Path(settings[name]).name for name in ("csv", "dataset") if settings.get(name)}
    return settings | names | {"files": digests(files)}


def cells_of(task: Task, cells: Sequence[Cell]) -> list[Cell]:
    """The cells that are on the data of a task."""
    return [cell for cell in cells if (cell.task, cell.data) == (task.name, task.data_name)]


def _job(task: Task, out: Path, seeds: int) -> SweepCell:
    folder = out / task.name / f"{task.data_name}-{task.model_name}"
    settings = described(task) | {"seeds": seeds}
    title = f"{task.model_name} on {task.data_name}"
    return SweepCell(title, folder / "cell.json", settings, partial(_trained, task, folder, seeds))


def _trained(task: Task, folder: Path, seeds: int) -> dict[str, Any]:
    try:
        figures = train(task, folder, seeds=range(seeds), progress=False).figures
    except FloatingPointError:  # that a mixer is not stable here is a result, too
        figures = {"parameters": 0, "seconds": 0.0, "metrics": [], "kept at step": [], "streaming error": []}
    measured = ("parameters", "seconds", "metrics", "kept at step", "streaming error")
    return dataclasses.asdict(Cell(task.name, task.data_name, task.model_name, *(figures[name] for name in measured)))


def verdict_of(
    cells: Sequence[Cell], metric: str, more_is_better: bool, ours: str = AAREN, theirs: str = TRANSFORMER
) -> str:
    """Aaren against the Transformer, paired by seed: "better" or "worse" if a t-test at 5% tells them apart.

    `ours` and `theirs` are the mixers that stand for them.
    """
    by_mixer = {cell.mixer: cell for cell in cells if cell.metrics}
    if ours not in by_mixer or theirs not in by_mixer:
        return "not compared"
    first, second = (by_mixer[mixer].values(metric) for mixer in (ours, theirs))
    if not np.all(np.isfinite([first, second])):
        return "not compared"
    if len(first) < 2:
        return "not compared: one seed"
    gain = (first - second) * (1 if more_is_better else -1)
    if np.ptp(gain) == 0:  # no noise to compare with; equal to the last digit, or not
        return "no difference" if not np.any(gain) else "better" if gain[0] > 0 else "worse"
    if ttest_rel(first, second).pvalue > 0.05:
        return "no difference"
    return "better" if np.mean(gain) > 0 else "worse"


def rows(task: Task, cells: Sequence[Cell]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of a task's table: mean and deviation over the seeds of each mixer, then what to compare with.

    Published figures come last.
    """
    finished = [cell for cell in cells if cell.metrics]
    compared = next(table for table in finished[0].metrics if table) if finished else {}
    metrics = list(compared["test"]) if finished else list(task.headline)
    settings = list(cells[0].settings) if cells else []
    headings = ["", *metrics, *(name.replace("_", " ") for name in settings), "parameters", "training"]
    lines = []
    for cell in cells:
        shown = [_spread(cell.values(m)) for m in metrics] if cell.metrics else ["diverged"] * len(metrics)
        chosen = [f"{cell.settings[name]:g}" for name in settings]
        lines.append([cell.mixer, *shown, *chosen, f"{cell.parameters:,}", f"{cell.seconds:.0f} s"])
    others = {
        name: row for name, row in compared.items() if name not in ("test", "train") and not name.startswith("test, ")
    }
    others |= {f"{each.model} ({each.source})": each.metrics for each in published_for(task.data_name)}
    for name, figures in others.items():
        lines.append([name, *(f"{figures[heading]:.4g}" if heading in figures else "" for heading in headings[1:])])
    return headings, lines


def _spread(values: np.ndarray) -> str:
    """Mean and deviation over the seeds that did not diverge, and how many of them did."""
    good = values[np.isfinite(values)]
    shown = f"{np.mean(good):.4g} ± {np.std(good, ddof=1):.2g}" if len(good) > 1 else f"{np.sum(good):.4g}"
    diverged = len(values) - len(good)
    return f"{shown} ({diverged} of {len(values)} diverged)" if diverged else shown


def _remarks(task: Task, cells: Sequence[Cell]) -> str:
    """The verdicts, and what differs from published figures."""
    told = [f"{metric}: {verdict_of(cells, metric, better)}" for metric, better in task.headline.items()]
    verdicts = "Aaren against the Transformer, paired by seed: " + ", ".join(told) + "."
    return "\n\n".join([verdicts, *(f"{each.model}: {each.differs}" for each in published_for(task.data_name))])


def table(task: Task, cells: Sequence[Cell]) -> Table:
    """A task's table for the console."""
    cells = cells_of(task, cells)
    return console_table(*rows(task, cells), title=f"{task.name}: {task.data_name}", caption=_remarks(task, cells))


def markdown(task: Task, cells: Sequence[Cell]) -> str:
    """A task's table in Markdown, with a heading, the verdicts, and what differs from published figures."""
    cells = cells_of(task, cells)
    return "\n\n".join([f"### {task.data_name}", markdown_table(*rows(task, cells)), _remarks(task, cells) + "\n"])


@dataclasses.dataclass
class Command(Workers):
    """Compare Aaren with the Transformer and all other mixers in forecasting, events and classification (paper B).

    All models of a table have nearly the same number of parameters. All of it takes more than an hour. A run that was
    stopped is continued.

    Examples: twofold reproduce comparison --quick | twofold reproduce comparison --seeds 5 --out runs/five
    """

    quick: bool = False
    """Train Aaren and the Transformer alone, on a little of each task. This takes a few minutes."""
    only: Literal["forecasting", "events", "classification"] | None = None
    """Take this task alone; all tasks if not given."""
    seeds: int = 3
    """How many models of each kind are trained."""
    out: Path | None = None
    """The folder for all runs and the results. If not given, it is runs/settings or runs/settings-quick."""

    def run(self, console: Console) -> None:
        out = self.out or Path("runs") / ("settings" + "-quick" * self.quick)
        tasks = [t for t in (QUICK if self.quick else FULL) if self.only in (None, t.name)]
        mixers = (AAREN, TRANSFORMER) if self.quick else tuple(MIXERS)
        cells = reproduce(tasks, mixers=mixers, seeds=self.seeds, out=out, where=self)
        for task in tasks:
            console.print(table(task, cells))
        console.print(f"All figures are in {out / 'settings.json'}, and the tables are in {out / 'settings.md'}.")
