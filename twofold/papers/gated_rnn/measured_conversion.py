"""A conversion, measured: what the tables of conversions share."""

import dataclasses
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float

from ...convert import Converted
from ...errors import InputError
from ...layers import GatedRNN, LinearSelfAttention
from ...tasks.matched import count_parameters

Source = LinearSelfAttention | GatedRNN


@dataclasses.dataclass
class Conversion:
    """What is converted, and over which tokens the error is measured."""

    d: int = 4
    """The size of tokens, queries, keys and values."""
    tokens: int = 256
    """The error is measured over this many random tokens."""
    dtype: Literal["float64", "float32"] = "float64"
    """The dtype of all weights and all arithmetic."""
    seed: int = 0
    """The seed of weights and tokens."""

    def check(self) -> None:
        """**Raises:** `InputError` for sizes below 1."""
        if self.d < 1 or self.tokens < 1:
            raise InputError(f"d is {self.d} and tokens is {self.tokens}; both must be at least 1")

    def as_json(self) -> dict[str, int | str]:
        """The settings by name."""
        return {"d": self.d, "tokens": self.tokens, "dtype": self.dtype, "seed": self.seed}

    def random_tokens(self) -> Float[np.ndarray, "tokens d"]:
        """Unit Gaussian tokens."""
        return np.asarray(jax.random.normal(jax.random.key(self.seed), (self.tokens, self.d)))

    def random_sources(self) -> tuple[LinearSelfAttention, GatedRNN]:
        """Attention with N(0, 1/d) weights, and a random gated RNN of the size of its compact construction."""
        keys = jax.random.split(jax.random.key(self.seed + 1), 2)
        pairs = self.d * (self.d + 1) // 2
        sources = (
            LinearSelfAttention(self.d, self.d, key=keys[0]),
            GatedRNN(self.d, self.d, hidden_size=pairs + self.d, gate_size=pairs, key=keys[1]),
        )
        return jax.tree.map(lambda x: x.astype(self.dtype), sources)

    def half_rank(self) -> tuple[LinearSelfAttention, int]:
        """Attention whose weights have half the largest rank, and this rank."""
        rank = max(self.d // 2, 1)
        return jax.tree.map(lambda x: x.astype(self.dtype), attention_of_rank(rank, self.d, self.seed)), rank


def attention_of_rank(rank: int, d: int, seed: int) -> LinearSelfAttention:
    """Attention whose W_V is a product of N(0, 1/d) factors of this rank, and whose W_K and W_Q have as many rows."""
    key = jax.random.key(seed + 2)
    left, right = jax.random.normal(key, (2, d, rank)) / d**0.5
    layer = LinearSelfAttention(d, d, key_size=rank, key=key)
    return eqx.tree_at(lambda l: l.w_v, layer, (left @ right.T)[None])


class Cell(NamedTuple):
    """One conversion: the size of the network, and how far its outputs are from those of the source."""

    layers: int
    neurons: int
    parameters: int
    error: float
    """|y - y'| / |y| over all outputs of random unit Gaussian tokens. y is computed in float64."""
    error_bound: float | None = None
    """No entry of an output is off by more, for tokens whose entries are at most 4."""
    scale: float | None = None
    """The largest argument of a linearised sigmoid, for such tokens; None for a gated RNN, which has no sigmoids."""


def measured(source: Source, network: GatedRNN | Converted, xs: Float[np.ndarray, "tokens d"]) -> Cell:
    """The size of a network, and how far its outputs are from those of its source."""
    in_double = jax.tree.map(lambda x: x.astype("float64"), source)
    truth, ours = (np.asarray(_run(layer, xs)) for layer in (in_double, network))
    error = float(np.linalg.norm(ours - truth) / np.linalg.norm(truth))
    parameters = count_parameters(network)
    if isinstance(network, GatedRNN):
        return Cell(1, network.hidden_size, parameters, error)
    return Cell(network.layers, network.neurons, parameters, error, network.error_bound, network.scale)


@eqx.filter_jit
def _run(layer, xs):
    return layer(xs)
