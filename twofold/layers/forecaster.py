"""A forecaster of series: after every observation, the next ones."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import ArrayLike, Float, Int

from ..errors import InputError
from ..scan import linear_scan
from .layer import Layer
from .model import SequenceModel


class ForecasterState(NamedTuple):
    """What a forecaster remembers."""

    recent: Float[Array, "patch-1 variates"]
    """The last observations."""
    seen: Int[Array, ""]
    """How many observations there were."""
    sums: Float[Array, " 2*variates+1"]
    """Exponentially weighted: 1, the observations, and their squares."""
    inner: tuple
    """That of the model."""


class Forecaster(Layer[ForecasterState]):
    """After every observation, the next `horizon` values of the targets: `(horizon * targets,)`, all targets of a time together.

    Each series is normalised by the mean and deviation of its own past (instance normalisation, as paper B's forecasters have
    it, after Kim et al. 2022), weighted exponentially so that they follow the stream in constant memory:

        mean_t = sum_{s<=t} a^{t-s} x_s / sum_{s<=t} a^{t-s},   a = exp(-1 / memory),

    and likewise for the squares. A token is the patch of the last `patch` observations, so normalised, with the
    covariates of now; the model's outputs are in units of the deviation, on top of the last value (Zeng et al. 2023). Nothing
    of the future is used.
    """

    model: SequenceModel
    variates: int = eqx.field(static=True)
    """How many features are observed series; further features are covariates, which are not normalised."""
    targets: tuple[int, ...] = eqx.field(static=True)
    """Which of the series are forecast."""
    horizon: int = eqx.field(static=True)
    patch: int = eqx.field(static=True)
    memory: float = eqx.field(static=True)

    def __init__(
        self,
        model: SequenceModel,
        *,
        variates: int,
        targets: tuple[int, ...],
        horizon: int,
        patch: int,
        memory: float,
    ):
        """A forecaster over `model`, which reads `patch * variates` + covariates and answers `horizon * len(targets)`.

        **Raises:** `InputError` for sizes that do not fit.
        """
        if not targets or not set(targets) <= set(range(variates)):
            raise InputError(f"targets are {targets}; they must be some of the {variates} series, from 0")
        if patch < 1 or horizon < 1 or not memory > 0:
            raise InputError(f"patch, horizon, memory are {patch}, {horizon}, {memory}; each must be positive")
        if model.in_size < patch * variates or model.out_size != horizon * len(targets):
            raise InputError(
                f"the model maps {model.in_size} features to {model.out_size}; {patch} observations of {variates} series"
                f" and {horizon} values of {len(targets)} targets need {patch * variates} or more, and {horizon * len(targets)}"
            )
        self.model = model
        self.variates, self.targets = variates, targets
        self.horizon, self.patch, self.memory = horizon, patch, memory

    @property
    def in_size(self) -> int:
        return self.model.in_size - (self.patch - 1) * self.variates

    @property
    def out_size(self) -> int:
        return self.model.out_size

    def init_state(self) -> ForecasterState:
        recent = jnp.zeros((self.patch - 1, self.variates))
        return ForecasterState(recent, jnp.int32(0), jnp.zeros(2 * self.variates + 1), self.model.init_state())

    def prefill(self, state, xs, *, resets=None):
        state, *readable = self._features(state, xs, resets)
        return state, jax.vmap(self._forecast)(*readable)

    def forecasts_at(
        self, times: Int[ArrayLike, " times"], xs: Float[ArrayLike, "time in"]
    ) -> Float[Array, "times out"]:
        """The forecasts after the observations `times` of a whole series: as `self(xs)[times]`, at the cost of these alone."""
        _, *readable = self._features(self.init_state(), xs, None)
        return jax.vmap(self._forecast)(*(x[jnp.asarray(times)] for x in readable))

    def _features(self, state, xs, resets):
        xs = self._tokens(xs, like=self.model.readout.weight)
        series, covariates = xs[:, : self.variates], xs[:, self.variates :]
        seen = self._seen(state, resets, len(xs))
        ones = jnp.ones_like(series[:, :1])
        decay = jnp.full((len(xs), 2 * self.variates + 1), jnp.exp(-1 / self.memory), xs.dtype)
        sums = linear_scan(decay, jnp.concatenate([ones, series, series**2], 1), state.sums, resets=resets)
        mean, deviation = self._moments(sums)
        together = jnp.concatenate([state.recent.astype(xs.dtype), series])
        # Before the first observation there is that: a patch never reaches into another sequence.
        lags = jnp.minimum(jnp.arange(self.patch), seen[:, None] - 1)
        patches = together[jnp.arange(len(xs))[:, None] + self.patch - 1 - lags]
        patches = (patches - mean[:, None]) / deviation[:, None]
        tokens = jnp.concatenate([patches.reshape(len(xs), -1), covariates], 1)
        inner, features = self.model.features(state.inner, tokens, resets=resets)
        last = jnp.concatenate([state.seen[None], seen])[-1], jnp.concatenate([state.sums[None], sums])[-1]
        recent = together[len(together) - self.patch + 1 :]
        targets = jnp.array(self.targets)
        return ForecasterState(recent, *last, inner), features, series[:, targets], deviation[:, targets]

    def _seen(self, state, resets, time: int) -> Int[Array, " time"]:
        """How many observations there were up to each, itself included, since the start or the last reset."""
        seen = state.seen + jnp.arange(1, time + 1, dtype=state.seen.dtype)
        if resets is None:
            return seen
        starts = jnp.where(jnp.asarray(resets), jnp.arange(time, dtype=seen.dtype), -1)
        last = jax.lax.cummax(starts)
        return jnp.where(last < 0, seen, jnp.arange(time, dtype=seen.dtype) - last + 1)

    def _moments(self, sums):
        """Mean and deviation. The variance of the first observations is not known: 1 counts as a tenth of an observation."""
        weight, total, squares = jnp.split(sums, [1, 1 + self.variates], axis=1)
        mean = total / weight
        variance = (jnp.maximum(squares - total * mean, 0) + 0.1) / (weight + 0.1)
        return mean, jnp.sqrt(variance)

    def _forecast(self, features, last, deviation):
        changes = self.model.read(features).reshape(self.horizon, len(self.targets))
        return (last + deviation * changes).ravel()
