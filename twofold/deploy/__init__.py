"""Trained models at work: on streams, and as estimators of scikit-learn and aeon."""

import importlib
from typing import TYPE_CHECKING

from ..data.packages import missing
from .keyed_stream import KeyedStream
from .store import Store
from .stream import Stream

if TYPE_CHECKING:
    from .aeon_classifier import AeonClassifier
    from .sequence_classifier import SequenceClassifier
    from .series_forecaster import SeriesForecaster

__all__ = [
    "AeonClassifier",
    "KeyedStream",
    "SequenceClassifier",
    "SeriesForecaster",
    "Store",
    "Stream",
]

_LATER = {
    "AeonClassifier": ("aeon_classifier", "tasks"),
    "SequenceClassifier": ("sequence_classifier", "estimators"),
    "SeriesForecaster": ("series_forecaster", "estimators"),
}
"""The modules that need an extra. They are imported when they are asked for, because not everybody has the extra."""


def __getattr__(name: str):
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, extra = _LATER[name]
    try:
        return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    except ModuleNotFoundError as error:
        raise missing(str(error.name), extra) from error
