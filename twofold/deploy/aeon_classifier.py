"""The classifier of sequences as an estimator of aeon."""

from typing import Any, ClassVar

import numpy as np
from aeon.classification import BaseClassifier
from jaxtyping import Float, Shaped

from .sequence_classifier import ClassifierSettings, SequenceClassifier


class AeonClassifier(ClassifierSettings, BaseClassifier):
    """Tells which class a sequence belongs to. It is a classifier by the conventions of aeon.

    It is a `SequenceClassifier` for the arrays of aeon, which have the channels before the time: `X` is
    `(cases, channels, time)`, or a list of arrays of shape `(channels, time)`, whose lengths may differ. The parameters are
    those of `ClassifierSettings`. After `fit`, `classifier_` has the `SequenceClassifier`.
    """

    _tags: ClassVar[dict[str, Any]] = {
        "X_inner_type": "np-list",
        "algorithm_type": "deeplearning",
        "capability:multivariate": True,
        "capability:unequal_length": True,
    }

    def _fit(self, X: list[np.ndarray], y: np.ndarray) -> "AeonClassifier":
        self.classifier_ = SequenceClassifier(**self.get_params()).fit([x.T for x in X], y)
        return self

    def _predict(self, X: list[np.ndarray]) -> Shaped[np.ndarray, " cases"]:
        return self.classifier_.predict([x.T for x in X])

    def _predict_proba(self, X: list[np.ndarray]) -> Float[np.ndarray, "cases classes"]:
        return self.classifier_.predict_proba([x.T for x in X])

    @classmethod
    def _get_test_params(cls, parameter_set: str = "default") -> dict[str, Any]:
        """The parameters of a small model, for the tests of aeon."""
        return {"width": 8, "depth": 1, "heads": 2, "steps": 4, "batch": 4, "measurements": 2}
