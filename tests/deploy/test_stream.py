"""A stream gives what the parallel model gives, goes on where it stopped, and refuses bad tokens unharmed."""

import jax
import numpy as np
import pytest

from twofold import InputError, Stream
from twofold.layers import Aaren
from twofold.models import SequenceModel


@pytest.fixture(scope="module", params=["aaren", "linear-attention", "lru", "lstm", "softmax-attention"])
def model(request):
    return SequenceModel(3, 2, width=8, depth=1, mixer=request.param, predicts="sequence", key=jax.random.key(0))


def test_streaming_equals_the_parallel_run_and_a_saved_stream_continues_exactly(model, tmp_path, normal, assert_close):
    xs = normal("xs", 12, 3)
    stream = Stream(model)
    first = [stream.push(x) for x in xs[:7]]
    stream.save(tmp_path)
    rest = [stream.push(x) for x in xs[7:]]
    restored = Stream.load(tmp_path)
    assert restored.tokens == 7
    np.testing.assert_array_equal([restored.push(x) for x in xs[7:]], rest)
    assert_close(np.array(first + rest), np.asarray(jax.jit(lambda xs: model(xs))(xs)))


def test_the_state_stays_the_same_size(model, normal):
    stream = Stream(model)
    before = stream.state_bytes
    for x in normal("xs", 20, 3):
        stream.push(x)
    assert stream.state_bytes == before > 0


def test_the_step_is_compiled_once(normal, unchecked):
    traces = 0

    class Counting(Aaren):
        def step(self, state, x):
            nonlocal traces
            traces += 1
            return super().step(state, x)

    stream = Stream(Counting(3, 4, key=jax.random.key(0)))
    for x in normal("xs", 5, 3):
        stream.push(x)
    stream.push(np.float32([1, 2, 3]))
    stream.push([1, 2, 3])
    assert traces == 1


def test_a_reset_is_a_new_stream(model, normal):
    xs = normal("xs", 6, 3)
    stream = Stream(model)
    first = [stream.push(x) for x in xs]
    stream.reset()
    assert stream.tokens == 0
    np.testing.assert_array_equal([stream.push(x) for x in xs], first)


@pytest.mark.parametrize(
    ("token", "message"),
    [
        ([1.0, 2.0], r"shape \(2,\)"),
        ([1.0, np.nan, 2.0], "feature 1 of token 1 is nan"),
        ([1.0, 2.0, np.inf], "feature 2 of token 1 is inf"),
        (["a", "b", "c"], "takes 3 numbers"),
    ],
)
def test_a_bad_token_is_refused_and_changes_nothing(token, message, normal, unchecked):
    xs = normal("xs", 3, 3)
    clean, stream = (Stream(Aaren(3, 4, key=jax.random.key(0))) for _ in range(2))
    clean.push(xs[0])
    stream.push(xs[0])
    with pytest.raises(InputError, match=message):
        stream.push(token)
    assert stream.tokens == 1
    np.testing.assert_array_equal(stream.push(xs[1]), clean.push(xs[1]))


@pytest.mark.parametrize("mark", [5, -1, 1.0, [1]])
def test_a_mark_is_an_integer_below_their_number(mark, unchecked):
    stream = Stream(SequenceModel(5, 2, width=8, reads="marks", key=jax.random.key(0)))
    assert stream.push(4).shape == (2,)
    with pytest.raises(InputError, match="one integer from 0 to 4"):
        stream.push(mark)


def test_a_state_of_another_model_is_refused(tmp_path):
    Stream(Aaren(3, 4, key=jax.random.key(0))).save(tmp_path / "small")
    Stream(Aaren(3, 8, key=jax.random.key(0))).save(tmp_path / "large")
    (tmp_path / "small" / "state.safetensors").replace(tmp_path / "large" / "state.safetensors")
    with pytest.raises(InputError, match=r"state\.safetensors has .*output as"):
        Stream.load(tmp_path / "large")
