"""Layers: each a function of a sequence with two faces, parallel (`prefill`) and token by token (`step`)."""

from .aaren import Aaren
from .gated_rnn import GatedRNN
from .gru import GRU
from .layer import Layer
from .linear_attention import LinearSelfAttention
from .lru import LRU
from .lstm import LSTM
from .mixers import MIXERS, Mixer
from .rescaled import Rescaled
from .running_mean import RunningMean
from .softmax_attention import CausalSelfAttention, KVCache
from .stack import Block, Stack

__all__ = [
    "GRU",
    "LRU",
    "LSTM",
    "MIXERS",
    "Aaren",
    "Block",
    "CausalSelfAttention",
    "GatedRNN",
    "KVCache",
    "Layer",
    "LinearSelfAttention",
    "Mixer",
    "Rescaled",
    "RunningMean",
    "Stack",
]

_MOVED = ("EventModel", "Forecaster", "SequenceModel", "event_features")


def __getattr__(name: str):
    """The names that have moved to `twofold.models`; they are found here until 1.0."""
    if name in _MOVED:
        # By name, at run time: a module below may not import one above.
        import importlib
        import warnings

        warnings.warn(f"twofold.layers.{name} is twofold.models.{name} now", DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module("twofold.models"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
