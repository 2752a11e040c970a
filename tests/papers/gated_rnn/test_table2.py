"""Table 2 is trained, written and printed; gradient descent itself has the figures of gradient descent."""

import json

import numpy as np
import pytest
from rich.console import Console

from twofold import InputError
from twofold.convert import to_gated_rnn
from twofold.papers.gated_rnn import table2
from twofold.tasks.students import in_context_regression
from twofold.tasks.students.in_context_regression import Recipe, gradient_step, loss_of_step, optimal_step
from twofold.tasks.students.ways import AdamW

TINY = Recipe(time=4, in_size=2, out_size=2, hidden_size=6, gate_size=6, way=AdamW(batch=8, steps=40))


@pytest.fixture(autouse=True)
def _measured_less(monkeypatch):
    monkeypatch.setattr(in_context_regression, "BATCH", 128)


def test_table2_is_made_written_and_printed(tmp_path, capsys):
    students, _ = table2.reproduce(TINY, seeds=2, seed=3, out=tmp_path, progress=False)
    assert len(students[0].coefficients) == 2
    assert students[0] != students[1]
    Console(width=200).print(table2.table(students, TINY))
    printed = capsys.readouterr().out
    assert "missed" in printed
    assert f"{np.mean([s.residual_norm for s in students]):.2e}" in printed
    written = json.loads((tmp_path / "table2.json").read_text())
    assert written["one step"]["coefficient"] == 1 / (4 + 2 - 0.2)
    assert (tmp_path / "seed-1" / "network" / "model.safetensors").is_file()
    with pytest.raises(InputError, match="seeds is 0"):
        table2.reproduce(TINY, seeds=0, out=tmp_path / "other")


def test_gradient_descent_has_table2_of_gradient_descent():
    """The construction, scored like a trained student."""
    recipe = Recipe(time=5)
    step = optimal_step(5)
    rnn = to_gated_rnn(gradient_step(step), "compact")
    figures = table2._figures(recipe, rnn, np.full(100, 0.5))
    np.testing.assert_allclose(figures.coefficients, step, rtol=1e-12)
    assert figures.residual_norm < 1e-12
    assert figures.one_token_norm < 1e-12
    assert figures.training_loss == 0.5
    np.testing.assert_allclose(figures.loss, loss_of_step(step, 5), rtol=1e-6)
    np.testing.assert_allclose(figures.validation_loss, 2 * loss_of_step(step, 5), rtol=1e-6)
