"""Input that a layer cannot use is an `InputError` that names the bad value."""

import re
from functools import cache, partial

import jax
import numpy as np
import pytest

from twofold.errors import InputError
from twofold.layers import (
    GRU,
    LRU,
    LSTM,
    MIXERS,
    Aaren,
    Block,
    CausalSelfAttention,
    GatedRNN,
    LinearSelfAttention,
    MinGRU,
    MinLSTM,
    Rescaled,
    RunningMean,
    Stack,
)
from twofold.models import BareModel, ChannelIndependent, EventModel, Forecaster, SequenceModel

pytestmark = pytest.mark.usefixtures("unchecked")

KEY = jax.random.key(0)


def forecaster(size, **changes):
    """Of `size` series, of which the first is forecast."""
    sizes = {"variates": size, "targets": (0,), "horizon": 2, "patch": 1, "season": 2, "memory": 4.0}
    return Forecaster(SequenceModel(size, 2, width=4, depth=1, key=KEY), **sizes | changes)


MAKE = {  # A layer of a given size.
    "LinearSelfAttention": lambda size: LinearSelfAttention(size, size, key=KEY),
    "GatedRNN": lambda size: GatedRNN(size, size, hidden_size=size, key=KEY),
    "GatedRNN, dense": lambda size: GatedRNN(size, size, hidden_size=size, recurrence="dense", key=KEY),
    "LRU": lambda size: LRU(size, size, gating="in-out", key=KEY),
    "LSTM": lambda size: LSTM(size, size, key=KEY),
    "GRU": lambda size: GRU(size, size, key=KEY),
    "GRU, reset after": lambda size: GRU(size, size, reset_after=True, key=KEY),
    "MinGRU": lambda size: MinGRU(size, size, key=KEY),
    "MinLSTM": lambda size: MinLSTM(size, size, key=KEY),
    "Aaren": lambda size: Aaren(size, size, key=KEY),
    "CausalSelfAttention": lambda size: CausalSelfAttention(size, size, capacity=4, key=KEY),
    "RunningMean": RunningMean,
    "Rescaled": lambda size: Rescaled(RunningMean(size)),
    "Forecaster": forecaster,
    "Block": lambda size: Block(Aaren(size, size, key=KEY), feed_forward_size=2, key=KEY),
    "Stack": lambda size: Stack([RunningMean(size), RunningMean(size)]),
    "SequenceModel": lambda size: SequenceModel(size, 2, width=size, depth=1, key=KEY),
    "BareModel": lambda size: BareModel(size, 2, width=size, mixer="gru", key=KEY),
}
every_layer = pytest.mark.parametrize("make", [cache(make) for make in MAKE.values()], ids=MAKE)


def error(*named):
    """The expected error, whose message names all of these."""
    return pytest.raises(InputError, match="".join(f"(?=.*{re.escape(n)})" for n in named))


@every_layer
@pytest.mark.parametrize("shape", [(5, 2), (5,), (1, 5, 3), ()], ids=str)
def test_tokens_of_other_features_are_named(make, shape):
    with error("3 features", str(shape)):
        make(3)(np.zeros(shape))


@every_layer
@pytest.mark.parametrize("shape", [(2,), (1, 3), ()], ids=str)
def test_token_of_other_features_is_named(make, shape):
    layer = make(3)
    with error("3 features", str((1, *shape))):
        layer.step(layer.init_state(), np.zeros(shape))


@every_layer
@pytest.mark.parametrize("shape", [(4,), (6,), (5, 1), ()], ids=str)
def test_resets_of_another_shape_are_named(make, shape):
    with error("resets", str(shape)):
        make(3)(np.zeros((5, 3)), resets=np.zeros(shape, bool))


@every_layer
@pytest.mark.parametrize("face", ["prefill", "step"])
def test_state_of_a_larger_layer_is_refused(make, face):
    layer, state = make(3), make(4).init_state()
    with error("4"):
        getattr(layer, face)(state, np.zeros((5, 3) if face == "prefill" else 3))


