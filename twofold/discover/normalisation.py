"""Normal weights of a gated RNN: one choice among all the weights that compute the same function."""

import jax.numpy as jnp
import numpy as np

from ..forms import Matrix, gated_rnn_weights
from ..layers import GatedRNN
from .scoring import neuron_roles


def normalise(rnn: GatedRNN) -> GatedRNN:
    """The network with the same function as `rnn` and weights that can be compared (paper A, section 3.1).

    - Neurons come in the order memory, forgetful, other (`neuron_roles`). Within each role they come in order of lambda.
    - The two branches of a gate may be exchanged. Here x reads the constant at the input, and m reads the memory at the
      output.
    - Queries are the neurons with lambda = 0 that are linear in the token. Any invertible matrix may mix them. Here each query
      reads one feature that the others do not read. If there are as many queries as features, it reads nothing else.
    - The rows of the gates' matrices may be scaled where the next matrix undoes it. Here the largest entry of every row is 1.
    - Gate rows come in the order of the query that they read most, and then of the memory neuron that they read most.

    **Raises:** `InputError` for any other layer, for a dense recurrence, and for weights that are not finite.
    """
    roles = neuron_roles(rnn)
    lam, w_in_m, w_in_x, w_out_m, w_out_x, readout = gated_rnn_weights(rnn)
    order = np.lexsort((-lam, np.select([roles.memory, roles.forget], [0, 1], 2)))
    memory, forget, _ = (role[order] for role in roles)
    lam, w_in_m, w_in_x = lam[order], w_in_m[order], w_in_x[order]
    w_out_m, w_out_x = w_out_m[:, order], w_out_x[:, order]

    w_in_m, w_in_x = _exchanged(w_in_m, w_in_x, abs(_unit_rows(w_in_m)[0][:, -1]) > abs(_unit_rows(w_in_x)[0][:, -1]))
    (w_in_m, of_m), (w_in_x, of_x) = _unit_rows(w_in_m), _unit_rows(w_in_x)
    w_out_m, w_out_x = w_out_m * (of_m * of_x), w_out_x * (of_m * of_x)

    queries = np.flatnonzero((lam == 0) & ~np.any(w_in_x[:, :-1], 1) & (w_in_m[:, -1] == 0))
    unmixed, mixture = _unmixed(w_in_m[queries])
    w_in_m[queries] = unmixed
    w_out_m[:, queries], w_out_x[:, queries] = w_out_m[:, queries] @ mixture, w_out_x[:, queries] @ mixture

    read = [
        np.linalg.norm(w[:, memory], axis=1) / np.maximum(np.linalg.norm(w, axis=1), TINY) for w in (w_out_m, w_out_x)
    ]
    w_out_m, w_out_x = _exchanged(w_out_m, w_out_x, read[1] > read[0])
    (w_out_m, of_m), (w_out_x, of_x) = _unit_rows(w_out_m), _unit_rows(w_out_x)
    readout = readout * (of_m * of_x)
    order = np.lexsort((_most_read(w_out_m[:, memory]), _most_read(w_out_x[:, forget])))
    weights = lam, w_in_m, w_in_x, w_out_m[order], w_out_x[order], readout[:, order]
    return GatedRNN.from_weights(*(jnp.asarray(w, rnn.readout.dtype) for w in weights))


TINY = np.finfo(float).tiny


def _exchanged(m: Matrix, x: Matrix, rows: Matrix) -> tuple[Matrix, Matrix]:
    """The two branches, where some rows of m and x are exchanged."""
    return np.where(rows[:, None], x, m), np.where(rows[:, None], m, x)


def _unmixed(queries: Matrix) -> tuple[Matrix, Matrix]:
    """Rows Q' that span what Q spans, and the mixture Q = mixture Q'. Each has a feature to itself, and a largest entry of 1."""
    k = len(queries)
    if k == 0 or np.linalg.matrix_rank(queries) < k:
        return queries, np.eye(k)
    from scipy.linalg import qr  # imported here, because it takes as long as all of twofold

    own = np.sort(qr(queries, mode="r", pivoting=True)[1][:k])
    rows, sizes = _unit_rows(np.linalg.solve(queries[:, own], queries))
    rows[:, own] = np.diag(np.diag(rows[:, own]))  # Exactly.
    return rows, queries[:, own] * sizes


def _unit_rows(w: Matrix) -> tuple[Matrix, Matrix]:
    """`w` with a largest entry of 1 in each row, and the factors that were taken out. A zero row stays."""
    if w.size == 0:
        return w, np.ones(len(w))
    largest = np.take_along_axis(w, np.abs(w).argmax(1)[:, None], 1)[:, 0]
    factor = np.where(largest == 0, 1, largest)
    return w / factor[:, None], factor


def _most_read(w: Matrix) -> Matrix:
    """The neuron that each gate row reads most."""
    return abs(w).argmax(1) if w.size else np.zeros(len(w))
