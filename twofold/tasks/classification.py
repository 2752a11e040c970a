"""Which class does a sequence belong to? A model reads the sequence to its end, and answers."""

import dataclasses
from pathlib import Path
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from ..data.uea import SHIPPED, LabelledSet, Sequences, files_of, load_labelled
from ..errors import InputError
from ..layers import Layer
from ..models import SequenceModel
from ..train.mesh import over_batch
from .matched import matched_model
from .task import Metrics, Task
from .words import ClassWords


@dataclasses.dataclass(frozen=True)
class Classification(Task[LabelledSet]):
    """Which class does a sequence belong to?

    The model answers after every token, from the mean of its features so far. Its last answer is for the whole sequence.
    Tokens are standardised by the mean and the deviation of the training part.
    """

    dataset: str = "JapaneseVowels"
    """The data set. It is JapaneseVowels, BasicMotions, GunPoint, ItalyPowerDemand, ArrowHead, OSULeaf, PickupGestureWiimoteZ
    or ACSF1, which come with aeon; or the path of a pair of files: some/Name stands for some/Name_TRAIN.ts and
    some/Name_TEST.ts."""
    steps: int = 1500
    batch: int = 32
    noise: float = 0.3
    """Gaussian noise with this standard deviation is added to the standardised tokens in training."""
    held_out: float = 0.2
    """This share of each class of the published training set is used for validation."""

    name = "classification"
    headline: ClassVar = {"accuracy": True}
    not_negative = (*Task.not_negative, "noise")

    def check(self) -> None:
        super().check()
        if not 0 < self.held_out < 1:
            raise InputError(f"held_out is {self.held_out}; it must be a share between 0 and 1")

    @property
    def data_name(self) -> str:
        return Path(self.dataset).name.removesuffix(".ts").removesuffix("_TRAIN").removesuffix("_TEST")

    def files(self) -> tuple[Path, ...]:
        return () if self.dataset in SHIPPED else files_of(self.dataset)

    def load(self) -> LabelledSet:
        return load_labelled(self.dataset)

    def arrays(self, data: LabelledSet) -> dict[str, Sequences]:
        parts = self._split(data)
        mean, scale = _statistics(parts["train"])

        def standardised(part: Sequences) -> Sequences:
            real = np.arange(part.tokens.shape[1])[:, None] < part.lengths[:, None, None]
            return part._replace(tokens=np.where(real, (part.tokens - mean) / scale, 0))

        return {name: jax.tree.map(jnp.asarray, standardised(part)) for name, part in parts.items()}

    def _split(self, data: LabelledSet) -> dict[str, Sequences]:
        """Split the published training set in a training and a validation part, class by class. The split never changes."""
        shuffled = np.random.default_rng(0).permutation(len(data.train.targets))
        held_out = np.zeros(len(shuffled), bool)
        for label in range(len(data.labels)):
            members = shuffled[data.train.targets[shuffled] == label]
            held_out[members[: round(self.held_out * len(members))]] = True
        if not 0 < held_out.sum() < len(held_out):
            raise InputError(
                f"held_out is {self.held_out}, which leaves {(~held_out).sum()} to train and {held_out.sum()} to validate"
                f" of the {len(held_out)} training sequences of {data.name}; both parts need at least 1"
            )
        return {
            "train": Sequences(*(x[~held_out] for x in data.train)),
            "validation": Sequences(*(x[held_out] for x in data.train)),
        }

    def model(self, data: LabelledSet, key: PRNGKeyArray, *, capacity: int | None = None) -> SequenceModel:
        """A model with random weights. The cache of softmax attention holds `capacity` tokens, or else the longest sequence."""
        return matched_model(
            data.train.tokens.shape[2],
            len(data.labels),
            mixer=self.mixer,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            capacity=capacity or max(data.train.tokens.shape[1], data.test.tokens.shape[1]),
            predicts="sequence",
            key=key,
        )

    def loss(self, model, arrays, key):
        """The cross-entropy of one random batch, with noise added to its tokens."""
        train = arrays["train"]
        chosen_key, noise_key = jax.random.split(key)
        chosen = jax.random.randint(chosen_key, (self.batch,), 0, len(train.targets))
        tokens, lengths, targets = (x[chosen] for x in train)
        tokens = tokens + self.noise * jax.random.normal(noise_key, tokens.shape)
        return _cross_entropy(self.chunked(model), Sequences(tokens, lengths, targets))

    def validation(self, model, arrays):
        return _cross_entropy(model, arrays["validation"])

    def deployed(self, model: SequenceModel, data: LabelledSet) -> SequenceModel:
        return model.with_scaled_input(*_statistics(self._split(data)["train"]))

    def words(self, data: LabelledSet) -> ClassWords:
        """The features have no names in the files. So they are feature_0, feature_1, ..."""
        features = data.train.tokens.shape[2]
        return ClassWords(tuple(f"feature_{i}" for i in range(features)), data.labels)

    def evaluate(self, model: SequenceModel, data: LabelledSet) -> Metrics:
        """Measure the accuracy and the cross-entropy (in nats) on the published training and test sets."""
        return {"train": _measure(model, data.train), "test": _measure(model, data.test)}

    def example(self, data: LabelledSet) -> Float[Array, "time in"]:
        return jnp.asarray(data.test.tokens[0][: data.test.lengths[0]])


def last_outputs(
    model: Layer, tokens: Float[ArrayLike, "sequences time features"], lengths: Int[ArrayLike, " sequences"]
) -> Float[Array, "sequences out"]:
    """The output of the model at the last real token of each sequence. The model is causal, so it never sees the padding."""
    ys = over_batch(model, jnp.asarray(tokens))
    return ys[jnp.arange(len(ys)), lengths - 1]


def _cross_entropy(model, part: Sequences):
    logits = last_outputs(model, part.tokens, part.lengths)
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, part.targets))


@eqx.filter_jit
def _measured(model, part: Sequences):
    logits = last_outputs(model, part.tokens, part.lengths)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, part.targets)
    return {"accuracy": jnp.mean(jnp.argmax(logits, 1) == part.targets), "cross-entropy": jnp.mean(losses)}


def _measure(model: SequenceModel, part: Sequences) -> dict[str, float]:
    return {name: float(x) for name, x in _measured(model, jax.tree.map(jnp.asarray, part)).items()}


def _statistics(part: Sequences) -> tuple[np.ndarray, np.ndarray]:
    """The mean and the deviation of every feature over all real tokens. The deviation of a constant feature counts as 1."""
    mean, scale = part.real.mean(0), part.real.std(0)
    return mean, np.where(scale > 0, scale, 1)
