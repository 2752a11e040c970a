"""Table 1 of paper A: a gated RNN trained to imitate linear self-attention becomes it."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from ...report.provenance import write_json
from ...report.tables import console_table
from ...report.verdict import verdict
from ...tasks.students.teacher_student import Recipe
from ...tasks.students.ways import AdamW, LeastSquares
from .student_scores import PRUNED_TO, Cut, Figures, Scored, scored_students

RECIPES = {
    "paper": Recipe(),
    "fast": Recipe(hidden_size=20, gate_size=30, time=8, way=LeastSquares()),
    "fast6": Recipe(size=6, hidden_size=40, gate_size=60, time=8, way=LeastSquares()),
}
FAST_QUICK = Recipe(size=2, hidden_size=10, gate_size=12, time=8, way=LeastSquares())
QUICK = {
    "paper": Recipe(
        size=2,
        hidden_size=16,
        gate_size=16,
        time=16,
        way=AdamW(batch=32, steps=200_000, learning_rate=5e-3, final_learning_rate=5e-8, b2=0.99),
    ),
    "fast": FAST_QUICK,
    "fast6": FAST_QUICK,
}
MOST = 4
"""The table has a column for each student, if there are no more of them."""
PUBLISHED = Figures(4.97e-8, 4.52e-8, 2.06e-10, 3.74e-4, memory=10, forget=4, other=0, gate_rows=13)


def reproduce(recipe: Recipe, *, seeds: int = 1, seed: int = 0, out: Path | str, progress: bool = True) -> list[Scored]:
    """Train students as `scored_students` does, and write their figures to table1.json in `out`."""
    students = scored_students(recipe, seeds=seeds, seed=seed, out=out, progress=progress)
    write_json(Path(out) / "table1.json", results_of(students, recipe, seed=seed))
    return students


def results_of(students: list[Scored], recipe: Recipe, *, seed: int = 0) -> dict[str, Any]:
    """The content of table1.json."""
    return {
        "recipe": recipe.as_json(),
        "seed": seed,
        "prune_tolerance": PRUNED_TO[type(recipe.way)],
        "seconds": seconds_of(students),
        "students": [scored.figures._asdict() for scored in students],
        "pruning": [[cut._asdict() for cut in scored.cuts] for scored in students],
        "published": PUBLISHED._asdict(),
        "curves": [scored.student.curve.as_json() for scored in students],
    }


def seconds_of(students: list[Scored]) -> float:
    """The time that the training of all students took."""
    return float(sum(scored.student.curve.seconds[-1] for scored in students))


ROWS: dict[str, Callable[[Figures], Any]] = {
    "loss": lambda f: f.loss,
    "KV score": lambda f: f.kv_score,
    "Q score": lambda f: f.q_score,
    "polynomial distance": lambda f: f.polynomial_distance,
    "residual of decompile": lambda f: f.decompiled,
    "the teacher from decompile, error": lambda f: f.teacher_error,
    "pruned: memory + query + other neurons": lambda f: _neurons(f),
    "pruned: gate rows": lambda f: f.gate_rows,
    "pruned: loss": lambda f: f.pruned_loss,
    "pruned: loss, fine-tuned": lambda f: f.finetuned_loss,
}


def table(results: dict[str, Any]) -> Table:
    """The figures of table1.json beside the published ones, with verdicts if d is that of the paper."""
    students, recipe, lines = [Figures(**figures) for figures in results["students"]], results["recipe"], []
    for name, value_of in ROWS.items():
        values, published = [value_of(figures) for figures in students], value_of(PUBLISHED)
        judged = "" if published is None or recipe["size"] != 4 else _judged(values, published)
        told = [*map(_told, _shown(values)), _median(values)]
        lines.append((name, *told, "" if published is None else _told(published), judged))
    seconds = [curve["seconds"][-1] for curve in results["curves"]]
    return console_table(
        (
            "",
            *_shown([f"student {i}" for i in range(len(students))], "least", "most"),
            "median",
            "published, d = 4",
            "verdict",
        ),
        [*lines, ("training", *(f"{taken:,.0f} s" for taken in (*_shown(seconds), np.median(seconds))), "", "")],
        left=("verdict",),
        title=f"Table 1 (paper A): d = {recipe['size']}, {recipe['hidden_size']} neurons, {recipe['steps']:,} steps at most",
    )


def pruning_table(cuts: Sequence[Cut], loss: float) -> Table:
    """What pruning leaves of a student that had a loss, and what that costs, at every tolerance."""
    return console_table(
        ("tolerance", "memory + query + other", "gate rows", "loss"),
        [(f"{cut.tolerance:.0e}", _neurons(cut), str(cut.gate_rows), f"{cut.loss:.1e}") for cut in cuts],
        title=f"Pruning: from a loss of {loss:.1e}",
    )


def _neurons(left: Figures | Cut) -> str:
    return f"{left.memory} + {left.forget} + {left.other}"


def _told(value: float | int | str) -> str:
    return f"{value:.2e}" if isinstance(value, float) else str(value)


def _shown(values: list, *extremes: str) -> list:
    """The values of all students. If these are many, the least and the greatest value, or the names of `extremes`."""
    return values if len(values) <= MOST else list(extremes) or [min(values), max(values)]


def _median(values: list) -> str:
    """The median over the students. Text has none."""
    return "" if isinstance(values[0], str) else _told(type(values[0])(np.median(values)))


def _judged(values: list, published: float | int | str) -> str:
    """The verdict on the median of the students; equality is counted where the figure is text."""
    if isinstance(published, str):
        reached = sum(value == published for value in values)
        return f"[green]reached[/green] by {reached} of {len(values)}" if reached else "[red]missed[/red]"
    return verdict(float(np.median(values)), float(published))


@dataclasses.dataclass
class StudentOptions:
    """The options by which table 1 and figure 2 choose a student."""

    recipe: Literal["paper", "fast", "fast6"] = "paper"
    """How the student is trained. paper takes a million steps of gradient descent. fast takes second-order steps for a minute,
    until only rounding is left in the loss. fast6 does so for d = 6."""
    quick: bool = False
    """Train a student of a smaller teacher (d = 2). This takes about a minute with the paper's recipe."""
    seed: int = 0
    """The seed of teachers, initial weights and batches."""
    out: Path | None = None
    """The folder for figures, models and pictures. If not given, it is runs/table1, with -fast, -fast6 and -quick as they
    apply."""

    def chosen(self) -> tuple[Recipe, Path]:
        """The recipe, and the folder of the run."""
        recipe = (QUICK if self.quick else RECIPES)[self.recipe]
        return recipe, self.out or Path("runs") / (
            "table1" + f"-{self.recipe}" * (self.recipe != "paper") + "-quick" * self.quick
        )


@dataclasses.dataclass
class Command(StudentOptions):
    """Train gated RNNs to imitate linear self-attention, and measure how near they come (paper A, table 1).

    A run that was stopped is continued.

    Examples: twofold reproduce table1 --recipe fast | twofold reproduce table1 --quick |
    twofold reproduce table1 --seeds 4 --out runs/four
    """

    seeds: int = 1
    """How many students are trained. Each has a teacher of its own."""

    def run(self, console: Console) -> None:
        recipe, out = self.chosen()
        students = reproduce(recipe, seeds=self.seeds, seed=self.seed, out=out)
        console.print(table(results_of(students, recipe)))
        for scored in students:
            console.print(pruning_table(scored.cuts, scored.figures.loss))
        console.print(f"Training took {seconds_of(students):,.0f} s. Figures, models and pictures are in {out}.")
