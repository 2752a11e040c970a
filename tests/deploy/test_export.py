"""An ONNX file says what it holds, reads whole sequences if asked to, and is refused where it cannot be right.

That the graph is the step is a law of every layer, in tests/layers/test_law.py.
"""

import json
from itertools import pairwise

import jax
import numpy as np
import onnx
import pytest

from twofold import InputError, __version__, load
from twofold.deploy import OnnxStream, export_onnx
from twofold.deploy.blocks import BLOCK
from twofold.deploy.exported_run import ALLOWED, difference, export_run
from twofold.layers import LRU, MIXERS, Aaren
from twofold.models import SequenceModel
from twofold.saving import save
from twofold.tasks import Classification, ClassWords, Control, Events, Forecasting
from twofold.train import open_run


def model_of(mixer, **options):
    options |= MIXERS[mixer].taken(num_heads=2, capacity=64)
    return SequenceModel(3, 2, width=8, depth=1, mixer=mixer, dtype="float32", key=jax.random.key(0), **options)


@pytest.mark.parametrize("mixer", MIXERS)
def test_the_graph_of_a_sequence_reads_any_length_and_goes_on(mixer, tmp_path, normal, assert_close):
    """Its states are those of the graph of a step."""
    model, xs = model_of(mixer, predicts="sequence"), normal("xs", 2 * BLOCK + 20, 3, dtype="float32")
    export_onnx(model, tmp_path / "step.onnx")
    export_onnx(model, tmp_path / "sequence.onnx", prefill=True)
    many, one = OnnxStream(tmp_path / "sequence.onnx"), OnnxStream(tmp_path / "step.onnx")
    cuts = [0, 0, 13, BLOCK + 13]  # nothing, steps alone, a block alone, and one more block and steps
    ys = np.concatenate(
        [
            *(many.push_many(xs[a:b]) for a, b in pairwise(cuts)),
            [many.push(xs[cuts[-1]])],
            many.push_many(xs[cuts[-1] + 1 :]),
        ]
    )
    assert_close(ys, np.array([one.push(x) for x in xs]))
    assert_close(ys, np.asarray(jax.jit(lambda xs: model(xs))(xs)))
    structure = jax.tree.structure(model.init_state())
    assert_close(*(jax.tree.unflatten(structure, list(stream._now[0].values())) for stream in (many, one)))


def test_the_graph_names_every_array_of_the_state_and_leaves_the_batch_open(tmp_path):
    export_onnx(Aaren(3, 4, num_heads=2, dtype="float32", key=jax.random.key(0)), tmp_path / "layer.onnx")
    graph = onnx.load(tmp_path / "layer.onnx").graph
    names = [f"state.{name}" for name in ("maximum", "normaliser", "output", "normaliser_rest", "output_rest")]
    assert [x.name for x in graph.input] == [*names, "x"]
    assert [x.name for x in graph.output] == [*(f"next_{name}" for name in names), "y"]
    for x in [*graph.input, *graph.output]:
        assert x.type.tensor_type.shape.dim[0].dim_param == "batch"
        assert x.type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_the_graph_has_no_complex_numbers_and_nothing_of_one_runtime_alone(tmp_path):
    export_onnx(LRU(3, 2, dtype="float32", key=jax.random.key(0)), tmp_path / "layer.onnx")
    proto = onnx.shape_inference.infer_shapes(onnx.load(tmp_path / "layer.onnx"))
    kinds = {x.type.tensor_type.elem_type for x in (*proto.graph.value_info, *proto.graph.input, *proto.graph.output)}
    assert kinds <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64, onnx.TensorProto.BOOL}
    assert {node.domain for node in proto.graph.node} == {""}


