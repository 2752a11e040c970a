"""The mixers stand beside what was published for the same data, in the same unit."""

import dataclasses
import math

import pytest
from rich.console import Console

from twofold import InputError
from twofold.papers.attention_as_rnn import literature
from twofold.papers.attention_as_rnn.comparison import Cell
from twofold.papers.attention_as_rnn.published import PUBLISHED
from twofold.papers.attention_as_rnn.tuning import Tuned
from twofold.report.tables import as_markdown
from twofold.tasks import Classification, Events, Forecasting


@pytest.fixture
def folder(tmp_path):
    """All the files, empty: the tasks only name them."""
    for name in ("ETTh1.csv", "ETTh2.csv", "exchange_rate.txt.gz", "Handwriting_TRAIN.ts"):
        (tmp_path / name).touch()
    (tmp_path / "stackoverflow").mkdir()
    return tmp_path


def test_every_data_set_in_the_folder_has_its_tasks(folder):
    tasks = literature.tasks_in(folder)
    for task in tasks:
        task.check()
    kinds = [type(task) for task in tasks]
    assert [kinds.count(kind) for kind in (Forecasting, Events, Classification)] == [12, 1, 1]
    assert {each.data for each in PUBLISHED} < {task.data_name for task in tasks}
    assert all(task.patience == task.measurements for task in tasks)  # so that all steps are taken
    assert {task.channels for task in tasks if isinstance(task, Forecasting)} == {"independent"}
    assert {(task.data_name, task.split, task.header) for task in tasks if isinstance(task, Forecasting)} == {
        (f"{name}-{horizon}", split, header)
        for name, split, header in (
            ("ETTh1", "ett", True),
            ("ETTh2", "ett", True),
            ("exchange_rate", "70/10/20", False),
        )
        for horizon in (96, 192, 336, 720)
    }


def test_a_folder_without_data_is_refused(tmp_path):
    with pytest.raises(InputError, match="has none of the data sets: ETTh1"):
        literature.tasks_in(tmp_path)


@pytest.fixture
def asked(monkeypatch):
    """The tasks that were asked for. Nothing is tuned or trained, every width is 48, and every figure is 0.5."""
    found = []

    def chosen(tasks, mixers, grid, *, seed, **options):
        found.extend(dataclasses.replace(task, seed=seed) for task in tasks)
        return Tuned([dataclasses.replace(t, mixer=m, width=48) for t in tasks for m in mixers], {"grid": grid})

    def trained(tasks, *, others, seeds, shown, notes, **options):
        assert (tasks, len(notes["tuning"]["grid"])) in (([], 2), ([], 4))
        return [
            Cell(*(task.name, task.data_name, task.mixer), 10, 3.0, figures(task, seeds), [], [], settings(task, shown))
            for task in others
        ]

    def figures(task, seeds):
        return [{"test": dict.fromkeys(names(task), 0.5)}] * seeds

    def settings(task, shown):
        return {name: getattr(task, name) for name in shown}

    def names(task):
        return ("NLL", "NLL of time", "NLL of mark", "RMSE", "accuracy") if task.name == "events" else task.headline

    monkeypatch.setattr(literature, "tuned", chosen)
    monkeypatch.setattr(literature, "reproduce", trained)
    return found


def test_published_figures_stand_below_those_of_the_models(asked, folder, capsys):
    literature.Command(data=folder, seeds=2).run(Console(width=200))
    printed = capsys.readouterr().out.splitlines()
    below = printed[next(i for i, line in enumerate(printed) if "forecasting: ETTh1-336" in line) :]
    line = next(line for line in below if line.startswith("│ Aaren, published"))
    assert [cell.strip() for cell in line.split("│")[2:4]] == ["0.65", "0.55"]
    line = next(line for line in below if "Shchur" in line)
    assert float(line.split("│")[3]) == pytest.approx(14.4 - math.log(1e5), abs=1e-3)
    line = next(line for line in below if line.startswith("│ aaren "))
    assert [cell.strip() for cell in line.split("│")[4:6]] == ["48", "0.003"]
    assert len(asked) == 14
    assert {task.seed for task in asked} == {2}  # because 0 and 1 are the seeds of the models


def cell(task, data, mixer, **metrics):
    seeds = [{"test": {name.replace("_", " "): x + gap for name, x in metrics.items()}} for gap in (-0.01, 0.01)]
    return Cell(task, data, mixer, 10, 3.0, seeds, [], [])


def test_our_figures_stand_beside_the_published_ones_and_are_judged():
    cells = [
        cell("forecasting", "ETTh1-336", "aaren", MSE=0.501, MAE=0.5),
        cell("forecasting", "ETTh1-336", "softmax-attention", MSE=0.6, MAE=0.4),
        cell("events", "stackoverflow", "softmax-attention", NLL=3.0, NLL_of_time=2.0, RMSE=1.0, accuracy=0.5),
        cell("events", "stackoverflow", "gru", NLL=2.9, NLL_of_time=2.1, RMSE=1.0, accuracy=0.6),
    ]
    shown, sources = map(as_markdown, literature.tables(cells))
    better, worse = '<span class="reached">better</span>', '<span class="missed">worse</span>'
    for line in (
        "| ETTh1-336 | MSE | 0.501 | 0.600 | aaren 0.501 | Aaren, published 0.650<br>PatchTST 0.501<br>DLinear 0.481 |"
        f" {better}<br>equal<br>{worse} |",
        "| ETTh1-336 | MAE | 0.500 | 0.400 | softmax-attention 0.400 | Aaren, published 0.550<br>PatchTST 0.466<br>DLinear"
        f" 0.459 | {better}<br>{worse}<br>{worse} |",
        "| stackoverflow | accuracy | none | 0.500 | gru 0.600 |  |  |",
        "| stackoverflow | RMSE | none | 1.000 | softmax-attention 1.000 | THP 4.990 | not compared |",
        "| stackoverflow | NLL of time | none | 2.000 | softmax-attention 2.000 | GRU, log-normal mixture 2.887 | not compared |",
    ):
        assert line in shown.splitlines()
    assert len(shown.splitlines()) == 2 + 2 + 4 + 2  # a heading and a caption
    for each in PUBLISHED:
        assert f"| {each.model} | {each.source} | {each.differs} |" in sources.splitlines()


def test_a_quick_run_has_the_shortest_horizon_and_a_part_may_be_chosen(asked, folder):
    literature.Command(data=folder, quick=True, only="forecasting").run(Console(quiet=True))
    assert [task.data_name for task in asked] == ["ETTh1-96", "ETTh2-96", "exchange_rate-96"]
    assert {task.steps for task in asked} == {60}


def test_no_seeds_are_refused_before_anything_is_tuned(asked, folder):
    with pytest.raises(InputError, match="seeds is 0"):
        literature.Command(data=folder, seeds=0).run(Console(quiet=True))
    assert not asked
