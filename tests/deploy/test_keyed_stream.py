"""A keyed stream gives each key what it would have alone, however tokens are batched and wherever its state was meanwhile."""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold import InputError, Stream
from twofold.deploy import KeyedStream, Store
from twofold.deploy.rows import row_of, state_of
from twofold.layers import LRU, MIXERS, Aaren
from twofold.models import EventModel, Forecaster, SequenceModel, TimedEvents, event_features

KEYS = ["a", "b", "c", 4, 5, "6", 6, "ü\ud800", "", "j", "k"]


def make(kind):
    key = jax.random.key(0)
    if kind == "forecaster":
        inner = SequenceModel(7, 2, width=8, depth=1, num_heads=2, dtype="float32", key=key)
        return Forecaster(inner, variates=3, targets=(1,), horizon=2, patch=2, season=4, memory=8.0)
    if kind == "events":
        inner = Aaren(event_features(2, (2.0, 5.0)), 8, num_heads=2, key=key)
        return TimedEvents(EventModel(inner, marks=2, periods=(2.0, 5.0)))
    if kind == "marks":
        return SequenceModel(3, 2, width=8, depth=1, reads="marks", key=key)
    return SequenceModel(3, 2, width=8, depth=1, mixer=kind, key=key, **MIXERS[kind].taken(num_heads=2, capacity=4))


def drawn(model, rng, count):
    """Random keys and tokens."""
    keys = [KEYS[i] for i in rng.integers(0, len(KEYS), count)]
    xs = rng.normal(size=(count, model.in_size)) if model.reads == "features" else rng.integers(0, 3, count)
    return keys, xs


@pytest.fixture(scope="module", params=["aaren", "softmax-attention", "forecaster", "marks"])
def model(request):
    return make(request.param)


def test_answers_are_those_of_a_stream_of_each_key_and_do_not_depend_on_batches(model, assert_close):
    rng = np.random.default_rng(0)
    keys, xs = drawn(model, rng, 90)
    whole, alone = KeyedStream(model).push(keys, xs), Stream(model)
    for key in KEYS:
        own = [i for i in range(len(keys)) if keys[i] == key and type(keys[i]) is type(key)]
        alone.reset()
        assert_close(whole[own], np.array([*map(alone.push, xs[own])]).reshape(-1, model.out_size), rtol=1e-5)
    few, cuts = KeyedStream(model, max_keys=3, warm=2), [0, 1, 2, 20, 23, 60, 90]
    parts = [few.push(keys[i:j], xs[i:j]) for i, j in itertools.pairwise(cuts)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)  # to the last bit


@pytest.mark.parametrize("kind", ["lru"])
def test_snapshots_come_back_exactly_in_another_stream(kind):
    model = make(kind)
    rng = np.random.default_rng(1)
    first, second = KeyedStream(model, max_keys=4), KeyedStream(model, max_keys=5)
    first.push(*drawn(model, rng, 40))
    snapshot = first.snapshot()
    assert first.snapshot(["a", "unknown"]) == {"a": snapshot["a"]}
    second.push(*drawn(model, rng, 10))
    second.reset()
    assert second.snapshot() == {}
    second.restore(snapshot)
    keys, xs = drawn(model, rng, 40)
    np.testing.assert_array_equal(first.push(keys, xs), second.push(keys, xs))
    assert first.snapshot() == second.snapshot()
    second.reset(["a"])
    np.testing.assert_array_equal(second.push(["a"], xs[:1]), KeyedStream(model).push(["z"], xs[:1]))


MODEL = make("aaren")


@pytest.fixture(scope="module")
def keyed():
    """Two keyed streams for several tests, because each is compiled."""
    return KeyedStream(MODEL, max_keys=1), KeyedStream(MODEL, max_keys=3, warm=2)


