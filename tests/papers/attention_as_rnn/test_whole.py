"""Forecasters that are trained in one piece stand beside those of short stretches."""

import numpy as np
from rich.console import Console

from twofold.papers.attention_as_rnn import whole
from twofold.papers.attention_as_rnn.comparison import Cell


def test_both_ways_are_trained_and_their_errors_are_printed(monkeypatch, tmp_path, capsys):
    asked = []

    def trained(tasks, *, mixers, others, seeds, **options):
        asked.extend([*tasks, *others])
        names = [*mixers, *(task.model_name for task in others)]
        rows = {whole.FRESH: {"MSE": 0.5}, whole.STREAM: {"MSE": 0.25}}
        return [Cell("forecasting", "elecdemand-96", name, 10, 3.0, [rows] * seeds, [], []) for name in names]

    monkeypatch.setattr(whole, "reproduce", trained)
    whole.Command(quick=True, seeds=2, out=tmp_path).run(Console(width=200))
    stretches, piece = asked
    assert (stretches.chunk, piece.chunk) == (None, 1024)
    assert stretches.steps == piece.steps
    printed = capsys.readouterr().out
    for name in ("aaren", "aaren-one-piece"):
        (line,) = (line for line in printed.splitlines() if line.startswith(f"│ {name} "))
        assert [cell.strip() for cell in line.split("│")[2:-1]] == ["0.5000 ± 0.0000", "0.2500 ± 0.0000", "3 s"]
    assert np.all([task.dataset == "elecdemand" for task in asked])
