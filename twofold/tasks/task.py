"""What a task is: data, a model that reads them, a loss, and how well it is solved."""

import abc
import dataclasses
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Scalar

from ..errors import InputError
from ..layers import Layer
from ..layers.mixers import mixer_named

Data = TypeVar("Data")

Metrics = dict[str, dict[str, float]]
"""Metrics by name, by what is measured: "test" is the model on the test part, other rows are to be compared with it."""


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC, Generic[Data]):
    """The settings of a run: those that all tasks have, and in the subclasses each task's own."""

    mixer: str = "aaren"
    """aaren, softmax-attention (the Transformer), linear-attention, gated-rnn, lru, lstm or gru."""
    width: int = 64
    """Size of the blocks."""
    depth: int = 2
    """Number of the blocks."""
    heads: int = 4
    """Attention heads."""
    steps: int = 1000
    """Training steps, at most."""
    batch: int = 16
    """Sequences a step."""
    learning_rate: float = 1e-3
    """Largest learning rate; warms up for a tenth of the steps, then falls to zero with the cosine."""
    weight_decay: float = 0.1
    """AdamW's weight decay."""
    patience: int = 10
    """Training ends when the validation loss has not fallen for this many of its measurements."""
    measurements: int = 40
    """How often the validation loss is measured, in equal distances; the model is kept as it was where that was smallest."""
    seed: int = 0
    """Of the initial weights and the batches."""

    name: ClassVar[str]
    """Of the task, as in commands."""
    headline: ClassVar[dict[str, bool]]
    """The metrics that models are compared by, and whether more is better."""
    positive: ClassVar[tuple[str, ...]] = ("width", "depth", "heads", "steps", "batch", "patience", "measurements")
    """Settings that must be at least 1."""
    not_negative: ClassVar[tuple[str, ...]] = ("learning_rate", "weight_decay")
    """Settings that must be finite and not below 0."""

    def check(self) -> None:
        """**Raises:** `InputError` for a setting that can't be used."""
        mixer_named(self.mixer)
        for name in self.positive:
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in self.not_negative:
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} is {getattr(self, name)}; it must be a finite number, not negative")

    def as_json(self) -> dict[str, Any]:
        """The name of the task and its settings, as run.json has them."""
        fields = dataclasses.asdict(self).items()
        return {"task": self.name} | {name: str(value) if isinstance(value, Path) else value for name, value in fields}

    def optimiser(self) -> optax.GradientTransformation:
        schedule = optax.warmup_cosine_decay_schedule(0.0, self.learning_rate, self.steps // 10, self.steps)
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=self.weight_decay))

    @property
    @abc.abstractmethod
    def data_name(self) -> str:
        """A short name of the data, for folders and tables."""

    @abc.abstractmethod
    def load(self) -> Data:
        """The data, or an `InputError` that says what is wrong with it."""

    @abc.abstractmethod
    def arrays(self, data: Data) -> PyTree[Array]:
        """What `loss` and `validation` need: the parts to train on and to validate with, and nothing of the test part."""

    @abc.abstractmethod
    def model(self, data: Data, key: PRNGKeyArray) -> Layer:
        """A random model, for data in the units of `arrays`."""

    @abc.abstractmethod
    def loss(self, model: Any, arrays: PyTree[Array], key: PRNGKeyArray) -> Scalar:
        """The loss of one random batch."""

    @abc.abstractmethod
    def validation(self, model: Any, arrays: PyTree[Array]) -> Scalar:
        """The loss of the whole validation part."""

    @abc.abstractmethod
    def deployed(self, model: Any, data: Data) -> Layer:
        """The trained model for raw data: tokens as they come, answers in their units."""

    @abc.abstractmethod
    def evaluate(self, model: Any, data: Data) -> Metrics:
        """How well a deployed model solves the task, on the test part."""

    @abc.abstractmethod
    def example(self, data: Data) -> Float[Array, "time in"]:
        """Raw tokens of the test part as a stream would bring them."""
