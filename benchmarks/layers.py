"""Layers in a training step: Aaren, LRU and linear attention, beside the same layers of other libraries."""

from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import Array, lax

from twofold.layers import LRU, Aaren, CausalSelfAttention, Layer, LinearSelfAttention

from .contestants import Case, Contestant, Task, mean_square, normal, present, with_jax, with_xla

Shape = tuple[int, int, int]  # (batch, time, width)
SHAPE, FEW, QUICK = (32, 1024, 128), (2, 1024, 128), (4, 64, 32)
HEADS = 4


def twofold_layer(layer: Layer, name: str = "twofold", engine: Callable = with_jax, **more) -> Contestant:
    """`layer` as a contestant. Its parameters are the parameters of the task with the same names."""
    names = list(weights_of(layer))

    def filled(weights):
        return eqx.tree_at(lambda l: [getattr(l, name) for name in names], layer, [weights[name] for name in names])

    def run(weights, xs):
        return jax.vmap(filled(weights))(xs)

    return Contestant(name, run, engine, parameters=lambda weights: {name: weights[name] for name in names}, **more)


def weights_of(layer: Layer) -> dict[str, Array]:
    """The arrays of a layer, by the names of its fields."""
    return {name: x for name, x in vars(layer).items() if isinstance(x, jax.Array)}


def training(weights: dict[str, Array], shape: Shape) -> Callable[[], Task]:
    """A task for random tokens. Its loss is the mean squared difference between the outputs and random targets."""

    def task():
        xs, target = normal(shape, shape)
        return Task(weights, (xs,), mean_square, target)

    return task


def products(shape: Shape, *, of_tokens: int, of_states: int) -> tuple[float, float]:
    """The flops of matrix products, forward and with the gradient.

    Each token takes `of_tokens` multiplications of weights with tokens, and `of_states` of weights with states. The backward
    pass of a product has one product for the gradient of the weights, and one for the gradient of what they are multiplied
    with. The tokens need no gradient.
    """
    batch, time, _ = shape
    return 2 * batch * time * (of_tokens + of_states), 2 * batch * time * (2 * of_tokens + 3 * of_states)


def aaren_case(shape: Shape) -> Case:
    _, time, width = shape
    layer = Aaren(width, width, num_heads=HEADS, key=jax.random.key(0))
    attention = CausalSelfAttention(width, width, num_heads=HEADS, capacity=time, key=jax.random.key(2))
    weights = weights_of(attention) | weights_of(layer)
    xla = twofold_layer(layer, "twofold, XLA", with_xla)
    contestants = [
        twofold_layer(layer),
        xla,
        twofold_layer(attention, "CausalSelfAttention *", compared_with="attention"),
    ]
    if present("torch"):
        from . import torch_peers as torch

        run, names = partial(torch.causal_attention, HEADS), list(weights_of(attention))
        contestants += [
            torch.plain(
                "scaled_dot_product_attention *",
                run,
                parameters=lambda weights: {name: weights[name] for name in names},
                compared_with="attention",
            )
        ]
    references = {"twofold": xla, "attention": Contestant("by definition", causal_attention, with_jax)}
    flops = products(shape, of_tokens=width * (width + HEADS), of_states=width**2)
    note = (
        "* Causal softmax attention with the projections of Aaren and with queries of its own. It is another function."
    )
    return Case("Aaren", f"{HEADS} heads", shape, training(weights, shape), contestants, references, flops, note)


def causal_attention(weights, xs):
    """Multi-head attention, one sequence after another, because all sequences at once would not fit in memory in float64."""

    @jax.checkpoint
    def one(x):
        q, k, v = ((x @ weights[name].T).reshape(len(x), HEADS, -1) for name in ("w_q", "w_k", "w_v"))
        scores = jnp.einsum("thk,shk->hts", q, k) / q.shape[2] ** 0.5
        attended = jax.nn.softmax(jnp.where(jnp.tri(len(x), dtype=bool), scores, -jnp.inf))
        return jnp.einsum("hts,shk->thk", attended, v).reshape(len(x), -1) @ weights["w_o"].T

    return lax.map(one, xs)


def lru_case(shape: Shape) -> Case:
    """The LRU. D is a vector in memax; twofold gets a matrix with this diagonal. memax has no output gate; it is added to it."""
    width = shape[2]
    layer = LRU(width, width, key=jax.random.key(0))
    weights = weights_of(layer) | {"d": jnp.diagonal(layer.d)}

    def ours(name, engine):
        inner = twofold_layer(layer, name, engine)
        return inner._replace(
            parameters=lambda weights: weights | {"d": jnp.diag(weights["d"])},
            gradients=lambda gradients: gradients | {"d": jnp.diagonal(gradients["d"])},
        )

    xla = ours("twofold, XLA", with_xla)
    contestants = [ours("twofold", with_jax), xla]
    if present("memax"):
        from . import memax_peers as memax

        contestants += [Contestant("memax", memax.lru, with_jax)]
    flops = products(shape, of_tokens=2 * width**2, of_states=4 * width**2)
    note = "memax has a diagonal D, which twofold multiplies as a matrix. memax has no gate at its output, so one is added."
    return Case("LRU", "gated output", shape, training(weights, shape), contestants, {"twofold": xla}, flops, note)


def linear_attention_case(shape: Shape) -> Case:
    batch, time, width = shape
    layer = LinearSelfAttention(width, width, key=jax.random.key(0))
    xla = twofold_layer(layer, "twofold, XLA", with_xla)
    contestants = [twofold_layer(layer), xla]
    if present("memax"):
        from . import memax_peers as memax

        kept = 4 * batch * time * width**2  # The states of all tokens, and the arrays of the scan over them.
        contestants += [Contestant("memax, fast weights", memax.linear_attention, with_jax, keeps=kept)]
    if present("torch"):
        from . import torch_peers as torch

        contestants += [torch.plain("chunks", torch.linear_attention)]
    flops = products(shape, of_tokens=3 * width**2, of_states=2 * width**2)
    note = "memax's fast weights have no feature map of keys and queries, and no projection of the output, here."
    weights = weights_of(layer)
    return Case(
        "LinearSelfAttention",
        "1 head",
        shape,
        training(weights, shape),
        contestants,
        {"twofold": xla},
        flops,
        note,
    )


def cases(quick: bool) -> list[Case]:
    shape = QUICK if quick else SHAPE
    few = [] if quick else [linear_attention_case(FEW)]
    return [aaren_case(shape), lru_case(shape), linear_attention_case(shape), *few]
