"""A gated RNN learns to imitate a linear self-attention layer (paper A, section 3)."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from ...layers import GatedRNN, LinearSelfAttention
from ...layers.gated_rnn import nu_of
from ...layers.layer import Layer
from ...train import adamw_cosine


class Recipe(NamedTuple):
    """Sizes and optimisation of a student trained by gradient descent. The defaults are the paper's (its appendix B)."""

    size: int = 4
    """d, the size of tokens and of the teacher."""
    hidden_size: int = 100
    gate_size: int = 100
    time: int = 32
    batch: int = 64
    steps: int = 1_000_000
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-6
    b2: float = 0.999
    """AdamW's memory for second moments."""
    weight_decay: float = 1e-4
    """On everything but the recurrent parameters."""

    def teacher(self, key: PRNGKeyArray) -> LinearSelfAttention:
        """A random teacher, weights from N(0, 1/d): the paper does not state their scale."""
        return LinearSelfAttention(self.size, self.size, key=key)

    def student(self, key: PRNGKeyArray) -> GatedRNN:
        """A random student."""
        return GatedRNN(self.size, self.size, hidden_size=self.hidden_size, gate_size=self.gate_size, key=key)

    def optimiser(self) -> optax.GradientTransformation:
        """That of the paper, with this recipe's figures."""
        return adamw_cosine(
            self.steps,
            learning_rate=self.learning_rate,
            final_learning_rate=self.final_learning_rate,
            b2=self.b2,
            weight_decay=self.weight_decay,
        )

    def loss(self, student: Layer, teacher: Layer, key: PRNGKeyArray) -> Scalar:
        """The imitation loss on one fresh batch."""
        return imitation_loss(student, teacher, sample_tokens(key, self.time, self.batch, self.size))


class LeastSquares(NamedTuple):
    """Sizes and optimisation of a student that `discover.finetune` trains: minutes rather than hours."""

    size: int = 4
    """d, the size of tokens and of the teacher."""
    hidden_size: int = 20
    gate_size: int = 30
    time: int = 8
    steps: int = 60
    starts: int = 5
    """How many students may be begun: the next if the one before is stuck above `enough`."""
    enough: float = 1e-18
    """The loss that a student must reach."""

    def teacher(self, key: PRNGKeyArray) -> LinearSelfAttention:
        """As that of `Recipe`."""
        return Recipe(self.size).teacher(key)

    def student(self, key: PRNGKeyArray) -> GatedRNN:
        """A random student, lambda of density 2 lambda: attention takes more memories than queries."""
        uniform = Recipe(self.size, self.hidden_size, self.gate_size).student(key)
        return eqx.tree_at(lambda rnn: rnn.recurrent, uniform, nu_of(uniform.lam**0.5))


def sample_tokens(key: PRNGKeyArray, time: int, batch: int, size: int) -> Float[Array, "time batch size"]:
    """Input sequences: independent unit Gaussians (the paper does not state its inputs)."""
    return jax.random.normal(key, (time, batch, size))


def imitation_loss(student: Layer, teacher: Layer, xs: Float[Array, "time batch in"]) -> Scalar:
    """Half the mean squared difference of the outputs, over outputs, tokens and sequences."""
    # Time stays the leading axis through both layers, so that the recurrence needs no transposition.
    outputs = [jax.vmap(layer, in_axes=1, out_axes=1)(xs) for layer in (student, teacher)]
    return jnp.mean((outputs[0] - outputs[1]) ** 2) / 2
