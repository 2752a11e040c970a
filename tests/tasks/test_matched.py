"""Models over any mixer have as many parameters as the Transformer."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twofold import InputError
from twofold.layers import MIXERS, CausalSelfAttention
from twofold.models import SequenceModel
from twofold.tasks.matched import count_parameters, matched_model

KEY = jax.random.key(0)


def shapes(mixer, width, depth=1, heads=4, **options):
    """Of a model, without making it."""
    sizes = {"width": width, "depth": depth, "heads": heads, "capacity": 7}
    return eqx.filter_eval_shape(lambda key: matched_model(5, 3, mixer=mixer, **sizes, **options, key=key), KEY)


@pytest.mark.parametrize(("depth", "predicts"), [(1, "step"), (2, "sequence")])
@pytest.mark.parametrize("width", [16, 32, 48, 64])
@pytest.mark.parametrize("mixer", MIXERS)
def test_every_mixer_has_as_many_parameters_as_the_transformer(mixer, width, depth, predicts):
    transformer = count_parameters(shapes("softmax-attention", width, depth, predicts=predicts))
    model = shapes(mixer, width, depth, predicts=predicts)
    assert abs(count_parameters(model) - transformer) < 0.05 * transformer
    assert (model.in_size, model.out_size, len(model.stack.layers)) == (5, 3, depth + (predicts == "sequence"))


@pytest.mark.parametrize("width", [16, 64])
def test_the_transformer_is_as_published(width):
    """A feed-forward part of 4 widths, and the cache asked for."""
    block = shapes("softmax-attention", width).stack.layers[0]
    assert block.expand.out_features == 4 * width
    assert isinstance(block.mixer, CausalSelfAttention)
    assert block.mixer.capacity == 7


@pytest.mark.parametrize("mixer", ["aaren", "softmax-attention", "linear-attention"])
def test_heads_are_those_asked_for(mixer):
    assert shapes(mixer, 16, heads=2).stack.layers[0].mixer.num_heads == 2
    with pytest.raises(InputError, match="does not split into num_heads = 3"):
        shapes(mixer, 16, heads=3)


@pytest.mark.parametrize("mixer", MIXERS)
def test_every_width_from_one_leaves_a_feed_forward_part(mixer):
    """From two where pairs of features are turned."""
    assert shapes(mixer, 1 + mixer.endswith("rotary"), heads=1).stack.layers[0].expand.out_features >= 1
    with pytest.raises(InputError, match="size is 0; it must be at least 1"):
        shapes(mixer, 0, heads=1)


def test_an_unknown_mixer_is_refused():
    with pytest.raises(InputError, match="unknown mixer 'mamba'"):
        shapes("mamba", 16)


def test_parameters_are_the_numbers_that_are_trained():
    tree = {"a": jnp.zeros((2, 3)), "b": [jnp.zeros(4), jnp.zeros((), complex)], "marks": jnp.arange(9)}
    assert count_parameters(tree) == 11
    model = SequenceModel(5, 3, width=8, depth=1, key=KEY)
    leaves = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    assert count_parameters(model) == sum(np.size(x) for x in leaves)
    assert count_parameters(jax.eval_shape(lambda: model)) == count_parameters(model)
