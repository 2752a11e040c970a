"""Ways to train a student are compared, written and drawn."""

import json

import pytest
from rich.console import Console

from twofold import InputError
from twofold.papers.gated_rnn import optimisers
from twofold.tasks.students.teacher_student import Recipe
from twofold.tasks.students.ways import AdamW, LeastSquares

SMALL = Recipe(size=4, hidden_size=6, gate_size=6, time=4, way=AdamW(batch=4, steps=1))


def test_ways_to_train_are_compared(tmp_path, monkeypatch, capsys, pictures, lines_of):
    ways = {
        "curriculum, Muon": optimisers._descent(SMALL, (2,), optimisers._muon),
        "L-BFGS": optimisers._lbfgs(SMALL, batch=8),
        "least squares": optimisers._least_squares(SMALL._replace(way=LeastSquares(steps=3, starts=1))),
    }
    monkeypatch.setattr(optimisers, "WAYS", ways)
    monkeypatch.setattr(optimisers, "PROBE", 2)
    results = optimisers.compare(seconds=0.2, out=tmp_path, progress=False)
    Console(width=200).print(optimisers.table(results))
    printed = capsys.readouterr().out
    written = json.loads((tmp_path / "training.json").read_text())["ways"]
    assert written.keys() == ways.keys()
    (axes,) = pictures["training.png"].axes
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()) == ("seconds", "training loss", "log")
    for name, result in results.items():
        assert name in printed
        assert result.curve.losses.shape == result.curve.seconds.shape
        assert all(result.curve.seconds[1:] >= result.curve.seconds[:-1])
        assert 0 < result.loss < 1e3
        assert written[name]["loss"] == result.loss
        assert lines_of(axes)[name] == (result.curve.seconds.tolist(), result.curve.losses.tolist())


def test_time_must_be_positive(tmp_path):
    with pytest.raises(InputError, match="seconds is 0"):
        optimisers.compare(seconds=0.0, out=tmp_path)
