"""Rotary positions: queries and keys are turned by angles that grow with the position of their token."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float, Int

BASE = 10_000.0  # of Su et al. 2021 and Vaswani et al. 2017


def rotated(
    vectors: Float[Array, "tokens heads head_size"], positions: Int[Array, " tokens"]
) -> Float[Array, "tokens heads head_size"]:
    """Turn each pair of features of a vector by the angle position * theta_i, theta_i = 10000^(-2 i / head_size).

    This is the rotary position embedding of Su et al. 2021, section 3.2.2: the product of a query and a key that are turned so
    depends on their positions by the difference alone. Pair i consists of the features i and i + head_size / 2. The paper
    pairs neighbours, which is the same for weights in another order.

    An angle in floats would lose its digits as positions grow. So each theta_i is rounded to a 2^32nd part of a turn, and the
    angle is an integer of 32 bits, which wraps where a turn is full. Differences are exact at any position.
    """
    half = vectors.shape[-1] // 2
    turns = BASE ** (-np.arange(half) / half) / (2 * np.pi)  # a token
    parts = positions.astype(jnp.int32)[:, None, None] * np.round(turns * 2**32).astype(np.int32)
    angles = parts.astype(jnp.promote_types(vectors.dtype, jnp.float32)) * (np.pi / 2**31)
    cos, sin = jnp.cos(angles).astype(vectors.dtype), jnp.sin(angles).astype(vectors.dtype)
    x, y = vectors[..., :half], vectors[..., half:]
    return jnp.concatenate([x * cos - y * sin, x * sin + y * cos], -1)