def test_cache_of_another_capacity_is_refused():
    small, large = (CausalSelfAttention(3, 3, capacity=c, key=KEY) for c in (4, 8))
    with error("8"):
        small.prefill(large.init_state(), np.zeros((5, 3)))


@pytest.mark.parametrize(
    ("construct", "named"),
    {
        "heads of Aaren": (lambda: Aaren(3, 4, num_heads=3, key=KEY), ["out_size", "4", "num_heads = 3"]),
        "no heads": (lambda: Aaren(3, 4, num_heads=0, key=KEY), ["num_heads is 0"]),
        "heads of softmax attention": (lambda: CausalSelfAttention(3, 4, num_heads=3, key=KEY), ["4", "num_heads = 3"]),
        "rotary heads": (
            lambda: CausalSelfAttention(3, 6, num_heads=2, rotary=True, key=KEY),
            ["out_size 6 and num_heads 2", "heads of size 3", "even size"],
        ),
        "heads of linear attention": (
            lambda: LinearSelfAttention(5, 4, num_heads=2, key=KEY),
            ["in_size", "5", "num_heads = 2"],
        ),
        "capacity": (lambda: CausalSelfAttention(3, 4, capacity=0, key=KEY), ["capacity is 0"]),
        "recurrence": (lambda: GatedRNN(3, 2, recurrence="full", key=KEY), ["'full'", "'diagonal' or 'dense'"]),
        "block": (lambda: Block(Aaren(3, 4, key=KEY), key=KEY), ["3 to 4"]),
        "stack": (lambda: Stack([Aaren(3, 4, key=KEY), RunningMean(5)]), ["out_size 4", "in_size 5"]),
        "empty stack": (lambda: Stack([]), ["at least one layer"]),
        "mixer": (
            lambda: SequenceModel(3, 2, mixer="mamba", key=KEY),
            [
                "'mamba'",
                "aaren, aaren-decay, gated-rnn, gru, linear-attention, lru, lstm, min-gru, min-lstm, softmax-attention",
            ],
        ),
        "reads": (lambda: SequenceModel(3, 2, reads="words", key=KEY), ["'words'", "'features' or 'marks'"]),
        "predicts": (lambda: SequenceModel(3, 2, predicts="all", key=KEY), ["'all'", "'step' or 'sequence'"]),
        "heads of a model": (lambda: SequenceModel(3, 2, width=4, num_heads=3, key=KEY), ["4", "num_heads = 3"]),
    }.values(),
)
def test_impossible_layers_are_refused(construct, named):
    with error(*named):
        construct()


@pytest.mark.parametrize(
    ("v", "k", "q"),
    [
        ((2, 3), (2, 3), (4, 3)),
        ((2, 3), (2, 4), (2, 4)),
        ((2, 3), (1, 2, 3), (1, 2, 3)),
        ((1, 2, 3), (2, 2, 3), (2, 2, 3)),
        ((3,), (3,), (3,)),
        ((), (), ()),
    ],
)
def test_attention_weights_that_do_not_fit_are_named(v, k, q):
    with error(f"{v}, {k}, {q}"):
        LinearSelfAttention.from_weights(np.zeros(v), np.zeros(k), np.zeros(q))


GATED_RNN = {"lam": (5,), "w_in_m": (5, 4), "w_in_x": (5, 4), "w_out_m": (6, 5), "w_out_x": (6, 5), "readout": (2, 6)}


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        *[("lam", shape) for shape in [(), (4,), (5, 4), (4, 5), (5, 5, 5)]],
        *[("w_in_m", shape) for shape in [(), (5,), (4, 4), (5, 3)]],
        *[("w_in_x", shape) for shape in [(), (5,), (4, 4), (5, 3)]],
        *[("w_out_m", shape) for shape in [(), (5,), (6, 4), (5, 5)]],
        *[("w_out_x", shape) for shape in [(), (5,), (6, 4), (5, 5)]],
        *[("readout", shape) for shape in [(), (6,), (2, 5), (1, 2, 6)]],
    ],
)
def test_rnn_weights_that_do_not_fit_are_named(name, shape):
    shapes = {**GATED_RNN, name: shape}
    with error(", ".join(map(str, shapes.values()))):
        GatedRNN.from_weights(**{name: np.zeros(shape) for name, shape in shapes.items()})


