"""Students of linear self-attention: gated RNNs, trained by a recipe and kept in a folder."""

from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ...discover import finetune
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
        keys = jax.random.split(_keys(seed)[1], (seeds, way.starts))
        drawn = eqx.filter_vmap(eqx.filter_vmap(recipe.student))(keys)

    def student(i: int) -> Student:
        files = folder / f"seed-{i}"

        def trained_and_saved() -> list[list[float]]:
            teacher = jax.tree.map(lambda x: jnp.asarray(x[i], jnp.float64), teachers)
            starts = [jax.tree.map(lambda x, j=j: jnp.asarray(x[i, j], jnp.float64), drawn) for j in range(way.starts)]
            network, curve = first_to_succeed(way, recipe.time, starts, teacher, progress)
            save(files / "teacher", teacher)
            save(files / "network", network)
            return [x.tolist() for x in curve]

        settings = {"recipe": recipe.as_json(), "seed": seed, "student": i}
        curve = Curve(*map(np.array, kept(files / "curve.json", settings, trained_and_saved)))
        teacher, network = load(files / "teacher"), load(files / "network")
        return Student(cast(LinearSelfAttention, teacher), cast(GatedRNN, network), curve)

    return [student(i) for i in range(seeds)]


def first_to_succeed(
    way: LeastSquares, time: int, students: list[GatedRNN], teacher: LinearSelfAttention, progress: bool
) -> tuple[GatedRNN, Curve]:
    """Fine-tune one student after the other until a loss is at most `way.enough`.

    **Returns:** the student of the smallest loss, and a curve over all that were tried: the smallest loss so far.
    """
    tried, began, start = [], [], perf_counter()
    for student in students:
        began.append(perf_counter() - start)
        tried.append(finetune(student, teacher, steps=way.steps, time=time, progress=progress))
        if tried[-1].losses[-1] <= way.enough:
            break
    best = min(tried, key=lambda found: found.losses[-1])
    seconds = np.concatenate([begin + found.seconds for begin, found in zip(began, tried, strict=True)])
    return best.network, Curve(seconds, np.minimum.accumulate(np.concatenate([found.losses for found in tried])))
