"""The experiments do their whole job, here in small: figures, models and pictures are written, and a rerun agrees."""

import functools
import json
import re
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from twofold import InputError, load
from twofold.convert import to_gated_rnn
from twofold.experiments import conversions, demo, growing_gru, minimal_memory, table1, table3, table4
from twofold.layers import LinearSelfAttention
from twofold.tasks.classification import Classification

TINY = table1.QUICK._replace(hidden_size=6, gate_size=6, time=6, batch=8, steps=60)


def test_table1_is_made_written_printed_and_made_again(tmp_path, capsys):
    students, seconds = table1.reproduce(TINY, seeds=2, seed=3, out=tmp_path / "run", progress=False)
    again, seconds_again = table1.reproduce(TINY, seeds=2, seed=3, out=tmp_path / "run", progress=False)
    assert [s.figures for s in students] == [s.figures for s in again]
    assert seconds == seconds_again
    Console(width=200).print(table1.table(students, TINY))
    printed = capsys.readouterr().out
    assert "4.97e-08" in printed
    assert f"{students[0].figures.loss:.2e}" in printed
    written = json.loads((tmp_path / "run" / "table1.json").read_text())
    assert [table1.Figures(**f) for f in written["students"]] == [s.figures for s in students]
    assert written["provenance"]["versions"].keys() >= {"twofold", "jax", "python"}
    for i, student in enumerate(students):
        folder = tmp_path / "run" / f"seed-{i}"
        assert (folder / "weights.png").stat().st_size > 10_000
        xs = np.random.default_rng(i).normal(size=(5, 2))
        np.testing.assert_array_equal(load(folder / "pruned")(xs), student.pruned(xs))


def test_another_run_in_the_same_folder_is_refused(tmp_path):
    table1.reproduce(TINY, out=tmp_path / "run", progress=False)
    with pytest.raises(InputError, match="of seed = 0 rather than 1"):
        table1.reproduce(TINY, seed=1, out=tmp_path / "run", progress=False)


@pytest.mark.filterwarnings("ignore:Glyph")  # whatever fonts the machine has
def test_the_demo_does_its_whole_job(tmp_path, monkeypatch, capsys):
    small = functools.partial(Classification, dataset="BasicMotions", width=8, depth=1, heads=2, steps=4, batch=4)
    monkeypatch.setattr(demo, "Classification", small)
    monkeypatch.setattr(demo, "STREAM_TOKENS", 200)
    monkeypatch.setattr(demo, "SAMPLED", (10, 100, 200))
    monkeypatch.setattr(table1, "QUICK", TINY)
    figures = demo.run(tmp_path / "demo", Console(width=160))
    printed = capsys.readouterr().out
    written = json.loads((tmp_path / "demo" / "demo.json").read_text())
    assert written["conversions"] == figures["conversions"]
    assert [row["hidden"] for row in written["conversions"]] == [20, 14, 14]
    assert all(row["relative_error"] < 1e-5 for row in written["conversions"])
    aaren, transformer = written["streams"].values()
    assert len(set(aaren["state_bytes"])) == 1
    assert transformer["state_bytes"][0] < transformer["state_bytes"][-1]
    for picture in ("weights.png", "stream.png"):
        assert (tmp_path / "demo" / picture).stat().st_size > 10_000
        assert picture in printed.replace("\n", "")


