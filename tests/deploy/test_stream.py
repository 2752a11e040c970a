"""A stream gives what the parallel model gives, goes on where it stopped, and refuses bad tokens unharmed."""

import os
import signal
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from twofold import InputError, Stream, save
from twofold.layers import Aaren
from twofold.models import SequenceModel
from twofold.saving import load_with_state, save_with_state


@pytest.fixture(scope="module", params=["aaren", "lru", "softmax-attention"])
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


def test_many_tokens_at_once_are_as_many_pushes(model, normal, assert_close):
    xs = normal("xs", 13, 3)
    one_by_one, at_once = Stream(model), Stream(model)
    expected = np.array([one_by_one.push(x) for x in xs])
    actual = [at_once.push_many(xs[:0]), at_once.push_many(xs[:11]), [at_once.push(xs[11])], at_once.push_many(xs[12:])]
    assert_close(np.concatenate(actual), expected)
    assert_close(at_once._now[0][0][0], one_by_one._now[0][0][0])
    assert at_once.tokens == 13


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_many_outputs_have_the_dtype_of_one(dtype):
    stream = Stream(Aaren(3, 4, dtype=dtype, key=jax.random.key(0)))
    assert stream.push(np.ones(3)).dtype == stream.push_many(np.ones((5, 3))).dtype == dtype


def test_many_marks_at_once(normal, assert_close):
    model = SequenceModel(3, 2, width=8, depth=1, reads="marks", key=jax.random.key(0))
    stream = Stream(model)
    assert_close(stream.push_many(np.array([0, 2, 1, 1])), np.asarray(model(np.array([0, 2, 1, 1]))))
    for bad in ([0, 3], [-1], [0.5]):
        with pytest.raises(InputError, match="takes integers from 0 to 2"):
            stream.push_many(np.array(bad))
    assert stream.tokens == 4
    assert stream.push_many(np.zeros(0, int)).shape == (0, 2)


def test_few_lengths_are_compiled(normal):
    stream = Stream(Aaren(3, 4, key=jax.random.key(0)))
    for length in range(1, 32):
        stream.push_many(normal("xs", length, 3))
    assert stream._prefill._cache_size() == 5  # blocks of 1, 2, 4, 8 and 16


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.zeros((4, 2)), r"\(4, 2\) and dtype float64; this model takes tokens of 3 numbers, \(time, 3\)"),
        (np.zeros(3), r"shape \(3,\)"),
        (np.array([[1.0, 2.0, 3.0], [1.0, np.nan, 3.0]]), "feature 1 of token 2 is nan"),
    ],
)
def test_bad_tokens_among_many_leave_the_stream_as_it_was(tokens, message):
    stream = Stream(Aaren(3, 4, key=jax.random.key(0)))
    stream.push([1.0, 2.0, 3.0])
    with pytest.raises(InputError, match=message):
        stream.push_many(tokens)
    assert stream.tokens == 1


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
    for name, seed in (("a", 0), ("b", 1)):
        stream = Stream(Aaren(3, 4, key=jax.random.key(seed)))
        stream.push([1.0, 2.0, 3.0])
        stream.save(tmp_path / name)
    (tmp_path / "a" / "state.safetensors").replace(tmp_path / "b" / "state.safetensors")
    with pytest.raises(InputError, match=r"state\.safetensors .* belongs to another model"):
        Stream.load(tmp_path / "b")


def test_a_model_saved_over_a_stream_takes_no_state_from_it(tmp_path):
    Stream(Aaren(3, 4, key=jax.random.key(0))).save(tmp_path)
    save(tmp_path, Aaren(3, 4, key=jax.random.key(1)))
    with pytest.raises(InputError, match="holds a model and no state"):
        Stream.load(tmp_path)
    assert not (tmp_path / "state.safetensors").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays: arrays.pop("tokens"), "does not say how many tokens"),
        (lambda arrays: arrays.update(tokens=np.float32(1)), "does not say how many tokens"),
        (lambda arrays: arrays.update(tokens=np.asarray(-2)), "does not say how many tokens"),
        (lambda arrays: arrays.pop(".output"), "lacks the array .output"),
        (lambda arrays: arrays.update(more=np.zeros(2)), "arrays that do not belong to it: more"),
        (lambda arrays: arrays.update({".output": np.zeros((9, 9))}), "it has .output as float64"),
    ],
)
def test_a_state_of_another_form_is_refused(change, message, tmp_path, unchecked):
    Stream(Aaren(3, 4, key=jax.random.key(0))).save(tmp_path)
    model, arrays = load_with_state(tmp_path)
    change(arrays)
    save_with_state(tmp_path, model, {name: np.asarray(array) for name, array in arrays.items()})
    with pytest.raises(InputError, match=message):
        Stream.load(tmp_path)


def test_threads_may_share_a_stream_or_have_their_own(normal, unchecked):
    model = Aaren(3, 4, key=jax.random.key(0))
    shared, own = Stream(model), [Stream(model) for _ in range(4)]
    xs = normal("xs", 200, 3)

    def run(number):
        return [(shared.push(xs[0]), own[number].push(x))[1] for x in xs]

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(run, range(4)))
    assert shared.tokens == 4 * 200
    single = Stream(model)
    expected = [single.push(x) for x in xs]
    for result in results:
        np.testing.assert_array_equal(result, expected)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX timers")
def test_an_interrupted_stream_is_before_or_after_the_token_or_says_that_its_state_is_lost(normal, unchecked):
    xs = normal("xs", 400, 3)
    model = Aaren(3, 4, key=jax.random.key(0))
    clean, stream = Stream(model), Stream(model)
    expected = [clean.push(x) for x in xs]
    stream.push(xs[0])  # JAX itself may abort the process when it is interrupted while it compiles.
    interrupts, running = 0, False

    def interrupt(*_):
        if running:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.0023)
    try:
        for _ in range(500):
            if stream.tokens == len(xs):
                stream.reset()
            token = stream.tokens
            try:
                running = True
                y = stream.push(xs[token])
                running = False
            except KeyboardInterrupt:
                running = False
                interrupts += 1
                assert stream.tokens in (token, token + 1)
            except RuntimeError:
                running = False
                with pytest.raises(RuntimeError, match="lost its state"):
                    stream.push(xs[0])
                stream.reset()
            else:
                np.testing.assert_array_equal(y, expected[token])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupts > 3


def test_a_step_that_fails_and_takes_the_state_with_it_is_named(normal, unchecked):
    stream = Stream(Aaren(3, 4, key=jax.random.key(0)))
    x = normal("xs", 3)
    stream.push(x)
    jax.tree.map(lambda leaf: leaf.delete(), stream._now[0][0][0])
    with pytest.raises(RuntimeError, match="the stream lost its state"):
        stream.push(x)
    stream.reset()
    assert stream.push(x).shape == (4,)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_forked_process_is_refused_and_its_parent_goes_on(normal, unchecked):
    stream = Stream(Aaren(3, 4, key=jax.random.key(0)))
    x = normal("xs", 3)
    stream.push(x)
    child = os.fork()
    if child == 0:
        try:
            stream.push(x)
        except RuntimeError as error:
            os._exit(17 if "forked" in str(error) else 1)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 17
    stream.push(x)
    assert stream.tokens == 2
