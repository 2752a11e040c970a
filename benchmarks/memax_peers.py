"""The scan and the layers of memax.

Two of its layers have no counterpart in twofold: its LSTM has no tanh at its output, and its attention has a window.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from memax.equinox.groups import Resettable
from memax.equinox.scans import semigroup_scan
from memax.equinox.semigroups.fwp import FWP
from memax.equinox.semigroups.lru import LRU, LRUSemigroup


def linear_scan(a, b):
    semigroup = Resettable(LRUSemigroup(b.shape[1]))
    tokens = (jnp.broadcast_to(a, b.shape), b), jnp.zeros(len(b), bool)
    return semigroup_scan(semigroup, semigroup.initialize_carry(), tokens)[0][1]


def lru(weights, xs):
    names = {"nu": "nu_log", "theta": "theta_log", "gamma_log": "gamma_log", "d": "D"}
    names |= {name: name.capitalize() for name in ("b_re", "b_im", "c_re", "c_im")}
    layer = eqx.tree_at(
        lambda l: [getattr(l, name) for name in names.values()],
        LRU(len(weights["nu"]), xs.shape[2], jax.random.key(0)),
        [weights[name] for name in names],
    )

    def one(x):
        y = layer(layer.initialize_carry(), (x, jnp.zeros(len(x), bool)))[1]
        return jax.nn.sigmoid(y @ weights["w_out_m"].T) * (y @ weights["w_out_x"].T)

    return jax.vmap(one)(xs)


class FastWeights(FWP):
    """memax's fast weights, without the feature map of keys and queries, and without the projection of the output."""

    def forward_map(self, x, key=None):
        token, start = x
        return jnp.outer(self.K(token), self.V(token)), start

    def backward_map(self, h, x, key=None):
        return h[0] @ self.Q(x[0])


def linear_attention(weights, xs):
    width = xs.shape[2]
    layer = eqx.tree_at(  # memax calls values keys, and keys values.
        lambda l: (l.K.weight, l.V.weight, l.Q.weight),
        FastWeights(width, width, jax.random.key(0)),
        tuple(weights[name][0] for name in ("w_v", "w_k", "w_q")),
    )
    return jax.vmap(lambda x: layer(layer.initialize_carry(), (x, jnp.zeros(len(x), bool)))[1])(xs)
