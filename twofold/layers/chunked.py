"""A layer that takes a long sequence chunk by chunk, so that training needs the memory of one chunk."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from .layer import Layer, check_sizes


class Chunked(Layer[Any]):
    """The layer `inner`, which takes `chunk` tokens after another. Its state is the state, and its outputs are the outputs.

    The gradient computes each chunk again from the state before it. So training on a long sequence needs memory for the
    tokens, the outputs, the states between chunks, and one chunk at work. It takes a third more time.
    """

    inner: Layer
    chunk: int = eqx.field(static=True)

    def __init__(self, inner: Layer, *, chunk: int):
        """A layer that takes `chunk` tokens after another.

        **Raises:** `InputError` if `chunk` is below 1.
        """
        check_sizes(chunk=chunk)
        self.inner, self.chunk = inner, chunk

    @property
    def in_size(self) -> int:
        return self.inner.in_size

    @property
    def out_size(self) -> int:
        return self.inner.out_size

    @property
    def reads(self):
        return self.inner.reads

    def init_state(self):
        return self.inner.init_state()

    def step(self, state, x):
        return self.inner.step(state, x)

    def prefill(self, state, xs, *, resets=None):
        @jax.checkpoint
        def one(state, chunk):
            return self.inner.prefill(state, chunk[0], resets=chunk[1])

        xs, resets = jax.tree.map(jnp.asarray, (xs, resets))
        whole = len(xs) // self.chunk * self.chunk
        first, rest = (
            jax.tree.map(lambda x, cut=cut: x[cut], (xs, resets)) for cut in (slice(whole), slice(whole, None))
        )
        state = jax.tree.map(jnp.asarray, state)  # a cache that is known to be empty is so in the first chunk alone
        if whole:
            chunks = jax.tree.map(lambda x: jnp.reshape(x, (-1, self.chunk, *x.shape[1:])), first)
            state, ys = lax.scan(one, state, chunks)
            ys = jnp.reshape(ys, (whole, self.out_size))
        if not whole or len(rest[0]):
            state, last = self.inner.prefill(state, rest[0], resets=rest[1])
            ys = jnp.concatenate([ys, last]) if whole else last
        return state, ys
