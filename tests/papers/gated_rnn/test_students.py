"""Students are trained by either recipe, kept and continued."""

import jax
import numpy as np
import pytest

from twofold import InputError
from twofold.papers.gated_rnn import students
from twofold.tasks.students.teacher_student import Recipe
from twofold.tasks.students.ways import AdamW, LeastSquares

PAPER = Recipe(size=2, hidden_size=6, gate_size=6, time=6, way=AdamW(batch=8, steps=60))
FAST = Recipe(size=2, hidden_size=5, gate_size=5, time=5, way=LeastSquares(steps=5, starts=1))


def same(one, other):
    leaves = zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    return all(np.array_equal(x, y) for x, y in leaves)


@pytest.mark.parametrize("recipe", [PAPER, FAST], ids=["paper", "fast"])
def test_students_are_trained_once(recipe, tmp_path, monkeypatch):
    """And those of both recipes have the same teachers, so that they can be compared one by one."""
    with jax.enable_x64(False):  # as it is for users
        teachers = students._teachers(recipe, 2, 3)
        with recipe.way.precision():
            first = students.train(recipe, seeds=2, seed=3, out=tmp_path, progress=False)
            monkeypatch.setattr(students, "finetune", None)
            assert same(students.train(recipe, seeds=2, seed=3, out=tmp_path, progress=False), first)
    assert not same(first[0].network, first[1].network)
    for i, student in enumerate(first):
        np.testing.assert_array_equal(student.teacher.w_v, teachers.w_v[i])
        assert student.curve.losses[-1] < student.curve.losses[0]
        assert np.all(np.diff(student.curve.seconds) >= 0)


def test_a_damaged_curve_is_trained_again(tmp_path, caplog):
    """A file cut short, as an interrupted write in place would leave it, does not break the resumed run."""
    (first,) = students.train(FAST, seeds=1, seed=3, out=tmp_path, progress=False)
    file = tmp_path / "seed-0" / "curve.json"
    file.write_text(file.read_text()[:20])
    (again,) = students.train(FAST, seeds=1, seed=3, out=tmp_path, progress=False)
    assert same(again.network, first.network)
    assert str(file) in caplog.text


def test_a_curve_is_written_with_four_digits():
    curve = students.Curve(np.array([0.5, 1 / 3]), np.array([1.0, 1.23456e-9]))
    assert curve.as_json() == {"seconds": [0.5, 0.3333], "losses": [1.0, 1.235e-9]}


def test_another_run_in_the_same_folder_is_refused(tmp_path):
    students.train(FAST, seeds=1, seed=0, out=tmp_path, progress=False)
    with pytest.raises(InputError, match="of seed = 0 rather than 1"):
        students.train(FAST, seeds=1, seed=1, out=tmp_path, progress=False)
    with pytest.raises(InputError, match="seeds is 0"):
        students.train(FAST, seeds=0, seed=0, out=tmp_path / "other")


def test_a_fast_student_has_no_more_rows_than_the_theory_needs(tmp_path):
    recipe = FAST._replace(hidden_size=10, gate_size=12, time=6, way=LeastSquares())
    (student,) = students.train(recipe, seeds=1, seed=0, out=tmp_path, progress=False)
    assert (student.network.hidden_size, student.network.gate_size) == (3 + 2, 3)
    assert student.curve.losses[-1] < 1e-18
