"""How fast a student finds its teacher: optimisers, sizes and curricula at equal wall time (docs/results/students.md)."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console
from rich.progress import track
from rich.table import Table

from ...discover import decompile, finetune
from ...errors import InputError
from ...layers import GatedRNN, LinearSelfAttention
from ...report.line_pictures import draw_lines
from ...report.provenance import write_json
from ...report.tables import console_table
from ...tasks.students.teacher_student import Recipe, imitation_loss, sample_tokens
from ...tasks.students.ways import AdamW, LeastSquares
from ...train import Trained, fit
from .student_scores import TOKENS, fresh_loss
from .students import Curve

PROBE = 1000
"""The number of steps over which the speed is measured."""
FASTER = AdamW(steps=1, learning_rate=5e-3, final_learning_rate=5e-8, b2=0.99)
"""The number of steps is replaced by what the time suffices for."""
SMALL = Recipe(hidden_size=40, gate_size=40, time=12, way=FASTER)


class Contestant(NamedTuple):
    """What became of one way of training."""

    curve: Curve
    steps: int
    loss: float
    """The loss on fresh sequences of `TOKENS` tokens."""
    residual: float
    """The residual that `decompile` reports."""


Way = Callable[[LinearSelfAttention, float, int], tuple[GatedRNN, Curve, int]]
"""From a teacher, seconds and a seed to a student, how its loss fell, and the number of steps taken."""
Optimiser = Callable[[AdamW], optax.GradientTransformation]


def compare(*, seconds: float = 60.0, seed: int = 0, out: Path | str, progress: bool = True) -> dict[str, Contestant]:
    """Train a student in each of the `WAYS` for about so many seconds; write training.json and training.png to `out`.

    **Raises:** `InputError` if `seconds` is not positive.
    """
    if not seconds > 0:
        raise InputError(f"seconds is {seconds}; it must be positive")
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    teacher = LinearSelfAttention(4, 4, key=jax.random.key(seed))
    results = {}
    for name, way in track(WAYS.items(), "training", disable=not progress):
        results[name] = _measured(*way(teacher, seconds, seed), teacher)
    curves = {name: (r.curve.seconds, r.curve.losses) for name, r in results.items()}
    draw_lines(curves, xlabel="seconds", ylabel="training loss").savefig(folder / "training.png")
    ways = {
        name: {"steps": r.steps, "loss": r.loss, "residual": r.residual} | r.curve.as_json()
        for name, r in results.items()
    }
    write_json(folder / "training.json", {"seconds": seconds, "seed": seed, "ways": ways})
    return results


def table(results: dict[str, Contestant]) -> Table:
    """The losses, the best last."""
    return console_table(
        ("", "steps", "seconds", f"loss, {TOKENS} tokens", "residual of decompile"),
        [
            (name, f"{r.steps:,}", f"{r.curve.seconds[-1]:.0f}", f"{r.loss:.1e}", f"{r.residual:.1e}")
            for name, r in sorted(results.items(), key=lambda item: -item[1].loss)
        ],
        title="A student of attention, d = 4",
    )


def _measured(student: GatedRNN, curve: Curve, steps: int, teacher: LinearSelfAttention) -> Contestant:
    with jax.enable_x64(student.readout.dtype == jnp.float64):
        teacher = jax.tree.map(lambda x: jnp.asarray(x, student.readout.dtype), teacher)
        return Contestant(curve, steps, fresh_loss(student, teacher), decompile(student).residual)


def _descent(recipe: Recipe, lengths: Sequence[int] = (), optimiser: Optimiser = AdamW.optimiser) -> Way:
    """Gradient descent, if `lengths` are given on sequences of one length after the other.

    Each length has an equal share of the time, and a schedule that is fitted into its share.
    """

    def way(teacher, seconds, seed):
        students, teachers = jax.tree.map(lambda x: x[None], (recipe.student(jax.random.key(seed + 1)), teacher))
        share = seconds / max(len(lengths), 1)
        times, losses, start, taken = [], [], 0.0, 0
        for length in lengths or [recipe.time]:
            trained, steps = _descended(recipe._replace(time=length), students, teachers, share, seed, optimiser)
            students = trained.models
            records = trained.losses.shape[1]
            times.append(start + trained.seconds * np.arange(1, records + 1) / records)
            losses.append(trained.losses[0])
            start, taken = times[-1][-1], taken + steps
        return jax.tree.map(lambda x: x[0], students), Curve(np.concatenate(times), np.concatenate(losses)), taken

    return way


def _descended(
    recipe: Recipe, students: GatedRNN, teachers: LinearSelfAttention, seconds: float, seed: int, optimiser: Optimiser
) -> tuple[Trained, int]:
    """The students after so many seconds of training, and the steps that they took. The speed is measured before."""
    assert isinstance(recipe.way, AdamW)
    settings = recipe.way

    def trained(steps, records):
        return fit(
            recipe.loss,
            students,
            teachers,
            optimiser=optimiser(settings._replace(steps=steps)),
            steps=steps,
            key=jax.random.key(seed + 2),
            records=records,
            progress=False,
        )

    slow, fast = trained(PROBE, 1), trained(3 * PROBE, 1)
    speed = 2 * PROBE / max(fast.seconds - slow.seconds, 1e-3)  # the rest of the time is compilation
    steps = max(int(speed * seconds), 1)
    return trained(steps, 200), steps


def _muon(way: AdamW) -> optax.GradientTransformation:
    decay = way.final_learning_rate / way.learning_rate
    return optax.contrib.muon(optax.cosine_decay_schedule(way.learning_rate, way.steps, alpha=decay))


def _lbfgs(recipe: Recipe, batch: int = 256) -> Way:
    """Optax's L-BFGS on one fixed batch, in float64."""

    def way(teacher, seconds, seed):
        with jax.enable_x64(True):
            student = recipe.student(jax.random.key(seed + 1))
            student, teacher = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), (student, teacher))
            xs = sample_tokens(jax.random.key(seed + 2), recipe.time, batch, recipe.size)
            optimiser = optax.lbfgs(memory_size=50)

            def loss(student):
                return imitation_loss(student, teacher, xs)

            @jax.jit
            def ten_steps(carry, _):
                def step(carry, _):
                    student, state = carry
                    value, slope = optax.value_and_grad_from_state(loss)(student, state=state)
                    update, state = optimiser.update(slope, state, student, value=value, grad=slope, value_fn=loss)
                    return (optax.apply_updates(student, update), state), value

                carry, values = jax.lax.scan(step, carry, length=10)
                return carry, values[-1]

            carry, start = (student, optimiser.init(student)), time.perf_counter()
            times: list[float] = []
            losses: list[float] = []
            while not times or times[-1] < seconds:
                carry, value = ten_steps(carry, None)
                losses.append(float(value))
                times.append(time.perf_counter() - start)
            return carry[0], Curve(np.array(times), np.array(losses)), 10 * len(times)

    return way


