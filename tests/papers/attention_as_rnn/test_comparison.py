"""The comparison does its whole job, here in small; verdicts are those of cells whose answer is known."""

import dataclasses
import json

import numpy as np
import pytest
from rich.console import Console

from twofold import InputError, load
from twofold.papers.attention_as_rnn import comparison
from twofold.papers.attention_as_rnn.comparison import AAREN, TRANSFORMER, Cell, markdown, reproduce, verdict_of
from twofold.tasks import run
from twofold.tasks.classification import Classification
from twofold.tasks.events import Events
from twofold.train import fit as training_loop

SIZES = {"width": 8, "depth": 1, "heads": 2, "batch": 4, "steps": 2, "measurements": 1}
TASKS = (Classification(dataset="BasicMotions", **SIZES), Events(sequences=30, events=5, **SIZES))
MIXERS = (AAREN, TRANSFORMER)


def again(out, tasks=TASKS, **changes):
    return reproduce(tasks, **{"mixers": MIXERS, "seeds": 2, "progress": False} | changes, out=out)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    out = tmp_path_factory.mktemp("settings") / "run"
    return out, again(out)


@pytest.fixture
def no_training(monkeypatch):
    def train(task, *args, **kwargs):
        raise AssertionError(f"{task} was trained")

    monkeypatch.setattr(comparison, "train", train)


def test_every_mixer_is_trained_on_every_task_and_written(done):
    out, cells = done
    assert [(cell.task, cell.mixer) for cell in cells] == [
        (name, mixer) for name in ("classification", "events") for mixer in MIXERS
    ]
    written = json.loads((out / "settings.json").read_text())
    assert [Cell(**cell) for cell in written["cells"]] == cells
    assert written["seeds"] == 2
    assert written["provenance"]["versions"].keys() >= {"twofold", "jax", "python"}
    assert [(v["task"], v["metric"]) for v in written["verdicts"]] == [
        (task.name, metric) for task in TASKS for metric in task.headline
    ]
    for task, cell in zip(np.repeat(TASKS, 2), cells, strict=True):
        folder = out / task.name / f"{task.data_name}-{cell.mixer}"
        figures = json.loads((folder / "metrics.json").read_text())
        assert figures["metrics"] == cell.metrics
        assert len(cell.metrics) == len(cell.streaming_error) == 2
        assert max(cell.streaming_error) < 1e-4
        for seed in (0, 1):
            assert load(folder / f"seed-{seed}").in_size > 0
    parameters = [cell.parameters for cell in cells]
    assert np.all(np.abs(np.divide(parameters[::2], parameters[1::2]) - 1) < 0.05)


def test_tables_have_each_mixer_with_mean_and_deviation(done, capsys):
    out, cells = done
    text = (out / "settings.md").read_text()
    for task in TASKS:
        assert f"### {task.data_name}" in text
        Console(width=200).print(comparison.table(task, cells))
        printed = capsys.readouterr().out
        lines = {line.split(" | ")[0]: line for line in markdown(task, cells).splitlines()}
        for cell in cells:
            if cell.task == task.name:
                values = cell.values(next(iter(task.headline)))
                shown = f"{np.mean(values):.4g} ± {np.std(values, ddof=1):.2g}"
                assert shown in lines[f"| {cell.mixer}"]
                assert shown in printed
                assert lines[f"| {cell.mixer}"] in text
        widths = {line.count("|") for line in markdown(task, cells).splitlines() if line.startswith("|")}
        assert len(widths) == 1
    assert "| homogeneous |" in text


@pytest.mark.usefixtures("no_training")
def test_what_is_done_is_not_trained_again(done):
    out, cells = done
    before = (out / "settings.md").read_text()
    assert again(out) == cells
    assert (out / "settings.md").read_text() == before


@pytest.mark.usefixtures("no_training")
def test_another_task_is_trained(done):
    out, _ = done
    changed = [dataclasses.replace(TASKS[0], learning_rate=0.5)]
    with pytest.raises(AssertionError, match=r"learning_rate=0.5, .* was trained"):
        again(out, changed)
    with pytest.raises(AssertionError, match="was trained"):
        again(out, seeds=3)


def test_other_settings_are_refused_in_the_folder_of_a_run(done):
    out, _ = done
    with pytest.raises(InputError, match=r"learning_rate = 0.001 rather than 0.5"):
        again(out, [dataclasses.replace(TASKS[0], learning_rate=0.5)])
    with pytest.raises(InputError, match=r"seeds = \[0, 1\] rather than \[0, 1, 2\]"):
        again(out, seeds=3)


def diverging(*mixers):
    """`fit`, but training with these mixers fails."""

    def fit(*args, title, **options):
        if title.split()[0] in mixers:
            raise FloatingPointError("the training loss became NaN")
        return training_loop(*args, title=title, **options)

    return fit


def test_training_that_fails_is_a_cell_that_diverged(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "fit", diverging(TRANSFORMER))
    cells = again(tmp_path, TASKS[:1])
    assert [len(cell.metrics) for cell in cells] == [2, 0]
    text = (tmp_path / "settings.md").read_text()
    assert "| softmax-attention | diverged |" in text
    assert "accuracy: not compared" in text
    monkeypatch.setattr(run, "fit", None)
    assert again(tmp_path, TASKS[:1]) == cells


def test_a_seed_that_diverged_is_not_averaged(tmp_path, monkeypatch):
    def fit(*args, title, **options):
        trained = training_loop(*args, title=title, **options)
        return trained._replace(failed=np.array([title.startswith(TRANSFORMER), False]))

    monkeypatch.setattr(run, "fit", fit)
    cells = again(tmp_path, TASKS[:1])
    assert [[bool(table) for table in cell.metrics] for cell in cells] == [[True, True], [False, True]]
    accuracy = cells[1].metrics[1]["test"]["accuracy"]
    text = (tmp_path / "settings.md").read_text()
    assert f"| softmax-attention | {accuracy:.4g} (1 of 2 diverged) |" in text
    assert "accuracy: not compared" in text
    folder = tmp_path / "classification" / f"BasicMotions-{TRANSFORMER}"
    assert json.loads((folder / "metrics.json").read_text())["diverged"] == [0]
    assert not (folder / "seed-0").exists()
    assert load(folder / "seed-1").in_size == 6
    monkeypatch.setattr(run, "fit", None)
    assert again(tmp_path, TASKS[:1]) == cells


def test_there_is_a_table_where_all_diverged(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "fit", diverging(*MIXERS))
    again(tmp_path)
    for task in TASKS:
        columns = " | ".join(["diverged"] * len(task.headline))
        for mixer in MIXERS:
            assert f"| {mixer} | {columns} |" in (tmp_path / "settings.md").read_text()


@pytest.mark.parametrize("seeds", [0, -1])
def test_no_seeds_are_refused(tmp_path, seeds):
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
