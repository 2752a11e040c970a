"""Weights in float64 are those of the layer, with the same outputs; what cannot be used is named."""

import equinox as eqx
import jax
import numpy as np
import pytest

from twofold import InputError
from twofold.forms import attention_weights, check_finite, cubic_form, gated_rnn_weights
from twofold.layers import LSTM, GatedRNN, LinearSelfAttention

KEY = jax.random.key(0)
RNN = GatedRNN(3, 2, hidden_size=5, gate_size=4, key=KEY)
ATTENTION = LinearSelfAttention(3, 2, num_heads=2, key_size=2, key=KEY)


def test_outputs_are_those_of_the_layer(normal, assert_close):
    xs = normal("x", 2, 10, 3)
    assert_close(gated_rnn_weights(RNN).outputs(xs), jax.vmap(RNN)(xs))


def test_float32_weights_are_read_in_float64():
    rnn, attention = jax.tree.map(lambda w: w.astype(np.float32), (RNN, ATTENTION))
    assert {w.dtype for w in (*gated_rnn_weights(rnn), *attention_weights(attention))} == {np.dtype("float64")}
    assert np.array_equal(gated_rnn_weights(rnn).readout, rnn.readout)


def test_forms_are_the_output_for_one_token(normal, assert_close):
    weights, x = gated_rnn_weights(RNN), normal("x", 3)
    tensor, with_one = weights.product(*weights.branches()), np.append(x, 1)
    assert_close(np.einsum("oabcd,a,b,c,d->o", tensor, *[with_one] * 4), RNN(x[None])[0])
    cubic = cubic_form(attention_weights(ATTENTION).w_v, attention_weights(ATTENTION).b)
    assert_close(np.einsum("oabc,a,b,c->o", cubic, x, x, x), ATTENTION(x[None])[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["w_in_m", "w_in_x", "w_out_m", "w_out_x", "readout"])
def test_weights_of_a_gated_rnn_that_are_not_finite_are_named(name, bad):
    with pytest.raises(InputError, match=f"{name} contains {bad}; all weights must be finite"):
        gated_rnn_weights(eqx.tree_at(lambda r: getattr(r, name), RNN, getattr(RNN, name).at[0, 0].set(bad)))


@pytest.mark.parametrize("name", ["w_v", "w_k", "w_q"])
def test_weights_of_attention_that_are_not_finite_are_named(name):
    with pytest.raises(InputError, match=f"{name} contains nan"):
        attention_weights(
            eqx.tree_at(lambda a: getattr(a, name), ATTENTION, getattr(ATTENTION, name).at[0].set(np.nan))
        )


def test_lambda_of_nan_is_named():
    with pytest.raises(InputError, match=r"lambda contains nan; every entry must lie in \[0, 1\]"):
        gated_rnn_weights(eqx.tree_at(lambda r: r.recurrent, RNN, RNN.recurrent.at[0].set(np.nan)))


def test_other_layers_and_dense_recurrences_are_refused(unchecked):
    with pytest.raises(InputError, match="a LSTM has no neurons of one lambda each; only a GatedRNN has"):
        gated_rnn_weights(LSTM(2, 2, key=KEY))
    dense = GatedRNN(2, 2, recurrence="dense", key=KEY)
    with pytest.raises(InputError, match="dense recurrence"):
        gated_rnn_weights(dense)
    assert gated_rnn_weights(dense, dense=True).lam.shape == (4, 4)


def test_whole_numbers_are_finite():
    check_finite("w", np.arange(3))
