"""Sequences of several lengths, end to end in rows of one length, so that little of a row is padding."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Int, Shaped


class Packing(NamedTuple):
    """Where each sequence is. A row has one sequence or several, and then padding."""

    lengths: Int[np.ndarray, " sequences"]
    rows: Int[np.ndarray, " sequences"]
    """The row of each sequence."""
    starts: Int[np.ndarray, " sequences"]
    """The place in its row where each sequence begins."""

    def packed(self, xs: Shaped[np.ndarray, "sequences time *rest"]) -> Shaped[np.ndarray, "rows time *rest"]:
        """Sequences that are padded to the length of a row, in their rows. Padding of the rows is zero."""
        sequence, place = np.nonzero(np.arange(xs.shape[1]) < self.lengths[:, None])
        rows = np.zeros((1 + self.rows.max(), *xs.shape[1:]), xs.dtype)
        rows[self.rows[sequence], self.starts[sequence] + place] = xs[sequence, place]
        return rows

    def unpacked(self, rows: Shaped[np.ndarray, "rows time *rest"]) -> Shaped[np.ndarray, "sequences time *rest"]:
        """The sequences of the rows, padded to the length of a row. What the padding is made of is not defined."""
        places = self.starts[:, None] + np.arange(rows.shape[1])
        return rows[self.rows[:, None], np.minimum(places, rows.shape[1] - 1)]


def first_fit(lengths: Int[np.ndarray, " sequences"], row_length: int) -> Packing:
    """Pack sequences, each in the first row that has room for it. No sequence is longer than `row_length`."""
    rows, starts, used = np.zeros((3, len(lengths)), int)
    for i, length in enumerate(lengths):
        row = np.argmax(used + length <= row_length)
        rows[i], starts[i] = row, used[row]
        used[row] += length
    return Packing(lengths, rows, starts)
