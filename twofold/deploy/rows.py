"""A state as a row of 32-bit words, and back to the very same bits. The states of many keys are then one array."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax
from jaxtyping import PyTree, UInt32

UNSIGNED = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32, 8: jnp.uint32}
"""What the bits of a number are read as, by its size in bytes. Numbers of 8 bytes make two words."""


def row_of(state: PyTree[Any]) -> UInt32[Array, " words"]:
    """All numbers of a state, one after another. Numbers of fewer than 32 bits have a word each."""
    return jnp.concatenate([_words(jnp.asarray(leaf)) for leaf in jax.tree.leaves(state)] or [jnp.zeros(0, jnp.uint32)])


def state_of(row: UInt32[Array, " words"], like: PyTree[Any]) -> PyTree[Any]:
    """The state that `row_of` was given. `like` is a state of the same form, or its shapes."""
    leaves, form = jax.tree.flatten(like)
    found, start = [], 0
    for leaf in leaves:
        size = jax.eval_shape(_words, leaf).size
        found.append(_numbers(row[start : start + size], np.shape(leaf), leaf.dtype))
        start += size
    return jax.tree.unflatten(form, found)


def _words(leaf: Array) -> Array:
    if jnp.iscomplexobj(leaf):
        leaf = jnp.stack([leaf.real, leaf.imag], -1)
    if leaf.dtype == bool:
        leaf = leaf.astype(jnp.uint8)
    return lax.bitcast_convert_type(leaf, UNSIGNED[leaf.dtype.itemsize]).astype(jnp.uint32).ravel()


def _numbers(words: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    if jnp.issubdtype(dtype, jnp.complexfloating):
        parts = _numbers(words, (*shape, 2), np.finfo(dtype).dtype)
        return lax.complex(parts[..., 0], parts[..., 1])
    if jnp.issubdtype(dtype, bool):
        return words.reshape(shape).astype(bool)
    size = np.dtype(dtype).itemsize
    words = (
        words.astype(UNSIGNED[size]).reshape(*shape, 2) if size == 8 else words.astype(UNSIGNED[size]).reshape(shape)
    )
    return lax.bitcast_convert_type(words, dtype)
