"""The scans of `twofold.scan`, beside the same recurrences in plain JAX, memax and PyTorch."""

import math
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, lax

from twofold.scan import causal_attention, kv_scan, linear_scan, softmax_scan

from .contestants import Case, Contestant, Task, normal, present, weighted_sum, with_jax

HEADS = [(64, 128, 8, 32), (16, 1024, 8, 64), (1, 16384, 8, 64)]  # (batch, time, heads, dim)
ATTENTION = [(16, 256, 4, 32), (4, 2048, 4, 32), (1, 16384, 4, 32)]
WIDTHS = [(16, 1024, 512)]  # (batch, time, width)
LONG, LRU, STUDENT = (1, 16384, 256), (32, 1024, 128), (64, 32, 100)
QUICK_HEADS, QUICK_WIDTH = [(8, 64, 4, 32)], (8, 64, 128)
LOOPED = 2**14  # A Python loop gets at most this many tokens.


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


def kv_loop(q, k, v):
    def step(state, token):
        q, k, v = token
        state = state + k[:, :, None] * v[:, None, :]
        return state, jnp.einsum("hkv,hk->hv", state, q)

    return lax.scan(step, jnp.zeros((*k.shape[1:], v.shape[2]), v.dtype), (q, k, v))[1]


def kv_quadratic(q, k, v):
    scores = jnp.tril(jnp.einsum("thk,shk->hts", q, k))
    return jnp.einsum("hts,shv->thv", scores, v)


def attention_quadratic(q, k, v):
    scores = jnp.einsum("thk,shk->hts", q, k) / q.shape[2] ** 0.5
    weights = jax.nn.softmax(jnp.where(jnp.tri(len(q), dtype=bool), scores, -jnp.inf))
    return jnp.einsum("hts,shv->thv", weights, v)


def softmax_case(shape: tuple[int, int, int, int], *, compiled: bool = True) -> Case:
    """The case of `softmax_scan`. `compiled` says whether torch.compile takes part."""

    def twofold(implementation):
        return lambda scores, values: softmax_scan(scores, values, implementation=implementation)[1]

    def task():
        scores, values, random = normal(shape[:3], shape, shape)
        return Task({"scores": 3 * scores, "values": values}, (), weighted_sum, random)

    functions = {"lax.scan": softmax_loop, "associative_scan": softmax_associative}
    contestants, xla = _jax_contestants(twofold, functions)
    if present("torch"):
        from . import torch_peers as torch

        contestants += torch.both("cumsum", torch.softmax_cumsum, compiled=compiled)
    return Case("softmax scan", "float32", shape, task, contestants, {"twofold": xla})


def linear_case(shape: tuple[int, int, int], dtype, *, constant: bool = False, compiled: bool = True) -> Case:
    _, time, width = shape
    complex_numbers = jnp.issubdtype(dtype, jnp.complexfloating)

    def twofold(implementation):
        return partial(linear_scan, implementation=implementation)

    def task():
        rng, decays = np.random.default_rng(0), (width,) if constant else shape
        a = rng.uniform(0.5, 1, decays)
        if complex_numbers:
            a = a * np.exp(1j * rng.uniform(0, np.pi, decays))
        b, random = normal(shape, shape, dtype=dtype)
        return Task({"a": jnp.asarray(a, dtype), "b": b}, (), weighted_sum, random)

    functions: dict[str, Callable] = {"lax.scan": linear_loop, "associative_scan": linear_associative}
    if present("memax") and complex_numbers:  # memax has complex numbers alone.
        from . import memax_peers as memax

        functions["memax, semigroup_scan"] = memax.linear_scan
    contestants, xla = _jax_contestants(twofold, functions, shared=("a",) if constant else ())
    if present("torch"):
        from . import torch_peers as torch

        kept = 3 * math.prod(shape) * math.ceil(math.log2(time))
        if time <= LOOPED:
            contestants += [torch.plain("loop", torch.linear_loop)]
        compiled = compiled and not complex_numbers  # torch.compile does not compile complex numbers.
        contestants += torch.both("doubling", torch.linear_doubling, compiled=compiled, keeps=kept)
    variant = f"{jnp.dtype(dtype)}, {'constant' if constant else 'changing'} decay"
    return Case("linear scan", variant, shape, task, contestants, {"twofold": xla})


