"""What a scan is given, as arrays: one rule for dtypes and one for resets, in all operations."""

from itertools import chain

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..errors import InputError


def common_dtype(*, real: bool = True, **arguments) -> np.dtype:
    """The dtype that a scan computes in, for the arrays in its named arguments, which are pytrees or None.

    It is JAX's: that of `jnp.result_type`, to which Python's scalars do not count. Integers alone become JAX's default
    float. Complex numbers where `real` is asked for are an `InputError`.
    """
    arrays = {name: [_array(x) for x in jax.tree.leaves(tree, is_leaf=_is_list)] for name, tree in arguments.items()}
    dtype = jnp.result_type(*chain(*arrays.values()), 1.0)
    if real and jnp.issubdtype(dtype, jnp.complexfloating):
        named = (name for name, found in arrays.items() if any(map(jnp.iscomplexobj, found)))
        raise InputError(f"{', '.join(named)}: complex numbers ({dtype}) where this scan takes real ones")
    return dtype


def _is_list(x) -> bool:
    return isinstance(x, list)


def _array(x):
    return jnp.asarray(x) if _is_list(x) else x


def checked_resets(resets, time: int) -> Array | None:
    """The resets as an array `(time,)` of bool, or None if there are none; an `InputError` for anything else."""
    if resets is None:
        return None
    resets = jnp.asarray(resets)
    if resets.shape != (time,) or resets.dtype != bool:
        raise InputError(
            f"resets have shape {resets.shape} and dtype {resets.dtype}; these tokens need shape ({time},) and dtype bool"
        )
    return resets
