"""Ways to train a student. Each has its settings, the start that it needs, and the precision that it needs."""

import contextlib
from typing import NamedTuple

import jax
import optax

from ...discover.finetuning import towards_memory
from ...layers import GatedRNN
from ...train import adamw_cosine


class AdamW(NamedTuple):
    """Gradient descent with AdamW, as in paper A. The defaults are from its appendices B and C.1."""

    steps: int
    batch: int = 64
    """Each step uses this many new sequences."""
    learning_rate: float = 1e-3
    """The learning rate at the start."""
    final_learning_rate: float = 1e-6
    """The learning rate at the end. It falls along a cosine."""
    b2: float = 0.999
    """The decay rate of AdamW's second moments."""
    weight_decay: float = 1e-4
    """The weight decay of AdamW. The recurrent weights do not decay."""

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
        """The student from which training starts. It is the random student as it was drawn."""
        return student

    def precision(self) -> contextlib.AbstractContextManager:
        """A context with the precision that training needs. It changes nothing."""
        return contextlib.nullcontext()


class LeastSquares(NamedTuple):
    """The second-order steps of `discover.finetune`. They take minutes rather than hours."""

    steps: int = 60
    starts: int = 5
    """At most this many students are started, one after another. The next one starts if the loss stays above `enough`."""
    enough: float = 1e-8
    """The loss that a student must reach, relative to the mean square of the teacher. `discover.shrink` lowers it further."""

    def start(self, student: GatedRNN) -> GatedRNN:
        """The student from which training starts: one with more lambdas near 1 than near 0."""
        return towards_memory(student)

    def precision(self) -> contextlib.AbstractContextManager:
        """A context with the precision that training and the measurement of its results need: float64."""
        return jax.enable_x64(True)
