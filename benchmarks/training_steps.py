"""Training loops. Their steps are compiled as `twofold.train.fit` compiles them, then they are checked, and timed in turns."""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import optax
from jax import Array, lax
from jax.extend.core import jaxprs_in_params

from .contestants import only_xla
from .timing import timed

STEPS = 30  # At most this many steps are compiled into one call.


class Loop(NamedTuple):
    """A training loop in JAX."""

    loss: Callable[..., Array]
    """The loss, from the model, a key, and the data."""
    model: Any
    """A pytree. Its arrays of floats are trained."""
    optimiser: optax.GradientTransformation
    data: tuple[Array, ...] = ()
    steps: int = STEPS


class Trainer(NamedTuple):
    """A training loop of any library that is compiled."""

    turn: Callable[[], Any]
    """Takes the steps of one call, and returns their losses."""
    parameters: int
    """How many numbers are trained."""
    memory: int | None = None
    """How many bytes the call needs for its arguments, its results and all between them, if the library says it."""


class Training(NamedTuple):
    """A comparison of training loops. The contestants are twofold with its kernels, twofold on XLA alone, and the others."""

    group: str
    """The title of the table that the comparison is in."""
    name: str
    loop: Loop
    """twofold's loop."""
    others: dict[str, Callable[[], Trainer]]
    """Compiles the loops of other models, which must have as many parameters and the same number of steps."""

    @property
    def title(self) -> str:
        return f"{self.group}: {self.name}"

    @property
    def contestants(self) -> dict[str, Callable[[], Trainer]]:
        return {
            "twofold": lambda: compiled(self.loop),
            "twofold, XLA": lambda: compiled_by_xla(self.loop),
        } | self.others


def compiled(loop: Loop) -> Trainer:
    step, carry = _step(loop)

    def stretch(carry, key, data):
        return lax.scan(lambda carry, key: step(carry, key, data), carry, jax.random.split(key, loop.steps))

    arguments = carry, jax.random.key(0), loop.data
    run = jax.jit(stretch).lower(*arguments).compile()
    told = run.memory_analysis()
    memory = told and told.argument_size_in_bytes + told.output_size_in_bytes + told.temp_size_in_bytes
    count = sum(x.size for x in jax.tree.leaves(carry[0]))
    return Trainer(lambda: jax.block_until_ready(run(*arguments))[1], count, memory)


def compiled_by_xla(loop: Loop) -> Trainer:
    with only_xla():
        return compiled(loop)


def flops(loop: Loop) -> int:
    """The flops of the matrix products in one step, as twofold on XLA alone computes it."""
    step, carry = _step(loop)
    with only_xla():
        return products(jax.make_jaxpr(step)(carry, jax.random.key(0), loop.data).jaxpr)


def _step(loop: Loop) -> tuple[Callable, tuple]:
    """One step of training, `(carry, key, data) -> (carry, loss)`, and the first carry. It begins with the parameters."""
    params, static = eqx.partition(loop.model, eqx.is_inexact_array)

    def step(carry, key, data):
        params, state = carry
        value, grads = jax.value_and_grad(lambda params: loop.loss(eqx.combine(params, static), key, *data))(params)
        updates, state = loop.optimiser.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), value

    return step, (params, loop.optimiser.init(params))


def compare(training: Training, peak: float, seconds: float, advance: Callable[[str], None]) -> dict:
    """The figures of a comparison. `peak` is the speed of a large product in flops per second.

    A contestant that is wrong is not timed. Its figures say why. `advance` is called with the name of each contestant before
    it is compiled.
    """
    figures: dict[str, dict] = {}
    trainers, losses = dict[str, Trainer](), dict[str, list[float]]()
    for name, compile_ in training.contestants.items():
        advance(name)
        jax.clear_caches()  # Or the traces of one contestant would be used for the next one.
        start = time.perf_counter()
        trainer = compile_()
        figures[name] = {"compile_s": time.perf_counter() - start, "memory_bytes": trainer.memory}
        figures[name]["parameters"] = trainer.parameters
        losses[name] = [float(loss) for loss in trainer.turn()]
        trainers[name] = trainer
    first = next(iter(trainers))
    for name in list(trainers):
        same = name not in training.others
        fault = differs(losses[name], losses[first]) if same else unlike(trainers[name], trainers[first], losses[name])
        if fault:
            figures[name]["left_out"] = fault
            del trainers[name]
    work, steps = flops(training.loop), training.loop.steps
    for name, figure in timed({name: trainer.turn for name, trainer in trainers.items()}, first, seconds).items():
        figure["ms"] /= steps
        figures[name] |= figure | {"share_of_peak": work / peak / (1e-3 * figure["ms"])}
    return {
        "title": training.title,
        "group": training.group,
        "name": training.name,
        "steps": steps,
        "flops_of_products": work,
        "contestants": figures,
    }


def differs(losses: list[float], expected: list[float]) -> str:
    """Says that the losses of the same weights differ. Later ones may, because training lets rounding errors grow."""
    pairs = zip(losses[:10], expected[:10], strict=True)
    error = max(abs(loss - other) / abs(other) for loss, other in pairs)
    return "" if error <= 1e-3 else f"losses differ by {error:.0e}"


def unlike(trainer: Trainer, first: Trainer, losses: list[float]) -> str:
    """Says what is wrong with another model in training: the number of its parameters, or its losses."""
    more = trainer.parameters / first.parameters - 1
    if abs(more) > 0.01:
        return f"has {more:+.0%} parameters"
    return "" if losses[-1] < losses[0] else "loss does not fall"


def products(jaxpr) -> int:
    """The flops of all matrix products in a program. A product in a loop counts as often as the loop runs."""
    total = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            left, out = equation.invars[0].aval.shape, equation.outvars[0].aval.shape
            total += 2 * math.prod(out) * math.prod(left[axis] for axis in contracted)
        times = equation.params.get("length", 1) if equation.primitive.name == "scan" else 1
        total += times * sum(products(inner) for inner in jaxprs_in_params(equation.params))
    return total
