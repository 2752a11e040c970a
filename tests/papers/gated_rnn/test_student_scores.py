"""Students are scored, pruned, saved and drawn."""

import json

import numpy as np
import pytest

from twofold import load
from twofold.papers.gated_rnn import student_scores
from twofold.tasks.students.teacher_student import Recipe
from twofold.tasks.students.ways import AdamW, LeastSquares


@pytest.fixture
def scored(constructed, tmp_path, monkeypatch):
    """The constructed student, scored as one of the fast recipe."""
    monkeypatch.setattr(student_scores, "train", lambda recipe, **options: [constructed])
    monkeypatch.setattr(student_scores, "TOLERANCES", (1e-2,))
    (found,) = student_scores.scored_students(Recipe(size=2, way=LeastSquares()), out=tmp_path, progress=False)
    return found


def test_a_construction_has_the_scores_of_a_perfect_student(scored, constructed, tmp_path, pictures):
    figures = scored.figures
    assert max(figures.loss, figures.kv_score, figures.q_score, figures.pruned_loss, figures.finetuned_loss) < 1e-9
    assert max(figures.polynomial_distance, figures.decompiled, figures.teacher_error) < 1e-4
    assert (figures.memory, figures.forget, figures.other, figures.gate_rows) == (3, 2, 0, 3)
    assert [cut.tolerance for cut in scored.cuts] == [1e-6, 1e-2]
    assert scored.cuts[0] == (1e-6, 3, 2, 0, 3, figures.pruned_loss)
    json.dumps(figures._asdict())
    xs = np.random.default_rng(0).normal(size=(5, 2))
    saved = {"teacher": constructed.teacher, "network": constructed.network}
    for name, model in (saved | {"pruned": scored.pruned, "finetuned": scored.finetuned}).items():
        np.testing.assert_array_equal(load(tmp_path / "seed-0" / name)(xs), model(xs))
    assert (tmp_path / "seed-0" / "weights.png").is_file()


def test_a_bad_student_has_bad_scores(constructed):
    """The construction, but of another teacher."""
    other = type(constructed.teacher).from_weights(*(np.full((2, 2), 0.5) + np.eye(2) * i for i in (1, 2, 3)))
    assert student_scores.fresh_loss(constructed.network, other) > 0.1
    assert student_scores.fresh_loss(other, other) == 0


def test_every_way_to_train_has_its_tolerance():
    assert student_scores.PRUNED_TO.keys() == {AdamW, LeastSquares}
