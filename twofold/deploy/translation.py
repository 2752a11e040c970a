"""Translate a function of JAX into the nodes of an ONNX graph. `RULES` has the primitives that the steps of models consist of.

Values have the name of an ONNX tensor and a shape. A dimension is an integer, or `BATCH`, which is known only where the graph
runs. A complex number is a pair of real tensors, because ONNX has hardly any operators for complex numbers.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, SupportsIndex

import jax
import numpy as np
import onnx
from jax.extend.core import ClosedJaxpr, Var
from onnx import helper, numpy_helper

from ..errors import InputError

BATCH = "batch"
"""The dimension that is not known when the graph is made."""
OPSET, IR_VERSION = 18, 8
"""Versions of ONNX that are old enough for every runtime of the last years."""


class Tensor(NamedTuple):
    """A real value. Its shape may have 1 where the shape in JAX has more: it is broadcast only where ONNX needs that.

    The name is empty if the value has no elements. Runtimes of ONNX have trouble with such tensors.
    """

    name: str
    shape: tuple[int | str, ...]


class Pair(NamedTuple):
    """A complex value."""

    re: Tensor
    im: Tensor


Value = Tensor | Pair


class Graph:
    """The nodes and constants of an ONNX graph, while they are added one by one."""

    def __init__(self, batch_of: str, axis: int = 0, beside: "Graph | None" = None):
        """An empty graph. The dimension `axis` of its input `batch_of` is `BATCH`.

        It shares its constants with the graph `beside`, and no other name.
        """
        self.nodes: list[onnx.NodeProto] = []
        self._batch_of, self._axis = batch_of, axis
        self.constants: dict[str, np.ndarray] = beside.constants if beside else {}
        self._names: dict[tuple, str] = beside._names if beside else {}
        self._numbers: Iterator[int] = beside._numbers if beside else itertools.count()

    def constant(self, value: np.ndarray) -> Tensor:
        """A constant tensor. Equal constants are stored once."""
        value = np.asarray(value)
        key = value.dtype.name, value.shape, value.tobytes()
        name = self._names.setdefault(key, f"constant{len(self._names)}")
        self.constants[name] = value
        return Tensor(name, value.shape)

    def is_false(self, x: Tensor) -> bool:
        """Whether `x` is a constant that is False everywhere."""
        array = self.constants.get(x.name)
        return array is not None and array.dtype == bool and not array.any()

    def integers(self, values: Sequence[SupportsIndex]) -> Tensor:
        """A list of integers, as operators take shapes and axes."""
        return self.constant(np.array(values, np.int64))

    def new_name(self) -> str:
        return f"t{next(self._numbers)}"

    def add(self, operator: str, *inputs: Tensor, outputs: int = 1, **attributes: Any) -> list[str]:
        """Add a node, and return the names of its outputs."""
        names = [self.new_name() for _ in range(outputs)]
        self.nodes.append(helper.make_node(operator, [x.name for x in inputs], names, **attributes))
        return names

    def made(self, shape: Sequence[int | str], operator: str, *inputs: Tensor, **attributes: Any) -> Tensor:
        """Add a node with one output of this shape."""
        return Tensor(self.add(operator, *inputs, **attributes)[0], tuple(shape))

    def elementwise(self, operator: str, *inputs: Tensor, **attributes: Any) -> Tensor:
        """Add a node of an operator that broadcasts its inputs."""
        return self.made(_broadcast_shape(*(x.shape for x in inputs)), operator, *inputs, **attributes)

    def reshaped(self, x: Tensor, shape: Sequence[int | str]) -> Tensor:
        if x.shape == tuple(shape):
            return x
        if x.name in self.constants and BATCH not in shape:
            return self.constant(self.constants[x.name].reshape(_known(shape, -1)))
        return self.made(shape, "Reshape", x, self.integers(_known(shape, -1)))

    def expanded(self, x: Tensor, shape: Sequence[int | str]) -> Tensor:
        """`x` with the whole shape that it has in JAX."""
        if x.shape == tuple(shape):
            return x
        if BATCH not in shape or BATCH in x.shape:
            sizes = self.integers(_known(shape, 1))
        else:
            parts = [self.batch() if size == BATCH else self.integers([int(size)]) for size in shape]
            sizes = self.made((len(shape),), "Concat", *parts, axis=0)
        return self.made(shape, "Expand", x, sizes)

    def used(self, outputs: Sequence[str]) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
        """The nodes and the constants that the values with the names `outputs` are computed from.

        **Raises:** `InputError` if one of them is computed from a value without elements.
        """
        names, nodes = set(outputs), []
        for node in reversed(self.nodes):
            if names.intersection(node.output):
                nodes.append(node)
                names.update(_read_by(node))
        if "" in names:
            raise InputError("the model has a layer without neurons, which twofold cannot write in ONNX")
        constants = (numpy_helper.from_array(array, name) for name, array in self.constants.items() if name in names)
        return nodes[::-1], list(constants)

    def batch(self) -> Tensor:
        """The size of the batch, `(1,)`."""
        return self.made((1,), "Shape", Tensor(self._batch_of, ()), start=self._axis, end=self._axis + 1)

    def call(self, closed: ClosedJaxpr, *inputs: Value) -> list[Any]:
        """Add the nodes of a function, and return its outputs, expanded to their whole shapes.

        **Raises:** `InputError` for a primitive of JAX that is not in `RULES`.
        """
        values: dict[Any, Value] = dict(zip(closed.jaxpr.constvars, map(self._constant, closed.consts), strict=True))
        values |= zip(closed.jaxpr.invars, inputs, strict=True)

        def value(atom: Any):
            return values[atom] if isinstance(atom, Var) else self._constant(np.asarray(atom.val, atom.aval.dtype))

        for equation in closed.jaxpr.eqns:
            values |= zip(equation.outvars, self._translated(equation, list(map(value, equation.invars))), strict=True)
        return [self._whole(value(atom), atom) for atom in closed.jaxpr.outvars]

    def _translated(self, equation, inputs: list[Any]) -> Sequence[Value]:
        name, params = equation.primitive.name, equation.params
        if (inner := _function_in(equation)) is not None:
            return self.call(inner, *inputs)
        if all(0 in v.aval.shape for v in equation.outvars):
            return [Tensor("", shape_of(v)) for v in equation.outvars]
        if name == "scan":
            return self._one_turn(equation, inputs) if params["length"] == 1 else self._turns(equation, inputs)
        complex_inputs = any(isinstance(x, Pair) for x in inputs)
        if name in COMPLEX and (complex_inputs or name == "complex" or _is_complex(equation.outvars[0])):
            return [COMPLEX[name](self, equation, *inputs)]
        if name in ELEMENTWISE:
            return [self.elementwise(ELEMENTWISE[name], *inputs)]
        if name not in RULES:
            raise InputError(f"the model uses {name} of JAX, which twofold cannot write in ONNX")
        if name not in BROADCASTING:
            inputs = [self._whole(x, atom) for x, atom in zip(inputs, equation.invars, strict=True)]
        if complex_inputs:  # what only moves numbers does so to both parts
            parts = ([x if isinstance(x, Tensor) else x[part] for x in inputs] for part in (0, 1))
            return [Pair(*pair) for pair in zip(*(RULES[name](self, equation, *x) for x in parts), strict=True)]
        return RULES[name](self, equation, *inputs)

    def _one_turn(self, equation, inputs: list[Any]) -> list[Value]:
        """A loop over a single token, without the loop."""
        body, carried = equation.params["jaxpr"], equation.params["num_consts"] + equation.params["num_carry"]
        xs = zip(inputs[carried:], body.jaxpr.invars[carried:], strict=True)
        tokens = [self.reshaped(x, shape_of(v)) for x, v in xs]
        outputs = self.call(body, *inputs[:carried], *tokens)
        return [self.reshaped(x, shape_of(v)) for x, v in zip(outputs, equation.outvars, strict=True)]

    def _turns(self, equation, inputs: list[Any]) -> list[Value]:
        """A loop, as ONNX's Scan. Its body sees the constants and the values of the graph around it."""
        params, body = equation.params, equation.params["jaxpr"]
        consts, carry = params["num_consts"], params["num_carry"]
        if params["reverse"] or len(inputs) == consts + carry:
            raise InputError(
                "the model uses a loop of JAX that runs backwards or reads no tokens, which twofold cannot write in ONNX"
            )
        outer = [self._whole(x, v) for x, v in zip(inputs[consts:], equation.invars[consts:], strict=True)]
        inner = Graph(self._batch_of, self._axis, beside=self)
        variables = body.jaxpr.invars[consts:]
        arguments = [_named(inner.new_name, v) for v in variables]
        results = inner.call(body, *inputs[:consts], *arguments)
        returned = [_named(inner.new_name, v) for v in body.jaxpr.outvars]
        for result, name in zip(_parts(results), _parts(returned), strict=True):
            inner.nodes.append(helper.make_node("Identity", [result.name], [name.name]))
        found = [_named(self.new_name, v) for v in equation.outvars]
        nodes, _ = inner.used([x.name for x in _parts(returned)])
        graph = helper.make_graph(nodes, "turn", _typed(arguments, variables), _typed(returned, body.jaxpr.outvars))
        names, tokens = [x.name for x in _parts(outer)], len(_parts(arguments[carry:]))
        results = [x.name for x in _parts(found)]
        self.nodes.append(helper.make_node("Scan", names, results, body=graph, num_scan_inputs=tokens))
        return found

    def _constant(self, array) -> Value:
        array = np.asarray(array)
        if np.iscomplexobj(array):
            return Pair(self.constant(array.real), self.constant(array.imag))
        return self.constant(array)

    def _whole(self, x: Value, atom) -> Value:
        if isinstance(x, Pair):
            return Pair(*(self.expanded(part, shape_of(atom)) for part in x))
        return self.expanded(x, shape_of(atom))


