"""A gated RNN that holds what attention holds has scores of 0; others do not."""

import equinox as eqx
import jax
import numpy as np
import pytest

from twofold.convert import FORMS, to_gated_rnn
from twofold.discover import neuron_roles, scores
from twofold.errors import InputError
from twofold.layers import GatedRNN, LinearSelfAttention

KEY = jax.random.key(0)
ATTENTION = LinearSelfAttention(3, 2, num_heads=2, key_size=2, key=KEY)
RNN = GatedRNN(3, 2, hidden_size=5, gate_size=4, key=KEY)
DENSE = GatedRNN(3, 2, hidden_size=5, gate_size=4, recurrence="dense", key=KEY)


def with_lam(rnn, lam):
    return GatedRNN.from_weights(np.array(lam), rnn.w_in_m, rnn.w_in_x, rnn.w_out_m, rnn.w_out_x, rnn.readout)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_conversion_holds_all_key_values_and_queries(form, dtype):
    attention = jax.tree.map(lambda x: x.astype(dtype), ATTENTION)
    assert max(scores(to_gated_rnn(attention, form), attention)) < 1e-10


def test_mixed_neurons_hold_as_much(normal):
    """The regressions see through any scale of the neurons and any order."""
    rnn = to_gated_rnn(ATTENTION, "paper")
    order, scale = np.random.default_rng(0).permutation(rnn.hidden_size), normal("scale", rnn.hidden_size, 1)
    weights = (scale * rnn.w_in_m)[order], rnn.w_in_x[order], rnn.w_out_m, rnn.w_out_x, rnn.readout
    assert max(scores(GatedRNN.from_weights(rnn.lam[order], *weights), ATTENTION)) < 1e-10


def test_random_neurons_hold_little():
    for seed in range(3):
        rnn = GatedRNN(3, 2, hidden_size=6, key=jax.random.key(seed))
        result = scores(with_lam(rnn, [0.0, 1.0] * 3), ATTENTION)
        assert 0.05 < result.kv <= 1
        assert 0.05 < result.q <= 1


def test_neurons_of_neither_role_do_not_count():
    result = scores(with_lam(RNN, [0.5] * 5), ATTENTION)
    assert result == (1, 1)


def test_each_score_is_of_its_own_neurons():
    """Without memories the queries are all there, and without queries the key-values."""
    rnn = to_gated_rnn(ATTENTION)
    lam = np.asarray(rnn.lam)
    result = scores(with_lam(rnn, np.where(lam == 1, 0.5, lam)), ATTENTION)
    assert result.kv == 1
    assert result.q < 1e-10
    result = scores(with_lam(rnn, np.where(lam == 0, 0.5, lam)), ATTENTION)
    assert result.kv < 1e-10
    assert result.q == 1


def test_missing_half_of_the_queries_is_half_the_score():
    """Of two queries, of equal variance, one neuron holds the first."""
    attention = LinearSelfAttention.from_weights(np.eye(2), np.eye(2), np.eye(2))
    rnn = to_gated_rnn(attention)
    assert scores(with_lam(rnn, rnn.lam.at[-1].set(0.5)), attention).q == pytest.approx(0.5, abs=0.03)


def test_roles_are_by_lambda():
    rnn = with_lam(RNN, [0.0, 0.009, 0.02, 0.985, 0.995])
    memory, forget, other = neuron_roles(rnn)
    assert memory.tolist() == [0, 0, 0, 0, 1]
    assert forget.tolist() == [1, 1, 0, 0, 0]
    assert other.tolist() == [0, 0, 1, 1, 0]
    assert neuron_roles(rnn, tolerance=0.1).memory.tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize(
    ("rnn", "attention", "named"),
    [
        (RNN, LinearSelfAttention(2, 2, key=KEY), "3 features and the attention 2"),
        (DENSE, ATTENTION, "dense"),
        (
            eqx.tree_at(lambda rnn: rnn.recurrent, RNN, RNN.recurrent.at[0].set(np.nan)),
            ATTENTION,
            "lambda contains nan",
        ),
        (eqx.tree_at(lambda rnn: rnn.w_in_m, RNN, RNN.w_in_m.at[0].set(np.nan)), ATTENTION, "(?i)nan"),
        (RNN, eqx.tree_at(lambda a: a.w_v, ATTENTION, ATTENTION.w_v.at[0, 0].set(np.nan)), "(?i)nan"),
    ],
    ids=["sizes", "dense", "NaN lambda", "NaN in the RNN", "NaN in the attention"],
)
def test_what_has_no_scores_is_named(rnn, attention, named):
    with pytest.raises(InputError, match=named):
        scores(rnn, attention)


@pytest.mark.parametrize("zero", ["w_v", "w_k", "w_q"])
def test_attention_without_key_values_or_queries_has_no_scores(zero):
    """R^2 is of no meaning where the target never varies."""
    attention = eqx.tree_at(lambda a: getattr(a, zero), ATTENTION, 0 * getattr(ATTENTION, zero))
    with pytest.raises(InputError):
        scores(RNN, attention)


def test_dense_recurrence_has_no_roles():
    with pytest.raises(InputError, match="dense"):
        neuron_roles(DENSE)
