"""What the machine could do at best, measured: the time of a copy, and of a matrix product."""

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

LARGE = 2**27  # Bytes of an array that no cache holds.
SQUARE = 2048


def copy_seconds(size: int) -> float:
    """Of an array of `size` bytes, by as many threads as there are cores, or by one where that is faster."""
    source, target = np.ones(size, np.uint8), np.empty(size, np.uint8)
    cores = os.cpu_count() or 1
    pieces = list(zip(np.array_split(target, cores), np.array_split(source, cores), strict=True))
    with ThreadPoolExecutor(cores) as threads:
        shared = median_seconds(lambda: list(threads.map(lambda piece: np.copyto(*piece), pieces)))
    return min(shared, median_seconds(lambda: np.copyto(target, source)))


def bandwidth() -> float:
    """Bytes read or written a second, by a copy of an array that no cache holds: it moves twice as many."""
    return 2 * LARGE / copy_seconds(LARGE)


def product_peak() -> float:
    """Multiplications and additions a second of a product of two matrices of float32."""
    x = jnp.ones((SQUARE, SQUARE), jnp.float32)
    product = jax.jit(jnp.dot)
    return 2 * SQUARE**3 / median_seconds(lambda: jax.block_until_ready(product(x, x)))


def moved(task: Task, out: Array) -> tuple[int, int]:
    """Bytes that must move, forward and with the gradient: each array that goes in is read once, each result written once.

    With the gradient these are the parameters, the data, and the weights or the target of the loss; the output, and the
    gradient in each parameter. Nothing is counted for what the backward pass needs of the forward pass.
    """
    arrays = jax.tree.leaves((task.parameters, task.data))
    forward = sum(x.nbytes for x in arrays) + out.nbytes
    return forward, forward + task.random.nbytes + sum(x.nbytes for x in task.parameters.values())


def median_seconds(call: Callable) -> float:
    call()
    times = []
    for _ in range(15):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return statistics.median(times)