def shape_of(atom) -> tuple[int | str, ...]:
    """The shape of a variable of JAX, with `BATCH` for the dimension that is a symbol."""
    return tuple(map(_size, atom.aval.shape))


def _size(size) -> int | str:
    return int(size) if isinstance(size, int | np.integer) else str(size)


def typed(name: str, variable) -> onnx.ValueInfoProto:
    """An input or an output of a graph, as a variable of JAX has it. That of a complex one is one of its two parts."""
    kind = helper.np_dtype_to_tensor_dtype(np.zeros((), variable.aval.dtype).real.dtype)
    return helper.make_tensor_value_info(name, kind, shape_of(variable))


def _typed(values: Sequence[Value], variables) -> list[onnx.ValueInfoProto]:
    return [typed(x.name, v) for value, v in zip(values, variables, strict=True) for x in _parts([value])]


def _named(new_name: Callable[[], str], variable) -> Value:
    """A value with a new name, as a variable of JAX has it."""
    shape = shape_of(variable)
    if 0 in shape:
        return Tensor("", shape)
    if _is_complex(variable):
        return Pair(Tensor(new_name(), shape), Tensor(new_name(), shape))
    return Tensor(new_name(), shape)


def _parts(values: Sequence[Value]) -> list[Tensor]:
    """The real tensors of all values, but for those without elements."""
    return [x for value in values for x in ([value] if isinstance(value, Tensor) else value) if 0 not in x.shape]


