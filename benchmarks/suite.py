"""Run cases, trainings and curves, and write the results after each of them."""

import os
import platform
from importlib.metadata import version
from itertools import groupby
from pathlib import Path

import jax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from twofold.report.provenance import processors, write_json

from . import training_steps
from .contestants import PEERS, Case, present
from .limits import bandwidth, copy_seconds, moved, product_peak
from .ordinary import put_beside
from .report import draw, markdown, table, training_table
from .times import grow
from .timing import SECONDS, compare, references
from .training_steps import Training


def measure(
    cases: list[Case],
    trainings: list[Training],
    curves: list[str],
    lengths: list[int],
    out: Path,
    console: Console,
    ordinary: dict | None = None,
    *,
    seconds: float = SECONDS,
) -> dict:
    """Measure all cases, trainings and curves. bench.json and bench.md in `out` are written again after each of them.

    `ordinary` has the figures of an ordinary process, as `measure` returns them. Its times are put beside those of this one.
    """
    out.mkdir(parents=True, exist_ok=True)
    notes = [
        f"{name} is left out, because it is not installed: `pip install {peer}`."
        for peer, name in PEERS.items()
        if not present(peer)
    ]
    figures: dict = {"machine": machine(), "notes": notes, "limits": {}, "cases": [], "training": [], "times": {}}
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    total = sum(2 * len(case.contestants) for case in cases) + sum(len(training.contestants) for training in trainings)
    with Progress(*columns, console=console, transient=True) as progress:
        bar = progress.add_task("the machine's limits", total=total)
        figures["limits"] = {"bytes_per_s": bandwidth(), "flops_per_s": product_peak()}

        def advance_in(title):
            return lambda name: progress.update(bar, description=f"{title}: {name}", advance=1)

        for case in cases:
            figures["cases"].append(_measured(case, figures["limits"], advance_in(case.title), seconds))
            put_beside(figures["cases"][-1], ordinary)
            _write(figures, out)
            console.print(table(figures["cases"][-1]))
        for _, group in groupby(trainings, key=lambda training: training.group):
            start = len(figures["training"])
            for training in group:
                peak, advance = figures["limits"]["flops_per_s"], advance_in(training.title)
                figures["training"].append(training_steps.compare(training, peak, seconds, advance))
                put_beside(figures["training"][-1], ordinary)
                _write(figures, out)
            console.print(training_table(figures["training"][start:]))
        for curve in curves:
            tokens = progress.track(lengths, description=curve)
            figures["times"][curve] = grow(curve, tokens)
            draw(figures["times"], out / "times.png")
            _write(figures, out)
    for note in notes:
        console.print(note)
    return figures


def _measured(case: Case, limits: dict, advance, seconds: float) -> dict:
    task = case.task()
    truths = references(case, task)
    passes = {w: compare(case, task, w, truths, seconds=seconds, advance=advance) for w in ("forward", "gradient")}
    largest = max(x.nbytes for x in jax.tree.leaves((task.parameters, task.data)))
    copy = copy_seconds(largest)
    work = zip(("forward", "gradient"), moved(task, task.random), case.flops, strict=True)
    return {
        "title": case.title,
        "operation": case.operation,
        "variant": case.variant,
        "shape": case.shape,
        "note": case.note,
        "limits_ms": {
            which: 1e3 * max(size * copy / (2 * largest), flops / limits["flops_per_s"]) for which, size, flops in work
        },
        "copy_ms": 1e3 * copy,
        "contestants": {c.name: {which: passes[which][c.name] for which in passes} for c in case.contestants},
    }


def _write(figures: dict, out: Path) -> None:
    write_json(out / "bench.json", figures)
    (out / "bench.md").write_text(markdown(figures))


def machine() -> dict:
    """The machine and the versions that the figures depend on."""
    models, caches = processors(), Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")
    told = [[(cache / name).read_text().strip() for name in ("level", "type", "size")] for cache in sorted(caches)]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "caches": {f"L{level} {kind.lower()}": size for level, kind, size in told},
        "versions": {
            name: version(name) for name in ("twofold", "jax", "jaxlib", "equinox", "numpy", *filter(present, PEERS))
        },
    }
