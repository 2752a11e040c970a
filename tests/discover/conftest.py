"""Gated RNNs whose function is hidden in weights: the invariances of paper A's section 3, and more."""

import numpy as np
import pytest

from twofold.layers import GatedRNN


def weights_of(rnn):
    """lam, w_in_m, w_in_x, w_out_m, w_out_x, readout."""
    return [np.array(w) for w in (rnn.lam, rnn.w_in_m, rnn.w_in_x, rnn.w_out_m, rnn.w_out_x, rnn.readout)]


def with_neurons(weights, lam, w_in_m, w_in_x, w_out_m, w_out_x):
    """More neurons: lam and input rows go below, output columns to the right."""
    added = lam, w_in_m, w_in_x, w_out_m.T, w_out_x.T
    old = *weights[:3], weights[3].T, weights[4].T
    *rows, w_out_m, w_out_x = (np.concatenate(pair) for pair in zip(old, added, strict=True))
    return *rows, w_out_m.T, w_out_x.T, weights[5]


def with_dead_neurons(weights, rng):
    """Three that nothing reads, and two that read nothing."""
    g, i = len(weights[3]), weights[1].shape[1]
    unread = [1.0, 0.0, 0.5], *rng.normal(size=(2, 3, i)), *np.zeros((2, g, 3))
    unfed = [1.0, 0.7], *np.zeros((2, 2, i)), *rng.normal(size=(2, g, 2))
    return with_neurons(with_neurons(weights, *unread), *unfed)


def with_split_neurons(weights, rng):
    """Twins of some neurons, each of the two with a share of what was read from the one."""
    lam, w_in_m, w_in_x, w_out_m, w_out_x, _ = weights
    twins = np.array([0, 2, len(lam) - 1])
    shares = [w[:, twins] * rng.uniform(-1, 2, 3) for w in (w_out_m, w_out_x)]
    w_out_m[:, twins] -= shares[0]
    w_out_x[:, twins] -= shares[1]
    return with_neurons(weights, lam[twins], w_in_m[twins], w_in_x[twins], *shares)


def with_split_rows(weights, rng):
    """Each gate row as two, of any shares of its output; one more that nothing reads."""
    *neurons, w_out_m, w_out_x, readout = weights
    share = rng.uniform(-1, 2, readout.shape[1])
    unread = rng.normal(size=(2, 1, w_out_m.shape[1]))
    readout = np.concatenate([readout * share, readout * (1 - share), np.zeros((len(readout), 1))], 1)
    return *neurons, *(np.concatenate([w, w, u]) for w, u in zip((w_out_m, w_out_x), unread, strict=True)), readout


def permuted_and_scaled(weights, rng):
    lam, w_in_m, w_in_x, w_out_m, w_out_x, readout = weights
    neurons, rows = rng.permutation(len(lam)), rng.permutation(len(w_out_m))
    c, e = rng.uniform(0.5, 2, (2, len(lam), 1))
    f, g = rng.uniform(0.5, 2, (2, len(w_out_m), 1))
    return (
        lam[neurons],
        (c * w_in_m)[neurons],
        (e * w_in_x)[neurons],
        (f * w_out_m / (c * e).T)[rows][:, neurons],
        (g * w_out_x / (c * e).T)[rows][:, neurons],
        (readout / (f * g).T)[:, rows],
    )


def with_mixed_queries(weights, rng):
    """The neurons that forget and whose x branch is the constant 1, mixed by an invertible matrix."""
    lam, w_in_m, w_in_x, w_out_m, w_out_x, readout = weights
    queries = np.flatnonzero((lam == 0) & ~np.any(w_in_x[:, :-1], axis=1))
    assert np.all(w_in_x[queries, -1] == 1)
    mixture = rng.normal(size=(len(queries), len(queries))) + 2 * np.eye(len(queries))
    w_in_m[queries] = mixture @ w_in_m[queries]
    for w in (w_out_m, w_out_x):
        w[:, queries] = np.linalg.solve(mixture.T, w[:, queries].T).T
    return lam, w_in_m, w_in_x, w_out_m, w_out_x, readout


CORRUPTIONS = {
    "mixed queries": with_mixed_queries,
    "dead neurons": with_dead_neurons,
    "split neurons": with_split_neurons,
    "split rows": with_split_rows,
    "permuted and scaled": permuted_and_scaled,
}


@pytest.fixture(scope="session")
def corrupted():
    """`corrupted(rnn, *kinds)`: the same function by other weights; by all `CORRUPTIONS` if none is named."""

    def corrupt(rnn, *kinds, seed=0):
        weights, rng = weights_of(rnn), np.random.default_rng(seed)
        for kind in kinds or CORRUPTIONS:
            weights = CORRUPTIONS[kind](weights, rng)
        return GatedRNN.from_weights(*(w.astype(rnn.readout.dtype) for w in weights))

    return corrupt