@pytest.mark.parametrize("bad", [-0.25, 1.5, np.nan, np.inf])
def test_lambda_outside_0_to_1_is_named(bad):
    weights = {name: np.zeros(shape) for name, shape in GATED_RNN.items()}
    weights["lam"][3] = bad
    with error(f"lambda contains {bad}", "[0, 1]"):
        GatedRNN.from_weights(**weights)


@pytest.mark.parametrize("xs", [np.zeros(5), np.zeros((5, 3)), np.zeros((5, 1), int), np.zeros((), int)], ids=str)
def test_marks_are_integers_in_time(xs):
    model = SequenceModel(3, 2, width=4, depth=1, reads="marks", key=KEY)
    with error("marks", str(xs.dtype), str(xs.shape)):
        model(xs)


def test_marks_have_no_scale():
    with error("marks"):
        SequenceModel(3, 2, width=4, depth=1, reads="marks", key=KEY).with_scaled_input(np.zeros(3), np.ones(3))


LSTM_WEIGHTS, GRU_WEIGHTS = {"u": (8, 3), "v": (8, 2), "b": (8,)}, {"u": (6, 3), "v": (6, 2), "b": (6,), "b_n": (2,)}


@pytest.mark.parametrize(
    ("cell", "name", "shape"),
    [
        *[(LSTM, "u", shape) for shape in [(), (8,), (6, 3)]],
        *[(LSTM, "v", shape) for shape in [(), (8,), (8, 3), (6, 2)]],
        *[(LSTM, "b", shape) for shape in [(), (2,), (1, 8)]],
        *[(GRU, "u", shape) for shape in [(), (6,), (8, 3)]],
        *[(GRU, "v", shape) for shape in [(), (6,), (6, 3), (8, 2)]],
        *[(GRU, "b", shape) for shape in [(), (2,), (1, 6)]],
        *[(GRU, "b_n", shape) for shape in [(), (3,), (1, 2)]],
    ],
)
def test_cell_weights_that_do_not_fit_are_named(cell, name, shape):
    shapes = {**(LSTM_WEIGHTS if cell is LSTM else GRU_WEIGHTS), name: shape}
    named = [f"b_n has shape {shape}"] if name == "b_n" else [", ".join(str(shapes[k]) for k in "uvb")]
    with error(*named):
        cell.from_weights(**{name: np.zeros(shape) for name, shape in shapes.items()})


def test_a_scale_of_another_size_is_named():
    with error("in_scale has shape (3,)", "(2,)"):
        Rescaled(RunningMean(2), in_scale=np.ones(3))
    with error("out_mean", "(1, 2)", "(2,)"):
        Rescaled(RunningMean(2), out_mean=np.ones((1, 2)))


