"""Models that differ only in the layer that mixes over time. They have nearly the same number of parameters."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from ..layers.mixers import mixer_named
from ..models import SequenceModel


def count_parameters(model: PyTree) -> int:
    """How many trained numbers a model has. `model` may also be a pytree of the shapes of a model."""
    return sum(leaf.size for leaf in jax.tree.leaves(model) if jnp.issubdtype(leaf.dtype, jnp.inexact))


def matched_model(
    in_size: int,
    out_size: int,
    *,
    mixer: str,
    width: int,
    depth: int,
    heads: int,
    capacity: int,
    predicts: Literal["step", "sequence"] = "step",
    key: PRNGKeyArray,
) -> SequenceModel:
    """A random model with the named mixer. It has about as many parameters as a Transformer of this width and depth.

    Attention has 4 * `width`^2 weights in a block, and the feed-forward part of the Transformer has 4 * `width` hidden
    neurons. If a mixer has fewer weights, the feed-forward part gets more neurons, and if it has more, fewer neurons.

    **Arguments:**

    - `in_size`, `out_size`: the number of features of a token, and of an output.
    - `mixer`: the name of a mixer.
    - `width`, `depth`: the size and the number of the blocks.
    - `heads`: the number of attention heads, for mixers that have heads.
    - `capacity`: how many tokens the cache of softmax attention holds.
    - `predicts`: `"step"` or `"sequence"`. `SequenceModel` explains them.
    - `key`: the random key of the weights.

    **Raises:** `InputError` for an unknown mixer, or sizes that do not fit together.
    """
    chosen = mixer_named(mixer)
    options = chosen.taken(num_heads=heads, capacity=capacity, hidden_size=width, gate_size=width)
    weights = count_parameters(eqx.filter_eval_shape(chosen.make, width, width, key=key, **options))
    feed_forward_size = round((4 * width**2 - weights) / (2 * width + 1)) + 4 * width
    return SequenceModel(
        in_size,
        out_size,
        width=width,
        depth=depth,
        mixer=mixer,
        predicts=predicts,
        feed_forward_size=feed_forward_size,
        key=key,
        **options,
    )
