"""twofold's scans against what JAX offers for the same recurrences, side by side in one process.

    python benchmarks/scans.py [--quick] [--only kv] [--json FILE]

Timed are each operation's forward pass alone, forward and gradient together (that of a random-weighted sum of the
output with respect to all inputs), and compilation. The contestants take turns. A ratio is the median over rounds of a
contestant's time over twofold's in the same round: what slows the machine down for longer than that cancels out. A
contestant whose result differs from twofold's is reported, not timed.
"""

import datetime
import itertools
import json
import math
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import jax
import jax.numpy as jnp
import jaxlib
import tyro
from jax import Array, lax
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from twofold.scan import kv_scan, linear_scan, softmax_scan

# glibc hands every buffer over 32 MiB back to the system and faults its pages in again at the next call; large shapes
# would measure that instead of the scans.
KEEP_MEMORY = "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184"
SHAPES = [(64, 128, 8, 32), (16, 1024, 8, 64), (1, 16384, 8, 64)]  # (batch, time, heads, dim)
STUDENT, LRU = (64, 32, 1, 100), (32, 1024, 1, 128)
QUICK = 2**21  # Numbers in the largest input of a --quick run.
LIMIT = 2**28  # Numbers in the largest array of any contestant: 1 GiB of float32.
TOLERANCE = 1e-4  # Of an array's largest entry.
SECONDS = 2.0  # What a comparison takes turns for; at least five rounds.


def linear_loop(a, b):
    def step(h, token):
        a_t, b_t = token
        h = (a if a_t is None else a_t) * h + b_t
        return h, h

    return lax.scan(step, jnp.zeros_like(b[0]), (a if a.ndim == b.ndim else None, b))[1]


def linear_associative(a, b):
    def compose(first, second):
        return first[0] * second[0], second[0] * first[1] + second[1]

    return lax.associative_scan(compose, (jnp.broadcast_to(a, b.shape), b))[1]


def softmax_loop(scores, values):
    def step(carry, token):
        (m, c, o), (s, v) = carry, token
        largest = jnp.maximum(m, s)
        kept, weight = c * jnp.exp(m - largest), jnp.exp(s - largest)
        c = kept + weight
        o = (kept / c)[:, None] * o + (weight / c)[:, None] * v
        return (largest, c, o), o

    empty = jnp.full_like(scores[0], -1e30), jnp.zeros_like(scores[0]), jnp.zeros_like(values[0])
    return lax.scan(step, empty, (scores, values))[1]


def softmax_associative(scores, values):
    def merge(first, second):
        (m1, u1, w1), (m2, u2, w2) = first, second
        m = jnp.maximum(m1, m2)
        x1, x2 = jnp.exp(m1 - m), jnp.exp(m2 - m)
        return m, u1 * x1 + u2 * x2, w1 * x1[..., None] + w2 * x2[..., None]

    _, u, w = lax.associative_scan(merge, (scores, jnp.ones_like(scores), values))
    return w / u[..., None]


def kv_loop(q, k, v):
    def step(state, token):
        q, k, v = token
        state = state + k[:, :, None] * v[:, None, :]
        return state, jnp.einsum("hkv,hk->hv", state, q)

    return lax.scan(step, jnp.zeros((*k.shape[1:], v.shape[2]), v.dtype), (q, k, v))[1]


def kv_associative(q, k, v):
    states = lax.associative_scan(jnp.add, k[..., :, None] * v[..., None, :])
    return jnp.einsum("thkv,thk->thv", states, q)


def kv_quadratic(q, k, v):
    scores = jnp.tril(jnp.einsum("thk,shk->hts", q, k))
    return jnp.einsum("hts,shv->thv", scores, v)


class Contestant(NamedTuple):
    operation: str
    name: str
    function: Callable[..., Array]
    largest: Callable[[int, int, int, int], int] = lambda batch, time, heads, dim: 0
    """Numbers in its largest array, where that is more than the inputs and the loop's residuals."""


