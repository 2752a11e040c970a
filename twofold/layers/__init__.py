"""Layers: each a function of a sequence with two faces, parallel (`prefill`) and token by token (`step`)."""

from .aaren import Aaren as Aaren
from .gated_rnn import GatedRNN as GatedRNN
from .gru import GRU as GRU
from .layer import Layer as Layer
from .linear_attention import LinearSelfAttention as LinearSelfAttention
from .lru import LRU as LRU
from .lstm import LSTM as LSTM
from .mixers import MIXERS as MIXERS
from .mixers import Mixer as Mixer
from .rescaled import Rescaled as Rescaled
from .running_mean import RunningMean as RunningMean
from .softmax_attention import CausalSelfAttention as CausalSelfAttention
from .stack import Block as Block
from .stack import Stack as Stack
