"""Time spread over the devices of a mesh: the outputs, states and gradients are those of one device."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export
from jax.sharding import Mesh, PartitionSpec

from twofold import InputError
from twofold.layers import MIXERS, Block, GatedRNN, RunningMean, Stack
from twofold.layers.mixers import mixer_named
from twofold.models import EventModel, Forecaster, SequenceModel
from twofold.papers.attention_as_rnn.scale import spread_scan
from twofold.scan import SoftmaxState, linear_scan

SPREAD = ("aaren", "aaren-decay", "linear-attention", "gated-rnn", "lru")
ALIKE = ("min-gru", "min-lstm")  # the scan of the gated RNN, with other numbers

pytestmark = pytest.mark.skipif(len(jax.devices()) < 8, reason="needs 8 devices, which --plain does not have")


def mesh(devices):
    return Mesh(np.array(jax.devices()[:devices]), ("time",))


def made(name, dtype, size=4):
    mixer = mixer_named(name)
    return mixer.make(size, size, key=jax.random.key(0), dtype=dtype, **mixer.taken(num_heads=2, capacity=8))


def block(dtype):
    keys = jax.random.split(jax.random.key(0), 3)
    mixers = made("aaren", dtype), made("lru", dtype)
    return Stack([Block(mixer, feed_forward_size=8, key=key) for mixer, key in zip(mixers, keys, strict=False)])


def events(dtype):
    inner = GatedRNN(7, 8, hidden_size=4, gate_size=3, key=jax.random.key(0), dtype=dtype)
    return EventModel(inner, marks=2, periods=(2.0, 5.0))


LAYERS = {name: lambda dtype, name=name: made(name, dtype) for name in (*SPREAD, *ALIKE)} | {
    "running mean": lambda dtype: RunningMean(4, dtype=dtype),
    "a stack of blocks": block,
    "a model of events": events,
}


def spread(devices, layer, state, xs, resets):
    """`prefill` with time over the devices. Padding at the end makes the parts equal, and its outputs are dropped."""
    padding = -len(xs) % devices
    xs, resets = jnp.pad(xs, [(0, padding), (0, 0)]), jnp.pad(resets, (0, padding))
    parts, same = PartitionSpec("time"), PartitionSpec()
    run = jax.shard_map(
        lambda layer, state, xs, resets: layer.prefill(state, xs, resets=resets),
        mesh=mesh(devices),
        in_specs=(same, same, parts, parts),
        out_specs=(same, parts),
    )
    state, ys = run(layer, state, xs, resets)
    return (state if padding == 0 else None), ys[: len(ys) - padding]


def seen(state):
    """What a state says, without what depends on the order of sums alone: a maximum that is attained twice, and the rests."""

    def said(x):
        if not isinstance(x, SoftmaxState):
            return x
        m, c, o, *_ = x.rounded()
        return m + jnp.log(c), o

    return jax.tree.map(said, state, is_leaf=lambda x: isinstance(x, SoftmaxState))


CASES = [(8, "float32", 13), (4, "float64", 16), (2, "float64", 13)]
HOW_MANY = {"a model of events": 2, **dict.fromkeys(("a stack of blocks", "running mean", "aaren-decay", *ALIKE), 1)}
"""How many of the cases a layer has, if not all: what it is made of has them all."""


@pytest.mark.parametrize(
    ("name", "devices", "dtype", "length"),
    [(name, *case) for name in LAYERS for case in CASES[: HOW_MANY.get(name)]],
)
def test_spread_over_devices_is_the_same(name, devices, dtype, length, normal, assert_close):
    layer = LAYERS[name](dtype)
    before, xs = (
        jnp.asarray(normal(name, n, layer.in_size, dtype=dtype)) for name, n in (("before", 5), ("xs", length))
    )
    args = layer, layer.prefill(layer.init_state(), before)[0], xs
    resets = np.isin(np.arange(length), [6, 9] if devices != 4 else [])

    def all_of(run):
        """The results, and their slopes down the layer, the state and the tokens."""

        def weighed(args):
            state, ys = run(*args, resets)
            results = (seen(state) if length % devices == 0 else None), ys
            leaves = jax.tree.leaves(results)
            return sum(jnp.sum(x * normal(f"weight {i}", *x.shape)) for i, x in enumerate(leaves)), results

        return jax.jit(jax.grad(weighed, has_aux=True))(args)

    slopes, results = all_of(partial(spread, devices))
    expected_slopes, expected = all_of(lambda layer, state, xs, resets: layer.prefill(state, xs, resets=resets))
    jax.tree.map(assert_close, results, expected)
    scale = max(float(jnp.max(jnp.abs(x))) for x in jax.tree.leaves(expected_slopes))
    for x, y in zip(*map(jax.tree.leaves, (slopes, expected_slopes)), strict=True):
        np.testing.assert_allclose(x, y, atol=(1e-5 if dtype == "float32" else 1e-13) * scale)


@pytest.mark.parametrize("devices", [2, 8])
def test_backward_scans_are_spread_too(devices, normal, assert_close):
    a, b, h0 = normal("a", 16, 3), normal("b", 16, 3), normal("h0", 3)
    parts, same = PartitionSpec("time"), PartitionSpec()
    for decay, spec in ((a, parts), (a[0], same)):
        run = jax.shard_map(
            lambda a, b, h0: linear_scan(a, b, h0, reverse=True, axis_name="time"),
            mesh=mesh(devices),
            in_specs=(spec, parts, same),
            out_specs=parts,
        )
        assert_close(jax.jit(run)(decay, b, h0), linear_scan(decay, b, h0, reverse=True))


@pytest.mark.parametrize("name", SPREAD)
def test_nothing_passes_a_reset(name):
    """Not even NaN, from one device to the next."""
    layer, resets = made(name, "float32"), np.arange(16) == 9
    xs = jnp.ones((16, 4)).at[2].set(jnp.nan)
    _, ys = jax.jit(partial(spread, 8))(layer, layer.init_state(), xs, resets)
    assert np.all(np.isnan(ys[2:9]))
    assert np.all(np.isfinite(ys[9:]))


def collective_bytes(compiled):
    """How many bytes the results of the collectives of a program have."""
    sizes = {"pred": 1, "f32": 4, "c64": 8}
    results = re.findall(r" = (.*?) (?:all-\w+|reduce-scatter|collective-permute)(?:-start)?\(", compiled.as_text())
    shapes = [shape for result in results for shape in re.findall(r"(\w+)\[([\d,]*)\]", result)]
    return sum(sizes[kind] * int(np.prod([int(n) for n in size.split(",") if n])) for kind, size in shapes)


@pytest.mark.parametrize(
    ("name", "devices"),
    [*((name, 8) for name in SPREAD), ("aaren", 4), ("lru", 2)],
)
def test_bytes_moved_do_not_depend_on_the_length(name, devices):
    layer = made(name, "float32")

    def step(layer, xs):
        ys = spread(devices, layer, layer.init_state(), xs, jnp.zeros(len(xs), bool))[1]
        return jnp.sum(ys**2)

    def moved(length):
        return collective_bytes(jax.jit(jax.grad(step)).lower(layer, jnp.ones((length, 4))).compile())

    state = sum(x.nbytes for x in jax.tree.leaves(layer.init_state()))
    weights = sum(x.nbytes for x in jax.tree.leaves(layer))
    assert moved(64) == moved(1024)
    assert weights < moved(64) < weights + 100 * state
    # The model of docs/guides/scale.md: the state, and the flag of a reset. What is counted has the results of collectives,
    # in which a gather has the device's own summary too.
    modelled = spread_scan(devices, state + 1).bytes_sent
    assert 0.6 * modelled < moved(64) - weights < 1.3 * modelled


@pytest.mark.parametrize("name", [name for name in MIXERS if name not in (*SPREAD, *ALIKE)])
def test_the_others_say_why_not(name):
    with pytest.raises(InputError, match="cannot be computed with time spread over devices: each"):
        spread(2, made(name, "float32"), made(name, "float32").init_state(), jnp.ones((4, 4)), jnp.zeros(4, bool))


def test_a_dense_recurrence_says_why_not():
    layer = GatedRNN(2, 2, recurrence="dense", key=jax.random.key(0))
    with pytest.raises(InputError, match="dense recurrence cannot"):
        spread(2, layer, layer.init_state(), jnp.ones((4, 2)), jnp.zeros(4, bool))


def test_a_forecaster_says_why_not():
    inner = SequenceModel(2, 1, width=4, depth=1, num_heads=2, key=jax.random.key(0))
    layer = Forecaster(inner, variates=1, targets=(0,), horizon=1, patch=2, season=1, memory=4.0)
    with pytest.raises(InputError, match="a forecaster cannot"):
        spread(2, layer, layer.init_state(), jnp.ones((4, 1)), jnp.zeros(4, bool))


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
@pytest.mark.parametrize("name", SPREAD)
def test_it_is_lowered_for_accelerators(name, platform):
    layer = made(name, "float32")
    run = jax.jit(lambda xs: spread(2, layer, layer.init_state(), xs, jnp.zeros(len(xs), bool))[1])
    lowered = export.export(run, platforms=[platform])(jax.ShapeDtypeStruct((16, 4), jnp.float32))
    assert "twofold" not in lowered.mlir_module().split("loc(")[0]
