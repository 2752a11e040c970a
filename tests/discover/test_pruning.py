"""Pruning takes away what the function does not need, and keeps the function."""

import equinox as eqx
import jax
import numpy as np
import pytest

from twofold.convert import FORMS, to_gated_rnn
from twofold.discover import neuron_roles, prune
from twofold.errors import InputError
from twofold.layers import GatedRNN, LinearSelfAttention

KEY = jax.random.key(0)
ATTENTIONS = {
    "d = 3": LinearSelfAttention(3, 3, key=KEY),
    "two heads, rectangular": LinearSelfAttention(3, 2, num_heads=2, key_size=1, key=KEY),
    "gradient descent": LinearSelfAttention.from_weights(np.eye(4)[2:], np.eye(4)[:2], np.eye(4)[:2]),
}
RNN = GatedRNN(2, 2, hidden_size=8, gate_size=6, key=KEY)


def exactly(rnn):
    """Without what is not missed at all."""
    return prune(rnn, 1e-6, time=8).network


def weights_of(rnn):
    """lam, w_in_m, w_in_x, w_out_m, w_out_x, readout."""
    return [np.array(w) for w in (rnn.lam, rnn.w_in_m, rnn.w_in_x, rnn.w_out_m, rnn.w_out_x, rnn.readout)]


@jax.jit
def outputs(rnn, seed=0):
    return jax.vmap(rnn)(jax.random.normal(jax.random.key(seed), (64, 32, rnn.in_size)))


def difference(a, b, seed=0):
    """Relative and in root mean square, over random sequences."""
    a, b = (np.asarray(outputs(rnn, seed), np.float64) for rnn in (a, b))
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def counts(rnn):
    """Neurons of each role and gate rows."""
    return *(int(role.sum()) for role in neuron_roles(rnn)), rnn.gate_size


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("attention", ATTENTIONS.values(), ids=ATTENTIONS)
def test_corrupted_conversion_shrinks_to_at_most_its_own_size(corrupted, attention, form):
    """The paper's form even to the neurons of the minimal one."""
    conversion = to_gated_rnn(attention, form)
    hidden = corrupted(conversion)
    assert difference(hidden, conversion) < 1e-12
    assert hidden.hidden_size == conversion.hidden_size + 8
    pruned = exactly(hidden)
    *neurons, rows = counts(pruned)
    *least, _ = counts(to_gated_rnn(attention, "minimal") if form == "paper" else conversion)
    assert np.all(np.array(neurons) <= least)
    assert rows <= to_gated_rnn(attention, "compact").gate_size
    assert difference(pruned, conversion, seed=1) < 1e-5


@pytest.mark.parametrize(("seed", "tolerance"), [(0, 1e-1), (0, 1e-2), (1, 1e-1)])
def test_function_moves_less_than_the_tolerance(seed, tolerance):
    """On the sequences it was measured on; on others, up to their chance."""
    rnn = GatedRNN(2, 2, hidden_size=8, gate_size=6, key=jax.random.key(seed))
    pruned = prune(rnn, tolerance).network
    assert difference(pruned, rnn) <= tolerance
    assert difference(pruned, rnn, seed=1) <= 1.25 * tolerance
    assert pruned.hidden_size < 8


def test_float32_network_is_pruned_in_its_own_dtype(corrupted):
    conversion = to_gated_rnn(ATTENTIONS["d = 3"])
    hidden = corrupted(conversion, "dead neurons", "split rows")
    pruned = prune(jax.tree.map(lambda x: x.astype(np.float32), hidden), 1e-4, time=8).network
    assert {x.dtype for x in jax.tree.leaves(pruned)} == {np.dtype("float32")}
    assert all(np.array(counts(pruned)) <= counts(conversion))
    assert difference(pruned, conversion) < 1e-4


def leaky_and_impure(conversion, rng):
    """Memories of lambda a little below 1, and first-degree terms in memories and constants in queries, that cancel."""
    lam, w_in_m, w_in_x, w_out_m, w_out_x, readout = weights_of(conversion)
    memory = lam == 1
    doubled = [np.concatenate([w, w]) for w in (lam, w_in_m, w_in_x)]
    n = len(lam)
    doubled[0][:n][memory], doubled[0][n:][memory] = 1 - 1e-7, 1 - 2e-7
    # 2 h(1 - e) - h(1 - 2e) is h(1) to second order in e; x +- 1 add up to 2 x in the branch m, alike.
    share = np.where(memory, 2.0, 0.5), np.where(memory, -1.0, 0.5)
    doubled[1][:n][~memory, -1] += 1
    doubled[1][n:][~memory, -1] -= 1
    outs = [np.concatenate([w * share[0], w * share[1]], 1) for w in (w_out_m, w_out_x)]
    return GatedRNN.from_weights(*doubled, *outs, readout)


