"""Every scan, in every implementation and dtype, under every transform of JAX: the equations of its docstring, in float64."""

import os
import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from twofold.scan import (
    SoftmaxState,
    causal_attention,
    gru_scan,
    implementations,
    kv_scan,
    linear_scan,
    lstm_scan,
    softmax_fold,
    softmax_scan,
)
from twofold.scan._dispatch import VARIABLE

TIME, BATCH = 70, 2  # More than a tile of the kernels, and no whole number of them.
HEADS, DIM = 2, 17  # More than a vector, and no whole number of them.


def linear(a, b, h0, **how):
    h = linear_scan(a, b, h0, **how)
    return h[-1], h


def linear_oracle(a, b, h0):
    def step(h, token):
        h = token[0] * h + token[1]
        return h, h

    last, h = lax.scan(step, h0, (a, b))
    return last, h


def softmax(scores, values, m, c, o, **how):
    return softmax_scan(scores, values, SoftmaxState.exactly(m, c, o), **how)


def softmax_oracle(scores, values, m, c, o):
    def step(carry, token):
        (m, c, a), (s, v) = carry, token
        new = jnp.maximum(m, s)
        c, a = (x * jnp.exp(m - new)[:, None] + jnp.exp(s - new)[:, None] * y for x, y in ((c, 1), (a, v)))
        return (new, c, a), a / c

    (m, c, a), out = lax.scan(step, (m, c[:, None], c[:, None] * o), (scores, values))
    return SoftmaxState.exactly(m, c[:, 0], a / c), out


def fold(values, keys, query, m, c, o, implementation):
    """Which only XLA runs."""
    return softmax_fold(query, keys, values, SoftmaxState.exactly(m, c, o), block_size=32)


def fold_oracle(values, keys, query, m, c, o):
    state, out = softmax_oracle(jnp.einsum("hk,thk->th", query, keys), values, m, c, o)
    return state, out[-1]


def kv(q, k, v, state, **how):
    return kv_scan(q, k, v, state, **how)


def kv_oracle(q, k, v, state):
    def step(state, token):
        q, k, v = token
        state = state + k[:, :, None] * v[:, None, :]
        return state, jnp.einsum("hk,hkv->hv", q, state)

    last, out = lax.scan(step, state, (q, k, v))
    return last, out


def attention(q, k, v, **how):
    """Which has no state: of the last 40 tokens, each sees 30."""
    return (), causal_attention(q[-40:], k, v, np.arange(TIME - 40, TIME) - 29, **how)


def attention_oracle(q, k, v):
    distance = np.arange(TIME - 40, TIME)[:, None] - np.arange(TIME)
    scores = jnp.einsum("thk,shk->hts", q[-40:], k) / q.shape[2] ** 0.5
    weights = jax.nn.softmax(jnp.where((distance >= 0) & (distance < 30), scores, -jnp.inf))
    return (), jnp.einsum("hts,shv->thv", weights, v)


def lstm(inputs, v, h, c, **how):
    last, out = lstm_scan(inputs, v, (h, c), **how)
    return tuple(last), out


def lstm_oracle(inputs, v, h, c):
    def step(state, x):
        h, c = state
        f, k, g, o = jnp.split(x + v @ h, 4)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(g) * jnp.tanh(k)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    last, out = lax.scan(step, (h, c), inputs)
    return last, out


def gru_before(inputs, v, h, **how):
    return gru_scan(inputs, v, h, **how)


def gru_after(inputs, v, b_n, h, **how):
    return gru_scan(inputs, v, h, b_n=b_n, **how)


def gru_oracle(inputs, v, b_n, h, after=True):
    def step(h, x):
        v_r, v_h, v_z = jnp.split(v, 3)
        x_r, x_h, x_z = jnp.split(x, 3)
        r, z = jax.nn.sigmoid(x_r + v_r @ h), jax.nn.sigmoid(x_z + v_z @ h)
        h = (1 - z) * h + z * jnp.tanh(x_h + (r * (v_h @ h + b_n) if after else v_h @ (r * h)))
        return h, h

    last, out = lax.scan(step, h, inputs)
    return last, out


