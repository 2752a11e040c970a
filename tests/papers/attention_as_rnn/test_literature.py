"""The mixers stand beside what was published for the same data, in the same unit."""

import dataclasses
import math

import pytest
from rich.console import Console

from twofold import InputError
from twofold.papers.attention_as_rnn import literature
from twofold.papers.attention_as_rnn.comparison import Cell
from twofold.papers.attention_as_rnn.tuning import Tuned
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
    assert {each.data for each in literature.PUBLISHED} < {task.data_name for task in tasks}
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

    def chosen(tasks, mixers, grid, **options):
        found.extend(tasks)
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


def test_a_quick_run_has_the_shortest_horizon_and_a_part_may_be_chosen(asked, folder):
    literature.Command(data=folder, quick=True, only="forecasting").run(Console(quiet=True))
    assert [task.data_name for task in asked] == ["ETTh1-96", "ETTh2-96", "exchange_rate-96"]
    assert {task.steps for task in asked} == {60}


def test_no_seeds_are_refused_before_anything_is_tuned(asked, folder):
    with pytest.raises(InputError, match="seeds is 0"):
        literature.Command(data=folder, seeds=0).run(Console(quiet=True))
    assert not asked
