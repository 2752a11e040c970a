"""A forecaster of series. After every observation, it forecasts the next ones."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Float, Int

from ..errors import InputError
from ..layers.layer import Layer, dtype_of
from ..scan import linear_scan
from ..scan.axis import refuse_spread_time
from .channel_independent import ChannelIndependent
from .sequence_model import SequenceModel


class ForecasterState(NamedTuple):
    """What a forecaster remembers."""

    recent: Float[Array, "recent variates"]
    """The last observations, as many as a patch or a season needs besides the next one."""
    seen: Int[Array, ""]
    """How many observations there were so far."""
    sums: Float[Array, " 2*variates+1"]
    """The exponentially weighted sums of 1, of the observations, and of their squares."""
    inner: tuple
    """The state of the model."""


class _Known(NamedTuple):
    """What is known after each observation: all that a forecast is made from."""

    features: Float[Array, "time width *channels"]
    deviation: Float[Array, "time variates"]
    together: Float[Array, "recent+time variates"]
    """The observations that the state remembered, and then the new ones."""
    seen: Int[Array, " time"]


class Forecaster(Layer[ForecasterState]):
    """After every observation, the next `horizon` values of the targets, `(horizon * targets,)`, ordered by time first.

    Each series is normalised by the mean and the deviation of its own past. This is the instance normalisation of paper B's
    forecasters, after Kim et al. 2022. Here the past is weighted exponentially, so that the state stays small:

        mean_t = sum_{s<=t} a^{t-s} x_s / sum_{s<=t} a^{t-s},   a = exp(-1 / memory).

    The mean of the squares is taken in the same way. With memory = infinity, all observations since the state was fresh weigh
    alike; float32 counts 2^24 of them. The model reads one token after each observation: the last `patch`
    observations, normalised, and the present covariates. Its outputs are changes from a naive forecast, in units of the
    deviation. The naive forecast mixes the last value with the value one season before, in shares that are learned. Nothing
    of the future is used.
    """

    model: SequenceModel | ChannelIndependent
    seasonality: Float[Array, " horizon"]
    """Its sigmoid is the share of the value one season before in the naive forecast. The last value has the rest."""
    variates: int = eqx.field(static=True)
    """How many features are observed series. Further features are covariates, which are not normalised."""
    targets: tuple[int, ...] = eqx.field(static=True)
    """Which of the series are forecast."""
    horizon: int = eqx.field(static=True)
    patch: int = eqx.field(static=True)
    season: int = eqx.field(static=True)
    memory: float = eqx.field(static=True)

    def __init__(
        self,
        model: SequenceModel | ChannelIndependent,
        *,
        variates: int,
        targets: tuple[int, ...],
        horizon: int,
        patch: int,
        season: int,
        memory: float,
    ):
        """A forecaster around `model`, with its dtype.

        **Arguments:**

        - `model`: a model that reads `patch * variates` features and the covariates, with out_size `horizon * len(targets)`.
        - `variates`: how many features are observed series. Further features are covariates, which are not normalised.
        - `targets`: which of the series are forecast, counted from 0.
        - `horizon`: how many values of each target are forecast.
        - `patch`: how many observations make a token of the model.
        - `season`: how many observations make a season.
        - `memory`: after this many observations, the weight of one in the instance normalisation has fallen to 1/e. It may be
            infinite.

        **Raises:** `InputError` for settings that are not positive, targets that do not exist, and a model of other sizes.
        """
        if not targets or not set(targets) <= set(range(variates)):
            raise InputError(
                f"targets are {targets}; they must be one or more of the {variates} series, counted from 0"
            )
        sizes = {"horizon": horizon, "patch": patch, "season": season, "memory": memory}
        for name, size in sizes.items():
            if not size > 0:
                raise InputError(f"{name} is {size}; it must be positive")
        if model.in_size < patch * variates or model.out_size != horizon * len(targets):
            raise InputError(
                f"the model has in_size {model.in_size} and out_size {model.out_size}; {patch} observations of {variates}"
                f" series need an in_size of {patch * variates} or more, and {horizon} values of {len(targets)} targets need"
                f" an out_size of {horizon * len(targets)}"
            )
        self.model, self.seasonality = model, jnp.zeros(horizon, dtype_of(model))
        self.variates, self.targets = variates, targets
        self.horizon, self.patch, self.season, self.memory = horizon, patch, season, memory

    @property
    def in_size(self) -> int:
        return self.model.in_size - (self.patch - 1) * self.variates

    @property
    def out_size(self) -> int:
        return self.model.out_size

    @property
    def lags(self) -> int:
        """How many observations the state remembers."""
        return max(self.patch, self.season) - 1

    def init_state(self) -> ForecasterState:
        dtype = dtype_of(self.model)
        recent, sums = jnp.zeros((self.lags, self.variates), dtype), jnp.zeros(2 * self.variates + 1, dtype)
        return ForecasterState(recent, jnp.int32(0), sums, self.model.init_state())

    def prefill(self, state, xs, *, resets=None):
        refuse_spread_time("a forecaster", "its patches and its memory of a season reach back into earlier parts")
        state, known = self._known(state, xs, resets)
        if not len(known.features):  # an empty array cannot be indexed, not even at no times
            return state, jnp.zeros((0, self.out_size), known.features.dtype)
        return state, self._forecasts(jnp.arange(len(known.features)), known)

    def forecasts_at(
        self, times: Int[ArrayLike, " times"], xs: Float[ArrayLike, "time in"], *, fresh: bool = False
    ) -> Float[Array, "times out"]:
        """The forecasts after the observations `times` of `xs`. Other forecasts are not computed.

        The first `lags` observations are only remembered. The mixer starts fresh after them, and `times` are counted from
        there: 0 is the observation `xs[lags]`. If `fresh`, nothing is known before `xs`: the mixer reads all of it, and 0 is
        the observation `xs[0]`.
        """
        remembered, read = jnp.split(jnp.asarray(xs), [0 if fresh else self.lags])
        state = self.init_state() if fresh else self._remembering(remembered)
        return self._forecasts(jnp.asarray(times), self._known(state, read, None)[1])

    def _remembering(self, xs):
        """A state that remembers the observations `xs`, with a model that has read nothing yet."""
        series = self._tokens(xs, like=self.seasonality)[:, : self.variates]
        ages = jnp.arange(self.lags, dtype=series.dtype)[::-1]
        sums = jnp.exp(-ages / self.memory) @ self._summed(series)
        return ForecasterState(series, jnp.int32(self.lags), sums, self.model.init_state())

    @staticmethod
    def _summed(series):
        return jnp.concatenate([jnp.ones_like(series[:, :1]), series, series**2], 1)

    def _known(self, state, xs, resets):
        """The state after `xs`, and what is known after each of them."""
        xs = self._tokens(xs, like=self.seasonality)
        self._check(state, resets, len(xs))
        series, covariates = xs[:, : self.variates], xs[:, self.variates :]
        seen = self._seen(state, resets, len(xs))
        decay = jnp.full((len(xs), 2 * self.variates + 1), jnp.exp(-1 / self.memory), xs.dtype)
        sums = linear_scan(decay, self._summed(series), state.sums, resets=resets)
        mean, deviation = self._moments(sums)
        together = jnp.concatenate([state.recent.astype(xs.dtype), series])
        patches = self._before(together, seen, jnp.arange(len(xs))[:, None], jnp.arange(self.patch))
        patches = (patches - mean[:, None]) / deviation[:, None]
        tokens = jnp.concatenate([patches.reshape(len(xs), self.patch * self.variates), covariates], 1)
        inner, features = self.model.features(state.inner, tokens, resets=resets)
        last = jnp.concatenate([state.seen[None], seen])[-1], jnp.concatenate([state.sums[None], sums])[-1]
        ages = jnp.arange(self.lags, 0, -1)[:, None]
        recent = jnp.where(ages <= last[0], together[len(together) - self.lags :], 0)  # forget what was before a reset
        return ForecasterState(recent, *last, inner), _Known(features, deviation, together, seen)

    def _before(self, together, seen, times, lags):
        """The observations that are `lags` steps older than `times`.

        Where a sequence is not as old as that, its first observation is taken. So nothing comes from another sequence.
        """
        return together[times + self.lags - jnp.minimum(lags, seen[times] - 1)]

    def _forecasts(self, times, known):
        changes = self.model.read(known.features[times]).reshape(len(times), self.horizon, len(self.targets))
        return jax.vmap(self._forecast, (0, 0, 0, None))(times, changes, known.deviation[times], known)

    def _forecast(self, time, changes, deviation, known):
        targets = jnp.array(self.targets)
        season = self.season - 1 - jnp.arange(self.horizon) % self.season
        last, seasonal = (
            self._before(known.together, known.seen, time, lags)[:, targets] for lags in (season * 0, season)
        )
        share = jax.nn.sigmoid(self.seasonality)[:, None]
        naive = last + share * (seasonal - last)
        return (naive + deviation[targets] * changes).ravel()

    def _seen(self, state, resets, time: int) -> Int[Array, " time"]:
        """For each observation, how many there were since the start or the last reset, itself included."""
        seen = state.seen + jnp.arange(1, time + 1, dtype=state.seen.dtype)
        if resets is None:
            return seen
        starts = jnp.where(jnp.asarray(resets), jnp.arange(time, dtype=seen.dtype), -1)
        last = jax.lax.cummax(starts)
        return jnp.where(last < 0, seen, jnp.arange(time, dtype=seen.dtype) - last + 1)

    def _moments(self, sums):
        """The mean and the deviation after each observation.

        The first observations do not determine a variance. So a variance of 1 is mixed in, with the weight of a tenth of an
        observation.
        """
        weight, total, squares = jnp.split(sums, [1, 1 + self.variates], axis=1)
        mean = total / weight
        variance = (jnp.maximum(squares - total * mean, 0) + 0.1) / (weight + 0.1)
        return mean, jnp.sqrt(variance)
