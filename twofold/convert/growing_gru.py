"""How long the growing state of paper A's footnote 1 lasts: a GRU can make products with it, for a while.

A GRU makes a product as z h~, where z holds one factor and h~ the other. The previous state leaks into it as (1 - z) h. The
trick is to make h much smaller than h~. If every state grows by a factor G with each token, only a part 1/G of the previous
state is in the way. One neuron grows by itself, e_t = G e_{t-1} + e_1. A first layer multiplies the tokens by e_t. A second
layer makes the product m u e_t, where m and u are linear functions of the token. After about log(range) / log G tokens the
state leaves tanh's linear range; with the identity in place of tanh, it then leaves the range of the numbers.
"""

import jax
import jax.numpy as jnp
import numpy as np

from ..layers import GRU, Stack

SCALE, SMALLEST, OPEN = 1e-4, 1e-300, 100.0
"""The scale of the sigmoids' arguments; the growing neuron's first state, which float64 still holds with all digits; and the
bias of a gate that is always open."""


def error_by_token(growth: float, tokens: int, seed: int = 0) -> np.ndarray:
    """The relative error of the product at every token of a random sequence of 4 features, in float64."""
    xs, w_m, w_u = (np.asarray(x) for x in _normal(seed, (tokens, 4), (4,), (4,)))
    ys = np.asarray(jax.jit(lambda xs: _network(growth, w_m, w_u)(xs))(xs))
    grown = np.cumsum(SMALLEST * growth ** np.minimum(np.arange(tokens), 300 / np.log10(growth)))
    products = (ys[:, 0] - ys[:, 1]) * 2 / SCALE / grown
    truth = (xs @ w_m) * (xs @ w_u)
    return np.abs(products - truth) / np.sqrt(np.mean(truth**2))


def _network(growth: float, w_m: np.ndarray, w_u: np.ndarray) -> Stack:
    d = len(w_m)
    # Neurons: e; x_i e with either sign of x_i in the sigmoid; and x_i itself, as small as it takes to stay linear.
    n, grows, pairs, passed = 1 + 3 * d, 0, slice(1, 1 + 2 * d), slice(1 + 2 * d, None)
    u_h, v_h, b_h = np.zeros((n, d)), np.zeros((n, n)), np.zeros(n)
    u_z, b_z = np.zeros((n, d)), np.full(n, OPEN)
    v_h[: 1 + 2 * d, grows], b_h[: 1 + 2 * d] = growth, SMALLEST
    u_z[pairs], b_z[pairs] = SCALE * np.concatenate([np.eye(d), -np.eye(d)]), 0
    u_h[passed] = SCALE * np.eye(d)
    below = _gru(u_h, v_h, b_h, u_z, b_z)
    u_h, u_z = np.zeros((2, n)), np.zeros((2, n))
    u_h[:, pairs] = np.concatenate([w_u, -w_u]) * 2 / SCALE
    u_z[:, passed] = np.stack([w_m, -w_m])
    return Stack([below, _gru(u_h, np.zeros((2, 2)), np.zeros(2), u_z, np.zeros(2))])


def _gru(u_h, v_h, b_h, u_z, b_z) -> GRU:
    """The layer with r = 1."""
    u = np.concatenate([0 * u_h, u_h, u_z])
    v = np.concatenate([0 * v_h, v_h, 0 * v_h])
    b = np.concatenate([np.full(len(b_h), OPEN), b_h, b_z])
    return GRU.from_weights(*map(jnp.asarray, (u, v, b)))


def _normal(seed: int, *shapes: tuple[int, ...]):
    keys = jax.random.split(jax.random.key(seed), len(shapes))
    return (jax.random.normal(key, shape) for key, shape in zip(keys, shapes, strict=True))
