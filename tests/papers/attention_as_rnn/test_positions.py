"""What positions are worth stands in one table, with a verdict for each attention."""

import numpy as np
import pytest
from rich.console import Console

from twofold.papers.attention_as_rnn import positions
from twofold.papers.attention_as_rnn.comparison import AAREN, TRANSFORMER, Cell

GAINS = {"aaren-decay": 0.1, "softmax-attention-rotary": 0.0}


def cells(tasks, *, mixers, seeds, **options):
    """Cells of which Aaren's metrics grow by its decay, and the Transformer's by nothing that a test would tell."""
    noise = 1e-3 * np.random.default_rng(0).normal(size=(len(mixers), seeds))

    def metrics(task, i, seed):
        value = 0.5 + GAINS.get(mixers[i], 0.0) + noise[i, seed]
        return {"test": dict.fromkeys(task.headline, float(value))}

    return [
        Cell(task.name, task.data_name, mixer, 10, 3.0, [metrics(task, i, seed) for seed in range(seeds)], [], [])
        for task in tasks
        for i, mixer in enumerate(mixers)
    ]


def test_every_metric_is_told_with_and_without_positions(monkeypatch, tmp_path, capsys):
    asked = []

    def trained(tasks, **how):
        asked.extend(tasks)
        return cells(tasks, **how)

    monkeypatch.setattr(positions, "reproduce", trained)
    positions.Command(seeds=5, out=tmp_path).run(Console(width=200))
    assert asked == list(positions.TASKS)
    assert [task.data_name for task in asked] == ["elecdemand-96", "hawkes", "JapaneseVowels"]
    lines = [line.split("│")[1:-1] for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in (line[0], line[1], line[4], line[7])] for line in lines] == [
        ["elecdemand-96", "MSE", "worse", "no difference"],
        ["elecdemand-96", "MAE", "worse", "no difference"],
        ["hawkes", "NLL", "worse", "no difference"],
        ["hawkes", "RMSE", "worse", "no difference"],
        ["hawkes", "accuracy", "better", "no difference"],
        ["JapaneseVowels", "accuracy", "better", "no difference"],
    ]
    assert all(line[2].strip().startswith("0.5") and line[3].strip().startswith("0.6") for line in lines)


def test_quick_takes_the_same_data_and_few_steps(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(positions, "reproduce", lambda tasks, **how: asked.extend(tasks) or cells(tasks, **how))
    positions.Command(quick=True, seeds=2, out=tmp_path).run(Console(quiet=True))
    assert [(task.data_name, task.steps) for task in asked] == [(task.data_name, 20) for task in positions.TASKS]


@pytest.mark.parametrize("lost", [AAREN, TRANSFORMER, *GAINS])
def test_a_mixer_that_diverged_is_not_compared(lost, capsys):
    found = cells(positions.TASKS, mixers=positions.MIXERS, seeds=3)
    for cell in found:
        if cell.mixer == lost:
            cell.metrics.clear()
    Console(width=200).print(positions.table(found))
    assert capsys.readouterr().out.count("not compared") == 6
