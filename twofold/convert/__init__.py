"""Attention, and gated RNNs, into other recurrent networks: one target a file."""

from .converted import Converted as Converted
from .gated_rnn import to_gated_rnn as to_gated_rnn
from .gru import to_gru as to_gru
from .lru import to_lru as to_lru
from .lstm import to_lstm as to_lstm
from .terms import FORMS as FORMS
