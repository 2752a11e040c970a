"""Named arrays as the bytes of a safetensors file. They may have any dtype in `DTYPES`."""

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from jaxtyping import PyTree
from safetensors import SafetensorError, deserialize

from ..errors import InputError

DTYPES = {
    "BOOL": bool,
    "I8": np.int8,
    "I16": np.int16,
    "I32": np.int32,
    "I64": np.int64,
    "U8": np.uint8,
    "U16": np.uint16,
    "U32": np.uint32,
    "U64": np.uint64,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "F32": np.float32,
    "F64": np.float64,
    "C64": np.complex64,
}
"""The dtypes of NumPy by their names in the file. safetensors itself cannot read bfloat16 as arrays of NumPy."""


def to_bytes(arrays: dict[str, np.ndarray]) -> bytes:
    """The content of a safetensors file with these arrays."""
    return safetensors.numpy.save({name: np.ascontiguousarray(x).reshape(x.shape) for name, x in arrays.items()})


def from_bytes(data: bytes) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file with this content.

    **Raises:** `InputError` if the content is no safetensors file, or damaged.
    """
    try:
        return {
            name: np.frombuffer(entry["data"], DTYPES[entry["dtype"]]).reshape(entry["shape"])
            for name, entry in deserialize(data)
        }
    except (SafetensorError, KeyError, ValueError) as error:
        raise InputError(f"it is truncated or damaged: {type(error).__name__}: {error}") from error


def named_leaves(tree: PyTree) -> dict[str, np.ndarray]:
    """The arrays of a pytree, by their paths in it."""
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def with_named_leaves(tree: PyTree, arrays: dict[str, np.ndarray]) -> PyTree:
    """`tree` with each array replaced by the array of its path in `arrays`.

    **Raises:** `InputError` if an array is missing, is left over, or has another shape or dtype.
    """
    arrays = dict(arrays)

    def replaced(path, leaf):
        return taken(arrays, jax.tree_util.keystr(path), leaf.shape, leaf.dtype.name)

    tree = jax.tree_util.tree_map_with_path(replaced, tree)
    check_all_taken(arrays)
    return tree


def taken(arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...], dtype: str) -> jax.Array:
    """Take the array `name` out of `arrays`.

    **Raises:** `InputError` if the array is missing, has another shape or dtype, or needs 64 bits while JAX has them turned off.
    """
    if name not in arrays:
        raise InputError(f"it lacks the array {name}")
    array = arrays.pop(name)
    if array.shape != shape or array.dtype.name != dtype:
        raise InputError(f"it has {name} as {array.dtype} {array.shape}; it should be {dtype} {shape}")
    if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
        raise InputError(f"it holds {array.dtype}, which needs jax.config.update('jax_enable_x64', True)")
    return jnp.asarray(array)


def check_all_taken(arrays: dict[str, np.ndarray]) -> None:
    """**Raises:** `InputError` if arrays are left over."""
    if arrays:
        raise InputError(f"it has arrays that do not belong to it: {', '.join(sorted(arrays))}")
