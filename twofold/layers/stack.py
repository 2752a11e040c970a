"""Layers on top of each other: pre-norm residual blocks over any mixer, and stacks."""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from ..errors import InputError
from .layer import Layer


class Block(Layer[Any]):
    """x + mixer(norm(x)), then x + feed_forward(norm(x)): the pre-norm Transformer block over any mixer."""

    mixer_norm: eqx.nn.LayerNorm
    mixer: Layer
    feed_forward_norm: eqx.nn.LayerNorm
    expand: eqx.nn.Linear
    contract: eqx.nn.Linear

    def __init__(self, mixer: Layer, *, feed_forward_size: int | None = None, key: PRNGKeyArray):
        """A block around `mixer`, a layer of equal sizes in and out; the feed-forward part has 4 times that if not given."""
        size = mixer.in_size
        if mixer.out_size != size:
            raise InputError(f"a block's mixer must keep the size of tokens; this one maps {size} to {mixer.out_size}")
        inner = 4 * size if feed_forward_size is None else feed_forward_size
        expand_key, contract_key = jax.random.split(key)
        self.mixer_norm, self.feed_forward_norm = eqx.nn.LayerNorm(size), eqx.nn.LayerNorm(size)
        self.mixer = mixer
        self.expand = eqx.nn.Linear(size, inner, key=expand_key)
        self.contract = eqx.nn.Linear(inner, size, key=contract_key)

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
        return state, xs + jax.vmap(self._feed_forward)(xs)

    def step(self, state, x):
        # A mixer's `step` can be cheaper than its `prefill` of one token: attention then writes its cache in place.
        x = self._tokens(jnp.asarray(x)[None], like=self.contract.weight)[0]
        state, mixed = self.mixer.step(state, self.mixer_norm(x))
        x = x + mixed
        return state, x + self._feed_forward(x)

    def _feed_forward(self, x):
        return self.contract(jax.nn.gelu(self.expand(self.feed_forward_norm(x))))


class Stack(Layer[tuple]):
    """Layers one after another; the state is the tuple of theirs."""

    layers: tuple[Layer, ...]

    def __init__(self, layers: tuple[Layer, ...] | list[Layer]):
        if not layers:
            raise InputError("a stack needs at least one layer")
        for below, above in itertools.pairwise(layers):
            if below.out_size != above.in_size:
                raise InputError(f"a layer of out_size {below.out_size} is followed by one of in_size {above.in_size}")
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
        # One token alone is a step: layers may have faster ones.
        alone = jnp.shape(xs)[:1] == (1,) and resets is None
        xs = xs[0] if alone else xs
        states = []
        for layer, before in zip(self.layers, state, strict=True):
            after, xs = layer.step(before, xs) if alone else layer.prefill(before, xs, resets=resets)
            states.append(after)
        return tuple(states), xs[None] if alone else xs
