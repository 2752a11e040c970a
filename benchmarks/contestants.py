"""What is compared: tasks, and the contestants that compute them."""

import math
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

Which = Literal["forward", "gradient"]
LIMIT = 2**29
"""How many numbers a contestant may keep besides its inputs and outputs: 2 GiB of float32."""
PEERS = {"torch": "PyTorch", "flax": "Flax", "memax": "memax"}
"""The optional libraries: their names by the names to install."""


class Task(NamedTuple):
    """One computation, forward or with its gradient. All contestants of a case do it."""

    parameters: dict[str, Array]
    """The arrays whose gradients are taken."""
    data: tuple[Array, ...]
    """The other inputs."""
    cotangent: Callable[[Any, Any], Any]
    """Computes the gradient of the loss with respect to the output, from the output and `random`. It takes the arrays of any
    library."""
    random: Array
    """Random numbers in the shape of the output."""


def normal(*shapes: tuple[int, ...], dtype=np.float32) -> list[Array]:
    """Random numbers, one array for each shape. NumPy makes them, because JAX would compile a program for each shape."""
    rng = np.random.default_rng(0)

    def numbers(shape):
        real = rng.normal(size=shape)
        return real + 1j * rng.normal(size=shape) if np.issubdtype(dtype, np.complexfloating) else real

    return [jnp.asarray(numbers(shape), dtype) for shape in shapes]


def weighted_sum(out, random):
    """The gradient of the loss sum(out * random), with respect to `out`."""
    return random


def mean_square(out, target):
    """The gradient of the loss mean((out - target)^2), with respect to `out`."""
    return 2 / math.prod(out.shape) * (out - target)


class Run(NamedTuple):
    """A contestant that is compiled for a task."""

    turn: Callable[[], Any]
    """The call that is timed. It returns when its results are there."""
    read: Callable[[Any], dict[str, Any]]
    """Reads what `turn` returns: the output as "out", and the gradients by the names of the task's parameters."""


class Contestant(NamedTuple):
    """A function of a library, with all that is needed to time it and to check its results."""

    name: str
    function: Callable
    """Computes the output from the contestant's own parameters and the data. All have a batch axis."""
    engine: Callable[["Contestant", Any, Task, Which], Run]
    """Compiles the contestant for its parameters and the task."""
    parameters: Callable[[dict], Any] = dict
    """Makes the contestant's own parameters from the task's parameters."""
    gradients: Callable[[Any], dict] = dict
    """Makes the gradients of the task's parameters from the gradients of the contestant's own parameters."""
    keeps: int = 0
    """How many numbers the contestant keeps in large arrays besides inputs and outputs. Above `LIMIT` it is left out."""
    compared_with: str = "twofold"
    """The name of the reference of the case whose float64 results it must reach."""


class Case(NamedTuple):
    """A comparison: a task and its contestants."""

    operation: str
    variant: str
    shape: tuple[int, ...]
    task: Callable[[], Task]
    contestants: list[Contestant]
    """The contestants. The times of all are divided by the time of the first."""
    references: dict[str, Contestant]
    """The contestants that are run in float64, by the names that `compared_with` uses."""
    flops: tuple[float, float] = (0, 0)
    """The flops of the matrix products that twofold's function needs, forward and with the gradient. Nothing else is counted."""
    note: str = ""
    """A sentence under the table."""

    @property
    def title(self) -> str:
        return f"{self.operation}, {self.variant}, {self.shape}"


def with_jax(contestant: Contestant, own: Any, task: Task, which: Which) -> Run:
    """Trace, lower and compile a contestant. A turn is then the call alone."""

    def forward(parameters, data, random):
        return contestant.function(parameters, *data), {}

    def gradient(parameters, data, random):
        out, pull_back = jax.vjp(lambda parameters: contestant.function(parameters, *data), parameters)
        return out, *pull_back(task.cotangent(out, random))

    arguments = jax.device_put((own, task.data, task.random))
    run = jax.jit(forward if which == "forward" else gradient).lower(*arguments).compile()

    def read(results):
        out, gradients = results
        return {"out": out} | (contestant.gradients(gradients) if which == "gradient" else {})

    return Run(lambda: jax.block_until_ready(run(*arguments)), read)


def with_xla(contestant: Contestant, own: Any, task: Task, which: Which) -> Run:
    """As `with_jax`, but XLA compiles twofold's scans, and no native kernel runs."""
    with only_xla():
        return with_jax(contestant, own, task, which)


@contextmanager
def only_xla() -> Iterator[None]:
    """Let XLA compile twofold's scans. twofold reads the environment variable while JAX traces a program."""
    before = os.environ.get("TWOFOLD_IMPLEMENTATION", "auto")
    os.environ["TWOFOLD_IMPLEMENTATION"] = "xla"
    try:
        yield
    finally:
        os.environ["TWOFOLD_IMPLEMENTATION"] = before


def present(peer: str) -> bool:
    """Whether an optional library is installed."""
    return find_spec(peer) is not None
