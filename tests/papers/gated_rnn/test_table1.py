"""Table 1 is written, and printed beside the published figures."""

import json

import pytest
from rich.console import Console

from twofold.papers.gated_rnn import table1
from twofold.papers.gated_rnn.student_scores import Cut, Figures, Scored

GOOD = Figures(
    1e-9,
    1e-9,
    1e-11,
    1e-5,
    2e-5,
    3e-5,
    memory=10,
    forget=4,
    other=0,
    gate_rows=13,
    pruned_loss=0.1,
    finetuned_loss=1e-12,
)
BAD = GOOD._replace(loss=3 * 4.97e-8, memory=12)


def scored(constructed, figures):
    cuts = [Cut(1e-4, 10, 4, 0, 18, 6.8e-5), Cut(1e-3, 10, 4, 0, 13, 0.1)]
    return Scored(constructed, constructed.network, constructed.network, figures, cuts)


@pytest.fixture
def two(constructed, monkeypatch):
    students = [scored(constructed, GOOD), scored(constructed, GOOD._replace(memory=12))]
    monkeypatch.setattr(table1, "scored_students", lambda recipe, **options: students)
    return students


def printed(table, capsys):
    Console(width=200).print(table)
    return capsys.readouterr().out


def row(text, name):
    (line,) = (line for line in text.splitlines() if line.startswith(f"│ {name} "))
    return [cell.strip() for cell in line.split("│")[2:-1]]


def test_table1_is_written(two, tmp_path):
    recipe = table1.RECIPES["paper"]
    assert table1.reproduce(recipe, seeds=2, seed=3, out=tmp_path) == two
    written = json.loads((tmp_path / "table1.json").read_text())
    assert [Figures(**figures) for figures in written["students"]] == [one.figures for one in two]
    assert [[Cut(**cut) for cut in cuts] for cuts in written["pruning"]] == [one.cuts for one in two]
    assert written["recipe"]["steps"] == 1_000_000
    assert (written["seed"], written["prune_tolerance"], written["seconds"]) == (3, 1e-3, 6.0)
    assert written["curves"] == [{"seconds": [1.0, 3.0], "losses": [0.5, 1e-20]}] * 2
    assert written["provenance"]["versions"].keys() >= {"twofold", "jax", "python"}


def test_figures_are_judged_beside_the_published_ones(constructed, capsys):
    students = [scored(constructed, figures) for figures in (GOOD, BAD, BAD)]
    text = printed(table1.table(table1.results_of(students, table1.RECIPES["paper"])), capsys)
    assert row(text, "loss") == ["1.00e-09", "1.49e-07", "1.49e-07", "1.49e-07", "4.97e-08", "missed 3x"]
    assert row(text, "KV score") == ["1.00e-09"] * 4 + ["4.52e-08", "reached"]
    assert row(text, "residual of decompile") == ["2.00e-05"] * 4 + ["", ""]
    neurons = row(text, "pruned: memory + query + other neurons")
    assert neurons == ["10 + 4 + 0", "12 + 4 + 0", "12 + 4 + 0", "", "10 + 4 + 0", "reached by 1 of 3"]
    assert row(text, "pruned: gate rows") == ["13"] * 5 + ["reached"]
    assert row(text, "training") == ["3 s"] * 4 + ["", ""]


def test_another_size_than_the_papers_is_not_judged(two, capsys):
    text = printed(table1.table(table1.results_of(two, table1.QUICK["fast"])), capsys)
    assert "reached" not in text
    assert "4.97e-08" in text


def test_pruning_is_printed_for_every_tolerance(two, capsys):
    text = printed(table1.pruning_table(two[0].cuts, two[0].figures.loss), capsys)
    assert row(text, "1e-04") == ["10 + 4 + 0", "18", "6.8e-05"]
    assert row(text, "1e-03") == ["10 + 4 + 0", "13", "1.0e-01"]


@pytest.mark.parametrize(
    ("options", "folder", "size"),
    [
        ({}, "runs/table1", 4),
        ({"recipe": "fast"}, "runs/table1-fast", 4),
        ({"quick": True}, "runs/table1-quick", 2),
        ({"recipe": "fast6"}, "runs/table1-fast6", 6),
        ({"recipe": "fast", "quick": True}, "runs/table1-fast-quick", 2),
    ],
)
def test_options_choose_recipe_and_folder(options, folder, size):
    recipe, out = table1.StudentOptions(**options).chosen()
    assert (str(out), recipe.size) == (folder, size)
