"""Figures are written with what made them."""

import json

import jax
import pytest

from twofold.report import provenance


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["reproduce", "literature", "--data", "/a/b/sets", "--out=/c/d"], "reproduce literature --data sets --out=d"),
        (["train", "events", "--dataset", "some/set", "--unit", "1e5"], "train events --dataset some/set --unit 1e5"),
        (["report", "--to", "/", "tcp://host:8786"], "report --to / tcp://host:8786"),
    ],
)
def test_a_command_names_no_absolute_path(words, told):
    assert provenance.command_of(words) == f"twofold {told}"


def test_a_digest_is_by_the_name_of_the_file(tmp_path):
    (tmp_path / "empty.csv").touch()
    digest = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert provenance.digests([tmp_path / "empty.csv"]) == {"empty.csv": digest}


def test_figures_are_written_with_their_provenance(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "command", "twofold reproduce table4")
    provenance.write_json(tmp_path / "figures.json", {"loss": 0.5})
    written = json.loads((tmp_path / "figures.json").read_text())
    assert written["loss"] == 0.5
    assert written["provenance"]["command"] == "twofold reproduce table4"
    assert written["provenance"]["versions"]["jax"] == jax.__version__
    assert written["provenance"].keys() == {"command", "commit", "versions", "machine", "date"}


def test_curves_have_four_digits():
    assert provenance.four_digits([1 / 3, 123456.0, 0.0, 1.23456e-20]) == [0.3333, 123500.0, 0.0, 1.235e-20]
