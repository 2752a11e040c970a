"""A forecaster of series, by the conventions of scikit-learn."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from ..data import Series
from ..errors import InputError
from ..saving import from_bytes, packed, to_bytes, unpacked
from ..tasks import Forecasting
from ..tasks.run import train_on
from .sequence_classifier import task_of
from .stream import LARGEST_BLOCK, Stream


@dataclass(kw_only=True, eq=False, repr=False)
class SeriesForecaster(BaseEstimator):
    """Forecasts the next `horizon` values of one series or of several. It is an estimator by the conventions of scikit-learn.

    `y` is an array of shape `(time,)` for one series, or `(time, series)` for several, with observations at equal distances
    in time. The parameters are the settings of `twofold.tasks.Forecasting`, with the same defaults. The first seven eighths of
    `y` are for training, and the rest is for validation. Both parts need `horizon` values, and the training part also needs
    max(`patch`, `season`) - 1 + `context` values before them.

    `fit` trains a model, and the model reads the whole of `y`. `update` reads further values, each in constant time, and
    `predict` forecasts what comes after the last value that was read. `update` changes no weights.

    After `fit`, `model_` has the trained model, for raw values. A pickle has the model in the form of `twofold.save`,
    together with the state of the stream.

    !!! example

        forecaster = SeriesForecaster(horizon=48, season=48, random_state=0).fit(y)
        forecaster.update(y_new).predict(24)
    """

    horizon: int = Forecasting.horizon
    """This many values are forecast."""
    season: int = 1
    """This many values make a season. It is 1 if there is no season."""
    context: int = Forecasting.context
    """In training, the mixer reads this many values before a forecast."""
    patch: int = Forecasting.patch
    """A token is made of this many last values."""
    memory: float = Forecasting.memory
    """The normalisation remembers about this many values."""
    mixer: str = Forecasting.mixer
    """The layer that mixes over time: aaren, softmax-attention, lru, lstm, gru, ..."""
    width: int = Forecasting.width
    """The size of the vectors between the blocks."""
    depth: int = Forecasting.depth
    """The number of blocks."""
    heads: int = Forecasting.heads
    """The number of attention heads. Mixers without heads do not use it."""
    steps: int = Forecasting.steps
    """Training takes at most this many steps."""
    batch: int = Forecasting.batch
    """Each step uses this many windows of the series."""
    learning_rate: float = Forecasting.learning_rate
    """The largest learning rate."""
    weight_decay: float = Forecasting.weight_decay
    """The weight decay of AdamW."""
    patience: int = Forecasting.patience
    """Training ends when the validation loss has not fallen for this many of its measurements."""
    measurements: int = Forecasting.measurements
    """The validation loss is measured this many times, at equal distances."""
    random_state: int | np.random.RandomState | None = None
    """The seed of the initial weights and of the batches, or a generator that draws the seed."""

    def fit(self, y: Any) -> "SeriesForecaster":
        """Train a model on the series `y`, and read all of it. Return the forecaster itself.

        **Raises:** `InputError` for parameters or values that cannot be used, and for a series that is too short.
        `FloatingPointError` if training diverges.
        """
        values = np.atleast_1d(_values(y))
        several = values.reshape(len(values), -1)
        series = several.shape[1]
        task = task_of(Forecasting, self)
        names = tuple(map(str, range(series)))
        data = Series("y", several[None], names, series, tuple(range(series)), self._checked_season(), "", tested=False)
        task.check()
        task.check_length(data)
        self.model_ = train_on(task, data)
        self.stream_, self.value_shape_ = Stream(self.model_), values.shape[1:]
        return self._read(several)

    def update(self, y_new: Any) -> "SeriesForecaster":
        """Read the values that came after the last ones: one value or many, in the order of time. Return the forecaster itself.

        `y_new` is a number or `(time,)` if the forecaster was fitted to one series. Otherwise it is `(series,)` for one time,
        or `(time, series)`. The time and the memory that a value takes do not grow with the number of values before it.

        **Raises:** `InputError` for values that cannot be read. The forecaster is then as it was.
        `sklearn.exceptions.NotFittedError` before `fit`.
        """
        check_is_fitted(self)
        values, shape = _values(y_new), self.value_shape_
        if shape not in (values.shape, values.shape[1:]):
            raise InputError(
                f"y_new has shape {values.shape}; a value of this forecaster has shape {shape}, and many have the time before it"
            )
        return self._read(values.reshape(-1, self.model_.in_size))

    def predict(self, horizon: int | None = None) -> Float[np.ndarray, "horizon *series"]:
        """Forecast the next `horizon` values: `(horizon,)` for one series, and `(horizon, series)` for several.

        **Arguments:**

        - `horizon`: how many values are forecast, at most as many as the parameter `horizon` says. All of them if not given.

        **Raises:** `InputError` for any other horizon. `sklearn.exceptions.NotFittedError` before `fit`.
        """
        check_is_fitted(self)
        trained = len(self.forecast_)
        horizon = trained if horizon is None else horizon
        if not isinstance(horizon, int | np.integer) or not 1 <= horizon <= trained:
            raise InputError(f"horizon is {horizon!r}; this forecaster was trained for a horizon from 1 to {trained}")
        return self.forecast_[:horizon].reshape(horizon, *self.value_shape_).copy()

    def _read(self, values: Float[np.ndarray, "time series"]) -> "SeriesForecaster":
        for start in range(0, len(values), LARGEST_BLOCK):  # block by block, because a forecast is longer than a value
            block = values[start : start + LARGEST_BLOCK]
            # A step is many times faster than a scan of one token.
            last = self.stream_.push(block[0]) if len(block) == 1 else self.stream_.push_many(block)[-1]
            self.forecast_ = last.reshape(-1, values.shape[1])
        return self

    def _checked_season(self) -> int:
        if not isinstance(self.season, int | np.integer) or self.season < 1:
            raise InputError(f"season is {self.season!r}; it must be an integer of at least 1")
        return int(self.season)

    def __getstate__(self):
        state = dict(super().__getstate__())
        if "model_" not in state:
            return state
        return state | {"model_": packed(self.model_), "stream_": to_bytes(self.stream_.snapshot())}

    def __setstate__(self, state):
        if "model_" in state:
            model = unpacked(state["model_"])
            stream = Stream(model)
            stream.restore(from_bytes(state["stream_"]))
            state = state | {"model_": model, "stream_": stream}
        super().__setstate__(state)


def _values(y: Any) -> np.ndarray:
    """The values of one series or several as an array of float64, checked."""
    try:
        values = np.asarray(y, float)
    except (TypeError, ValueError) as error:
        raise InputError(f"y is not an array of numbers: {error}") from error
    if values.ndim > 2 or not values.size:
        raise InputError(f"y has shape {values.shape}; it must be (time,) or (time, series), with at least one value")
    unfit = np.argwhere(~(np.abs(values) <= np.finfo(np.float32).max))
    if len(unfit):
        raise InputError(
            f"y has {values[tuple(unfit[0])]} at {tuple(map(int, unfit[0]))}; every value must be a finite number that float32"
            " can hold"
        )
    return values
