"""Table 1 of paper A: a gated RNN trained to imitate linear self-attention becomes it."""

import dataclasses
from pathlib import Path

import equinox as eqx
import jax

from ..layers import LinearSelfAttention
from ..tasks.teacher_student import Recipe
from ..train import Trained, fit, open_run

PAPER = Recipe()
QUICK = Recipe(
    size=2, hidden_size=16, gate_size=16, time=12, steps=60_000, learning_rate=5e-3, final_learning_rate=5e-8, b2=0.99
)


def train(
    recipe: Recipe, *, seeds: int, seed: int, out: Path | str, progress: bool = True
) -> tuple[LinearSelfAttention, Trained]:
    """The teachers, one a seed and stacked, and their trained students. A run stopped before is continued."""
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
