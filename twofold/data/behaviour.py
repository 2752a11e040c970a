"""Linear policies, the episodes that they make, and files of such policies."""

import functools
import json
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy
from jaxtyping import Float

from ..atomic import write_whole
from ..errors import InputError
from .environments import bounds, make


class LinearPolicy(NamedTuple):
    """a = W (s - mean) / scale, brought between the bounds of the environment. Several policies may be stacked in one."""

    weights: Float[np.ndarray, "*policies actions observations"]
    mean: Float[np.ndarray, "*policies observations"]
    scale: Float[np.ndarray, "*policies observations"]

    def at(self, i: Any) -> "LinearPolicy":
        """The policies `i` of a stack."""
        return LinearPolicy(*(x[i] for x in self))


class Episode(NamedTuple):
    """What happened in one episode."""

    observations: Float[np.ndarray, "steps+1 observations"]
    actions: Float[np.ndarray, "steps actions"]
    rewards: Float[np.ndarray, " steps"]
    terminated: bool
    """Whether the episode ended because the robot fell. Otherwise its time was over."""
    seed: int


class Job(NamedTuple):
    """An episode that a worker is to make."""

    environment: str
    policy: LinearPolicy
    seed: int
    noise: float = 0.0
    """The standard deviation of the noise of actions, in units of half their range."""


def run_episode(job: Job) -> Episode:
    """Make one episode. The same job makes the same episode."""
    environment = _environment(job.environment)
    low, high = bounds(environment)
    random, noise = np.random.default_rng(job.seed), job.noise * (high - low) / 2
    linear = job.policy.weights / job.policy.scale
    offset = linear @ job.policy.mean
    observation, _ = environment.reset(seed=job.seed)
    observations, actions, rewards = [observation], [], []
    terminated = truncated = False
    while not (terminated or truncated):
        action = linear @ observation - offset
        if job.noise:
            action += noise * random.normal(size=len(action))
        action = np.minimum(np.maximum(action, low), high).astype(np.float32)
        observation, reward, terminated, truncated, _ = environment.step(action)
        observations.append(observation)
        actions.append(action)
        rewards.append(float(reward))
    return Episode(np.array(observations), np.array(actions), np.array(rewards), bool(terminated), job.seed)


@functools.cache  # each process has its own environment
def _environment(name: str):
    return make(name)


@contextmanager
def workers() -> Iterator[Executor]:
    """As many processes as this one has cores."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ProcessPoolExecutor(cores, get_context("spawn")) as executor:  # JAX does not survive a fork
        try:
            yield executor
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise


def mean_return(
    executor: Executor, environment: str, policy: LinearPolicy, *, noise: float = 0.0, episodes: int = 10
) -> dict[str, float]:
    """The mean and the standard deviation of the return over episodes with fixed seeds."""
    jobs = [Job(environment, policy, seed, noise) for seed in range(1_000_000, 1_000_000 + episodes)]
    returns = [float(np.sum(episode.rewards)) for episode in executor.map(run_episode, jobs)]
    return {"mean": float(np.mean(returns)), "deviation": float(np.std(returns))}


def write_arrays(file: Path, arrays: dict[str, np.ndarray], notes: dict[str, Any]) -> None:
    """Write arrays by their names, and notes about them."""
    whole = {name: np.ascontiguousarray(x) for name, x in arrays.items()}
    write_whole(file, safetensors.numpy.save(whole, {"notes": json.dumps(notes)}))


def read_arrays(file: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read what `write_arrays` wrote.

    **Raises:** `InputError` for a file that is missing or damaged.
    """
    try:
        with safetensors.safe_open(file, "numpy") as opened:
            notes = json.loads(opened.metadata()["notes"])
            return {name: opened.get_tensor(name) for name in opened.keys()}, notes  # noqa: SIM118
    except (OSError, safetensors.SafetensorError, TypeError, KeyError, ValueError) as error:
        raise InputError(f"{file} cannot be read: {error}") from error
