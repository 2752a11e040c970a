"""The primitive that everything rests on, h_t = a_t * h_{t-1} + b_t, and its shapes in softmax and linear attention."""

from ._dispatch import implementations as implementations
from .fold import softmax_fold as softmax_fold
from .gru import gru_scan as gru_scan
from .kv import kv_scan as kv_scan
from .linear import linear_scan as linear_scan
from .lstm import LSTMState as LSTMState
from .lstm import lstm_scan as lstm_scan
from .softmax import SoftmaxState as SoftmaxState
from .softmax import softmax_scan as softmax_scan
