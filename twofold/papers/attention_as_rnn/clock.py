"""The clock of a loop of control: how long policies take from an observation to the action, and how much memory."""

import dataclasses
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from ...errors import InputError
from ...report.provenance import write_json
from ...report.tables import console_table
from ...tasks.control import Control
from . import loop_clock
from .comparison import AAREN, TRANSFORMER
from .loop_clock import EPISODE, Clocked, Job
from .own_process import in_own_process


def jobs(steps: int) -> dict[str, Job]:
    """The policies to measure, by what they are called."""
    window = Control().context
    assert window is not None
    return {
        "Aaren": Job(AAREN, window, steps),
        f"Transformer, {window} steps": Job(TRANSFORMER, window, steps),
        f"Transformer, whole episode of {EPISODE:,} steps": Job(TRANSFORMER, EPISODE, steps),
    }


def reproduce(*, steps: int = 100_000, out: Path | str, progress: bool = True) -> dict[str, Clocked]:
    """Measure the loop of each policy in a process of its own, and write clock.json to `out`.

    **Raises:** `InputError` if `steps` is below 1, or a process fails.
    """
    if steps < 1:
        raise InputError(f"steps is {steps}; it must be at least 1")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    measured = {
        name: _run(job) for name, job in track(jobs(steps).items(), description="measuring", disable=not progress)
    }
    figures: dict[str, Any] = {name: clocked._asdict() for name, clocked in measured.items()}
    write_json(out / "clock.json", {"steps": steps, "policies": figures})
    return measured


def _run(job: Job) -> Clocked:
    return Clocked(**in_own_process(loop_clock, job))


def table(measured: dict[str, Clocked], steps: int) -> Table:
    """The times of a step and the memory, a row for each policy."""
    lines = [
        (
            name,
            *(f"{value:,.0f}" for value in clocked[:3]),
            f"{clocked.state_bytes / 2**10:,.1f}",
            f"{clocked.resident_bytes / 2**20:,.0f}",
            f"{clocked.growth_bytes / 2**20:+,.1f}",
        )
        for name, clocked in measured.items()
    ]
    columns = ("", "median, µs", "99.9 %, µs", "longest, µs", "state, KiB", "process, MiB", "growth, MiB")
    return console_table(columns, lines, title=f"From an observation to the action, over {steps:,} steps")


@dataclasses.dataclass
class Command:
    """Measure the time from an observation to the action, and memory, for Aaren and Transformers as policies of a robot.

    The policies have random weights and the sizes of the Hopper. The pauses of Python's garbage collector count.

    Examples: twofold reproduce clock --quick | twofold reproduce clock --steps 1000000
    """

    steps: int = 100_000
    """So many steps of time are measured."""
    quick: bool = False
    """Measure 5,000 steps, whatever --steps says. This takes less than a minute."""
    out: Path | None = None
    """The folder for clock.json. If not given, it is runs/clock or runs/clock-quick."""

    def run(self, console: Console) -> None:
        out = self.out or Path("runs") / ("clock" + "-quick" * self.quick)
        steps = 5_000 if self.quick else self.steps
        console.print(table(reproduce(steps=steps, out=out), steps))
        console.print(f"All figures are in {out / 'clock.json'}.")