def _least_squares(recipe: Recipe) -> Way:
    """`finetune` from random weights. It ends by itself, whatever the time is."""
    settings = recipe.way
    assert isinstance(settings, LeastSquares)

    def way(teacher, seconds, seed):
        student = recipe.student(jax.random.key(seed + 1))
        with jax.enable_x64(True):
            student, teacher = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), (student, teacher))
            found = finetune(
                student, teacher, steps=settings.steps, starts=settings.starts, time=recipe.time, seed=seed
            )
            return (
                found.network,
                Curve(found.seconds, found.losses),
                sum(len(losses) - 1 for losses in found.all_losses),
            )

    return way


WAYS: dict[str, Way] = {
    "AdamW, 100 + 100, 32 tokens": _descent(Recipe()),
    "AdamW, 100 + 100, 32 tokens, b2 = 0.99": _descent(Recipe(way=AdamW(steps=1, b2=0.99))),
    "AdamW, 40 + 40, 12 tokens": _descent(SMALL._replace(way=FASTER._replace(b2=0.999))),
    "AdamW, 40 + 40, 12 tokens, b2 = 0.99": _descent(SMALL),
    "AdamW, 40 + 40, 4, 8, 16 tokens in turn, b2 = 0.99": _descent(SMALL, (4, 8, 16)),
    "Muon, 40 + 40, 12 tokens": _descent(SMALL, optimiser=_muon),
    "L-BFGS, 40 + 40, 12 tokens": _lbfgs(SMALL),
    "Levenberg-Marquardt, 20 + 20, 8 tokens": _least_squares(
        Recipe(hidden_size=20, gate_size=20, time=8, way=LeastSquares(steps=200, starts=1))
    ),
    "Levenberg-Marquardt, 20 + 30, 8 tokens": _least_squares(
        Recipe(hidden_size=20, gate_size=30, time=8, way=LeastSquares())
    ),
}
"""The ways to train by their names. Sizes are hidden neurons + gate rows, then comes the length of the sequences."""


@dataclasses.dataclass
class Command:
    """Compare ways to train a student of attention, at equal wall time: the table and curves of docs/results/students.md.

    Example: twofold reproduce optimisers --seconds 60
    """

    seconds: float = 60.0
    """Each way may train for this many seconds. To measure its speed first takes some more."""
    seed: int = 0
    """The seed of teacher, initial weights and batches."""
    out: Path = Path("runs/training")
    """The folder for figures and the picture."""

    def run(self, console: Console) -> None:
        results = compare(seconds=self.seconds, seed=self.seed, out=self.out)
        console.print(table(results))
        console.print(f"Figures and the picture are in {self.out}.")
