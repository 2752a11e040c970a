"""The command line of the benchmarks."""

import sys
from pathlib import Path
from typing import Literal, get_args

import tyro
from rich.console import Console

from twofold import keep_memory

from . import layers, models, own_tasks, recurrent, scans, times
from .ordinary import in_an_ordinary_process
from .suite import measure
from .timing import SECONDS

Part = Literal["softmax", "linear", "kv", "attention", "layers", "models", "training", "times"]
CASES = {
    "softmax": scans.softmax_cases,
    "linear": scans.linear_cases,
    "layers": lambda quick: [*layers.cases(quick), *recurrent.cases(quick)],
    "kv": scans.kv_cases,
    "attention": scans.attention_cases,
}
TRAININGS = {"models": models.trainings, "training": own_tasks.trainings}
BOTH_WAYS: tuple[Part, ...] = ("softmax", "linear", "models")
"""The parts that are measured in an ordinary process too."""


def run(quick: bool = False, only: Part | None = None, out: Path = Path("runs/bench"), ordinary: bool = False) -> None:
    """Compare the speed of twofold with JAX's own scans, memax, Equinox, Flax, PyTorch, and the limits of the machine.

    Examples: python -m benchmarks --quick | python -m benchmarks --only models --out runs/models

    Args:
        quick: Measure small shapes, in a few minutes. torch.compile is left out, because it compiles for longer.
        only: Measure one part. All parts are measured if it is not given.
        out: The folder for bench.json, bench.md and times.png.
        ordinary: Measure the parts softmax, linear and models alone, in a process that gives the memory of large buffers back
            to the system. Without it, the process keeps this memory, and the figures of an ordinary one are shown beside.
    """
    asked = [part for part in get_args(Part) if only in (None, part)]
    both = [part for part in asked if part in BOTH_WAYS]
    console = Console(width=None if sys.stdout.isatty() else 200)
    beside: dict | None = None
    if not ordinary and keep_memory() and both:
        with console.status(f"in an ordinary process first: {', '.join(both)}"):
            beside = in_an_ordinary_process(["--quick"] * quick + (["--only", only] if only else []))
    measured = both if ordinary else asked
    cases = [case for part in measured if part in CASES for case in CASES[part](quick)]
    trainings = [training for part in measured if part in TRAININGS for training in TRAININGS[part](quick)]
    curves = list(times.CURVES) if "times" in measured else []
    lengths = times.QUICK if quick else times.LENGTHS
    measure(cases, trainings, curves, lengths, out, console, beside, seconds=0.3 if quick else SECONDS)
    console.print(f"Figures, tables and pictures are in {out}.")


if __name__ == "__main__":
    tyro.cli(run, prog="python -m benchmarks")
