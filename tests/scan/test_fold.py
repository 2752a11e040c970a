"""softmax_fold is softmax attention of one query: the last output of softmax_scan, in memory that does not grow."""

import re
from functools import partial

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.errors import InputError
from twofold.scan import SoftmaxState, softmax_fold, softmax_scan

run = jax.jit(softmax_fold, static_argnames="block_size")


def attention(query, keys, values, state):
    """All tokens at once, with what came before as one more token; for NumPy and JAX."""
    xp = values.__array_namespace__()
    scores = xp.einsum("hk,thk->th", query, keys)
    maximum = xp.max(xp.concatenate([state.maximum[None], scores]), 0)
    c, o = state.normaliser + state.normaliser_rest, state.output + state.output_rest
    kept, weights = c * xp.exp(state.maximum - maximum), xp.exp(scores - maximum)
    total = kept + xp.sum(weights, 0)
    output = kept[:, None] * o + xp.einsum("th,thd->hd", weights, values)
    output = output / xp.where(total == 0, 1, total)[:, None]
    return SoftmaxState.exactly(maximum, total, output), output


@pytest.fixture(scope="session")
def problem(normal):
    """`problem(time, scale)`: query, keys, values and what came before, with scores of about that scale."""

    def draw(time, scale=1.0, dtype=np.float64):
        draw = partial(normal, dtype=dtype)
        state = SoftmaxState.exactly(draw("m", 2), np.abs(draw("c", 2)), draw("o", 2, 3))
        return np.asarray(scale, dtype) * draw("q", 2, 4), draw("k", time, 2, 4), draw("v", time, 2, 3), state

    return draw


@settings(max_examples=20)
@given(
    dtype=st.sampled_from(["float32", "float64"]),
    time=st.integers(0, 40),
    block_size=st.sampled_from([1, 7, 16, 128]),
    scale=st.sampled_from([1.0, 1e4]),
    continued=st.booleans(),
)
def test_output_is_softmax_attention(assert_close, problem, dtype, time, block_size, scale, continued):
    query, keys, values, state = problem(time, dtype=dtype)
    # Multiples of 1/8 have exact scores of any size in float32: this is a test of the fold, not of <q, k>.
    query, keys = scale * np.round(8 * query) / 8, np.round(8 * keys) / 8
    state = state if continued else SoftmaxState.empty(2, 3, dtype=dtype)
    actual = run(query, keys, values, state if continued else None, block_size=block_size)
    assert {x.dtype.name for x in jax.tree.leaves(actual)} == {dtype}
    in_double = jax.tree.map(lambda x: np.asarray(x, np.float64), (query, keys, values, state))
    assert_close(actual, attention(*in_double))


@pytest.mark.parametrize("block_size", [1, 7, 50, 128])
def test_fold_is_the_last_row_of_the_scan(assert_close, problem, block_size):
    query, keys, values, state = problem(100)
    last, out = softmax_scan(np.einsum("hk,thk->th", query, keys), values, state)
    assert_close(run(query, keys, values, state, block_size=block_size), (last, out[-1]))


@given(cut=st.integers(0, 9))
def test_split_anywhere_equals_whole(assert_close, problem, cut):
    query, keys, values, state = problem(9)
    between, _ = run(query, keys[:cut], values[:cut], state, block_size=4)
    actual = run(query, keys[cut:], values[cut:], between, block_size=4)
    assert_close(actual, run(query, keys, values, state, block_size=4))


@pytest.mark.parametrize(("block_size", "scale"), [(1, 1.0), (4, 1.0), (4, 1e4), (5, 1.0), (128, 1.0)])
def test_gradient_is_that_of_attention(same_gradients, problem, block_size, scale):
    """Of the query, the keys, the values and all of the initial state, through the output and all of the last state."""
    same_gradients(partial(softmax_fold, block_size=block_size), attention, *problem(10, scale))


def test_gradient_under_transforms(same_gradients, problem, transform):
    same_gradients(partial(softmax_fold, block_size=4), attention, *problem(10), transform=transform)


def test_second_gradient_is_that_of_attention(same_gradients, problem):
    same_gradients(partial(softmax_fold, block_size=4), attention, *problem(10), order=2)


def test_long_float32_fold_stays_near_float64(assert_close, problem):
    query, keys, values, _ = problem(100_000, dtype=np.float32)
    in_double = jax.tree.map(lambda x: np.asarray(x, np.float64), (query, keys, values, SoftmaxState.empty(2, 3)))
    _, expected = attention(*in_double)
    assert np.max(np.abs(run(query, keys, values)[1] - expected)) <= 5e-5


def test_memory_does_not_grow_with_time(temporary_bytes):
    """Of the fold of whole blocks: it never holds as much as one score a token. (A last block in part is padded.)"""
    short, long = (
        temporary_bytes(lambda *args: softmax_fold(*args)[1], (4, 16), (time, 4, 16), (time, 4, 32))
        for time in (4096, 65536)
    )
    assert long - short <= 2 * (65536 - 4096)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("query", "keys", "values", "how", "named"),
    [
        ((4,), (5, 2, 4), (5, 2, 3), {}, "a query of shape (4,)"),
        ((2, 4), (5, 2, 3), (5, 2, 3), {}, "keys have shape (5, 2, 3)"),
        ((2, 4), (5, 2, 4), (6, 2, 3), {}, "(6, 2, 3)"),
        ((2, 4), (5, 2, 4), (5, 2, 3), {"block_size": 0}, "block_size is 0"),
        ((2, 4), (5, 2, 4), (5, 2, 3), {"state": SoftmaxState.empty(1, 3)}, "(1, 3)"),
    ],
)
def test_wrong_arguments_are_named(query, keys, values, how, named):
    with pytest.raises(InputError, match=re.escape(named)):
        softmax_fold(np.zeros(query), np.zeros(keys), np.zeros(values), **how)
