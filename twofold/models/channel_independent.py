"""A model that reads each of several series by itself, with the same weights."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ..errors import InputError
from ..layers.layer import Layer, check_sizes
from .sequence_model import SequenceModel


class ChannelIndependent(Layer[Any]):
    """The model `inner` over each channel by itself: one set of weights, and a state for each channel.

    This is the channel-independence of Nie et al. 2023, *A time series is worth 64 words*, section 3.1. A token has the same
    number of features of each channel, and then `covariates` that all channels read. Neighbouring features are of different
    channels: those of channel c are c, c + channels, c + 2 * channels, ... So are the outputs.
    """

    inner: SequenceModel
    channels: int = eqx.field(static=True)
    covariates: int = eqx.field(static=True)

    def __init__(self, inner: SequenceModel, *, channels: int, covariates: int = 0):
        """The model `inner` over each of `channels` by itself.

        **Arguments:**

        - `inner`: a model that reads the features of one channel, and then the covariates.
        - `channels`: how many channels there are.
        - `covariates`: how many features of `inner` are read by all channels.

        **Raises:** `InputError` for sizes that do not fit.
        """
        check_sizes(channels=channels)
        check_sizes(covariates=covariates, at_least=0)
        if inner.in_size <= covariates:
            raise InputError(
                f"inner has in_size {inner.in_size}; {covariates} covariates and a channel need more than {covariates}"
            )
        self.inner, self.channels, self.covariates = inner, channels, covariates

    @property
    def in_size(self) -> int:
        return (self.inner.in_size - self.covariates) * self.channels + self.covariates

    @property
    def out_size(self) -> int:
        return self.inner.out_size * self.channels

    def init_state(self):
        return jax.tree.map(lambda x: jnp.stack([x] * self.channels), self.inner.init_state())

    def prefill(self, state, xs, *, resets=None):
        state, features = self.features(state, xs, resets=resets)
        return state, self.read(features)

    def features(self, state, xs, *, resets=None) -> tuple[Any, Float[Array, "time width channels"]]:
        """As `prefill`, but with the features of each channel in place of the outputs. `read` makes the outputs from them."""
        xs = self._tokens(xs, like=self.inner.readout.weight)
        own, shared = jnp.split(xs, [self.in_size - self.covariates], axis=1)

        def one(state, own):
            return self.inner.features(state, jnp.concatenate([own, shared], 1), resets=resets)

        return jax.vmap(one, (0, 2), (0, 2))(
            state, own.reshape(len(xs), self.inner.in_size - self.covariates, self.channels)
        )

    def read(self, features: Float[Array, "tokens width channels"]) -> Float[Array, "tokens out"]:
        """The outputs from the features at some tokens."""
        return jax.vmap(self.inner.read, 2, 2)(features).reshape(len(features), self.out_size)
