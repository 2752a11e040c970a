from .gated_rnn import GatedRNN as GatedRNN
from .layer import Layer as Layer
from .linear_attention import LinearSelfAttention as LinearSelfAttention
