"""causal_attention is softmax attention by its definition, over any contiguous keys, without ever holding all scores."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold.errors import InputError
from twofold.scan import causal_attention

HEADS, D_K, D_V = 2, 5, 3
LENGTHS = [(1, 1), (3, 7), (65, 65), (40, 129), (300, 333)]  # queries and keys: within a block, and over several
FIRSTS = {
    "all": lambda token: None,
    "window": lambda token: np.maximum(token - 40, 0),
    "resets": lambda token: token // 30 * 30,
    "negative": lambda token: token - 1000,
    "falling": lambda token: np.maximum(token[0] - (token - token[0]), 0),
}

run = jax.jit(causal_attention)


@jax.jit
def by_definition(q, k, v, first=None):
    token, key = jnp.arange(len(k) - len(q), len(k)), jnp.arange(len(k))
    visible = (key <= token[:, None]) & (key >= (0 if first is None else first[:, None]))
    scores = jnp.einsum("thk,shk->hts", q, k) / np.sqrt(q.shape[2])
    return jnp.einsum("hts,shv->thv", jax.nn.softmax(jnp.where(visible, scores, -jnp.inf)), v)


@pytest.fixture(scope="session")
def problem(normal):
    """`problem(time, seen)`: queries, keys and values."""

    def draw(time, seen, dtype=np.float64):
        shapes = {"q": (time, HEADS, D_K), "k": (seen, HEADS, D_K), "v": (seen, HEADS, D_V)}
        return [normal(name, *shape, dtype=dtype) for name, shape in shapes.items()]

    return draw


def first_of(kind, time, seen):
    first = FIRSTS[kind](np.arange(seen - time, seen))
    return None if first is None else first.astype(np.int32)


@pytest.mark.parametrize("kind", FIRSTS)
@pytest.mark.parametrize(("time", "seen"), LENGTHS)
def test_outputs_are_those_of_the_definition(assert_close, problem, time, seen, kind):
    args, first = problem(time, seen, np.float32), first_of(kind, time, seen)
    actual = run(*args, first)
    assert actual.dtype == np.float32
    assert_close(actual, by_definition(*(x.astype(np.float64) for x in args), first))


@pytest.mark.parametrize("kind", FIRSTS)
@pytest.mark.parametrize(("time", "seen"), LENGTHS[1:])
def test_gradient_is_that_of_the_definition(same_gradients, problem, time, seen, kind):
    first = first_of(kind, time, seen)
    same_gradients(partial(causal_attention, first=first), partial(by_definition, first=first), *problem(time, seen))


def test_gradient_under_transforms(same_gradients, problem, transform):
    same_gradients(causal_attention, by_definition, *problem(65, 70), transform=transform)


def test_second_gradient_is_that_of_the_definition(same_gradients, problem):
    how = {"first": first_of("resets", 65, 70)}
    scan, oracle = (partial(f, **how) for f in (causal_attention, by_definition))
    same_gradients(scan, oracle, *problem(65, 70), order=2)


@given(cut=st.sampled_from([1, 64, 65, 129]))
def test_split_anywhere_equals_whole(assert_close, problem, cut):
    """Later queries need the keys of all tokens, and nothing else."""
    q, k, v = problem(130, 130)
    early, late = run(q[:cut], k[:cut], v[:cut]), run(q[cut:], k, v)
    assert_close(np.concatenate([early, late]), run(q, k, v))


@pytest.mark.parametrize("poisoned", [False, True], ids=["finite", "poisoned"])
@pytest.mark.parametrize("lengths", [(20, 20, 60), (32, 32, 64)])
def test_segments_are_independent(problem, segments_are_independent, lengths, poisoned):
    def scan(q, k, v, resets):
        token = jnp.arange(len(q))
        first = None if resets is None else jax.lax.cummax(jnp.where(resets, token, 0))
        return (), causal_attention(q, k, v, first)

    segments_are_independent(scan, *problem(sum(lengths), sum(lengths)), lengths=lengths, poisoned=poisoned)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", [1, 2], ids=["key", "value"])
def test_what_is_not_finite_reaches_the_queries_that_see_it_and_no_others(assert_close, problem, which, bad):
    args, first = problem(130, 140), first_of("window", 130, 140)
    clean = run(*args, first)
    args[which] = args[which].copy()
    args[which][70, 1, 2] = bad  # in one head
    token = np.arange(10, 140)
    reached = (token >= 70) & (first <= 70)
    out = np.array(run(*args, first))
    assert np.isnan(out[reached, 1]).all()
    out[reached, 1] = 0
    assert_close(out, np.where((reached[:, None] & (np.arange(HEADS) == 1))[..., None], 0, clean))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_query_that_is_not_finite_has_no_output_alone(assert_close, problem, bad):
    q, k, v = problem(130, 140)
    clean = np.array(run(q, k, v))
    q = q.copy()
    q[7, 0, 1], clean[7, 0] = bad, np.nan
    out = np.array(run(q, k, v))
    assert np.isnan(out[7, 0]).all()
    out[7, 0] = clean[7, 0] = 0
    assert_close(out, clean)


def test_outputs_that_are_not_finite_pass_no_gradient_on(assert_close, problem):
    """Of the others, gradients are as if the bad token were not there."""
    args, first = problem(130, 130), first_of("resets", 130, 130)

    @jax.jit
    @jax.grad
    def gradient(args, used):
        return jnp.sum(jnp.where(used[:, None, None], causal_attention(*args, first) ** 2, 0))

    everything = np.ones(130, bool)
    poisoned = [x.copy() for x in args]
    poisoned[2][40, 0, 0] = poisoned[1][45, 1, 0] = poisoned[0][100, 0, 0] = np.nan
    actual = gradient(poisoned, everything)
    assert all(np.isfinite(x).all() for x in actual)
    away = np.r_[0:30, 60:90, 120:130]  # other sequences
    assert_close([x[away] for x in actual], [x[away] for x in gradient(args, everything)])
    assert np.array_equal(actual[0][100, 0], np.zeros(D_K))


@pytest.mark.parametrize("scale", [1e4, 1e-4])
def test_scores_of_any_size_are_exact(assert_close, normal, scale):
    """Of queries and keys that are products of two: their scores have no rounding."""
    q, k = (np.round(normal(name, 130, 1, 4, dtype=np.float32)) for name in "qk")
    q, v = q * np.float32(2 ** np.round(np.log2(scale))), normal("v", 130, 1, 3, dtype=np.float32)
    assert_close(run(q, k, v), by_definition(*(x.astype(np.float64) for x in (q, k, v))))


def test_queries_that_see_no_key_have_the_output_zero(problem):
    args, first = problem(70, 70), np.where(np.arange(70) % 3 == 0, 1000, 0).astype(np.int32)

    @jax.jit
    def results(*args):
        out, pull = jax.vjp(partial(causal_attention, first=first), *args)
        return out, pull(jnp.ones_like(out))

    out, gradients = results(*args)
    assert not np.any(out[::3])
    assert np.all(out[1::3] != 0)
    assert not np.any(gradients[0][::3])
    assert all(np.isfinite(x).all() for x in gradients)


def test_memory_of_the_gradient_grows_with_time_alone(temporary_bytes):
    def gradient(*args):
        return jax.grad(lambda args: jnp.sum(causal_attention(*args)))(args)

    short, long = (temporary_bytes(gradient, *[(time, 2, 64)] * 3) for time in (2048, 8192))
    assert long <= 4.5 * short
    assert (
        long <= 12 * 4 * 256 * 2 * 8192
    )  # Twelve arrays of the scores of 256 queries. All scores would be 32 of them.


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("q", "k", "v", "first", "named"),
    [
        ((5, 3), (5, 3), (5, 4), None, "(5, 3), (5, 3), (5, 4)"),
        ((5, 2, 3), (5, 2, 4), (5, 2, 3), None, "(5, 2, 3), (5, 2, 4), (5, 2, 3)"),
        ((5, 2, 3), (5, 2, 3), (6, 2, 3), None, "(6, 2, 3)"),
        ((5, 2, 3), (4, 2, 3), (4, 2, 3), None, "seen at least time"),
        ((5, 2, 3), (5, 2, 3), (5, 2, 4), np.zeros(4, int), "first has shape (4,)"),
        ((5, 2, 3), (5, 2, 3), (5, 2, 4), np.zeros(5), "dtype float"),
    ],
)
def test_wrong_shapes_are_named(q, k, v, first, named):
    with pytest.raises(InputError, match=re.escape(named)):
        causal_attention(np.zeros(q), np.zeros(k), np.zeros(v), first)
