"""A policy of a robot. At every step of time it reads what it sees and what is asked of it, and it acts."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ..errors import InputError
from ..layers.layer import Layer, dtype_of


class Policy(Layer[Any]):
    """At every step of time, the action that should earn the return that is asked for.

    A token is one step of time: (return-to-go, observation, previous action). The return-to-go is the sum of the rewards
    that are still to come (Chen et al. 2021, *Decision Transformer*, section 3). The previous action is zero at the first step.
    The output is the action: low + (high - low) * (1 + tanh(y)) / 2, where y is the output of the layer `inner`.

    The return-to-go and the observation are normalised by `mean` and `scale`, and actions by their bounds. `inner` reads all
    of it as one token. With `split`, it reads three tokens for each step, as in the paper, in the order in which they become
    known: previous action, return-to-go, observation. The action is read after the third one. These tokens have a place for
    each number, and three further numbers that tell which token it is; the places of the others are zero. So a linear
    encoder is an embedding of its own for each of the three.
    """

    inner: Layer
    mean: tuple[float, ...] = eqx.field(static=True)
    """The mean of the return-to-go and of each feature of the observation, in the training data."""
    scale: tuple[float, ...] = eqx.field(static=True)
    """Their standard deviation."""
    low: tuple[float, ...] = eqx.field(static=True)
    """The smallest value of each feature of an action."""
    high: tuple[float, ...] = eqx.field(static=True)
    """The largest value."""
    split: bool = eqx.field(static=True)
    """Whether a step of time is three tokens of `inner`."""

    def __init__(
        self,
        inner: Layer,
        *,
        mean: Float[ArrayLike, " seen"],
        scale: Float[ArrayLike, " seen"],
        low: Float[ArrayLike, " actions"],
        high: Float[ArrayLike, " actions"],
        split: bool = False,
    ):
        """A policy around the layer `inner`, with its dtype.

        **Arguments:**

        - `inner`: a layer with in_size `policy_features(observations, actions, split)`, and with a feature of its output for
            each feature of an action.
        - `mean`, `scale`: the mean and the standard deviation of the return-to-go and of the observation.
        - `low`, `high`: the bounds of the actions.
        - `split`: whether `inner` reads three tokens for each step of time. The class explains them.

        **Raises:** `InputError` for sizes that do not fit together, a scale that is not positive, and bounds that are not
        finite or not in order.
        """
        self.mean, self.scale, self.low, self.high = (tuple(map(float, np.ravel(x))) for x in (mean, scale, low, high))
        self.inner, self.split = inner, split
        if len(self.mean) != len(self.scale) or len(self.mean) < 2:
            raise InputError(
                f"mean and scale have {len(self.mean)} and {len(self.scale)} numbers; both need one for the return-to-go and"
                " one for each feature of the observation"
            )
        if not all(0 < x < float("inf") for x in self.scale):
            raise InputError(f"scale is {self.scale}; it must be positive and finite")
        if len(self.low) != len(self.high) or not all(
            -float("inf") < a < b < float("inf") for a, b in zip(self.low, self.high, strict=True)
        ):
            raise InputError(f"the bounds of actions are {self.low} and {self.high}; they must be finite and in order")
        needed = policy_features(len(self.mean) - 1, len(self.low), split)
        if (inner.in_size, inner.out_size) != (needed, len(self.low)):
            raise InputError(
                f"inner has in_size {inner.in_size} and out_size {inner.out_size}; {len(self.mean) - 1} features of the"
                f" observation and {len(self.low)} of the action need {needed} and {len(self.low)}"
            )

    @property
    def in_size(self) -> int:
        return len(self.mean) + len(self.low)

    @property
    def out_size(self) -> int:
        return len(self.low)

    def init_state(self):
        return self.inner.init_state()

    def prefill(self, state, xs, *, resets=None):
        tokens = self._read(xs)
        if self.split and resets is not None:
            resets = _of_first(resets)
        state, ys = self.inner.prefill(state, tokens, resets=resets)
        return state, self._action(ys[2::3] if self.split else ys)

    def step(self, state, x):
        # A mixer's `step` can be cheaper than its `prefill` of few tokens: attention writes its cache in place in `step`.
        for token in self._read(jnp.asarray(x)[None]):
            state, y = self.inner.step(state, token)
        return state, self._action(y)

    def _read(self, xs):
        """The tokens of `inner`: one for each step of time, or three."""
        xs = self._tokens(xs, like=jnp.zeros((), dtype_of(self.inner)))
        mean, scale = (jnp.asarray(x, xs.dtype) for x in (self.mean, self.scale))
        middle, half = self._range(xs.dtype)
        seen = (xs[:, : len(mean)] - mean) / scale
        tokens = jnp.concatenate([seen, (xs[:, len(mean) :] - middle) / half], 1)
        return self._split(tokens) if self.split else tokens

    def _action(self, ys):
        middle, half = self._range(ys.dtype)
        return middle + half * jnp.tanh(ys)

    def _range(self, dtype):
        """The middle of the bounds of actions, and half the distance between them."""
        low, high = (jnp.asarray(x, dtype) for x in (self.low, self.high))
        return (high + low) / 2, (high - low) / 2

    def _split(self, tokens: Float[Array, "time in"]) -> Float[Array, "tokens features"]:
        """Each token as three: the previous action, the return-to-go and the observation."""
        place = jnp.arange(self.in_size)
        kind = jnp.where(place == 0, 1, jnp.where(place < len(self.mean), 2, 0))
        shown = jnp.eye(3, dtype=tokens.dtype)
        parts = jnp.where(kind == jnp.arange(3)[:, None], tokens[:, None], 0)
        kinds = jnp.broadcast_to(shown, (len(tokens), 3, 3))
        return jnp.concatenate([parts, kinds], 2).reshape(3 * len(tokens), self.in_size + 3)


def _of_first(resets) -> Array:
    """The resets of the three tokens of each step: the first of them begins the new sequence."""
    resets = jnp.asarray(resets)
    return (resets[:, None] & (jnp.arange(3) == 0)).ravel()


def policy_features(observations: int, actions: int, split: bool = False) -> int:
    """How many features the layer inside of a `Policy` reads in a token.

    `observations` and `actions` are their numbers of entries. `split` is that of `Policy`.
    """
    return 1 + observations + actions + 3 * split
