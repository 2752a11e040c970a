"""What the tests of both softmax scans share: the recurrence of the paper, and what it is applied to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from twofold.scan import SoftmaxState


@pytest.fixture(scope="session")
def recurrence():
    """`recurrence(scores, values, state)`: paper B, section 3.1, as it is written: m, c and a = c * o from token to token.

    With `decay`, the maximum falls by it before each token.
    """

    def run(scores, values, state, resets=None, decay=0.0):
        def step(carry, token):
            score, value, fresh = token
            m, c, a = jax.tree.map(lambda new, old: jnp.where(fresh, new, old), (-1e30, 0.0, 0.0), carry)
            faded = m - decay
            maximum = jnp.maximum(faded, score)
            kept, weight = jnp.exp(faded - maximum), jnp.exp(score - maximum)
            c, a = c * kept + weight, a * kept[:, None] + weight[:, None] * value
            return (maximum, c, a), a / c[:, None]

        m, c, o = state.maximum, state.normaliser + state.normaliser_rest, state.output + state.output_rest
        resets = np.zeros(len(scores), bool) if resets is None else resets
        (m, c, a), out = lax.scan(step, (m, c, c[:, None] * o), (scores, values, resets))
        return SoftmaxState.exactly(m, c, a / c[:, None]), out

    return run


@pytest.fixture(scope="session")
def problem(normal):
    """`problem(time, scale)`: scores, values and what came before, in float64 without ties."""

    def draw(time, scale=1.0):
        state = SoftmaxState.exactly(scale * normal("m", 2), np.abs(normal("c", 2)) + 0.5, normal("o", 2, 3))
        return scale * normal("scores", time, 2), normal("values", time, 2, 3), state

    return draw