CONTESTANTS = [  # the first of each operation is what the others are compared with
    Contestant("linear", "twofold", linear_scan),
    Contestant("linear", "lax.scan", linear_loop),
    Contestant("linear", "associative_scan", linear_associative),
    Contestant("softmax", "twofold", lambda scores, values: softmax_scan(scores, values)[0]),
    Contestant("softmax", "lax.scan", softmax_loop),
    Contestant("softmax", "associative_scan", softmax_associative),
    Contestant("kv", "twofold", lambda q, k, v: kv_scan(q, k, v)[0]),
    Contestant("kv", "lax.scan", kv_loop),
    Contestant("kv", "masked (Q K^T) V", kv_quadratic, lambda n, t, h, d: n * h * t * t),
    Contestant("kv", "associative_scan", kv_associative, lambda n, t, h, d: n * h * t * d * d),
]


def linear_inputs(dtype, constant=False):
    def inputs(key, shape):
        keys = jax.random.split(key, 3)
        decays = shape[2:] if constant else shape
        a = jax.random.uniform(keys[0], decays, minval=0.5).astype(dtype)
        if jnp.iscomplexobj(a):
            a = a * jnp.exp(1j * jax.random.uniform(keys[1], decays, maxval=jnp.pi))
        return a, jax.random.normal(keys[2], shape, dtype)

    return inputs


def softmax_inputs(key, shape):
    return 3 * jax.random.normal(key, shape[:3]), jax.random.normal(jax.random.fold_in(key, 1), shape)


def kv_inputs(key, shape):
    q, k, v = jax.random.normal(key, (3, *shape))
    return q / shape[-1] ** 0.5, k, v


CASES = [  # (operation, variant, random inputs of a (batch, time, heads, dim), such shapes)
    ("linear", "float32", linear_inputs(jnp.float32), SHAPES),
    ("linear", "complex64", linear_inputs(jnp.complex64), SHAPES),
    ("linear", "float32, constant a", linear_inputs(jnp.float32, constant=True), [STUDENT, LRU]),
    ("linear", "complex64, constant a", linear_inputs(jnp.complex64, constant=True), [STUDENT, LRU]),
    ("softmax", "float32", softmax_inputs, SHAPES),
    ("kv", "float32", kv_inputs, SHAPES),
]


def passes(function: Callable, inputs: tuple) -> dict[str, Callable]:
    """What is timed, on batches; an input without a batch axis is shared."""
    batched = jax.vmap(function, [0 if x.ndim > 2 else None for x in inputs])

    def gradient(weights, *inputs):
        out, pull_back = jax.vjp(batched, *inputs)
        return out, pull_back(weights)

    return {"forward": lambda weights, *inputs: batched(*inputs), "gradient": gradient}


def difference(result, reference) -> float:
    """The largest difference in any array, relative to its largest entry; NaN if there is a NaN."""
    errors = jax.tree.map(lambda x, y: jnp.max(jnp.abs(x - y)) / jnp.max(jnp.abs(y)), result, reference)
    return float(jnp.max(jnp.array(jax.tree.leaves(errors))))


def seconds(function: Callable, *arguments) -> float:
    start = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - start


def compare(contestants: list[Contestant], which: str, arguments: tuple, advance: Callable) -> dict[str, dict]:
    """The figures of each contestant, by name, for one pass of one case."""
    figures, runs, reference = {}, {}, None
    for _, name, function, _ in contestants:
        start = time.perf_counter()
        run = jax.jit(passes(function, arguments[1:])[which]).lower(*arguments).compile()
        figures[name] = {"compile_s": time.perf_counter() - start}
        result = jax.block_until_ready(run(*arguments))
        reference = result if reference is None else reference
        figures[name]["difference"] = difference(result, reference)
        if figures[name]["difference"] <= TOLERANCE:
            runs[name] = run
        del result
        advance()
    del reference
    names, rounds, start = list(runs), [], time.perf_counter()
    while names and (len(rounds) < 5 or (time.perf_counter() - start < SECONDS and len(rounds) < 200)):
        first = len(rounds) % len(names)
        rounds.append({name: seconds(runs[name], *arguments) for name in names[first:] + names[:first]})
    for name in names:
        figures[name]["ms"] = 1e3 * statistics.median(turn[name] for turn in rounds)
        figures[name]["ratio"] = statistics.median(turn[name] / turn[names[0]] for turn in rounds)
        figures[name]["rounds"] = len(rounds)
    return figures