def kv_case(shape: tuple[int, int, int, int], *, compiled: bool = True) -> Case:
    batch, time, heads, dim = shape

    def twofold(implementation):
        return lambda q, k, v: kv_scan(q, k, v, implementation=implementation)[1]

    def task():
        q, k, v, random = normal(shape, shape, shape, shape)
        return Task({"q": q / dim**0.5, "k": k, "v": v}, (), weighted_sum, random)

    functions = {"lax.scan": kv_loop, "masked (Q K^T) V": kv_quadratic}
    keeps = {"lax.scan": batch * time * heads * dim**2, "masked (Q K^T) V": batch * heads * time**2}
    contestants, xla = _jax_contestants(twofold, functions, keeps=keeps)
    if present("torch"):
        from . import torch_peers as torch

        contestants += torch.both("chunks", torch.kv_chunks, compiled=compiled)
    # For each token and head: the products k v^T and S^T q, and twice as many backwards.
    flops = 2 * 2 * batch * time * heads * dim**2
    return Case("kv scan", "float32", shape, task, contestants, {"twofold": xla}, (flops, 3 * flops))


def attention_case(shape: tuple[int, int, int, int]) -> Case:
    batch, time, heads, dim = shape

    def twofold(implementation):
        return partial(causal_attention, implementation=implementation)

    def task():
        q, k, v, random = normal(shape, shape, shape, shape)
        return Task({"q": q, "k": k, "v": v}, (), weighted_sum, random)

    functions = {"all scores": attention_quadratic}
    contestants, xla = _jax_contestants(twofold, functions, keeps={"all scores": batch * heads * time**2})
    if present("torch"):
        from . import torch_peers as torch

        contestants += [torch.plain("scaled_dot_product_attention", torch.attention)]
    # For each query and each key that it sees: the score and the weighted value, and five products of this size backwards.
    flops = 2 * 2 * batch * heads * dim * time * (time + 1) // 2
    return Case("causal attention", "float32", shape, task, contestants, {"twofold": xla}, (flops, 3.5 * flops))


def _jax_contestants(
    twofold: Callable[[str], Callable],
    functions: dict[str, Callable],
    *,
    shared: tuple[str, ...] = (),
    keeps: dict[str, int] | None = None,
) -> tuple[list[Contestant], Contestant]:
    """All contestants in JAX, and then again twofold with XLA alone, which is the reference.

    `twofold` makes the function for an implementation. Like the `functions`, it takes one sequence. `shared` names the
    parameters without a batch axis.
    """

    def batched(function):
        def run(parameters: dict[str, Array]):
            axes = {name: None if name in shared else 0 for name in parameters}
            return jax.vmap(lambda parameters: function(**parameters), (axes,))(parameters)

        return run

    xla = Contestant("twofold, XLA", batched(twofold("xla")), with_jax)
    others = [Contestant(name, batched(f), with_jax, keeps=(keeps or {}).get(name, 0)) for name, f in functions.items()]
    return [Contestant("twofold", batched(twofold("auto")), with_jax), xla, *others], xla


def softmax_cases(quick: bool) -> list[Case]:
    return [softmax_case(shape, compiled=not quick) for shape in (QUICK_HEADS if quick else HEADS)]


def linear_cases(quick: bool) -> list[Case]:
    if quick:
        return [linear_case(QUICK_WIDTH, jnp.complex64)]
    return [
        *(linear_case(shape, dtype) for dtype in (jnp.float32, jnp.complex64) for shape in WIDTHS),
        *(linear_case(LONG, jnp.complex64, constant=constant) for constant in (False, True)),
        linear_case(LRU, jnp.complex64, constant=True),
        linear_case(STUDENT, jnp.float32, constant=True),
    ]


def kv_cases(quick: bool) -> list[Case]:
    return [kv_case(shape, compiled=not quick) for shape in (QUICK_HEADS if quick else HEADS)]


def attention_cases(quick: bool) -> list[Case]:
    return [attention_case(shape) for shape in (QUICK_HEADS if quick else ATTENTION)]