def test_the_metadata_say_what_the_numbers_are(tmp_path):
    folder = tmp_path / "run"
    with open_run(folder, {"task": "classification", "dataset": "Letters"}):
        save(folder, model_of("aaren"))
        ClassWords(("x", "y", "z"), ("a", "b")).write(folder)
    export_run(folder, tmp_path / "model.onnx")
    proto = onnx.load(tmp_path / "model.onnx")
    about = json.loads({entry.key: entry.value for entry in proto.metadata_props}["twofold"])
    assert about == OnnxStream(tmp_path / "model.onnx").about
    assert about["twofold"] == __version__
    assert (about["form"], about["reads"], about["in_size"], about["out_size"]) == ("step", "features", 3, 2)
    assert about["words"] == {"task": "classification", "inputs": ["x", "y", "z"], "classes": ["a", "b"]}
    assert about["settings"]["dataset"] == "Letters"
    state = load(folder).init_state()
    for (name, described), leaf in zip(about["state"].items(), jax.tree.leaves(state), strict=True):
        assert name.startswith("state")
        assert (tuple(described["shape"]), described["dtype"]) == (leaf.shape, leaf.dtype)
        np.testing.assert_array_equal(np.full(leaf.shape, described["initial"], leaf.dtype), leaf)


def test_a_wrong_graph_is_noticed(tmp_path, normal):
    export_onnx(model_of("gru"), tmp_path / "model.onnx")
    tokens = normal("xs", 10, 3, dtype="float32")
    assert difference(model_of("gru"), tmp_path / "model.onnx", tokens) < ALLOWED
    other = jax.tree.map(lambda x: x * 1.01, model_of("gru"))
    assert difference(other, tmp_path / "model.onnx", tokens) > ALLOWED


def test_other_names_and_dtypes_are_refused_and_nothing_is_written(tmp_path):
    with pytest.raises(InputError, match=r"its name must end in \.onnx"):
        export_onnx(model_of("gru"), tmp_path / "model.pt")
    with pytest.raises(InputError, match="computes in float16; only models in float32"):
        export_onnx(Aaren(3, 4, dtype="float16", key=jax.random.key(0)), tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_that_is_there_is_replaced(tmp_path):
    for mixer in ("gru", "lstm"):
        export_onnx(model_of(mixer), tmp_path / "model.onnx")
    assert len(OnnxStream(tmp_path / "model.onnx").about["state"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


HEADS = {
    "forecasting": lambda **sizes: Forecasting(dataset="eustock", horizon=4, context=8, patch=4, **sizes),
    "events": lambda **sizes: Events(dataset="sin", sequences=30, events=6, **sizes),
    "classification": lambda **sizes: Classification(dataset="BasicMotions", **sizes),
    "control": lambda **sizes: Control(env="inverted-pendulum", dataset="small-v0", window=8, **sizes),
    "control, three tokens": lambda **sizes: Control(
        env="inverted-pendulum", dataset="small-v0", window=8, tokens="three", context=20, **sizes
    ),
}
ALL = [pytest.param(head, mixer, 1000, marks=pytest.mark.long) for head in HEADS for mixer in MIXERS]


@pytest.mark.parametrize(
    ("head", "mixer", "count"), [*((head, "softmax-attention", BLOCK + 5) for head in HEADS), *ALL]
)
def test_the_head_of_every_task_is_exported(head, mixer, count, tmp_path, write_control, monkeypatch):
    """Of a model with random weights, on tokens of the test part."""
    if head.startswith("control"):
        write_control(tmp_path)
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    with jax.enable_x64(False):
        task = HEADS[head](mixer=mixer, width=8, depth=1)
        data = task.load()
        model = task.deployed(task.model(data, jax.random.key(0)), data)
        tokens = np.asarray(task.example(data), np.float32)
        for prefill in (False, True):
            export_onnx(model, tmp_path / "model.onnx", prefill=prefill)
            assert difference(model, tmp_path / "model.onnx", np.resize(tokens, (count, tokens.shape[1]))) < ALLOWED


@pytest.mark.long
@pytest.mark.parametrize("prefill", [False, True], ids=["step", "prefill"])
@pytest.mark.parametrize("mixer", MIXERS)
def test_100_000_tokens_are_carried_through_the_graph(mixer, prefill, tmp_path, normal):
    export_onnx(model_of(mixer), tmp_path / "model.onnx", prefill=prefill)
    assert difference(model_of(mixer), tmp_path / "model.onnx", normal("long", 100_000, 3, dtype="float32")) < ALLOWED
