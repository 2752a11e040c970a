"""The experiments do their whole job, here in small: figures, models and pictures are written, and a rerun agrees."""

import functools
import json

import numpy as np
import pytest
from rich.console import Console

from twofold import InputError, load
from twofold.experiments import demo, table1
from twofold.tasks.classification import Classification

TINY = table1.QUICK._replace(hidden_size=6, gate_size=6, time=6, batch=8, steps=60)


def test_table1_is_made_written_and_made_again(tmp_path):
    students, seconds = table1.reproduce(TINY, seeds=2, seed=3, out=tmp_path / "run", progress=False)
    again, seconds_again = table1.reproduce(TINY, seeds=2, seed=3, out=tmp_path / "run", progress=False)
    assert [s.figures for s in students] == [s.figures for s in again]
    assert seconds == seconds_again
    written = json.loads((tmp_path / "run" / "table1.json").read_text())
    assert [table1.Figures(**f) for f in written["students"]] == [s.figures for s in students]
    assert written["provenance"]["versions"].keys() >= {"twofold", "jax", "python"}
    for i, student in enumerate(students):
        folder = tmp_path / "run" / f"seed-{i}"
        assert (folder / "weights.png").stat().st_size > 10_000
        xs = np.random.default_rng(i).normal(size=(5, 2))
        np.testing.assert_array_equal(load(folder / "pruned")(xs), student.pruned(xs))


def test_table1_is_printed_beside_the_published_figures(tmp_path, capsys):
    students, _ = table1.reproduce(TINY, out=tmp_path / "run", progress=False)
    Console(width=200).print(table1.table(students, TINY))
    printed = capsys.readouterr().out
    assert "4.97e-08" in printed
    assert f"{students[0].figures.loss:.2e}" in printed


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
