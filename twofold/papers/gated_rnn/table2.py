"""Table 2 of paper A: a gated RNN trained to regress in context becomes one step of gradient descent."""

import dataclasses
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

from ...discover import instantaneous_polynomials, monomials
from ...errors import InputError
from ...layers import GatedRNN
from ...report.provenance import write_json
from ...report.verdict import verdict
from ...saving import save
from ...tasks.students.in_context_regression import Recipe, gradient_step, loss_of_step, optimal_step, predictions
from ...tasks.students.ways import AdamW
from ...train import Trained, fit, open_run
from .question import polynomial_at_question

PAPER = Recipe()
QUICK = Recipe(
    hidden_size=32,
    gate_size=32,
    way=AdamW(batch=256, steps=9_000, learning_rate=5e-3, final_learning_rate=5e-6, b2=0.99),
)
BATCHES, BATCH = 64, 4096
"""Of fresh tasks that losses are measured on."""


class Figures(NamedTuple):
    """What became of one student. Losses are half mean squared errors."""

    coefficients: tuple[float, ...]
    """Of the terms (sum x_i y_1) x_i of the first output at the question, for every i."""
    residual_norm: float
    """Of all its other coefficients."""
    one_token_norm: float
    """Likewise of the polynomial of one token, which has terms in the y of the question: 0 in training, so not learned."""
    training_loss: float
    """The mean over the last tenth of the training."""
    loss: float
    """On fresh tasks."""
    validation_loss: float
    """On fresh tasks of doubled variance."""


class Published(NamedTuple):
    """Of the trained network, the mean over 4 students."""

    coefficients: tuple[float, ...] = (6.81e-2, 6.82e-2, 6.82e-2)
    residual_norm: float = 1.35e-3
    training_loss: float = 0.0945


PUBLISHED = Published()


def reproduce(
    recipe: Recipe = PAPER, *, seeds: int = 4, seed: int = 0, out: Path | str, progress: bool = True
) -> tuple[list[Figures], float]:
    """Train `seeds` students together, and write models and figures to `out`. A run stopped before is continued.

    **Returns:** the figures of each student, and the seconds spent in training. **Raises:** `InputError` if `out` holds
    something else, or `seeds` is below 1.
    """
    trained = _train(recipe, seeds=seeds, seed=seed, out=out, progress=progress)
    folder, students = Path(out), []
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
            "one step": {
                "coefficient": optimal_step(recipe.time, recipe.in_size),
                "loss": loss_of_step(optimal_step(recipe.time, recipe.in_size), recipe.time, recipe.in_size),
            },
            "published": PUBLISHED._asdict(),
            "losses": [[float(f"{x:.4g}") for x in losses] for losses in trained.losses],
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
        loss=_expected_loss(recipe, network, 1.0),
        validation_loss=_expected_loss(recipe, network, 2.0),
    )


def _expected_loss(recipe: Recipe, network: GatedRNN, variance: float) -> float:
    """The loss on fresh tasks: the known one of the optimal step, and what more the network has on the same tasks."""
    step = optimal_step(recipe.time, recipe.in_size)
    attention = gradient_step(step, recipe.in_size, recipe.out_size)

    @jax.jit
    def more(key):
        tokens, answers = recipe.tasks(key, BATCH, variance)
        errors = [jnp.mean((predictions(model, tokens) - answers) ** 2) / 2 for model in (network, attention)]
        return errors[0] - errors[1]

    keys = jax.random.split(jax.random.key(2**31 - 1), BATCHES)  # training folds its keys in
    return variance * loss_of_step(step, recipe.time, recipe.in_size) + float(np.mean([more(key) for key in keys]))


def table(students: list[Figures], recipe: Recipe) -> Table:
    """The figures beside the published ones, with verdicts."""
    step = optimal_step(recipe.time, recipe.in_size)
    best = loss_of_step(step, recipe.time, recipe.in_size)
    shown = Table(
        title=f"Table 2 (paper A): {len(students)} students, {recipe.hidden_size} neurons, {recipe.way.steps:,} steps",
        caption="Mean and standard deviation over students. Validation doubles the variance of W.",
    )
    for column in ("", "RNN", "one optimal step", "published RNN", "verdict"):
        shown.add_column(column, justify="left" if column in ("", "verdict") else "right")

    def add(name, values, optimum, published, judged, digits=2, kind="e"):
        mean, spread = np.mean(values), np.std(values)
        told = f"{published:.{digits}{kind}}" if published is not None else ""
        shown.add_row(name, f"{mean:.{digits}{kind}} ± {spread:.1e}", f"{optimum:.{digits}{kind}}", told, judged)

    for i in range(recipe.in_size):
        values = [student.coefficients[i] for student in students]
        off = float(abs(np.mean(values) / step - 1))
        name = f"(sum x_{i + 1} y_1) x_{i + 1}"
        add(name, values, step, PUBLISHED.coefficients[i], verdict(off, 0.01, f"off by {off:.2%}, 1% asked"))
    residuals = [student.residual_norm for student in students]
    add(
        "residual norm",
        residuals,
        0.0,
        PUBLISHED.residual_norm,
        verdict(float(np.mean(residuals)), PUBLISHED.residual_norm),
    )
    losses = [student.training_loss for student in students]
    gap = float(abs(np.mean(losses) - best))
    add("training loss", losses, best, PUBLISHED.training_loss, verdict(gap, 2e-4, f"off by {gap:.1e}"), 4, "f")
    add("loss, fresh tasks", [s.loss for s in students], best, None, "", 5, "f")
    add("validation loss", [s.validation_loss for s in students], 2 * best, None, "", 5, "f")
    one_token = "not learned: has terms in the y of the question"
    add("residual norm, one token", [s.one_token_norm for s in students], 0.0, None, one_token)
    return shown


@dataclasses.dataclass
class Command:
    """A gated RNN learns to regress in context, and becomes one step of gradient descent (paper A).

    A run stopped before is continued. Examples: twofold reproduce table2 --quick | twofold reproduce table2 --seeds 8
    """

    quick: bool = False
    """Smaller students and fewer steps: a minute or two, rather than the paper's 300,000 steps."""
    seeds: int = 4
    """How many students to train together."""
    seed: int = 0
    """The seed of initial weights and batches."""
    out: Path | None = None
    """Folder for figures and models; runs/table2 or runs/table2-quick if not given."""

    def run(self, console: Console) -> None:
        recipe = QUICK if self.quick else PAPER
        out = self.out or Path("runs") / ("table2" + "-quick" * self.quick)
        students, seconds = reproduce(recipe, seeds=self.seeds, seed=self.seed, out=out)
        console.print(table(students, recipe))
        console.print(f"Trained in {seconds:,.0f} s. Figures and models are in {out}.")
