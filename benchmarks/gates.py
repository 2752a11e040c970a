"""The order in which other libraries stack the gates of LSTM and GRU. Equinox, Flax and PyTorch have the same order."""

import numpy as np


def reorder(weight, order: tuple[int, ...], signs: tuple[int, ...]) -> np.ndarray:
    """Put the gates of a weight in another order, and multiply each by a sign."""
    parts = np.split(weight, len(order))
    return np.concatenate([sign * parts[i] for i, sign in zip(order, signs, strict=True)])


def lstm_order(weight):
    """From twofold's order f, c~, g, o to the order i, f, g, o of the others. They call g i, and c~ g."""
    return reorder(weight, (2, 0, 1, 3), (1, 1, 1, 1))


def lstm_order_back(weight):
    """From the order of the others to twofold's order."""
    return reorder(weight, (1, 2, 0, 3), (1, 1, 1, 1))


def gru_order(weight):
    """From twofold's order r, h~, z to the order r, 1 - z, h~ of the others."""
    return reorder(weight, (0, 2, 1), (1, -1, 1))


def gru_order_back(weight):
    """From the order of the others to twofold's order."""
    return reorder(weight, (0, 2, 1), (1, 1, -1))
