"""Trained models on streams."""

import importlib
from typing import TYPE_CHECKING

from ..errors import InputError
from .keyed_stream import KeyedStream
from .store import Store
from .stream import Stream

if TYPE_CHECKING:
    from twofold_edge import OnnxKeyedStream, OnnxStream

    from .export import export_onnx

__all__ = [
    "KeyedStream",
    "OnnxKeyedStream",
    "OnnxStream",
    "Store",
    "Stream",
    "export_onnx",
]

_OPTIONAL = {
    "OnnxKeyedStream": ("twofold_edge", "pip install twofold-edge"),
    "OnnxStream": ("twofold_edge", "pip install twofold-edge"),
    "export_onnx": ("twofold.deploy.export", "pip install 'twofold[onnx]'"),
}
"""Names whose libraries are installed only where they are needed: the module of each, and the command that installs it."""


def __getattr__(name: str):
    if name not in _OPTIONAL:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, command = _OPTIONAL[name]
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise InputError(f"the package {error.name} is missing; {command} installs it") from error
