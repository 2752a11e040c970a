"""The limits of the machine, as measured: how fast it copies an array, and how fast it multiplies matrices."""

import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from .contestants import Task

LARGE = 2**27  # How many bytes an array has that fits in no cache.
SQUARE = 2048


def copy_seconds(size: int) -> float:
    """The time to copy an array of `size` bytes, with one thread for each core, or with one thread if this is faster."""
    source, target = np.ones(size, np.uint8), np.empty(size, np.uint8)
    cores = os.cpu_count() or 1
    pieces = list(zip(np.array_split(target, cores), np.array_split(source, cores), strict=True))
    with ThreadPoolExecutor(cores) as threads:
        shared = median_seconds(lambda: list(threads.map(lambda piece: np.copyto(*piece), pieces)))
    return min(shared, median_seconds(lambda: np.copyto(target, source)))


def bandwidth() -> float:
    """How many bytes a copy reads and writes in a second, for an array that fits in no cache."""
    return 2 * LARGE / copy_seconds(LARGE)


def product_peak() -> float:
    """How many multiplications and additions a product of two float32 matrices does in a second."""
    x = jnp.ones((SQUARE, SQUARE), jnp.float32)
    product = jax.jit(jnp.dot)
    return 2 * SQUARE**3 / median_seconds(lambda: jax.block_until_ready(product(x, x)))


def moved(task: Task, out: Array) -> tuple[int, int]:
    """How many bytes must move at least, forward and with the gradient: every input is read once, every result written once.

    Forward, the inputs are the parameters and the data, and the result is the output. With the gradient, the loss reads an
    array of weights or targets too, and the results also have the gradients of all parameters. Values that the forward pass
    keeps for the backward pass are not counted.
    """
    arrays = jax.tree.leaves((task.parameters, task.data))
    forward = sum(x.nbytes for x in arrays) + out.nbytes
    return forward, forward + task.random.nbytes + sum(x.nbytes for x in task.parameters.values())


def median_seconds(call: Callable) -> float:
    """The median time of 15 calls, after one that is not timed."""
    call()
    times = []
    for _ in range(15):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
