"""Streams over ONNX Runtime give what streams over JAX give, have the same methods, and need neither JAX nor twofold."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from twofold import Stream
from twofold.deploy import KeyedStream, OnnxKeyedStream, OnnxStream, export_onnx
from twofold.layers import Aaren
from twofold.models import SequenceModel
from twofold.tasks import ActionWords, ClassWords, EventWords, ForecastWords

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def model():
    return SequenceModel(3, 2, width=8, depth=1, predicts="sequence", dtype="float32", key=jax.random.key(0))


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    file = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_onnx(model, file)
    return file


@pytest.mark.parametrize("pair", [(OnnxStream, Stream), (OnnxKeyedStream, KeyedStream)], ids=["one", "keyed"])
def test_the_methods_are_those_of_the_stream_over_jax(pair):
    ours, theirs = ({name for name in dir(kind) if not name.startswith("_")} for kind in pair)
    assert ours - theirs == {"about", "answer"}
    assert theirs - ours <= {"commit"}  # a store is not there
    for name in ours & theirs:
        if inspect.isfunction(getattr(pair[0], name)) and name != "load":
            assert [*inspect.signature(getattr(pair[0], name)).parameters] == [
                *inspect.signature(getattr(pair[1], name)).parameters
            ]


def test_a_stream_answers_as_the_one_over_jax(model, file, normal, assert_close):
    xs = normal("xs", 12, 3, dtype="float32")
    ours, theirs = OnnxStream(file), Stream(model)
    assert_close(np.array([ours.push(x) for x in xs]), np.array([theirs.push(x) for x in xs]))
    assert_close(ours.push_many(xs), theirs.push_many(xs))
    assert (ours.tokens, ours.state_bytes) == (theirs.tokens, theirs.state_bytes)
    ours.reset()
    theirs.reset()
    assert_close(ours.push(xs[0]), theirs.push(xs[0]))


def test_a_saved_stream_continues_exactly(file, tmp_path, normal):
    xs = normal("xs", 12, 3)
    stream = OnnxStream(file)
    stream.push_many(xs[:7])
    stream.save(tmp_path / "stream.npz")
    rest = stream.push_many(xs[7:])
    restored = OnnxStream.load(tmp_path / "stream.npz")
    assert restored.tokens == 7
    np.testing.assert_array_equal(restored.push_many(xs[7:]), rest)
    assert [path.name for path in tmp_path.iterdir()] == ["stream.npz"]


@pytest.mark.parametrize("content", [b"", b"PK", b"nothing of the kind"])
def test_a_damaged_stream_is_refused(content, tmp_path):
    (tmp_path / "stream.npz").write_bytes(content)
    with pytest.raises(ValueError, match="is not a saved stream"):
        OnnxStream.load(tmp_path / "stream.npz")


def test_a_truncated_stream_is_refused(file, tmp_path):
    OnnxStream(file).save(tmp_path / "stream.npz")
    whole = (tmp_path / "stream.npz").read_bytes()
    (tmp_path / "stream.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="is not a saved stream"):
        OnnxStream.load(tmp_path / "stream.npz")


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ([1.0, np.nan, 3.0], "contain nan"),
        (["a", "b", "c"], "dtype <U"),
    ],
)
def test_a_bad_token_leaves_the_stream_as_it_was(file, token, message):
    stream, keyed = OnnxStream(file), OnnxKeyedStream(file)
    stream.push([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=message):
        stream.push(token)
    with pytest.raises(ValueError, match=message):
        keyed.push(["a", "b"], [[1.0, 2.0, 3.0], token])
    assert (stream.tokens, keyed.snapshot()) == (1, {})


def test_a_token_of_another_size_is_refused(file):
    stream, keyed = OnnxStream(file), OnnxKeyedStream(file)
    for push in (stream.push, lambda x: stream.push_many([x]), lambda x: keyed.push(["a"], [x])):
        with pytest.raises(ValueError, match="this model takes tokens of 3 numbers"):
            push([1.0, 2.0])


def test_marks(tmp_path, assert_close):
    model = SequenceModel(3, 2, width=8, depth=1, reads="marks", dtype="float32", key=jax.random.key(0))
    export_onnx(model, tmp_path / "model.onnx")
    stream, keyed = OnnxStream(tmp_path / "model.onnx"), OnnxKeyedStream(tmp_path / "model.onnx")
    marks = np.array([0, 2, 1, 1])
    ys = np.asarray(model(marks))
    assert_close(np.array([stream.push(mark) for mark in marks]), ys)
    assert_close(keyed.push(["a"] * 4, marks), ys)
    for bad in (3, -1, 0.5):
        with pytest.raises(ValueError, match="takes integers from 0 to 2"):
            stream.push(bad)


def test_keys_have_states_of_their_own(model, file, normal, assert_close):
    xs = normal("xs", 40, 3, dtype="float32")
    keys = np.random.default_rng(0).integers(0, 5, 40)
    ours, theirs = OnnxKeyedStream(file), KeyedStream(model)
    for part in (slice(0, 15), slice(15, 16), slice(16, 40)):
        assert_close(ours.push(keys[part], xs[part]), theirs.push(keys[part], xs[part]))
    assert ours.push([], xs[:0]).shape == (0, 2)


def test_a_snapshot_is_restored_in_another_stream(file, normal):
    xs = normal("xs", 6, 3)
    first, second = OnnxKeyedStream(file), OnnxKeyedStream(file)
    first.push(["a", 1, "a"], xs[:3])
    snapshot = first.snapshot()
    second.restore(snapshot)
    np.testing.assert_array_equal(first.push(["a", 1, "b"], xs[3:]), second.push(["a", 1, "b"], xs[3:]))
    second.restore(snapshot)
    assert second.snapshot(["a", "never"]) == {"a": snapshot["a"]}
    second.reset(["a"])
    assert second.snapshot(["a"]) == {}


def test_keys_that_cannot_be_used_change_nothing(file, normal):
    xs = normal("xs", 3, 3)
    stream = OnnxKeyedStream(file, max_keys=2)
    for keys, message in [
        (["a", "b", "c"], "max_keys is 2"),
        (["a", 0.5, "b"], "keys are strings or integers"),
        (["a"], "there are 1 keys and 3 tokens"),
    ]:
        with pytest.raises(ValueError, match=message):
            stream.push(keys, xs)
    assert stream.snapshot() == {}
    with pytest.raises(ValueError, match="max_keys is 0"):
        OnnxKeyedStream(file, max_keys=0)


def test_a_state_of_another_model_is_refused(file, tmp_path):
    export_onnx(Aaren(3, 4, dtype="float32", key=jax.random.key(0)), tmp_path / "other.onnx")
    other = OnnxKeyedStream(tmp_path / "other.onnx")
    other.push(["a"], [[1.0, 2.0, 3.0]])
    stream = OnnxKeyedStream(file)
    with pytest.raises(ValueError, match="this model needs"):
        stream.restore(other.snapshot())


WORDS = [
    ClassWords(("x", "y", "z"), ("yes", "no")),
    ForecastWords(("x", "y", "z"), ("x", "z"), 1, None),
    EventWords(("gap", "mark"), ("a", "b"), None),
    ActionWords(("asked", "x", "y"), (-1.0, -1.0), (1.0, 1.0)),
]


@pytest.mark.parametrize("words", WORDS, ids=lambda words: words.task)
def test_answers_are_said_in_the_words_of_the_run(words, model, tmp_path, normal):
    export_onnx(model, tmp_path / "model.onnx", about={"words": words.as_json()})
    y = normal("y", 8 if words.task == "events" else 2)
    said = OnnxStream(tmp_path / "model.onnx").answer(y)
    expected = words.answer(y)
    assert said == OnnxKeyedStream(tmp_path / "model.onnx").answer(y)
    assert json.loads(json.dumps(said)) == said
    assert jax.tree.structure(said) == jax.tree.structure(expected)
    numbers, strings = ([x for x in jax.tree.leaves(expected) if isinstance(x, kind)] for kind in (float, str))
    np.testing.assert_allclose([x for x in jax.tree.leaves(said) if isinstance(x, float)], numbers, rtol=1e-5)
    assert [x for x in jax.tree.leaves(said) if isinstance(x, str)] == strings


def test_without_a_run_there_are_no_words(file):
    with pytest.raises(ValueError, match="was not exported from a run"):
        OnnxStream(file).answer(np.zeros(2))


USE = """
import sys
import numpy as np
from twofold_edge import OnnxStream
stream = OnnxStream(sys.argv[1])
print(*(float(stream.push(np.arange(3.0) + i)[0]) for i in range(3)))
print(*sorted({name.partition(".")[0] for name in sys.modules} & {"jax", "jaxlib", "equinox", "onnx", "scipy", "twofold"}))
"""


def told_by(python, file, *options):
    done = subprocess.run(
        [python, *options, "-c", USE, file], capture_output=True, text=True, check=False, cwd=file.parent
    )
    assert done.returncode == 0, done.stderr
    answers, found = done.stdout.split("\n")[:2]
    return list(map(float, answers.split())), found.split()


def test_the_edge_imports_nothing_but_numpy_and_onnxruntime(file, model):
    answers, found = told_by(sys.executable, file)
    stream = Stream(model)
    np.testing.assert_allclose(answers, [stream.push(np.arange(3.0) + i)[0] for i in range(3)], rtol=1e-5)
    assert found == []


@pytest.mark.long
def test_the_edge_runs_in_an_environment_without_jax(file, model, tmp_path):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", ROOT / "edge"], check=True)
    listed = subprocess.run([python, "-m", "pip", "list"], capture_output=True, text=True, check=True).stdout.split()
    assert "twofold-edge" in listed
    assert not {"jax", "jaxlib", "equinox", "twofold"} & set(listed)
    assert told_by(python, file)[0] == told_by(sys.executable, file)[0]


def test_what_is_missing_is_named(monkeypatch):
    import twofold.deploy
    from twofold import InputError

    monkeypatch.setitem(sys.modules, "twofold_edge", None)
    with pytest.raises(InputError, match="twofold_edge is missing; pip install"):
        twofold.deploy.OnnxStream  # noqa: B018
