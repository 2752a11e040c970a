"""The model of cost says what it should in the cases that can be counted by hand."""

import json
from pathlib import Path

import numpy as np
from rich.console import Console

from twofold.papers.attention_as_rnn import scale


def test_scans_and_rings_are_counted():
    assert scale.spread_scan(2, 100)[:2] == (200, 2)
    assert scale.spread_scan(4, 100)[:2] == (600, 6)
    assert scale.spread_scan(8, 100)[:2] == (800, 8)
    assert scale.spread_scan(1024, 100)[:2] == (2200, 22)
    assert scale.gathered_states(64, 100)[:2] == (2 * 63 * 100, 2)
    # A state of 2 x 2 in a head, the matrix before it of 2 x 2, three heads, in float32: to 7 devices and back
    assert scale.gathered_maps(8, 3, 2)[:2] == (2 * 7 * 3 * 8 * 4, 2)
    forward = 7 * (800 / 8) * (2 * 4) * 2  # seven times the keys and values of a device's 100 tokens, in two bytes each
    assert scale.ring_attention(8, 800, 4)[:2] == (3 * forward, 14)


def test_the_time_of_a_scan_is_the_measured_one():
    bench = json.loads((Path(__file__).parents[3] / "results" / "bench" / "bench.json").read_text())
    (case,) = (
        each for each in bench["cases"] if each["operation"] == "softmax scan" and each["shape"] == [1, 16384, 8, 64]
    )
    for what, figures in case["contestants"]["twofold"].items():
        measured = figures["ms"] / 1e3 / (16384 * 8 * 64)
        np.testing.assert_allclose(scale.SCAN_SECONDS[what], measured, rtol=0.01)


def test_it_is_written_and_printed(tmp_path, capsys):
    scale.Command(out=tmp_path / "new").run(Console(width=200))
    printed = capsys.readouterr().out
    assert "2,046 rounds" in printed
    written = json.loads((tmp_path / "new" / "scale.json").read_text())
    assert written["costs"]["1024"]["ring attention"]["rounds"] == 2046
