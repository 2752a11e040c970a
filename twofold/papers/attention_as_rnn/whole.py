"""Does it help to train on a whole series in one piece, rather than on short stretches of it?"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from ...report.tables import console_table
from ...tasks.forecasting import Forecasting
from ...train.sweep import Workers
from .comparison import AAREN, Cell, reproduce

STRETCHES = Forecasting(measurements=10, patience=10)
"""Electricity demand, 96 half-hours ahead. A step takes 16 stretches of 96 observations."""
PIECE = dataclasses.replace(STRETCHES, chunk=1024)
"""A step takes all 12,264 observations of the training part, 8 times as many."""
MIXERS = (AAREN, "gru", "lru")
FRESH, STREAM = "test", "test, one stream"


def table(cells: Sequence[Cell]) -> Table:
    """The errors of each model, from a fresh state for each forecast and in one stream: mean and deviation over seeds."""

    def error(cell: Cell, row: str) -> str:
        values = [metrics[row]["MSE"] for metrics in cell.metrics if metrics]
        return f"{np.mean(values):.4f} ± {np.std(values):.4f}"

    rows = [(cell.mixer, error(cell, FRESH), error(cell, STREAM), f"{cell.seconds:,.0f} s") for cell in cells]
    return console_table(
        ("", "MSE, 96 observations before", "MSE, one stream", "training"),
        rows,
        title="Electricity demand, trained on stretches and in one piece",
        caption="Mean and deviation over seeds. All models take equally many steps.",
    )


@dataclasses.dataclass
class Command(Workers):
    """Train forecasters on the whole training part of a series in one piece, and others on short stretches of it.

    A run that was stopped is continued.

    Examples: twofold reproduce whole --quick | twofold reproduce whole --seeds 5 --out runs/whole5
    """

    quick: bool = False
    """Train Aaren alone, for a few steps."""
    seeds: int = 3
    """How many models of each kind are trained."""
    out: Path | None = None
    """The folder for all runs and the results. If not given, it is runs/whole or runs/whole-quick."""

    def run(self, console: Console) -> None:
        out = self.out or Path("runs") / ("whole" + "-quick" * self.quick)
        less = {"steps": 20, "measurements": 2} if self.quick else {}
        stretches, piece = (dataclasses.replace(task, **less) for task in (STRETCHES, PIECE))
        mixers = MIXERS[:1] if self.quick else MIXERS
        pieces = [dataclasses.replace(piece, mixer=mixer) for mixer in mixers]
        cells = reproduce([stretches], mixers=mixers, others=pieces, seeds=self.seeds, out=out, where=self)
        console.print(table(cells))
        console.print(f"All figures are in {out / 'settings.json'}.")
