"""Behaviour policies are found by a search that can be stopped, and data sets are recorded from them, the same each time."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

from twofold import InputError
from twofold.data import behaviour, policy_search, recording
from twofold.data.behaviour import Job, LinearPolicy, read_arrays, run_episode, write_arrays
from twofold.data.environments import ENVIRONMENTS
from twofold.data.minari_sets import load_control
from twofold.data.policy_search import Generation, Search, search
from twofold.data.recording import QUALITIES, choose, policies_of, record

PENDULUM = "inverted-pendulum"
SMALL = Search(directions=3, elite=2, rate=0.1, noise=0.2, steps=600)
GOOD = LinearPolicy(np.array([[1.1, 10.5, 1.9, 2.0]]), np.array([0.5, 0, 0, 0]), np.ones(4))


@pytest.fixture(scope="module", autouse=True)
def here():
    """Episodes are made in this process, because others would take seconds to start."""

    @contextmanager
    def workers():
        with ThreadPoolExecutor(1) as executor:
            yield executor

    with pytest.MonkeyPatch.context() as patch:
        for module in (policy_search, recording):
            patch.setattr(module, "workers", workers)
        yield


def test_the_same_job_makes_the_same_episode_in_any_process():
    job = Job(PENDULUM, GOOD._replace(weights=GOOD.weights / 3), seed=3, noise=0.3)
    with behaviour.workers() as executor:
        there = executor.submit(run_episode, job).result()
    own = run_episode(job)
    for x, y in zip(own, there, strict=True):
        np.testing.assert_array_equal(x, y)
    assert len(own.observations) == len(own.actions) + 1 == len(own.rewards) + 1
    assert np.all(np.abs(own.actions) <= 3)


def test_actions_are_those_of_the_policy():
    episode = run_episode(Job(PENDULUM, GOOD, seed=0))
    expected = np.clip((episode.observations[:-1] - GOOD.mean) / GOOD.scale @ GOOD.weights.T, -3, 3)
    np.testing.assert_allclose(episode.actions, expected, rtol=1e-5, atol=1e-6)
    assert len(episode.rewards) == ENVIRONMENTS[PENDULUM].steps
    assert not episode.terminated


class StoppedError(Exception):
    """What stops a search here."""


def test_a_search_that_was_stopped_finds_the_same(tmp_path):
    told = []

    def stop(line):
        told.append(line)
        if len(told) == 3:
            raise StoppedError

    whole = search(PENDULUM, tmp_path / "whole", settings=SMALL, report=told.append)
    told.clear()
    with pytest.raises(StoppedError):
        search(PENDULUM, tmp_path / "part", settings=SMALL, report=stop, every=0.0)
    again = search(PENDULUM, tmp_path / "part", settings=SMALL, report=lambda line: None)
    assert len(whole.steps) > 3
    assert whole.steps[-1] >= SMALL.steps
    for x, y in zip(whole.policy + whole[1:], again.policy + again[1:], strict=True):
        np.testing.assert_array_equal(x, y)
    with pytest.raises(InputError, match=r"has a search with the settings .*'seed': 0.*; this one has .*'seed': 1"):
        search(PENDULUM, tmp_path / "part", settings=SMALL, seed=1)


def test_the_statistics_of_observations_are_those_of_all(normal):
    parts = [normal(f"part {i}", n, 3) * (i + 1) + i for i, n in enumerate([2, 30, 7])]
    moments = np.zeros((3, 3))
    for x in parts:
        moments = policy_search._merged(moments, policy_search._Tried(0.0, len(x), x.mean(0), x.var(0)))
    everything = np.concatenate(parts)
    np.testing.assert_allclose(moments, [[39] * 3, everything.mean(0), everything.var(0)])


@pytest.fixture(scope="module")
def chosen(tmp_path_factory):
    """Of a search whose policies become good one after another."""
    file, shares = tmp_path_factory.mktemp("policies") / "file", np.linspace(0, 1, 9)
    found = Generation(
        LinearPolicy(*(np.stack([x] * 9) for x in (GOOD.weights, GOOD.mean, GOOD.scale))), np.zeros(9), np.arange(9.0)
    )
    found = found._replace(policy=found.policy._replace(weights=shares[:, None, None] * GOOD.weights))
    found = found._replace(
        value=np.array([np.sum(run_episode(Job(PENDULUM, found.policy.at(i), 0)).rewards) for i in range(9)])
    )
    write_arrays(file, *choose(PENDULUM, found, seed=0, settings=SMALL))
    return policies_of(PENDULUM, file)


def test_policies_and_data_sets_are_what_they_are_called(chosen, tmp_path, monkeypatch):
    policies, notes = chosen
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    best, medium = (notes["returns"][kind]["mean"] for kind in ("best", "medium"))
    assert best == 1000
    assert medium < 600
    returns = {}
    for quality in QUALITIES:
        name = record(PENDULUM, quality, policies, notes, 1500)
        data = load_control(name, PENDULUM)
        assert 1500 <= data.episodes.lengths.sum() <= 3500
        assert data.made == notes | {"quality": quality, "steps": 1500, "noise": recording.NOISE}
        returns[quality] = data.episodes.returns
    assert returns["medium"].mean() < 700
    assert returns["medium-replay"].min() < 50
    assert returns["medium-expert"][-1] == 1000
    assert len(set(returns["medium-expert"].tolist())) > 1


def test_a_recording_is_kept_and_one_that_was_stopped_is_made_again(chosen, tmp_path, monkeypatch):
    policies, notes = chosen
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    name = record(PENDULUM, "medium", policies, notes, 300)
    file = tmp_path / name / "data" / "main_data.hdf5"
    first, metadata = file.stat().st_mtime_ns, file.with_name("metadata.json")
    record(PENDULUM, "medium", policies, notes, 300)
    assert file.stat().st_mtime_ns == first
    with pytest.raises(InputError, match="has a data set of other policies or of another size; remove it"):
        record(PENDULUM, "medium", policies, notes, 400)
    before = load_control(name, PENDULUM).episodes
    metadata.write_text(metadata.read_text().replace('"twofold": {', '"other": {'))  # what a stop leaves behind
    record(PENDULUM, "medium", policies, notes, 300)
    for x, y in zip(before, load_control(name, PENDULUM).episodes, strict=True):
        np.testing.assert_array_equal(x, y)


def test_an_environment_without_policies_and_a_broken_file_are_refused(tmp_path):
    with pytest.raises(InputError, match="twofold has no behaviour policies of inverted-pendulum; --search finds"):
        policies_of("inverted-pendulum")
    write_arrays(tmp_path / "file", {"a": np.ones(3)}, {})
    (tmp_path / "file").write_bytes((tmp_path / "file").read_bytes()[:-5])
    with pytest.raises(InputError, match="file cannot be read: "):
        read_arrays(tmp_path / "file")
