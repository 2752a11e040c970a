"""The forecaster keeps the conventions of scikit-learn, goes on in constant time, and refuses what it cannot use."""

import pickle
from dataclasses import fields

import jax
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from twofold import InputError, Stream
from twofold.deploy import SeriesForecaster
from twofold.tasks import Forecasting

SMALL = SeriesForecaster(
    horizon=8,
    context=12,
    patch=8,
    memory=24.0,
    width=8,
    depth=1,
    heads=2,
    batch=4,
    steps=150,
    measurements=3,
    learning_rate=1e-2,
    random_state=0,
)
QUICK = clone(SMALL).set_params(steps=1, measurements=1)


def sine(times):
    """10 is the mean, and 13 the largest value. The period is 23."""
    return 10 + 3 * np.sin(2 * np.pi * np.asarray(times) / 23)


@pytest.fixture(scope="module")
def fitted():
    return clone(SMALL).fit(sine(range(400)))


@pytest.fixture
def copy(fitted):
    return pickle.loads(pickle.dumps(fitted))


def test_the_parameters_are_the_settings_of_the_task():
    others = ("dataset", "csv", "header", "target", "split", "protocol", "channels", "chunk", "seed")
    settings = {field.name: field.default for field in fields(Forecasting) if field.name not in others}
    assert SeriesForecaster().get_params() == settings | {"season": 1, "random_state": None}


def test_it_learns_and_forecasts_in_the_units_of_the_series(fitted):
    forecast = fitted.predict()
    assert forecast.shape == (8,)
    error = np.abs(forecast - sine(range(400, 408))).mean()
    assert error < 0.5 * np.abs(sine([399]) - sine(range(400, 408))).mean()
    np.testing.assert_array_equal(fitted.predict(3), forecast[:3])


def test_reading_on_is_as_reading_all_at_once(copy, assert_close):
    """One value, many values, one value in an array: the forecast is that of the model for the whole series."""
    further = sine(range(400, 430))
    copy.update(further[0]).update(further[1:28]).update(further[28:29]).update(list(further[29:]))
    whole = jax.jit(lambda xs: copy.model_(xs))(sine(range(430))[:, None])
    assert_close(copy.predict(), np.asarray(whole[-1]), rtol=1e-4)
    assert copy.stream_.tokens == 430


def test_the_state_does_not_grow(copy):
    size = copy.stream_.state_bytes
    assert copy.update(sine(range(400, 3000))).stream_.state_bytes == size


def test_a_pickle_goes_on_where_the_forecaster_was(copy):
    """The pickle is of the forecaster in the middle of its stream, and its model runs in a stream of its own."""
    copy.update(sine(range(400, 405)))
    again = pickle.loads(pickle.dumps(copy))
    np.testing.assert_array_equal(again.predict(), copy.predict())
    np.testing.assert_array_equal(again.update(11.0).predict(), copy.update(11.0).predict())
    assert b"equinox" not in pickle.dumps(copy)
    assert Stream(again.model_).push([10.0]).shape == (8,)
    assert pickle.loads(pickle.dumps(SMALL)).get_params() == SMALL.get_params()


def test_several_series_are_forecast_together():
    y = np.column_stack([sine(range(200)), 100 * sine(range(3, 203))])
    forecaster = clone(QUICK).set_params(season=23).fit(y)
    assert forecaster.predict().shape == (8, 2)
    assert np.all(forecaster.predict()[:, 1] > 100)
    before = forecaster.predict()
    assert np.any(forecaster.update([10.0, 1000.0]).update(y[:5]).predict() != before)
    assert forecaster.stream_.tokens == 206


def test_it_is_fitted_before_it_forecasts():
    for call in (lambda f: f.predict(), lambda f: f.update(1.0)):
        with pytest.raises(NotFittedError):
            call(clone(SMALL))


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([], r"y has shape \(0,\); it must be \(time,\) or \(time, series\)"),
        (np.ones((2, 200, 1)), r"y has shape \(2, 200, 1\)"),
        ([1.0, np.nan], r"y has nan at \(1,\)"),
        (np.full((3, 2), np.inf), r"y has inf at \(0, 0\)"),
        (["a", "b"], "y is not an array of numbers"),
        (5.0, "the training part of y has 0 observations"),
        (sine(range(29)), "the training part of y has 6 observations after the first look-back of 19"),
        (sine(range(63)), "the validation part of y has 8 observations"),
    ],
)
def test_series_that_cannot_be_used_are_refused_in_words(y, message, unchecked):
    with pytest.raises(InputError, match=message):
        clone(QUICK).set_params(horizon=9).fit(y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"season": 0}, "season is 0; it must be an integer of at least 1"),
        ({"season": 1.5}, "season is 1.5"),
        ({"horizon": 0}, "horizon is 0"),
        ({"mixer": "mamba"}, "unknown mixer 'mamba'"),
        ({"memory": -1.0}, "memory is -1.0"),
    ],
)
def test_parameters_are_checked_in_fit(parameters, message, unchecked):
    with pytest.raises(InputError, match=message):
        clone(QUICK).set_params(**parameters).fit(sine(range(200)))


@pytest.mark.parametrize("horizon", [0, 9, -1, 2.0])
def test_a_horizon_that_was_not_trained_is_refused(fitted, horizon, unchecked):
    with pytest.raises(InputError, match="this forecaster was trained for a horizon from 1 to 8"):
        fitted.predict(horizon)


@pytest.mark.parametrize("y_new", [np.nan, [1.0, np.inf], [[1.0]], [], "a"])
def test_values_that_cannot_be_read_leave_the_forecaster_as_it_was(copy, y_new):
    before = copy.predict()
    with pytest.raises(InputError):
        copy.update(y_new)
    assert copy.stream_.tokens == 400
    np.testing.assert_array_equal(copy.predict(), before)
