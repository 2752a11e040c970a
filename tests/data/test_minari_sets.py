"""Episodes in Minari's format are read as they were written; what cannot be used is refused with a reason."""

import contextlib
import importlib.util
import json
import random

import gymnasium
import h5py
import numpy as np
import pytest

from twofold import InputError
from twofold.data.minari_sets import load_control

PENDULUM = "inverted-pendulum"


@pytest.fixture(scope="module")
def small(write_control, tmp_path_factory):
    return write_control(tmp_path_factory.mktemp("minari"))


def test_episodes_are_read_as_written(small):
    data = load_control(str(small), PENDULUM)
    episodes = data.episodes
    assert episodes.lengths.tolist() == [5, 9, 13, 17, 21, 25]
    with h5py.File(small / "data" / "main_data.hdf5") as file:
        for i, end in enumerate(np.cumsum(episodes.lengths)):
            written, steps = file[f"episode_{i}"], slice(end - episodes.lengths[i], end)
            np.testing.assert_array_equal(episodes.observations[steps], np.float32(written["observations"][:-1]))
            np.testing.assert_array_equal(episodes.actions[steps], np.float32(written["actions"]))
            np.testing.assert_allclose(episodes.returns[i], np.sum(written["rewards"]), rtol=1e-6)
    assert (data.low, data.high) == (-3, 3)
    assert "6 episodes of 5 to 25 steps, 90 in all" in data.notes


def test_tokens_are_the_return_to_go_the_observation_and_the_action_before(small):
    episodes = load_control(str(small), PENDULUM).episodes
    start = 0
    for length in episodes.lengths:
        steps, start = slice(start, start + length), start + length
        rewards, actions = episodes.rewards[steps], episodes.actions[steps]
        to_go = [np.sum(rewards[t:]) for t in range(length)]
        before = np.concatenate([np.zeros((1, 1)), actions[:-1]])
        expected = np.concatenate([np.array(to_go)[:, None], episodes.observations[steps], before], 1)
        np.testing.assert_allclose(episodes.tokens[steps], expected, rtol=1e-5)


def test_some_episodes_are_those(small):
    whole = load_control(str(small), PENDULUM).episodes
    some = whole.at(np.array([4, 1]))
    assert some.lengths.tolist() == [9, 21]
    np.testing.assert_array_equal(some.returns, whole.returns[[1, 4]])


def test_a_data_set_is_named_by_its_folder_or_by_minari(small, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(small.parent))
    read = [
        load_control(name, PENDULUM).episodes.rewards.sum() for name in (str(small), str(small / "data"), "small-v0")
    ]
    assert len(set(read)) == 1


def test_a_converted_set_may_lack_its_environment(write_control, tmp_path):
    """As the sets of D4RL, whose environments are no longer installed."""
    box = gymnasium.spaces.Box(-np.inf, np.inf, (4,)), gymnasium.spaces.Box(-3, 3, (1,))
    folder = write_control(tmp_path, env=None, observation_space=box[0], action_space=box[1])
    assert len(load_control(str(folder), PENDULUM).episodes.lengths) == 6


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"env": "InvertedDoublePendulum-v5"},
            "episodes of InvertedDoublePendulum-v5; --env inverted-pendulum needs Inv",
        ),
        ({"rewards": np.array([1, 1, np.nan, 1, 1])}, "the rewards of episode 0 of .* have nan at step 2"),
        ({"observations": np.full((6, 4), np.inf)}, "the observations of episode 0 of .* have inf at step 0"),
        ({"actions": np.full((5, 1), 1e39)}, r"the actions of episode 0 of .* have 1e\+39 at step 0"),
        (
            {"actions": np.full((5, 1), 4.0)},
            r"the action at step 0 of episode 0 of .* is 4.0; InvertedPendulum-v5 takes -3",
        ),
        (
            {"observations": np.zeros((6, 3))},
            r"of the shapes \[\(6, 3\), \(5, 1\), \(5,\)\]; InvertedPendulum-v5 needs",
        ),
        ({"observations": np.zeros((5, 4))}, r"of the shapes \[\(5, 4\), .*needs \[\(6, 4\)"),
        ({"count": 1}, "has 1 episodes; it needs at least 2"),
        (
            {"observations": np.zeros((2, 4)), "actions": np.zeros((1, 1)), "rewards": np.ones(1)},
            "episode 0 of .* has 1 step; it needs at least 2",
        ),
    ],
)
def test_episodes_that_cannot_be_used_are_refused(write_control, tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        load_control(str(write_control(tmp_path, **changes)), PENDULUM)


@pytest.mark.parametrize("field", ["observations", "actions", "rewards"])
def test_a_missing_field_is_named(write_control, tmp_path, field):
    folder = write_control(tmp_path)
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        del file[f"episode_3/{field}"]
    with pytest.raises(InputError, match=f"episode 3 of .* cannot be read: .*'{field}' doesn't exist"):
        load_control(str(folder), PENDULUM)


def test_damaged_files_are_read_or_refused(write_control, tmp_path):
    """Files that are cut anywhere or have other bytes, and descriptions whose entries are of another kind."""
    folder, rng = write_control(tmp_path), random.Random(0)
    file, metadata = folder / "data" / "main_data.hdf5", folder / "data" / "metadata.json"
    whole, told = file.read_bytes(), json.loads(metadata.read_text())
    for _ in range(20):
        file.write_bytes(whole[: rng.randrange(len(whole))])
        with pytest.raises(InputError, match="cannot be read"):
            load_control(str(folder), PENDULUM)
    for _ in range(60):
        start = rng.randrange(len(whole))
        file.write_bytes(whole[:start] + rng.randbytes(50) + whole[start + 50 :])
        with contextlib.suppress(InputError):
            load_control(str(folder), PENDULUM)
    file.write_bytes(whole)
    read = 0
    for name in told:
        for other in (None, 3, "x", [], "[" * 5000, -1):
            metadata.write_text(json.dumps(told | {name: other}))
            with contextlib.suppress(InputError):
                load_control(str(folder), PENDULUM)
                read += 1
    assert read < 6 * len(told) - 10


def test_an_unknown_name_is_answered_with_what_makes_data(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with pytest.raises(
        InputError, match=r"no data set 'twofold/ant/medium-v0', .* twofold data control makes data sets"
    ):
        load_control("twofold/ant/medium-v0", "ant")


@pytest.mark.parametrize("package", ["gymnasium", "mujoco", "minari", "h5py"])
def test_a_package_that_is_missing_is_named(small, monkeypatch, package):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    with pytest.raises(InputError, match=rf"the package {package} is missing; pip install 'twofold\[control\]'"):
        load_control(str(small), PENDULUM)
