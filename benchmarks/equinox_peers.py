"""LSTM and GRU of Equinox. They are cells, which a scan runs over time."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax

from .contestants import Contestant, with_jax
from .gates import gru_order, gru_order_back, lstm_order, lstm_order_back


def lstm_cell(weights):
    cell = eqx.nn.LSTMCell(weights["u"].shape[1], weights["v"].shape[1], key=jax.random.key(0))
    moved = [lstm_order(weights[name]) for name in "uvb"]
    return eqx.tree_at(lambda l: (l.weight_ih, l.weight_hh, l.bias), cell, moved)


def lstm(cell, xs):
    def one(xs):
        def step(state, x):
            h, c = cell(x, state)
            return (h, c), h

        return lax.scan(step, (jnp.zeros(cell.hidden_size), jnp.zeros(cell.hidden_size)), xs)[1]

    return jax.vmap(one)(xs)


def lstm_weights(cell):
    moved = map(lstm_order_back, (cell.weight_ih, cell.weight_hh, cell.bias))
    return dict(zip("uvb", moved, strict=True))


def gru_cell(weights):
    cell = eqx.nn.GRUCell(weights["u"].shape[1], weights["v"].shape[1], key=jax.random.key(0))
    moved = [gru_order(weights[name]) for name in "uvb"]
    return eqx.tree_at(lambda l: (l.weight_ih, l.weight_hh, l.bias, l.bias_n), cell, [*moved, weights["b_n"]])


def gru(cell, xs):
    def one(xs):
        def step(h, x):
            h = cell(x, h)
            return h, h

        return lax.scan(step, jnp.zeros(cell.hidden_size), xs)[1]

    return jax.vmap(one)(xs)


def gru_weights(cell):
    moved = map(gru_order_back, (cell.weight_ih, cell.weight_hh, cell.bias))
    return dict(zip("uvb", moved, strict=True)) | {"b_n": cell.bias_n}


LSTM = Contestant("Equinox", lstm, with_jax, lstm_cell, lstm_weights)
GRU = Contestant("Equinox", gru, with_jax, gru_cell, gru_weights)
