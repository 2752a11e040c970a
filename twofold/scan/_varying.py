"""What varies along with what, under `jax.shard_map` and `jax.vmap`: custom gradients want it to be all or nothing."""

from typing import TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax

Arrays = TypeVar("Arrays")


def alike(arrays: Arrays) -> Arrays:
    """The arrays, a pytree, each varying along every axis of a mesh that one of them varies along: weights as sequences do.

    `jax.shard_map` has it in the arrays' types, and loops and kernels need equal ones. The gradient of an array that did
    not vary is summed over the mesh, as it should be.
    """
    every = frozenset().union(*map(_axes, jax.tree.leaves(arrays)))

    def widen(x):
        missing = every - _axes(x)
        return lax.pcast(x, tuple(missing), to="varying") if missing else x

    return jax.tree.map(widen, arrays)


def tied(results: Arrays, arguments) -> Arrays:
    """The results, a pytree, each batched under `jax.vmap` if one of the arguments is, even if it depends on others alone.

    `jax.vmap` of a `jax.custom_vjp` counts the cotangent of a result that is not batched once for each sequence, where
    others are batched (JAX 0.10.2). XLA removes what this adds.
    """
    anything = jnp.stack([jnp.any(x.reshape(-1)[:1] != 0) for x in jax.tree.leaves(arguments)]).any()
    return jax.tree.map(lambda x: jnp.where(False, anything.astype(x.dtype), x), results)


def like(x: Array, shape: tuple, dtype) -> jax.core.ShapedArray:
    """The type of an array of this shape, which may have symbols, that varies as x does."""
    return jax.typeof(x).update(shape=shape, dtype=jnp.dtype(dtype), weak_type=False)


def _axes(x: Array) -> frozenset[str]:
    kind = jax.typeof(x)
    return kind.mat.varying if hasattr(kind, "mat") else kind.vma  # since JAX 0.10, and before
