"""Control: a policy is trained on windows, acts in the environment, and is measured the same each time."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twofold import InputError
from twofold.data.environments import ENVIRONMENTS, make
from twofold.tasks import control
from twofold.tasks.control import Control
from twofold.tasks.rollout import acting, rollout
from twofold.tasks.run import evaluate_run, train

PENDULUM = "inverted-pendulum"
SMALL = Control(
    env=PENDULUM, mixer="gru", width=16, depth=1, steps=200, batch=8, window=16, learning_rate=5e-3, measurements=4
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, write_control):
    """Episodes of a policy that never falls, with noise on its actions, in Minari's format."""
    environment, rng = make(PENDULUM), np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("minari")
    observation, _ = environment.reset(seed=0)
    seen, actions = [observation], []
    for _ in range(400):
        action = np.clip(observation @ [1.1, 10.5, 1.9, 2.0] + 0.3 * rng.normal(), -3, 3)
        observation, *_ = environment.step(np.float32([action]))
        seen.append(observation)
        actions.append([action])
    length = len(actions)
    fields = {"observations": np.array(seen), "actions": np.float32(actions), "rewards": np.ones(length)}
    flags = {"terminations": np.zeros(length, bool), "truncations": np.arange(length) == length - 1}
    return str(write_control(folder, **fields, **flags))


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "small"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(control, "CLONING_STEPS", 200)
        task = dataclasses.replace(SMALL, dataset=dataset)
        return task, folder, train(task, folder, progress=False)


def test_a_small_policy_learns(run):
    _, _, (_, tables, figures, _) = run
    table = tables[0]
    asked = [row for row in table if row.startswith("test, asked for")]
    assert table.keys() == {"test", "behaviour", "behaviour cloning", "random", *asked}
    assert [table[row]["asked"] for row in asked] == [100, 200, 300, 400, 500]
    assert table["test"].items() < table["test, asked for 100%"].items()
    assert table["random"]["return"] < 40
    assert table["test"]["return"] > 200
    assert np.isclose(table["behaviour"]["steps"], (400 + 9 + 13 + 17 + 21 + 25) / 6)
    assert "score" not in table["test"]  # D4RL has none for the pendulum
    assert figures["streaming error"][0] < 1e-4


def test_the_saved_policy_has_the_same_metrics(run):
    task, folder, (_, tables, *_) = run
    assert evaluate_run(folder) == (task, tables[0])
    assert json.loads((folder / "metrics.json").read_text())["metrics"] == tables


def test_actions_in_the_loop_are_those_of_prefill(run, assert_close):
    """The tokens that the robots saw, all at once, give the actions that they took."""
    _, _, (models, *_) = run
    act, state = acting(models[0], 2)
    tokens, actions = [], []

    def watched(state, xs):
        state, chosen = act(state, xs)
        tokens.append(np.array(xs))
        actions.append(np.array(chosen))
        return state, chosen

    done = rollout(watched, state, PENDULUM, asked=50.0, seeds=[3, 4])
    length = int(done.steps.min())
    both = jnp.asarray(np.stack(tokens, 1)[:, :length])
    assert_close(jax.jit(jax.vmap(lambda xs: models[0](xs)))(both), np.stack(actions, 1)[:, :length], rtol=1e-4)
    asked, before = both[:, :, 0], both[:, :, -1:]
    assert_close(asked, 50 - np.tile(np.arange(length), (2, 1)).astype(np.float32))  # each step earns 1
    assert_close(before[:, 1:], np.stack(actions, 1)[:, : length - 1])
    assert not np.any(before[:, 0])


