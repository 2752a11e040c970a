"""Does a gated RNN hold what attention holds? Its memory would hold key-values, and its forgetful neurons queries."""

from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Bool

from ..errors import InputError
from ..forms import attention_weights, gated_rnn_weights, states
from ..layers import GatedRNN, LinearSelfAttention

PERFECT = 1e-2
"""A lambda this near to 1 counts as perfect memory, and this near to 0 as perfect forgetting. The paper states no cut."""


class Roles(NamedTuple):
    """What each hidden neuron does, by its lambda."""

    memory: Bool[np.ndarray, " n"]
    """Neurons with lambda = 1, which sum over all tokens."""
    forget: Bool[np.ndarray, " n"]
    """Neurons with lambda = 0, which see the present token only."""
    other: Bool[np.ndarray, " n"]
    """All other neurons."""


class Scores(NamedTuple):
    """1 - R^2 of linear regressions from hidden neurons (paper A, table 1). 0 means that they hold all, and 1 nothing."""

    kv: float
    """The score of the true accumulated key-values, sum_s v_s k_s^T, predicted from the memory neurons."""
    q: float
    """The score of the true queries, predicted from the forgetful neurons."""


def neuron_roles(rnn: GatedRNN, tolerance: float = PERFECT) -> Roles:
    """The roles of the neurons of a diagonal `rnn`. A lambda within `tolerance` of 1 (0) counts as memory (forgetting).

    **Raises:** `InputError` for any other layer, for a dense recurrence, and for weights that are not finite.
    """
    lam = gated_rnn_weights(rnn).lam
    memory, forget = lam >= 1 - tolerance, lam <= tolerance
    return Roles(memory, forget, ~memory & ~forget)


def scores(
    rnn: GatedRNN, attention: LinearSelfAttention, *, time: int = 32, sequences: int = 128, seed: int = 0
) -> Scores:
    """The KV and Q scores of `rnn` against `attention`, over random unit Gaussian sequences.

    **Arguments:**

    - `time`, `sequences`, `seed`: the length, the number and the seed of the sequences that the regressions are fitted on.

    **Raises:** `InputError` if sizes differ, for a dense recurrence, for weights that are not finite, and for an attention whose
    key-values or queries are zero.
    """
    if rnn.in_size != attention.in_size:
        raise InputError(f"the RNN takes {rnn.in_size} features and the attention {attention.in_size}; they must agree")
    memory, forget, _ = neuron_roles(rnn)
    xs = np.asarray(jax.random.normal(jax.random.key(seed), (sequences, time, rnn.in_size)), np.float64)
    h = states(*gated_rnn_weights(rnn)[:3], xs)
    v, k, q = (np.einsum("hri,nti->nthr", w, xs) for w in attention_weights(attention))
    kv = np.cumsum(np.einsum("ntho,nthk->nthok", v, k), axis=1)
    return Scores(_unexplained(kv, h[..., memory]), _unexplained(q, h[..., forget]))


def _unexplained(targets: np.ndarray, features: np.ndarray) -> float:
    """1 - R^2 of the best affine prediction of `targets`, over all of them together."""
    samples = targets.shape[0] * targets.shape[1]
    targets = targets.reshape(samples, -1)
    targets = targets - targets.mean(0)
    if not np.any(targets):
        raise InputError("the attention's key-values or queries are zero for every token; there is nothing to predict")
    features = features.reshape(samples, -1)
    features = features - features.mean(0)
    spread = features.std(0)
    features = features[:, spread > 0] / spread[spread > 0]
    fit = np.linalg.lstsq(features, targets, rcond=1e-12)[0]
    return float(np.sum((targets - features @ fit) ** 2) / np.sum(targets**2))
