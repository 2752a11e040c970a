"""What a task is: data, a model that reads them, a loss, and metrics."""

import abc
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar, get_args, get_origin

import optax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, Scalar

from ..errors import InputError
from ..layers import Chunked, Layer
from ..layers.mixers import MIXERS, mixer_named
from .words import Words

Data = TypeVar("Data")

Metrics = dict[str, dict[str, float]]
"""A table of metrics. Its rows say what is measured, and its columns are the metrics. The row "test" is the model on the test
part. Rows whose names begin with "test, " or "train" are of the model, too. The other rows are there for comparison."""

if TYPE_CHECKING:
    MixerName = str
else:
    MixerName = Literal[tuple(MIXERS)]  # the command line shows these choices


@dataclasses.dataclass(frozen=True)
class Task(abc.ABC, Generic[Data]):
    """A task with the settings of a run. This class has the settings of all tasks, and each subclass adds its own."""

    mixer: MixerName = "aaren"
    """The layer that mixes over time. softmax-attention makes the model a Transformer."""
    width: int = 64
    """The size of the vectors between the blocks."""
    depth: int = 2
    """The number of blocks."""
    heads: int = 4
    """The number of attention heads. Mixers without heads do not use it."""
    steps: int = 1000
    """Training takes at most this many steps."""
    batch: int = 16
    """Each step uses this many sequences."""
    learning_rate: float = 1e-3
    """The largest learning rate. It is reached after a tenth of the steps, and then falls to zero along a cosine."""
    weight_decay: float = 0.1
    """The weight decay of AdamW."""
    patience: int = 10
    """Training ends when the validation loss has not fallen for this many of its measurements."""
    measurements: int = 40
    """The validation loss is measured this many times, at equal distances. The model is kept as it was when this loss was
    smallest."""
    chunk: int | None = None
    """In training, a sequence is taken this many tokens at a time, which needs the memory of one chunk. If not given, it is
    taken whole."""
    seed: int = 0
    """The seed of the initial weights and of the batches."""

    name: ClassVar[str]
    """The name of the task in commands."""
    headline: ClassVar[dict[str, bool]]
    """The metrics that models are compared by, each with whether more is better."""
    positive: ClassVar[tuple[str, ...]] = ("width", "depth", "heads", "steps", "batch", "patience", "measurements")
    """The settings that must be at least 1."""
    not_negative: ClassVar[tuple[str, ...]] = ("learning_rate", "weight_decay")
    """The settings that must be finite and not below 0."""

    def check(self) -> None:
        """Check the settings.

        **Raises:** `InputError` for a setting that cannot be used.
        """
        self._check_types()
        mixer_named(self.mixer)
        for name in self.positive:
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.chunk is not None and self.chunk < 1:
            raise InputError(f"chunk is {self.chunk}; it must be at least 1")
        for name in self.not_negative:
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"{name} is {getattr(self, name)}; it must be a finite number, not negative")

    def _check_types(self) -> None:
        """Settings may come from a file or from Python, where nothing has looked at them."""
        for field in dataclasses.fields(self):
            name, value, accepted = field.name, getattr(self, field.name), _accepted(field.type)
            if (isinstance(value, bool) and bool not in accepted) or not isinstance(value, accepted):
                names = " or ".join(dict.fromkeys(one.__name__.replace("NoneType", "None") for one in accepted))
                raise InputError(f"{name} is {value!r:.80}; it must be of type {names}")
            if isinstance(value, int) and not -(2**31) <= value < 2**31:
                raise InputError(f"{name} is {value}; integers must be below 2^31")

    def chunked(self, model: Layer) -> Layer:
        """The model as it is trained: it takes long sequences chunk by chunk, if the settings say so."""
        return model if self.chunk is None else Chunked(model, chunk=self.chunk)

    def as_json(self) -> dict[str, Any]:
        """The name of the task and its settings, in the form of run.json."""
        fields = dataclasses.asdict(self).items()
        return {"task": self.name} | {name: str(value) if isinstance(value, Path) else value for name, value in fields}

    def optimiser(self) -> optax.GradientTransformation:
        """AdamW with a warm-up and a cosine schedule. Gradients are clipped to a norm of 1."""
        schedule = optax.warmup_cosine_decay_schedule(0.0, self.learning_rate, self.steps // 10, self.steps)
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=self.weight_decay))

    @property
    @abc.abstractmethod
    def data_name(self) -> str:
        """A short name of the data, for folders and tables."""

    @property
    def model_name(self) -> str:
        """A short name of the model, for folders and tables."""
        return self.mixer

    def files(self) -> tuple[Path, ...]:
        """The files of the user that `load` reads. There are none for data that are simulated or come with a package.

        **Raises:** `InputError` if files are missing.
        """
        return ()

    @abc.abstractmethod
    def load(self) -> Data:
        """Read the data.

        **Raises:** `InputError` that says what is wrong with the data.
        """

    @abc.abstractmethod
    def arrays(self, data: Data) -> PyTree[Array]:
        """The training part and the validation part, for `loss` and `validation`. They have nothing of the test part."""

    @abc.abstractmethod
    def model(self, data: Data, key: PRNGKeyArray) -> Layer:
        """A model with random weights, for data in the units of `arrays`."""

    @abc.abstractmethod
    def loss(self, model: Any, arrays: PyTree[Array], key: PRNGKeyArray) -> Scalar:
        """The loss of one random batch."""

    @abc.abstractmethod
    def validation(self, model: Any, arrays: PyTree[Array]) -> Scalar:
        """The loss of the whole validation part."""

    @abc.abstractmethod
    def deployed(self, model: Any, data: Data) -> Layer:
        """Make a model for raw data from the trained one. Its tokens and its answers are in the units of the data."""

    @abc.abstractmethod
    def words(self, data: Data) -> Words:
        """What the tokens and the answers of a deployed model mean. A run keeps them beside its model."""

    @abc.abstractmethod
    def evaluate(self, model: Any, data: Data) -> Metrics:
        """Measure how well a deployed model solves the task, on the test part."""

    @abc.abstractmethod
    def example(self, data: Data) -> Float[Array, "time in"]:
        """Some raw tokens of the test part, as a stream would bring them."""


def _accepted(kind: Any) -> tuple[type, ...]:
    """The types that a setting with this annotation can have. Choices are strings; which, is told elsewhere."""
    if get_origin(kind) is Literal:
        return (str,)
    if get_origin(kind) is not None:  # a union
        return tuple(one for each in get_args(kind) for one in _accepted(each))
    return {float: (float, int), Path: (Path, str)}.get(kind, (kind,))
