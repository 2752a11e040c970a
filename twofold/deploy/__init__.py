"""Trained models on streams."""

from .stream import Stream

__all__ = [
    "Stream",
]
