"""LSTM and GRU in a training step, with the same weights in twofold, Equinox, Flax and PyTorch.

twofold's default GRU resets the state before the product. The other libraries do not have this form, so it is timed as one
more contestant.
"""

import jax
import jax.numpy as jnp

from twofold.layers import GRU, LSTM

from . import equinox_peers as equinox
from .contestants import Case, present, with_xla
from .layers import Shape, products, training, twofold_layer, weights_of

SHAPES = [(32, 256, 128), (32, 128, 128), (64, 32, 64), (1, 1024, 128), (16, 1024, 64)]
QUICK = (8, 64, 32)


def lstm_case(shape: Shape) -> Case:
    width = shape[2]
    layer = LSTM(width, width, key=jax.random.key(0))
    xla = twofold_layer(layer, "twofold, XLA", with_xla)
    contestants = [twofold_layer(layer), xla, equinox.LSTM]
    if present("flax"):
        from . import flax_peers as flax

        contestants += [flax.LSTM]
    if present("torch"):
        from . import torch_peers as torch

        contestants += [torch.lstm(width)]
    flops = products(shape, of_tokens=4 * width**2, of_states=4 * width**2)
    task = training(weights_of(layer), shape)
    return Case("LSTM", "float32", shape, task, contestants, {"twofold": xla}, flops)


def gru_case(shape: Shape) -> Case:
    width = shape[2]
    layer = GRU(width, width, reset_after=True, key=jax.random.key(0))
    default = GRU(width, width, key=jax.random.key(0))
    weights = weights_of(layer) | {"b_n": jnp.zeros(width, jnp.float32)}  # Flax has no such bias.
    xla = twofold_layer(layer, "twofold, XLA", with_xla)
    before = twofold_layer(default, "twofold, reset before", compared_with="reset before")
    contestants = [twofold_layer(layer), xla, equinox.GRU]
    if present("flax"):
        from . import flax_peers as flax

        contestants += [flax.GRU]
    if present("torch"):
        from . import torch_peers as torch

        contestants += [torch.gru(width)]
    flops = products(shape, of_tokens=3 * width**2, of_states=3 * width**2)
    references = {"twofold": xla, "reset before": before}
    task = training(weights, shape)
    return Case("GRU", "reset after", shape, task, [*contestants, before], references, flops)


def cases(quick: bool) -> list[Case]:
    return [case(shape) for case in (lstm_case, gru_case) for shape in ([QUICK] if quick else SHAPES)]
