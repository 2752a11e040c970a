"""A classifier of sequences, by the conventions of scikit-learn."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import equinox as eqx
import numpy as np
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int, Shaped
from scipy.special import softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import assert_all_finite, check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d

from ..data import LabelledSet, Sequences
from ..data.uea import padded
from ..errors import InputError
from ..layers import Layer
from ..saving import packed, unpacked
from ..tasks import Classification
from ..tasks.run import train_on

LARGEST = float(np.finfo(np.float32).max)


@dataclass(kw_only=True, eq=False, repr=False)
class ClassifierSettings:
    """The parameters of a classifier. They are the settings of `twofold.tasks.Classification`, with the same defaults."""

    mixer: str = Classification.mixer
    """The layer that mixes over time: aaren, softmax-attention, lru, lstm, gru, ..."""
    width: int = Classification.width
    """The size of the vectors between the blocks."""
    depth: int = Classification.depth
    """The number of blocks."""
    heads: int = Classification.heads
    """The number of attention heads. Mixers without heads do not use it."""
    steps: int = Classification.steps
    """Training takes at most this many steps."""
    batch: int = Classification.batch
    """Each step uses this many sequences."""
    learning_rate: float = Classification.learning_rate
    """The largest learning rate."""
    weight_decay: float = Classification.weight_decay
    """The weight decay of AdamW."""
    patience: int = Classification.patience
    """Training ends when the validation loss has not fallen for this many of its measurements."""
    measurements: int = Classification.measurements
    """The validation loss is measured this many times, at equal distances."""
    noise: float = Classification.noise
    """Gaussian noise with this standard deviation is added to the standardised features in training."""
    held_out: float = Classification.held_out
    """This share of each class is used for validation."""
    random_state: int | np.random.RandomState | None = None
    """The seed of the initial weights and of the batches, or a generator that draws the seed."""

    def __post_init__(self):
        super().__init__()  # of the estimator that has these parameters


class SequenceClassifier(ClassifierSettings, ClassifierMixin, BaseEstimator):
    """Tells which class a sequence belongs to. It is a classifier by the conventions of scikit-learn.

    `X` is an array of shape `(sequences, time, features)`, or a list of arrays of shape `(time, features)`, whose lengths may
    differ. `y` has the class of each sequence. The parameters are those of `ClassifierSettings`. The features are
    standardised, a part of each class is held out for validation, and the model is kept as it was when its validation loss
    was smallest, as in `twofold train classification`.

    After `fit`, `classes_` has the classes, `n_features_in_` the number of features, and `model_` the trained model, which
    takes raw features and runs in a `Stream` too. A pickle has the model in the form of `twofold.save`.

    !!! example

        classifier = SequenceClassifier(mixer="lru", random_state=0).fit(X, y)
        classifier.predict(X_new)
    """

    def fit(self, X: Shaped[np.ndarray, "sequences time features"] | Sequence, y: Any) -> "SequenceClassifier":
        """Train a model on the sequences `X` and their classes `y`. Return the classifier itself.

        **Raises:** `InputError` or another `ValueError` for parameters or data that cannot be used: missing or infinite
        values, no sequences or tokens, unequal numbers of features, fewer than two classes, or classes that are continuous
        numbers. `FloatingPointError` if training diverges.
        """
        sequences, (classes, targets) = _sequences(X), _classes(y)
        if len(targets) != len(sequences):
            raise InputError(f"X has {len(sequences)} sequences, and y has {len(targets)} classes; they must agree")
        train = padded(sequences, targets)
        data = LabelledSet("X", train, Sequences(*(x[:0] for x in train)), tuple(map(str, classes)))
        model = train_on(task_of(Classification, self), data)
        self.classes_, self.n_features_in_, self.model_ = classes, model.in_size, model
        return self

    def predict_proba(
        self, X: Shaped[np.ndarray, "sequences time features"] | Sequence
    ) -> Float[np.ndarray, "sequences classes"]:
        """The probability of each class for each sequence, `(sequences, classes)`, in the order of `classes_`.

        **Raises:** `InputError` for sequences that cannot be read. `sklearn.exceptions.NotFittedError` before `fit`.
        """
        check_is_fitted(self)
        sequences = _sequences(X)
        if sequences[0].shape[1] != self.n_features_in_:
            raise InputError(
                f"X has {sequences[0].shape[1]} features; this {type(self).__name__} was fitted with {self.n_features_in_}"
            )
        tokens, lengths, _ = padded(sequences, np.zeros(len(sequences), int))
        logits = np.asarray(_last_outputs(self.model_, tokens, lengths), np.float64)
        return softmax(logits, axis=1)

    def predict(self, X: Shaped[np.ndarray, "sequences time features"] | Sequence) -> Shaped[np.ndarray, " sequences"]:
        """The most probable class of each sequence.

        **Raises:** as `predict_proba`.
        """
        best = np.argmax(self.predict_proba(X), axis=1)
        return self.classes_[best]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        return tags

    def __getstate__(self):
        state = dict(super().__getstate__())
        return state | ({"model_": packed(self.model_)} if "model_" in state else {})

    def __setstate__(self, state):
        super().__setstate__(state | ({"model_": unpacked(state["model_"])} if "model_" in state else {}))


def task_of(kind: type, settings: Any) -> Any:
    """The task whose settings are the parameters of an estimator of the same names. `random_state` gives the seed."""
    parameters = {
        name: getattr(settings, name) for name in {field.name for field in fields(kind)} & vars(settings).keys()
    }
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in parameters.items()}
    return kind(**plain, seed=int(check_random_state(settings.random_state).randint(2**31 - 1)))


@eqx.filter_jit
def _last_outputs(
    model: Layer, tokens: Float[ArrayLike, "sequences time features"], lengths: Int[ArrayLike, " sequences"]
) -> Float[Array, "sequences classes"]:
    """The outputs at the last real tokens, computed for a few sequences at a time to save memory."""
    return lax.map(lambda one: model(one[0])[one[1] - 1], (tokens, lengths), batch_size=64)


def _classes(y: Any) -> tuple[np.ndarray, np.ndarray]:
    """The classes, and the number of the class of each sequence."""
    if y is None:
        raise InputError("y is None; it must have the class of each sequence")
    y = column_or_1d(y, warn=True)
    assert_all_finite(y, input_name="y")
    check_classification_targets(y)
    classes, targets = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise InputError(f"all classes in y are {classes[0]!r}; a classifier needs two or more")
    return classes, targets


def _sequences(X: Any) -> list[Float[np.ndarray, "_ features"]]:
    """The sequences as arrays of float32, checked."""
    if isinstance(X, np.ndarray) and X.dtype != object and X.ndim != 3:
        raise InputError(
            f"X has shape {X.shape}; it must be (sequences, time, features), or a list of arrays (time, features)."
            " X[:, :, None] makes sequences with one feature"
        )
    if not len(X):
        raise InputError("X has no sequences; it must have at least one")
    sequences = [_sequence(x, number) for number, x in enumerate(X)]
    for number, x in enumerate(sequences):
        if x.shape[1] != sequences[0].shape[1]:
            raise InputError(
                f"sequence {number} of X has {x.shape[1]} features, and sequence 0 has {sequences[0].shape[1]}; they must agree"
            )
    return sequences


def _sequence(x: Any, number: int) -> Float[np.ndarray, "time features"]:
    try:
        x = np.asarray(x)
        if x.dtype.kind == "c":
            raise TypeError("it has complex numbers")
        x = x.astype(float)
    except (TypeError, ValueError) as error:
        raise InputError(f"sequence {number} of X is not an array of numbers: {error}") from error
    if x.ndim != 2 or 0 in x.shape:
        raise InputError(f"sequence {number} of X has shape {x.shape}; it must be (time, features), neither of them 0")
    unfit = ~(np.abs(x) <= LARGEST)
    if np.any(unfit):
        time, feature = np.argwhere(unfit)[0]
        raise InputError(
            f"sequence {number} of X has {x[time, feature]} in feature {feature} at time {time}; every value must be a finite"
            " number that float32 can hold"
        )
    return x.astype(np.float32)
