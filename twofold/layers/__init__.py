"""Layers. Each is one function of a sequence, with two faces: all tokens in parallel (`prefill`), or one at a time (`step`)."""

from .aaren import Aaren
from .chunked import Chunked
from .gated_rnn import GatedRNN
from .gru import GRU
from .layer import Layer
from .linear_attention import LinearSelfAttention
from .lru import LRU
from .lstm import LSTM
from .min_gru import MinGRU
from .min_lstm import MinLSTM
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
    "Chunked",
    "GatedRNN",
    "KVCache",
    "Layer",
    "LinearSelfAttention",
    "MinGRU",
    "MinLSTM",
    "Mixer",
    "Rescaled",
    "RunningMean",
    "Stack",
]

_MOVED = ("EventModel", "Forecaster", "SequenceModel", "event_features")


def __getattr__(name: str):
    """Find the names that have moved to `twofold.models`. They are found here, with a warning, until version 1.0."""
    if name in _MOVED:
        # Imported by name at run time, because layers may not import models.
        import importlib
        import warnings

        warnings.warn(f"twofold.layers.{name} is twofold.models.{name} now", DeprecationWarning, stacklevel=2)
        return getattr(importlib.import_module("twofold.models"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
