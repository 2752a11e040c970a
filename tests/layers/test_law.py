"""The law of every layer: `step`, `prefill`, splits, resets and batches are views of one causal function."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from jax import lax

from twofold import convert, layers, models
from twofold.deploy import export_onnx
from twofold.deploy.blocks import BLOCK
from twofold.layers import (
    GRU,
    LRU,
    LSTM,
    MIXERS,
    Aaren,
    Block,
    CausalSelfAttention,
    Chunked,
    GatedRNN,
    Layer,
    LinearSelfAttention,
    MinGRU,
    MinLSTM,
    Rescaled,
    RunningMean,
    Stack,
)
from twofold.models import (
    BareModel,
    ChannelIndependent,
    EventModel,
    Forecaster,
    Policy,
    SequenceModel,
    TimedEvents,
    policy_features,
)
from twofold.saving import named_leaves

TIME, PART = 6, 3  # Tokens of a sequence, and of the parts that it is prefilled in.


def gated_rnn_of_extremes(key):
    """Its lambdas are 0 and 1, as those of converted attention."""
    rnn = GatedRNN(3, 2, hidden_size=4, gate_size=3, key=key)
    gates = rnn.w_in_m, rnn.w_in_x, rnn.w_out_m, rnn.w_out_x, rnn.readout
    return GatedRNN.from_weights(np.array([0.0, 1.0, 0.0, 1.0]), *gates)


def stack(key):
    above = CausalSelfAttention(4, 2, num_heads=2, capacity=4, key=key)
    return Stack([LinearSelfAttention(3, 4, key=key), RunningMean(4), above])


def rescaled(key):
    inner = Stack([LinearSelfAttention(3, 4, key=key), Aaren(4, 2, num_heads=2, key=key)])
    scales = {"in_mean": np.arange(3.0), "in_scale": np.array([0.5, 1.0, 2.0]), "out_mean": np.arange(2.0)}
    return Rescaled(inner, **scales, out_scale=3.0)


TARGETS = {
    "LRU out": partial(convert.to_lru, gating="out"),
    "LRU in-out": partial(convert.to_lru, gating="in-out"),
    "LRU in-skip": partial(convert.to_lru, gating="in-skip"),
    "LSTM": convert.to_lstm,
    "GRU": partial(convert.to_gru, tokens=16),
}


def converted(target, key):
    """Of attention, at a scale that cancels few digits."""
    return TARGETS[target](LinearSelfAttention(2, 2, num_heads=2, key_size=1, key=key), scale=1.0)


def model(mixer, predicts, reads, key):
    options = MIXERS[mixer].taken(num_heads=2)
    return SequenceModel(
        5, 2, width=4, depth=1, mixer=mixer, predicts=predicts, reads=reads, feed_forward_size=3, key=key, **options
    )


def forecaster(season, patch, key, memory=4.0):
    """Of series 0 and 2 of three, and one covariate."""
    mixer = SequenceModel(3 * patch + 1, 4, width=4, depth=1, num_heads=2, feed_forward_size=3, key=key)
    sizes = {"variates": 3, "targets": (2, 0), "horizon": 2}
    layer = Forecaster(mixer, **sizes, patch=patch, season=season, memory=memory)
    return eqx.tree_at(lambda l: l.seasonality, layer, jnp.array([-1.0, 0.5]))


def channel_independent(key):
    """Two features of each of two channels, and a covariate."""
    inner = SequenceModel(3, 2, width=4, depth=1, num_heads=2, feed_forward_size=3, key=key)
    return ChannelIndependent(inner, channels=2, covariates=1)


def policy(mixer, split, key):
    """Of two features of the observation and two of the action, whose bounds differ."""
    options = MIXERS[mixer].taken(num_heads=2, capacity=3 if split else 2)
    sizes = {"width": 4, "depth": 1, "feed_forward_size": 3}
    inner = SequenceModel(policy_features(2, 2, split), 2, mixer=mixer, **sizes, key=key, **options)
    scales = {"mean": np.array([1.0, 0.0, -1.0]), "scale": np.array([2.0, 1.0, 0.5])}
    return Policy(inner, **scales, low=np.array([-1.0, -3.0]), high=np.array([1.0, 2.0]), split=split)


MAKE: dict[str, Callable[..., Layer]] = {
    "LinearSelfAttention": lambda key: LinearSelfAttention(3, 2, key_size=4, key=key),
    "LinearSelfAttention, heads": lambda key: LinearSelfAttention(4, 3, num_heads=2, key=key),
    "GatedRNN": lambda key: GatedRNN(3, 2, hidden_size=5, gate_size=4, key=key),
    "GatedRNN, lambda 0 and 1": gated_rnn_of_extremes,
    "GatedRNN, dense": lambda key: GatedRNN(3, 2, hidden_size=5, gate_size=4, recurrence="dense", key=key),
    "LRU, out": lambda key: LRU(3, 2, hidden_size=4, key=key),
    "LRU, in-out": lambda key: LRU(3, 2, hidden_size=4, gating="in-out", key=key),
    "LRU, in-skip": lambda key: LRU(3, 2, hidden_size=4, gating="in-skip", key=key),
    "LSTM": lambda key: LSTM(3, 2, key=key),
    "GRU": lambda key: GRU(3, 2, key=key),
    "GRU, reset after": lambda key: GRU(3, 2, reset_after=True, key=key),
    "MinGRU": lambda key: MinGRU(3, 2, key=key),
    "MinLSTM": lambda key: MinLSTM(3, 2, key=key),
    "Aaren": lambda key: Aaren(3, 4, num_heads=2, key=key),
    "Aaren, decay": lambda key: Aaren(3, 4, num_heads=2, decay=True, key=key),
    "CausalSelfAttention": lambda key: CausalSelfAttention(3, 4, num_heads=2, capacity=16, key=key),
    "CausalSelfAttention, window of 2": lambda key: CausalSelfAttention(3, 4, num_heads=2, capacity=2, key=key),
    "CausalSelfAttention, window of 4": lambda key: CausalSelfAttention(3, 2, capacity=4, key=key),
    "CausalSelfAttention, rotary": lambda key: CausalSelfAttention(3, 4, capacity=16, rotary=True, key=key),
    "CausalSelfAttention, rotary, window of 4": lambda key: CausalSelfAttention(
        3, 8, num_heads=2, capacity=4, rotary=True, key=key
    ),
    "RunningMean": lambda key: RunningMean(3),
    "Rescaled": rescaled,
    **{f"Chunked, {n}": lambda key, n=n: Chunked(Aaren(3, 4, num_heads=2, key=key), chunk=n) for n in (2, 4, 9)},
    "Chunked, attention": lambda key: Chunked(CausalSelfAttention(3, 4, capacity=3, key=key), chunk=2),
    "EventModel": lambda key: EventModel(Aaren(7, 8, num_heads=2, key=key), marks=2, periods=(2.0, 5.0)),
    "TimedEvents": lambda key: TimedEvents(EventModel(Aaren(7, 8, num_heads=2, key=key), marks=2, periods=(2.0, 5.0))),
    "Forecaster, season above patch": partial(forecaster, 5, 2),
    "Forecaster, season below patch": partial(forecaster, 1, 3),
    "Forecaster, infinite memory": partial(forecaster, 2, 1, memory=float("inf")),
    **{
        ", ".join(["Policy", mixer, *["split"] * split]): partial(policy, mixer, split)
        for mixer, split in [("aaren", False), ("aaren", True), ("softmax-attention", True), ("gru", False)]
    },
    "ChannelIndependent": channel_independent,
    "Block": lambda key: Block(Aaren(4, 4, num_heads=2, key=key), feed_forward_size=3, key=key),
    "Stack": stack,
    "BareModel": lambda key: BareModel(3, 2, width=4, depth=2, mixer="lru", gating="in-out", key=key),
    **{
        ", ".join(["SequenceModel", *how]): partial(model, *how)
        for how in [("aaren", "sequence", "marks"), *((m, "step", "features") for m in ("softmax-attention", "lru"))]
    },
    **{f"Converted, {target}": partial(converted, target) for target in TARGETS},
}
"""Layers by class, and by what sets them apart within it."""

DOUBLE = [(name, "float64") for name in MAKE] if jax.config.jax_enable_x64 else []
SINGLE = [(name, "float32") for name in MAKE]
in_double = pytest.mark.parametrize("case", DOUBLE, indirect=True, ids=", ".join)
in_single = pytest.mark.parametrize("case", SINGLE, indirect=True, ids=", ".join)
in_both_precisions = pytest.mark.parametrize("case", DOUBLE + SINGLE, indirect=True, ids=", ".join)
in_one_precision = pytest.mark.parametrize("case", DOUBLE or SINGLE, indirect=True, ids=", ".join)
"""In float64. With --plain in float32, which is half of the time: every run of all tests has both."""


def prefill(layer, state, xs, resets=None):
    return layer.prefill(state, xs, resets=resets)


def step(layer, state, x):
    return layer.step(state, x)


class Case(NamedTuple):
    """A layer, and all that its laws are stated with."""

    layer: Layer
    dtype: str
    fresh: object
    """The state before the first token."""
    before: np.ndarray
    """Some tokens."""
    state: object
    """The state after them."""
    xs: np.ndarray
    """Tokens to take in from there."""
    others: np.ndarray
    """As many others, none of them equal."""
    step: Callable
    """Compiled; an error if it is compiled twice."""

    @property
    def rtol(self):
        """A conversion answers with differences of larger numbers, which in float32 have fewer digits left."""
        return 3e-5 if self.dtype == "float32" and isinstance(self.layer, convert.Converted) else None

    def fold(self, state, xs, resets=()):
        """Token by token, from a fresh state at resets."""
        ys = []
        for t, x in enumerate(xs):
            state, y = self.step(self.layer, self.fresh if t in resets else state, x)
            ys.append(y)
        return state, np.stack(ys)

    def spoiled(self, where):
        """The layer, and the tokens with those `where` made NaN: for marks, NaN is what the layer reads in mark 0."""
        if self.xs.ndim == 2:
            return self.layer, np.where(np.array(where)[:, None], np.nan, self.xs)
        embedding = self.layer.encoder.weight
        layer = eqx.tree_at(lambda l: l.encoder.weight, self.layer, embedding.at[0].set(jnp.nan))
        return layer, np.where(where, 0, self.xs)


run = jax.jit(prefill)


@pytest.fixture(scope="module")
def case(request, normal):
    name, dtype = request.param

    def tokens(name, time):
        numbers = normal(name, time, layer.in_size, dtype=dtype)
        return 1 + numbers[:, 1:].argmax(1) if marks else numbers  # Mark 0 is kept for `spoiled`.

    with jax.enable_x64(dtype == "float64"):  # A float32 layer stays one where float64 is on.
        layer = MAKE[name](key=jax.random.key(0))
    assert type(layer).__name__ == name.split(", ")[0]
    marks = getattr(layer, "reads", "features") == "marks"
    fresh = layer.init_state()
    before = tokens("before", PART)
    state, _ = run(layer, fresh, before)
    count = eqx.debug.assert_max_traces(step, max_traces=1)
    xs = tokens("tokens", TIME)
    others = 1 + xs % (layer.in_size - 1) if marks else tokens("others", TIME)
    return Case(layer, dtype, fresh, before, state, xs, others, jax.jit(count))


def test_every_exported_layer_is_under_the_law():
    everything = vars(layers) | vars(models)
    exported = {name for name, x in everything.items() if isinstance(x, type) and issubclass(x, Layer)}
    assert {name.split(", ")[0] for name in MAKE} == (exported | {"Converted"}) - {"Layer"}


@in_one_precision
def test_folding_step_equals_prefill(case, assert_close):
    for state in (case.fresh, case.state):
        last, ys = run(case.layer, state, case.xs)
        assert_close((last, ys), case.fold(state, case.xs), case.rtol)
        assert ys.shape == (TIME, case.layer.out_size)


@in_both_precisions
def test_states_and_outputs_have_the_dtype_of_the_layer(case):
    """Whatever float64 is on for, and whatever the dtype of the tokens: states keep their structure, shapes and dtypes."""
    last, ys = run(case.layer, case.fresh, case.before)
    stepped, y = case.step(case.layer, case.fresh, case.xs[0])
    assert ys.dtype == y.dtype == case.dtype
    real = [x.dtype for x in jax.tree.leaves((case.layer, case.fresh)) if eqx.is_inexact_array(x)]
    assert set(map(str, real)) == {case.dtype}
    for state in (last, stepped):
        assert jax.tree.structure(state) == jax.tree.structure(case.fresh)
        kinds = [[(x.shape, x.dtype) for x in jax.tree.leaves(tree)] for tree in (state, case.fresh)]
        assert kinds[0] == kinds[1]


@in_single
def test_the_graph_in_onnx_is_the_step(case, assert_close, tmp_path):
    """For a batch of two sequences: the outputs, and each array of the state."""
    file = tmp_path / "layer.onnx"
    export_onnx(case.layer, file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = [f"state{name}" for name in named_leaves(case.fresh)]
    feeds = {name: np.stack([x, x]) for name, x in zip(names, jax.tree.leaves(case.fresh), strict=True)}
    kind = np.float32 if case.xs.ndim == 2 else np.int32
    ys = []
    for pair in zip(case.xs, case.others, strict=True):
        *leaves, y = session.run(None, feeds | {"x": np.asarray(pair, kind)})
        feeds = dict(zip(names, leaves, strict=True))
        ys.append(y)
    for i, tokens in enumerate((case.xs, case.others)):
        state = jax.tree.unflatten(jax.tree.structure(case.fresh), [x[i] for x in feeds.values()])
        assert_close((state, np.stack(ys)[:, i]), case.fold(case.fresh, tokens), case.rtol)


IN_SUITE = "LRU, in-skip", "LSTM", "Stack"


@pytest.mark.parametrize(
    "case",
    [pytest.param(each, marks=() if each[0] in IN_SUITE else pytest.mark.long) for each in SINGLE],
    indirect=True,
    ids=", ".join,
)
def test_the_graph_of_sequences_in_onnx_is_the_prefill(case, assert_close, tmp_path):
    """For a batch of two sequences, from two states: a block of tokens in parallel, and some more. The step goes on."""
    kind = np.float32 if case.xs.ndim == 2 else np.int32
    batch = np.resize(np.stack([case.xs, case.others], 1), (BLOCK + TIME, 2, *case.xs.shape[1:])).astype(kind)
    names = [f"state{name}" for name in named_leaves(case.fresh)]
    leaves = [np.stack(pair) for pair in zip(*map(jax.tree.leaves, (case.state, case.fresh)), strict=True)]
    ys = []
    for name, tokens in [("xs", batch[:-PART]), *(("x", x) for x in batch[-PART:])]:
        file = tmp_path / f"{name}.onnx"
        if not file.exists():
            export_onnx(case.layer, file, prefill=name == "xs")
        session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
        *leaves, y = session.run(None, dict(zip(names, leaves, strict=True)) | {name: tokens})
        ys.append(y if name == "xs" else y[None])
    structure = jax.tree.structure(case.fresh)
    for i, state in enumerate((case.state, case.fresh)):
        last = jax.tree.unflatten(structure, [x[i] for x in leaves])
        rtol = case.rtol and 1e-4  # a conversion loses digits with every token
        assert_close((last, np.concatenate(ys)[:, i]), run(case.layer, state, batch[:, i]), rtol)


@in_double
def test_step_is_compiled_once(case):
    """`case.step` fails if it is traced twice: for any token, after `init_state`, `step` and `prefill` alike."""
    for state in (case.fresh, case.state, run(case.layer, case.fresh, case.xs, np.arange(TIME) == 2)[0]):
        case.fold(state, case.xs)


@in_one_precision
def test_split_anywhere_equals_whole(case, assert_close):
    """Into two prefills, and into steps, a prefill, and steps again."""
    whole = run(case.layer, case.state, case.xs)
    for cut in (0, PART, TIME):
        between, early = run(case.layer, case.state, case.xs[:cut])
        last, late = run(case.layer, between, case.xs[cut:])
        assert_close((last, np.concatenate([early, late])), whole, case.rtol)
    for start in range(1, TIME - PART):
        end = start + PART
        state, early = case.fold(case.state, case.xs[:start])
        state, middle = run(case.layer, state, case.xs[start:end])
        last, late = case.fold(state, case.xs[end:])
        assert_close((last, np.concatenate([early, middle, late])), whole, case.rtol)


@in_one_precision
def test_reset_is_a_fresh_state(case, assert_close):
    for resets in [(), (0,), (1,), (5,), (0, 3), (2, 3, 5), range(TIME)]:
        actual = run(case.layer, case.state, case.xs, np.isin(np.arange(TIME), resets))
        assert_close(actual, case.fold(case.state, case.xs, resets), case.rtol)


@in_double
def test_no_nan_passes_a_reset(case, assert_close):
    """From a state that is all NaN, and from NaN tokens."""
    bad_state = jax.tree.map(lambda x: x * jnp.nan if eqx.is_inexact_array(x) else x, case.state)
    fresh = run(case.layer, case.fresh, case.xs)
    assert_close(run(case.layer, bad_state, case.xs, np.arange(TIME) == 0), fresh)
    layer, xs = case.spoiled(np.arange(TIME) < PART)
    last, ys = run(layer, bad_state, xs, np.arange(TIME) == PART)
    assert np.all(np.isnan(ys[:PART]))
    assert_close((last, ys[PART:]), run(case.layer, case.fresh, case.xs[PART:]))


@in_double
def test_future_does_not_change_the_past(case, assert_close):
    _, ys = run(case.layer, case.state, case.xs)
    for now in range(TIME):
        _, other = run(case.layer, case.state, np.concatenate([case.xs[:now], case.others[now:]]))
        assert_close(other[:now], ys[:now])
        assert np.any(other[now:] != ys[now:])


@in_double
def test_nan_in_the_future_does_not_change_the_past(case, assert_close):
    """With `resets` given, as `kv_scan` has it."""
    layer, xs = case.spoiled(np.arange(TIME) >= PART)
    _, ys = run(layer, case.state, xs, np.zeros(TIME, bool))
    assert_close(ys[:PART], run(case.layer, case.state, case.xs)[1][:PART])
    assert np.all(np.isnan(ys[PART:]))


@in_double
def test_batch_equals_its_sequences(case, assert_close):
    sequences = [
        (case.state, case.xs, np.arange(TIME) == 2),
        (case.fresh, case.others, np.zeros(TIME, bool)),
        (case.state, case.others, np.arange(TIME) % 4 == 0),
    ]
    batch = jax.tree.map(lambda *x: jnp.stack(x), *sequences)
    together = jax.jit(jax.vmap(prefill, in_axes=(None, 0, 0, 0)))(case.layer, *batch)
    for i, sequence in enumerate(sequences):
        assert_close(jax.tree.map(lambda x, i=i: x[i], together), run(case.layer, *sequence))


@in_double
def test_gradients_are_those_of_folding_step(case, normal, assert_close):
    """Of all parameters, through the outputs and the last state; and finite."""

    def folded(layer, state, xs):
        return lax.scan(partial(step, layer), state, xs)

    def gradients(face):
        def loss(layer):
            results = [x for x in jax.tree.leaves(face(layer, case.fresh, case.xs)) if eqx.is_inexact_array(x)]
            return sum(jnp.sum(normal(f"pull {i}", *x.shape) * x) for i, x in enumerate(results))

        return jax.jit(jax.grad(loss))(case.layer)

    actual = gradients(prefill)
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(actual))
    assert_close(actual, gradients(folded), rtol=1e-10)
