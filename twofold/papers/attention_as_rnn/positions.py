"""What is order worth? Both attentions with and without positions: a decay in Aaren's scores, rotary queries and keys."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from ...report.tables import console_table
from ...tasks.task import Task
from ...train.sweep import Workers
from .comparison import AAREN, FULL, TRANSFORMER, Cell, cells_of, reproduce, verdict_of

TASKS = tuple(task for task in FULL if task.data_name in ("elecdemand-96", "hawkes", "JapaneseVowels"))
"""One data set of each setting."""
PAIRS = {AAREN: "aaren-decay", TRANSFORMER: "softmax-attention-rotary"}
"""Each mixer without positions, and the one that has them."""
MIXERS = tuple(mixer for pair in PAIRS.items() for mixer in pair)


def table(cells: Sequence[Cell], tasks: Sequence[Task] = TASKS) -> Table:
    """Each metric with and without positions, mean and deviation over seeds, and whether positions help."""
    rows = []
    for task in tasks:
        found = {cell.mixer: cell for cell in cells_of(task, cells)}
        for metric, more_is_better in task.headline.items():
            line = [task.data_name, metric]
            for plain, positions in PAIRS.items():
                pair = [found[mixer] for mixer in (positions, plain) if mixer in found]
                line += [_error(found.get(plain), metric), _error(found.get(positions), metric)]
                line.append(verdict_of(pair, metric, more_is_better, positions, plain))
            rows.append(line)
    return console_table(
        ("data", "metric", "Aaren", "with decay", "with it", "Transformer", "rotary", "with it"),
        rows,
        left=("metric", "with it"),
        title="What positions are worth",
        caption="Mean and deviation over seeds, which verdicts are paired by.",
    )


def _error(cell: Cell | None, metric: str) -> str:
    if cell is None or not cell.metrics:
        return "none"
    return f"{np.nanmean(cell.values(metric)):.4g} ± {np.nanstd(cell.values(metric)):.2g}"


@dataclasses.dataclass
class Command(Workers):
    """Compare Aaren and the Transformer with the same models that see positions, on one data set of each setting.

    A run that was stopped is continued.

    Examples: twofold reproduce positions --quick | twofold reproduce positions --seeds 3 --out runs/positions3
    """

    quick: bool = False
    """Train all models for a few steps."""
    seeds: int = 5
    """How many models of each kind are trained."""
    out: Path | None = None
    """The folder for all runs and the results. If not given, it is runs/positions or runs/positions-quick."""

    def run(self, console: Console) -> None:
        out = self.out or Path("runs") / ("positions" + "-quick" * self.quick)
        tasks = [dataclasses.replace(task, steps=20, measurements=2) if self.quick else task for task in TASKS]
        cells = reproduce(tasks, mixers=MIXERS, seeds=self.seeds, out=out, where=self)
        console.print(table(cells, tasks))
        console.print(f"All figures are in {out / 'settings.json'}, and the tables are in {out / 'settings.md'}.")
