"""What comes next in a series? A forecaster gives its whole horizon after every observation."""

import dataclasses
from pathlib import Path
from typing import Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ..data.observations import Series
from ..errors import InputError
from ..layers import Rescaled
from ..models import ChannelIndependent, Forecaster
from ..train.mesh import over_rows
from .matched import matched_model
from .task import Metrics, Task
from .words import ForecastWords

HORIZONS = (96, 192, 336, 720)
"""The horizons that the literature compares forecasters at."""


@dataclasses.dataclass(frozen=True)
class Forecasting(Task[Series]):
    """What comes next in a series? The next `horizon` values are forecast after every observation.

    All parts of the series are standardised by the mean and the deviation of the training part. In training and tests, the
    mixer starts from a fresh state and reads the last `context` observations before a forecast. In a stream, it reads all
    observations.

    The published tables for ETT's files are made with --split ett --protocol window.
    """

    dataset: Literal["elecdemand", "eustock", "weather"] = "elecdemand"
    """The data set: elecdemand (half-hourly electricity demand), eustock (daily prices of four stock indices) or weather
    (hourly temperature at three airports)."""
    csv: Path | None = None
    """A CSV file in ETT's style, used in place of a data set. It has columns of numbers, and may have a column `date`."""
    header: bool = True
    """Whether the first line of the CSV file has the names of the columns. Otherwise their names are 0, 1, 2, ..."""
    target: str | None = None
    """The column of the CSV file to forecast. All columns are forecast if it is not given."""
    split: Literal["70/10/20", "ett"] = "70/10/20"
    """The shares of the series for training, validation and the test, in per cent. "ett" is the split of the literature for
    ETT's files: 12, 4 and 4 months of 30 days. What comes after these is not used."""
    protocol: Literal["stream", "window"] = "stream"
    """What a forecast is made from in training and tests. "window" is the protocol of the literature: there is nothing but the
    `context` observations, which are normalised by their own mean and deviation, and the loss is the squared error. "stream"
    also knows the observations of a patch or a season before these. Its normalisation is the one of `memory`, and its
    loss is the absolute error."""
    channels: Literal["mixed", "independent"] = "mixed"
    """What a token has. "mixed": the patches of all series. "independent": the patch of one series. Each series is then
    forecast from its own past alone, with the same weights (channel-independence, Nie et al. 2023). All series must be
    targets."""
    horizon: int = 96
    """This many values are forecast."""
    context: int = 96
    """The mixer reads this many observations before a forecast."""
    patch: int = 48
    """A token is made of this many last observations."""
    chunk: int | None = None
    """Each step of training takes the whole training part of a series, this many observations at a time, in place of short
    stretches. Then validation also reads its part in one piece."""
    memory: float = 96.0
    """Instance normalisation remembers about this many observations, with weights that fall exponentially. The protocol
    "window" does not use it: there, all observations since the state was fresh weigh alike."""
    width: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 1.0
    steps: int = 600
    measurements: int = 20
    patience: int = 6

    name = "forecasting"
    headline: ClassVar = {"MSE": False, "MAE": False}
    positive = (*Task.positive, "horizon", "context", "patch")

    EVERY: ClassVar = 8
    """In training on streams, a forecast is made after every eighth observation, because neighbouring forecasts are nearly
    the same."""
    VALIDATED: ClassVar = 128
    """The validation loss is measured on at most this many windows, at equal distances."""

    def check(self) -> None:
        super().check()
        if not 0 < self.memory < float("inf"):
            raise InputError(f"memory is {self.memory}; it must be a positive number of observations")
        if self.target is not None and self.csv is None:
            raise InputError(f"target is {self.target!r}, which is for --csv; the data sets have targets of their own")
        for name, known in (
            ("split", ("70/10/20", "ett")),
            ("protocol", ("stream", "window")),
            ("channels", ("mixed", "independent")),
        ):
            if getattr(self, name) not in known:
                raise InputError(f"{name} is {getattr(self, name)!r}; it must be {known[0]} or {known[1]}")
        if not self.header and self.csv is None:
            raise InputError("header is False, which is for --csv; the data sets have names for their columns")
        if self.chunk is not None and self.protocol == "window":
            raise InputError(
                f"chunk is {self.chunk}, which takes the series in one piece; the protocol window takes windows alone"
            )

    @property
    def data_name(self) -> str:
        return f"{self.dataset if self.csv is None else Path(self.csv).name.split('.')[0]}-{self.horizon}"

    @property
    def model_name(self) -> str:
        return self.mixer + "-one-piece" * (self.chunk is not None)

    def files(self) -> tuple[Path, ...]:
        return () if self.csv is None else (Path(self.csv),)

    def load(self) -> Series:
        from ..data import series  # imported here, because it needs pandas

        if self.csv is not None:
            data = series.read_csv(self.csv, self.target, header=self.header)
        elif self.dataset in series.SHIPPED:
            data = series.SHIPPED[self.dataset]()
        else:
            raise InputError(
                f"unknown dataset {self.dataset!r}; it must be one of {', '.join(series.SHIPPED)}, or give a file with --csv"
            )
        if self.channels == "independent" and data.targets != tuple(range(data.variates)):
            raise InputError(
                f"channels is 'independent', which forecasts every series; {data.name} has {data.variates} series, and not all"
                " of them are targets"
            )
        self.check_length(data)
        return data

    def check_length(self, data: Series) -> None:
        """Check that each part of the data has as many observations as the settings need.

        **Raises:** `InputError` that says how long the horizon can be, or that the split needs dates or more observations.
        """
        (train_end, test_start, end), lookback = self._parts(data), self._lookback(data.season)
        if end > data.values.shape[1]:
            raise InputError(
                f"split is 'ett', for which {end} observations are needed, 20 months; {data.name} has {data.values.shape[1]}"
            )
        parts = {"training": train_end - lookback, "validation": test_start - train_end}
        if data.tested:
            parts["test"] = end - test_start
        for part, length in parts.items():
            if length < self.horizon:
                of = f" after the first look-back of {lookback}" if part == "training" else ""
                raise InputError(
                    f"horizon is {self.horizon}, and the {part} part of {data.name} has {max(length, 0)}"
                    f" observations{of}; the horizon can be {max(min(parts.values()), 0)} at most"
                )

    def _lookback(self, season: int) -> int:
        """How many observations a forecast is made from: those that are only remembered, and those that the mixer reads."""
        return self.context + (0 if self.protocol == "window" else max(self.patch, season) - 1)

    def _parts(self, data: Series) -> tuple[int, int, int]:
        """Where the training part ends, where the test part starts, and where the test part ends."""
        end = data.values.shape[1]
        if not data.tested:
            return int(0.875 * end), end, end
        if self.split == "70/10/20":
            return int(0.7 * end), end - int(0.2 * end), end
        if data.step is None:
            raise InputError(
                f"split is 'ett', which counts months; {data.name} has no dates that say how many observations these have"
            )
        month = round(30 * 24 * 3600 / data.step)
        return 12 * month, 16 * month, 20 * month

    def _statistics(self, data: Series) -> tuple[Float[np.ndarray, " features"], Float[np.ndarray, " features"]]:
        """The mean and the deviation of every feature over the training part of all places.

        They are 0 and 1 for covariates, which are not standardised. The deviation of a constant series counts as 1.
        """
        train = data.values[:, : self._parts(data)[0], : data.variates].reshape(-1, data.variates)
        rest = data.values.shape[2] - data.variates
        scale = train.std(0)
        return (
            np.concatenate([train.mean(0), np.zeros(rest)]),
            np.concatenate([np.where(scale > 0, scale, 1), np.ones(rest)]),
        )

    def arrays(self, data: Series) -> dict[str, Array]:
        mean, scale = self._statistics(data)
        standardised = jnp.asarray((data.values - mean) / scale, jnp.float32)
        train_end, test_start, _ = self._parts(data)
        return {
            "train": standardised[:, :train_end],
            "validation": standardised[:, train_end - self._lookback(data.season) : test_start],
        }

    def model(self, data: Series, key: PRNGKeyArray) -> Forecaster:
        alone = self.channels == "independent"
        covariates = data.values.shape[2] - data.variates
        inner = matched_model(
            self.patch * (1 if alone else data.variates) + covariates,
            self.horizon * (1 if alone else len(data.targets)),
            mixer=self.mixer,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            capacity=self.context,
            key=key,
        )
        return Forecaster(
            ChannelIndependent(inner, channels=data.variates, covariates=covariates) if alone else inner,
            variates=data.variates,
            targets=data.targets,
            horizon=self.horizon,
            patch=self.patch,
            season=data.season,
            memory=np.inf if self.protocol == "window" else self.memory,
        )

    def loss(self, model, arrays, key):
        """The mean error of forecasts from random windows of the training part, or along random stretches of it.

        In a window, the last forecast counts, because it alone is normalised by the whole window.
        """
        series, lookback = arrays["train"], self._lookback(model.season)
        place_key, start_key = jax.random.split(key)
        if self.chunk is not None:
            place = jax.random.randint(place_key, (1,), 0, len(series))
            return self._mean(self._errors_in_one_piece(model, series, place, lookback))
        places = jax.random.randint(place_key, (self.batch,), 0, len(series))
        starts = jax.random.randint(start_key, (self.batch,), 0, series.shape[1] - lookback - self.horizon + 1)
        every = self.context if self.protocol == "window" else self.EVERY
        times = np.arange(self.context - 1, -1, -every)[::-1]
        return self._mean(self._errors(model, series, places, starts, times, lookback))

    def validation(self, model, arrays):
        series, lookback = arrays["validation"], self._lookback(model.season)
        if self.chunk is not None:
            return self._mean(self._errors_in_one_piece(model, series, np.arange(len(series)), lookback))
        places, starts = _windows(series.shape, lookback, self.horizon)
        every = -(-len(starts) // self.VALIDATED)
        last = np.array([self.context - 1])
        return self._mean(self._errors(model, series, places[::every], starts[::every], last, lookback))

    def _mean(self, errors):
        """The mean of the absolute errors, or of the squared ones as in the literature.

        In streams, errors are not squared, because a few unusual days would then dominate the loss.
        """
        return jnp.mean(jnp.square(errors) if self.protocol == "window" else jnp.abs(errors))

    def _errors_in_one_piece(self, model, series, places, lookback):
        """The errors of forecasts along whole series. The mixer reads each from its beginning, chunk by chunk."""

        def stack(model):
            return (model.model if self.channels == "mixed" else model.model.inner).stack

        chunked = eqx.tree_at(stack, model, self.chunked(stack(model)))
        times = np.arange(lookback - 1, series.shape[1] - self.horizon, self.EVERY) - model.lags
        return self._errors(chunked, series, places, np.zeros(len(places), int), times, series.shape[1])

    def _errors(
        self,
        model: Forecaster,
        series: Float[Array, "places time features"],
        places: Int[Array | np.ndarray, " windows"],
        starts: Int[Array | np.ndarray, " windows"],
        times: Int[Array | np.ndarray, " times"],
        lookback: int,
    ) -> Float[Array, "windows times out"]:
        """The forecasts minus the true values. In each window, there is a forecast after each of the observations `times`.

        Times are counted from the first observation that the mixer reads.
        """
        fresh = self.protocol == "window"
        first = 0 if fresh else model.lags

        def one(shared, window):
            (model, series), (place, start) = shared, window
            targets = series[:, :, jnp.array(model.targets)]
            seen = lax.dynamic_slice(series, (place, start, 0), (1, lookback, series.shape[2]))[0]
            sizes = (1, model.horizon, len(model.targets))
            came = jax.vmap(lambda t: lax.dynamic_slice(targets, (place, start + first + t + 1, 0), sizes).ravel())(
                jnp.asarray(times)
            )
            return model.forecasts_at(times, seen, fresh=fresh) - came

        return over_rows(one, (model, series), (jnp.asarray(places), jnp.asarray(starts)))

    def _windowed_errors(self, model: Forecaster, part: Float[Array, "places time features"], lookback: int):
        places, starts = _windows(part.shape, lookback, model.horizon)
        last = np.array([self.context - 1])
        chunks = [slice(i, i + 256) for i in range(0, len(starts), 256)]  # all at once would need much memory
        return _mean_errors([_errors_of(self, model, part, places[c], starts[c], last, lookback) for c in chunks])

    def _streamed_errors(self, model: Forecaster, part: Float[Array, "places time features"], lookback: int):
        times = np.arange(self.context - 1, part.shape[1] - model.horizon - (lookback - self.context))
        return _mean_errors(
            [
                _errors_of(self, model, part, np.array([place]), np.array([0]), times, part.shape[1])
                for place in range(len(part))
            ]
        )

    def deployed(self, model: Forecaster, data: Series) -> Rescaled:
        mean, scale = self._statistics(data)
        targets = list(data.targets)
        out = {"out_mean": mean[targets], "out_scale": scale[targets]}
        return Rescaled(model, in_mean=mean, in_scale=scale, **{k: np.tile(x, self.horizon) for k, x in out.items()})

    def words(self, data: Series) -> ForecastWords:
        targets = tuple(data.columns[i] for i in data.targets)
        return ForecastWords(data.columns, targets, self.horizon, data.step)

    def evaluate(self, model: Rescaled, data: Series) -> Metrics:
        """Measure the MSE and the MAE over all windows of the test part, in standardised units.

        In the row "test", the mixer starts from a fresh state for each window, and reads its context. In the row "test, one
        stream", a single state reads the whole test part. "last value" repeats the last observation, and "seasonal naive"
        repeats the last season.
        """
        mean, scale = self._statistics(data)
        series = jnp.asarray((data.values - mean) / scale, jnp.float32)
        (_, test_start, end), lookback = self._parts(data), self._lookback(data.season)
        assert isinstance(model.inner, Forecaster)
        part = series[:, test_start - lookback : end]
        rows = {
            "test": self._windowed_errors(model.inner, part, lookback),
            "test, one stream": self._streamed_errors(model.inner, part, lookback),
        }
        targets = series[:, :end, jnp.array(data.targets)]
        seasons = {"last value": 1} | ({"seasonal naive": data.season} if data.season > 1 else {})
        for name, season in seasons.items():
            rows[name] = _naive_errors(targets, test_start, self.horizon, season)
        return rows

    def example(self, data: Series) -> Float[Array, "time in"]:
        start = self._parts(data)[1]
        return jnp.asarray(data.values[0, start : start + 2 * self.context], jnp.float32)


_errors_of = eqx.filter_jit(Forecasting._errors)  # compiled once for equal tasks


def _windows(shape: tuple[int, ...], lookback: int, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    """The places and the starts of all windows in a part of the data. A window has a look-back and a horizon."""
    starts = np.arange(shape[1] - lookback - horizon + 1)
    return np.repeat(np.arange(shape[0]), len(starts)), np.tile(starts, shape[0])


def _naive_errors(
    targets: Float[Array, "places time targets"], test_start: int, horizon: int, season: int
) -> dict[str, float]:
    """The errors of a forecast that repeats the last season as often as the horizon needs."""
    ahead = np.arange(1, horizon + 1)
    last = np.arange(test_start - 1, targets.shape[1] - horizon)[:, None]
    came, before = last + ahead, last + ahead - season * -(-ahead // season)
    return _mean_errors([x[before] - x[came] for x in np.asarray(targets)])


def _mean_errors(errors: list[Any]) -> dict[str, float]:
    number = sum(e.size for e in errors)
    return {
        "MSE": float(sum(np.sum(np.square(e), dtype=float) for e in errors) / number),
        "MAE": float(sum(np.sum(np.abs(e), dtype=float) for e in errors) / number),
    }
