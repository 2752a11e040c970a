"""One cell of figures 3, 4 and 5: models of one architecture and size, trained together on one task, and measured."""

import dataclasses
from bisect import bisect_left
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ...layers import GatedRNN, Layer, LinearSelfAttention
from ...models import BareModel
from ...saving import save
from ...tasks.matched import count_parameters
from ...tasks.students import in_context_regression, teacher_student
from ...tasks.students.in_context_regression import expected_loss
from ...tasks.students.teacher_student import imitation_loss, sample_tokens
from ...tasks.students.ways import AdamW
from ...train import fit
from ...train.sweep import Cell, addressed

D = 6
"""d, the size of the tokens in both tasks."""
BATCHES, BATCH = 8, 1024
"""The loss of a student of attention is measured on so many batches of so many new sequences."""

Task = Literal["teacher-student", "in-context"]
IMITATION: Task = "teacher-student"
REGRESSION: Task = "in-context"


def _bare(in_size: int, out_size: int, width: int, *, key: PRNGKeyArray, **options: Any) -> Layer:
    return BareModel(in_size, out_size, width=width, key=key, **options)


def _gated_rnn(in_size: int, out_size: int, n: int, gates: int | None = None, *, key: PRNGKeyArray, **options: Any):
    return GatedRNN(in_size, out_size, hidden_size=n, gate_size=n if gates is None else gates, key=key, **options)


def _attention(in_size: int, out_size: int, heads: int, *, key: PRNGKeyArray) -> Layer:
    return LinearSelfAttention(in_size, out_size, num_heads=heads, key_size=in_size, key=key)


ARCHITECTURES: dict[str, Callable[..., Layer]] = {
    "LSTM": partial(_bare, mixer="lstm"),
    "GRU": partial(_bare, mixer="gru"),
    "LRU": partial(_bare, mixer="lru", gating="out"),
    "LRU In-Out": partial(_bare, mixer="lru", gating="in-out"),
    "LRU In-Skip": partial(_bare, mixer="lru", gating="in-skip"),
    "gated RNN": partial(_gated_rnn, recurrence="diagonal"),
    "gated RNN, dense": partial(_gated_rnn, recurrence="dense"),
    "linear attention": _attention,
}
"""The constructors of the architectures. They take in_size, out_size, sizes and `key`. Paper A calls the gated RNN the
construction."""


@dataclasses.dataclass(frozen=True)
class Training:
    """What determines the result of a cell."""

    task: Task
    architecture: str
    """One of the names of `ARCHITECTURES`."""
    sizes: tuple[int, ...]
    """The width of the layers; hidden neurons and gate rows of a gated RNN; the number of heads of attention."""
    depth: int | None = None
    """The number of layers. It is None for gated RNNs and attention, which have one."""
    steps: int = 5_000
    batch: int = 64
    time: int = 12
    """The number of tokens of a teacher's sequence, or of examples before the question."""
    learning_rate: float = 5e-3
    b2: float = 0.99
    seeds: int = 2
    """How many models are trained together. Each has a teacher of its own, which all cells share."""

    @property
    def title(self) -> str:
        """The name of the cell in messages."""
        layers = f", {self.depth} layers" * (self.depth == 2)
        return f"{self.architecture}{layers}, {' x '.join(map(str, self.sizes))}, {self.task}"

    @property
    def way(self) -> AdamW:
        """How the models are trained."""
        return AdamW(
            steps=self.steps,
            batch=self.batch,
            learning_rate=self.learning_rate,
            final_learning_rate=self.learning_rate * 1e-5,
            b2=self.b2,
        )

    def model(self, key: PRNGKeyArray) -> Layer:
        """A random model."""
        options = {} if self.depth is None else {"depth": self.depth}
        out_size = D if self.task == IMITATION else D // 2
        return ARCHITECTURES[self.architecture](D, out_size, *self.sizes, key=key, **options)

    def parameters(self) -> int:
        """How many numbers a model has."""
        return count_parameters(eqx.filter_eval_shape(self.model, jax.random.key(0)))

    def as_cell(self, folder: Path) -> Cell:
        """The cell that trains the models. They are saved in a folder beside the cell's file."""
        settings = dataclasses.asdict(self)
        file = addressed(folder, settings)
        cost = self.steps * self.seeds * self.batch * (500 + self.parameters())
        return Cell(self.title, file, settings, partial(trained, self, file.with_suffix("").absolute()), cost)


