"""The polynomial of a network at the question of a regression task is its function."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from twofold.discover import monomials
from twofold.papers.gated_rnn.question import polynomial_at_question
from twofold.tasks.students.in_context_regression import Recipe, predictions


def test_polynomial_at_the_question_is_the_function(assert_close):
    """For lambda = 1, whatever the weights."""
    recipe = Recipe(time=4, in_size=2, out_size=2, hidden_size=5, gate_size=4)
    student = recipe.student(jax.random.key(0))
    student = eqx.tree_at(lambda rnn: rnn.recurrent, student, jnp.full(5, -60.0))
    polynomial = polynomial_at_question(student, 2, 4)
    tokens, _ = recipe.tasks(jax.random.key(1), 6)
    first, second = np.triu_indices(5)
    outputs = []
    for sequence in np.asarray(tokens):
        examples = np.concatenate([sequence[:-1], np.ones((4, 1))], 1)
        sums = (examples.T @ examples)[first, second]
        sums[-1] = 0  # The constant's is no variable.
        question = np.append(sequence[-1], 1)
        pairs = np.outer(question, question)[first, second]
        powers = np.array([np.prod(question[list(monomial)]) for monomial in monomials(4)])
        outputs.append(
            sums @ polynomial.mixed @ pairs + sums @ polynomial.examples @ sums + powers @ polynomial.question
        )
    assert_close(np.array(outputs), jax.jit(predictions)(student, tokens)[:, 0], rtol=1e-10)
