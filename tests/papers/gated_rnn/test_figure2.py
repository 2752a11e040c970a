"""Figure 2 shows a student, its teacher, and the kernels in which they agree."""

import json

import numpy as np
from rich.console import Console

from twofold.convert import to_gated_rnn
from twofold.layers import LinearSelfAttention
from twofold.papers.gated_rnn import figure2, table1
from twofold.papers.gated_rnn.student_scores import Figures, Scored


def test_figure2_shows_the_student_of_table1(constructed, tmp_path, capsys, monkeypatch, pictures):
    """Here it is constructed; a trained one takes longer."""
    figures = Figures(1e-9, 1e-9, 1e-9, 1e-9, memory=3, forget=2, other=0, gate_rows=3, finetuned_loss=1e-20)
    scored = Scored(constructed, constructed.network, constructed.network, figures, [])
    monkeypatch.setattr(figure2, "scored_students", lambda recipe, **options: [scored])
    shown, kernels = figure2.reproduce(table1.QUICK["fast"], out=tmp_path)
    assert shown is scored
    assert kernels.student.shape == kernels.teacher.shape == (2, 3, 2)
    panels = {ax.get_ylabel(): ax for ax in pictures["figure2.png"].findobj(lambda a: hasattr(a, "get_ylabel"))}
    for name in ("student", "teacher"):
        kernel = getattr(kernels, name)[0].T
        np.testing.assert_allclose(panels[name].images[0].get_array(), kernel / np.abs(kernel).max())
    assert json.loads((tmp_path / "figure2.json").read_text())["kernel_error"] == kernels.error < 1e-6
    assert not (tmp_path / "table1.json").exists()  # which belongs to another command
    Console(width=200).print(figure2.table(figures, kernels.error))
    assert f"{kernels.error:.1e}" in capsys.readouterr().out


def test_kernels_of_a_conversion_are_its_source(normal):
    attention = LinearSelfAttention.from_weights(*(normal(n, 3, 3) for n in "vkq"))
    other = LinearSelfAttention.from_weights(*(normal(n, 3, 3) for n in "abc"))
    rnn = to_gated_rnn(attention, "compact")
    assert figure2.kernels(rnn, attention).error < 1e-12
    assert figure2.kernels(rnn, other).error > 0.1
