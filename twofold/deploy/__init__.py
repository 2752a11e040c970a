"""Trained models at work: on streams, without JAX, and as estimators of scikit-learn and aeon."""

import importlib
from typing import TYPE_CHECKING

from ..errors import InputError
from .keyed_stream import KeyedStream
from .store import Store
from .stream import Stream

if TYPE_CHECKING:
    from twofold_edge import OnnxKeyedStream, OnnxStream

    from .aeon_classifier import AeonClassifier
    from .export import export_onnx
    from .sequence_classifier import SequenceClassifier
    from .series_forecaster import SeriesForecaster

__all__ = [
    "AeonClassifier",
    "KeyedStream",
    "OnnxKeyedStream",
    "OnnxStream",
    "SequenceClassifier",
    "SeriesForecaster",
    "Store",
    "Stream",
    "export_onnx",
]

_LATER = {
    "AeonClassifier": ("twofold.deploy.aeon_classifier", "pip install 'twofold[tasks]'"),
    "OnnxKeyedStream": ("twofold_edge", "pip install twofold-edge"),
    "OnnxStream": ("twofold_edge", "pip install twofold-edge"),
    "SequenceClassifier": ("twofold.deploy.sequence_classifier", "pip install 'twofold[estimators]'"),
    "SeriesForecaster": ("twofold.deploy.series_forecaster", "pip install 'twofold[estimators]'"),
    "export_onnx": ("twofold.deploy.export", "pip install 'twofold[onnx]'"),
}
"""Names whose libraries are installed only where they are needed: the module of each, and the command that installs it."""


def __getattr__(name: str):
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, command = _LATER[name]
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise InputError(f"the package {error.name} is missing; {command} installs it") from error
