"""Aaren beside the Transformer and the other mixers as the policy of a robot (paper B's first comparison)."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from rich.console import Console

from ...data.environments import ENVIRONMENTS
from ...data.recording import QUALITIES
from ...layers import MIXERS
from ...report.conditioning_pictures import Conditioned, draw_conditioning
from ...tasks.control import SHARES, Control
from ...train.sweep import Workers
from .comparison import AAREN, TRANSFORMER, Cell, reproduce, table

FULL: tuple[Control, ...] = tuple(
    Control(env=name, quality=quality)
    for name, environment in ENVIRONMENTS.items()
    if environment.expert is not None
    for quality in QUALITIES
)
"""The twelve data sets of the robots that D4RL has scores for."""

QUICK: tuple[Control, ...] = (Control(env="hopper", steps=200, measurements=4),)
"""A little of one data set."""


def further_models(task: Control) -> list[Control]:
    """The Transformer that attends to the whole episode, and for the Hopper the paper's three tokens for each step."""
    whole = dataclasses.replace(task, mixer=TRANSFORMER, context=None)
    split = [dataclasses.replace(task, mixer=mixer, tokens="three") for mixer in (AAREN, TRANSFORMER)]
    return [whole, *(split if task.env == "hopper" else [])]


def conditioned(task: Control, cells: Sequence[Cell]) -> Conditioned:
    """The returns that the models of a data set were asked for, and those that they reached, means over seeds."""
    rows = [f"test, asked for {share:.0%}" for share in SHARES]
    reached = {
        cell.mixer: np.mean([[metrics[row]["return"] for row in rows] for metrics in cell.metrics if metrics], axis=0)
        for cell in cells
        if cell.data == task.data_name and any(cell.metrics)
    }
    tables = [metrics for cell in cells if cell.data == task.data_name for metrics in cell.metrics if metrics]
    asked = np.array([tables[0][row]["asked"] for row in rows]) if tables else np.array(SHARES)
    return Conditioned(task.data_name, asked, reached)


@dataclasses.dataclass
class Command(Workers):
    """Compare Aaren with the Transformer and all other mixers as policies of robots (paper B).

    `twofold data control` makes the data sets. A run that was stopped is continued.

    Examples: twofold reproduce control --quick | twofold reproduce control --only hopper
    """

    quick: bool = False
    """Train Aaren and the Transformer alone, for a moment, on one data set."""
    only: Literal["halfcheetah", "hopper", "walker2d", "ant"] | None = None
    """Take this robot alone; all robots if not given."""
    seeds: int = 3
    """How many models of each kind are trained."""
    out: Path | None = None
    """The folder for all runs and the results. If not given, it is runs/control or runs/control-quick."""

    def run(self, console: Console) -> None:
        out = self.out or Path("runs") / ("control" + "-quick" * self.quick)
        tasks = [t for t in (QUICK if self.quick else FULL) if self.only in (None, t.env)]
        cells = reproduce(
            tasks,
            mixers=(AAREN, TRANSFORMER) if self.quick else tuple(MIXERS),
            others=[] if self.quick else [model for task in tasks for model in further_models(task)],
            seeds=self.seeds,
            out=out,
            where=self,
        )
        for task in tasks:
            console.print(table(task, cells))
        draw_conditioning([conditioned(task, cells) for task in tasks]).savefig(out / "asked.png")
        console.print(
            f"All figures are in {out / 'settings.json'}, the tables are in {out / 'settings.md'}, and {out / 'asked.png'}"
            " has the returns that were reached against those that were asked for."
        )
