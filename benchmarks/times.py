"""How the time grows with the number of tokens, for forward and gradient of one sequence. The picture shows this."""

from collections.abc import Callable, Iterable

import jax.numpy as jnp

from .contestants import LIMIT, Case
from .scans import linear_case, softmax_case
from .timing import compare, references

LENGTHS = [4**n for n in range(3, 10)]
QUICK = LENGTHS[:4:2]
SLOW = 2000.0  # Milliseconds. A contestant that takes longer gets no more tokens, because the comparison would take too long.
CURVES: dict[str, Callable[[int], Case]] = {
    "softmax scan, 4 heads of 16": lambda time: softmax_case((1, time, 4, 16), compiled=False),
    "linear scan, 64 complex": lambda time: linear_case((1, time, 64), jnp.complex64, compiled=False),
}


def grow(curve: str, lengths: Iterable[int]) -> dict[str, dict]:
    """For each contestant, its numbers of tokens and its milliseconds, and why it stopped if it did not reach the last length."""
    lines: dict[str, dict] = {}
    for time in lengths:
        case = CURVES[curve](time)
        for contestant in case.contestants:
            line = lines.setdefault(contestant.name, {"tokens": [], "ms": []})
            if line["ms"] and line["ms"][-1] > SLOW:
                line.setdefault("stopped", "slow")
            elif contestant.keeps > LIMIT:
                line.setdefault("stopped", "does not fit")
        running = [c for c in case.contestants if "stopped" not in lines[c.name]]
        task = case.task()
        figures = compare(case._replace(contestants=running), task, "gradient", references(case, task), seconds=0.5)
        for name, figure in figures.items():
            if "ms" in figure:
                lines[name]["tokens"].append(time)
                lines[name]["ms"].append(figure["ms"])
            else:
                lines[name]["stopped"] = figure["left_out"]
    return lines
