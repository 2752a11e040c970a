"""Verdicts say by how much a figure is missed."""

from twofold.report.verdict import verdict


def test_verdicts_say_by_how_much():
    assert "reached" in verdict(1.0, 1.0)
    assert "missed 3x" in verdict(3.0, 1.0)
    assert "missed 1.5x" in verdict(1.5, 1.0, "off by 0.5")
    assert "off by 0.5" in verdict(1.5, 1.0, "off by 0.5")
