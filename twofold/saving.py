"""Models in files: a folder with `config.json`, what the model is, and `model.safetensors`, its arrays. No pickle."""

import json
import os
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from . import layers, models
from .convert import Converted
from .errors import InputError
from .layers import Layer

LAYERS = [kind for package in (layers, models) for kind in vars(package).values() if isinstance(kind, type)]
MODULES = {
    kind.__name__: kind
    for kind in (*LAYERS, Converted, eqx.nn.Linear, eqx.nn.Embedding, eqx.nn.LayerNorm)
    if issubclass(kind, eqx.Module)
}
"""What a saved model may consist of, by name."""


def save(path: Path | str, model: Layer) -> None:
    """Write `model` to the folder `path`, made if need be. Any layer of twofold, trained, converted or pruned.

    **Raises:** `InputError` if the model holds something that is not twofold's, such as a mixer of your own.
    """
    arrays: dict[str, np.ndarray] = {}
    config = {"format": 1, "model": _describe(model, "model", arrays)}
    folder = Path(path)
    folder.mkdir(parents=True, exist_ok=True)
    write_arrays(folder / "model.safetensors", arrays)
    _replace(folder / "config.json", lambda file: file.write_text(json.dumps(config, indent=1) + "\n"))


def load(path: Path | str) -> Layer:
    """The model that `save` wrote to the folder `path`.

    **Raises:** `InputError` if the folder holds no model, or files that are damaged or do not belong together.
    """
    folder = Path(path)
    file = folder / "config.json"
    if not file.is_file():
        raise InputError(f"{folder} holds no saved model: there is no {file.name} in it")
    try:
        described = json.loads(file.read_text())["model"]
        return _build(described, "model", read_arrays(folder / "model.safetensors"))
    except (ValueError, KeyError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file} is damaged: {type(error).__name__}: {error}") from error


def write_arrays(file: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write named arrays to a safetensors file; whole or not at all."""
    _replace(file, lambda temporary: save_file(arrays, temporary))


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """The named arrays of a safetensors file, or an `InputError` that says what is wrong with it."""
    if not file.is_file():
        raise InputError(f"{file} is missing")
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{file} is truncated or damaged: {error}") from error


def named_leaves(tree: PyTree) -> dict[str, np.ndarray]:
    """The arrays of a pytree by their paths in it."""
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def with_named_leaves(tree: PyTree, arrays: dict[str, np.ndarray], source: Path) -> PyTree:
    """`tree` with its arrays replaced by those of the same paths, or an `InputError` if they do not fit."""

    def replaced(path, leaf):
        return _fitting(arrays, jax.tree_util.keystr(path), leaf.shape, leaf.dtype.name, source)

    return jax.tree_util.tree_map_with_path(replaced, tree)


def _replace(file: Path, write) -> None:
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    write(temporary)
    os.replace(temporary, file)


def _describe(node: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """`node` as JSON; its arrays are collected by path."""
    if isinstance(node, eqx.Module):
        name = type(node).__name__
        if MODULES.get(name) is not type(node):
            raise InputError(f"{path} is a {name}; only layers of twofold can be saved: {', '.join(sorted(MODULES))}")
        fields = {field: _describe(value, f"{path}.{field}", arrays) for field, value in vars(node).items()}
        return {"type": name} | fields
    if isinstance(node, tuple | list):
        return [_describe(value, f"{path}.{i}", arrays) for i, value in enumerate(node)]
    if isinstance(node, jax.Array | np.ndarray):
        arrays[path] = np.ascontiguousarray(node)
        return {"shape": list(node.shape), "dtype": node.dtype.name}
    return node


def _build(node: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(node, list):
        return tuple(_build(value, f"{path}.{i}", arrays) for i, value in enumerate(node))
    if isinstance(node, dict) and "type" in node:
        fields = dict(node)
        name = fields.pop("type")
        if name not in MODULES:
            raise InputError(f"config.json has {path} of unknown type {name!r}")
        module = object.__new__(MODULES[name])
        for field, value in fields.items():
            object.__setattr__(module, field, _build(value, f"{path}.{field}", arrays))
        return module
    if isinstance(node, dict):
        return _fitting(arrays, path, tuple(node["shape"]), node["dtype"], Path("model.safetensors"))
    return node


def _fitting(arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...], dtype: str, source: Path) -> jax.Array:
    if name not in arrays:
        raise InputError(f"{source} lacks the array {name}")
    array = arrays[name]
    if array.shape != shape or array.dtype.name != dtype:
        raise InputError(f"{source} has {name} as {array.dtype} {array.shape}; it should be {dtype} {shape}")
    if jax.dtypes.canonicalize_dtype(array.dtype) != array.dtype:
        raise InputError(f"{source} holds {array.dtype}, which needs jax.config.update('jax_enable_x64', True)")
    return jnp.asarray(array)