REAL = ("float32", "float64")
CASES = {  # the scan; its oracle; its dtypes; the shapes of its arguments, those of tokens with time first; how many are tokens
    "linear": (linear, linear_oracle, (*REAL, "complex64", "complex128"), [(HEADS, DIM)] * 2, [(HEADS, DIM)]),
    "linear, a gate a head": (linear, linear_oracle, REAL, [(HEADS, 1), (HEADS, DIM)], [(HEADS, DIM)]),
    "softmax": (softmax, softmax_oracle, REAL, [(HEADS,), (HEADS, DIM)], [(HEADS,), (HEADS,), (HEADS, DIM)]),
    "fold": (fold, fold_oracle, REAL, [(HEADS, DIM), (HEADS, 5)], [(HEADS, 5), (HEADS,), (HEADS,), (HEADS, DIM)]),
    "kv": (kv, kv_oracle, REAL, [(HEADS, 5), (HEADS, 5), (HEADS, DIM)], [(HEADS, 5, DIM)]),
    "attention": (attention, attention_oracle, REAL, [(HEADS, 5), (HEADS, 5), (HEADS, DIM)], []),
    "lstm": (lstm, lstm_oracle, REAL, [(4 * DIM,)], [(4 * DIM, DIM), (DIM,), (DIM,)]),
    "gru": (
        gru_before,
        lambda inputs, v, h: gru_oracle(inputs, v, 0, h, after=False),
        REAL,
        [(3 * DIM,)],
        [(3 * DIM, DIM), (DIM,)],
    ),
    "gru, reset after": (gru_after, gru_oracle, REAL, [(3 * DIM,)], [(3 * DIM, DIM), (DIM,), (DIM,)]),
}

named = os.environ.get(VARIABLE, "auto") or "auto"
IMPLEMENTATIONS = [  # What a run of the tests is for, or all.
    name for name in implementations()["linear_scan"] if named in ("auto", name)
]


def two(args):
    """Another sequence and the one at hand."""
    return [jnp.stack([x / 2, x]) for x in args]


def through_shards(f, *, shared=False):
    """The second of two sequences, each on a device of its own; `shared` are all arguments but the first."""
    devices = jax.devices()[:2]
    assert len(devices) == 2
    mesh, each, same = Mesh(np.array(devices), ("batch",)), PartitionSpec("batch"), PartitionSpec()

    def run(first, *others):
        axis, spec = (None, same) if shared else (0, each)
        others = others if shared else two(others)
        batch = jax.vmap(f, (0,) + (axis,) * len(others))
        sharded = jax.shard_map(batch, mesh=mesh, in_specs=(each,) + (spec,) * len(others), out_specs=each)
        return jax.tree.map(lambda x: x[1], sharded(*two([first]), *others))

    return run


TRANSFORMS = {
    "jit": lambda f: f,
    "vmap": lambda f: lambda *args: jax.tree.map(lambda x: x[1], jax.vmap(f)(*two(args))),
    "vmap of vmap": lambda f: (
        lambda *args: jax.tree.map(
            lambda x: x[1, 1],
            jax.vmap(jax.vmap(f, (0,) + (None,) * (len(args) - 1)))(*two(two(args[:1])), *two(args[1:])),
        )
    ),
    "checkpoint": jax.checkpoint,
    "scan": lambda f: lambda *args: jax.tree.map(lambda x: x[1], lax.scan(lambda _, x: (0, f(*x)), 0, two(args))[1]),
    "shard_map": through_shards,
    "shard_map, weights and state shared": partial(through_shards, shared=True),
}


@pytest.fixture
def arguments(normal):
    def make(case, dtype):
        _, _, _, tokens, others = CASES[case]
        shapes = [(TIME, *shape) for shape in tokens] + others
        args = [normal(f"{case} {i}", *shape, dtype=dtype) for i, shape in enumerate(shapes)]
        if case.startswith("linear"):
            args[0] = args[0] / (1 + np.abs(args[0]))  # |a| < 1
        if case in ("softmax", "fold"):
            args[-2] = np.abs(args[-2]) + 1  # the normaliser
        return [(x / (DIM**0.5 if x.shape[0] in (3 * DIM, 4 * DIM) else 1)).astype(dtype) for x in args]

    return make


