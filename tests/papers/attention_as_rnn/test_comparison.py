"""The comparison does its whole job, here in small; verdicts are those of cells whose answer is known."""

import dataclasses
import json
import re

import numpy as np
import pytest
from rich.console import Console

from twofold import InputError, load
from twofold.papers.attention_as_rnn import comparison
from twofold.papers.attention_as_rnn.comparison import AAREN, TRANSFORMER, Cell, markdown, reproduce, verdict_of
from twofold.tasks import run
from twofold.tasks.classification import Classification
from twofold.tasks.events import Events
from twofold.tasks.run import Run
from twofold.train import fit as training_loop

TASK = Classification(dataset="BasicMotions", width=8, depth=1, heads=2, batch=4, steps=2, measurements=1)
TASKS = (TASK, Events())
MIXERS = (AAREN, TRANSFORMER)


@pytest.fixture(scope="module")
def again(threads):
    """`again(out, tasks, **changes)` reproduces in small."""

    def run(out, tasks=(TASK,), **changes):
        return reproduce(tasks, **{"mixers": MIXERS, "seeds": 2, "progress": False} | changes, out=out, where=threads)

    return run


@pytest.fixture(scope="module")
def done(again, tmp_path_factory):
    """One task in small. What is trained is the same for all tasks, and takes long."""
    out = tmp_path_factory.mktemp("settings") / "run"
    return out, again(out)


def in_place_of_training(monkeypatch, result):
    """`result(task)` are the metrics of each seed, or the error that training ends with."""

    def train(task, folder, *, seeds, progress):
        metrics = result(task)
        if isinstance(metrics, Exception):
            raise metrics
        measured = {"kept at step": [1] * len(seeds), "streaming error": [1e-7] * len(seeds)}
        return Run([], [], {"parameters": 1234, "seconds": 56.0, "metrics": metrics} | measured, None)

    monkeypatch.setattr(comparison, "train", train)


@pytest.fixture
def no_training(monkeypatch):
    in_place_of_training(monkeypatch, lambda task: AssertionError(f"{task} was trained"))


def test_every_mixer_is_trained_and_written(done):
    out, cells = done
    assert [(cell.task, cell.mixer) for cell in cells] == [("classification", mixer) for mixer in MIXERS]
    written = json.loads((out / "settings.json").read_text())
    assert [Cell(**cell) for cell in written["cells"]] == cells
    assert written["seeds"] == 2
    assert written["provenance"]["versions"].keys() >= {"twofold", "jax", "python"}
    assert [(v["task"], v["metric"]) for v in written["verdicts"]] == [(TASK.name, metric) for metric in TASK.headline]
    for cell in cells:
        folder = out / TASK.name / f"{TASK.data_name}-{cell.mixer}"
        assert json.loads((folder / "metrics.json").read_text())["metrics"] == cell.metrics
        assert len(cell.metrics) == len(cell.streaming_error) == 2
        assert max(cell.streaming_error) < 1e-4
        for seed in (0, 1):
            assert load(folder / f"seed-{seed}").in_size == 6
    assert cells[0].parameters == pytest.approx(cells[1].parameters, rel=0.05)


def test_tables_have_each_mixer_with_mean_and_deviation(tmp_path, capsys, monkeypatch, again):
    rng = np.random.default_rng(0)

    def measured(task):
        metrics = dict.fromkeys(task.headline, 0.25)
        return [{"test": {m: rng.random() for m in metrics}, "as it was": metrics} for _ in range(2)]

    in_place_of_training(monkeypatch, measured)
    cells = again(tmp_path, TASKS)
    text = (tmp_path / "settings.md").read_text()
    assert text.count("| as it was | 0.25 |") == 2
    for task in TASKS:
        assert f"### {task.data_name}\n" in text
        Console(width=200).print(comparison.table(task, cells))
        printed = capsys.readouterr().out
        lines = {line.split(" | ")[0]: line for line in markdown(task, cells).splitlines()}
        assert len({line.count("|") for line in lines.values() if line.startswith("|")}) == 1
        for cell in cells:
            if cell.task == task.name:
                values = cell.values(next(iter(task.headline)))
                shown = f"{np.mean(values):.4g} ± {np.std(values, ddof=1):.2g}"
                assert shown in lines[f"| {cell.mixer}"]
                assert shown in printed
                assert lines[f"| {cell.mixer}"].endswith("| 1,234 | 56 s |")
                assert lines[f"| {cell.mixer}"] in text


@pytest.mark.usefixtures("no_training")
def test_what_is_done_is_not_trained_again(done, again):
    out, cells = done
    before = (out / "settings.md").read_text()
    assert again(out) == cells
    assert (out / "settings.md").read_text() == before


@pytest.mark.usefixtures("no_training")
def test_another_task_is_trained(done, again, capsys):
    """That it fails here is said, and it is left out."""
    out, _ = done
    assert again(out, [dataclasses.replace(TASK, learning_rate=0.5)]) == []
    assert re.search(r"learning_rate=0.5, .* was trained", capsys.readouterr().out)
    assert again(out, seeds=3) == []
    failed = [f"{mixer} on BasicMotions" for mixer in MIXERS]
    assert json.loads((out / "settings.json").read_text())["failed"] == failed


def test_other_settings_are_refused_in_the_folder_of_a_run(done, again):
    out, _ = done
    with pytest.raises(InputError, match=r"learning_rate = 0.001 rather than 0.5"):
        again(out, [dataclasses.replace(TASK, learning_rate=0.5)])
    with pytest.raises(InputError, match=r"seeds = \[0, 1\] rather than \[0, 1, 2\]"):
        again(out, seeds=3)


