"""The architecture of `SequenceModel` in Flax."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx


class Attention(nnx.Module):
    """Causal attention without biases."""

    def __init__(self, width: int, heads: int, rngs: nnx.Rngs):
        self.layer = nnx.MultiHeadAttention(heads, width, use_bias=False, decode=False, rngs=rngs)

    def __call__(self, xs):
        return self.layer(xs, mask=nnx.make_causal_mask(xs[..., 0]))


class Recurrent(nnx.Module):
    """The outputs of a cell that a scan runs over time."""

    def __init__(self, cell: Callable[..., nnx.RNNCellBase], states: int, width: int, heads: int, rngs: nnx.Rngs):
        self.layer = nnx.RNN(cell(width, width, rngs=rngs))
        self.states = states

    def __call__(self, xs):
        zeros = [jnp.zeros((len(xs), xs.shape[2]))] * self.states
        return self.layer(xs, initial_carry=tuple(zeros) if self.states > 1 else zeros[0])


MIXERS: dict[str, Callable[..., nnx.Module]] = {
    "softmax-attention": Attention,
    "lstm": partial(Recurrent, nnx.LSTMCell, 2),
    "gru": partial(Recurrent, nnx.GRUCell, 1),
}
"""The mixers that Flax has: their modules from the width, the number of heads, and the random keys."""


class Block(nnx.Module):
    def __init__(self, mixer: Callable, width: int, rngs: nnx.Rngs):
        self.mixer_norm, self.feed_forward_norm = (nnx.LayerNorm(width, rngs=rngs) for _ in range(2))
        self.mixer = mixer
        self.expand = nnx.Linear(width, 4 * width, rngs=rngs)
        self.contract = nnx.Linear(4 * width, width, rngs=rngs)

    def __call__(self, xs):
        xs = xs + self.mixer(self.mixer_norm(xs))
        return xs + self.contract(jax.nn.gelu(self.expand(self.feed_forward_norm(xs))))


def model(mixer: str, width: int, depth: int, heads: int) -> tuple:
    """The model: its graph, and its arrays."""
    rngs = nnx.Rngs(0)
    blocks = (Block(MIXERS[mixer](width, heads, rngs=rngs), width, rngs) for _ in range(depth))
    ends = (nnx.Linear(width, width, rngs=rngs) for _ in range(2))
    return nnx.split(nnx.Sequential(next(ends), *blocks, nnx.LayerNorm(width, rngs=rngs), next(ends)))


def loss(model, key, xs, target):
    """The mean square of the differences from the targets."""
    return jnp.mean((nnx.merge(*model)(xs) - target) ** 2)
