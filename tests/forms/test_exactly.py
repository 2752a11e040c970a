"""The outputs in float64 are within their bound of those in a wider format."""

import jax
import numpy as np
import pytest

from twofold.forms import attention_weights, exact_outputs, gated_rnn_weights
from twofold.layers import GatedRNN, LinearSelfAttention


@pytest.mark.skipif(np.finfo(np.longdouble).eps > 1e-18, reason="long double is no wider than float64 here")
@pytest.mark.usefixtures("unchecked")  # annotations know no long double
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", [LinearSelfAttention, GatedRNN])
def test_rounding_is_within_its_bound(normal, kind, seed):
    layer = kind(3, 2, **({"key_size": 2} if kind is LinearSelfAttention else {}), key=jax.random.key(seed))
    xs = normal(f"x {seed}", 4, 500, 3)
    outputs, bound = exact_outputs(layer, xs)
    if isinstance(layer, LinearSelfAttention):
        weights = attention_weights(layer)
    else:
        weights = gated_rnn_weights(layer)._replace(lam=np.exp(-np.exp(np.asarray(layer.recurrent, np.longdouble))))
    wide = type(weights)(*(np.asarray(w, np.longdouble) for w in weights)).outputs(np.asarray(xs, np.longdouble))
    off = np.abs(wide - outputs)
    assert np.all(off <= bound)
    assert np.max(off) > 0
    assert np.max(bound) < 1e-9 * np.max(np.abs(outputs))
