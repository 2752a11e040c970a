"""The classifier for aeon passes aeon's own checks, and is the classifier of twofold with the axes of aeon."""

import inspect

import numpy as np
from aeon.testing.estimator_checking import parametrize_with_checks

from twofold.deploy import AeonClassifier, SequenceClassifier
from twofold.deploy.sequence_classifier import ClassifierSettings


@parametrize_with_checks([AeonClassifier])
def test_it_passes_the_checks_of_aeon(check, monkeypatch):
    # The checks of types at run time would hide the signature of the constructor.
    monkeypatch.setattr(ClassifierSettings, "__init__", inspect.unwrap(ClassifierSettings.__init__))
    check()


def test_it_is_the_classifier_with_channels_before_time():
    rng = np.random.default_rng(0)
    X, y = [rng.normal(size=(2, 5 + i % 3)) for i in range(12)], np.arange(12) % 2
    parameters = AeonClassifier._get_test_params() | {"random_state": 3}
    ours, theirs = SequenceClassifier(**parameters), AeonClassifier(**parameters)
    expected = ours.fit([x.T for x in X], y).predict_proba([x.T for x in X])
    np.testing.assert_array_equal(theirs.fit(X, y).predict_proba(X), expected)
    assert ours.get_params() == theirs.get_params()
