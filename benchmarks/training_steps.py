"""Training steps of twofold's own tasks, compiled as `twofold.train.fit` does it, with native kernels and with XLA alone."""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.extend.core import jaxprs_in_params

from twofold.data import uea
from twofold.tasks import classification
from twofold.tasks.students import teacher_student
from twofold.tasks.students.ways import AdamW

from .contestants import only_xla

STEPS = 30  # This many steps are compiled into one call.
ROUNDS = 7


class Loop(NamedTuple):
    """A training loop that is measured."""

    name: str
    loss: Callable
    """The loss, from a model and a key."""
    model: eqx.Module
    optimiser: optax.GradientTransformation


def loops(quick: bool) -> Iterator[Loop]:
    way = AdamW(steps=1_000_000)
    size = 20 if quick else 100
    recipe = teacher_student.Recipe(hidden_size=size, gate_size=size, way=way)
    keys = jax.random.split(jax.random.key(0), 3)
    teacher = recipe.teacher(keys[0])
    yield Loop(
        f"teacher and student, {recipe.hidden_size} neurons",
        lambda model, key: recipe.loss(model, teacher, key),
        recipe.student(keys[1]),
        way.optimiser(),
    )
    data = uea.load_labelled("JapaneseVowels")
    train = jax.tree.map(jnp.asarray, data.train)
    for mixer in ("aaren",) if quick else ("aaren", "linear-attention", "gated-rnn", "lru", "lstm", "gru"):
        settings = classification.Classification(mixer=mixer)
        yield Loop(
            f"classification, {mixer}",
            lambda model, key, settings=settings: settings.loss(model, train, key),
            settings.model(data, keys[2]),
            settings.optimiser(),
        )


def steps_per_second(loop: Loop, peak: float) -> dict:
    """The steps per second with the kernels and with XLA alone, as medians over rounds in which both take turns.

    `share_of_peak` says which share of `peak`, in flops per second, the matrix products of the steps reach.
    """
    params, static = eqx.partition(loop.model, eqx.is_inexact_array)

    def step(carry, key):
        params, state = carry
        value, grads = jax.value_and_grad(lambda params: loop.loss(eqx.combine(params, static), key))(params)
        updates, state = loop.optimiser.update(grads, state, params)
        return (optax.apply_updates(params, updates), state), value

    def stretch(carry, key):
        return lax.scan(step, carry, jax.random.split(key, STEPS))

    carry, key = (params, loop.optimiser.init(params)), jax.random.key(0)
    jax.clear_caches()  # or the trace of one implementation would be used for the other
    runs = {"twofold": jax.jit(stretch).lower(carry, key).compile()}
    jax.clear_caches()
    with only_xla():
        runs["twofold, XLA"] = jax.jit(stretch).lower(carry, key).compile()
        work = products(jax.make_jaxpr(step)(carry, key).jaxpr)
    results = {name: jax.block_until_ready(run(carry, key))[1] for name, run in runs.items()}
    kernels, portable = results.values()
    if not jnp.allclose(kernels[:10], portable[:10], rtol=1e-3):
        raise AssertionError(f"losses differ: {kernels[:10]} with kernels, {portable[:10]} without")
    rounds = [{name: _seconds(partial(run, carry, key)) for name, run in runs.items()} for _ in range(ROUNDS)]
    rates = {name: STEPS / statistics.median(turn[name] for turn in rounds) for name in runs}
    ratio = statistics.median(turn["twofold, XLA"] / turn["twofold"] for turn in rounds)
    shares = {name: rate * work / peak for name, rate in rates.items()}
    return {"steps_per_s": rates, "ratio": ratio, "share_of_peak": shares, "flops_of_products": work}


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


def _seconds(run: Callable) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start
