"""Attention and recurrent networks are two views of one computation; twofold lets you hold either."""

from . import starting as starting  # isort: split

from . import convert, discover, layers, models, scan
from .deploy import Stream
from .errors import InputError
from .memory import keep_memory
from .saving import load, save

__version__ = "0.1.0"
__all__ = ["InputError", "Stream", "convert", "discover", "keep_memory", "layers", "load", "models", "save", "scan"]
