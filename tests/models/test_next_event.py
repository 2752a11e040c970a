"""The distribution of the next event is one: its densities integrate to one, in any unit of time."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from twofold.models.event_model import LOG_DEVIATIONS
from twofold.models.next_event import NextEvent, next_event

MARKS, COMPONENTS = 3, 4


@st.composite
def distributions(draw):
    """Of outputs whose log-deviations are as an `EventModel` has them, but not narrower than the integral's steps."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    outputs = rng.normal(size=3 * COMPONENTS + MARKS) * draw(st.sampled_from([0.1, 1.0, 3.0]))
    outputs[2 * COMPONENTS : 3 * COMPONENTS] = rng.uniform(-3, LOG_DEVIATIONS[1], COMPONENTS)
    return next_event(jnp.asarray(outputs), MARKS)


x = np.linspace(-60, 60, 20001)
TAU = np.exp(x)


def integral(predicted, f):
    """Of f(tau) p(tau), over tau = exp(x)."""
    predicted = NextEvent(*(y[None] for y in predicted))
    return np.sum(f * np.exp(predicted.log_density(jnp.asarray(TAU))) * TAU) * (x[1] - x[0])


@given(distributions())
def test_probabilities_are_one_in_all(predicted):
    assert np.isclose(integral(predicted, 1), 1, rtol=1e-6)
    assert np.isclose(jnp.sum(jnp.exp(predicted.log_weights)), 1)
    assert np.isclose(jnp.sum(jnp.exp(predicted.log_marks)), 1)


@given(distributions())
def test_the_mean_is_the_first_moment(predicted):
    assert np.isclose(integral(predicted, TAU), predicted.mean(), rtol=1e-6)


@given(distributions(), st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))
def test_another_unit_of_time_shifts_the_means(predicted, unit, elapsed):
    other = predicted._replace(means=predicted.means + np.log(unit))
    density = predicted.log_density(jnp.asarray(elapsed))
    assert np.isclose(other.log_density(jnp.asarray(elapsed * unit)), density - np.log(unit))
    assert np.isclose(other.mean(), predicted.mean() * unit)


@given(st.sampled_from([0.0, 1e-30, 1.0, 1e30]), st.sampled_from([-50.0, 0.0, 50.0]))
def test_nothing_overflows(elapsed, scale):
    outputs = scale * jnp.ones(3 * COMPONENTS + MARKS, jnp.float32)
    outputs = outputs.at[2 * COMPONENTS : 3 * COMPONENTS].set(jnp.array(LOG_DEVIATIONS * 2, jnp.float32))

    def density(outputs):
        return next_event(outputs, MARKS).log_density(jnp.float32(elapsed))

    value, gradient = jax.value_and_grad(density)(outputs)
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))
    assert np.isfinite(next_event(outputs, MARKS).mean())
