"""twofold's LSTM and GRU against those of Equinox and Flax, side by side in one process.

    python benchmarks/recurrent.py [--quick] [--only gru] [--json FILE]

Timed as in scans.py: forward alone, and forward with the gradient of a random-weighted sum of the outputs in weights
and inputs. All have the same weights, and must agree on outputs and gradients. twofold's default GRU resets before the
product, which the others have not: it is timed beside them, and compared with itself.
"""

import itertools
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import tyro
from jax import Array, lax
from rich.console import Console
from rich.table import Table
from scans import SECONDS, TOLERANCE, cells, difference, keep_memory, machine, seconds

from twofold.layers import GRU, LSTM

try:
    from flax import nnx
except ImportError:
    sys.exit("this benchmark needs Flax: pip install -e '.[bench]'")

SHAPES = [(32, 128, 128), (64, 32, 64), (1, 1024, 128), (16, 1024, 64)]  # (batch, time, width)
QUICK = 2**18  # Numbers in the inputs of a --quick run.


class Contestant(NamedTuple):
    operation: str
    name: str
    parameters: Callable[[dict], Any]
    """From twofold's weights to its own."""
    function: Callable[[Any, Array], Array]
    """From its parameters and `(batch, time, width)` to the outputs."""
    weights: Callable[[Any], dict]
    """Back from its parameters, or their gradient, to twofold's."""
    reference: str = "twofold"
    """Whose results its own must equal."""


def reorder(weight: Array, order: tuple[int, ...], signs: tuple[int, ...], axis: int = 0) -> Array:
    """The gates of a weight in another order, with these signs."""
    parts = jnp.split(weight, len(order), axis)
    return jnp.concatenate([sign * parts[i] for i, sign in zip(order, signs, strict=True)], axis)


def lstm_order(weight, axis=0):
    """f, c~, g, o to Equinox's order, which calls them f, g, i, o: i, f, g, o."""
    return reorder(weight, (2, 0, 1, 3), (1, 1, 1, 1), axis)


def lstm_order_back(weight):
    return reorder(weight, (1, 2, 0, 3), (1, 1, 1, 1))


def gru_order(weight):
    """r, h~, z to the order r, 1 - z, h~ of Equinox and Flax; and back: it is its own inverse."""
    return reorder(weight, (0, 2, 1), (1, -1, 1))


def gru_order_back(weight):
    return reorder(weight, (0, 2, 1), (1, 1, -1))


def twofold_layer(layer, xs):
    return jax.vmap(layer)(xs)


def twofold_weights(layer):
    return {name: weight for name, weight in vars(layer).items() if weight is not None}


def equinox_lstm(weights):
    cell = eqx.nn.LSTMCell(weights["u"].shape[1], weights["v"].shape[1], key=jax.random.key(0))
    moved = [lstm_order(weights[name]) for name in "uvb"]
    return eqx.tree_at(lambda l: (l.weight_ih, l.weight_hh, l.bias), cell, moved)


def equinox_lstm_scan(cell, xs):
    def one(xs):
        def step(state, x):
            h, c = cell(x, state)
            return (h, c), h

        return lax.scan(step, (jnp.zeros(cell.hidden_size), jnp.zeros(cell.hidden_size)), xs)[1]

    return jax.vmap(one)(xs)


def equinox_lstm_weights(cell):
    moved = map(lstm_order_back, (cell.weight_ih, cell.weight_hh, cell.bias))
    return dict(zip("uvb", moved, strict=True))


def equinox_gru(weights):
    cell = eqx.nn.GRUCell(weights["u"].shape[1], weights["v"].shape[1], key=jax.random.key(0))
    moved = [gru_order(weights[name]) for name in "uvb"]
    return eqx.tree_at(lambda l: (l.weight_ih, l.weight_hh, l.bias, l.bias_n), cell, [*moved, weights["b_n"]])


def equinox_gru_scan(cell, xs):
    def one(xs):
        def step(h, x):
            h = cell(x, h)
            return h, h

        return lax.scan(step, jnp.zeros(cell.hidden_size), xs)[1]

    return jax.vmap(one)(xs)


def equinox_gru_weights(cell):
    moved = map(gru_order_back, (cell.weight_ih, cell.weight_hh, cell.bias))
    return dict(zip("uvb", moved, strict=True)) | {"b_n": cell.bias_n}


GATES = "i", "f", "g", "o"


def flax_lstm(weights):
    parts = {name: jnp.split(lstm_order(weights[name]), 4) for name in "uvb"}
    each = zip(GATES, parts["u"], parts["v"], parts["b"], strict=True)
    return {gate: {"u": u.T, "v": v.T, "b": b} for gate, u, v, b in each}


def flax_lstm_run(parameters, xs):
    size = len(parameters["i"]["b"])
    cell = nnx.LSTMCell(xs.shape[2], size, rngs=nnx.Rngs(0))
    for gate, weights in parameters.items():
        of_x, of_h = getattr(cell, "if_" if gate == "f" else f"i{gate}"), getattr(cell, f"h{gate}")
        of_x.kernel, of_h.kernel, of_h.bias = (nnx.Param(weights[name]) for name in "uvb")
    zero = jnp.zeros((len(xs), size))
    return nnx.RNN(cell)(xs, initial_carry=(zero, zero))


def flax_lstm_weights(parameters):
    joined = {name: jnp.concatenate([parameters[gate][name].T for gate in GATES]) for name in "uvb"}
    return {name: lstm_order_back(weight) for name, weight in joined.items()}


