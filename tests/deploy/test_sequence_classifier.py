"""The classifier keeps the conventions of scikit-learn, learns, and refuses what it cannot use."""

import pickle
import pickletools
from dataclasses import fields

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from twofold import InputError, Stream
from twofold.deploy import SequenceClassifier
from twofold.deploy.sequence_classifier import task_of
from twofold.tasks import Classification

SMALL = SequenceClassifier(
    width=8, depth=1, heads=2, steps=60, batch=16, measurements=3, learning_rate=2e-2, random_state=0
)


@pytest.fixture(scope="module")
def data():
    """Two classes of sequences: one rises and the other falls. X is (sequences, time, features)."""
    rng = np.random.default_rng(0)
    y = np.array(["falls", "rises"])[np.arange(40) % 2]
    slopes = np.where(y == "rises", 1.0, -1.0)[:, None] * np.arange(6)
    return np.stack([slopes, 0 * slopes + 3], 2) + rng.normal(0, 0.3, (40, 6, 2)), y


@pytest.fixture(scope="module")
def fitted(data):
    return clone(SMALL).fit(*data)


def test_the_parameters_are_the_settings_of_the_task():
    settings = {
        field.name: field.default for field in fields(Classification) if field.name not in ("dataset", "chunk", "seed")
    }
    assert SequenceClassifier().get_params() == settings | {"random_state": None}


def test_it_learns_and_answers_in_the_classes_of_y(fitted, data):
    X, y = data
    assert fitted.score(X, y) > 0.9
    assert fitted.predict(X).dtype == y.dtype
    assert fitted.classes_.tolist() == ["falls", "rises"]
    probabilities = fitted.predict_proba(X)
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-12)
    np.testing.assert_array_equal(fitted.classes_[probabilities.argmax(1)], fitted.predict(X))


def test_the_model_takes_raw_tokens_and_streams(fitted, data):
    """The last answer of the stream has the probabilities of the whole sequence."""
    X, _ = data
    logits = Stream(fitted.model_).push_many(X[0])[-1]
    expected = fitted.predict_proba(X[:1])[0]
    np.testing.assert_allclose(np.exp(logits) / np.exp(logits).sum(), expected, rtol=1e-4)


def test_lists_of_unequal_lengths_are_as_each_alone(fitted, data):
    X = [x[: 3 + i] for i, x in enumerate(data[0][:3])]
    alone = np.concatenate([fitted.predict_proba(x[None]) for x in X])
    np.testing.assert_allclose(fitted.predict_proba(X), alone, rtol=1e-4)


def test_the_same_seed_gives_the_same_model_and_a_generator_draws_it(fitted, data):
    assert clone(fitted).fit(*data).predict_proba(data[0]).tolist() == fitted.predict_proba(data[0]).tolist()
    drawn = clone(SMALL).set_params(random_state=np.random.RandomState(0))
    assert task_of(Classification, drawn).seed != task_of(Classification, drawn).seed


def test_numbers_of_numpy_are_parameters_too():
    """A search over parameters brings them."""
    task = task_of(Classification, clone(SMALL).set_params(width=np.arange(8, 9)[0], noise=np.float64(0.5)))
    assert (task.width, task.noise) == (8, 0.5)
    task.check()


def test_a_clone_has_the_parameters_and_is_not_fitted(fitted, data):
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(data[0])


def test_a_pickle_has_the_model_as_safetensors_and_answers_the_same(fitted, data):
    dumped = pickle.dumps(fitted)
    named = {argument for _, argument, _ in pickletools.genops(dumped) if isinstance(argument, str)}
    assert not any("jax" in name or "equinox" in name or "twofold.models" in name for name in named)
    assert "model.safetensors" in named
    np.testing.assert_array_equal(pickle.loads(dumped).predict_proba(data[0]), fitted.predict_proba(data[0]))
    assert pickle.loads(pickle.dumps(SMALL)).get_params() == SMALL.get_params()


def test_it_works_in_a_pipeline_and_in_cross_validation(data):
    X, y = data
    pipeline = make_pipeline(FunctionTransformer(lambda X: [np.log1p(x) for x in X]), clone(SMALL))
    assert cross_val_score(pipeline, list(X - X.min()), y, cv=StratifiedKFold(2)).mean() > 0.8


BAD = np.where(np.arange(12).reshape(2, 3, 2) == 9, np.nan, 1.0)


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.ones((4, 3)), [0, 1, 0, 1], r"X has shape \(4, 3\); it must be \(sequences, time, features\)"),
        (np.ones((0, 3, 2)), [], "X has no sequences"),
        ([], [], "X has no sequences"),
        (np.ones((2, 0, 2)), [0, 1], r"sequence 0 of X has shape \(0, 2\)"),
        ([np.ones((3, 2)), np.ones(3)], [0, 1], r"sequence 1 of X has shape \(3,\)"),
        ([np.ones((3, 2)), np.ones((3, 1))], [0, 1], "sequence 1 of X has 1 features, and sequence 0 has 2"),
        ([np.ones((3, 2)), [[1, 2], [3]]], [0, 1], "sequence 1 of X is not an array of numbers"),
        ([np.ones((3, 2)), [["a"]]], [0, 1], "sequence 1 of X is not an array of numbers"),
        (np.ones((2, 3, 2)) * 1j, [0, 1], "it has complex numbers"),
        (BAD, [0, 1], "sequence 1 of X has nan in feature 1 at time 1"),
        (np.full((2, 3, 2), 1e39), [0, 1], "has 1e[+]39 in feature 0 at time 0"),
        (np.ones((2, 3, 2)), [0, 1, 0], "X has 2 sequences, and y has 3 classes"),
        (np.ones((2, 3, 2)), None, "y is None"),
        (np.ones((2, 3, 2)), [1, 1], "all classes in y are .*1.*; a classifier needs two or more"),
        (np.ones((2, 3, 2)), [0, 1], "held_out is 0.2, which leaves 2 to train and 0 to validate"),
    ],
)
def test_data_that_cannot_be_used_are_refused_in_words(X, y, message, unchecked):
    with pytest.raises(InputError, match=message):
        clone(SMALL).fit(X, y)


@pytest.mark.parametrize("y", [np.linspace(0, 1, 40), np.ones((40, 2)), [np.nan, *range(39)]])
def test_y_must_name_classes(data, y):
    with pytest.raises(ValueError):  # noqa: PT011  the words are scikit-learn's own
        clone(SMALL).fit(data[0], y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"mixer": "mamba"}, "unknown mixer 'mamba'"),
        ({"steps": 0}, "steps is 0"),
        ({"heads": 3}, "does not split into num_heads = 3"),
        ({"width": "wide"}, "width is 'wide'; it must be of type int"),
        ({"held_out": 2.0}, "held_out is 2.0"),
    ],
)
def test_parameters_are_checked_in_fit(data, parameters, message, unchecked):
    with pytest.raises(InputError, match=message):
        clone(SMALL).set_params(**parameters).fit(*data)


def test_another_number_of_features_is_refused(fitted):
    with pytest.raises(InputError, match="X has 3 features; this SequenceClassifier was fitted with 2"):
        fitted.predict(np.ones((1, 4, 3)))
