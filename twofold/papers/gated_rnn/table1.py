"""Table 1 of paper A: a gated RNN trained to imitate linear self-attention becomes it."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, NamedTuple, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.table import Table

from ...convert import to_gated_rnn
from ...discover import decompile, finetune, neuron_roles, polynomial_distance, prune, scores
from ...errors import InputError
from ...layers import GatedRNN, LinearSelfAttention
from ...report.pictures import draw_weights
from ...report.provenance import write_json
from ...report.verdict import verdict
from ...saving import load, save
from ...tasks.students.teacher_student import Recipe, imitation_loss, sample_tokens
from ...tasks.students.ways import AdamW, LeastSquares
from ...train import fit, kept, open_run

RECIPES = {
    "paper": Recipe(),
    "fast": Recipe(hidden_size=20, gate_size=30, time=8, way=LeastSquares()),
}
QUICK = {
    "paper": Recipe(
        size=2,
        hidden_size=16,
        gate_size=16,
        time=16,
        way=AdamW(batch=32, steps=200_000, learning_rate=5e-3, final_learning_rate=5e-8, b2=0.99),
    ),
    "fast": Recipe(size=2, hidden_size=10, gate_size=12, time=8, way=LeastSquares()),
}
PRUNED_TO = {AdamW: 0.03, LeastSquares: 1e-6}
"""Tolerance of `prune`. Gradient descent leaves more than rounding in what is not needed; fine-tuning restores the loss."""
TOLERANCES = (1e-4, 1e-3, 1e-2)
"""At which pruning is reported, too."""
TOKENS = 32
"""Length of the sequences that losses and scores are measured on."""


class Figures(NamedTuple):
    """The columns of Table 1, and what is left of the student after pruning."""

    loss: float
    kv_score: float
    q_score: float
    polynomial_distance: float
    decompiled: float | None = None
    """The residual of `decompile`."""
    teacher_error: float | None = None
    """|a - b| / |b| over outputs, for the attention a that `decompile` finds, and the teacher b."""
    memory: int | None = None
    """Memory neurons (lambda = 1) that survive pruning."""
    forget: int | None = None
    """Query neurons (lambda = 0) that survive."""
    other: int | None = None
    """Neurons of another lambda that survive."""
    gate_rows: int | None = None
    pruned_loss: float | None = None
    """The loss of the pruned student."""
    finetuned_loss: float | None = None
    """And once it is fine-tuned."""


PUBLISHED = Figures(4.97e-8, 4.52e-8, 2.06e-10, 3.74e-4, memory=10, forget=4, other=0, gate_rows=13)


class Cut(NamedTuple):
    """What `prune` leaves at one tolerance, and what that costs."""

    tolerance: float
    memory: int
    """Neurons of lambda = 1."""
    forget: int
    """Of lambda = 0."""
    other: int
    gate_rows: int
    loss: float


class Curve(NamedTuple):
    """How the loss of one student fell."""

    seconds: Float[np.ndarray, " records"]
    losses: Float[np.ndarray, " records"]


class Student(NamedTuple):
    """A trained student, its teacher, and how near the one came to the other."""

    teacher: LinearSelfAttention
    network: GatedRNN
    pruned: GatedRNN
    finetuned: GatedRNN
    figures: Figures
    curve: Curve
    cuts: list[Cut]
    """At other tolerances, too."""


def default_folder(recipe: str, quick: bool) -> Path:
    """Where a run goes if nothing else is said."""
    return Path("runs") / ("table1" + "-fast" * (recipe == "fast") + "-quick" * quick)


def reproduce(
    recipe: Recipe,
    *,
    seeds: int = 1,
    seed: int = 0,
    out: Path | str,
    tolerance: float | None = None,
    progress: bool = True,
) -> tuple[list[Student], float]:
    """Train students as `scored_students` does, and write their figures to table1.json in `out`.

    **Returns:** the students and the seconds spent in training. **Raises:** `InputError` if `out` holds something else.
    """
    tolerance = PRUNED_TO[type(recipe.way)] if tolerance is None else tolerance
    students, seconds = scored_students(recipe, seeds=seeds, seed=seed, out=out, tolerance=tolerance, progress=progress)
    write_json(
        Path(out) / "table1.json",
        {
            "recipe": recipe.as_json(),
            "seed": seed,
            "prune_tolerance": tolerance,
            "seconds": seconds,
            "students": [student.figures._asdict() for student in students],
            "pruning": [[cut._asdict() for cut in student.cuts] for student in students],
            "published": PUBLISHED._asdict(),
            "curves": [
                {name: [float(f"{x:.4g}") for x in values] for name, values in student.curve._asdict().items()}
                for student in students
            ],
        },
    )
    return students, seconds


def scored_students(
    recipe: Recipe,
    *,
    seeds: int = 1,
    seed: int = 0,
    out: Path | str,
    tolerance: float | None = None,
    progress: bool = True,
) -> tuple[list[Student], float]:
    """Train `seeds` students, score, prune and fine-tune them, and write models and pictures to `out`.

    `tolerance` is how far pruning may move the outputs; it comes from `PRUNED_TO` if not given. A run stopped before is
    continued.

    **Returns:** the students and the seconds spent in training. **Raises:** `InputError` if `out` holds something else.
    """
    tolerance = PRUNED_TO[type(recipe.way)] if tolerance is None else tolerance
    folder = Path(out)
    with recipe.way.precision():
        trained = train(recipe, seeds=seeds, seed=seed, out=out, progress=progress)
        students = [_scored(*student, tolerance) for student in trained]
        for i, student in enumerate(students):
            for name in ("teacher", "network", "pruned", "finetuned"):
                save(folder / f"seed-{i}" / name, getattr(student, name))
            shown = {"trained, pruned": student.finetuned, "constructed": to_gated_rnn(student.teacher, "compact")}
            draw_weights(shown, folder / f"seed-{i}" / "weights.png")
    seconds = float(sum(student.curve.seconds[-1] for student in students))
    return students, seconds


Trained = list[tuple[LinearSelfAttention, GatedRNN, Curve]]


def train(recipe: Recipe, *, seeds: int, seed: int, out: Path | str, progress: bool = True) -> Trained:
    """Teachers, their trained students, and how the losses fell. A run stopped before is continued."""
    if seeds < 1:
        raise InputError(f"seeds is {seeds}; at least 1 student must be trained")
    config = {"experiment": "table1", "recipe": recipe.as_json(), "seeds": seeds, "seed": seed}
    with open_run(out, config) as folder:
        if isinstance(recipe.way, LeastSquares):
            return _by_least_squares(recipe, recipe.way, seeds, seed, folder, progress)
        return _by_gradient(recipe, recipe.way, seeds, seed, folder, progress)


def _teachers(recipe: Recipe, seeds: int, seed: int) -> LinearSelfAttention:
    """Stacked. Students of all ways have the same teachers."""
    return eqx.filter_vmap(recipe.teacher)(jax.random.split(jax.random.split(jax.random.key(seed), 3)[0], seeds))


def _by_gradient(recipe: Recipe, way: AdamW, seeds: int, seed: int, folder: Path, progress: bool) -> Trained:
    """All students together."""
    student_key, data_key = jax.random.split(jax.random.key(seed), 3)[1:]
    teachers = _teachers(recipe, seeds, seed)
    students = eqx.filter_vmap(recipe.student)(jax.random.split(student_key, seeds))
    trained = fit(
        recipe.loss,
        students,
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
    return [
        (*(jax.tree.map(lambda x, i=i: x[i], tree) for tree in (teachers, trained.models)), Curve(seconds, losses))
        for i, losses in enumerate(trained.losses)
    ]


def _by_least_squares(
    recipe: Recipe, way: LeastSquares, seeds: int, seed: int, folder: Path, progress: bool
) -> Trained:
    """One after the other, each kept as soon as it is trained."""
    with jax.enable_x64(False):  # Drawn in float32, like those of the other recipe.
        teachers = _teachers(recipe, seeds, seed)
        student_key = jax.random.split(jax.random.key(seed), 3)[1]
        keys = jax.random.split(student_key, (seeds, way.starts))
        started = eqx.filter_vmap(eqx.filter_vmap(recipe.student))(keys)
    trained = []
    for i in range(seeds):
        files = folder / f"seed-{i}"

        def trained_and_saved(i=i, files=files):
            teacher = jax.tree.map(lambda x, i=i: jnp.asarray(x[i], jnp.float64), teachers)
            students = [
                jax.tree.map(lambda x, at=(i, j): jnp.asarray(x[at], jnp.float64), started) for j in range(way.starts)
            ]
            network, curve = first_to_succeed(way, recipe.time, students, teacher, progress)
            save(files / "teacher", teacher)
            save(files / "network", network)
            return [x.tolist() for x in curve]

        settings = {"recipe": recipe.as_json(), "seed": seed, "student": i}
        curve = Curve(*map(np.array, kept(files / "curve.json", settings, trained_and_saved)))
        trained.append(
            (cast(LinearSelfAttention, load(files / "teacher")), cast(GatedRNN, load(files / "network")), curve)
        )
    return trained


def first_to_succeed(
    way: LeastSquares, time: int, students: list[GatedRNN], teacher: LinearSelfAttention, progress: bool
) -> tuple[GatedRNN, Curve]:
    """The first student whose loss falls below `way.enough`, or the best one; time and losses are those of all tried."""
    tried, began, start = [], [], perf_counter()
    for student in students:
        began.append(perf_counter() - start)
        tried.append(finetune(student, teacher, steps=way.steps, time=time, progress=progress))
        if tried[-1].losses[-1] <= way.enough:
            break
    best = min(tried, key=lambda found: found.losses[-1])
    seconds = np.concatenate([begin + found.seconds for begin, found in zip(began, tried, strict=True)])
    return best.network, Curve(seconds, np.minimum.accumulate(np.concatenate([found.losses for found in tried])))


def table(students: list[Student], recipe: Recipe) -> Table:
    """The figures beside the published ones, with verdicts where these are of the same size."""
    title = f"Table 1 (paper A): d = {recipe.size}, {recipe.hidden_size} neurons, {recipe.way.steps:,} steps at most"
    shown = Table(title=title)
    shown.add_column("")
    for i in range(len(students)):
        shown.add_column(f"student {i}", justify="right")
    shown.add_column("published, d = 4", justify="right")
    shown.add_column("verdict")
    for name, field, published in ROWS:
        values = [field(student.figures) for student in students]
        limit = field(PUBLISHED) if published else None
        judged = _judged(values, limit) if recipe.size == 4 and limit is not None else ""
        shown.add_row(name, *map(_told, values), _told(limit) if limit is not None else "", judged)
    seconds = [f"{student.curve.seconds[-1]:,.0f} s" for student in students]
    shown.add_row("training", *seconds, "", "")
    return shown


def pruning_table(student: Student) -> Table:
    """What pruning leaves of a student, and what that costs, at every tolerance."""
    shown = Table(title=f"Pruning: from a loss of {student.figures.loss:.1e}")
    for column in ("tolerance", "memory + query + other", "gate rows", "loss"):
        shown.add_column(column, justify="right")
    for cut in student.cuts:
        kept = f"{cut.memory} + {cut.forget} + {cut.other}"
        shown.add_row(f"{cut.tolerance:.0e}", kept, str(cut.gate_rows), f"{cut.loss:.1e}")
    return shown


def _neurons(figures: Figures) -> str:
    return f"{figures.memory} + {figures.forget} + {figures.other}"


ROWS: list[tuple[str, Callable[[Figures], Any], bool]] = [
    ("loss", lambda f: f.loss, True),
    ("KV score", lambda f: f.kv_score, True),
    ("Q score", lambda f: f.q_score, True),
    ("polynomial distance", lambda f: f.polynomial_distance, True),
    ("residual of decompile", lambda f: f.decompiled, False),
    ("the teacher from decompile, error", lambda f: f.teacher_error, False),
    ("pruned to neurons: memory + query + other", _neurons, True),
    ("  gate rows", lambda f: f.gate_rows, True),
    ("  loss", lambda f: f.pruned_loss, False),
    ("  loss, fine-tuned", lambda f: f.finetuned_loss, False),
]
"""Name, value, and whether the paper states it."""


def _told(value: float | int | str) -> str:
    return f"{value:.2e}" if isinstance(value, float) else str(value)


def _judged(values: list, limit: float | int | str) -> str:
    if isinstance(limit, str):
        reached = sum(value == limit for value in values)
        return f"[green]reached[/green] by {reached} of {len(values)}" if reached else "[red]missed[/red]"
    return verdict(float(np.median(values)), limit)


def _scored(teacher: LinearSelfAttention, network: GatedRNN, curve: Curve, tolerance: float) -> Student:
    xs = sample_tokens(jax.random.key(2**31 - 1), TOKENS, 4096, teacher.in_size)  # fresh: training keys are folded in
    loss = jax.jit(imitation_loss)
    kv, q = scores(network, teacher)
    discovery = decompile(network)
    error = loss(discovery.attention, teacher, xs) / loss(_silent(teacher), teacher, xs)
    networks = {at: prune(network, at).network for at in sorted({*TOLERANCES, tolerance})}
    cuts = [_cut(at, cut, float(loss(cut, teacher, xs))) for at, cut in networks.items()]
    pruned = networks[tolerance]
    finetuned = finetune(pruned, teacher).network
    kept = cuts[sorted(networks).index(tolerance)]
    figures = Figures(
        loss=float(loss(network, teacher, xs)),
        kv_score=kv,
        q_score=q,
        polynomial_distance=polynomial_distance(network, teacher),
        decompiled=discovery.residual,
        teacher_error=float(error) ** 0.5,
        memory=kept.memory,
        forget=kept.forget,
        other=kept.other,
        gate_rows=kept.gate_rows,
        pruned_loss=kept.loss,
        finetuned_loss=float(loss(finetuned, teacher, xs)),
    )
    return Student(teacher, network, pruned, finetuned, figures, curve, cuts)


def _cut(tolerance: float, network: GatedRNN, loss: float) -> Cut:
    memory, forget, other = (int(role.sum()) for role in neuron_roles(network))
    return Cut(tolerance, memory, forget, other, network.gate_size, loss)


def _silent(teacher: LinearSelfAttention) -> LinearSelfAttention:
    return jax.tree.map(jnp.zeros_like, teacher)


@dataclasses.dataclass
class Command:
    """A gated RNN learns to imitate linear self-attention (paper A). A run stopped before is continued.

    Examples: twofold reproduce table1 --recipe fast | twofold reproduce table1 --quick |
    twofold reproduce table1 --seeds 4 --out runs/four
    """

    recipe: Literal["paper", "fast"] = "paper"
    """paper takes a million steps of gradient descent. fast takes a minute of second-order steps, to the loss of rounding."""
    quick: bool = False
    """A small teacher (d = 2), in about a minute with the paper's recipe."""
    seeds: int = 1
    """How many students to train together, each with a teacher of its own."""
    seed: int = 0
    """The seed of teachers, initial weights and batches."""
    out: Path | None = None
    """Folder for figures, models and pictures. It is runs/table1, with -fast and -quick as they apply, if not given."""

    def run(self, console: Console) -> None:
        recipe = (QUICK if self.quick else RECIPES)[self.recipe]
        out = self.out or default_folder(self.recipe, self.quick)
        students, seconds = reproduce(recipe, seeds=self.seeds, seed=self.seed, out=out)
        console.print(table(students, recipe))
        for student in students:
            console.print(pruning_table(student))
        console.print(f"Trained in {seconds:,.0f} s. Figures, models and pictures are in {out}.")