def flax_gru(weights):
    """Flax's has no b_n: all have a zero, and Flax no gradient for it."""
    return {"u": gru_order(weights["u"]).T, "v": gru_order(weights["v"]).T, "b": gru_order(weights["b"])}


def flax_gru_run(parameters, xs):
    size = len(parameters["v"])
    cell = nnx.GRUCell(xs.shape[2], size, rngs=nnx.Rngs(0))
    cell.dense_i.kernel, cell.dense_h.kernel, cell.dense_i.bias = (nnx.Param(parameters[name]) for name in "uvb")
    return nnx.RNN(cell)(xs, initial_carry=jnp.zeros((len(xs), size)))


def flax_gru_weights(parameters):
    return {name: gru_order_back(parameters[name].T) for name in "uvb"}


CONTESTANTS = [  # the first of each operation is what the others' times are compared with
    Contestant("lstm", "twofold", lambda w: LSTM.from_weights(**w), twofold_layer, twofold_weights),
    Contestant("lstm", "equinox", equinox_lstm, equinox_lstm_scan, equinox_lstm_weights),
    Contestant("lstm", "flax", flax_lstm, flax_lstm_run, flax_lstm_weights),
    Contestant("gru", "twofold", lambda w: GRU.from_weights(**w), twofold_layer, twofold_weights),
    Contestant("gru", "equinox", equinox_gru, equinox_gru_scan, equinox_gru_weights),
    Contestant("gru", "flax", flax_gru, flax_gru_run, flax_gru_weights),
    Contestant(
        "gru",
        "twofold, reset before",
        lambda w: GRU.from_weights(w["u"], w["v"], w["b"]),
        twofold_layer,
        twofold_weights,
        reference="twofold, reset before",
    ),
]


def random_weights(operation: str, width: int) -> dict[str, Array]:
    gates = {"lstm": 4, "gru": 3}[operation]
    shapes = {"u": (gates * width, width), "v": (gates * width, width), "b": (gates * width,)}
    keys = jax.random.split(jax.random.key(0), 3)
    limit = width**-0.5
    each = zip(shapes.items(), keys, strict=True)
    weights = {name: jax.random.uniform(key, shape, minval=-limit, maxval=limit) for (name, shape), key in each}
    return weights | ({"b_n": jnp.zeros(width)} if operation == "gru" else {})


def compare(contestants: list[Contestant], which: str, shape: tuple[int, int, int]) -> dict[str, dict]:
    """The figures of each contestant, by name, for one pass at one shape."""
    figures, runs, results = {}, {}, {}
    weights = random_weights(contestants[0].operation, shape[2])
    pull, xs = jax.random.normal(jax.random.key(1), (2, *shape))
    for contestant in contestants:
        function = contestant.function

        def gradient(parameters, xs, function=function):
            out, pull_back = jax.vjp(function, parameters, xs)
            return out, *pull_back(pull)

        arguments = contestant.parameters(weights), xs
        start = time.perf_counter()
        run = jax.jit(function if which == "forward" else gradient).lower(*arguments).compile()
        name, compiled = contestant.name, time.perf_counter() - start
        result = run(*arguments)
        if which == "gradient":
            out, of_parameters, of_xs = result
            result = {"out": out, "xs": of_xs} | contestant.weights(of_parameters)
        else:
            result = {"out": result}
        results[name] = result
        reference = results[contestant.reference]
        # Flax's GRU has no b_n.
        figures[name] = {"compile_s": compiled, "difference": difference(result, {k: reference[k] for k in result})}
        if figures[name]["difference"] <= TOLERANCE:
            runs[name] = run, arguments
    del results
    names, rounds, start = list(runs), [], time.perf_counter()
    while names and (len(rounds) < 5 or (time.perf_counter() - start < 2 * SECONDS and len(rounds) < 200)):
        first = len(rounds) % len(names)
        rounds.append({name: seconds(runs[name][0], *runs[name][1]) for name in names[first:] + names[:first]})
    for name in names:
        figures[name]["ms"] = 1e3 * statistics.median(turn[name] for turn in rounds)
        figures[name]["ratio"] = statistics.median(turn[name] / turn[names[0]] for turn in rounds)
        figures[name]["rounds"] = len(rounds)
    return figures


def main(
    quick: bool = False,
    only: Literal["lstm", "gru"] | None = None,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Compare twofold's LSTM and GRU with those of Equinox and Flax.

    Args:
        quick: Small shapes only.
        only: One layer; both if not given.
        json_file: Where to write the figures.
    """
    keep_memory()
    about, records = machine(), []
    table = Table("", "contestant", caption=", ".join(f"{key} {value}" for key, value in about.items()))
    for heading in ("forward, ms", "ratio", "compile, s", "with gradient, ms", "ratio", "compile, s"):
        table.add_column(heading, justify="right")
    for operation, shape in itertools.product(("lstm", "gru"), SHAPES):
        if only not in (None, operation) or (quick and math.prod(shape) > QUICK):
            continue
        contestants = [c for c in CONTESTANTS if c.operation == operation]
        forward, gradient = (compare(contestants, which, shape) for which in ("forward", "gradient"))
        labels = [operation, str(shape)]
        for label, name in itertools.zip_longest(labels, forward, fillvalue=""):
            table.add_row(label, name, *cells(forward[name]), *cells(gradient[name]))
            record = {"operation": operation, "shape": shape, "contestant": name}
            records.append(record | {"forward": forward[name], "gradient": gradient[name]})
        table.add_section()
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    if json_file is not None:
        json_file.write_text(json.dumps({"about": about, "figures": records}, indent=1) + "\n")


if __name__ == "__main__":
    tyro.cli(main)