def test_a_rollout_is_that_of_gymnasium():
    """The sum of rewards and the number of steps, one environment at a time."""

    def act(state, xs):
        return state + 1, np.clip(xs[:, 1:5] @ np.array([[1.0], [3.0], [0.5], [0.2]]), -3, 3)

    done = rollout(act, 0, PENDULUM, asked=0.0, seeds=[0, 1, 2])
    for seed, value, steps in zip([0, 1, 2], *done, strict=True):
        environment, total, count, over = make(PENDULUM), 0.0, 0, False
        seen, _ = environment.reset(seed=seed)
        while not over:
            action = np.clip(np.float32(seen) @ np.array([[1.0], [3.0], [0.5], [0.2]]), -3, 3).astype(np.float32)
            seen, reward, terminated, truncated, _ = environment.step(action)
            total, count, over = total + float(reward), count + 1, terminated or truncated
        assert (value, steps) == (total, count)


def test_windows_end_with_their_episode(dataset):
    """The steps of the episodes that follow do not count."""
    task = dataclasses.replace(SMALL, dataset=dataset, batch=2)
    data = task.load()
    model = task.model(data, jax.random.key(0))
    part = task.arrays(data)["train"]
    last = int(np.flatnonzero(np.asarray(part.left) == 1)[0])
    starts = jnp.array([last - 2, last])
    outputs = jax.jit(jax.vmap(lambda xs: model(xs)))
    expected = [
        float(np.mean(((outputs(part.tokens[None, i : last + 1])[0] - part.actions[i : last + 1]) / 3) ** 2))
        for i in starts
    ]
    error = jax.jit(lambda part: task._error(outputs, part, starts, model))
    actual = error(part)
    assert np.isclose(actual, (3 * expected[0] + expected[1]) / 4, rtol=1e-5)
    spoiled = type(part)(part.tokens.at[last + 1 :].set(1e6), part.actions, part.left, part.starts)
    assert np.isclose(actual, error(spoiled), rtol=1e-6)


@pytest.mark.parametrize(("tokens", "context", "capacity"), [("one", 20, 20), ("three", 20, 60), ("one", None, 1000)])
def test_the_transformer_has_its_context(dataset, tokens, context, capacity):
    task = dataclasses.replace(SMALL, dataset=dataset, mixer="softmax-attention", tokens=tokens, context=context)
    model = task.model(task.load(), jax.random.key(0))
    assert model.inner.stack.layers[0].mixer.capacity == capacity
    assert model.split == (tokens == "three")


def test_training_sees_no_episode_that_is_held_out(dataset):
    task = dataclasses.replace(SMALL, dataset=dataset)
    data = task.load()
    arrays = task.arrays(data)
    parts = [arrays[name].tokens[: -task.window] for name in ("train", "validation")]
    assert len(parts[0]) + len(parts[1]) == data.episodes.lengths.sum()
    assert not {row.tobytes() for row in np.asarray(parts[0])} & {row.tobytes() for row in np.asarray(parts[1])}


def test_scores_are_those_of_d4rl():
    """The random policy of D4RL has the score 0, and its expert 100."""
    for name, (random, expert) in {
        "halfcheetah": (-280.178953, 12135.0),
        "hopper": (-20.272305, 3234.3),
        "walker2d": (1.629008, 4592.3),
        "ant": (-325.6, 3879.7),
    }.items():
        score = ENVIRONMENTS[name].score
        assert np.allclose([score(random), score(expert), score((random + expert) / 2)], [0, 100, 50])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"env": "humanoid"}, "unknown env 'humanoid'; the environments are halfcheetah, hopper"),
        ({"quality": "expert"}, "unknown quality 'expert'"),
        ({"tokens": "two"}, "tokens is 'two'"),
        ({"context": 0}, "context is 0"),
        ({"window": 0}, "window is 0"),
        ({"asked": float("nan")}, "asked is nan"),
        ({"held_out": 1.0}, "held_out is 1"),
        ({"dataset": "nothing"}, "there is no data set 'nothing'"),
        ({"env": "hopper"}, "episodes of InvertedPendulum-v5; --env hopper needs Hopper-v5"),
    ],
)
def test_bad_settings_leave_no_folder(dataset, tmp_path, change, message, unchecked, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    with pytest.raises(InputError, match=message):
        train(dataclasses.replace(SMALL, **{"dataset": dataset} | change), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
