"""Scores, polynomials and pruning see the function, whatever the weights look like."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from twofold import InputError
from twofold.convert import FORMS, to_gated_rnn
from twofold.discover import instantaneous_polynomials, neuron_roles, normalise, polynomial_distance, prune, scores
from twofold.layers import Aaren, GatedRNN, LinearSelfAttention

ATTENTION = LinearSelfAttention(3, 2, num_heads=1, key_size=3, key=jax.random.key(0))
RANDOM = GatedRNN(3, 2, hidden_size=12, gate_size=10, key=jax.random.key(1))


def _weights(rnn):
    return [np.asarray(w) for w in (rnn.lam, rnn.w_in_m, rnn.w_in_x, rnn.w_out_m, rnn.w_out_x, rnn.readout)]


def _disguised(rnn, rng):
    """The same function with dead neurons and rows, split neurons and rows, everything rescaled and permuted."""
    lam, w_in_m, w_in_x, w_out_m, w_out_x, readout = _weights(rnn)
    n, g = len(lam), len(w_out_m)
    split = rng.normal(size=n)
    unused = rng.normal(size=(2, w_in_m.shape[1]))
    lam = np.concatenate([lam, lam, [0.3, 1.0]])
    w_in_m, w_in_x = np.concatenate([w_in_m, w_in_m, unused]), np.concatenate([w_in_x, w_in_x, unused])
    w_out_m, w_out_x = (np.concatenate([w * split, w * (1 - split), np.zeros((g, 2))], 1) for w in (w_out_m, w_out_x))
    share = rng.normal(size=g)
    w_out_m = np.concatenate([w_out_m, w_out_m, rng.normal(size=(1, w_out_m.shape[1]))])
    w_out_x = np.concatenate([w_out_x, w_out_x, np.zeros((1, w_out_x.shape[1]))])
    readout = np.concatenate([readout * share, readout * (1 - share), np.ones((len(readout), 1))], 1)
    neurons, rows = rng.permutation(len(lam)), rng.permutation(len(w_out_m))
    by_neuron, by_row = np.exp(rng.normal(size=len(lam)))[:, None], np.exp(rng.normal(size=len(w_out_m)))[:, None]
    return GatedRNN.from_weights(
        lam[neurons],
        (w_in_m * by_neuron)[neurons],
        (w_in_x / by_neuron)[neurons],
        (w_out_m * by_row)[rows][:, neurons],
        (w_out_x / by_row)[rows][:, neurons],
        readout[:, rows],
    )


def _same_function(a, b):
    xs = jax.random.normal(jax.random.key(2), (40, a.in_size))
    return float(jnp.linalg.norm(a(xs) - b(xs)) / jnp.linalg.norm(b(xs)))


@pytest.mark.parametrize(
    "layer", [ATTENTION, RANDOM, to_gated_rnn(ATTENTION, "paper")], ids=["attention", "random", "paper"]
)
def test_the_polynomial_is_what_the_layer_does_with_one_token(layer):
    xs = np.random.default_rng(0).normal(size=(20, 3))
    with_one = np.concatenate([xs, np.ones((20, 1))], 1)
    monomials = [np.prod(with_one[:, list(m)], 1) for m in itertools.combinations_with_replacement(range(4), 4)]
    values = np.transpose(monomials) @ instantaneous_polynomials(layer).T
    np.testing.assert_allclose(values, jax.vmap(layer)(xs[:, None])[:, 0], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("form", FORMS)
def test_a_conversion_has_perfect_scores_and_no_distance(form):
    rnn = to_gated_rnn(ATTENTION, form)
    kv, q = scores(rnn, ATTENTION)
    assert max(abs(kv), abs(q)) < 1e-12
    assert polynomial_distance(rnn, ATTENTION) < 1e-12


def test_a_random_network_is_no_attention():
    assert min(scores(RANDOM, ATTENTION)) > 0.5
    assert polynomial_distance(RANDOM, ATTENTION) > 0.5


def test_memory_that_fades_a_little_scores_a_little_worse():
    exact = to_gated_rnn(ATTENTION, "compact")
    lam, *rest = _weights(exact)
    fading = GatedRNN.from_weights(np.where(lam == 1, 1 - 5e-4, lam), *rest)
    assert 1e-9 < scores(fading, ATTENTION).kv < 1e-2


def test_distance_ignores_what_the_function_does_not_fix():
    disguised = _disguised(RANDOM, np.random.default_rng(0))
    assert polynomial_distance(disguised, RANDOM) < 1e-10


@pytest.mark.parametrize("form", FORMS)
def test_pruning_undoes_a_disguise(form):
    exact = to_gated_rnn(ATTENTION, form)
    disguised = _disguised(exact, np.random.default_rng(1))
    assert _same_function(disguised, exact) < 1e-10
    pruned = prune(disguised)
    assert (pruned.hidden_size, pruned.gate_size) <= (exact.hidden_size, exact.gate_size)
    assert _same_function(pruned, exact) < 1e-6


def test_pruning_moves_the_outputs_by_no_more_than_allowed():
    allowed = 0.1
    pruned = prune(RANDOM, allowed)
    assert pruned.hidden_size + pruned.gate_size < RANDOM.hidden_size + RANDOM.gate_size
    xs = jax.random.normal(jax.random.key(5), (200, 32, 3))
    full, small = jax.vmap(RANDOM)(xs), jax.vmap(pruned)(xs)
    assert jnp.linalg.norm(small - full) < 1.3 * allowed * jnp.linalg.norm(
        full
    )  # other sequences than it was fitted on


def test_pruned_neurons_come_in_the_order_memory_forgetful_other():
    pruned = prune(_disguised(to_gated_rnn(ATTENTION), np.random.default_rng(2)))
    np.testing.assert_array_equal(pruned.lam, sorted(pruned.lam, reverse=True))
    memory, forget, other = neuron_roles(prune(RANDOM, 1e-6))
    np.testing.assert_array_equal(np.argmax([memory, forget, other], 0), sorted(np.argmax([memory, forget, other], 0)))


def test_normalising_keeps_the_function_and_makes_the_largest_entries_one():
    normal = normalise(RANDOM)
    assert _same_function(normal, RANDOM) < 1e-10
    for w in (normal.w_in_m, normal.w_in_x, normal.w_out_m, normal.w_out_x):
        np.testing.assert_allclose(np.abs(w).max(1), 1)
        np.testing.assert_allclose(w.max(1), 1)


def test_what_cannot_be_analysed_is_named():
    dense = GatedRNN(3, 2, recurrence="dense", key=jax.random.key(0))
    broken = GatedRNN.from_weights(*(np.full_like(w, np.nan) if i == 2 else w for i, w in enumerate(_weights(RANDOM))))
    with pytest.raises(InputError, match="dense recurrence"):
        prune(dense)
    with pytest.raises(InputError, match="dense recurrence"):
        scores(dense, ATTENTION)
    with pytest.raises(InputError, match="NaN or infinity"):
        prune(broken)
    with pytest.raises(InputError, match="tolerance is 2"):
        prune(RANDOM, 2.0)
    with pytest.raises(InputError, match="3 features and the attention 4"):
        scores(RANDOM, LinearSelfAttention(4, 2, key=jax.random.key(0)))
    with pytest.raises(InputError, match="must be of equal sizes"):
        polynomial_distance(RANDOM, LinearSelfAttention(4, 2, key=jax.random.key(0)))
    with pytest.raises(InputError, match="output 0 of the second layer is zero"):
        polynomial_distance(RANDOM, LinearSelfAttention.from_weights(np.zeros((2, 3)), np.eye(3), np.eye(3)))


def test_other_layers_are_not_polynomials(unchecked):
    with pytest.raises(InputError, match="Aaren is not a polynomial"):
        instantaneous_polynomials(Aaren(3, 2, key=jax.random.key(0)))
