"""A model of marked events in continuous time: after every event, the distribution of the next."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..errors import InputError
from ..layers.layer import Layer, dtype_of
from ..scan import linear_scan

LOG_DEVIATIONS = -6.0, 1.0
"""Between these are a component's log-deviations. Larger ones would give the mean, exp(mean + deviation^2 / 2), to the tail."""


class EventModel(Layer[tuple[Float[Array, ""], Any]]):
    """Reads (time since the previous event, mark) and answers with the next event's distribution, given all before it.

    The time to the next event is a mixture of log-normals, and its mark a categorical (Shchur et al. 2020, *Intensity-free
    learning of temporal point processes*, sections 3.1 and 3.3). The output is, one after another, the mixture's logits,
    the means and the log-deviations of the log time (`components` each), and the logits of the marks.

    Any layer does the work, given the event as features: the log of the time since the previous event, sinusoids
    of the clock, which is the time since the sequence began, and the mark as one-hot. The first token of a sequence has time
    0, and its log counts as 0. A number that is no mark has no one-hot.
    """

    inner: Layer
    marks: int = eqx.field(static=True)
    periods: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, inner: Layer, *, marks: int, periods: tuple[float, ...]):
        """An event model over the layer `inner`, of `event_features(marks, periods)` features.

        **Arguments:**

        - `inner`: its out_size is 3 * components + marks.
        - `marks`: how many marks there are.
        - `periods`: those of the clock's sinusoids, in the units of the tokens.

        **Raises:** `InputError` if the sizes do not fit.
        """
        if inner.in_size != event_features(marks, periods):
            raise InputError(
                f"inner takes {inner.in_size} features; {marks} marks and {len(periods)} periods make"
                f" {event_features(marks, periods)}"
            )
        if inner.out_size <= marks or (inner.out_size - marks) % 3:
            raise InputError(f"inner has out_size {inner.out_size}, which is not 3 * components + {marks} marks")
        self.inner = inner
        self.marks = marks
        self.periods = tuple(periods)

    @property
    def components(self) -> int:
        """Of the mixture."""
        return (self.inner.out_size - self.marks) // 3

    @property
    def in_size(self) -> int:
        return 2

    @property
    def out_size(self) -> int:
        return self.inner.out_size

    def init_state(self):
        return jnp.zeros((), dtype_of(self.inner)), self.inner.init_state()

    def prefill(self, state, xs, *, resets=None):
        before, inner = state
        xs = self._tokens(xs, like=before)
        elapsed, marks = xs.T
        clock = linear_scan(jnp.ones((), xs.dtype), elapsed, before, resets=resets)
        turns = clock[:, None] / jnp.asarray(self.periods, clock.dtype)
        features = [
            jnp.log(jnp.where(elapsed <= 0, 1, elapsed))[:, None],
            jnp.sin(2 * math.pi * turns),
            jnp.cos(2 * math.pi * turns),
            (marks[:, None] == jnp.arange(self.marks)).astype(xs.dtype),
        ]
        inner, ys = self.inner.prefill(inner, jnp.concatenate(features, 1), resets=resets)
        return (jnp.concatenate([before[None], clock])[-1], inner), self._bounded(ys)

    def _bounded(self, ys):
        """The log-deviations between their bounds, and 0 where `inner` says 0."""
        low, high = LOG_DEVIATIONS
        location, raw, marks = jnp.split(ys, [2 * self.components, 3 * self.components], axis=1)
        bounded = low + (high - low) * jax.nn.sigmoid(raw + math.log(-low / high))
        return jnp.concatenate([location, bounded, marks], 1)


def event_features(marks: int, periods: tuple[float, ...]) -> int:
    """How many features an `EventModel` makes of an event."""
    return 1 + 2 * len(periods) + marks
