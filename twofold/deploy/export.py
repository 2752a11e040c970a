"""Write a model as an ONNX file: its step, or its reading of whole sequences."""

import copy
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
from ..scan._loop import plain_loops
from .translation import BATCH, IR_VERSION, OPSET, Graph, Tensor, shape_of, typed

KEY = "twofold"
"""The key of the file's metadata. Its value is JSON."""
BLOCK = 64
"""So many tokens of a sequence are computed in parallel."""


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
        `ys`, `(time, batch, out_size)`, that of `y`. Any length is read: an operator of ONNX repeats the step.
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
        _sequence(model, state) if prefill else _body(model, state)[0],
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
    """The graph of sequences of any length: blocks of `BLOCK` tokens, one after another, and then the steps of the rest."""
    block, graph = _body(model, state, "block/", BLOCK)
    step, _ = _body(model, state, "step/", beside=graph)
    for body in (block, step):
        del body.initializer[:]  # a body sees the constants of the graph around it
    whole = Graph("xs", 1, beside=graph)
    xs, axis, end = Tensor("xs", ()), whole.integers([0]), whole.integers([np.iinfo(np.int64).max])
    size = whole.integers([BLOCK])
    count = whole.elementwise("Div", whole.made((1,), "Shape", xs, start=0, end=1), size)
    split = whole.elementwise("Mul", count, size)
    shape = whole.made((), "Concat", count, size, whole.made((), "Shape", xs, start=1), axis=0)
    blocks = whole.made((), "Reshape", whole.made((), "Slice", xs, axis, split, axis), shape, allowzero=1)
    rest = whole.made((), "Slice", xs, split, end, axis)
    *between, ys = _each(whole, block, list(state), blocks)
    shape = whole.made((), "Concat", split, whole.made((), "Shape", ys, start=2), axis=0)
    early = whole.made((), "Reshape", ys, shape, allowzero=1)
    *after, late = _each(whole, step, [x.name for x in between], rest)
    outputs = [*(f"next_{name}" for name in state), "ys"]
    for found, name in zip([*after, whole.made((), "Concat", early, late, axis=0)], outputs, strict=True):
        whole.nodes.append(helper.make_node("Identity", [found.name], [name]))
    nodes, constants = whole.used(outputs)
    inputs, results = ([_around(value) for value in values] for values in (step.input, step.output))
    return helper.make_graph(nodes, "prefill", inputs, results, constants)


def _each(graph: Graph, body: onnx.GraphProto, state: list[str], tokens: Tensor) -> list[Tensor]:
    """Run `body` on each of the tokens. Return the state after them, and the answers.

    A Scan of nothing is an error in ONNX Runtime, so there is an If around it.
    """
    some, none = Graph("xs", 1, beside=graph), Graph("xs", 1, beside=graph)
    found = [[each.new_name() for _ in body.output] for each in (some, none)]
    some.nodes.append(helper.make_node("Scan", [*state, tokens.name], found[0], body=body, num_scan_inputs=1))
    sizes = [dim.dim_value for dim in body.output[-1].type.tensor_type.shape.dim]
    parts = [none.batch() if size == 0 else none.integers([size]) for size in sizes]
    empty = none.made((), "ConstantOfShape", none.made((), "Concat", none.integers([0]), *parts, axis=0))
    for before, name in zip([*state, empty.name], found[1], strict=True):
        none.nodes.append(helper.make_node("Identity", [before], [name]))
    branches = []
    for each, names in zip((some, none), found, strict=True):
        kinds = [value.type.tensor_type.elem_type for value in body.output]
        results = [helper.make_tensor_value_info(*pair, None) for pair in zip(names, kinds, strict=True)]
        branches.append(helper.make_graph(each.nodes, "branch", [], results))
    length = graph.made((1,), "Shape", tokens, start=0, end=1)
    present = graph.elementwise("Greater", length, graph.integers([0]))
    names = graph.add("If", present, outputs=len(body.output), then_branch=branches[0], else_branch=branches[1])
    return [Tensor(name, ()) for name in names]


def _around(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """The input or the output of the whole that becomes this one of a step."""
    around = copy.deepcopy(value)
    around.name = value.name.partition("/")[2]
    if around.name in ("x", "y"):
        around.name += "s"
        around.type.tensor_type.shape.dim.insert(0, onnx.TensorShapeProto.Dimension(dim_param="time"))
    return around


def _body(
    model: Layer,
    state: dict[str, np.ndarray],
    prefix: str = "",
    length: int | None = None,
    beside: Graph | None = None,
) -> tuple[onnx.GraphProto, Graph]:
    """The graph of one step, or of `length` tokens in parallel; and what it was made with.

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
    inputs, outputs = ([prefix + name for name in names] for names in ((*state, "x"), (*map("next_{}".format, state), "y")))
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
