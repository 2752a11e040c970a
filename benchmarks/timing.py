"""Check the contestants of a case, and then time them in turns, in one process.

A ratio is the time of a contestant divided by the time of the first contestant in the same round, as the median over rounds.
So whatever slows the machine down for longer than a round cancels out.
"""

import math
import statistics
import time
from collections.abc import Callable
from random import Random

import jax
import jax.numpy as jnp
import numpy as np

from .contestants import LIMIT, Case, Contestant, Run, Task, Which, only_xla, with_jax

TOLERANCE = (
    1e-3  # Relative to the largest entry of an array. Gradients of the LRU in float32 are off by 2e-4 in any library.
)
TURN = 0.03  # A turn lasts at least this many seconds: short calls are repeated.
SECONDS = 2.0  # A comparison takes turns for this many seconds, but at least `ROUNDS` and at most 100 times.
ROUNDS = 5
PAUSE = (
    0.01  # The pause before a turn in seconds: the threads of a library stay busy for a while after it has finished.
)


def references(case: Case, task: Task) -> dict[str, dict]:
    """The output and the gradients of each reference of the case, in float64."""
    with jax.enable_x64(True), only_xla():
        parameters, data, random = jax.tree.map(_in_double, (task.parameters, task.data, task.random))
        precise = Task(parameters, data, task.cotangent, random)
        runs = {
            name: with_jax(contestant, contestant.parameters(precise.parameters), precise, "gradient")
            for name, contestant in case.references.items()
        }
        return {name: jax.tree.map(np.asarray, run.read(run.turn())) for name, run in runs.items()}


def _in_double(x):
    return x.astype(jnp.promote_types(x.dtype, jnp.float64))


def compare(
    case: Case,
    task: Task,
    which: Which,
    truths: dict[str, dict],
    *,
    seconds: float = SECONDS,
    advance: Callable[[str], None] = lambda name: None,
) -> dict[str, dict]:
    """The figures of each contestant, by its name.

    A contestant that is wrong, or does not fit in memory, is not timed. Its figures say why.
    `advance` is called with the name of each contestant before it is compiled.
    """
    figures: dict[str, dict] = {}
    runs = {}
    for contestant in case.contestants:
        advance(contestant.name)
        if contestant.keeps > LIMIT:
            figures[contestant.name] = {"left_out": "does not fit"}
            continue
        run, figures[contestant.name] = _checked(contestant, task, which, truths[contestant.compared_with])
        if figures[contestant.name]["error"] <= TOLERANCE:
            runs[contestant.name] = run
        else:
            figures[contestant.name]["left_out"] = f"differs by {figures[contestant.name]['error']:.0e}"
    for name, figure in timed(
        {name: run.turn for name, run in runs.items()}, case.contestants[0].name, seconds
    ).items():
        figures[name] |= figure
    return figures


def timed(turns: dict[str, Callable], first: str, seconds: float) -> dict[str, dict]:
    """The milliseconds of a turn of each contestant, and their ratio to those of the `first`, if it takes part."""
    rounds = _rounds(turns, seconds)
    figures: dict[str, dict] = {}
    for name in turns:
        figures[name] = {"ms": 1e3 * statistics.median(times[name] for times in rounds), "rounds": len(rounds)}
        if first in turns:
            figures[name]["ratio"] = statistics.median(times[name] / times[first] for times in rounds)
    return figures


def _checked(contestant: Contestant, task: Task, which: Which, truth: dict) -> tuple[Run, dict]:
    own = contestant.parameters(task.parameters)
    jax.clear_caches()  # Or the traces of one contestant would save time for the next one.
    start = time.perf_counter()
    run = contestant.engine(contestant, own, task, which)
    compiled = time.perf_counter() - start
    result = run.read(run.turn())
    return run, {"compile_s": compiled, "error": max(_error(x, truth[name]) for name, x in result.items())}


def _error(x, truth) -> float:
    """The largest difference, relative to the largest entry. It is infinite if there is a NaN."""
    error = float(np.max(np.abs(np.asarray(x) - truth)) / np.max(np.abs(truth)))
    return math.inf if math.isnan(error) else error


def _rounds(turns: dict[str, Callable], seconds: float) -> list[dict[str, float]]:
    """The seconds that a turn of each contestant takes, round by round. The order is random in every round."""
    calls = {name: max(1, round(TURN / _seconds(turn, 1))) for name, turn in turns.items()}
    order, rounds = Random(0), list[dict[str, float]]()
    start = time.perf_counter()
    while turns and (len(rounds) < ROUNDS or (time.perf_counter() - start < seconds and len(rounds) < 100)):
        names = order.sample(list(turns), len(turns))
        rounds.append({name: _seconds(turns[name], calls[name]) for name in names})
    return rounds


def _seconds(turn: Callable, calls: int) -> float:
    time.sleep(PAUSE)
    if calls > 1:
        turn()  # Short calls come in a loop, with threads awake and arrays in the cache.
    start = time.perf_counter()
    for _ in range(calls):
        turn()
    return (time.perf_counter() - start) / calls
