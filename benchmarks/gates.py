"""The order in which libraries stack the gates of LSTM and GRU, which is that of Equinox, Flax and PyTorch alike."""

import numpy as np


def reorder(weight, order: tuple[int, ...], signs: tuple[int, ...]) -> np.ndarray:
    """The gates of a weight in another order, with these signs."""
    parts = np.split(weight, len(order))
    return np.concatenate([sign * parts[i] for i, sign in zip(order, signs, strict=True)])


def lstm_order(weight):
    """f, c~, g, o to the order of the others, who call them f, g, i, o: i, f, g, o."""
    return reorder(weight, (2, 0, 1, 3), (1, 1, 1, 1))


def lstm_order_back(weight):
    return reorder(weight, (1, 2, 0, 3), (1, 1, 1, 1))


def gru_order(weight):
    """r, h~, z to the order r, 1 - z, h~ of the others."""
    return reorder(weight, (0, 2, 1), (1, -1, 1))


def gru_order_back(weight):
    return reorder(weight, (0, 2, 1), (1, 1, -1))
