"""Conversions of attention, and of gated RNNs, into other recurrent networks: one file for each target."""

from .converted import Converted
from .gated_rnn import to_gated_rnn
from .gru import to_gru
from .lru import to_lru
from .lstm import to_lstm
from .terms import FORMS

__all__ = [
    "FORMS",
    "Converted",
    "to_gated_rnn",
    "to_gru",
    "to_lru",
    "to_lstm",
]
