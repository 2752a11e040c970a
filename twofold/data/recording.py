"""Data sets of robots are recorded in Minari's format, from behaviour policies."""

import importlib.util
import itertools
import shutil
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .behaviour import Episode, Job, LinearPolicy, mean_return, read_arrays, run_episode, workers, write_arrays
from .environments import ENVIRONMENTS, make
from .packages import missing
from .policy_search import SEARCHES, Generation, Search, search

QUALITIES = ("medium", "medium-replay", "medium-expert")
NOISE = 0.1
"""The standard deviation of the noise of the medium policy's actions, in units of half their range."""
CANDIDATES = 60
"""The medium policy is chosen from at most this many policies."""
ON_THE_WAY = 40
"""How many policies on the way to the medium one are kept."""
COMMITTED = Path(__file__).parent / "policies"
"""The folder of the behaviour policies that come with twofold."""


def dataset_id(name: str, quality: str) -> str:
    """The name of a data set in Minari's folder."""
    return f"twofold/{name}/{quality}-v0"


def choose(
    name: str, found: Generation, *, seed: int, settings: Search
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Choose the behaviour policies from a search: the best, a medium one, and those on the way to it.

    The medium policy is the one whose return, with the noise that it is recorded with, is the nearest to a third of the
    best one's, before the search first came to twice as much. Returns are means over 10 episodes.

    **Returns:** the policies, stacked by their names and fields, and the notes about them.
    """
    smooth = np.convolve(found.value, np.ones(5) / 5, "same")
    with workers() as executor:

        def measured(candidates: np.ndarray, noise: float = 0.0) -> list[dict[str, float]]:
            return [mean_return(executor, name, found.policy.at(i), noise=noise) for i in candidates]

        candidates = np.argsort(smooth)[-8:]
        values = measured(candidates)
        best = int(np.argmax([one["mean"] for one in values]))
        top = values[best]["mean"]
        early = np.arange(int(np.argmax(found.value >= 2 / 3 * top)) + 1)
        # Noise can halve a return or double it. So candidates have other returns, too.
        shares = np.linspace(0.1, 0.6, CANDIDATES) * top
        near = np.unique(early[np.argmin(np.abs(smooth[early] - shares[:, None]), 1)])
        of_near = measured(near, NOISE)
        medium = int(np.argmin([abs(one["mean"] - top / 3) for one in of_near]))
    way = np.unique(np.linspace(0, near[medium], ON_THE_WAY).round().astype(int))
    chosen = {"best": candidates[best], "medium": near[medium], "way": way}
    arrays = {
        f"{kind}.{field}": x[at].astype(np.float32)
        for kind, at in chosen.items()
        for field, x in found.policy._asdict().items()
    }
    return arrays, {
        "environment": name,
        "search": {"algorithm": "ARS V2-t of evosax", "seed": seed, **settings._asdict()},
        "returns": {"best": values[best], "medium": of_near[medium]},
        "generations": {kind: np.ravel(at).tolist() for kind, at in chosen.items()},
        "steps of the environment": {kind: int(np.asarray(found.steps)[chosen[kind]]) for kind in ("best", "medium")},
        "versions": {package: version(package) for package in ("evosax", "gymnasium", "mujoco", "jax", "numpy")},
    }


def search_policies(name: str, folder: Path, *, seed: int, report: Callable[[str], None]) -> Path:
    """Search for the behaviour policies of an environment. Return their file in `folder`, which is made only once."""
    file = folder / "policies.safetensors"
    if not file.exists():
        settings = SEARCHES[name]
        found = search(name, folder, settings=settings, seed=seed, report=report)
        write_arrays(file, *choose(name, found, seed=seed, settings=settings))
    return file


def policies_of(name: str, file: Path | None = None) -> tuple[dict[str, LinearPolicy], dict[str, Any]]:
    """The behaviour policies of an environment, and the notes about them.

    **Raises:** `InputError` if twofold has none.
    """
    file = file or COMMITTED / f"{name}.safetensors"
    if not file.exists():
        raise InputError(f"twofold has no behaviour policies of {name}; --search finds some")
    arrays, notes = read_arrays(file)
    return {
        kind: LinearPolicy(*(arrays[f"{kind}.{field}"].astype(float) for field in LinearPolicy._fields))
        for kind in ("best", "medium", "way")
    }, notes


def record(name: str, quality: str, policies: dict[str, LinearPolicy], notes: dict[str, Any], steps: int) -> str:
    """Record a data set of at least `steps` steps in Minari's folder, unless it is there. Return its name there.

    The episodes are *medium* (the medium policy with noise on its actions), *medium-replay* (the policies on the way to the
    medium one, with the perturbations of the search) or *medium-expert* (half medium, half the best policy without noise).

    **Raises:** `InputError` if a package is missing, and if the data set is there with other policies or another size.
    """
    if importlib.util.find_spec("minari") is None:
        raise missing("minari", extra="control")
    import minari  # imported here, because it belongs to an extra
    from minari.storage import get_dataset_path

    identity, told = dataset_id(name, quality), notes | {"quality": quality, "steps": steps, "noise": NOISE}
    folder = get_dataset_path(identity)
    if (folder / "data" / "metadata.json").is_file():
        was = minari.load_dataset(identity).storage.metadata.get("twofold")
        if was == told:
            return identity
        if was is not None:
            raise InputError(
                f"{folder} has a data set of other policies or of another size; remove it to record this one"
            )
    shutil.rmtree(folder, ignore_errors=True)  # a recording that was stopped
    with workers() as executor:
        episodes = [
            episode
            for jobs, share in _jobs(name, quality, policies)
            for episode in _until(executor, jobs, steps * share)
        ]
    environment = make(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Minari wants an author, and an environment for evaluation
        made = minari.create_dataset_from_buffers(
            identity,
            [_buffer(episode) for episode in episodes],
            env=environment,
            algorithm_name="ARS V2-t",
            description=f"{quality} episodes of {ENVIRONMENTS[name].id}, recorded by twofold",
            requirements=[f"{package}=={version(package)}" for package in ("gymnasium", "mujoco")],
        )
    made.storage.update_metadata({"twofold": told})  # at the end: without it, the recording was stopped
    return identity


def _jobs(name: str, quality: str, policies: dict[str, LinearPolicy]) -> list[tuple[Iterator[Job], float]]:
    """The episodes of a data set without end, and the share of its steps that they should fill."""
    medium = (Job(name, policies["medium"], seed, NOISE) for seed in itertools.count())
    if quality == "medium":
        return [(medium, 1.0)]
    if quality == "medium-expert":
        return [(medium, 0.5), ((Job(name, policies["best"], seed) for seed in itertools.count(1_000_000)), 0.5)]
    way, spread = policies["way"], SEARCHES[name].noise
    return [((_perturbed(name, way, seed, spread) for seed in itertools.count(2_000_000)), 1.0)]


def _perturbed(name: str, way: LinearPolicy, seed: int, spread: float) -> Job:
    policy = way.at(seed % len(way.weights))
    noise = spread * np.random.default_rng(seed).normal(size=policy.weights.shape)
    return Job(name, policy._replace(weights=policy.weights + noise), seed)


def _until(executor: Executor, jobs: Iterator[Job], steps: float) -> Iterator[Episode]:
    """Episodes until they have this many steps. They do not depend on the number of workers."""
    done = 0
    while True:
        for episode in executor.map(run_episode, itertools.islice(jobs, 64)):
            if done >= steps:
                return
            if len(episode.rewards) > 1:  # nothing is learned from a single step
                done += len(episode.rewards)
                yield episode


def _buffer(episode: Episode):
    from minari.data_collector import EpisodeBuffer

    terminations = np.zeros(len(episode.rewards), bool)
    truncations = terminations.copy()
    (terminations if episode.terminated else truncations)[-1] = True
    return EpisodeBuffer(
        seed=episode.seed,
        observations=episode.observations.astype(np.float32),
        actions=episode.actions,
        rewards=episode.rewards,
        terminations=terminations,
        truncations=truncations,
    )