MATRIX = [
    (case, dtype, transform, implementation)
    for case in CASES
    for dtype in CASES[case][2]
    for transform in TRANSFORMS
    if dtype in ("float64", "complex128") or transform in ("jit", "vmap")
    for implementation in (IMPLEMENTATIONS if case != "fold" else ["xla"])
]
"""Single precision under two transforms alone: the others do not look at the dtype."""


@pytest.mark.parametrize(("case", "dtype", "transform", "implementation"), MATRIX)
def test_outputs_state_and_all_gradients(normal, assert_close, arguments, case, dtype, transform, implementation):
    """The gradients are of all arguments, the state among them, through the outputs and through the last state."""
    scan, oracle, *_ = CASES[case]
    args = arguments(case, np.dtype(dtype))

    def results(f):
        def loss(args):
            out = f(*args)
            pulls = [normal(f"pull {i}", *x.shape, dtype=x.dtype) for i, x in enumerate(jax.tree.leaves(out))]
            return sum(jnp.sum(p * x).real for p, x in zip(pulls, jax.tree.leaves(out), strict=True)), out

        return jax.jit(jax.grad(loss, has_aux=True))

    actual = results(TRANSFORMS[transform](partial(scan, implementation=implementation)))(args)
    in_double = [x.astype(np.result_type(x, np.float64)) for x in args]
    assert_close(actual, _of_oracle(case, results(oracle), in_double), rtol=None if "64" in dtype[-3:] else 2e-5)
    assert {x.dtype.name for x in jax.tree.leaves(actual)} == {dtype}


@pytest.mark.parametrize("case", ["linear", "softmax", "kv", "lstm", "gru", "gru, reset after"])
@pytest.mark.parametrize("implementation", IMPLEMENTATIONS)
def test_resets_on_every_device(normal, assert_close, arguments, implementation, case):
    """The packed sequences of two devices, and all gradients, are those of one device."""
    resets, args = np.arange(TIME) % 30 == 12, arguments(case, np.dtype("float64"))
    scan = partial(CASES[case][0], implementation=implementation, resets=resets)

    def results(f):
        def loss(args):
            out = f(*args)
            return sum(jnp.vdot(x, x) for x in jax.tree.leaves(out)), out

        return jax.jit(jax.grad(loss, has_aux=True))

    assert_close(results(through_shards(scan))(args), results(scan)(args))


_FOUND: dict = {}


def _of_oracle(case, results, args):
    """Compiled once for all implementations and transforms."""
    key = case, args[0].dtype.name, tuple(float(np.abs(x).sum()) for x in args)
    if key not in _FOUND:
        _FOUND[key] = results(args)
    return _FOUND[key]


