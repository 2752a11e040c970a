"""Trained models on streams."""

from .keyed_stream import KeyedStream
from .store import Store
from .stream import Stream

__all__ = [
    "KeyedStream",
    "Store",
    "Stream",
]
