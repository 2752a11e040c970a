"""LSTM and GRU of Flax."""

import jax.numpy as jnp
import numpy as np
from flax import nnx

from .contestants import Contestant, with_jax
from .gates import gru_order, gru_order_back, lstm_order, lstm_order_back

GATES = "i", "f", "g", "o"


def lstm_parameters(weights):
    parts = {name: np.split(lstm_order(weights[name]), 4) for name in "uvb"}
    each = zip(GATES, parts["u"], parts["v"], parts["b"], strict=True)
    return {gate: {"u": u.T, "v": v.T, "b": b} for gate, u, v, b in each}


def lstm(parameters, xs):
    size = len(parameters["i"]["b"])
    cell = nnx.LSTMCell(xs.shape[2], size, rngs=nnx.Rngs(0))
    for gate, weights in parameters.items():
        of_x, of_h = getattr(cell, "if_" if gate == "f" else f"i{gate}"), getattr(cell, f"h{gate}")
        of_x.kernel, of_h.kernel, of_h.bias = (nnx.Param(weights[name]) for name in "uvb")
    zero = jnp.zeros((len(xs), size))
    return nnx.RNN(cell)(xs, initial_carry=(zero, zero))


def lstm_weights(parameters):
    joined = {name: np.concatenate([parameters[gate][name].T for gate in GATES]) for name in "uvb"}
    return {name: lstm_order_back(weight) for name, weight in joined.items()}


def gru_parameters(weights):
    return {"u": gru_order(weights["u"]).T, "v": gru_order(weights["v"]).T, "b": gru_order(weights["b"])}


def gru(parameters, xs):
    size = len(parameters["v"])
    cell = nnx.GRUCell(xs.shape[2], size, rngs=nnx.Rngs(0))
    cell.dense_i.kernel, cell.dense_h.kernel, cell.dense_i.bias = (nnx.Param(parameters[name]) for name in "uvb")
    return nnx.RNN(cell)(xs, initial_carry=jnp.zeros((len(xs), size)))


def gru_weights(parameters):
    return {name: gru_order_back(parameters[name].T) for name in "uvb"}


LSTM = Contestant("Flax", lstm, with_jax, lstm_parameters, lstm_weights)
GRU = Contestant("Flax", gru, with_jax, gru_parameters, gru_weights)
