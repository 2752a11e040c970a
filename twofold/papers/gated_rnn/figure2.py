"""Figure 2 of paper A: the weights of a trained student, of its teacher, and the kernels in which they agree."""

import dataclasses
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.table import Table

from ...discover import neuron_roles
from ...forms import attention_weights, cubic_form, gated_rnn_weights, quadratic_forms
from ...layers import GatedRNN, LinearSelfAttention
from ...report.pictures import draw_figure2
from ...report.provenance import write_json
from ...tasks.students.teacher_student import Recipe
from . import table1


class Kernels(NamedTuple):
    """What each output makes of memory neurons times query neurons."""

    student: Float[np.ndarray, "out memory query"]
    """sum over rows j of D_ij W_out_m[j]^T W_out_x[j]."""
    teacher: Float[np.ndarray, "out memory query"]
    """What it would have to be for the student to be its teacher, given what the student's neurons hold."""

    @property
    def error(self) -> float:
        """|student - teacher| / |teacher|."""
        return float(np.linalg.norm(self.student - self.teacher) / np.linalg.norm(self.teacher))


def reproduce(
    recipe: Recipe, *, seed: int = 0, out: Path | str, progress: bool = True
) -> tuple[table1.Student, Kernels]:
    """Train a student as for table 1, or take the one that is in `out`, and draw figure2.png and write figure2.json there.

    **Raises:** `InputError` if `out` holds something else.
    """
    students, _ = table1.scored_students(recipe, seed=seed, out=out, progress=progress)
    student = students[0]
    found = kernels(student.finetuned, student.teacher)
    folder = Path(out)
    with recipe.way.precision():
        draw_figure2(student.finetuned, student.teacher, found._asdict(), folder / "figure2.png")
    write_json(
        folder / "figure2.json",
        {"recipe": recipe.as_json(), "seed": seed, "student": student.figures._asdict(), "kernel_error": found.error},
    )
    return student, found


def kernels(student: GatedRNN, teacher: LinearSelfAttention) -> Kernels:
    """Those of a pruned student and its teacher. The student's other neurons, and other terms, do not show."""
    memory, query, _ = neuron_roles(student)
    _, w_in_m, w_in_x, w_out_m, w_out_x, readout = gated_rnn_weights(student)
    own = np.einsum("og,gm,gq->omq", readout, w_out_m[:, memory], w_out_x[:, query])
    own += np.einsum("og,gm,gq->omq", readout, w_out_x[:, memory], w_out_m[:, query])

    d = student.in_size
    forms = quadratic_forms(w_in_m[memory, :d], w_in_x[memory, :d]).reshape(-1, d * d)
    queries = w_in_m[query, :d] * w_in_x[query, d:] + w_in_x[query, :d] * w_in_m[query, d:]
    weights = attention_weights(teacher)
    cubic = cubic_form(weights.w_v, weights.b).reshape(-1, d * d, d)
    return Kernels(own, np.linalg.pinv(forms).T @ cubic @ np.linalg.pinv(queries))


def table(student: table1.Student, found: Kernels) -> Table:
    """What the figure shows, in numbers beside the published ones."""
    figures, published = student.figures, table1.PUBLISHED
    shown = Table(title="Figure 2 (paper A)")
    for column in ("", "student", "published, d = 4"):
        shown.add_column(column, justify="left" if column == "" else "right")
    for name, field in (("memory neurons", "memory"), ("query neurons", "forget"), ("others", "other")):
        shown.add_row(name, str(getattr(figures, field)), str(getattr(published, field)))
    shown.add_row("gate rows", str(figures.gate_rows), "13; 11 when 3 are merged")
    shown.add_row("kernels, error against the teacher's", f"{found.error:.1e}", "")
    shown.add_row("loss, fine-tuned", f"{figures.finetuned_loss:.1e}", "")
    return shown


@dataclasses.dataclass
class Command:
    """The weights of a student trained as for table 1, its teacher's, and the kernels in which they agree (paper A).

    A student that table 1 has trained is taken from its folder.
    Examples: twofold reproduce figure2 --recipe fast | twofold reproduce figure2 --out runs/table1
    """

    recipe: Literal["paper", "fast"] = "paper"
    """The recipe of the training, as for table1."""
    quick: bool = False
    """A small teacher (d = 2)."""
    seed: int = 0
    """The seed of teacher, initial weights and batches."""
    out: Path | None = None
    """Folder for figures, models and pictures; the folder of table1 if not given."""

    def run(self, console: Console) -> None:
        recipe = (table1.QUICK if self.quick else table1.RECIPES)[self.recipe]
        out = self.out or table1.default_folder(self.recipe, self.quick)
        student, kernels = reproduce(recipe, seed=self.seed, out=out)
        console.print(table(student, kernels))
        console.print(f"The picture is {out / 'figure2.png'}.")
