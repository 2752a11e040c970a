"""Attention needs as many memory neurons as the minimal form has."""

import numpy as np
import pytest

from twofold.convert import minimal_memory, to_gated_rnn
from twofold.layers import LinearSelfAttention


@pytest.mark.parametrize(("d", "rank"), [(3, 1), (3, 2), (4, 2)])
def test_fewer_memory_neurons_than_the_minimal_form_has_lose_something(normal, d, rank):
    """The best that any search finds is what the singular values forbid to beat; with as many as the form has, nothing."""
    w_v, w_k, w_q = (normal(f"{n} left", d, rank) @ normal(f"{n} right", rank, d) for n in "vkq")
    attention = LinearSelfAttention.from_weights(w_v, w_k, w_q)
    needed = int(np.sum(to_gated_rnn(attention, "minimal").lam == 1))
    assert minimal_memory.best_fit(attention, needed, starts=2) < 1e-5
    assert minimal_memory.least_loss(attention, needed) < 1e-12
    bound = minimal_memory.least_loss(attention, needed - 1)
    assert bound > 1e-6
    assert minimal_memory.best_fit(attention, needed - 1, starts=2) >= bound * (1 - 1e-6)
