"""The comparison of policies has paper B's twelve data sets, and its command compares the two mixers of the claim."""

import json

import numpy as np
from rich.console import Console

from twofold.papers.attention_as_rnn import control
from twofold.papers.attention_as_rnn.comparison import AAREN, TRANSFORMER, Cell
from twofold.papers.attention_as_rnn.control import conditioned, further_models
from twofold.tasks import Control
from twofold.tasks import control as task


def test_there_are_twelve_data_sets_with_a_score():
    names = {one.data_name for one in control.FULL}
    assert len(names) == len(control.FULL) == 12
    assert {name.partition("-")[0] for name in names} == {"halfcheetah", "hopper", "walker2d", "ant"}
    assert set(control.QUICK[0].headline) == {"score"}
    for one in (*control.FULL, *control.QUICK):
        one.check()


def test_a_model_has_a_name_of_its_own():
    """No two models of a data set share a folder."""
    hopper, ant = control.FULL[3], control.FULL[-1]
    assert [one.model_name for one in further_models(hopper)] == [
        "softmax-attention-whole-episode",
        "aaren-three-tokens",
        "softmax-attention-three-tokens",
    ]
    assert [one.model_name for one in further_models(ant)] == ["softmax-attention-whole-episode"]
    assert {one.data_name for one in further_models(ant)} == {ant.data_name}


def cell(data, mixer, *seeds):
    """A cell whose seeds reach these shares of what they are asked for. None is a seed that diverged."""
    metrics = [
        {}
        if share is None
        else {f"test, asked for {part:.0%}": {"asked": 10 * part, "return": 10 * part * share} for part in task.SHARES}
        for share in seeds
    ]
    return Cell("control", data, mixer, 1, 1.0, metrics, [1] * len(seeds), [0.0] * len(seeds))


def test_returns_are_drawn_against_those_asked_for(lines_of):
    one = control.FULL[0]
    cells = [cell(one.data_name, AAREN, 1.0, 0.5, None), cell(one.data_name, "gru", None), cell("other", "lstm", 1.0)]
    found = conditioned(one, cells)
    np.testing.assert_allclose(found.asked, 10 * np.array(task.SHARES))
    assert found.reached.keys() == {AAREN}
    np.testing.assert_allclose(found.reached[AAREN], 7.5 * np.array(task.SHARES))
    picture = control.draw_conditioning([found, conditioned(control.FULL[1], cells)])
    assert lines_of(picture.axes[0])[AAREN][1] == list(found.reached[AAREN])
    assert len(picture.axes[1].lines) == 1


def test_the_command_writes_its_tables(write_control, tmp_path, monkeypatch, threads, pictures, capsys):
    small = Control(env="inverted-pendulum", dataset=str(write_control(tmp_path)), width=8, depth=1, window=8, steps=2)
    monkeypatch.setattr(control, "QUICK", (small,))
    monkeypatch.setattr(task, "CLONING_STEPS", 5)
    monkeypatch.setattr(task, "EPISODES", 2)
    monkeypatch.setattr(Control, "headline", {"return": True})  # D4RL has no score of the pendulum
    command = control.Command(quick=True, seeds=2, out=tmp_path / "out", scheduler=threads.scheduler)
    command.run(Console(width=200))
    cells = json.loads((tmp_path / "out" / "settings.json").read_text())["cells"]
    assert [cell["mixer"] for cell in cells] == [AAREN, TRANSFORMER]
    assert all(len(cell["metrics"]) == 2 for cell in cells)
    printed = capsys.readouterr().out
    for row in ("aaren", "softmax-attention", "behaviour", "behaviour cloning", "random"):
        assert row in printed
    assert "asked for 25%" not in printed  # it is not for comparison
    assert "of our best" not in printed  # nothing is known of the policies of these data
    assert len(pictures["asked.png"].axes) == 1
