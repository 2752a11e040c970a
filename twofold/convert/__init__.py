"""Attention into recurrent networks: exact constructions, one target a file."""

from .gated_rnn import FORMS as FORMS
from .gated_rnn import to_gated_rnn as to_gated_rnn
