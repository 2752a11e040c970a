"""How near students came to their teachers, and what pruning leaves of them."""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from ...convert import to_gated_rnn
from ...discover import decompile, finetune, neuron_roles, polynomial_distance, prune, scores
from ...layers import GatedRNN, LinearSelfAttention
from ...layers.layer import Layer
from ...report.weight_pictures import draw_weights
from ...saving import save
from ...tasks.students.teacher_student import Recipe, imitation_loss, sample_tokens
from ...tasks.students.ways import AdamW, LeastSquares
from .students import Student, train

PRUNED_TO = {AdamW: 1e-3, LeastSquares: 1e-6}
"""The tolerance of `prune` for each way to train. Gradient descent leaves more than rounding in neurons that are not needed;
fine-tuning restores the loss."""
TOLERANCES = (1e-4, 1e-3, 1e-2)
"""More tolerances at which pruning is reported."""
TOKENS = 32
"""The length of the sequences on which losses and scores are measured."""


class Figures(NamedTuple):
    """The columns of Table 1, and what is left of the student after pruning. None stands for what the paper does not state."""

    loss: float
    kv_score: float
    q_score: float
    polynomial_distance: float
    decompiled: float | None = None
    """The residual that `decompile` reports."""
    teacher_error: float | None = None
    """|a - b| / |b| over outputs, for the attention a that `decompile` finds, and the teacher b."""
    memory: int | None = None
    """How many memory neurons (lambda = 1) survive pruning."""
    forget: int | None = None
    """How many query neurons (lambda = 0) survive pruning."""
    other: int | None = None
    """How many neurons of another lambda survive pruning."""
    gate_rows: int | None = None
    """How many gate rows survive pruning."""
    pruned_loss: float | None = None
    """The loss of the pruned student."""
    finetuned_loss: float | None = None
    """The loss of the pruned student once it is fine-tuned."""


class Cut(NamedTuple):
    """What `prune` leaves of a student at one tolerance, and what that costs."""

    tolerance: float
    memory: int
    forget: int
    other: int
    gate_rows: int
    loss: float


class Scored(NamedTuple):
    """A student, its pruned forms, and how near it came to its teacher."""

    student: Student
    pruned: GatedRNN
    finetuned: GatedRNN
    """The pruned network, fine-tuned."""
    figures: Figures
    cuts: list[Cut]
    """Pruning at the tolerance of the recipe and at `TOLERANCES`, in ascending order."""


def scored_students(
    recipe: Recipe, *, seeds: int = 1, seed: int = 0, out: Path | str, progress: bool = True
) -> list[Scored]:
    """Train `seeds` students, score, prune and fine-tune them, and write models and pictures to `out`.

    A run that was stopped is continued. **Raises:** what `students.train` raises.
    """
    with recipe.way.precision():
        students = train(recipe, seeds=seeds, seed=seed, out=out, progress=progress)
        scored = [_scored(student, PRUNED_TO[type(recipe.way)]) for student in students]
        for i, one in enumerate(scored):
            folder = Path(out) / f"seed-{i}"
            teacher, network, _ = one.student
            models = {"teacher": teacher, "network": network, "pruned": one.pruned, "finetuned": one.finetuned}
            for name, model in models.items():
                save(folder / name, model)
            shown = {"trained, pruned": one.finetuned, "constructed": to_gated_rnn(teacher, "compact")}
            draw_weights(shown).savefig(folder / "weights.png")
    return scored


def fresh_loss(network: Layer, teacher: Layer) -> float:
    """The loss on sequences that no training has seen, in the dtype that JAX has."""
    key = jax.random.key(2**31 - 1)  # training folds its keys in
    return float(jax.jit(imitation_loss)(network, teacher, sample_tokens(key, TOKENS, 4096, teacher.in_size)))


def _scored(student: Student, tolerance: float) -> Scored:
    teacher, network, _ = student
    silent = jax.tree.map(jnp.zeros_like, teacher)
    kv, q = scores(network, teacher)
    discovery = decompile(network)
    networks = {at: prune(network, at).network for at in sorted({*TOLERANCES, tolerance})}
    cuts = {at: _cut(at, pruned, teacher) for at, pruned in networks.items()}
    pruned, cut = networks[tolerance], cuts[tolerance]
    finetuned = finetune(pruned, teacher).network
    figures = Figures(
        loss=fresh_loss(network, teacher),
        kv_score=kv,
        q_score=q,
        polynomial_distance=polynomial_distance(network, teacher),
        decompiled=discovery.residual,
        teacher_error=(fresh_loss(discovery.attention, teacher) / fresh_loss(silent, teacher)) ** 0.5,
        memory=cut.memory,
        forget=cut.forget,
        other=cut.other,
        gate_rows=cut.gate_rows,
        pruned_loss=cut.loss,
        finetuned_loss=fresh_loss(finetuned, teacher),
    )
    return Scored(student, pruned, finetuned, figures, list(cuts.values()))


def _cut(tolerance: float, pruned: GatedRNN, teacher: LinearSelfAttention) -> Cut:
    memory, forget, other = (int(role.sum()) for role in neuron_roles(pruned))
    return Cut(tolerance, memory, forget, other, pruned.gate_size, fresh_loss(pruned, teacher))
