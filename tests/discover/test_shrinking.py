"""A network shrinks to the gate rows that its function needs, and becomes exact on the way."""

import jax
import numpy as np

from twofold.convert import to_gated_rnn
from twofold.discover import prune, shrink
from twofold.layers import GatedRNN, LinearSelfAttention

TEACHER = LinearSelfAttention(2, 2, key=jax.random.key(0))


def difference(a, b):
    """Relative and in root mean square, over random sequences."""
    xs = jax.random.normal(jax.random.key(1), (64, 32, 2))
    a, b = (np.asarray(jax.vmap(layer)(xs)) for layer in (a, b))
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def test_a_worn_network_becomes_the_compact_construction_in_size():
    """The paper's form has four rows where three suffice. Its weights are off by a percent."""
    paper, noise = to_gated_rnn(TEACHER, "paper"), np.random.default_rng(0)
    worn = jax.tree.map(lambda w: w * (1 + 1e-3 * noise.normal(size=w.shape)), paper)
    found = shrink(worn, TEACHER, 1e-2)
    assert found.exact
    assert (found.network.hidden_size, found.network.gate_size) == (5, 3)
    assert difference(found.network, TEACHER) < 1e-9


def test_rows_stay_as_wanted():
    """Of two heads of size 4, pruning leaves a row for each output and query."""
    heads = LinearSelfAttention(4, 4, num_heads=2, key_size=4, key=jax.random.key(0))
    assert shrink(to_gated_rnn(heads), heads, gate_size=16).network.gate_size == 16


def test_a_network_that_cannot_be_the_target_keeps_the_rows_that_pruning_leaves():
    small = GatedRNN(2, 2, hidden_size=2, gate_size=3, key=jax.random.key(0))
    found = shrink(small, TEACHER)
    assert not found.exact
    assert found.network.gate_size == prune(small, 1e-3).network.gate_size > 0
    assert found.losses[-1] < found.losses[0]
