"""Settings are chosen by the validation loss, whatever the test part is. Tables and results show the choices."""

import dataclasses
import json
import re

import numpy as np
import pytest

from twofold.papers.attention_as_rnn import comparison, tuning
from twofold.papers.attention_as_rnn.comparison import AAREN, TRANSFORMER, reproduce
from twofold.papers.attention_as_rnn.tuning import GRID, tuned
from twofold.tasks import Classification, Events, Forecasting
from twofold.tasks.run import Run, validation_loss
from twofold.train.sweep import Workers

MIXERS = (AAREN, TRANSFORMER)
TWO = ({"learning_rate": 1e-3, "width": 4}, {"learning_rate": 3e-3, "width": 8})
SMALL = {"width": 4, "depth": 1, "heads": 2, "steps": 2, "measurements": 1, "batch": 4}
NOBODY = Workers(scheduler="tcp://127.0.0.1:1")


def forecasting(folder, change):
    values = np.random.default_rng(0).normal(size=(200, 2))
    values[160:] += 100 * change
    np.savetxt(folder / "some.csv", values, delimiter=",", header="a,b", comments="")
    return Forecasting(csv=folder / "some.csv", protocol="window", horizon=4, context=8, patch=4, **SMALL)


def events(folder, change):
    rng = np.random.default_rng(0)
    for fold in (1, 2, 3):
        changed = change if fold == 3 else 0
        times = np.cumsum(rng.exponential(1 + 9 * changed, (6, 5)), 1)
        for name, rows in (("time", times), ("event", rng.integers(2, size=(6, 5)))):
            np.savetxt(folder / f"{name}-{fold}.txt", rows, fmt="%.6g")
    return Events(dataset=str(folder), **SMALL)


def classification(folder, change):
    rng = np.random.default_rng(0)
    head = "@univariate true\n@classLabel true a b\n@data\n"
    for part, changed in (("TRAIN", 0), ("TEST", change)):
        rows = [",".join(f"{x:.4f}" for x in rng.normal(100 * changed, size=6)) for _ in range(10)]
        lines = [f"{row}:{'ab'[i % 2]}\n" for i, row in enumerate(rows)]
        (folder / f"Some_{part}.ts").write_text(head + "".join(lines))
    return Classification(dataset=str(folder / "Some"), **SMALL)


@pytest.mark.parametrize("made", [forecasting, events, classification])
def test_the_test_part_changes_nothing(made, tmp_path, monkeypatch):
    """The validation loss is the same to the last bit, and no model is measured on the test part."""
    task = made(tmp_path, 0)
    monkeypatch.setattr(type(task), "evaluate", lambda *_: pytest.fail("measured on the test part"))
    files, before = comparison.described(task)["files"], validation_loss(task)
    assert made(tmp_path, 1) == task
    changed = {name for name, digest in comparison.described(task)["files"].items() if digest != files[name]}
    assert changed
    assert not changed & {"event-1.txt", "time-1.txt", "event-2.txt", "time-2.txt", "Some_TRAIN.ts"}
    assert validation_loss(task) == before


@pytest.fixture
def losses(monkeypatch):
    """`losses(function)`: `function(task)` in place of training. It returns the list of the tasks that were trained."""

    def give(loss):
        tried = []
        monkeypatch.setattr(tuning, "validation_loss", lambda task: tried.append(task) or float(loss(task)))
        return tried

    return give


def diverging(task):
    raise FloatingPointError("the training loss became NaN")