def test_what_training_leaves_impure_is_purified(assert_close):
    conversion = to_gated_rnn(ATTENTIONS["d = 3"], "compact")
    impure = leaky_and_impure(conversion, np.random.default_rng(0))
    assert difference(impure, conversion) < 1e-9
    pruned = exactly(impure)
    assert counts(pruned) == (6, 3, 0, 6)
    assert_close(pruned.lam, np.repeat([1.0, 0.0], [6, 3]))
    assert not np.any(pruned.w_in_m[:, -1])
    assert difference(pruned, conversion) < 1e-8


def test_rows_that_act_as_one_are_merged():
    """As in the paper: three rows, with memories and queries in both branches, whose sum is (m + m')(q + q')."""
    conversion = to_gated_rnn(ATTENTIONS["d = 3"], "compact")
    *neurons, w_out_m, w_out_x, readout = weights_of(conversion)
    m, x = w_out_m[:1], w_out_x[:1]
    a, b = m + x, m - x
    # m x = (a^2 - b^2) / 4
    split = GatedRNN.from_weights(
        *neurons,
        np.concatenate([a, b, 0.3 * m, w_out_m[1:]]),
        np.concatenate([a, b, x, w_out_x[1:]]),
        np.concatenate([readout[:, :1] * [[0.2, -0.2, 0.2 / 0.3]], readout[:, 1:]], 1),
    )
    assert difference(split, conversion) < 1e-12
    pruned = prune(split, 1e-6, time=8)
    assert counts(pruned.network) == counts(conversion)
    assert difference(pruned.network, conversion) < 1e-9


def test_each_removal_says_its_cost():
    rnn = GatedRNN(2, 2, hidden_size=8, gate_size=6, key=KEY)
    pruned = prune(rnn, 0.1)
    neurons = [removal.number for removal in pruned.removals if removal.what == "neuron"]
    rows = [removal for removal in pruned.removals if removal.what == "gate row"]
    assert len(neurons) == len(set(neurons)) == rnn.hidden_size - pruned.network.hidden_size > 0
    assert len(rows) == rnn.gate_size - pruned.network.gate_size
    assert pruned.error == pruned.removals[-1].error
    assert all(0 <= removal.error <= 0.1 for removal in pruned.removals)
    assert abs(difference(pruned.network, rnn) / pruned.error - 1) < 1e-3


def test_neurons_come_as_memory_forgetful_other(assert_close):
    """And in order of lambda among the others."""
    lam = np.array([0.3, 0.0, 1.0, 0.9, 0.0, 1.0, 0.6, 0.1])
    pruned = exactly(GatedRNN.from_weights(lam, *weights_of(RNN)[1:]))
    assert_close(np.sort(pruned.lam[2:])[-4:], np.array([0.1, 0.3, 0.6, 0.9]))
    roles = neuron_roles(pruned)
    order = np.argmax(np.stack(roles), 0)
    assert np.all(np.diff(order) >= 0)
    assert np.all(np.diff(np.asarray(pruned.lam)[roles.other]) <= 0)


def test_pruning_again_changes_nothing():
    once = exactly(to_gated_rnn(ATTENTIONS["d = 3"], "paper"))
    twice = exactly(once)
    assert counts(twice) == counts(once)
    assert difference(twice, once) < 1e-10


@pytest.mark.parametrize("readout", [0.0, 1.0], ids=["nothing is read", "nothing is fed"])
def test_network_of_no_function_is_pruned_away(readout):
    silent = eqx.tree_at(lambda rnn: (rnn.w_in_m, rnn.readout), RNN, (0 * RNN.w_in_m, readout * RNN.readout))
    pruned = prune(silent).network
    assert (pruned.hidden_size, pruned.gate_size) == (0, 0)
    assert not np.any(outputs(pruned))


def test_empty_network_is_pruned_to_itself():
    empty = GatedRNN(2, 2, hidden_size=0, gate_size=0, key=KEY)
    assert prune(empty).network.hidden_size == 0


@pytest.mark.parametrize("tolerance", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_tolerance_outside_0_to_1_is_named(tolerance):
    with pytest.raises(InputError, match=f"tolerance is {tolerance}"):
        prune(RNN, tolerance)


def test_dense_recurrence_is_refused():
    with pytest.raises(InputError, match="dense"):
        prune(GatedRNN(2, 2, recurrence="dense", key=KEY))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["w_in_m", "w_in_x", "w_out_m", "w_out_x", "readout"])
def test_weights_that_are_not_finite_are_refused(name, bad):
    weights = dict(zip(["lam", "w_in_m", "w_in_x", "w_out_m", "w_out_x", "readout"], weights_of(RNN), strict=True))
    weights[name] = np.where(np.arange(weights[name].size).reshape(weights[name].shape) == 1, bad, weights[name])
    with pytest.raises(InputError, match=f"{name} contains {bad}"):
        prune(GatedRNN.from_weights(**weights))


def test_lambda_of_nan_is_refused():
    with pytest.raises(InputError, match="lambda contains nan"):
        prune(eqx.tree_at(lambda rnn: rnn.recurrent, RNN, RNN.recurrent.at[0].set(np.nan)))