def cells(figures: dict) -> list[str]:
    """Milliseconds, ratio and compilation as the table shows them; a ratio below 1 stands out."""
    if "ms" not in figures:
        return ["[red]differs", f"[red]by {figures['difference']:.0e}", f"{figures['compile_s']:.2f}"]
    colour = "[bold red]" if figures["ratio"] < 0.95 else ""
    return [f"{figures['ms']:.2f}", f"{colour}{figures['ratio']:.2f}", f"{figures['compile_s']:.2f}"]


def main(
    quick: bool = False,
    only: Literal["linear", "softmax", "kv"] | None = None,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Compare twofold's scans with what JAX offers for the same recurrences.

    Args:
        quick: Small shapes only.
        only: One operation; all if not given.
        json_file: Where to write the figures.
    """
    keep_memory()
    cases = [
        (operation, variant, inputs, shape, [c for c in CONTESTANTS if c.operation == operation])
        for operation, variant, inputs, shapes in CASES
        for shape in shapes
        if only in (None, operation) and (not quick or math.prod(shape) <= QUICK)
    ]
    about, records = machine(), []
    table = Table("", "contestant", caption=", ".join(f"{key} {value}" for key, value in about.items()))
    for heading in ("forward, ms", "ratio", "compile, s", "with gradient, ms", "ratio", "compile, s"):
        table.add_column(heading, justify="right")
    console = Console(width=None if sys.stdout.isatty() else 120)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=2 * sum(c.largest(*shape) <= LIMIT for *_, shape, cs in cases for c in cs))
        for operation, variant, inputs, shape, contestants in cases:
            progress.update(task, description=f"{operation} {variant} {shape}")
            arrays = inputs(jax.random.key(0), shape)
            arguments = jax.random.normal(jax.random.key(1), shape, arrays[-1].dtype), *arrays
            fitting = [c for c in contestants if c.largest(*shape) <= LIMIT]
            forward, gradient = (
                compare(fitting, which, arguments, lambda: progress.advance(task)) for which in ("forward", "gradient")
            )
            labels = [f"{operation}, {variant}", str(shape)]
            for label, (_, name, _, _) in itertools.zip_longest(labels, contestants, fillvalue=""):
                row = [*cells(forward[name]), *cells(gradient[name])] if name in forward else ["does not fit"]
                table.add_row(label, name, *row)
            for name in forward:
                record = {"operation": operation, "variant": variant, "shape": shape, "contestant": name}
                records.append(record | {"forward": forward[name], "gradient": gradient[name]})
            table.add_section()
    console.print(table)
    if json_file is not None:
        json_file.write_text(json.dumps({"about": about, "figures": records}, indent=1) + "\n")


def keep_memory() -> None:
    """Start this process anew with `KEEP_MEMORY`, which glibc reads only at the start."""
    given = os.environ.get("GLIBC_TUNABLES", "")
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc" and KEEP_MEMORY not in given:
        environment = os.environ | {"GLIBC_TUNABLES": f"{given}:{KEEP_MEMORY}".strip(":")}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def machine() -> dict[str, str]:
    """What the figures depend on."""
    info = Path("/proc/cpuinfo")
    model = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return {
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "python": platform.python_version(),
        "cpu": model[1] if model else platform.processor(),
        "cores": str(os.cpu_count()),
        "device": jax.devices()[0].device_kind,
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
    }


if __name__ == "__main__":
    tyro.cli(main)
