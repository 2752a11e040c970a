"""Packing loses nothing: every sequence is in one row, and comes back whole."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from twofold.data.packing import first_fit


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30))
def test_sequences_are_whole_in_their_rows(lengths):
    lengths = np.array(lengths)
    packing = first_fit(lengths, 9)
    real = np.arange(9) < lengths[:, None]
    xs = np.where(real, np.arange(1, 1 + real.size).reshape(real.shape), -1)
    rows = packing.packed(xs)
    assert sorted(rows[rows != 0]) == sorted(xs[real])
    assert np.array_equal(packing.unpacked(rows)[real], xs[real])
    used = np.count_nonzero(rows, 1)
    assert all(used[:-1] + used[1:] > 9)  # or else the second row would have been put in the first


def test_sequences_of_one_length_have_a_row_each():
    packing = first_fit(np.full(4, 5), 5)
    assert (packing.rows.tolist(), packing.starts.tolist()) == ([0, 1, 2, 3], [0, 0, 0, 0])
