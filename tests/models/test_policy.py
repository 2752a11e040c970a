"""A policy normalises what it reads, acts within its bounds, and refuses what does not fit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twofold import InputError, load, save
from twofold.layers import GRU, Aaren
from twofold.models import Policy, policy_features

MEAN, SCALE, LOW, HIGH = [100.0, 1.0, -1.0], [10.0, 2.0, 0.5], [-1.0, 0.0], [1.0, 4.0]


def policy(split=False, *, make=GRU, **changes):
    inner = make(policy_features(2, 2, split), 2, key=jax.random.key(0))
    parts = {"mean": MEAN, "scale": SCALE, "low": LOW, "high": HIGH} | changes
    return Policy(inner, **{name: np.array(x) for name, x in parts.items()}, split=split)


@pytest.mark.parametrize("split", [False, True])
def test_actions_are_within_the_bounds(split, normal):
    model = policy(split)
    model = jax.tree.map(lambda x: 100 * x, model)  # so that actions come to both bounds
    actions = np.asarray(model(1e4 * normal("tokens", 50, 5)))
    assert actions.shape == (50, 2)
    assert np.all((actions >= LOW) & (actions <= HIGH))
    assert np.ptp(actions[:, 1]) > 1


@pytest.mark.parametrize("split", [False, True])
def test_units_do_not_matter(split, normal, assert_close):
    """The same policy in units of the deviations, with actions between -1 and 1."""
    plain = policy(split, mean=[0.0] * 3, scale=[1.0] * 3, low=[-1.0] * 2, high=[1.0] * 2)
    xs = normal("tokens", 6, 5)
    middle, half = (np.add(HIGH, LOW) / 2), (np.subtract(HIGH, LOW) / 2)
    raw = np.concatenate([xs[:, :3] * SCALE + MEAN, xs[:, 3:] * half + middle], 1)
    assert_close(policy(split)(raw), middle + half * plain(xs), rtol=1e-5)


def test_three_tokens_are_the_action_the_return_and_the_observation(normal, assert_close):
    """As the paper's three embeddings, written out. Aaren's answer is that of the third token."""
    model = policy(True, make=lambda i, o, key: Aaren(i, o, key=key))
    xs = normal("tokens", 4, 5)
    seen = (xs[:, :3] - MEAN) / SCALE
    action = (xs[:, 3:] - np.add(HIGH, LOW) / 2) / (np.subtract(HIGH, LOW) / 2)
    tokens = []
    for s, a in zip(seen, action, strict=True):
        tokens.append([0, 0, 0, *a, 1, 0, 0])
        tokens.append([s[0], 0, 0, 0, 0, 0, 1, 0])
        tokens.append([0, *s[1:], 0, 0, 0, 0, 1])
    ys = np.tanh(model.inner(jnp.asarray(tokens))[2::3])
    assert_close(model(xs), np.add(HIGH, LOW) / 2 + np.subtract(HIGH, LOW) / 2 * ys, rtol=1e-5)


def test_a_saved_policy_is_the_same(tmp_path):
    model = policy(True)
    save(tmp_path, model)
    assert jax.tree.structure(load(tmp_path)) == jax.tree.structure(model)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mean": [0.0, 0.0]}, "mean and scale have 2 and 3 numbers"),
        ({"mean": [0.0], "scale": [1.0]}, "mean and scale have 1 and 1 numbers"),
        ({"scale": [1.0, 0.0, 1.0]}, "it must be positive and finite"),
        ({"scale": [1.0, np.nan, 1.0]}, "it must be positive and finite"),
        ({"low": [-np.inf, 0.0]}, "must be finite and in order"),
        ({"low": [-1.0, 5.0]}, "must be finite and in order"),
        ({"low": [-1.0]}, "must be finite and in order"),
        ({"mean": [0.0] * 4, "scale": [1.0] * 4}, "3 features of the observation and 2 of the action need 6 and 2"),
    ],
)
def test_what_does_not_fit_is_refused(changes, message, unchecked):
    with pytest.raises(InputError, match=message):
        policy(**changes)
