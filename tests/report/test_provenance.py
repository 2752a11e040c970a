"""Figures are written with what made them."""

import json

import jax

from twofold.report import provenance


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
