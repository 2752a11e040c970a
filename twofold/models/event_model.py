"""A model of marked events in continuous time. After every event, it gives the distribution of the next event."""

import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..errors import InputError
from ..layers.layer import Layer, dtype_of
from ..scan import linear_scan
from ..scan.axis import of_last_part, time_axis

LOG_DEVIATIONS = -6.0, 1.0
"""The bounds of the log-deviation of a component. With a larger deviation, the mean of the log-normal,
exp(mean + deviation^2 / 2), would come from its far tail alone."""


class EventModel(Layer[tuple[Float[Array, ""], Any]]):
    """After every event, the distribution of the next event, given all events so far.

    A token is (time since the previous event, mark). The time to the next event has a mixture of log-normals, and its mark
    has a categorical distribution (Shchur et al. 2020, *Intensity-free learning of temporal point processes*, sections 3.1
    and 3.3). The output has the logits of the mixture, the means of the log time and its log-deviations (`components`
    numbers each), and then the logits of the marks. `next_event` in `models/next_event.py` reads it.

    The layer `inner` gets these features of an event: the log of the time since the previous event, sinusoids of the clock,
    and the mark as one-hot. The clock is the time since the sequence began. The first event of a sequence has the time 0,
    for which the log is replaced by 0. A mark outside 0..marks - 1 has a one-hot of zeros.
    """

    inner: Layer
    marks: int = eqx.field(static=True)
    periods: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, inner: Layer, *, marks: int, periods: tuple[float, ...]):
        """An event model around the layer `inner`.

        **Arguments:**

        - `inner`: a layer with in_size `event_features(marks, periods)` and out_size 3 * components + marks.
        - `marks`: how many marks there are.
        - `periods`: the periods of the sinusoids of the clock, in the unit of the tokens' times.

        **Raises:** `InputError` if the sizes of `inner` do not fit.
        """
        if inner.in_size != event_features(marks, periods):
            raise InputError(
                f"inner has in_size {inner.in_size}; {marks} marks and {len(periods)} periods need"
                f" {event_features(marks, periods)}"
            )
        if inner.out_size <= marks or (inner.out_size - marks) % 3:
            raise InputError(f"inner has out_size {inner.out_size}; it must be 3 * components + {marks} marks")
        self.inner = inner
        self.marks = marks
        self.periods = tuple(periods)

    @property
    def components(self) -> int:
        """How many log-normals the mixture has."""
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
        clock = linear_scan(jnp.ones((), xs.dtype), elapsed, before, resets=resets, axis_name=time_axis())
        turns = clock[:, None] / jnp.asarray(self.periods, clock.dtype)
        features = [
            jnp.log(jnp.where(elapsed <= 0, 1, elapsed))[:, None],
            jnp.sin(2 * math.pi * turns),
            jnp.cos(2 * math.pi * turns),
            (marks[:, None] == jnp.arange(self.marks)).astype(xs.dtype),
        ]
        inner, ys = self.inner.prefill(inner, jnp.concatenate(features, 1), resets=resets)
        last = of_last_part(clock[-1] if len(clock) else before, time_axis())
        return (last, inner), self._bounded(ys)

    def _bounded(self, ys):
        """The outputs, with the log-deviations brought between their bounds. An output of 0 stays 0."""
        low, high = LOG_DEVIATIONS
        location, raw, marks = jnp.split(ys, [2 * self.components, 3 * self.components], axis=1)
        bounded = low + (high - low) * jax.nn.sigmoid(raw + math.log(-low / high))
        return jnp.concatenate([location, bounded, marks], 1)


def event_features(marks: int, periods: tuple[float, ...]) -> int:
    """How many features an `EventModel` with so many `marks` and these `periods` makes of an event."""
    return 1 + 2 * len(periods) + marks
