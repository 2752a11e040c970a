"""Figure 2 of paper A: the weights of a trained student, of its teacher, and the kernels in which they agree."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.table import Table

from ...discover import neuron_roles
from ...forms import attention_weights, cubic_form, gated_rnn_weights, quadratic_forms
from ...layers import GatedRNN, LinearSelfAttention
from ...report.provenance import write_json
from ...report.tables import console_table
from ...report.weight_pictures import draw_figure2
from ...tasks.students.teacher_student import Recipe
from .student_scores import Figures, Scored, scored_students
from .table1 import PUBLISHED, StudentOptions


class Kernels(NamedTuple):
    """The coefficients of memory neurons times query neurons in each output (paper A, figure 2C)."""

    student: Float[np.ndarray, "out memory query"]
    """sum over gate rows j of D_ij W_out_m[j]^T W_out_x[j], for output i."""
    teacher: Float[np.ndarray, "out memory query"]
    """The kernel with which the student would be its teacher, given what its neurons hold."""

    @property
    def error(self) -> float:
        """|student - teacher| / |teacher|."""
        return float(np.linalg.norm(self.student - self.teacher) / np.linalg.norm(self.teacher))


def reproduce(recipe: Recipe, *, seed: int = 0, out: Path | str, progress: bool = True) -> tuple[Scored, Kernels]:
    """Train a student as for table 1, or take the one that is in `out`, and write figure2.png and figure2.json there.

    **Raises:** `InputError` if `out` holds something else.
    """
    (scored,) = scored_students(recipe, seed=seed, out=out, progress=progress)
    teacher = scored.student.teacher
    found = kernels(scored.finetuned, teacher)
    with recipe.way.precision():
        draw_figure2(scored.finetuned, teacher, found._asdict()).savefig(Path(out) / "figure2.png")
    write_json(
        Path(out) / "figure2.json",
        {"recipe": recipe.as_json(), "seed": seed, "student": scored.figures._asdict(), "kernel_error": found.error},
    )
    return scored, found


def kernels(student: GatedRNN, teacher: LinearSelfAttention) -> Kernels:
    """The kernels of a pruned student and of its teacher. Neurons of another lambda, and other terms, are not in them."""
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


def table(figures: Figures, kernel_error: float) -> Table:
    """What the figure shows, in numbers beside the published ones."""
    return console_table(
        ("", "student", "published, d = 4"),
        [
            ("memory neurons", str(figures.memory), str(PUBLISHED.memory)),
            ("query neurons", str(figures.forget), str(PUBLISHED.forget)),
            ("other neurons", str(figures.other), str(PUBLISHED.other)),
            ("gate rows", str(figures.gate_rows), f"{PUBLISHED.gate_rows}; 11 when 3 are merged"),
            ("relative error of the kernels", f"{kernel_error:.1e}", ""),
            ("loss, fine-tuned", f"{figures.finetuned_loss:.1e}", ""),
        ],
        title="Figure 2 (paper A)",
    )


@dataclasses.dataclass
class Command(StudentOptions):
    """Draw the weights of a student, those of its teacher, and the kernels in which they agree (paper A, figure 2).

    The student is trained as for table 1. If table 1 has trained it already, it is taken from its folder.

    Examples: twofold reproduce figure2 --recipe fast | twofold reproduce figure2 --out runs/table1
    """

    def run(self, console: Console) -> None:
        recipe, out = self.chosen()
        scored, found = reproduce(recipe, seed=self.seed, out=out)
        console.print(table(scored.figures, found.error))
        console.print(f"The picture is {out / 'figure2.png'}.")
