"""What is compared: a task, who does it, and how JAX is made to."""

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
"""Numbers that a contestant may keep beside inputs and outputs: 2 GiB of float32."""
PEERS = {"torch": "PyTorch", "flax": "Flax", "memax": "memax"}
"""What need not be installed, by the name to install."""


class Task(NamedTuple):
    """One computation, forward or with its gradient, that all contestants do."""

    parameters: dict[str, Array]
    """In which the gradient is taken."""
    data: tuple[Array, ...]
    """What else goes in."""
    cotangent: Callable[[Any, Any], Any]
    """From the output and `random` to the gradient of the loss in the output; of arrays of any library."""
    random: Array
    """Of the shape of the output."""


def normal(*shapes: tuple[int, ...], dtype=np.float32) -> list[Array]:
    """Random numbers, by NumPy: JAX would compile for each shape."""
    rng = np.random.default_rng(0)

    def numbers(shape):
        real = rng.normal(size=shape)
        return real + 1j * rng.normal(size=shape) if np.issubdtype(dtype, np.complexfloating) else real

    return [jnp.asarray(numbers(shape), dtype) for shape in shapes]


def weighted_sum(out, random):
    """The gradient of the sum of out * random."""
    return random


def mean_square(out, target):
    """The gradient of the mean of (out - target)^2."""
    return 2 / math.prod(out.shape) * (out - target)


class Run(NamedTuple):
    turn: Callable[[], Any]
    """What is timed: back when its results are there."""
    read: Callable[[Any], dict[str, Any]]
    """From what a turn returns to the output, "out", and the gradients by the names of the task's parameters."""


class Contestant(NamedTuple):
    name: str
    function: Callable
    """From its parameters and the data to the output, all with a batch axis."""
    engine: Callable[["Contestant", Any, Task, Which], Run]
    """Compiles it for its parameters and the task."""
    parameters: Callable[[dict], Any] = dict
    """From the task's parameters to its own."""
    gradients: Callable[[Any], dict] = dict
    """From the gradient in its parameters to that in the task's."""
    keeps: int = 0
    """Numbers in arrays beside inputs, outputs and a few of their size; above `LIMIT` it is left out."""
    compared_with: str = "twofold"
    """Whose float64 results its own must equal: a reference of the case."""


class Case(NamedTuple):
    operation: str
    variant: str
    shape: tuple[int, ...]
    task: Callable[[], Task]
    contestants: list[Contestant]
    """Of whom the first is the one whose time the others' are divided by."""
    references: dict[str, Contestant]
    """Run in float64, by what `compared_with` calls them."""
    flops: tuple[float, float] = (0, 0)
    """Of the matrix products that twofold's function needs, forward and with the gradient; nothing else is counted."""
    note: str = ""

    @property
    def title(self) -> str:
        return f"{self.operation}, {self.variant}, {self.shape}"


def with_jax(contestant: Contestant, own: Any, task: Task, which: Which) -> Run:
    """Traced, lowered and compiled: a turn is the call alone."""

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
    """As `with_jax`, with twofold's scans left to XLA."""
    with only_xla():
        return with_jax(contestant, own, task, which)


@contextmanager
def only_xla() -> Iterator[None]:
    """twofold reads this while tracing."""
    before = os.environ.get("TWOFOLD_IMPLEMENTATION", "auto")
    os.environ["TWOFOLD_IMPLEMENTATION"] = "xla"
    try:
        yield
    finally:
        os.environ["TWOFOLD_IMPLEMENTATION"] = before


def present(peer: str) -> bool:
    return find_spec(peer) is not None