def _read_by(node: onnx.NodeProto) -> set[str]:
    """The names of the values that a node needs, and the bodies of loops in it."""
    bodies = (attribute.g for attribute in node.attribute if attribute.type == onnx.AttributeProto.GRAPH)
    return set(node.input).union(*(_read_by(inner) for body in bodies for inner in body.node))


def _known(shape: Sequence[int | str], batch: int) -> list[int]:
    """The shape, with `batch` in the place of `BATCH`."""
    return [batch if size == BATCH else int(size) for size in shape]


def _is_complex(atom) -> bool:
    return np.issubdtype(atom.aval.dtype, np.complexfloating)


def _broadcast_shape(*shapes: tuple[int | str, ...]) -> tuple[int | str, ...]:
    longest = max(map(len, shapes))
    padded = [(1,) * (longest - len(shape)) + shape for shape in shapes]
    return tuple(next((size for size in sizes if size != 1), 1) for sizes in zip(*padded, strict=True))


def _function_in(equation) -> ClosedJaxpr | None:
    """The function that an equation calls, such as one that is under `jax.jit` or that has a derivative of its own."""
    if equation.primitive.name == "native_or_portable":  # the scans' own primitive
        return jax.make_jaxpr(equation.params["portable"])(*(v.aval for v in equation.invars))
    if equation.primitive.name not in (
        "checkpoint",
        "jit",
        "pjit",
        "closed_call",
        "custom_jvp_call",
        "custom_vjp_call",
        "remat2",
    ):
        return None
    inner = equation.params.get("jaxpr") or equation.params["call_jaxpr"]
    return inner if isinstance(inner, ClosedJaxpr) else ClosedJaxpr(inner, ())


