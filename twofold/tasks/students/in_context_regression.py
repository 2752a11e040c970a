"""Linear regression in context: each sequence is a problem of its own, to be solved from its examples (paper A, section 4)."""

from functools import cache
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from ...errors import InputError
from ...layers import GatedRNN, LinearSelfAttention
from ...layers.layer import Layer
from .ways import AdamW

BATCH = 4096
"""Expected losses are measured on batches of so many new tasks."""
WIDTH = 3**0.5
"""Inputs are uniform between -sqrt(3) and sqrt(3). So they have mean 0, variance 1 and fourth moment 9/5."""


class Recipe(NamedTuple):
    """The sizes of a student and of its problem, and how the student is trained. The defaults are from paper A, appendix C.1."""

    time: int = 12
    """T, the number of examples before the question."""
    in_size: int = 3
    """d_x, the size of the inputs x."""
    out_size: int = 3
    """The size of the outputs y."""
    hidden_size: int = 80
    gate_size: int = 80
    """The number of gate rows. The paper states only the number of hidden neurons."""
    way: AdamW = AdamW(steps=300_000)

    def student(self, key: PRNGKeyArray) -> GatedRNN:
        """A random network."""
        return GatedRNN(
            self.in_size + self.out_size,
            self.out_size,
            hidden_size=self.hidden_size,
            gate_size=self.gate_size,
            key=key,
        )

    def tasks(
        self, key: PRNGKeyArray, batch: int, variance: float = 1.0
    ) -> tuple[Float[Array, "batch time_plus_1 in_plus_out"], Float[Array, "batch out"]]:
        """New sequences and their answers, as `sample_tasks` makes them."""
        return sample_tasks(key, batch, time=self.time, in_size=self.in_size, out_size=self.out_size, variance=variance)

    def loss(self, student: Layer, data: None, key: PRNGKeyArray) -> Scalar:
        """The loss on one new batch."""
        return regression_loss(student, *self.tasks(key, self.way.batch))

    def as_json(self) -> dict[str, Any]:
        """The sizes and settings by their names, in the form of run.json."""
        return {name: value for name, value in self._asdict().items() if name != "way"} | self.way._asdict()


def sample_tasks(
    key: PRNGKeyArray, batch: int, *, time: int = 12, in_size: int = 3, out_size: int = 3, variance: float = 1.0
) -> tuple[Float[Array, "batch time_plus_1 in_plus_out"], Float[Array, "batch out"]]:
    """Random sequences, each of examples and a question, and the answers (paper A, appendix C).

    The tokens of a sequence are the examples (x_t, y_t) with y_t = W x_t for t = 1..time, and then the question (x, 0). The
    answer is W x. Every sequence has its own W, with entries from N(0, variance / in_size). The paper validates with a
    variance of 2.

    **Raises:** `InputError` for sizes below 1.
    """
    for name, size in (("batch", batch), ("time", time), ("in_size", in_size), ("out_size", out_size)):
        if size < 1:
            raise InputError(f"{name} is {size}; it must be at least 1")
    of_weights, of_inputs = jax.random.split(key)
    w = jax.random.normal(of_weights, (batch, out_size, in_size)) * (variance / in_size) ** 0.5
    xs = jax.random.uniform(of_inputs, (batch, time + 1, in_size), minval=-WIDTH, maxval=WIDTH)
    ys = jnp.einsum("noi,nti->nto", w, xs)
    asked = jnp.arange(time + 1)[:, None] == time
    return jnp.concatenate([xs, jnp.where(asked, 0, ys)], 2), ys[:, -1]


def regression_loss(
    model: Layer, tokens: Float[Array, "batch time_plus_1 features"], answers: Float[Array, "batch out"]
) -> Scalar:
    """Half the mean squared error of the outputs at the questions."""
    return jnp.mean((predictions(model, tokens) - answers) ** 2) / 2


def predictions(model: Layer, tokens: Float[Array, "batch time_plus_1 features"]) -> Float[Array, "batch out"]:
    """The outputs at the last tokens, which are the questions."""

    def predict(xs):
        state, _ = model.prefill(model.init_state(), xs[:-1])  # the outputs are not used, so XLA does not compute them
        return model.step(state, xs[-1])[1]

    return jax.vmap(predict)(tokens)


def optimal_step(time: int = 12, in_size: int = 3) -> float:
    """eta* = 1 / (T + d_x - 1/5), the best step size for a single gradient step from W = 0.

    After a step of size eta, the prediction is eta * sum_t y_t x_t^T x. For entries of W with variance 1/d_x, and the inputs of
    `sample_tasks`, its expected loss is (eta^2 T (T + d_x - 1/5) - 2 eta T + 1) / 2.
    """
    return 1 / (time + in_size - 1 / 5)


def loss_of_step(step: float, time: int = 12, in_size: int = 3) -> float:
    """The expected loss after one gradient step of the given size. For the best size, it is (1 - T eta*) / 2."""
    return (step**2 * time * (time + in_size - 1 / 5) - 2 * step * time + 1) / 2


def gradient_step(step: float, in_size: int = 3, out_size: int = 3) -> LinearSelfAttention:
    """One gradient step as an attention layer. Its values are eta * y, and its keys and queries are x."""
    x, y = jnp.split(jnp.eye(in_size + out_size), [in_size])
    return LinearSelfAttention.from_weights(step * y, x, x)


def expected_loss(recipe: Recipe, model: Layer, variance: float = 1.0, *, batches: int = 64) -> float:
    """The loss on `batches` times 4096 new tasks whose W has this variance times 1/d_x.

    It is the loss of the optimal step, which is known, and by how much the loss of the model is higher on the same tasks.
    """
    step = optimal_step(recipe.time, recipe.in_size)
    attention = gradient_step(step, recipe.in_size, recipe.out_size)
    keys = jax.random.split(jax.random.key(2**31 - 1), batches)  # training folds its keys in
    more = [_difference(model, attention, *recipe.tasks(key, BATCH, variance)) for key in keys]
    return variance * loss_of_step(step, recipe.time, recipe.in_size) + float(np.mean(more))


@eqx.filter_jit
def _difference(model, other, tokens, answers):
    return regression_loss(model, tokens, answers) - regression_loss(other, tokens, answers)


@cache
def loss_of_steps(steps: int, time: int = 12, in_size: int = 3) -> float:
    """The expected loss after several gradient steps of the best equal size, for entries of W with variance 1/d_x.

    After k steps from W = 0, the error is W (I - eta X X^T)^k x, so the loss is the mean of (1 - eta s)^(2 k) / 2 over the
    eigenvalues s of X X^T. The mean is taken over 100,000 random X.
    """
    from scipy.optimize import minimize_scalar  # imported here, because it takes as long as all of twofold

    xs = np.random.default_rng(0).uniform(-WIDTH, WIDTH, (100_000, time, in_size))
    eigenvalues = np.linalg.eigvalsh(np.swapaxes(xs, 1, 2) @ xs)

    def loss(step):
        return float(np.mean((1 - step * eigenvalues) ** (2 * steps)) / 2)

    return float(minimize_scalar(loss, bounds=(0, 2 / time), method="bounded").fun)