@pytest.fixture(scope="module")
def alone():
    return [Stream(MODEL) for _ in range(5)]


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_any_order_of_keys_and_any_cuts_give_the_same(keyed, alone, data):
    """The reference is a stream for each key."""
    together, own = data.draw(st.sampled_from(keyed)), dict(zip(KEYS[:5], alone, strict=True))
    for stream in (together, *alone):
        stream.reset()
    keys = data.draw(st.lists(st.sampled_from(KEYS[:5]), max_size=40))
    xs, start = np.random.default_rng(0).normal(size=(len(keys), 3)), 0
    while start < len(keys):
        stop = start + data.draw(st.integers(1, 20))
        ys = together.push(keys[start:stop], xs[start:stop])
        expected = [own[key].push(x) for key, x in zip(keys[start:stop], xs[start:stop], strict=True)]
        np.testing.assert_allclose(ys, expected, rtol=1e-4, atol=1e-5)
        start = stop


@pytest.mark.parametrize(
    ("keys", "xs", "message"),
    [
        (["a"], np.zeros((2, 3)), "there are 1 keys and 2 tokens"),
        (["a"], np.zeros((1, 2)), r"the tokens have shape \(1, 2\)"),
        (["a", "b"], [[1, 2, 3], [1, np.nan, 3]], "feature 1 of token 1 is nan"),
        ([1.0], np.zeros((1, 3)), "the key 1.0 is of type float; keys are strings or integers"),
        ([True], np.zeros((1, 3)), "the key True is of type bool"),
        ([None], np.zeros((1, 3)), "the key None is of type NoneType"),
    ],
)
def test_bad_tokens_and_keys_are_refused_and_change_nothing(keys, xs, message, keyed, unchecked):
    stream = keyed[0]
    stream.push(["a"], np.ones((1, 3)))
    before = stream.snapshot()
    with pytest.raises(InputError, match=message):
        stream.push(keys, xs)
    assert stream.snapshot() == before
    assert stream.push([], np.zeros((0, 3))).shape == (0, 2)


def test_a_token_whose_answer_is_not_finite_leaves_the_state_of_its_key(normal):
    xs = normal("xs", 3, 4).astype(np.float32)
    clean, stream = (KeyedStream(make("forecaster"), warm=2) for _ in range(2))
    clean.push(["a", "a"], xs[:2])
    ys = stream.push(["a", "a", "b", "a"], np.stack([xs[0], np.full(4, 3e38), xs[0], xs[1]]))
    assert not np.isfinite(ys[1]).all()
    assert np.isfinite(ys[[0, 2, 3]]).all()
    assert stream.snapshot(["a"]) == clean.snapshot(["a"])


@pytest.mark.parametrize(("name", "size"), [("max_keys", 0), ("warm", -1)])
def test_sizes_are_checked(name, size):
    with pytest.raises(InputError, match=f"{name} is {size}; it must be at least"):
        KeyedStream(MODEL, **{name: size})


def test_a_state_of_another_model_or_form_is_not_restored():
    snapshot = KeyedStream(MODEL)
    snapshot.push(["a"], np.zeros((1, 3)))
    for other in (KeyedStream(make("gru")), KeyedStream(MODEL, warm=1)):
        with pytest.raises(
            InputError, match="the state of 'a' is not one of this model and this number of kept tokens"
        ):
            other.restore(snapshot.snapshot())


def test_a_store_has_the_last_commit_and_goes_on_from_there(tmp_path, normal):
    xs, file = normal("xs", 12, 3), tmp_path / "states.sqlite"
    expected = KeyedStream(MODEL).push(["a", "b"] * 6, xs)
    stream = KeyedStream(MODEL, max_keys=1, store=Store(file))
    stream.push(["a", "b"] * 3, xs[:6])
    stream.commit({"read": 6})
    stream.push(["a", "b"] * 2, xs[6:10])  # not committed
    with pytest.raises(InputError, match=r"states\.sqlite is used by another process"):
        Store(file)
    stream.store.close()
    store = Store(file)
    assert store.note("read") == 6
    np.testing.assert_array_equal(KeyedStream(MODEL, store=store).push(["a", "b"] * 3, xs[6:]), expected[6:])


@pytest.mark.parametrize("content", [b"no database" * 100, None])
def test_another_file_is_no_store(content, tmp_path):
    import sqlite3

    file = tmp_path / "other"
    if content is None:
        with sqlite3.connect(file) as base:
            base.execute("CREATE TABLE some (thing TEXT)")
        base.close()
    else:
        file.write_bytes(content)
    with pytest.raises(InputError, match=r"not a database|not one that this version of twofold has made"):
        Store(file)


