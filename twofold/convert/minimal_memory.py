"""Why attention needs as many memory neurons as it does: a numerical search for the best that fewer neurons can do.

Attention remembers W_V S B of the past, where S = sum x x^T. This is a linear map of the symmetric S, with some rank m. If n
neurons hold quadratic forms of the past tokens, they tell apart only n dimensions of S. The rest of the map is lost. By
Eckart and Young, no choice of forms loses less than the m - n smallest singular values.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.optimize import minimize

from ..forms import attention_weights, coordinates, quadratic_forms, symmetric
from ..layers import LinearSelfAttention


def memory_map(attention: LinearSelfAttention) -> np.ndarray:
    """The map from S to W_V S B of all heads, (heads * out * in, in (in + 1) / 2), in an orthonormal basis of S."""
    weights, d = attention_weights(attention), attention.in_size
    images = np.einsum("hoi,hjl->holij", weights.w_v, weights.b).reshape(-1, d, d)
    return coordinates(symmetric(images))


def least_loss(attention: LinearSelfAttention, neurons: int) -> float:
    """The part of the map, by norm, that so many neurons lose at least (Eckart and Young)."""
    sizes = np.linalg.svd(memory_map(attention), compute_uv=False)
    return float(np.linalg.norm(sizes[neurons:]) / np.linalg.norm(sizes))


def best_fit(attention: LinearSelfAttention, neurons: int, *, starts: int = 4, seed: int = 0) -> float:
    """The part of the map, by norm, that the best products (a . x)(b . x) lose. L-BFGS seeks them from random starts."""
    if neurons == 0:
        return 1.0
    image, d = memory_map(attention), attention.in_size

    @jax.jit
    @jax.value_and_grad
    def loss(flat):
        a, b = flat.reshape(2, neurons, d)
        forms = coordinates(quadratic_forms(a, b))
        forms = forms / jnp.linalg.norm(forms, axis=1, keepdims=True)
        held = forms.T @ jnp.linalg.solve(forms @ forms.T + 1e-14 * jnp.eye(neurons), forms @ image.T)
        return jnp.sum((image.T - held) ** 2) / np.sum(image**2)

    rng = np.random.default_rng(seed)
    options = {"maxiter": 2000, "maxfun": 4000, "ftol": 0.0, "gtol": 0}

    def fit() -> float:
        start = rng.normal(size=2 * neurons * d)
        return minimize(
            lambda x: jax.tree.map(np.asarray, loss(x)), start, jac=True, method="L-BFGS-B", options=options
        ).fun

    return max(min(fit() for _ in range(starts)), 0.0) ** 0.5
