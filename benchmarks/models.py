"""Whole models in training: `SequenceModel` with every mixer, beside the same models of PyTorch and Flax."""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from twofold.layers.mixers import MIXERS
from twofold.models import SequenceModel

from .contestants import normal, present
from .training_steps import STEPS, Loop, Trainer, Training, compiled


class Shape(NamedTuple):
    batch: int
    time: int
    width: int
    depth: int

    @property
    def steps(self) -> int:
        """How many steps are compiled into one call: fewer for large models, whose steps take up to a second."""
        return max(2, min(STEPS, 2**24 // math.prod(self)))


SHAPES = [Shape(32, 29, 32, 2), Shape(64, 64, 64, 2), Shape(16, 256, 128, 2), Shape(8, 1024, 256, 4)]
QUICK = [Shape(8, 16, 32, 1)]
HEADS = 4
RATE, DECAY = 1e-3, 1e-2  # Of AdamW, in all libraries.


def loss(model, key, xs, target):
    """The mean square of the differences from random targets. `key` is not used, because all steps have the same tokens."""
    return jnp.mean((jax.vmap(model)(xs) - target) ** 2)


def loop(mixer: str, shape: Shape, **options) -> Loop:
    """The training loop of twofold's model."""
    batch, time, width, depth = shape
    options |= MIXERS[mixer].taken(num_heads=HEADS, capacity=time)
    model = SequenceModel(width, width, width=width, depth=depth, mixer=mixer, key=jax.random.key(0), **options)
    tokens = tuple(normal(*2 * [(batch, time, width)]))
    return Loop(loss, model, optax.adamw(RATE, weight_decay=DECAY), tokens, shape.steps)


def training(mixer: str, shape: Shape, *, by_compiler: bool = True) -> Training:
    """The comparison of models with a mixer. `by_compiler` says whether torch.compile takes part."""
    # The GRU of the other libraries resets after the product. twofold's default is another function.
    ours = loop(mixer, shape, **({"reset_after": True} if mixer == "gru" else {}))
    others: dict[str, Callable[[], Trainer]] = {}
    if mixer == "gru":
        others["twofold, reset before"] = partial(compiled, loop(mixer, shape))
    if present("flax"):
        from . import flax_models as flax

        if mixer in flax.MIXERS:
            theirs = ours._replace(loss=flax.loss, model=flax.model(mixer, shape.width, shape.depth, HEADS))
            others["Flax"] = partial(compiled, theirs)
    if present("torch"):
        from . import torch_models as torch

        if mixer in torch.MIXERS:
            make = partial(torch.SequenceModel, mixer, shape.width, shape.depth, HEADS)
            train = partial(torch.trainer, make, ours.data, shape.steps, RATE, DECAY)
            others["PyTorch"] = train
            if by_compiler:
                others["PyTorch, torch.compile"] = partial(train, by_compiler=True)
    return Training(f"SequenceModel, {tuple(shape)}", mixer, ours, others)


def trainings(quick: bool) -> Iterator[Training]:
    for shape in QUICK if quick else SHAPES:
        for mixer in MIXERS:
            yield training(mixer, shape, by_compiler=not quick)
