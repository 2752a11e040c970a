"""A gated RNN learns to imitate a linear self-attention layer (paper A, section 3)."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from ...layers import GatedRNN, LinearSelfAttention
from ...layers.layer import Layer
from .ways import AdamW, LeastSquares


class Recipe(NamedTuple):
    """The sizes of a student and its teacher, and how the student is trained. The defaults are from paper A, appendix B."""

    size: int = 4
    """d, the size of the tokens and of the teacher."""
    hidden_size: int = 100
    gate_size: int = 100
    time: int = 32
    """The number of tokens in a sequence."""
    way: AdamW | LeastSquares = AdamW(steps=1_000_000)

    def teacher(self, key: PRNGKeyArray) -> LinearSelfAttention:
        """A random teacher, with weights from N(0, 1/d). The paper does not state their scale."""
        return LinearSelfAttention(self.size, self.size, key=key)

    def student(self, key: PRNGKeyArray) -> GatedRNN:
        """A random student, as the way of training wants it."""
        drawn = GatedRNN(self.size, self.size, hidden_size=self.hidden_size, gate_size=self.gate_size, key=key)
        return self.way.start(drawn)

    def loss(self, student: Layer, teacher: Layer, key: PRNGKeyArray) -> Scalar:
        """The imitation loss on one new batch, for training with AdamW."""
        assert isinstance(self.way, AdamW)
        return imitation_loss(student, teacher, sample_tokens(key, self.time, self.way.batch, self.size))

    def as_json(self) -> dict[str, Any]:
        """The sizes and settings by their names, in the form of run.json."""
        return {name: value for name, value in self._asdict().items() if name != "way"} | self.way._asdict()


def sample_tokens(key: PRNGKeyArray, time: int, batch: int, size: int) -> Float[Array, "time batch size"]:
    """Input sequences of independent numbers from N(0, 1). The paper does not state its inputs."""
    return jax.random.normal(key, (time, batch, size))


def imitation_loss(student: Layer, teacher: Layer, xs: Float[Array, "time batch in"]) -> Scalar:
    """Half the mean squared difference of the outputs, over outputs, tokens and sequences."""
    # Time stays the first axis through both layers, so that the recurrence needs no transposition.
    outputs = [jax.vmap(layer, in_axes=1, out_axes=1)(xs) for layer in (student, teacher)]
    return jnp.mean((outputs[0] - outputs[1]) ** 2) / 2
