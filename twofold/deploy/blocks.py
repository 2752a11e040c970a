"""The ONNX graph of sequences of any length: blocks of tokens in parallel, and the rest token by token."""

import copy
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper

from .translation import Graph, Tensor

BLOCK = 64
"""How many tokens are computed in parallel. Longer blocks are no faster, and leave more tokens to the steps."""


def in_blocks(block: onnx.GraphProto, step: onnx.GraphProto, beside: Graph) -> onnx.GraphProto:
    """The graph of `xs`, `(time, batch, in_size)`, and a state, from the graphs of `BLOCK` tokens and of one token.

    Their constants are those of `beside`. Each has names for its inputs and outputs that begin with another prefix.
    """
    for body in (block, step):
        del body.initializer[:]  # a body sees the constants of the graph around it
    graph = Graph("xs", 1, beside)
    xs, first, last = Tensor("xs", ()), graph.integers([0]), graph.integers([np.iinfo(np.int64).max])
    size = graph.integers([BLOCK])
    count = graph.made((1,), "Div", graph.made((1,), "Shape", xs, start=0, end=1), size)
    split = graph.made((1,), "Mul", count, size)
    blocks = _leading(graph, graph.made((), "Slice", xs, first, split, first), [count, size], 1)
    state = [Tensor(x.name.partition("/")[2], ()) for x in step.input][:-1]
    *state, early = _each(graph, block, state, blocks)
    *state, late = _each(graph, step, state, graph.made((), "Slice", xs, split, last, first))
    ys = graph.made((), "Concat", _leading(graph, early, [split], 2), late, axis=0)
    inputs, outputs = (list(map(_around, values)) for values in (step.input, step.output))
    for found, output in zip([*state, ys], outputs, strict=True):
        graph.nodes.append(helper.make_node("Identity", [found.name], [output.name]))
    nodes, constants = graph.used([x.name for x in outputs])
    return helper.make_graph(nodes, "prefill", inputs, outputs, constants)


def _leading(graph: Graph, x: Tensor, sizes: Sequence[Tensor], replaced: int) -> Tensor:
    """`x` with `sizes` in the place of its first `replaced` dimensions."""
    shape = graph.made((), "Concat", *sizes, graph.made((), "Shape", x, start=replaced), axis=0)
    return graph.made((), "Reshape", x, shape, allowzero=1)


def _each(graph: Graph, body: onnx.GraphProto, state: Sequence[Tensor], tokens: Tensor) -> list[Tensor]:
    """Run `body` on each of the tokens. Return the state after them, and the answers.

    ONNX Runtime refuses a Scan of nothing. So there is an If around it.
    """
    some, none = Graph("xs", 1, graph), Graph("xs", 1, graph)
    inputs, results = [x.name for x in (*state, tokens)], [some.new_name() for _ in body.output]
    some.nodes.append(helper.make_node("Scan", inputs, results, body=body, num_scan_inputs=1))
    sizes = [dim.dim_value for dim in body.output[-1].type.tensor_type.shape.dim]  # that of the batch, a name, is 0
    parts = [none.integers([size]) if size else none.batch() for size in sizes]
    shape = none.made((), "Concat", none.integers([0]), *parts, axis=0)
    unchanged = [none.made((), "Identity", x) for x in state] + [none.made((), "ConstantOfShape", shape)]
    kinds = [x.type.tensor_type.elem_type for x in body.output]
    branches = {
        name: helper.make_graph(
            each.nodes, name, [], [helper.make_tensor_value_info(*x, None) for x in zip(names, kinds, strict=True)]
        )
        for name, each, names in (
            ("then_branch", some, results),
            ("else_branch", none, [x.name for x in unchanged]),
        )
    }
    length = graph.made((1,), "Shape", tokens, start=0, end=1)
    present = graph.made((1,), "Greater", length, graph.integers([0]))
    return [Tensor(name, ()) for name in graph.add("If", present, outputs=len(kinds), **branches)]


def _around(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """The input or the output of the whole graph that belongs to one of a step."""
    around = copy.deepcopy(value)
    around.name = value.name.partition("/")[2]
    if around.name in ("x", "y"):
        around.name += "s"
        around.type.tensor_type.shape.dim.insert(0, onnx.TensorShapeProto.Dimension(dim_param="time"))
    return around