@pytest.mark.parametrize("kind", ["softmax-attention", "events"])
def test_another_model_is_refused_or_warmed_up_by_the_last_tokens(kind, tmp_path, assert_close):
    model, rng = make(kind), np.random.default_rng(2)
    leaves, form = jax.tree.flatten(model)
    retrained = jax.tree.unflatten(form, [1.5 * x for x in leaves])
    keys, xs = drawn(model, rng, 60)
    stream = KeyedStream(model, store=Store(tmp_path / "states"), warm=4)
    stream.push(keys, xs)
    stream.commit()
    stream.store.close()
    store = Store(tmp_path / "states")
    with pytest.raises(InputError, match=r"has states of another model, .* keeps 4 tokens"):
        KeyedStream(retrained, store=store)
    store.close()
    swapped, alone = KeyedStream(retrained, store=Store(tmp_path / "states"), warm=3), Stream(retrained)
    for key in set(keys):
        own = [i for i in range(len(keys)) if keys[i] == key and type(keys[i]) is type(key)]
        alone.reset()
        for x in xs[own][-4:]:
            alone.push(x)
        assert_close(swapped.push([key], xs[:1])[0], alone.push(xs[0]), rtol=1e-4)


def test_a_store_without_last_tokens_warms_nothing_up(tmp_path):
    KeyedStream(MODEL, store=(store := Store(tmp_path / "states"))).push(["a"], np.zeros((1, 3)))
    store.commit()
    with pytest.raises(InputError, match="keeps 0 tokens of 3 features"):
        KeyedStream(make("gru"), store=store, warm=4)


def test_more_or_fewer_last_tokens_are_kept_from_now_on(tmp_path, normal):
    xs, store = normal("xs", 8, 3), Store(tmp_path / "states")
    expected = KeyedStream(MODEL).push(["a"] * 8, xs)
    for i, warm in enumerate((2, 0, 3, 1)):
        stream = KeyedStream(MODEL, store=store, warm=warm)
        np.testing.assert_array_equal(stream.push(["a"] * 2, xs[2 * i : 2 * i + 2]), expected[2 * i : 2 * i + 2])
        stream.commit()


def test_few_programs_are_compiled(normal):
    stream = KeyedStream(MODEL)
    for count in range(1, 65):
        stream.push(np.arange(count) % 9, normal("xs", count, 3))
    assert stream._run._cache_size() <= 3


def test_threads_share_a_stream(normal):
    stream, xs = KeyedStream(MODEL, max_keys=2), normal("xs", 20, 3)
    expected = KeyedStream(MODEL).push(["a"] * 20, xs)

    def run(key):
        return np.concatenate([stream.push([key], x[None]) for x in xs])

    with ThreadPoolExecutor(4) as pool:
        for ys in pool.map(run, "abcd"):
            np.testing.assert_array_equal(ys, expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork")
def test_a_forked_process_is_refused():
    stream = KeyedStream(MODEL)
    child = os.fork()
    if child == 0:
        try:
            stream.push(["a"], np.zeros((1, 3)))
        except RuntimeError:
            os._exit(17)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 17


@pytest.mark.parametrize("dtype", [bool, np.int8, jnp.bfloat16, np.float32, np.complex64])
def test_rows_keep_every_bit(dtype):
    bits = np.random.default_rng(0).integers(0, 256, (4, 5, 8), np.uint8)
    array = bits[..., 0] > 99 if dtype is bool else bits.view(dtype)
    state = {"x": jnp.asarray(array), "y": jnp.int32(-5)}
    back = state_of(row_of(state), jax.eval_shape(lambda: state))
    for name, leaf in state.items():
        assert back[name].dtype == leaf.dtype
        assert np.asarray(back[name]).tobytes() == np.asarray(leaf).tobytes()


def test_complex_and_double_states_come_back(normal):
    model = LRU(
        3, 2, hidden_size=4, dtype=np.float64 if jax.config.jax_enable_x64 else np.float32, key=jax.random.key(0)
    )
    xs = normal("xs", 6, 3)
    stream = KeyedStream(model, max_keys=1)
    ys = [stream.push(["a", "b"], xs[[i, i]])[0] for i in range(6)]
    np.testing.assert_allclose(ys, model(xs), rtol=1e-4, atol=1e-5)
