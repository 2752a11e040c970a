"""The demo does all its parts, here in small, and its pictures show their figures."""

import functools
import json
import re

import jax
import numpy as np
import pytest
from rich.console import Console

from twofold import demo
from twofold.convert import to_gated_rnn
from twofold.layers import LinearSelfAttention
from twofold.papers.gated_rnn.student_scores import Figures, Scored
from twofold.papers.gated_rnn.students import Curve, Student
from twofold.tasks.classification import Classification
from twofold.tasks.run import Run


@pytest.fixture
def student(monkeypatch):
    """In the place of a trained student: one that is constructed."""
    teacher = LinearSelfAttention(2, 2, key=jax.random.key(0))
    rnn = to_gated_rnn(teacher, "compact")
    figures = Figures(1e-9, 2e-9, 3e-9, 4e-9, 5e-9, 6e-9, 3, 2, 0, 3, 7e-9, 8e-9)
    scored = Scored(Student(teacher, rnn, Curve(np.array([9.0]), np.array([1e-9]))), rnn, rnn, figures, [])

    def reproduce(recipe, *, out):
        (out / "seed-0").mkdir(parents=True)
        (out / "seed-0" / "weights.png").write_bytes(b"its weights")
        return [scored]

    monkeypatch.setattr(demo.table1, "reproduce", reproduce)
    return scored


@pytest.fixture
def classifiers(monkeypatch):
    """In the place of trained classifiers: random ones, and figures that are made up."""
    small = functools.partial(Classification, dataset="BasicMotions", width=8, depth=1, heads=2)
    tables = {"aaren": 0.125, "softmax-attention": 0.25}

    def train(task, out):
        data = task.load()
        metrics = {"test": {"accuracy": tables[task.mixer]}, "train": {"accuracy": 0.5}}
        model = task.deployed(task.model(data, jax.random.key(0)), data)
        return Run([model], [metrics], {"metrics": [metrics], "parameters": 1234, "seconds": 5.0}, data)

    monkeypatch.setattr(demo, "Classification", small)
    monkeypatch.setattr(demo, "train", train)


@pytest.mark.usefixtures("classifiers")
@pytest.mark.filterwarnings("ignore:Glyph")  # whatever fonts the machine has
def test_the_demo_does_all_its_parts(tmp_path, monkeypatch, capsys, student, pictures, lines_of):
    monkeypatch.setattr(demo, "STREAM_TOKENS", 200)
    monkeypatch.setattr(demo, "SAMPLED", (10, 200))
    figures = demo.run(tmp_path / "demo", Console(width=160))
    printed = capsys.readouterr().out.replace("\n", "")
    written = json.loads((tmp_path / "demo" / "demo.json").read_text())
    assert written["conversions"] == figures["conversions"]
    assert [row["hidden"] for row in written["conversions"]] == [20, 14, 14]
    assert all(row["relative_error"] < 1e-5 for row in written["conversions"])
    assert written["student"] == student.figures._asdict() | {"seconds": 9.0}
    for name, accuracy in (("aaren", 0.125), ("softmax-attention", 0.25)):
        assert written["classifiers"][name]["metrics"][0]["test"]["accuracy"] == accuracy
        assert re.search(rf"{name} +│ +{accuracy:.4f} │ +0.5000 │ +1,234 │ +5 s", printed)
    aaren, transformer = written["streams"].values()
    assert len(set(aaren["state_bytes"])) == 1
    assert transformer["state_bytes"][0] < transformer["state_bytes"][-1]
    each, total = transformer["seconds_per_token"], transformer["cumulative_seconds"]
    np.testing.assert_allclose(total, [10 * each[0], 10 * each[0] + 190 * (each[0] + each[1]) / 2])
    state, time = pictures["stream.png"].axes
    for axes, key, unit in ((state, "state_bytes", 2**10), (time, "cumulative_seconds", 1)):
        expected = {name: ([10, 200], np.divide(s[key], unit).tolist()) for name, s in written["streams"].items()}
        assert lines_of(axes) == expected
    assert (tmp_path / "demo" / "weights.png").read_bytes() == b"its weights"
    for picture in ("weights.png", "stream.png"):
        assert picture in printed
