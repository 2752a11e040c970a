"""A sequence taken chunk by chunk has the gradient of the whole, in the memory of a chunk. The law is in test_law.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twofold import InputError
from twofold.layers import MIXERS, Aaren, Chunked
from twofold.models import SequenceModel


@pytest.mark.parametrize("mixer", ["aaren", "lstm", "softmax-attention"])
def test_the_gradient_is_that_of_the_whole(mixer, normal, assert_close):
    options = MIXERS[mixer].taken(num_heads=2, capacity=6)
    model = SequenceModel(3, 2, mixer=mixer, width=4, depth=2, key=jax.random.key(0), dtype=jnp.float64, **options)
    xs, weights, resets = normal("xs", 13, 3), normal("weights", 13, 2), np.arange(13) == 7

    def slopes(wrap):
        return jax.jit(jax.grad(lambda model: jnp.sum(wrap(model)(xs, resets=resets) * weights)))(model)

    jax.tree.map(assert_close, slopes(lambda model: Chunked(model, chunk=4)), slopes(lambda model: model))


def test_memory_is_that_of_a_chunk():
    """The temporary memory of a gradient grows by what the tokens and the outputs need, not by what the layers do."""
    layer = SequenceModel(2, 1, mixer="aaren", width=16, depth=2, key=jax.random.key(0))

    def temporary(wrap, time):
        step = jax.jit(jax.grad(lambda layer, xs: jnp.sum(wrap(layer)(xs) ** 2)))
        return step.lower(layer, jnp.ones((time, 2))).compile().memory_analysis().temp_size_in_bytes

    small, large = (temporary(lambda layer: Chunked(layer, chunk=256), time) for time in (1024, 8192))
    assert large - small < (8192 - 1024) * 8 * 10
    assert temporary(lambda layer: layer, 8192) > 10 * large


def test_the_chunk_is_checked():
    with pytest.raises(InputError, match="chunk is 0"):
        Chunked(Aaren(2, 2, key=jax.random.key(0)), chunk=0)