ELEMENTWISE = {
    "abs": "Abs",
    "add": "Add",
    "and": "And",
    "copy": "Identity",
    "cos": "Cos",
    "div": "Div",
    "eq": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "neg": "Neg",
    "not": "Not",
    "or": "Or",
    "pow": "Pow",
    "sign": "Sign",
    "sin": "Sin",
    "sqrt": "Sqrt",
    "stop_gradient": "Identity",
    "sub": "Sub",
    "tanh": "Tanh",
}
"""The primitives that are one operator of ONNX, on numbers one by one."""

RULES: dict[str, Callable[..., Sequence[Value]]] = {}
"""How the other primitives are written: functions of the graph, the equation and its inputs."""
BROADCASTING: set[str] = set()
"""Those of them whose inputs need not have their whole shape."""


def rule(*names: str, broadcasting: bool = False):
    def add(function):
        RULES.update(dict.fromkeys(names, lambda *args: [function(*args)]))
        BROADCASTING.update(names if broadcasting else ())
        return function

    return add


@rule("broadcast_in_dim", broadcasting=True)
def _broadcast_in_dim(graph, equation, x, *_):
    places = equation.params["broadcast_dimensions"]
    shape: list[int | str] = [1] * len(equation.outvars[0].aval.shape)
    for place, size in zip(places, x.shape or (1,) * len(places), strict=True):
        shape[place] = size
    return graph.reshaped(x, shape)


@rule("reshape", "squeeze", "expand_dims")
def _reshape(graph, equation, x, *_):
    return graph.reshaped(x, shape_of(equation.outvars[0]))


@rule("select_n", broadcasting=True)
def _select_n(graph, equation, which, if_false, if_true):
    if graph.is_false(which):  # a result that `tied` has changed for the gradient alone
        return if_false
    return graph.elementwise("Where", which, if_true, if_false)


