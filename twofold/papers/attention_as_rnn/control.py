"""Aaren beside the Transformer and the other mixers as the policy of a robot (paper B's first comparison)."""

import dataclasses
from pathlib import Path
from typing import Literal

from rich.console import Console

from ...data.environments import ENVIRONMENTS
from ...data.recording import QUALITIES
from ...layers import MIXERS
from ...tasks.control import Control
from .comparison import AAREN, TRANSFORMER, reproduce, table

FULL: tuple[Control, ...] = tuple(
    Control(env=name, quality=quality)
    for name, environment in ENVIRONMENTS.items()
    if environment.expert is not None
    for quality in QUALITIES
)
"""The twelve data sets of the robots that D4RL has scores for."""

QUICK: tuple[Control, ...] = (Control(env="hopper", steps=200, measurements=4),)
"""A little of one data set."""


@dataclasses.dataclass
class Command:
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
            tasks, mixers=(AAREN, TRANSFORMER) if self.quick else tuple(MIXERS), seeds=self.seeds, out=out
        )
        for task in tasks:
            console.print(table(task, cells))
        console.print(f"All figures are in {out / 'settings.json'}, and the tables are in {out / 'settings.md'}.")
