"""The distribution of the next event, as the outputs of an `EventModel` describe it."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

TINY = 1e-30
"""Shorter times to the next event are replaced by this one, so that their logarithm is finite."""


class NextEvent(NamedTuple):
    """The time tau to the next event, with log tau ~ sum_k w_k N(mu_k, sigma_k^2), and its mark, independent of tau.

    This is eq. 2 and section 3.3 of Shchur et al. 2020. The fields are log w_k, mu_k, log sigma_k and the log probabilities of
    the marks.
    """

    log_weights: Float[Array, "*events components"]
    means: Float[Array, "*events components"]
    log_deviations: Float[Array, "*events components"]
    log_marks: Float[Array, "*events marks"]

    def log_density(self, elapsed: Float[Array, "*events"]) -> Float[Array, "*events"]:
        """log p(tau), where `elapsed` is tau. The density is per unit of time."""
        log_time = jnp.log(jnp.maximum(elapsed, TINY))
        z = (log_time[..., None] - self.means) * jnp.exp(-self.log_deviations)
        each = self.log_weights - z**2 / 2 - self.log_deviations - math.log(2 * math.pi) / 2
        return jax.nn.logsumexp(each, axis=-1) - log_time

    def mean(self) -> Float[Array, "*events"]:
        """The expected time to the next event, E[tau] = sum_k w_k exp(mu_k + sigma_k^2 / 2)."""
        return jnp.sum(jnp.exp(self.log_weights + self.means + jnp.exp(2 * self.log_deviations) / 2), axis=-1)


def next_event(outputs: Float[Array, "*events out"], marks: int) -> NextEvent:
    """Read the outputs of an `EventModel` with this number of marks."""
    components = (outputs.shape[-1] - marks) // 3
    logits, means, log_deviations, of_marks = jnp.split(outputs, [components * i for i in (1, 2, 3)], axis=-1)
    return NextEvent(jax.nn.log_softmax(logits), means, log_deviations, jax.nn.log_softmax(of_marks))
