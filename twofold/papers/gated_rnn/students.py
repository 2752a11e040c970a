"""Students of linear self-attention: gated RNNs, trained by a recipe and kept in a folder."""

from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ...discover import finetune, shrink
from ...errors import InputError
from ...layers import GatedRNN, LinearSelfAttention
from ...report.provenance import four_digits
from ...saving import load, save
from ...tasks.students.teacher_student import Recipe
from ...tasks.students.ways import AdamW, LeastSquares
from ...train import fit, kept, open_run


class Curve(NamedTuple):
    """How the training loss of a student fell."""

    seconds: Float[np.ndarray, " records"]
    losses: Float[np.ndarray, " records"]

    def as_json(self) -> dict[str, list[float]]:
        """Seconds and losses, rounded."""
        return {name: four_digits(values) for name, values in self._asdict().items()}


class Student(NamedTuple):
    """A trained student with its teacher."""

    teacher: LinearSelfAttention
    network: GatedRNN
    curve: Curve


def train(recipe: Recipe, *, seeds: int, seed: int, out: Path | str, progress: bool = True) -> list[Student]:
    """Train `seeds` students, each of a teacher of its own, in the folder `out`. A run that was stopped is continued.

    **Raises:** `InputError` if `seeds` is below 1, or `out` holds something else; `FloatingPointError` if training
    diverges.
    """
    if seeds < 1:
        raise InputError(f"seeds is {seeds}; at least 1 student must be trained")
    config = {"experiment": "table1", "recipe": recipe.as_json(), "seeds": seeds, "seed": seed}
    with open_run(out, config) as folder:
        if isinstance(recipe.way, LeastSquares):
            return _by_least_squares(recipe, recipe.way, seeds, seed, folder, progress)
        return _by_gradient(recipe, recipe.way, seeds, seed, folder, progress)


def _keys(seed: int) -> Any:
    """The keys of teachers, students and batches. All ways to train have the same ones, so that students can be compared."""
    return jax.random.split(jax.random.key(seed), 3)


def _teachers(recipe: Recipe, seeds: int, seed: int) -> LinearSelfAttention:
    """The teachers, stacked."""
    return eqx.filter_vmap(recipe.teacher)(jax.random.split(_keys(seed)[0], seeds))


def _by_gradient(recipe: Recipe, way: AdamW, seeds: int, seed: int, folder: Path, progress: bool) -> list[Student]:
    """All students are trained together."""
    _, student_key, data_key = _keys(seed)
    teachers = _teachers(recipe, seeds, seed)
    trained = fit(
        recipe.loss,
        eqx.filter_vmap(recipe.student)(jax.random.split(student_key, seeds)),
        teachers,
        optimiser=way.optimiser(),
        steps=way.steps,
        key=data_key,
        checkpoint=folder / "checkpoint",
        title=f"student, d = {recipe.size}",
        progress=progress,
    ).checked()
    records = trained.losses.shape[1]
    seconds = trained.seconds / seeds * np.arange(1, records + 1) / records
    students = []
    for i, losses in enumerate(trained.losses):
        teacher, network = jax.tree.map(lambda x, i=i: x[i], (teachers, trained.models))
        students.append(Student(teacher, network, Curve(seconds, losses)))
    return students


def _by_least_squares(
    recipe: Recipe, way: LeastSquares, seeds: int, seed: int, folder: Path, progress: bool
) -> list[Student]:
    """One student is trained after the other. Each is kept as soon as it is trained."""
    with jax.enable_x64(False):  # drawn in float32, as for gradient descent
        teachers = _teachers(recipe, seeds, seed)
        drawn = eqx.filter_vmap(recipe.student)(jax.random.split(_keys(seed)[1], seeds))

    def student(i: int) -> Student:
        files = folder / f"seed-{i}"

        def trained_and_saved() -> list[list[float]]:
            start = perf_counter()
            first, teacher = jax.tree.map(lambda x: jnp.asarray(x[i], jnp.float64), (drawn, teachers))
            found = finetune(
                first,
                teacher,
                steps=way.steps,
                starts=way.starts,
                time=recipe.time,
                seed=i,
                enough=way.enough,
                progress=progress,
            )
            smaller = shrink(found.network, teacher, gate_size=recipe.size * (recipe.size + 1) // 2)
            network = smaller.network if smaller.exact else found.network
            curve = [*found.seconds, perf_counter() - start], [*found.losses, smaller.losses[-1]]
            save(files / "teacher", teacher)
            save(files / "network", network)
            return [list(map(float, x)) for x in curve]

        settings = {"recipe": recipe.as_json(), "seed": seed, "student": i}
        curve = Curve(*map(np.array, kept(files / "curve.json", settings, trained_and_saved)))
        teacher, network = load(files / "teacher"), load(files / "network")
        return Student(cast(LinearSelfAttention, teacher), cast(GatedRNN, network), curve)

    return [student(i) for i in range(seeds)]
