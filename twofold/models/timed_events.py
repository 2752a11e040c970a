"""A model of events that is told when they happen, rather than how much time is between them."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from ..errors import InputError
from ..layers.layer import Layer, dtype_of
from ..scan.axis import refuse_spread_time


class TimedEvents(Layer[tuple[Float[Array, "2"], Int[Array, ""], Any]]):
    """A model of events whose tokens are (time, rest of the time, mark).

    The layer `inner` reads (time since the previous event, mark), as an `EventModel` does, alone or within a `Rescaled`. The
    time of an event is the sum of two numbers of the model's dtype: the nearest number to it, and what is left. So no digits
    are lost in times such as the seconds since 1970. The first event has the time 0 since the previous one. An event that
    is earlier than the previous one has a negative time, which turns the clock of an `EventModel` back to it.
    """

    inner: Layer

    def __init__(self, inner: Layer):
        """A model around the layer `inner`.

        **Arguments:**

        - `inner`: a layer with in_size 2.

        **Raises:** `InputError` for a layer of another in_size.
        """
        if inner.in_size != 2:
            raise InputError(f"inner has in_size {inner.in_size}; a model of events has 2: a time and a mark")
        self.inner = inner

    @property
    def in_size(self) -> int:
        return 3

    @property
    def out_size(self) -> int:
        return self.inner.out_size

    def init_state(self):
        return jnp.zeros(2, dtype_of(self.inner)), jnp.int32(0), self.inner.init_state()

    def prefill(self, state, xs, *, resets=None):
        refuse_spread_time("a model of timed events", "the first gap of a part needs the last time of the part before")
        last, events, inner = state
        xs = self._tokens(xs, like=last)
        times = jnp.concatenate([last[None], xs[:, :2]])
        # The large parts are subtracted first: where they are near each other, that is exact.
        gaps = jnp.sum(jnp.diff(times, axis=0), 1)
        is_first = (events + jnp.arange(len(xs))) == 0
        if resets is not None:
            is_first |= jnp.asarray(resets)
        gaps = jnp.where(is_first, 0, gaps)
        inner, ys = self.inner.prefill(inner, jnp.stack([gaps, xs[:, 2]], 1), resets=resets)
        return (times[-1], jnp.minimum(events + len(xs), 1).astype(jnp.int32), inner), ys
