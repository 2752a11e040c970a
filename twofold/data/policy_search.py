"""Behaviour policies are found by augmented random search (Mania et al. 2018), from evosax."""

import functools
import importlib.util
import time
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jaxtyping import Float

from ..errors import InputError
from .behaviour import Job, LinearPolicy, read_arrays, run_episode, workers, write_arrays
from .environments import ENVIRONMENTS, bounds, make
from .packages import missing


class Search(NamedTuple):
    """Settings of a search, V2-t of Mania et al. 2018."""

    directions: int
    """N: how many directions are tried in a generation, each forwards and backwards."""
    elite: int
    """b: how many of them count."""
    rate: float
    """alpha: the learning rate."""
    noise: float
    """nu: the standard deviation of the perturbations."""
    steps: int
    """The search ends after this many steps of the environment."""


SEARCHES: dict[str, Search] = {
    "halfcheetah": Search(32, 4, 0.02, 0.03, 12_500_000),
    "hopper": Search(8, 4, 0.01, 0.025, 5_000_000),
    "walker2d": Search(40, 30, 0.03, 0.025, 20_000_000),
    "ant": Search(60, 20, 0.015, 0.025, 20_000_000),
    "inverted-pendulum": Search(8, 4, 0.05, 0.1, 150_000),
}
"""The settings of each environment, for the variant V2-t of Mania et al. (2018)."""


class Generation(NamedTuple):
    """A generation of a search, or several of them, stacked."""

    policy: LinearPolicy
    """The policy that is perturbed."""
    value: Float[np.ndarray | float, "*generations"] = np.nan
    """The mean return of its perturbations."""
    steps: Float[np.ndarray | float, "*generations"] = 0.0
    """How many steps of the environment were done at the end of this generation."""


class _State(NamedTuple):
    generations: list[Generation]
    """All that are done."""
    policy: LinearPolicy
    """What the next one begins with."""
    moments: Float[np.ndarray, "3 observations"]
    """The number of observations seen, their mean, and their variance."""

    @property
    def steps(self) -> float:
        return float(self.generations[-1].steps) if self.generations else 0.0


def search(
    name: str,
    folder: Path,
    *,
    settings: Search | None = None,
    seed: int = 0,
    report: Callable[[str], None] = print,
    every: float = 20.0,
) -> Generation:
    """Search for a policy of the environment `name`. Return all generations, stacked.

    A search that was stopped, or had fewer steps, is continued. It is saved in `folder` every `every` seconds.

    **Raises:** `InputError` if a package is missing, and if `folder` has a search with other settings.
    """
    if importlib.util.find_spec("evosax") is None:
        raise missing("evosax", extra="control")
    settings = settings or SEARCHES[name]
    file, told = folder / "search.safetensors", {"environment": name, "seed": seed, **settings._asdict()}
    del told["steps"]  # a search that has ended can be made longer
    folder.mkdir(parents=True, exist_ok=True)
    state = _restored(file, told) if file.exists() else _start(name)
    advance = _advance(name, settings, seed)
    with workers() as executor:
        saved = time.monotonic()
        while state.steps < settings.steps:
            state = advance(executor, state)
            if time.monotonic() - saved > every or state.steps >= settings.steps:
                write_arrays(file, _arrays(state), told)
                saved, recent = time.monotonic(), np.mean([one.value for one in state.generations[-10:]])
                report(f"{name}: {state.steps:,.0f} of {settings.steps:,} steps, return {recent:.0f}")
    return _stacked(state.generations)


def _start(name: str) -> _State:
    environment = make(name)
    zeros, actions = np.zeros(len(environment.reset()[0])), len(bounds(environment)[0])
    return _State([], LinearPolicy(np.zeros((actions, len(zeros))), zeros, zeros + 1), np.zeros((3, len(zeros))))


def _stacked(generations: list[Generation]) -> Generation:
    return jax.tree.map(lambda *x: np.stack(x), *generations)


def _arrays(state: _State) -> dict[str, np.ndarray]:
    done = _stacked([*state.generations, Generation(state.policy)])
    return {**done.policy._asdict(), "value": done.value, "steps": done.steps, "moments": state.moments}


def _restored(file: Path, told: dict[str, Any]) -> _State:
    arrays, notes = read_arrays(file)
    if notes != told:
        raise InputError(f"{file} has a search with the settings {notes}; this one has {told}")
    policies = LinearPolicy(*(arrays[x] for x in LinearPolicy._fields))
    done = [
        Generation(policies.at(i), *numbers)
        for i, numbers in enumerate(zip(arrays["value"], arrays["steps"], strict=True))
    ]
    return _State(done[:-1], done[-1].policy, arrays["moments"])


def _advance(name: str, settings: Search, seed: int) -> Callable[[Executor, _State], _State]:
    """The function that does one generation."""
    from evosax.algorithms import ARS  # imported here, because it belongs to an extra

    survival, start = ENVIRONMENTS[name].survival, _start(name).policy.weights
    ars = ARS(
        2 * settings.directions,
        start,
        optimizer=optax.sgd(settings.rate),
        std_schedule=optax.constant_schedule(settings.noise),
    )
    ars.elite_ratio = settings.elite / settings.directions
    params, root = ars.default_params, jax.random.key(seed)
    first = ars.init(root, start, params)

    def advance(executor: Executor, state: _State) -> _State:
        number, now = len(state.generations), state.policy
        inner = first.replace(mean=np.ravel(now.weights).astype(np.float32), generation_counter=number)
        ask_key, tell_key = jax.random.split(jax.random.fold_in(root, number))
        population, inner = ars.ask(ask_key, inner, params)
        tried = list(
            executor.map(
                _tried,
                [
                    Job(
                        name, now._replace(weights=weights), seed=number * settings.directions + i % settings.directions
                    )
                    for i, weights in enumerate(np.asarray(population, float))
                ],
            )
        )
        returns, lengths = (np.array([getattr(one, x) for one in tried]) for x in ("total", "steps"))
        inner, _ = ars.tell(tell_key, population, -(returns - survival * lengths).astype(np.float32), inner, params)
        moments = functools.reduce(_merged, tried, state.moments)
        scale = np.sqrt(moments[2])
        weights = np.asarray(inner.mean, float).reshape(start.shape)
        after = LinearPolicy(weights, moments[1], np.where(scale > 1e-6, scale, 1.0))
        done = Generation(now, np.mean(returns), state.steps + np.sum(lengths))
        return _State([*state.generations, done], after, moments)

    return advance


class _Tried(NamedTuple):
    """What the search needs to know of an episode."""

    total: float
    steps: int
    mean: np.ndarray
    variance: np.ndarray


def _tried(job: Job) -> _Tried:
    episode = run_episode(job)
    seen = episode.observations[:-1]
    return _Tried(float(np.sum(episode.rewards)), len(seen), seen.mean(0), seen.var(0))


def _merged(moments: np.ndarray, more: _Tried) -> np.ndarray:
    """The number, mean and variance of the observations of both (Chan et al. 1979)."""
    count, mean, variance = moments
    total = count + more.steps
    share, apart = more.steps / total, more.mean - mean
    within = (1 - share) * variance + share * more.variance
    return np.stack([total, mean + share * apart, within + share * (1 - share) * apart**2])
