"""The polynomial of a layer is its function of one token, and the distance of two is that of their functions."""

from itertools import combinations_with_replacement

import equinox as eqx
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twofold.convert import FORMS, to_gated_rnn
from twofold.discover import instantaneous_polynomials, polynomial_distance
from twofold.errors import InputError
from twofold.layers import Aaren, GatedRNN, LinearSelfAttention

KEY = jax.random.key(0)
ATTENTION = LinearSelfAttention(3, 2, num_heads=2, key_size=2, key=KEY)
RNN = GatedRNN(3, 2, hidden_size=5, gate_size=4, key=KEY)
LAYERS = {
    "attention": ATTENTION,
    "attention of one head": LinearSelfAttention(2, 3, key=KEY),
    "gated RNN": RNN,
    "dense gated RNN": GatedRNN(2, 1, hidden_size=3, gate_size=5, recurrence="dense", key=KEY),
    "empty gated RNN": GatedRNN(2, 1, hidden_size=0, gate_size=0, key=KEY),
}
every_layer = pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)


def monomials(in_size):
    return list(combinations_with_replacement(range(in_size + 1), 4))


@every_layer
def test_polynomial_is_the_output_for_one_token(normal, assert_close, layer):
    tokens = normal("tokens", 20, layer.in_size)
    with_one = np.pad(tokens, [(0, 0), (0, 1)], constant_values=1)
    values = np.stack([with_one[:, list(m)].prod(1) for m in monomials(layer.in_size)])
    outputs = jax.jit(jax.vmap(lambda x: layer(x[None])[0]))(tokens)
    assert_close(values.T @ instantaneous_polynomials(layer).T, outputs)


def test_attention_is_homogeneous_of_degree_3():
    degrees = np.array([sum(i < 3 for i in m) for m in monomials(3)])
    assert not np.any(instantaneous_polynomials(ATTENTION)[:, degrees != 3])


@pytest.mark.parametrize("form", FORMS)
def test_conversion_is_at_no_distance(form):
    rnn = to_gated_rnn(ATTENTION, form)
    assert polynomial_distance(rnn, ATTENTION) < 1e-12
    assert polynomial_distance(ATTENTION, rnn) < 1e-12


def test_random_rnns_are_far_from_attention():
    for seed in range(5):
        assert polynomial_distance(GatedRNN(3, 2, key=jax.random.key(seed)), ATTENTION) > 0.5


@settings(max_examples=5)
@given(seed=st.integers(0, 2**32 - 1))
def test_distance_does_not_see_permutations_scales_and_swaps_of_the_gates(seed):
    """Neither of neurons nor of gate rows: the function is the same."""
    rng = np.random.default_rng(seed)
    neurons, rows = rng.permutation(5), rng.permutation(4)
    c, e = rng.uniform(-2, 2, (2, 5, 1))
    f, g = rng.uniform(-2, 2, (2, 4, 1))
    weights = (
        RNN.lam[neurons],
        (c * RNN.w_in_x)[neurons],
        (e * RNN.w_in_m)[neurons],
        (f * RNN.w_out_x / (c * e).T)[rows][:, neurons],
        (g * RNN.w_out_m / (c * e).T)[rows][:, neurons],
        (RNN.readout / (f * g).T)[:, rows],
    )
    changed, other = GatedRNN.from_weights(*weights), GatedRNN(3, 2, key=jax.random.key(1))
    assert polynomial_distance(changed, RNN) < 1e-12
    assert polynomial_distance(RNN, changed) < 1e-12
    assert np.isclose(polynomial_distance(changed, other), polynomial_distance(RNN, other), rtol=1e-12)
    assert np.isclose(polynomial_distance(other, changed), polynomial_distance(other, RNN), rtol=1e-12)


def test_distance_is_relative_and_the_mean_over_outputs():
    """Of one output 10% too large and another right."""
    w_v = ATTENTION.w_v.at[:, 0].multiply(1.1)
    larger = LinearSelfAttention.from_weights(w_v, ATTENTION.w_k, ATTENTION.w_q)
    assert np.isclose(polynomial_distance(larger, ATTENTION), 0.05)
    assert np.isclose(polynomial_distance(ATTENTION, larger), 0.05 / 1.1)


def test_layers_of_other_sizes_are_named():
    with pytest.raises(InputError, match="3 to 2 and 2 to 3"):
        polynomial_distance(ATTENTION, LAYERS["attention of one head"])


def test_output_that_is_zero_is_named():
    silent = eqx.tree_at(lambda rnn: rnn.readout, RNN, RNN.readout.at[1].set(0))
    with pytest.raises(InputError, match="output 1 of the second layer is zero"):
        polynomial_distance(ATTENTION, silent)


@pytest.mark.usefixtures("unchecked")
def test_layer_that_is_no_polynomial_is_named():
    with pytest.raises(InputError, match="Aaren is not a polynomial"):
        instantaneous_polynomials(Aaren(3, 2, key=KEY))
