"""As many heads as there are features are found, to rounding: alone, and behind the weights of a conversion."""

import jax
import numpy as np
import pytest

from twofold.convert import FORMS, to_gated_rnn
from twofold.discover import decompile
from twofold.discover.heads import fitted_heads
from twofold.forms import attention_weights, cubic_form, symmetric
from twofold.layers import LinearSelfAttention


def form(d, out, heads, key_size):
    weights = attention_weights(LinearSelfAttention(d, out, num_heads=heads, key_size=key_size, key=jax.random.key(3)))
    return cubic_form(weights.w_v, weights.b)


@pytest.mark.parametrize(
    ("d", "out", "heads", "key_size"),
    [(2, 2, 2, 1), (3, 3, 3, 1), (4, 4, 4, 1), (4, 3, 2, 2), (6, 6, 6, 1), (6, 2, 3, 2), (8, 8, 4, 2), (8, 8, 6, 8)],
)
def test_heads_are_found_to_rounding(d, out, heads, key_size):
    cubic = form(d, out, heads, key_size)
    w_v, b = fitted_heads(cubic, d, 1e-14)
    assert len(w_v) == heads
    assert np.linalg.norm(cubic - cubic_form(w_v, b)) < 1e-13 * np.linalg.norm(cubic)


@pytest.mark.parametrize("noise", [1e-2, 1e-4])
def test_no_head_is_spent_on_noise(normal, noise):
    cubic = form(5, 5, 3, 2)
    worn = symmetric(normal("worn", *cubic.shape))
    size = noise * np.linalg.norm(cubic) / np.linalg.norm(worn)
    w_v, b = fitted_heads(cubic + size * worn, 5, noise)
    assert len(w_v) == 3
    assert np.linalg.norm(cubic - cubic_form(w_v, b)) < noise * np.linalg.norm(cubic)


def test_no_more_heads_are_taken_than_allowed():
    """One, and at most three, where it takes four."""
    cubic = form(4, 4, 4, 1)
    fits = [fitted_heads(cubic, heads, 0.0) for heads in (1, 3)]
    assert [len(w_v) <= heads for heads, (w_v, _) in zip((1, 3), fits, strict=True)] == [True, True]
    one, three = (np.linalg.norm(cubic - cubic_form(*fit)) for fit in fits)
    assert np.linalg.norm(cubic) > one > 2 * three > 0


def test_no_form_takes_one_head_of_zeros():
    w_v, b = fitted_heads(np.zeros((2, 3, 3, 3)), 3, 1e-14)
    assert (len(w_v), np.any(cubic_form(w_v, b))) == (1, False)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-6)])
@pytest.mark.parametrize(("d", "heads"), [(3, 3), (6, 3), (8, 4)])
def test_conversions_of_many_heads_are_attention(d, heads, dtype, tolerance):
    source = LinearSelfAttention(d, d, num_heads=heads, key=jax.random.key(3))
    found = decompile(to_gated_rnn(jax.tree.map(lambda w: w.astype(dtype), source)))
    assert found.residual < tolerance
    assert found.report.startswith("attention with")
    assert "over 32 tokens" in found.report


@pytest.mark.parametrize("cases", [5, pytest.param(500, marks=pytest.mark.long)])
def test_every_exact_conversion_comes_back(cases):
    """1 to 6 heads, 2 to 8 features, 1 to 8 outputs, any rank, form and dtype."""
    rng = np.random.default_rng(11)
    for _ in range(cases):
        d, out, heads = rng.integers(2, 9), rng.integers(1, 9), rng.integers(1, 7)
        rank = rng.choice([1, 2, max(1, d // 2), d])
        dtype, form = rng.choice(["float64", "float32"]), rng.choice(list(FORMS))
        weights = (rng.normal(size=(heads, rows, d)) / d**0.5 for rows in (out, rank, rank))
        source = LinearSelfAttention.from_weights(*(w.astype(dtype) for w in weights))
        found = decompile(to_gated_rnn(source, form))
        # The heads that are found may nearly cancel. Their rounding is then a hundred times that of their sum.
        assert found.residual < (1e-10 if dtype == "float64" else 1e-4), (d, out, heads, rank, dtype, form)
