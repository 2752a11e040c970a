"""Samplers and likelihoods are of one process: neither is derived from the other, and each law is a test of both."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest

from twofold.data.point_processes import Hawkes, Sinusoidal
from twofold.tasks.events import PROCESSES

TWO_SPEEDS = Hawkes(np.array([0.2, 0.4]), np.array([[0.3, 0.1], [4.0, 2.0]]), np.array([1.0, 8.0]))
ALL = PROCESSES | {"two speeds": TWO_SPEEDS}
each_process = pytest.mark.parametrize("process", ALL.values(), ids=ALL)


def sampled(process, sequences=300, events=12, seed=0):
    return process.sample(np.random.default_rng(seed), sequences, events)


def gaps(process, times, marks):
    """The histories that events 2..n come after, and the time until they come."""
    return process.histories(times, marks)[:, :-1], np.diff(times)


def deviations(samples):
    """How many standard errors the mean of each column is away from 0."""
    samples = samples.reshape(-1, samples.shape[-1])
    return samples.mean(0) / (samples.std(0) / np.sqrt(len(samples)))


@each_process
def test_sequences_begin_at_zero_and_go_on(process):
    times, marks = sampled(process)
    assert np.all(times[:, 0] == 0)
    assert np.all(np.diff(times) > 0)
    assert set(np.unique(marks)) == set(range(process.marks))


@each_process
def test_time_rescaled_by_the_compensator_is_exponential(process):
    history, elapsed = gaps(process, *sampled(process))
    assert kstest(process.compensator(history, elapsed).ravel(), "expon").pvalue > 0.01


@each_process
def test_marks_come_as_often_as_forecast(process):
    """Given the time, and before it is known; and so do times."""
    times, marks = sampled(process)
    happened = marks[:, 1:, None] == np.arange(process.marks)
    history, elapsed = gaps(process, times, marks)
    rates = process.intensities(history, elapsed)
    forecasts = process.forecasts(times, marks)
    assert np.all(np.abs(deviations(happened - rates / rates.sum(-1, keepdims=True))) < 3.5)
    assert np.all(np.abs(deviations(happened - forecasts.marks)) < 3.5)
    assert np.all(np.abs(deviations((elapsed - forecasts.means)[..., None])) < 3.5)


@each_process
def test_the_density_integrates_to_one(process):
    assert np.allclose(process.forecasts(*sampled(process, sequences=20)).marks.sum(-1), 1, rtol=0, atol=1e-6)


@each_process
def test_the_log_likelihood_is_that_of_intensity_and_compensator(process):
    times, marks = sampled(process, sequences=5)
    history, elapsed = gaps(process, times, marks)
    rate = np.take_along_axis(process.intensities(history, elapsed), marks[:, 1:, None], -1)[..., 0]
    expected = np.log(rate) - process.compensator(history, elapsed)
    assert np.allclose(sum(process.log_likelihoods(times, marks)), expected, rtol=1e-12)


@each_process
@given(elapsed=st.floats(1e-3, 30))
def test_the_compensator_is_the_integral_of_the_intensity(process, elapsed):
    history = process.histories(*sampled(process, sequences=2, events=4))
    nodes, weights = np.polynomial.legendre.leggauss(200)
    tau = np.broadcast_to(elapsed * (nodes + 1)[:, None, None] / 2, (200, 2, 4))
    rates = process.intensities(np.broadcast_to(history, (200, *history.shape)), tau).sum(-1)
    integral = np.tensordot(weights, rates, 1) * elapsed / 2
    assert np.allclose(process.compensator(history, np.full((2, 4), elapsed)), integral, rtol=1e-9)


def test_the_excitation_is_the_sum_over_past_events():
    times, marks = sampled(TWO_SPEEDS, sequences=3)
    actual = TWO_SPEEDS.histories(times, marks)
    for s, i in np.ndindex(times.shape):
        past = slice(0, i + 1)
        decayed = np.exp(-np.outer(TWO_SPEEDS.decay, times[s, i] - times[s, past]))
        assert np.allclose(actual[s, i], np.sum(TWO_SPEEDS.jumps[:, marks[s, past]] * decayed, 1), rtol=1e-12)


def test_without_excitation_or_waves_they_are_poisson_processes():
    rates = np.array([0.5, 1.5])
    for process in (
        Hawkes(rates, np.zeros((2, 2)), np.ones(2)),
        Sinusoidal(rates, amplitude=0.0, period=1.0, phases=np.zeros(2)),
    ):
        times, marks = sampled(process, sequences=10)
        of_time, of_mark = process.log_likelihoods(times, marks)
        assert np.allclose(of_time, np.log(2) - 2 * np.diff(times))
        assert np.allclose(of_mark, np.log(rates / 2)[marks[:, 1:]])
        assert np.allclose(process.forecasts(times, marks).means, 0.5)