@rule("convert_element_type", broadcasting=True)
def _convert_element_type(graph, equation, x):
    dtype = equation.outvars[0].aval.dtype
    if equation.invars[0].aval.dtype == dtype:
        return x
    return graph.elementwise("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


@rule("integer_pow", broadcasting=True)
def _integer_pow(graph, equation, x):
    exponent = equation.params["y"]
    if exponent in (2, 3):
        square = graph.elementwise("Mul", x, x)
        return square if exponent == 2 else graph.elementwise("Mul", square, x)
    return graph.elementwise("Pow", x, graph.constant(np.array(exponent, equation.outvars[0].aval.dtype)))


@rule("square", broadcasting=True)
def _square(graph, equation, x):
    return graph.elementwise("Mul", x, x)


@rule("log1p", broadcasting=True)
def _log1p(graph, equation, x):
    return graph.elementwise(
        "Log", graph.elementwise("Add", x, graph.constant(np.array(1, equation.outvars[0].aval.dtype)))
    )


@rule("expm1", broadcasting=True)
def _expm1(graph, equation, x):
    """e^x - 1 = tanh(x / 2) (e^x + 1), which loses no digits near 0."""
    half = graph.elementwise("Mul", x, graph.constant(np.array(0.5, np.float32)))
    above = graph.elementwise("Add", graph.elementwise("Exp", x), graph.constant(np.array(1, np.float32)))
    return graph.elementwise("Mul", graph.elementwise("Tanh", half), above)


@rule("rsqrt", broadcasting=True)
def _rsqrt(graph, equation, x):
    return graph.elementwise("Reciprocal", graph.elementwise("Sqrt", x))


@rule("ne", broadcasting=True)
def _ne(graph, equation, x, y):
    return graph.elementwise("Not", graph.elementwise("Equal", x, y))


@rule("rem", broadcasting=True)
def _rem(graph, equation, x, y):
    return graph.elementwise("Mod", x, y, fmod=1)


@rule("clamp", broadcasting=True)
def _clamp(graph, equation, low, x, high):
    return graph.elementwise("Min", graph.elementwise("Max", x, low), high)


@rule("is_finite", broadcasting=True)
def _is_finite(graph, equation, x):
    infinity = graph.constant(np.array(np.inf, equation.invars[0].aval.dtype))
    return graph.elementwise("Less", graph.elementwise("Abs", x), infinity)


@rule("iota")
def _iota(graph, equation, *_):
    shape, axis = shape_of(equation.outvars[0]), equation.params["dimension"]
    numbers = np.arange(shape[axis], dtype=equation.outvars[0].aval.dtype)
    return graph.constant(numbers.reshape([-1 if i == axis else 1 for i in range(len(shape))]))


@rule("transpose")
def _transpose(graph, equation, x):
    return graph.made(shape_of(equation.outvars[0]), "Transpose", x, perm=equation.params["permutation"])


@rule("concatenate")
def _concatenate(graph, equation, *xs):
    some = [x for x in xs if 0 not in x.shape]
    return graph.made(shape_of(equation.outvars[0]), "Concat", *some, axis=equation.params["dimension"])


@rule("slice")
def _slice(graph, equation, x):
    shape, params = shape_of(equation.outvars[0]), equation.params
    axes = [axis for axis, size in enumerate(x.shape) if size != shape[axis]]
    steps = params["strides"] or [1] * len(shape)
    bounds = (
        graph.integers([each[axis] for axis in axes]) for each in (params["start_indices"], params["limit_indices"])
    )
    return graph.made(shape, "Slice", x, *bounds, graph.integers(axes), graph.integers([steps[axis] for axis in axes]))


@rule("cumsum")
def _cumsum(graph, equation, x):
    axis = graph.constant(np.array(equation.params["axis"], np.int64))
    return graph.made(x.shape, "CumSum", x, axis, reverse=int(equation.params["reverse"]))


def _split(graph, equation, x):
    sizes, axis = equation.params["sizes"], equation.params["axis"]
    names = graph.add("Split", x, graph.integers(sizes), outputs=len(sizes), axis=axis)
    return [Tensor(name, shape_of(v)) for name, v in zip(names, equation.outvars, strict=True)]


RULES["split"] = _split


@rule("stack")
def _stack(graph, equation, *xs):
    shape, axis = shape_of(equation.outvars[0]), equation.params["axis"]
    each = [graph.reshaped(x, (*shape[:axis], 1, *shape[axis + 1 :])) for x in xs]
    return graph.made(shape, "Concat", *each, axis=axis)


@rule("pad")
def _pad(graph, equation, x, value):
    padding = equation.params["padding_config"]
    if not any(low or high or between for low, high, between in padding):
        return x
    if any(low < 0 or high < 0 or between for low, high, between in padding):
        raise InputError("the model uses a pad of JAX that twofold cannot write in ONNX")
    sizes = graph.integers([side for sides in list(zip(*padding, strict=True))[:2] for side in sides])
    return graph.made(shape_of(equation.outvars[0]), "Pad", x, sizes, value)


@rule("reduce_or", "reduce_and")
def _reduce_bool(graph, equation, x):
    operator = "ReduceMax" if equation.primitive.name == "reduce_or" else "ReduceMin"
    numbers = graph.elementwise("Cast", x, to=onnx.TensorProto.INT32)
    shape, axes = shape_of(equation.outvars[0]), graph.integers(equation.params["axes"])
    return graph.elementwise("Cast", graph.made(shape, operator, numbers, axes, keepdims=0), to=onnx.TensorProto.BOOL)


@rule("reduce_sum", "reduce_max", "reduce_min")
def _reduce(graph, equation, x):
    operator = "Reduce" + equation.primitive.name.removeprefix("reduce_").title()
    axes = graph.integers(equation.params["axes"])
    return graph.made(shape_of(equation.outvars[0]), operator, x, axes, keepdims=0)


@rule("dot_general")
def _dot_general(graph, equation, x, y):
    shape = shape_of(equation.outvars[0])
    (of_x, of_y), (batch_x, batch_y) = equation.params["dimension_numbers"]
    if not batch_x and tuple(of_x) == (len(x.shape) - 1,) and len(y.shape) == 2:
        if tuple(of_y) == (1,):
            y = graph.made(y.shape[::-1], "Transpose", y, perm=(1, 0))
        return graph.made(shape, "MatMul", x, y)
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    names_x = [next(letters) for _ in x.shape]
    shared = dict(zip((*batch_y, *of_y), (names_x[axis] for axis in (*batch_x, *of_x)), strict=True))
    names_y = [shared.get(axis) or next(letters) for axis in range(len(y.shape))]
    free_x = [name for axis, name in enumerate(names_x) if axis not in (*batch_x, *of_x)]
    free_y = [name for axis, name in enumerate(names_y) if axis not in shared]
    out = [names_x[axis] for axis in batch_x] + free_x + free_y
    return graph.made(shape, "Einsum", x, y, equation=f"{''.join(names_x)},{''.join(names_y)}->{''.join(out)}")


@rule("gather")
def _gather(graph, equation, x, indices):
    """Slices at given places, which are whole but for the axes of the places, where they have the size 1."""
    numbers, sizes = equation.params["dimension_numbers"], tuple(map(_size, equation.params["slice_sizes"]))
    shape, batched = shape_of(equation.outvars[0]), tuple(numbers.operand_batching_dims)
    # A slice that is whole can only begin at 0.
    places = [n for n, axis in enumerate(numbers.start_index_map) if sizes[axis] != x.shape[axis]]
    if len(places) == 1 and not numbers.collapsed_slice_dims and len(indices.shape) == 1 + len(batched):
        return _window(graph, equation, x, indices, places[0])
    places = places or [len(numbers.start_index_map) - 1]
    axes = tuple(numbers.start_index_map[n] for n in places)
    whole = all(size == (1 if axis in (*axes, *batched) else x.shape[axis]) for axis, size in enumerate(sizes))
    kept = [axis for axis in range(len(sizes)) if axis not in (*numbers.collapsed_slice_dims, *batched)]
    before = sum(axis < axes[0] for axis in kept)  # so many axes of slices come before those of the indices
    free = len(shape) - len(kept) - len(batched)
    expected = tuple(range(before)) + tuple(range(len(batched) + before + free, len(shape)))
    if not whole or tuple(numbers.offset_dims) != expected or (before and len(axes) > 1):
        raise InputError("the model uses a gather of JAX that twofold cannot write in ONNX")
    indices = graph.made((*indices.shape[:-1], len(places)), "Gather", indices, graph.integers(places), axis=-1)
    if equation.params["mode"] == jax.lax.GatherScatterMode.CLIP:
        last = np.array([x.shape[axis] - 1 for axis in axes], equation.invars[1].aval.dtype)
        indices = graph.elementwise(
            "Max", graph.elementwise("Min", indices, graph.constant(last)), graph.constant(0 * last)
        )
    if len(axes) == 1 and not batched:
        found = graph.made(shape, "Gather", x, graph.reshaped(indices, indices.shape[:-1]), axis=axes[0])
    elif batched == tuple(range(len(batched))) and axes == tuple(range(len(batched), len(batched) + len(axes))):
        indices = graph.elementwise("Cast", indices, to=onnx.TensorProto.INT64)
        found = graph.made(shape, "GatherND", x, indices, batch_dims=len(batched))
    else:
        raise InputError("the model uses a gather of JAX that twofold cannot write in ONNX")
    # Now with the axes of size 1 that slices have.
    return graph.made(shape, "Reshape", found, graph.integers(_known(shape, -1)))


def _window(graph, equation, x, indices, place):
    """A slice of several places along one axis, which begins at the same place in all sequences or in each at its own."""
    numbers, shape = equation.params["dimension_numbers"], shape_of(equation.outvars[0])
    axis, batched = numbers.start_index_map[place], len(numbers.operand_batching_dims)
    if batched and (axis, batched) != (1, 1):
        raise InputError("the model uses a gather of JAX that twofold cannot write in ONNX")
    start = graph.made((*indices.shape[:-1], 1), "Gather", indices, graph.integers([place]), axis=-1)
    start = graph.elementwise("Cast", start, to=onnx.TensorProto.INT64)
    last = graph.integers([x.shape[axis] - shape[axis]])
    start = graph.elementwise("Min", graph.elementwise("Max", start, graph.integers([0])), last)
    each = graph.elementwise("Add", start, graph.integers(range(shape[axis])))
    if not batched:
        return graph.made(shape, "Gather", x, each, axis=axis)
    each = graph.made((*each.shape, 1), "Unsqueeze", each, graph.integers([-1]))
    return graph.made(shape, "GatherND", x, each, batch_dims=1)


@rule("scatter")
def _scatter(graph, equation, x, indices, updates):
    """One slice of each sequence of a batch is replaced."""
    numbers = equation.params["dimension_numbers"]
    of_slice = numbers.inserted_window_dims, numbers.scatter_dims_to_operand_dims
    if of_slice != ((1,), (1,)) or tuple(numbers.operand_batching_dims) != (0,) or indices.shape != (BATCH, 1):
        raise InputError("the model uses a scatter of JAX that twofold cannot write in ONNX")
    first, step, axis = (graph.constant(np.array(n, np.int64)) for n in (0, 1, 1))
    rows = graph.made((BATCH,), "Range", first, graph.reshaped(graph.batch(), ()), step)
    rows = graph.made((BATCH, 1), "Unsqueeze", rows, graph.reshaped(axis, (1,)))
    indices = graph.elementwise("Cast", indices, to=onnx.TensorProto.INT64)
    return graph.made(x.shape, "ScatterND", x, graph.made((BATCH, 2), "Concat", rows, indices, axis=1), updates)


def _product(graph, equation, x, y):
    real = graph.elementwise("Sub", graph.elementwise("Mul", x.re, y.re), graph.elementwise("Mul", x.im, y.im))
    return Pair(
        real, graph.elementwise("Add", graph.elementwise("Mul", x.re, y.im), graph.elementwise("Mul", x.im, y.re))
    )


def _as_complex(graph, equation, x):
    if isinstance(x, Pair):
        return x
    zero = np.zeros((), np.finfo(equation.outvars[0].aval.dtype).dtype)
    return Pair(graph.elementwise("Cast", x, to=helper.np_dtype_to_tensor_dtype(zero.dtype)), graph.constant(zero))


COMPLEX: dict[str, Callable[..., Value]] = {
    "add": lambda graph, equation, x, y: Pair(*(graph.elementwise("Add", *parts) for parts in zip(x, y, strict=True))),
    "complex": lambda graph, equation, re, im: Pair(re, im),
    "convert_element_type": _as_complex,
    "imag": lambda graph, equation, x: x.im,
    "mul": _product,
    "ne": lambda graph, equation, x, y: graph.elementwise(
        "Or", *(RULES["ne"](graph, equation, *parts)[0] for parts in zip(x, y, strict=True))
    ),
    "real": lambda graph, equation, x: x.re,
}
"""How primitives are written that compute with complex numbers."""
