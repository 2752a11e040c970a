"""Models that differ in what mixes over time, and in nothing else: not in their number of parameters either."""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray, PyTree

from ..layers.mixers import mixer_named
from ..models import SequenceModel


def count_parameters(model: PyTree) -> int:
    """How many numbers are trained in a model, or in the shapes of one."""
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
    """A random model over the named mixer, with as many parameters as the Transformer of that width and depth.

    The feed-forward parts make the difference up: 4 `width` in the Transformer, more where a mixer has fewer weights than
    attention's 4 `width`^2, less where it has more. `heads` is for mixers that have heads; `capacity` is the
    number of tokens that softmax attention's cache holds.

    **Raises:** `InputError` for an unknown mixer or sizes that do not fit.
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
