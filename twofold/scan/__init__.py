"""The primitive that everything rests on, h_t = a_t * h_{t-1} + b_t, and its shapes in softmax and linear attention."""

from ._dispatch import implementations
from ._platform import Implementation
from .attention import causal_attention
from .decay import decaying_softmax_scan
from .fold import softmax_fold
from .gru import gru_scan
from .kv import kv_scan
from .linear import linear_scan
from .lstm import LSTMState, lstm_scan
from .softmax import SoftmaxState, softmax_scan

__all__ = [
    "Implementation",
    "LSTMState",
    "SoftmaxState",
    "causal_attention",
    "decaying_softmax_scan",
    "gru_scan",
    "implementations",
    "kv_scan",
    "linear_scan",
    "lstm_scan",
    "softmax_fold",
    "softmax_scan",
]
