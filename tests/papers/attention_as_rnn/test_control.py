"""The comparison of policies has paper B's twelve data sets, and its command compares the two mixers of the claim."""

import json

import pytest
from rich.console import Console

from twofold.papers.attention_as_rnn import control
from twofold.papers.attention_as_rnn.comparison import AAREN, TRANSFORMER
from twofold.tasks import Control
from twofold.tasks import control as task


def test_there_are_twelve_data_sets_with_a_score():
    names = {one.data_name for one in control.FULL}
    assert len(names) == len(control.FULL) == 12
    assert {name.partition("-")[0] for name in names} == {"halfcheetah", "hopper", "walker2d", "ant"}
    assert set(control.QUICK[0].headline) == {"score"}
    for one in (*control.FULL, *control.QUICK):
        one.check()


def test_the_command_writes_its_tables(write_control, tmp_path, monkeypatch, capsys):
    small = Control(env="inverted-pendulum", dataset=str(write_control(tmp_path)), width=8, depth=1, window=8, steps=2)
    monkeypatch.setattr(control, "QUICK", (small,))
    monkeypatch.setattr(task, "CLONING_STEPS", 5)
    monkeypatch.setattr(Control, "headline", {"return": True})  # D4RL has no score of the pendulum
    control.Command(quick=True, seeds=2, out=tmp_path / "out").run(Console(width=200))
    cells = json.loads((tmp_path / "out" / "settings.json").read_text())["cells"]
    assert [cell["mixer"] for cell in cells] == [AAREN, TRANSFORMER]
    assert all(len(cell["metrics"]) == 2 for cell in cells)
    printed = capsys.readouterr().out
    for row in ("aaren", "softmax-attention", "behaviour", "behaviour cloning", "random"):
        assert row in printed
    if "of our best" in printed:
        pytest.fail("nothing is known of the policies of these data")
