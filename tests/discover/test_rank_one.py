"""Matrices of rank one are found that span what a sum of attention heads reaches."""

import numpy as np
import pytest

from twofold.discover.rank_one import rank_one_basis

RNG = np.random.default_rng(1)


def reached(d, heads):
    """The sums of W S B over the heads, for all symmetric S."""
    w, b = RNG.normal(size=(2, heads, d, d))
    pairs = [np.eye(d)[:, [i]] * np.eye(d)[j] for i in range(d) for j in range(i + 1)]
    return np.array([np.einsum("hoa,ab,hbq->oq", w, s + s.T, b) for s in pairs])


def missed(matrices):
    """What no mixture of the matrices found reaches, relative to the largest entry."""
    u, v = rank_one_basis(matrices)
    assert len(u) == len(v) <= len(matrices)
    found, rows = np.einsum("ro,rq->roq", u, v).reshape(len(u), -1), matrices.reshape(len(matrices), -1)
    mixtures = np.linalg.lstsq(found.T, rows.T, rcond=None)[0]
    return np.max(np.abs(mixtures.T @ found - rows)) / np.max(np.abs(rows))


@pytest.mark.parametrize(("d", "heads"), [(2, 1), (4, 1), (6, 1), (3, 2)])
def test_the_same_is_spanned(d, heads):
    assert missed(reached(d, heads)) < 1e-6


def test_what_no_matrix_of_rank_one_is_near_is_missed():
    """All mixtures of two rotations of the plane have rank 2."""
    assert missed(np.array([[[1.0, 0], [0, 1]], [[0, -1], [1, 0]]])) > 0.1
