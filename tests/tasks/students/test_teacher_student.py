"""Recipes of a student, and the two ways to train it."""

import json
from pathlib import Path

import jax
import numpy as np

from twofold.tasks.students.in_context_regression import Recipe as Regression
from twofold.tasks.students.teacher_student import Recipe
from twofold.tasks.students.ways import LeastSquares

RESULTS = Path(__file__).parents[3] / "results"
KEY = jax.random.key(0)


def test_both_ways_draw_the_same_but_for_lambda(assert_close):
    gradient, least_squares = Recipe(3, 200, 5), Recipe(3, 200, 5, way=LeastSquares())
    assert_close(least_squares.teacher(KEY), gradient.teacher(KEY))
    a, b = gradient.student(KEY), least_squares.student(KEY)
    for name in ("w_in_m", "w_in_x", "w_out_m", "w_out_x", "readout"):
        assert_close(getattr(a, name), getattr(b, name))


def test_lambda_has_twice_as_many_memories_as_queries():
    """Density 2 lambda: 3/4 of all above 1/2."""
    share = np.mean(np.asarray(Recipe(2, 4000, 1, way=LeastSquares()).student(KEY).lam) > 0.5)
    assert abs(share - 0.75) < 0.03


def test_settings_are_those_of_committed_results():
    """Recipes are written as they were when each way had a recipe of its own."""
    for folder, recipe in (
        ("paper", Recipe()),
        ("fast", Recipe(hidden_size=20, gate_size=30, time=8, way=LeastSquares())),
    ):
        written = json.loads((RESULTS / "table1" / folder / "table1.json").read_text())["recipe"]
        assert recipe.as_json() == written
    assert Regression().as_json() == json.loads((RESULTS / "table2" / "table2.json").read_text())["recipe"]
