"""Table 1 of paper A: a gated RNN trained to imitate linear self-attention becomes it."""

from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
from rich.table import Table

from ..convert import to_gated_rnn
from ..discover import neuron_roles, polynomial_distance, prune, scores
from ..errors import InputError
from ..layers import GatedRNN, LinearSelfAttention
from ..saving import save
from ..tasks.teacher_student import Recipe, imitation_loss, sample_tokens
from ..train import Trained, fit, open_run
from .pictures import draw_weights
from .provenance import write_json

PAPER = Recipe()
QUICK = Recipe(
    size=2,
    hidden_size=16,
    gate_size=16,
    time=16,
    batch=32,
    steps=200_000,
    learning_rate=5e-3,
    final_learning_rate=5e-8,
    b2=0.99,
)


class Figures(NamedTuple):
    """The columns of Table 1, and what is left of the student after pruning."""

    loss: float
    kv_score: float
    q_score: float
    polynomial_distance: float
    memory: int | None = None
    """Memory neurons (lambda = 1) that survive pruning."""
    forget: int | None = None
    """Query neurons (lambda = 0) that survive."""
    other: int | None = None
    """Neurons of another lambda that survive."""
    gate_rows: int | None = None
    pruned_loss: float | None = None
    """The loss of the pruned student."""


PUBLISHED = Figures(4.97e-8, 4.52e-8, 2.06e-10, 3.74e-4, memory=10, forget=4, other=0, gate_rows=13)


class Student(NamedTuple):
    """A trained student, its teacher, and how near the one came to the other."""

    teacher: LinearSelfAttention
    network: GatedRNN
    pruned: GatedRNN
    figures: Figures


def reproduce(
    recipe: Recipe, *, seeds: int = 1, seed: int = 0, out: Path | str, tolerance: float = 1e-2, progress: bool = True
) -> tuple[list[Student], float]:
    """Train `seeds` students together, score and prune them, and write models, figures and pictures to `out`.

    `tolerance` is that of `prune`. A run stopped before is continued. **Returns:** the students and the seconds spent in
    training. **Raises:** `InputError` if `out` holds something else.
    """
    teachers, trained = train(recipe, seeds=seeds, seed=seed, out=out, progress=progress)
    students = [_scored(recipe, _pick(teachers, i), _pick(trained.models, i), tolerance) for i in range(seeds)]
    folder = Path(out)
    for i, student in enumerate(students):
        for name in ("teacher", "network", "pruned"):
            save(folder / f"seed-{i}" / name, getattr(student, name))
        construction = to_gated_rnn(student.teacher, "compact")
        draw_weights(
            {"trained, pruned": student.pruned, "constructed": construction}, folder / f"seed-{i}" / "weights.png"
        )
    write_json(
        folder / "table1.json",
        {
            "recipe": recipe._asdict(),
            "seed": seed,
            "prune_tolerance": tolerance,
            "seconds": trained.seconds,
            "students": [student.figures._asdict() for student in students],
            "published": PUBLISHED._asdict(),
            "losses": [[float(f"{x:.4g}") for x in losses] for losses in trained.losses],
        },
    )
    return students, trained.seconds


def train(
    recipe: Recipe, *, seeds: int, seed: int, out: Path | str, progress: bool = True
) -> tuple[LinearSelfAttention, Trained]:
    """The teachers, one a seed and stacked, and their trained students. A run stopped before is continued."""
    if seeds < 1:
        raise InputError(f"seeds is {seeds}; at least 1 student must be trained")
    config = {"experiment": "table1", "recipe": recipe._asdict(), "seeds": seeds, "seed": seed}
    folder = open_run(out, config)
    teacher_key, student_key, data_key = jax.random.split(jax.random.key(seed), 3)
    teachers = eqx.filter_vmap(recipe.teacher)(jax.random.split(teacher_key, seeds))
    students = eqx.filter_vmap(recipe.student)(jax.random.split(student_key, seeds))
    trained = fit(
        recipe.loss,
        students,
        teachers,
        optimiser=recipe.optimiser(),
        steps=recipe.steps,
        key=data_key,
        checkpoint=folder / "checkpoint",
        title=f"student, d = {recipe.size}",
        progress=progress,
    )
    return teachers, trained


def table(students: list[Student], recipe: Recipe) -> Table:
    """The figures beside the published ones."""
    shown = Table(title=f"Table 1 (paper A): d = {recipe.size}, {recipe.hidden_size} hidden, {recipe.steps:,} steps")
    for column in ("", "loss", "KV score", "Q score", "poly. dist.", "kept: memory + query + other"):
        shown.add_column(column, justify="left" if column == "" else "right")
    shown.add_column("gate rows", justify="right")
    rows = {f"student {i}": student.figures for i, student in enumerate(students)}
    for name, f in (rows | {"published, d = 4": PUBLISHED}).items():
        values = (f"{x:.2e}" for x in f[:4])
        shown.add_row(name, *values, f"{f.memory} + {f.forget} + {f.other}", str(f.gate_rows))
    return shown


def _scored(recipe: Recipe, teacher: LinearSelfAttention, network: GatedRNN, tolerance: float) -> Student:
    pruned = prune(network, tolerance)
    roles = neuron_roles(pruned)
    xs = sample_tokens(jax.random.key(2**31 - 1), recipe.time, 4096, recipe.size)  # fresh: training keys are folded in
    loss = jax.jit(imitation_loss)
    kv, q = scores(network, teacher)
    figures = Figures(
        loss=float(loss(network, teacher, xs)),
        kv_score=kv,
        q_score=q,
        polynomial_distance=polynomial_distance(network, teacher),
        memory=int(roles.memory.sum()),
        forget=int(roles.forget.sum()),
        other=int(roles.other.sum()),
        gate_rows=pruned.gate_size,
        pruned_loss=float(loss(pruned, teacher, xs)),
    )
    return Student(teacher, network, pruned, figures)


def _pick(stacked, index: int):
    return jax.tree.map(lambda x: x[index], stacked)