@pytest.mark.skipif("native" not in IMPLEMENTATIONS, reason="of the kernels")
def test_threads_change_nothing():
    """Enough numbers for eight threads: all of them share one sequence, or each has some of the sequences of a batch."""
    program = """
import jax, jax.numpy as jnp, numpy as np
from twofold.scan import causal_attention, kv_scan, linear_scan, softmax_scan
key = jax.random.split(jax.random.key(0), 4)
shape = 3, 2100, 4, 32
pulls = jax.random.normal(key[3], shape, jnp.complex64)
def both(f, *args):
    def results(name):
        def run(*args):
            out, back = jax.vjp(jax.vmap(lambda *args: f(*args, name)), *args)
            pull = pulls[:len(out), :, :out.shape[2]]
            return out, back(pull if jnp.iscomplexobj(out) else pull.real)
        return jax.jit(run)
    native, expected = results("native"), results("xla")(*args)
    for batch in (1, 3):
        for x, y in zip(*map(jax.tree.leaves, (native(*(x[:batch] for x in args)), expected)), strict=True):
            error = np.max(np.abs(x - y[:batch]))
            assert error <= 1e-4 * np.max(np.abs(y)), (f, batch, error)
a = jax.random.uniform(key[0], shape[:3] + (1,), minval=0.5)
scores, values = 3 * jax.random.normal(key[1], shape[:3]), jax.random.normal(key[2], shape)
resets = jnp.arange(2100) % 700 == 350
both(lambda a, b, name: linear_scan(a, b, implementation=name), a, values)
full = jnp.broadcast_to(a, shape)
both(lambda a, b, name: linear_scan(a, b, reverse=True, resets=resets, implementation=name), full, values)
z = (0.9 * jnp.exp(1j * full)).astype(jnp.complex64), values * (1 + 0.5j)
both(lambda a, b, name: linear_scan(a, b, implementation=name), *z)
both(lambda b, c, name: linear_scan(full[0, 0], b + c, implementation=name), values, values)
both(lambda s, v, name: softmax_scan(s, v, implementation=name)[1], scores, values)
both(lambda s, v, name: softmax_scan(s, v, resets=resets, implementation=name)[1], scores, values)
both(lambda q, v, name: kv_scan(q, q, v, implementation=name)[1], values / 32, values)
both(lambda q, v, name: causal_attention(q, v, v, implementation=name), values[:, :, :1], values[:, :, :1])
"""
    subprocess.run([sys.executable, "-c", program], env=os.environ | {"NPROC": "8"}, check=True)


@pytest.mark.skipif("native" not in IMPLEMENTATIONS, reason="of the kernels")
@pytest.mark.parametrize("threads", [1, 8])
def test_nan_and_inf_reach_later_tokens_however_many_threads(threads):
    """Where the product of decays underflows or overflows within a thread's part, and past no reset."""
    program = """
from functools import partial
import jax, jax.numpy as jnp, numpy as np
from twofold.scan import linear_scan, softmax_scan
def comparing(f):
    @partial(jax.jit, static_argnames="name")
    def run(x, values, name):
        out, back = jax.vjp(lambda values: f(x, values, implementation=name), values)
        return out, back(jnp.ones_like(out).at[1500, 2, 3].set(jnp.nan))
    def same(x, values):
        for found, expected in zip(*(jax.tree.leaves(run(x, values, name)) for name in ("native", "xla")), strict=True):
            np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
            np.testing.assert_array_equal(np.isinf(found), np.isinf(expected))
    return same
time, heads, dim = 4200, 4, 32
key = jax.random.split(jax.random.key(0), 2)
values = jax.random.normal(key[0], (time, heads, dim)).at[3, 1, 1].set(jnp.nan).at[5, 1, 2].set(jnp.inf)
resets = jnp.arange(time) == 3000
whole, packed, backward = (comparing(partial(linear_scan, **how)) for how in ({}, {"resets": resets}, {"reverse": True}))
for decay in (1e-3, 0.5, 1.0):
    a = jnp.full((time, heads, 1), decay)
    whole(a, values)
    packed(a, values)
    backward(a, values[::-1])
whole(jnp.full((time, heads, 1), 1.0).at[100:110].set(1e10), jnp.zeros((time, heads, dim)))
rising = jnp.linspace(0, 1e4, time)[:, None] * jnp.ones(heads)
for how in ({}, {"resets": resets}):
    same = comparing(lambda scores, values, how=how, **named: softmax_scan(scores, values, **how, **named)[1])
    same(0 * rising, values)
    same(rising, values)
"""
    subprocess.run([sys.executable, "-c", program], env=os.environ | {"NPROC": str(threads)}, check=True)


@pytest.mark.skipif("native" not in IMPLEMENTATIONS, reason="of the kernels")
@pytest.mark.parametrize(("named", "runs"), [("x86-64", True), ("x86-64-v3", True), ("x86-64-v10", False)])
def test_an_instruction_set_is_one_of_those_known(named, runs):
    program = "from twofold.scan import implementations; implementations()"
    environment = os.environ | {"TWOFOLD_INSTRUCTION_SET": named}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == runs
    assert runs or f"TWOFOLD_INSTRUCTION_SET is '{named}'" in done.stderr
