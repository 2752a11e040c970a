"""Which class does a sequence belong to? A model reads it to the end, and answers."""

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray, Scalar

from ..errors import InputError
from ..layers import SequenceModel
from ..layers.model import mixer_named
from ..saving import load, save
from ..train import fit, open_run
from .uea import LabelledSet, Sequences, load_labelled


@dataclasses.dataclass(frozen=True)
class Classification:
    """Settings of a classification run."""

    dataset: str = "JapaneseVowels"
    """A data set that comes with aeon (JapaneseVowels, BasicMotions), or the path of a pair of files,
    some/Name for some/Name_TRAIN.ts and some/Name_TEST.ts."""
    mixer: str = "aaren"
    """aaren, softmax-attention (the Transformer), linear-attention, gated-rnn, lru, lstm or gru."""
    width: int = 64
    """Size of the blocks."""
    depth: int = 2
    """Number of the blocks."""
    heads: int = 4
    """Attention heads."""
    steps: int = 1500
    """Training steps."""
    batch: int = 32
    """Sequences a step."""
    learning_rate: float = 1e-3
    """Largest learning rate; warms up for a tenth of the steps, then falls to zero with the cosine."""
    weight_decay: float = 0.1
    """AdamW's weight decay."""
    noise: float = 0.3
    """Standard deviation of the noise added to training tokens, in units of each feature's."""
    seed: int = 0
    """Of the initial weights and the batches."""

    def model(self, data: LabelledSet, key: PRNGKeyArray, *, capacity: int | None = None) -> SequenceModel:
        """A random model for the data set. `capacity`: of softmax attention's cache; the longest sequence if not given."""
        has_heads = self.mixer == "aaren" or "attention" in self.mixer
        options: dict[str, Any] = {"num_heads": self.heads} if has_heads else {}
        if self.mixer == "softmax-attention":
            options["capacity"] = capacity or max(data.train.tokens.shape[1], data.test.tokens.shape[1])
        return SequenceModel(
            data.train.tokens.shape[2],
            len(data.labels),
            width=self.width,
            depth=self.depth,
            mixer=self.mixer,
            predicts="sequence",
            key=key,
            **options,
        )

    def optimiser(self) -> optax.GradientTransformation:
        schedule = optax.warmup_cosine_decay_schedule(0.0, self.learning_rate, self.steps // 10, self.steps)
        return optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule, weight_decay=self.weight_decay))

    def loss(self, model: SequenceModel, data: Sequences, key: PRNGKeyArray) -> Scalar:
        """Cross-entropy of one random batch, with noise added to its tokens."""
        chosen_key, noise_key = jax.random.split(key)
        chosen = jax.random.randint(chosen_key, (self.batch,), 0, len(data.targets))
        tokens, lengths, targets = (x[chosen] for x in data)
        tokens = tokens + self.noise * jax.random.normal(noise_key, tokens.shape)
        logits = last_outputs(model, tokens, lengths)
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, targets))


class Metrics(NamedTuple):
    """How well a model classifies."""

    train_accuracy: float
    test_accuracy: float
    train_loss: float
    """Mean cross-entropy, nats."""
    test_loss: float


def last_outputs(
    model: SequenceModel, tokens: Float[ArrayLike, "sequences time features"], lengths: Int[ArrayLike, " sequences"]
) -> Float[Array, "sequences out"]:
    """The model's output at the last real token of each padded sequence; being causal, it never sees the padding."""
    return jax.vmap(lambda xs, length: model(xs)[length - 1])(tokens, lengths)


def evaluate(model: SequenceModel, data: LabelledSet) -> Metrics:
    """Accuracy and loss on the whole training and test set."""
    (train_accuracy, train_loss), (test_accuracy, test_loss) = (
        _measure(model, part) for part in (data.train, data.test)
    )
    return Metrics(train_accuracy, test_accuracy, train_loss, test_loss)


def _measure(model: SequenceModel, part: Sequences) -> tuple[float, float]:
    logits = eqx.filter_jit(last_outputs)(model, jnp.asarray(part.tokens), jnp.asarray(part.lengths))
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, jnp.asarray(part.targets))
    return float(jnp.mean(jnp.argmax(logits, 1) == part.targets)), float(jnp.mean(losses))


def train(
    settings: Classification, out: Path | str, *, progress: bool = True
) -> tuple[SequenceModel, LabelledSet, Metrics, float]:
    """Train a model, keep it in the folder `out`, and evaluate it. A run stopped before is continued.

    Features are standardised by the training set's mean and deviation; the model that is returned and saved has this
    taken into its encoder and takes raw tokens. The test set is looked at once, at the end.

    **Returns:** the model, the data, the metrics, and the seconds spent in training.

    **Raises:** `InputError` for anything that cannot be used, before anything is written.
    """
    _check(settings)
    data = load_labelled(settings.dataset)
    model_key, train_key = jax.random.split(jax.random.key(settings.seed))
    models = eqx.filter_vmap(lambda key: settings.model(data, key))(model_key[None])
    mean, scale = _statistics(data.train)
    real = np.arange(data.train.tokens.shape[1])[:, None] < data.train.lengths[:, None, None]
    standardised = data.train._replace(tokens=np.where(real, (data.train.tokens - mean) / scale, 0))
    folder = open_run(out, {"task": "classification"} | dataclasses.asdict(settings))
    trained = fit(
        settings.loss,
        models,
        jax.tree.map(jnp.asarray, standardised),
        optimiser=settings.optimiser(),
        steps=settings.steps,
        key=train_key,
        shared_data=True,
        records=100,
        checkpoint=folder / "checkpoint",
        title=f"{settings.mixer} on {data.name}",
        progress=progress,
    )
    model = jax.tree.map(lambda x: x[0], trained.models).with_scaled_input(mean, scale)
    save(folder, model)
    metrics = evaluate(model, data)
    figures = metrics._asdict() | {"seconds": trained.seconds, "losses": trained.losses[0].tolist()}
    (folder / "metrics.json").write_text(json.dumps(figures, indent=1) + "\n")
    return model, data, metrics, trained.seconds


def evaluate_run(folder: Path | str) -> Metrics:
    """The metrics of a finished run again, from its saved model and the data it names.

    **Raises:** `InputError` if the folder is not that of a classification run, or damaged.
    """
    file = Path(folder) / "run.json"
    try:
        run = json.loads(file.read_text())
        dataset, task = run["dataset"], run["task"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} is not the folder of a classification run: {file} cannot be read ({error})"
        ) from error
    if task != "classification":
        raise InputError(f"{folder} holds a run of {task!r}; only classification runs can be evaluated")
    model = load(folder)
    data = load_labelled(dataset)
    if not isinstance(model, SequenceModel) or (model.in_size, model.out_size) != (
        data.train.tokens.shape[2],
        len(data.labels),
    ):
        raise InputError(f"the model in {folder} does not fit the data set {dataset}")
    return evaluate(model, data)


def _check(settings: Classification) -> None:
    mixer_named(settings.mixer)
    for name in ("width", "depth", "heads", "steps", "batch"):
        if getattr(settings, name) < 1:
            raise InputError(f"{name} is {getattr(settings, name)}; it must be at least 1")
    for name in ("learning_rate", "weight_decay", "noise"):
        if not 0 <= getattr(settings, name) < float("inf"):
            raise InputError(f"{name} is {getattr(settings, name)}; it must be a finite number, not negative")


def _statistics(part: Sequences) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of every feature over all real tokens; a constant feature keeps its scale."""
    mean, scale = part.real.mean(0), part.real.std(0)
    return mean, np.where(scale > 0, scale, 1)
