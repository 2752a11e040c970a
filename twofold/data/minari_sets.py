"""Episodes of robots in Minari's format, which are read by Minari itself."""

import importlib.util
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ..errors import InputError
from .environments import ENVIRONMENTS, bounds, make
from .packages import missing

FIELDS = ("observations", "actions", "rewards")


class Episodes(NamedTuple):
    """Episodes, one after another."""

    observations: Float[np.ndarray, "steps observations"]
    """What is seen before each action."""
    actions: Float[np.ndarray, "steps actions"]
    rewards: Float[np.ndarray, " steps"]
    lengths: Int[np.ndarray, " episodes"]

    @property
    def returns(self) -> Float[np.ndarray, " episodes"]:
        """The sum of the rewards of each episode."""
        return np.add.reduceat(self.rewards, np.cumsum(self.lengths) - self.lengths, dtype=float)

    @property
    def tokens(self) -> Float[np.ndarray, "steps tokens"]:
        """(return-to-go, observation, previous action) at each step. `twofold.models.Policy` reads these."""
        first = np.cumsum(self.lengths) - self.lengths
        earned = np.cumsum(self.rewards, dtype=float) - self.rewards
        to_go = np.repeat(self.returns + earned[first], self.lengths) - earned
        before = np.concatenate([np.zeros_like(self.actions[:1]), self.actions[:-1]])
        before[first] = 0
        return np.concatenate([to_go[:, None], self.observations, before], 1).astype(np.float32)

    def at(self, chosen: Int[np.ndarray, " chosen"]) -> "Episodes":
        """Some of the episodes."""
        steps = np.isin(np.repeat(np.arange(len(self.lengths)), self.lengths), chosen)
        return Episodes(
            self.observations[steps], self.actions[steps], self.rewards[steps], self.lengths[np.sort(chosen)]
        )


class ControlSet(NamedTuple):
    """Episodes of one environment."""

    name: str
    episodes: Episodes
    low: Float[np.ndarray, " actions"]
    """The bounds of the actions."""
    high: Float[np.ndarray, " actions"]
    made: dict[str, Any]
    """What `twofold data control` noted about the policies. It is empty for other data."""

    @property
    def notes(self) -> str:
        """A line that says what the data are."""
        lengths, returns = self.episodes.lengths, self.episodes.returns
        return (
            f"{len(lengths)} episodes of {lengths.min()} to {lengths.max()} steps, {lengths.sum():,} in all, with returns from"
            f" {returns.min():.0f} to {returns.max():.0f}, on average {returns.mean():.0f}"
        )


def load_control(dataset: str, environment: str) -> ControlSet:
    """Read a data set in Minari's format, with files of HDF5 or Arrow.

    **Arguments:**

    - `dataset`: the path of a folder, or the name of a data set in Minari's own folder, such as "mujoco/hopper/medium-v0".
    - `environment`: the name of the environment in `ENVIRONMENTS` that the data should be of. The version does not matter.

    **Raises:** `InputError` for an unknown data set, for files that are missing, damaged or of another environment, for
    episodes of fewer than two steps, and for numbers that are not finite.
    """
    for package in ("minari", "h5py"):
        if importlib.util.find_spec(package) is None:
            raise missing(package, extra="control")
    folder = _folder(dataset)
    from minari import MinariDataset  # imported here, because it belongs to an extra

    made = make(environment)
    try:
        opened = MinariDataset(folder)
        spec, metadata, count = opened.env_spec, opened.storage.metadata, int(opened.total_episodes)
        made_by_us = metadata.get("twofold", {})
    except Exception as error:  # a damaged file can lead to any error
        raise InputError(f"{folder} cannot be read as a Minari data set: {_told(error)}") from error
    if spec is not None and _family(spec.id) != _family(ENVIRONMENTS[environment].id):
        raise InputError(
            f"{folder} has episodes of {spec.id}; --env {environment} needs {ENVIRONMENTS[environment].id}"
        )
    episodes = [_episode(opened, i, folder, made) for i in range(count)]
    if len(episodes) < 2:
        raise InputError(f"{folder} has {count} episodes; it needs at least 2, because one is held out")
    observations, actions, rewards = (np.concatenate(x).astype(np.float32) for x in zip(*episodes, strict=True))
    lengths = np.array([len(rewards) for *_, rewards in episodes])
    low, high = bounds(made)
    return ControlSet(str(dataset), Episodes(observations, actions, rewards, lengths), low, high, made_by_us)


def _folder(dataset: str) -> Path:
    """The folder that has metadata.json."""
    from minari.storage import get_dataset_path

    for folder in (Path(dataset), Path(dataset) / "data", get_dataset_path(dataset) / "data"):
        if (folder / "metadata.json").is_file():
            return folder
    raise InputError(
        f"there is no data set {dataset!r}, neither as a folder with data/metadata.json nor in Minari's folder"
        f" {get_dataset_path()}; twofold data control makes data sets"
    )


def _episode(opened, number: int, folder: Path, environment) -> tuple[np.ndarray, ...]:
    """The observations before each action, the actions and the rewards of an episode."""
    try:
        found = next(iter(opened.storage.get_episodes([number])))
        columns = [np.asarray(found[field], float) for field in FIELDS]
    except Exception as error:  # a damaged file can lead to any error
        raise InputError(f"episode {number} of {folder} cannot be read: {_told(error)}") from error
    observations, actions, rewards = columns
    shapes = [x.shape for x in columns]
    steps = len(rewards) if rewards.ndim == 1 else -1
    needed = [(steps + 1, *environment.observation_space.shape), (steps, *environment.action_space.shape), (steps,)]
    if shapes != needed:
        raise InputError(
            f"episode {number} of {folder} has observations, actions and rewards of the shapes {shapes};"
            f" {environment.spec.id} needs {needed}"
        )
    if steps < 2:
        raise InputError(f"episode {number} of {folder} has {steps} step; it needs at least 2")
    largest = np.finfo(np.float32).max
    for field, x in zip(FIELDS, columns, strict=True):
        if not np.all(np.abs(x) <= largest):
            at = np.argwhere(~(np.abs(x) <= largest))[0]
            raise InputError(
                f"the {field} of episode {number} of {folder} have {x[tuple(at)]} at step {at[0]}; they must be finite"
                " numbers of float32"
            )
    low, high = bounds(environment)
    outside = np.argwhere((actions < low - 1e-3) | (actions > high + 1e-3))
    if len(outside):
        step, feature = outside[0]
        raise InputError(
            f"the action at step {step} of episode {number} of {folder} is {actions[step, feature]};"
            f" {environment.spec.id} takes {low[feature]} to {high[feature]}"
        )
    return observations[:-1], actions, rewards


def _family(name: str) -> str:
    """The name of an environment without its namespace and version."""
    return name.rpartition("/")[2].partition("-v")[0].lower()


def _told(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {error}".partition("\n")[0].replace(os.linesep, " ")
