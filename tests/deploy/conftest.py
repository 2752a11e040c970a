"""Runs to stream with, as training leaves them, but with random weights."""

import jax
import pytest

from twofold import save
from twofold.layers import Aaren
from twofold.models import EventModel, SequenceModel, event_features
from twofold.tasks import ClassWords, EventWords


@pytest.fixture(scope="session")
def event_run(tmp_path_factory):
    """The folder of a run on events with the marks x and y."""
    folder = tmp_path_factory.mktemp("events")
    inner = Aaren(event_features(2, (2.0, 50.0)), 8, num_heads=2, dtype="float32", key=jax.random.key(0))
    save(folder, EventModel(inner, marks=2, periods=(2.0, 50.0)))
    EventWords(("gap", "mark"), ("x", "y"), None).write(folder)
    return folder


@pytest.fixture(scope="session")
def class_run(tmp_path_factory):
    """The folder of a run on two features and three classes."""
    folder = tmp_path_factory.mktemp("classes")
    save(folder, SequenceModel(2, 3, width=8, depth=1, predicts="sequence", dtype="float32", key=jax.random.key(1)))
    ClassWords(("a", "b"), ("yes", "no", "perhaps")).write(folder)
    return folder