def test_each_mixer_has_its_own_choice_and_horizons_share_it(tmp_path, threads, losses):
    task = forecasting(tmp_path, 0)
    tried = losses(lambda task: task.width if task.mixer == AAREN else 1 / task.width)
    tasks = [dataclasses.replace(task, horizon=horizon) for horizon in (6, 4)]
    models, record = tuned(tasks, MIXERS, TWO, seed=2, out=tmp_path, where=threads, progress=False)
    assert {(one.mixer, one.learning_rate, one.width, one.horizon, one.seed) for one in tried} == {
        (mixer, point["learning_rate"], point["width"], 4, 2) for mixer in MIXERS for point in TWO
    }
    points = dict(zip(MIXERS, TWO, strict=True))
    assert models == [dataclasses.replace(task, mixer=mixer, **points[mixer]) for task in tasks for mixer in MIXERS]
    assert record["choices"] == [
        {"task": "forecasting", "data": "some-4", "mixer": mixer, "losses": found, "chosen": points[mixer]}
        for mixer, found in zip(MIXERS, ([4, 8], [1 / 4, 1 / 8]), strict=True)
    ]
    again = tuned(
        tasks, MIXERS, TWO, seed=2, out=tmp_path, where=NOBODY, progress=False
    )  # all is kept, so nobody is needed
    assert again == (models, record)


def test_what_diverged_is_not_chosen_unless_all_did(tmp_path, threads, losses):
    task = classification(tmp_path, 0)
    losses(lambda task: 5.0 if (task.mixer, task.width) == (AAREN, 8) else diverging(task))
    models, record = tuned([task], MIXERS, TWO, seed=2, out=tmp_path, where=threads, progress=False)
    assert [one["losses"] for one in record["choices"]] == [[None, 5.0], [None, None]]
    assert [model.width for model in models] == [8, 4]


def test_other_data_are_tuned_anew(tmp_path, threads, losses):
    tried = losses(lambda task: 1.0)
    for change in (0, 1):
        tuned([forecasting(tmp_path, change)], [AAREN], TWO, seed=2, out=tmp_path, where=threads, progress=False)
        assert len(tried) == len(TWO) * (1 + change)


def test_tables_and_results_have_the_choices_and_no_folder(tmp_path, threads, losses, monkeypatch):
    def train(task, folder, *, seeds, progress):
        row = dict.fromkeys(("accuracy", "cross-entropy"), 0.5 + (task.mixer == AAREN))
        measured = {
            "kept at step": [1, 1],
            "streaming error": [0.0, 0.0],
            "metrics": [{"test": row, "chance": row}] * 2,
        }
        return Run([], [], {"parameters": 10, "seconds": 3.0} | measured, None)

    monkeypatch.setattr(comparison, "train", train)
    losses(lambda task: task.width if task.mixer == AAREN else -task.width)
    models, record = tuned(
        [classification(tmp_path, 0)], MIXERS, TWO, seed=2, out=tmp_path, where=threads, progress=False
    )
    out, shown = tmp_path / "out", ("width", "learning_rate")
    cells = reproduce(
        [], others=models, seeds=2, shown=shown, notes={"tuning": record}, out=out, where=threads, progress=False
    )
    text = (out / "settings.json").read_text()
    results = json.loads(text)
    assert str(tmp_path) not in text
    assert results["tuning"] == json.loads(json.dumps(record))
    assert [cell.settings for cell in cells] == [{name: getattr(model, name) for name in shown} for model in models]
    assert {task["dataset"] for task in results["tasks"]} == {"Some"}
    assert all(re.fullmatch(r"[0-9a-f]{64}", task["files"]["Some_TRAIN.ts"]) for task in results["tasks"])
    assert [one["verdict"] for one in results["verdicts"]] == ["better"]
    lines = (out / "settings.md").read_text().splitlines()
    assert "|  | accuracy | cross-entropy | width | learning rate | parameters | training |" in lines
    assert "| aaren | 1.5 ± 0 | 1.5 ± 0 | 4 | 0.001 | 10 | 3 s |" in lines
    assert "| softmax-attention | 0.5 ± 0 | 0.5 ± 0 | 8 | 0.003 | 10 | 3 s |" in lines
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


def test_the_grid_has_each_rate_with_each_width():
    assert {(point["learning_rate"], point["width"]) for point in GRID} == {
        (r, w) for r in (1e-3, 3e-3) for w in (32, 64)
    }
    assert len({point["width"] for point in GRID[:2]}) == 2