def diverging(*mixers):
    """Training with these mixers diverges for every seed."""
    error = FloatingPointError("the training loss became NaN")
    good = {AAREN: 0.5, TRANSFORMER: 0.6}
    return lambda task: (
        error if task.mixer in mixers else [{"test": dict.fromkeys(task.headline, good[task.mixer])}] * 2
    )


def test_training_that_fails_is_a_cell_that_diverged(tmp_path, monkeypatch, again):
    in_place_of_training(monkeypatch, diverging(TRANSFORMER))
    cells = again(tmp_path)
    assert [len(cell.metrics) for cell in cells] == [2, 0]
    text = (tmp_path / "settings.md").read_text()
    assert "| softmax-attention | diverged |" in text
    assert "accuracy: not compared" in text
    monkeypatch.setattr(comparison, "train", None)
    assert again(tmp_path) == cells


def test_a_seed_that_diverged_is_not_averaged(tmp_path, monkeypatch, again):
    def fit(*args, **options):
        trained = training_loop(*args, **options)
        return trained._replace(failed=np.array([True, False]))

    monkeypatch.setattr(run, "fit", fit)
    cells = again(tmp_path, mixers=(TRANSFORMER,))
    assert [[bool(table) for table in cell.metrics] for cell in cells] == [[False, True]]
    accuracy = cells[0].metrics[1]["test"]["accuracy"]
    text = (tmp_path / "settings.md").read_text()
    assert f"| softmax-attention | {accuracy:.4g} (1 of 2 diverged) |" in text
    folder = tmp_path / "classification" / f"BasicMotions-{TRANSFORMER}"
    assert json.loads((folder / "metrics.json").read_text())["diverged"] == [0]
    assert not (folder / "seed-0").exists()
    assert load(folder / "seed-1").in_size == 6
    monkeypatch.setattr(run, "fit", None)
    assert again(tmp_path, mixers=(TRANSFORMER,)) == cells


def test_there_is_a_table_where_all_diverged(tmp_path, monkeypatch, again):
    in_place_of_training(monkeypatch, diverging(*MIXERS))
    again(tmp_path, TASKS)
    for task in TASKS:
        columns = " | ".join(["diverged"] * len(task.headline))
        for mixer in MIXERS:
            assert f"| {mixer} | {columns} |" in (tmp_path / "settings.md").read_text()


@pytest.mark.parametrize("seeds", [0, -1])
def test_no_seeds_are_refused(tmp_path, seeds, again):
    with pytest.raises(InputError, match=f"seeds is {seeds}; it must be at least 1"):
        again(tmp_path / "run", seeds=seeds)
    assert not (tmp_path / "run").exists()


def cell(mixer, values):
    metrics = [{"test": {"error": float(value)}} for value in values]
    return Cell("events", "some", mixer, 1, 1.0, metrics, [0] * len(metrics), [0.0] * len(metrics))


NOISE = np.array([0.0, 0.3, -0.2, 0.1])


@pytest.mark.parametrize(
    ("gain", "verdict"),
    [
        (-1 + NOISE / 10, "better"),
        (1 + NOISE / 10, "worse"),
        (NOISE - NOISE.mean() + 0.01, "no difference"),
        (np.zeros(4), "no difference"),
        (np.full(4, -0.5), "better"),
        (np.full(4, 0.5), "worse"),
        (np.array([-9.0]), "not compared: one seed"),
    ],
    ids=str,
)
def test_a_verdict_pairs_the_seeds_and_knows_what_is_better(gain, verdict):
    """Whatever the seeds have in common."""
    common = np.array([0.0, 1024, -512, 8])[: len(gain)]
    cells = [cell("gru", common - 9), cell(AAREN, common + gain), cell(TRANSFORMER, common)]
    assert verdict_of(cells, "error", False) == verdict
    opposite = {"better": "worse", "worse": "better"}.get(verdict, verdict)
    assert verdict_of(cells, "error", True) == opposite
    exchanged = [cell(AAREN, common), cell(TRANSFORMER, common + gain)]
    assert verdict_of(exchanged, "error", False) == opposite


@pytest.mark.parametrize(
    "cells",
    [
        [],
        [cell(AAREN, NOISE)],
        [cell(AAREN, NOISE), cell(TRANSFORMER, [])],
        [cell(AAREN, NOISE), cell(TRANSFORMER, NOISE * np.nan)],
        [cell(AAREN, [np.inf, 1.0]), cell(TRANSFORMER, [np.inf, 2.0])],
    ],
)
def test_what_is_missing_or_diverged_is_not_compared(cells):
    assert verdict_of(cells, "error", False) == "not compared"


def test_the_tasks_are_all_different_and_their_settings_fit():
    for tasks in (comparison.FULL, comparison.QUICK):
        assert len({(task.name, task.data_name) for task in tasks}) == len(tasks)
        assert {task.name for task in tasks} == {"forecasting", "events", "classification"}
        for task in tasks:
            task.check()


def test_one_seed_is_not_compared_whatever_the_gap():
    cells = [
        Cell("task", "data", mixer, 1, 1.0, [{"test": {"error": error}}], [1], [0.0])
        for mixer, error in ((AAREN, 1.0), (TRANSFORMER, 100.0))
    ]
    assert verdict_of(cells, "error", False) == "not compared: one seed"