@cache
def sized(training: Training, parameters: int) -> Training:
    """The training of an architecture with the one size whose model has the number of parameters that is nearest."""

    def of_size(size: int) -> Training:
        return dataclasses.replace(training, sizes=(size,))

    above = max(bisect_left(range(1000), parameters, lo=1, key=lambda size: of_size(size).parameters()), 2)
    return min(of_size(above - 1), of_size(above), key=lambda one: abs(one.parameters() - parameters))


def trained(training: Training, folder: Path) -> dict[str, Any]:
    """Train the models, save those whose training did not diverge as seed-0, seed-1, ..., and measure them.

    **Returns:** the number of parameters of a model, the seconds of training, and the losses of each seed by their names.
    The losses are None for a seed that diverged.
    """
    teacher_key, model_key, data_key = jax.random.split(jax.random.key(0), 3)
    models = eqx.filter_vmap(training.model)(jax.random.split(model_key, training.seeds))
    imitates = training.task == IMITATION
    teachers = (
        eqx.filter_vmap(_recipe(training).teacher)(jax.random.split(teacher_key, training.seeds)) if imitates else None
    )
    result: dict[str, Any] = {"parameters": training.parameters(), "losses": [None] * training.seeds}
    try:
        run = fit(
            _recipe(training).loss,
            models,
            teachers,
            optimiser=training.way.optimiser(),
            steps=training.steps,
            key=data_key,
            shared_data=not imitates,
            records=20,
            progress=False,
        )
    except FloatingPointError:  # that it is not stable here is a result, too
        return result
    for i in np.flatnonzero(~run.failed):
        model, teacher = jax.tree.map(lambda x, i=i: x[i], (run.models, teachers))
        save(folder / f"seed-{i}", model)
        losses = (
            imitation_losses(model, teacher, training.time) if imitates else regression_losses(model, training.time)
        )
        result["losses"][i] = {"training": float(run.losses[i, -1])} | losses
    return result | {"seconds": run.seconds}


def _recipe(training: Training) -> Any:
    """The recipe of the task, which has teachers and the training loss."""
    if training.task == IMITATION:
        return teacher_student.Recipe(size=D, time=training.time, way=training.way)
    return in_context_regression.Recipe(time=training.time, in_size=D // 2, out_size=D // 2, way=training.way)


def imitation_losses(model: Layer, teacher: Layer, time: int) -> dict[str, float]:
    """The loss on new sequences as long as those of training, and the loss of a model whose outputs are 0."""
    keys = jax.random.split(jax.random.key(2**31 - 1), BATCHES)  # training folds its keys in
    loss, zero = np.mean([_imitation_losses(model, teacher, time, key) for key in keys], axis=0)
    return {"loss": float(loss), "outputs of 0": float(zero)}


@eqx.filter_jit
def _imitation_losses(model, teacher, time, key):
    xs = sample_tokens(key, time, BATCH, D)
    zero = jnp.mean(jax.vmap(teacher, in_axes=1)(xs) ** 2) / 2
    return imitation_loss(model, teacher, xs), zero


def regression_losses(model: Layer, time: int) -> dict[str, float]:
    """The loss on new tasks, and the loss on new tasks whose W has the double variance, as the paper validates."""
    recipe = in_context_regression.Recipe(time=time, in_size=D // 2, out_size=D // 2)
    return {"loss": expected_loss(recipe, model, batches=8), "validation": expected_loss(recipe, model, 2.0, batches=8)}


def losses_of(training: Training, result: dict[str, Any] | None, name: str) -> np.ndarray:
    """A loss of each seed. It is NaN for seeds that diverged, and for all seeds if the cell failed."""
    seeds = [None] * training.seeds if result is None else result["losses"]
    return np.array([np.nan if losses is None else losses[name] for losses in seeds])


def median(values: np.ndarray) -> float:
    """The median over the models that were trained. It is infinite if there are none, because no loss was reached."""
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if len(finite) else np.inf


def described(cells: Sequence[Cell], results: Sequence[Any]) -> list[dict[str, Any]]:
    """The settings and the results of cells, as results files have them."""
    return [{"settings": cell.settings, "result": result} for cell, result in zip(cells, results, strict=True)]
