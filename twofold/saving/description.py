"""Turn a model into JSON and named arrays, and back."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import numpy as np

from .. import layers, models
from ..convert import Converted
from ..errors import InputError
from .arrays import check_all_taken, taken

LAYERS = [kind for package in (layers, models) for kind in vars(package).values() if isinstance(kind, type)]
MODULES = {
    kind.__name__: kind
    for kind in (*LAYERS, Converted, eqx.nn.Linear, eqx.nn.Embedding, eqx.nn.LayerNorm)
    if issubclass(kind, eqx.Module)
}
"""The classes that a saved model may consist of, by their names."""


def described(model: layers.Layer) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Describe `model` as JSON, and collect its arrays by their paths in it.

    **Raises:** `InputError` if the model holds something that twofold does not have, such as a mixer of your own.
    """
    arrays: dict[str, np.ndarray] = {}
    return _describe(model, "model", arrays), arrays


def built(description: Any, arrays: dict[str, np.ndarray]) -> layers.Layer:
    """Build the model again from what `described` returned.

    **Raises:** `InputError` if fields or arrays are missing, unknown or of another form, or if the model cannot take a step.
    """
    arrays = dict(arrays)
    model = _build(description, "model", arrays)
    check_all_taken(arrays)
    if not isinstance(model, layers.Layer):
        raise InputError(f"model is {description!r:.80}; it should be a layer")
    try:
        token = np.int32(0) if model.reads == "marks" else np.zeros(model.in_size, np.float32)
        jax.eval_shape(lambda: model.step(model.init_state(), token))
    except Exception as error:  # a wrong field can lead to any error
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise InputError(f"its fields do not fit together: {reason}") from error
    return model


def _describe(node: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """Describe `node` as JSON, and add its arrays to `arrays`, by their paths."""
    if isinstance(node, eqx.Module):
        name = type(node).__name__
        if MODULES.get(name) is not type(node):
            raise InputError(f"{path} is a {name}; only layers of twofold can be saved: {', '.join(sorted(MODULES))}")
        # What has its default is left out. So a field that a later version adds changes no model that does without it.
        defaults = _defaults(type(node))
        chosen = {field: value for field, value in vars(node).items() if value is not defaults.get(field, ...)}
        fields = {field: _describe(value, f"{path}.{field}", arrays) for field, value in chosen.items()}
        return {"type": name} | fields
    if isinstance(node, tuple):
        return [_describe(value, f"{path}.{i}", arrays) for i, value in enumerate(node)]
    if isinstance(node, jax.Array | np.ndarray):
        arrays[path] = np.asarray(node)
        return {"shape": list(node.shape), "dtype": node.dtype.name}
    if node is None or isinstance(node, bool | int | float | str):
        return node
    raise InputError(f"{path} is a {type(node).__name__}; a saved model consists of layers, arrays, numbers and names")


def _defaults(kind: type[eqx.Module]) -> dict[str, Any]:
    return {f.name: f.default for f in dataclasses.fields(kind) if f.default is not dataclasses.MISSING}


def _build(node: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(node, list):
        return tuple(_build(value, f"{path}.{i}", arrays) for i, value in enumerate(node))
    if isinstance(node, dict) and "type" in node:
        return _module(dict(node), path, arrays)
    if isinstance(node, dict):
        shape, dtype = node.get("shape"), node.get("dtype")
        if node.keys() != {"shape", "dtype"} or not isinstance(shape, list) or not isinstance(dtype, str):
            raise InputError(f"{path} is {node!r:.80}; it should have a shape and a dtype, or the type of a layer")
        return taken(arrays, path, tuple(shape), dtype)
    return node


def _module(fields: dict[str, Any], path: str, arrays: dict[str, np.ndarray]) -> eqx.Module:
    name = fields.pop("type")
    if not isinstance(name, str) or name not in MODULES:
        raise InputError(f"{path} has the unknown type {name!r:.80}; the types are {', '.join(sorted(MODULES))}")
    fields = _defaults(MODULES[name]) | fields
    needed = {field.name for field in dataclasses.fields(MODULES[name])}
    for field in sorted(needed ^ fields.keys()):
        raise InputError(f"{path}, a {name}, {'lacks' if field in needed else 'has the unknown'} field {field!r}")
    module = object.__new__(MODULES[name])
    for field, value in fields.items():
        object.__setattr__(module, field, _build(value, f"{path}.{field}", arrays))
    return module
