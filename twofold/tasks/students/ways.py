"""Ways to train a student. Each has its settings, and whatever else depends on the way alone."""

import contextlib
from typing import NamedTuple

import equinox as eqx
import jax
import optax

from ...layers import GatedRNN
from ...layers.gated_rnn import nu_of
from ...train import adamw_cosine


class AdamW(NamedTuple):
    """Gradient descent, as in the papers. The defaults are paper A's (its appendices B and C.1)."""

    steps: int
    batch: int = 64
    """Each step is taken on this many fresh sequences."""
    learning_rate: float = 1e-3
    """The learning rate at the start."""
    final_learning_rate: float = 1e-6
    """The learning rate at the end. It falls along a cosine."""
    b2: float = 0.999
    """How slowly AdamW forgets second moments."""
    weight_decay: float = 1e-4
    """The decay of all weights but the recurrent ones."""

    def optimiser(self) -> optax.GradientTransformation:
        """AdamW with these settings."""
        return adamw_cosine(
            self.steps,
            learning_rate=self.learning_rate,
            final_learning_rate=self.final_learning_rate,
            b2=self.b2,
            weight_decay=self.weight_decay,
        )

    def start(self, student: GatedRNN) -> GatedRNN:
        """A random student as this way wants it: as it was drawn."""
        return student

    def precision(self) -> contextlib.AbstractContextManager:
        """The precision that training needs: what JAX has."""
        return contextlib.nullcontext()


class LeastSquares(NamedTuple):
    """The second-order steps of `discover.finetune`: minutes rather than hours."""

    steps: int = 60
    starts: int = 5
    """At most this many students are begun. The next is begun if the one before is stuck above `enough`."""
    enough: float = 1e-18
    """The loss that a student must reach."""

    def start(self, student: GatedRNN) -> GatedRNN:
        """A random student as this way wants it: lambda has density 2 lambda, as attention takes more memories than queries."""
        return eqx.tree_at(lambda rnn: rnn.recurrent, student, nu_of(student.lam**0.5))

    def precision(self) -> contextlib.AbstractContextManager:
        """The precision that training needs, and that its results are measured in: float64."""
        return jax.enable_x64(True)
