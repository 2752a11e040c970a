"""Normalised weights compute the same function, and every row of the gates has a largest entry of 1."""

import equinox as eqx
import jax
import numpy as np
import pytest

from twofold import InputError
from twofold.convert import FORMS, to_gated_rnn
from twofold.discover import normalise
from twofold.layers import GatedRNN, LinearSelfAttention

KEY = jax.random.key(0)
RNN = GatedRNN(3, 2, hidden_size=5, gate_size=4, key=KEY)
NETWORKS = {
    "diagonal": RNN,
    "zero rows": eqx.tree_at(
        lambda rnn: (rnn.w_in_m, rnn.w_out_x), RNN, (RNN.w_in_m.at[2].set(0), RNN.w_out_x.at[1].set(0))
    ),
    "float32": jax.tree.map(lambda x: x.astype(np.float32), RNN),
    "empty": GatedRNN(3, 2, hidden_size=0, gate_size=0, key=KEY),
    **{form: to_gated_rnn(LinearSelfAttention(3, 2, num_heads=2, key_size=2, key=KEY), form) for form in FORMS},
}
every_network = pytest.mark.parametrize("rnn", NETWORKS.values(), ids=NETWORKS)


@every_network
def test_function_is_the_same(normal, assert_close, rnn):
    xs = normal("x", 10, 3)
    normalised = normalise(rnn)
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(normalised)] == [
        (x.shape, x.dtype) for x in jax.tree.leaves(rnn)
    ]
    assert_close(normalised(xs), rnn(xs))


@every_network
def test_largest_entry_of_each_row_is_1(rnn):
    """That is the entry of the largest size; rows of zeros stay."""
    normalised = normalise(rnn)
    for name in ("w_in_m", "w_in_x", "w_out_m", "w_out_x"):
        rows = np.asarray(getattr(normalised, name))
        some = np.any(rows != 0, axis=1)
        assert np.all(np.max(rows[some], axis=1, initial=0) == 1)
        assert np.all(np.abs(rows) <= 1)
        before = [np.any(np.asarray(w) != 0, axis=1).sum() for w in (rnn.w_in_m, rnn.w_in_x, rnn.w_out_m, rnn.w_out_x)]
        after = [
            np.any(np.asarray(w) != 0, axis=1).sum()
            for w in (normalised.w_in_m, normalised.w_in_x, normalised.w_out_m, normalised.w_out_x)
        ]
        assert (sum(before[:2]), sum(before[2:])) == (sum(after[:2]), sum(after[2:]))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "kinds", [("mixed queries",), ("mixed queries", "permuted and scaled")], ids=["mixed", "and permuted and scaled"]
)
def test_queries_are_unmixed_and_rows_put_in_order(corrupted, assert_close, form, kinds):
    """The weights of a conversion come back, up to the order of the memory neurons."""
    conversion = normalise(to_gated_rnn(LinearSelfAttention(3, 3, key=KEY), form))
    hidden = normalise(corrupted(to_gated_rnn(LinearSelfAttention(3, 3, key=KEY), form), *kinds))
    queries = np.asarray(conversion.lam) == 0
    np.testing.assert_allclose(hidden.w_in_m[queries], np.eye(3, 4), atol=1e-12)
    np.testing.assert_allclose(hidden.w_in_x[queries], np.eye(4)[[3, 3, 3]], atol=1e-12)
    assert_close(hidden.lam, conversion.lam)
    reads = np.argmax(np.abs(np.asarray(hidden.w_out_x)[:, queries]), 1)
    assert np.all(np.diff(reads) >= 0)


def test_branches_are_put_right():
    """The constant is read in x at the input, the memory in m at the output."""
    rnn = to_gated_rnn(LinearSelfAttention(3, 3, key=KEY))
    exchanged = GatedRNN.from_weights(rnn.lam, rnn.w_in_x, rnn.w_in_m, rnn.w_out_x, rnn.w_out_m, rnn.readout)
    normalised = normalise(exchanged)
    memory = np.asarray(normalised.lam) == 1
    assert not np.any(normalised.w_in_m[:, -1])
    assert not np.any(np.asarray(normalised.w_out_x)[:, memory])


def test_dense_recurrence_is_refused():
    with pytest.raises(InputError, match="dense recurrence"):
        normalise(GatedRNN(3, 2, recurrence="dense", key=KEY))


def test_normalised_is_normalised(assert_close):
    once = normalise(RNN)
    assert_close(normalise(once), once)


def test_scales_leave_no_trace(normal, assert_close):
    """Rows scaled by any factors, undone in the next matrix, normalise to the same weights."""
    c, e, f, g = (normal(f"scale {i}", size, 1) for i, size in enumerate([5, 5, 4, 4]))
    scaled = GatedRNN.from_weights(
        RNN.lam,
        c * RNN.w_in_m,
        e * RNN.w_in_x,
        f * RNN.w_out_m / (c * e).T,
        g * RNN.w_out_x / (c * e).T,
        RNN.readout / (f * g).T,
    )
    assert_close(normalise(scaled), normalise(RNN), rtol=1e-11)