def test_an_event_model_that_does_not_fit_its_layer_is_named():
    def model(in_size, out_size):
        return EventModel(LRU(in_size, out_size, key=KEY), marks=2, periods=(2.0, 4.0))

    with error("inner has in_size 6", "need 7"):
        model(6, 5)
    for out_size in (1, 2, 4, 6):
        with error(f"out_size {out_size}", "3 * components + 2 marks"):
            model(7, out_size)


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ({"channels": 0}, ["channels is 0", "at least 1"]),
        ({"channels": 2, "covariates": -1}, ["covariates is -1", "at least 0"]),
        ({"channels": 2, "covariates": 3}, ["inner has in_size 3", "more than 3"]),
    ],
)
def test_channels_that_do_not_fit_their_model_are_named(sizes, named):
    inner = SequenceModel(3, 1, width=2, depth=1, num_heads=1, key=KEY)
    with error(*named):
        ChannelIndependent(inner, **sizes)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"targets": ()}, ["targets are ()", "one or more of the 3 series"]),
        ({"targets": (0, 3)}, ["targets are (0, 3)", "of the 3 series"]),
        ({"targets": (-1,)}, ["targets are (-1,)"]),
        *[({name: 0}, [f"{name} is 0", "positive"]) for name in ("horizon", "patch", "season", "memory")],
        ({"memory": float("nan")}, ["memory is nan"]),
        ({"patch": 2}, ["in_size 3 and out_size 2", "in_size of 6 or more"]),
        ({"horizon": 3}, ["in_size 3 and out_size 2", "out_size of 3"]),
        ({"targets": (0, 1)}, ["in_size 3 and out_size 2", "2 values of 2 targets", "out_size of 4"]),
    ],
)
def test_a_forecaster_that_does_not_fit_its_model_is_named(changes, named):
    with error(*named):
        forecaster(3, **changes)


@pytest.mark.parametrize("make", [make for name, make in MAKE.items() if name != "Rescaled"])
@pytest.mark.parametrize("size", [0, -1])
def test_sizes_below_one_are_refused_by_name(make, size):
    with error(f"size is {size}", "it must be at least 1") if make is not MAKE["Forecaster"] else error(f"{size}"):
        make(size)


@pytest.mark.parametrize(
    ("sizes", "named"),
    [({"depth": -1}, "depth is -1"), ({"depth": 0}, "depth is 0"), ({"width": 0}, "width is 0")],
)
@pytest.mark.parametrize("kind", [SequenceModel, partial(BareModel, mixer="gru")])
def test_a_model_names_the_size_that_is_too_small(kind, sizes, named):
    with error(named, "at least 1"):
        kind(3, 2, **{"width": 4, "depth": 1} | sizes, key=KEY)


@every_layer
def test_complex_tokens_are_refused(make):
    layer = make(4)
    tokens = np.ones((3, layer.in_size), np.complex64)
    with error("takes real tokens", "complex64"):
        layer(tokens)


@pytest.mark.parametrize("dtype", ["int32", "complex64", "bool"])
def test_parameters_are_real_numbers(dtype):
    for make in (Aaren, LSTM, GRU, MinGRU, MinLSTM, LRU, GatedRNN, LinearSelfAttention, CausalSelfAttention):
        with error(f"dtype is {dtype}"):
            make(2, 2, dtype=dtype, key=KEY)


MIXED = {"lstm": (LSTM, (8, 3), (8, 2), (8,)), "gru": (GRU, (6, 3), (6, 2), (6,))}


@pytest.mark.parametrize(("kind", "shapes"), [(kind, shapes) for kind, *shapes in MIXED.values()], ids=MIXED)
def test_given_weights_are_promoted_to_one_dtype(kind, shapes):
    weights = [
        np.zeros(shape, dtype) for shape, dtype in zip(shapes, (np.float16, np.float32, np.float16), strict=True)
    ]
    layer = kind.from_weights(*weights)
    assert {str(x.dtype) for x in jax.tree.leaves(layer)} == {"float32"}


@pytest.mark.parametrize(("time", "dtype"), [(0, "bfloat16"), (1, "float16"), (5, "bfloat16")])
@pytest.mark.parametrize("mixer", MIXERS)
def test_every_mixer_runs_in_half_precision_and_at_every_length(mixer, time, dtype):
    layer = MIXERS[mixer].make(4, 4, dtype=dtype, key=KEY)
    state, ys = jax.jit(lambda *given: layer.prefill(*given))(layer.init_state(), np.ones((time, 4)))
    assert ys.shape == (time, 4)
    assert {str(x.dtype) for x in jax.tree.leaves((layer, state, ys)) if x.dtype != np.int32} == {dtype}
