"""The two recipes of a student."""

import jax
import numpy as np

from twofold.tasks.students.teacher_student import LeastSquares, Recipe

KEY = jax.random.key(0)


def test_both_recipes_draw_the_same_but_for_lambda(assert_close):
    gradient, least_squares = Recipe(3, 200, 5), LeastSquares(3, 200, 5)
    assert_close(least_squares.teacher(KEY), gradient.teacher(KEY))
    a, b = gradient.student(KEY), least_squares.student(KEY)
    for name in ("w_in_m", "w_in_x", "w_out_m", "w_out_x", "readout"):
        assert_close(getattr(a, name), getattr(b, name))


def test_lambda_has_twice_as_many_memories_as_queries():
    """Density 2 lambda: 3/4 of all above 1/2."""
    share = np.mean(np.asarray(LeastSquares(2, 4000, 1).student(KEY).lam) > 0.5)
    assert abs(share - 0.75) < 0.03
