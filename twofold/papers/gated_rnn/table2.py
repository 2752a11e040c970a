"""Table 2 of paper A: a gated RNN trained to regress in context becomes one step of gradient descent."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from ...discover import instantaneous_polynomials, monomials
from ...errors import InputError
from ...layers import GatedRNN
from ...report.provenance import four_digits, write_json
from ...report.tables import console_table
from ...report.verdict import verdict
from ...saving import save
from ...tasks.students.in_context_regression import Recipe, expected_loss, loss_of_step, optimal_step
from ...tasks.students.ways import AdamW
from ...train import Trained, fit, open_run
from .question import polynomial_at_question

PAPER = Recipe()
QUICK = Recipe(
    hidden_size=32,
    gate_size=32,
    way=AdamW(batch=256, steps=9_000, learning_rate=5e-3, final_learning_rate=5e-6, b2=0.99),
)


class Figures(NamedTuple):
    """What became of one student. Losses are half mean squared errors."""

    coefficients: tuple[float, ...]
    """The coefficient of (sum x_i y_1) x_i in the first output at the question, for every i."""
    residual_norm: float
    """The norm of all other coefficients of this output."""
    one_token_norm: float
    """The same norm for the polynomial of one token. It has terms in the y of the question, which is 0 in training: nothing
    is learned about them."""
    training_loss: float
    """The mean over the last tenth of the training."""
    loss: float
    """The loss on fresh tasks."""
    validation_loss: float
    """The loss on fresh tasks of doubled variance."""


PUBLISHED: dict[str, Any] = {
    "coefficients": (6.81e-2, 6.82e-2, 6.82e-2),
    "residual_norm": 1.35e-3,
    "training_loss": 0.0945,
}
"""What the paper has of these figures: the mean over 4 students."""


def reproduce(
    recipe: Recipe = PAPER, *, seeds: int = 4, seed: int = 0, out: Path | str, progress: bool = True
) -> tuple[list[Figures], float]:
    """Train `seeds` students together, and write models and figures to `out`. A run stopped before is continued.

    **Returns:** the figures of each student, and the seconds spent in training. **Raises:** `InputError` if `out` holds
    something else, or `seeds` is below 1.
    """
    trained = _train(recipe, seeds=seeds, seed=seed, out=out, progress=progress)
    folder, students = Path(out), []
    step = optimal_step(recipe.time, recipe.in_size)
    for i in range(seeds):
        network = jax.tree.map(lambda x, i=i: x[i], trained.models)
        save(folder / f"seed-{i}" / "network", network)
        students.append(_figures(recipe, network, trained.losses[i]))
    write_json(
        folder / "table2.json",
        {
            "recipe": recipe.as_json(),
            "seed": seed,
            "seconds": trained.seconds,
            "students": [figures._asdict() for figures in students],
            "one step": {"coefficient": step, "loss": loss_of_step(step, recipe.time, recipe.in_size)},
            "published": PUBLISHED,
            "losses": [four_digits(losses) for losses in trained.losses],
        },
    )
    return students, trained.seconds


def _train(recipe: Recipe, *, seeds: int, seed: int, out: Path | str, progress: bool) -> Trained:
    if seeds < 1:
        raise InputError(f"seeds is {seeds}; at least 1 student must be trained")
    config = {"experiment": "table2", "recipe": recipe.as_json(), "seeds": seeds, "seed": seed}
    student_key, data_key = jax.random.split(jax.random.key(seed))
    with open_run(out, config) as folder:
        return fit(
            recipe.loss,
            eqx.filter_vmap(recipe.student)(jax.random.split(student_key, seeds)),
            None,
            optimiser=recipe.way.optimiser(),
            steps=recipe.way.steps,
            key=data_key,
            shared_data=True,
            checkpoint=folder / "checkpoint",
            title=f"{seeds} student{'s' * (seeds > 1)}, regression in context",
            progress=progress,
        ).checked()


def _figures(recipe: Recipe, network: GatedRNN, losses: np.ndarray) -> Figures:
    constant, y_1 = network.in_size, recipe.in_size
    pair = {pair: n for n, pair in enumerate(zip(*np.triu_indices(network.in_size + 1), strict=True))}
    learned = polynomial_at_question(network, recipe.in_size, recipe.time)
    coefficients = [float(learned.mixed[pair[i, y_1], pair[i, constant]]) for i in range(recipe.in_size)]
    of_one_token = instantaneous_polynomials(network)[0]
    number = {monomial: n for n, monomial in enumerate(monomials(network.in_size))}
    terms = [number[i, i, y_1, constant] for i in range(recipe.in_size)]
    return Figures(
        coefficients=tuple(coefficients),
        residual_norm=(sum(float(np.sum(part**2)) for part in learned) - float(np.sum(np.square(coefficients)))) ** 0.5,
        one_token_norm=float(np.linalg.norm(np.delete(of_one_token, terms))),
        training_loss=float(np.mean(losses[-max(len(losses) // 10, 1) :])),
        loss=expected_loss(recipe, network, 1.0),
        validation_loss=expected_loss(recipe, network, 2.0),
    )


def table(students: list[Figures], recipe: Recipe) -> Table:
    """The figures beside the published ones, with verdicts."""
    step = optimal_step(recipe.time, recipe.in_size)
    best = loss_of_step(step, recipe.time, recipe.in_size)
    lines = []

    def add(name, values, optimum, published=None, judged="", form=".2e"):
        own = f"{np.mean(values):{form}} ± {np.std(values):.1e}"
        lines.append((name, own, f"{optimum:{form}}", "" if published is None else f"{published:{form}}", judged))

    for i in range(recipe.in_size):
        values = [student.coefficients[i] for student in students]
        off = float(abs(np.mean(values) / step - 1))
        judged = verdict(off, 0.01, f"off by {off:.2%}, 1% asked")
        add(f"(sum x_{i + 1} y_1) x_{i + 1}", values, step, PUBLISHED["coefficients"][i], judged)
    residuals = [student.residual_norm for student in students]
    judged = verdict(float(np.mean(residuals)), PUBLISHED["residual_norm"])
    add("residual norm", residuals, 0.0, PUBLISHED["residual_norm"], judged)
    lines.append(("residual norm, median", f"{np.median(residuals):.2e}", "", "", ""))
    losses = [student.training_loss for student in students]
    gap = float(abs(np.mean(losses) - best))
    judged = verdict(gap, 2e-4, f"off by {gap:.1e}")
    add("training loss", losses, best, PUBLISHED["training_loss"], judged, ".4f")
    add("loss, fresh tasks", [student.loss for student in students], best, form=".5f")
    add("validation loss", [student.validation_loss for student in students], 2 * best, form=".5f")
    of_one_token = [student.one_token_norm for student in students]
    not_learned = "its terms in the y of the question are not learned"
    judged = verdict(float(np.mean(of_one_token)), PUBLISHED["residual_norm"], not_learned)
    add("residual norm, one token", of_one_token, 0.0, PUBLISHED["residual_norm"], judged)
    return console_table(
        ("", "RNN", "one optimal step", "published RNN", "verdict"),
        lines,
        left=("verdict",),
        title=f"Table 2 (paper A): {len(students)} students, {recipe.hidden_size} neurons, {recipe.way.steps:,} steps",
        caption="Mean and standard deviation over students. Validation doubles the variance of W.",
    )


@dataclasses.dataclass
class Command:
    """Train gated RNNs to regress in context, and compare them with one step of gradient descent (paper A, table 2).

    A run that was stopped is continued.

    Examples: twofold reproduce table2 --quick | twofold reproduce table2 --seeds 8
    """

    quick: bool = False
    """Train smaller students for fewer steps. This takes a minute or two, rather than the paper's 300,000 steps."""
    seeds: int = 4
    """How many students are trained together."""
    seed: int = 0
    """The seed of initial weights and batches."""
    out: Path | None = None
    """The folder for figures and models. If not given, it is runs/table2 or runs/table2-quick."""

    def run(self, console: Console) -> None:
        recipe = QUICK if self.quick else PAPER
        out = self.out or Path("runs") / ("table2" + "-quick" * self.quick)
        students, seconds = reproduce(recipe, seeds=self.seeds, seed=self.seed, out=out)
        console.print(table(students, recipe))
        console.print(f"Training took {seconds:,.0f} s. Figures and models are in {out}.")
