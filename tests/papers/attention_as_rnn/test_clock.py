"""The loop of a policy is measured in a process of its own, written and printed."""

import json
from functools import partial

import pytest
from rich.console import Console

from twofold import InputError
from twofold.papers.attention_as_rnn import clock, loop_clock
from twofold.papers.attention_as_rnn.loop_clock import Clocked, Job
from twofold.tasks import Control


def test_the_clock_is_measured_written_and_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(loop_clock, "WARM_UP", 5)
    monkeypatch.setattr(loop_clock, "Control", partial(Control, width=8, depth=1))
    monkeypatch.setattr(clock, "_run", loop_clock.clocked)
    monkeypatch.setattr(clock, "EPISODE", 40)  # a shorter cache
    console = Console(width=200)
    measured = clock.reproduce(steps=30, out=tmp_path / "out", progress=False)
    aaren, window, whole = measured.values()
    for one in measured.values():
        assert 0 < one.median <= one.high <= one.longest
        assert one.resident_bytes > 2**20
    assert aaren.state_bytes < window.state_bytes < whole.state_bytes
    written = json.loads((tmp_path / "out" / "clock.json").read_text())
    assert written["policies"]["Aaren"] == aaren._asdict()
    console.print(clock.table(measured, 30))
    assert f"{whole.state_bytes / 2**10:,.1f}" in capsys.readouterr().out


def test_a_process_measures_or_says_why_not():
    measured = clock._run(Job("gru", 1, 3))
    assert isinstance(measured, Clocked)
    with pytest.raises(InputError, match="could not be measured"):
        clock._run(Job("no such mixer", 1, 3))


def test_steps_are_checked(tmp_path):
    with pytest.raises(InputError, match="steps is 0"):
        clock.reproduce(steps=0, out=tmp_path)