def test_table3_is_built_measured_and_printed(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(table3, "PLOTTED_SIZES", (1, 2))
    cells = table3.reproduce(d=2, tokens=16, out=tmp_path, progress=False)
    for name, row in cells.items():
        rnn, *attention = row.values()
        built = rnn.layers, attention[0].layers
        assert built == {"GRU": (5, 3)}.get(name, table3.PUBLISHED[name])
        assert all(cell.layers == built[1] for cell in attention)
        assert all(cell.error < 1e-6 for cell in row.values())
    assert [cell.neurons for cell in cells["gated RNN"].values()] == [5, 4 + 2, 3 + 2, 1 + 1]
    assert [cell.neurons for cell in cells["LRU"].values()] == [5, 4, 3, 1]
    Console(width=200).print(table3.table(cells, 2, 16, "float64"))
    printed = capsys.readouterr().out
    assert "published: -, -" in printed
    assert f"error {cells['LSTM']['gated RNN'].error:.1e}" in printed
    assert "differs" not in printed
    written = json.loads((tmp_path / "table3.json").read_text())
    assert written["cells"]["GRU"]["gated RNN"] == cells["GRU"]["gated RNN"]._asdict()
    assert written["costs"]["parameters"]["paper"]["attention"] == [3, 12]
    assert (tmp_path / "costs.png").stat().st_size > 10_000


def test_table3_says_where_it_differs_from_the_paper(capsys):
    cell = table3.Cell(layers=1, neurons=1, parameters=1, error=0.0)
    Console(width=200).print(table3.table({"LRU": {"gated RNN": cell, "attention": cell}}, 2, 16, "float64"))
    assert "differs" in capsys.readouterr().out


def test_table4_reads_the_papers_weights_back(tmp_path):
    blocks, cells = table4.reproduce(d=3, tokens=16, out=tmp_path)
    attention, first, second = (block.built for block in blocks)
    assert [attention[gate] for gate in table4.GATES] == [
        ("0", "0", "100"),
        ("e W_K", "0", "0"),
        ("±e W_V", "0", "0"),
        ("±e W_Q", "0", "0"),
    ]
    assert first["f"] == ("0", "0", "s^-1(lambda)")
    assert (first["c~"][0], first["g"][0]) == ("e W_x^in", "±e W_m^in")
    assert second["f"] == ("0", "0", "-100")
    assert {second["c~"][0][-7:], second["g"][0][-7:]} <= {"W_x^out", "W_m^out"}
    assert {block.built["o"] for block in blocks[1:]} == {("0", "0", "100")}
    assert all(cell.error < 1e-6 for cell in cells.values())
    assert {path.name for path in tmp_path.iterdir()} == {"table4.json", "attention.png", "gated-rnn.png"}


def test_table4_names_weights_that_are_others():
    rows = np.array([[1.0, 2.0], [2.0, -1.0]])
    assert table4._name(rows, {"A": 3 * rows}) == "e A"
    assert table4._name(rows * [[1], [-1]], {"A": rows}) == "±e A"
    assert table4._name(rows + np.array([0, 0.1]), {"A": rows}) == "something else"


def test_sizes_of_tables_are_checked(tmp_path):
    for table in (table3, table4):
        with pytest.raises(InputError, match="d is 0 and tokens is 5"):
            table.reproduce(d=0, tokens=5, out=tmp_path)


@pytest.mark.parametrize(("d", "rank"), [(3, 1), (3, 2), (4, 2)])
def test_fewer_memory_neurons_than_the_minimal_form_has_lose_something(normal, d, rank):
    """The best that any search finds is what the singular values forbid to beat; with as many as the form has, nothing."""
    w_v, w_k, w_q = (normal(f"{n} left", d, rank) @ normal(f"{n} right", rank, d) for n in "vkq")
    attention = LinearSelfAttention.from_weights(w_v, w_k, w_q)
    needed = int(np.sum(to_gated_rnn(attention, "minimal").lam == 1))
    assert minimal_memory.best_fit(attention, needed, starts=2) < 1e-5
    assert minimal_memory.least_loss(attention, needed) < 1e-12
    bound = minimal_memory.least_loss(attention, needed - 1)
    assert bound > 1e-6
    assert minimal_memory.best_fit(attention, needed - 1, starts=2) >= bound * (1 - 1e-6)


@pytest.mark.parametrize(("growth", "holds"), [(1e3, 98), (1e5, 58)])
def test_growing_gru_holds_until_its_state_leaves_the_linear_range(growth, holds):
    error = growing_gru.error_by_token(growth, holds + 10)
    assert np.all(error[: holds - 2] < 20 / growth)
    assert np.max(error[holds:]) > 0.1


def test_pictures_of_the_conversions_are_drawn(tmp_path, monkeypatch):
    for name, small in {"GROWN_TOKENS": 20, "SUMMED_TOKENS": 30, "MEMORIES": range(2)}.items():
        monkeypatch.setattr(conversions, name, small)
    figures = conversions.draw(tmp_path, progress=False)
    assert figures["memory"]["best found"][0] == 1
    names = {path.name for path in tmp_path.iterdir()}
    page = (Path(__file__).parents[2] / "docs" / "conversions.md").read_text()
    assert {Path(link).name for link in re.findall(r"\((conversions/.*\.png)\)", page)} == names - {"conversions.json"}
