"""The normal equations of a gated RNN: J^T J and J^T e, for the slopes J of all outputs and their misses e, without J itself.

With M = W_out_m h and X = W_out_x h, the outputs are y_o = sum_g D_og M_g X_g. So the slope of y_o down entry (g, i) of
W_out_m is D_og times X_g h_i, and X_g h_i is the same for all outputs. These slopes are most of J. Their part of J^T J is one
product of matrices for all outputs together, times D^T D. With d outputs, this takes 1/d of the time that J takes.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from ..forms import GatedRNNWeights, Matrix, accumulated


class Parameters(NamedTuple):
    """The weights by what they act on."""

    neurons: Float[Matrix, "n lambda_and_inputs"]
    """lambda, w_in_m and w_in_x of each neuron."""
    gates: Float[Matrix, "factors n"]
    """w_out_m, and below it w_out_x."""
    readout: Float[Matrix, "out g"]

    @classmethod
    def of(cls, weights: GatedRNNWeights) -> "Parameters":
        lam, w_in_m, w_in_x, w_out_m, w_out_x, readout = weights
        return cls(np.column_stack([lam, w_in_m, w_in_x]), np.concatenate([w_out_m, w_out_x]), readout)

    def weights(self) -> GatedRNNWeights:
        lam, w_in_m, w_in_x = np.split(self.neurons, [1, 1 + self.neurons.shape[1] // 2], axis=1)
        w_out_m, w_out_x = np.split(self.gates, 2)
        return GatedRNNWeights(lam[:, 0], w_in_m, w_in_x, w_out_m, w_out_x, self.readout)

    def flat(self) -> Float[Matrix, " parameters"]:
        return np.concatenate([part.ravel() for part in self])

    def like(self, flat: Float[Matrix, " parameters"]) -> "Parameters":
        """The parameters of these shapes with other values."""
        parts = np.split(flat, np.cumsum([part.size for part in self])[:-1])
        return Parameters(*(part.reshape(own.shape) for part, own in zip(parts, self, strict=True)))

    def bounds(self) -> tuple[Float[Matrix, " parameters"], Float[Matrix, " parameters"]]:
        """The least and the greatest values: lambda lies in [0, 1]."""
        lower, upper = (Parameters(*(np.full(part.shape, bound) for part in self)) for bound in (-np.inf, np.inf))
        lower.neurons[:, 0], upper.neurons[:, 0] = 0, 1
        return lower.flat(), upper.flat()


def normal_equations(
    parameters: Parameters, xs: Float[Matrix, "sequences time in"], misses: Float[Matrix, "sequences time out"]
) -> tuple[Float[Matrix, "parameters parameters"], Float[Matrix, " parameters"]]:
    """J^T J and J^T e over these sequences, in the order of `Parameters.flat`."""
    _, gates, readout = parameters
    n, samples = gates.shape[1], xs.shape[0] * xs.shape[1]
    h, slopes = (part.reshape(samples, n, -1) for part in _states(parameters, xs))
    h, misses = h[..., 0], misses.reshape(samples, -1)
    m, x = np.split(h @ gates.T, 2, axis=1)
    factors, products, both = np.concatenate([x, m], 1), m * x, np.concatenate([readout, readout], 1)
    features = (factors[:, :, None] * h[:, None, :]).reshape(samples, -1)
    # dy_o / dh for every output o, and the slopes of y_o down the parameters of the neurons.
    down_h = np.einsum("tg,og,gi->oti", factors, both, gates, optimize=True)
    down_neurons = [(down[:, :, None] * slopes).reshape(samples, -1) for down in down_h]

    of_gates = features.T @ features
    of_gates.reshape(len(gates), n, len(gates), n)[...] *= (both.T @ both)[:, None, :, None]
    of_neurons = sum(down.T @ down for down in down_neurons)
    of_readout = np.kron(np.eye(len(readout)), products.T @ products)
    gates_neurons = np.concatenate(
        [
            h.T @ ((factor[:, None] * np.tensordot(row, down_h, 1))[:, :, None] * slopes).reshape(samples, -1)
            for factor, row in zip(factors.T, both.T, strict=True)
        ]
    )
    readout_neurons = np.concatenate([products.T @ down for down in down_neurons])
    crossed = products.T @ features
    readout_gates = np.concatenate([crossed * np.repeat(row, n) for row in both])
    normal = np.block(
        [
            [of_neurons, gates_neurons.T, readout_neurons.T],
            [gates_neurons, of_gates, readout_gates.T],
            [readout_neurons, readout_gates, of_readout],
        ]
    )
    gradient = [
        sum(down.T @ miss for down, miss in zip(down_neurons, misses.T, strict=True)),
        ((factors * (misses @ both)).T @ h).ravel(),
        (misses.T @ products).ravel(),
    ]
    return normal, np.concatenate(gradient)


def _states(
    parameters: Parameters, xs: Float[Matrix, "sequences time in"]
) -> tuple[Float[Matrix, "sequences time n"], Float[Matrix, "sequences time n lambda_and_inputs"]]:
    """The hidden states, and the slope of each down the parameters of its own neuron."""
    weights = parameters.weights()
    tokens = np.concatenate([xs, np.ones_like(xs[..., :1])], 2)
    m, x = tokens @ weights.w_in_m.T, tokens @ weights.w_in_x.T
    h = accumulated(m * x, weights.lam)
    before = np.concatenate([np.zeros_like(h[:, :1]), h[:, :-1]], 1)
    tokens = tokens[:, :, None, :]
    pushed = np.concatenate([before[..., None], tokens * x[..., None], tokens * m[..., None]], 3)
    return h, accumulated(pushed, weights.lam[:, None])
