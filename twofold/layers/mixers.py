"""The registry of mixers: the layers that models take by name, with the options of each."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from ..errors import InputError
from .aaren import Aaren
from .gated_rnn import GatedRNN
from .gru import GRU
from .layer import Layer
from .linear_attention import LinearSelfAttention
from .lru import LRU
from .lstm import LSTM
from .min_gru import MinGRU
from .min_lstm import MinLSTM
from .softmax_attention import CausalSelfAttention


class Mixer(NamedTuple):
    """An entry of the registry: a layer that mixes over time."""

    title: str
    """The name of the mixer in tables and pictures."""
    make: Callable[..., Layer]
    """The constructor. It takes `(in_size, out_size, *, key)` and the options."""
    options: frozenset[str] = frozenset()
    """The further sizes that the constructor takes: some of `num_heads`, `capacity`, `hidden_size`, `gate_size`."""

    def taken(self, **options: Any) -> dict[str, Any]:
        """Choose the options that this mixer has, and leave the others out."""
        return {name: value for name, value in options.items() if name in self.options}


MIXERS: dict[str, Mixer] = {
    "aaren": Mixer("Aaren", Aaren, frozenset({"num_heads"})),
    "softmax-attention": Mixer("Transformer", CausalSelfAttention, frozenset({"num_heads", "capacity"})),
    "linear-attention": Mixer("linear attention", LinearSelfAttention, frozenset({"num_heads"})),
    "gated-rnn": Mixer("gated RNN", GatedRNN, frozenset({"hidden_size", "gate_size"})),
    "lru": Mixer("LRU", LRU),
    "lstm": Mixer("LSTM", LSTM),
    "gru": Mixer("GRU", GRU),
    "min-gru": Mixer("minGRU", MinGRU),
    "min-lstm": Mixer("minLSTM", MinLSTM),
    "aaren-decay": Mixer("Aaren with decay", partial(Aaren, decay=True), frozenset({"num_heads"})),
    "softmax-attention-rotary": Mixer(
        "rotary Transformer", partial(CausalSelfAttention, rotary=True), frozenset({"num_heads", "capacity"})
    ),
}
"""The mixers by name."""


def mixer_named(name: str) -> Mixer:
    """The mixer of this name.

    **Raises:** `InputError` for an unknown name. The message lists the names.
    """
    if name not in MIXERS:
        raise InputError(f"unknown mixer {name!r}; the mixers are {', '.join(sorted(MIXERS))}")
    return MIXERS[name]
