"""The mixers on data of paper B itself, by the protocol of the literature, beside published figures."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from rich.console import Console
from rich.table import Table

from ...errors import InputError
from ...layers import MIXERS
from ...report.tables import console_table
from ...tasks.classification import Classification
from ...tasks.events import Events
from ...tasks.forecasting import HORIZONS, Forecasting
from ...tasks.task import Task
from ...train.sweep import Workers
from .comparison import AAREN, TRANSFORMER, Cell, cells_of, check_seeds, figures_row, reproduce, rows
from .tuning import GRID, tuned

UNIT = 1e5
"""The unit of time of StackOverflow, in seconds. It is that of Du et al. 2016, whose code multiplies the times by 1e-5."""


class Published(NamedTuple):
    """Figures of one model on one data set, as they were published."""

    data: str
    model: str
    metrics: dict[str, float]
    source: str


def _by_horizon(model: str, source: str, **figures: tuple[tuple[float, float], ...]) -> list[Published]:
    return [
        Published(f"{data}-{horizon}", model, {"MSE": mse, "MAE": mae}, source)
        for data, each in figures.items()
        for horizon, (mse, mae) in zip(HORIZONS, each, strict=True)
    ]


LOOKBACK_96 = "Liu et al. 2024, iTransformer, from 96 values"
PUBLISHED = [
    Published("ETTh1-336", "Aaren", {"MSE": 0.65, "MAE": 0.55}, "Feng et al. 2024, Attention as an RNN"),
    *_by_horizon(
        "PatchTST",
        LOOKBACK_96,
        ETTh1=((0.414, 0.419), (0.460, 0.445), (0.501, 0.466), (0.500, 0.488)),
        ETTh2=((0.302, 0.348), (0.388, 0.400), (0.426, 0.433), (0.431, 0.446)),
        exchange_rate=((0.088, 0.205), (0.176, 0.299), (0.301, 0.397), (0.901, 0.714)),
    ),
    *_by_horizon(
        "DLinear",
        LOOKBACK_96,
        ETTh1=((0.386, 0.400), (0.437, 0.432), (0.481, 0.459), (0.519, 0.516)),
        ETTh2=((0.333, 0.387), (0.477, 0.476), (0.594, 0.541), (0.831, 0.657)),
        exchange_rate=((0.088, 0.218), (0.176, 0.315), (0.313, 0.427), (0.839, 0.695)),
    ),
    Published("stackoverflow", "THP", {"RMSE": 4.99}, "Zuo et al. 2020, in a unit that is not stated"),
    Published(
        "stackoverflow",
        "GRU, log-normal mixture",
        {"NLL of time": 14.4 - math.log(UNIT)},
        "Shchur et al. 2020, 14.4 if its unit is the second",
    ),
]
"""What was published for these data."""


def tasks_in(folder: Path) -> list[Task]:
    """A task for each data set that the folder has.

    **Raises:** `InputError` if there are none.
    """
    found: list[Task] = []
    for name in ("ETTh1", "ETTh2"):
        if (folder / f"{name}.csv").exists():
            window = Forecasting(csv=folder / f"{name}.csv", split="ett", protocol="window", batch=32)
            found += [dataclasses.replace(window, horizon=horizon) for horizon in HORIZONS]
    rates = folder / "exchange_rate.txt.gz"
    if rates.exists():
        window = Forecasting(csv=rates, header=False, protocol="window", batch=32)
        found += [dataclasses.replace(window, horizon=horizon) for horizon in HORIZONS]
    if (folder / "stackoverflow").is_dir():
        found.append(Events(dataset=str(folder / "stackoverflow"), unit=UNIT, steps=600, measurements=20))
    if (folder / "Handwriting_TRAIN.ts").exists():
        handwriting = str(folder / "Handwriting")
        found.append(Classification(dataset=handwriting, width=32, steps=800, batch=16, measurements=20))
    if not found:
        raise InputError(
            f"{folder} has none of the data sets: ETTh1.csv, ETTh2.csv, exchange_rate.txt.gz, the folder stackoverflow, and"
            " Handwriting_TRAIN.ts"
        )
    return found


def table(task: Task, cells: Sequence[Cell]) -> Table:
    """The models of a task, what they are compared with, and the published figures with their sources."""
    headings, lines = rows(task, cells_of(task, cells))
    lines += [
        figures_row(f"{each.model}, published ({each.source})", each.metrics, headings)
        for each in PUBLISHED
        if each.data == task.data_name
    ]
    return console_table(headings, lines, title=f"{task.name}: {task.data_name}")


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
        models, tuning = tuned(tasks, mixers, grid, out=out, where=self)
        shown, notes = ("width", "learning_rate"), {"tuning": tuning}
        cells = reproduce([], others=models, seeds=self.seeds, shown=shown, notes=notes, out=out, where=self)
        for task in tasks:
            console.print(table(task, cells))
        console.print(f"All figures are in {out / 'settings.json'}, and the tables are in {out / 'settings.md'}.")
