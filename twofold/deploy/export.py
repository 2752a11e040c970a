"""Write a model as an ONNX file: its step, or its reading of whole sequences."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import onnx
from jax import export
from onnx import helper

from ..atomic import write_whole
from ..errors import InputError
from ..layers import Layer, Rescaled
from ..layers.layer import dtype_of
from ..models import Policy
from ..saving import named_leaves
from ..scan.plain import plain_loops
from .blocks import BLOCK, in_blocks
from .translation import BATCH, IR_VERSION, OPSET, Graph, Tensor, shape_of, typed

KEY = "twofold"
"""The key of the file's metadata. Its value is JSON."""


def export_onnx(model: Layer, file: Path | str, *, prefill: bool = False, about: dict[str, Any] | None = None) -> None:
    """Write `model` to an ONNX file, which `OnnxStream` and any other runtime of ONNX can run.

    The graph is one step of a batch of sequences. Its inputs are `x`, `(batch, in_size)`, and every array of the state. Its
    outputs are `y`, `(batch, out_size)`, and every array of the next state, which has `next_` before its name. A model that
    reads marks has `x` of `(batch,)` and int32. The state before the first token, and all else that a program needs to use the
    file, is in the metadata, as JSON under the key "twofold".

    **Arguments:**

    - `model`: a layer or a model in float32.
    - `file`: the file, whose name ends in .onnx. A file that is there is replaced.
    - `prefill`: write a graph that reads whole sequences instead. `xs`, `(time, batch, in_size)`, takes the place of `x`, and
        `ys`, `(time, batch, out_size)`, that of `y`. Any length is read. Blocks of 64 tokens go through the `prefill` of the
        model, one block after another, and the rest goes through its step.
    - `about`: what else goes into the metadata. It must be JSON.

    **Raises:** `InputError` for another name, for a model in another dtype, and for a model that uses an operation which twofold
    cannot write in ONNX; `OSError` if the file cannot be written.
    """
    file = Path(file)
    if file.suffix != ".onnx":
        raise InputError(f"the file is {file}; its name must end in .onnx")
    if dtype_of(model) != np.float32:
        raise InputError(f"the model computes in {dtype_of(model)}; only models in float32 can be written in ONNX")
    state = {f"state{name}": leaf for name, leaf in named_leaves(model.init_state()).items()}
    proto = helper.make_model(
        _sequence(model, state) if prefill else _graph(model, state)[0],
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="twofold",
        producer_version=version("twofold"),
    )
    metadata = {
        "twofold": version("twofold"),
        "form": "prefill" if prefill else "step",
        "reads": model.reads,
        "in_size": model.in_size,
        "out_size": model.out_size,
        "state": {name: _described(leaf) for name, leaf in state.items()},
        "normalisation": _normalisation(model),
    }
    helper.set_model_props(proto, {KEY: json.dumps(metadata | (about or {}))})
    onnx.checker.check_model(proto, full_check=True)
    write_whole(file, proto.SerializeToString())


def _sequence(model: Layer, state: dict[str, np.ndarray]) -> onnx.GraphProto:
    block, constants = _graph(model, state, "block/", BLOCK)
    step, constants = _graph(model, state, "step/", beside=constants)
    return in_blocks(block, step, constants)


def _graph(
    model: Layer,
    state: dict[str, np.ndarray],
    prefix: str = "",
    length: int | None = None,
    beside: Graph | None = None,
) -> tuple[onnx.GraphProto, Graph]:
    """The graph of one step, or of `length` tokens in parallel; and what it was made with, which has its constants.

    The names of its inputs and outputs begin with `prefix`.
    """
    (batch,) = export.symbolic_shape(BATCH)
    structure = jax.tree.structure(model.init_state())
    function, axis = (model.step, 0) if length is None else (model.prefill, 1)

    def run(leaves, x):
        after, y = jax.vmap(function, (0, axis), (0, axis))(jax.tree.unflatten(structure, leaves), x)
        return jax.tree.leaves(after), y

    marks = model.reads == "marks"
    shape = (*(() if length is None else (length,)), batch, *(() if marks else (model.in_size,)))
    x = jax.ShapeDtypeStruct(shape, np.int32 if marks else np.float32)
    leaves = [jax.ShapeDtypeStruct((batch, *leaf.shape), leaf.dtype) for leaf in state.values()]
    inputs, outputs = (
        [prefix + name for name in names] for names in ((*state, "x"), (*map("next_{}".format, state), "y"))
    )
    graph = Graph(inputs[-1], axis, beside)
    with plain_loops():
        closed = jax.make_jaxpr(run)(leaves, x)
        arguments = [Tensor(name, shape_of(v)) for name, v in zip(inputs, closed.jaxpr.invars, strict=True)]
        results = graph.call(closed, *arguments)
    for name, argument, result in zip(outputs, arguments, results, strict=True):
        # Where a state has no elements, the next state is the one before.
        graph.nodes.append(helper.make_node("Identity", [result.name or argument.name], [name]))
    nodes, constants = graph.used(outputs)
    typed_inputs, typed_outputs = (
        [typed(name, v) for name, v in zip(names, variables, strict=True)]
        for names, variables in ((inputs, closed.jaxpr.invars), (outputs, closed.jaxpr.outvars))
    )
    name = "step" if length is None else "block"
    return helper.make_graph(nodes, name, typed_inputs, typed_outputs, constants), graph


def _described(leaf: np.ndarray) -> dict[str, Any]:
    """An array of the state: its shape, its dtype and its value before the first token, one number if all are equal."""
    equal = leaf.size and (leaf == leaf.flat[0]).all()
    return {
        "shape": list(leaf.shape),
        "dtype": leaf.dtype.name,
        "initial": leaf.flat[0].item() if equal else leaf.tolist(),
    }


def _normalisation(model: Layer) -> dict[str, list[float]]:
    """The means and deviations that the graph takes out of tokens, and puts into answers. They are for information alone."""
    names: tuple[str, ...] = ()
    if isinstance(model, Rescaled):
        names = "in_mean", "in_scale", "out_mean", "out_scale"
    elif isinstance(model, Policy):
        names = "mean", "scale", "low", "high"
    return {name: np.asarray(getattr(model, name)).tolist() for name in names}
