"""The mixers on data of paper B itself, by the protocol of the literature, beside published figures."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from ...errors import InputError
from ...layers import MIXERS
from ...report.tables import console_table
from ...tasks.classification import Classification
from ...tasks.events import Events
from ...tasks.forecasting import HORIZONS, Forecasting
from ...tasks.run import TASKS
from ...tasks.task import Task
from ...train.sweep import Workers
from .comparison import AAREN, TRANSFORMER, Cell, check_seeds, reproduce, table
from .published import PUBLISHED, UNIT, Published, published_for
from .tuning import GRID, tuned

WHOLE: dict[str, Any] = {"measurements": 20, "patience": 20}
"""Training takes all steps, since the validation loss falls again at the end, where the learning rate does."""
WINDOW: dict[str, Any] = {"protocol": "window", "channels": "independent", "batch": 8} | WHOLE
"""How series are forecast. Each window of a batch has 7 or 8 sequences, one for each series."""


def tasks_in(folder: Path) -> list[Task]:
    """A task for each data set that the folder has.

    **Raises:** `InputError` if there are none.
    """
    found: list[Task] = []
    for name in ("ETTh1", "ETTh2"):
        if (folder / f"{name}.csv").exists():
            window = Forecasting(csv=folder / f"{name}.csv", split="ett", **WINDOW)
            found += [dataclasses.replace(window, horizon=horizon) for horizon in HORIZONS]
    rates = folder / "exchange_rate.txt.gz"
    if rates.exists():
        window = Forecasting(csv=rates, header=False, **WINDOW)
        found += [dataclasses.replace(window, horizon=horizon) for horizon in HORIZONS]
    if (folder / "stackoverflow").is_dir():
        found.append(Events(dataset=str(folder / "stackoverflow"), unit=UNIT, steps=600, **WHOLE))
    if (folder / "Handwriting_TRAIN.ts").exists():
        handwriting = str(folder / "Handwriting")
        found.append(Classification(dataset=handwriting, width=32, steps=800, batch=16, **WHOLE))
    if not found:
        raise InputError(
            f"{folder} has none of the data sets: ETTh1.csv, ETTh2.csv, exchange_rate.txt.gz, the folder stackoverflow, and"
            " Handwriting_TRAIN.ts"
        )
    return found


def tables(cells: Sequence[Cell]) -> list[Table]:
    """Our figures, means over seeds, beside the published ones for the same data, and then what differs from these."""
    compared = [
        _row(data, metric, [cell for cell in cells if cell.data == data and cell.metrics], more_is_better)
        for data, task in {cell.data: TASKS[cell.task] for cell in cells}.items()
        for metric, more_is_better in _metrics(data, task).items()
    ]
    models = {each.model: each for each in PUBLISHED}.values()
    sources = [(each.model, each.source, each.differs) for each in models]
    return [
        console_table(
            ("", "metric", "Aaren", "Transformer", "best mixer", "published", "Aaren is"),
            compared,
            left=("metric", "best mixer", "published", "Aaren is"),
            caption="Means over seeds. Each figure of Aaren is compared with the published one beside it.",
        ),
        console_table(("published", "source", "what differs"), sources, left=("source", "what differs")),
    ]


def _metrics(data: str, task: type[Task]) -> dict[str, bool]:
    """The metrics that are shown, and whether more is better."""
    return task.headline | {metric: False for each in published_for(data) for metric in each.metrics}


def _row(data: str, metric: str, cells: Sequence[Cell], more_is_better: bool) -> tuple[str, ...]:
    means = {cell.mixer: float(np.nanmean(cell.values(metric))) for cell in cells}
    best = (max if more_is_better else min)(means, key=lambda mixer: means[mixer], default=None)
    published = [each for each in published_for(data) if metric in each.metrics]
    return (
        *(data, metric),
        *(f"{means[mixer]:.3f}" if mixer in means else "none" for mixer in (AAREN, TRANSFORMER)),
        "none" if best is None else f"{best} {means[best]:.3f}",
        "\n".join(f"{each.model} {each.metrics[metric]:.3f}" for each in published),
        "\n".join(_verdict(means.get(AAREN), each, metric) for each in published),
    )


def _verdict(ours: float | None, published: Published, metric: str) -> str:
    """What Aaren is, to the three digits that are published. Less is better in all metrics that are published here."""
    if ours is None or not published.judged:
        return "not compared"
    gap = round(ours, 3) - published.metrics[metric]
    return "equal" if abs(gap) < 5e-4 else "[green]better[/green]" if gap < 0 else "[red]worse[/red]"


@dataclasses.dataclass
class Command(Workers):
    """Compare the mixers on data sets of paper B, by the protocol of the literature, beside published figures.

    You bring the files: ETTh1.csv, ETTh2.csv, exchange_rate.txt.gz, stackoverflow/event-1.txt, time-1.txt, ..., and
    Handwriting_TRAIN.ts with Handwriting_TEST.ts. What is missing is left out. The learning rate and the width of each mixer
    are chosen by the validation loss. A run that was stopped is continued.

    Example: twofold reproduce literature --data downloads --quick
    """

    data: Path = Path("data")
    """The folder with the files."""
    quick: bool = False
    """Train Aaren and the Transformer alone, for a moment, and forecasters for the shortest horizon alone. Choose between two
    widths."""
    only: Literal["forecasting", "events", "classification"] | None = None
    """Take this task alone; all tasks if not given."""
    seeds: int = 3
    """How many models of each kind are trained."""
    out: Path | None = None
    """The folder for all runs and the results. If not given, it is runs/literature or runs/literature-quick."""

    def run(self, console: Console) -> None:
        check_seeds(self.seeds)
        out = self.out or Path("runs") / ("literature" + "-quick" * self.quick)
        tasks = [task for task in tasks_in(self.data) if self.only in (None, task.name)]
        if self.quick:
            short = [task for task in tasks if not isinstance(task, Forecasting) or task.horizon == HORIZONS[0]]
            tasks = [dataclasses.replace(task, steps=60, measurements=2) for task in short]
        mixers = (AAREN, TRANSFORMER) if self.quick else tuple(MIXERS)
        grid = GRID[:2] if self.quick else GRID
        models, tuning = tuned(
            tasks, mixers, grid, seed=self.seeds, out=out, where=self
        )  # those trained are 0 to seeds - 1
        shown, notes = ("width", "learning_rate"), {"tuning": tuning}
        cells = reproduce([], others=models, seeds=self.seeds, shown=shown, notes=notes, out=out, where=self)
        for task in tasks:
            console.print(table(task, cells))
        for shown_table in tables(cells):
            console.print(shown_table)
        console.print(f"All figures are in {out / 'settings.json'}, and the tables are in {out / 'settings.md'}.")
