"""Layers on top of each other: stacks, and pre-norm residual blocks around any mixer."""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import PRNGKeyArray

from ..errors import InputError
from .affine import affine
from .layer import Layer, check_sizes, dtype_of, parameter_dtype


class Block(Layer[Any]):
    """x + mixer(norm(x)), then x + feed_forward(norm(x)): the pre-norm Transformer block around any mixer."""

    mixer_norm: eqx.nn.LayerNorm
    mixer: Layer
    feed_forward_norm: eqx.nn.LayerNorm
    expand: eqx.nn.Linear
    contract: eqx.nn.Linear

    def __init__(
        self,
        mixer: Layer,
        *,
        feed_forward_size: int | None = None,
        dtype: DTypeLike | None = None,
        key: PRNGKeyArray,
    ):
        """A random block around a mixer.

        **Arguments:**

        - `mixer`: a layer whose in_size and out_size are equal.
        - `feed_forward_size`: the number of hidden neurons of the feed-forward part. It is 4 * in_size if not given.
        - `dtype`: the dtype of the parameters. It is the dtype of the mixer if not given.
        - `key`: the random key of the weights.

        **Raises:** `InputError` for a mixer that changes the size of tokens, and for a feed_forward_size below 1.
        """
        size = mixer.in_size
        if mixer.out_size != size:
            raise InputError(f"a block's mixer must keep the size of tokens; this one maps {size} to {mixer.out_size}")
        inner = 4 * size if feed_forward_size is None else feed_forward_size
        check_sizes(feed_forward_size=inner)
        dtype = parameter_dtype(dtype_of(mixer) if dtype is None else dtype)
        expand_key, contract_key = jax.random.split(key)
        self.mixer_norm, self.feed_forward_norm = (eqx.nn.LayerNorm(size, dtype=dtype) for _ in range(2))
        self.mixer = mixer
        self.expand = eqx.nn.Linear(size, inner, dtype=dtype, key=expand_key)
        self.contract = eqx.nn.Linear(inner, size, dtype=dtype, key=contract_key)

    @property
    def in_size(self) -> int:
        return self.mixer.in_size

    @property
    def out_size(self) -> int:
        return self.mixer.out_size

    def init_state(self):
        return self.mixer.init_state()

    def prefill(self, state, xs, *, resets=None):
        xs = self._tokens(xs, like=self.contract.weight)
        state, mixed = self.mixer.prefill(state, jax.vmap(self.mixer_norm)(xs), resets=resets)
        xs = xs + mixed
        return state, xs + self._feed_forward(xs)

    def step(self, state, x):
        # A mixer's `step` can be cheaper than its `prefill` of one token: attention writes its cache in place in `step`.
        x = self._tokens(jnp.asarray(x)[None], like=self.contract.weight)[0]
        state, mixed = self.mixer.step(state, self.mixer_norm(x))
        x = x + mixed
        return state, x + self._feed_forward(x[None])[0]

    def _feed_forward(self, xs):
        inner = affine(self.expand.weight, self.expand.bias, jax.vmap(self.feed_forward_norm)(xs))
        return affine(self.contract.weight, self.contract.bias, jax.nn.gelu(inner))


class Stack(Layer[tuple]):
    """Layers one after another. The state is the tuple of their states."""

    layers: tuple[Layer, ...]

    def __init__(self, layers: tuple[Layer, ...] | list[Layer]):
        """A stack of `layers`. The first of them reads the tokens.

        **Raises:** `InputError` if there are no layers, or if a layer does not take the size that the layer before it gives.
        """
        if not layers:
            raise InputError("layers is empty; a stack needs at least one layer")
        for below, above in itertools.pairwise(layers):
            if below.out_size != above.in_size:
                raise InputError(
                    f"a layer with out_size {below.out_size} is followed by a layer with in_size {above.in_size};"
                    " the two sizes must be equal"
                )
        self.layers = tuple(layers)

    @property
    def in_size(self) -> int:
        return self.layers[0].in_size

    @property
    def out_size(self) -> int:
        return self.layers[-1].out_size

    def init_state(self):
        return tuple(layer.init_state() for layer in self.layers)

    def prefill(self, state, xs, *, resets=None):
        # A single token goes through `step`, because a layer's own `step` may be faster than its `prefill`.
        alone = jnp.shape(xs)[:1] == (1,) and resets is None
        xs = xs[0] if alone else xs
        states = []
        for layer, before in zip(self.layers, state, strict=True):
            after, xs = layer.step(before, xs) if alone else layer.prefill(before, xs, resets=resets)
            states.append(after)
        return tuple(states), xs[None] if alone else xs
