"""The command line of the benchmarks."""

import sys
from pathlib import Path
from typing import Literal

import tyro
from rich.console import Console

from . import layers, recurrent, scans, times, training_steps
from .suite import measure
from .timing import SECONDS, keep_memory

Part = Literal["softmax", "linear", "kv", "attention", "layers", "training", "times"]


def run(quick: bool = False, only: Part | None = None, out: Path = Path("runs/bench")) -> None:
    """Compare the speed of twofold with JAX's own scans, memax, Equinox, Flax, PyTorch, and the limits of the machine.

    Examples: python -m benchmarks --quick | python -m benchmarks --only softmax --out runs/softmax

    Args:
        quick: Measure small shapes, in less than two minutes. torch.compile is left out, because it compiles for longer.
        only: Measure one part. All parts are measured if it is not given.
        out: The folder for bench.json, bench.md and times.png.
    """
    keep_memory()
    console = Console(width=None if sys.stdout.isatty() else 160)
    parts = {
        "softmax": scans.softmax_cases,
        "linear": scans.linear_cases,
        "layers": lambda quick: [*layers.cases(quick), *recurrent.cases(quick)],
        "kv": scans.kv_cases,
        "attention": scans.attention_cases,
    }
    cases = [case for name, part in parts.items() if only in (None, name) for case in part(quick)]
    curves = list(times.CURVES) if only in (None, "times") else []
    loops = list(training_steps.loops(quick)) if only in (None, "training") else []
    lengths = times.QUICK if quick else times.LENGTHS
    measure(cases, curves, lengths, loops, out, console, seconds=0.3 if quick else SECONDS)
    console.print(f"Figures, tables and pictures are in {out}.")


if __name__ == "__main__":
    tyro.cli(run, prog="python -m benchmarks")
