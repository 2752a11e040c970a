"""The task and its analytic optimum."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twofold import InputError
from twofold.tasks.students.in_context_regression import (
    Recipe,
    gradient_step,
    loss_of_step,
    optimal_step,
    predictions,
    regression_loss,
    sample_tasks,
)

loss = jax.jit(regression_loss)

SIZES = [(12, 3, 3), (5, 2, 4), (1, 1, 1)]
every_size = pytest.mark.parametrize(("time", "in_size", "out_size"), SIZES)


@every_size
def test_answers_follow_from_the_examples(time, in_size, out_size):
    tokens, answers = sample_tasks(jax.random.key(0), 50, time=max(time, in_size), in_size=in_size, out_size=out_size)
    xs, ys = np.split(np.asarray(tokens, np.float64), [in_size], axis=2)
    assert not np.any(ys[:, -1])
    for x, y, answer in zip(xs, ys, answers, strict=True):
        w = np.linalg.lstsq(x[:-1], y[:-1], rcond=None)[0]
        np.testing.assert_allclose(x[-1] @ w, answer, atol=1e-8)


def test_moments():
    tokens, _ = sample_tasks(jax.random.key(0), 100_000, time=1, variance=2.0)
    x, y = tokens[:, 0, :3], tokens[:, 0, 3:]
    np.testing.assert_allclose([jnp.mean(x), jnp.mean(x**2), jnp.mean(x**4)], [0, 1, 9 / 5], atol=0.01)
    np.testing.assert_allclose(jnp.mean(y**2), 2, rtol=0.02)


def test_the_papers_numbers():
    assert optimal_step() == 1 / 14.8
    assert round(loss_of_step(optimal_step()), 4) == 0.0946


@cache
def many_tasks(time, in_size, out_size):
    return sample_tasks(jax.random.key(1), 100_000, time=time, in_size=in_size, out_size=out_size)


@pytest.mark.parametrize("factor", [0.5, 1.0, 1.3])
@every_size
def test_closed_form_agrees_with_monte_carlo(time, in_size, out_size, factor):
    step = factor * optimal_step(time, in_size)
    tokens, answers = many_tasks(time, in_size, out_size)
    model = gradient_step(step, in_size, out_size)
    np.testing.assert_allclose(loss(model, tokens, answers), loss_of_step(step, time, in_size), rtol=0.02)


@every_size
def test_no_other_step_is_better(time, in_size, out_size):
    best = optimal_step(time, in_size)
    for step in best * np.array([0.9, 0.99, 1.01, 1.1]):
        assert loss_of_step(step, time, in_size) > loss_of_step(best, time, in_size)


def test_loss_is_that_of_the_outputs_at_the_questions(assert_close):
    recipe = Recipe(time=4, in_size=2, out_size=3, hidden_size=5, gate_size=6)
    student = recipe.student(jax.random.key(0))
    tokens, answers = recipe.tasks(jax.random.key(1), 7)
    outputs = jax.jit(jax.vmap(lambda sequence: student(sequence)[-1]))(tokens)
    assert_close(jax.jit(predictions)(student, tokens), outputs)
    assert_close(loss(student, tokens, answers), jnp.mean((outputs - answers) ** 2) / 2)


def test_impossible_sizes_are_named(unchecked):
    with pytest.raises(InputError, match="time is 0; it must be at least 1"):
        sample_tasks(jax.random.key(0), 4, time=0)
