"""Recurrences with a matrix product in every step, h_t = f(x_t, V h_{t-1}): their gradients, for any such cell."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.custom_derivatives import CustomVJPPrimal, SymbolicZero

from ._platform import Implementation, dispatch


class Cell(NamedTuple):
    """A recurrence of `inputs`, `weights`, `state` and `resets`, as three functions.

    `outputs` is a pytree of all that `backward` needs beside the arguments. `weights` and `state` are pytrees too.
    """

    forward: Callable[..., Any]
    """`forward(inputs, weights, state, resets)` is `outputs`."""
    products: Callable[..., Array]
    """`products(weights, state, resets, outputs)`: the recurrent products of all steps, shaped as `inputs`; linear in
    `weights`."""
    backward: Callable[..., tuple[Array, Array, Any]]
    """`backward(weights, state, resets, outputs, cotangents)`: of the cotangents of `outputs`, those of the inputs, of
    the products and of the state. Cotangents that are zero may be None: of what is no output of the whole, they are
    large."""


@cache
def either(chosen: Implementation, portable: Cell, native: Cell) -> Cell:
    """The cell whose functions are chosen as `dispatch` does."""
    forward, backward = (
        partial(dispatch, chosen, getattr(portable, name), getattr(native, name)) for name in ("forward", "backward")
    )
    return Cell(forward, portable.products, backward)


def run(cell: Cell, inputs: Array, weights, state, resets: Array | None):
    """The cell's `outputs`, with a gradient of any order in inputs, weights and state.

    Backpropagation runs through time once, for the cotangents of the products, and leaves that of the weights to one
    matrix product over all steps. As part of a custom gradient this would be a product for each sequence of a batch,
    and their sum: `jax.vmap` knows no better, and a training step would take up to a third longer. So `_known` takes
    the products as if they were given, and has no gradient in the weights; that comes from `_products`, whose rule JAX
    batches and transposes as any other code.
    """
    outputs = cell.forward(*lax.stop_gradient((inputs, weights, state)), resets)
    products = _products(cell, inputs, weights, state, resets, outputs)
    return _known(cell, inputs, products, weights, state, resets, outputs)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _known(cell, inputs, products, weights, state, resets, outputs):
    """`outputs`, as a function of inputs, products and state."""
    return outputs


def _known_forward(cell, *args):
    args = jax.tree.map(lambda x: x.value, args, is_leaf=lambda x: isinstance(x, CustomVJPPrimal))
    *_, weights, state, resets, _ = args
    outputs = _known(cell, *args)  # rather than the argument: what is saved has a gradient itself
    return outputs, (weights, state, resets, outputs)


def _known_backward(cell, saved, cotangents):
    given = jax.tree.map(lambda x: None if isinstance(x, SymbolicZero) else x, cotangents)
    inputs, products, state = cell.backward(*saved, given)
    return inputs, products, None, state, None, None


_known.defvjp(_known_forward, _known_backward, symbolic_zeros=True)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _products(cell, inputs, weights, state, resets, outputs):
    """The recurrent products of all steps. Their value is never read: they carry their cotangents to the weights."""
    return cell.products(weights, state, resets, outputs)


@_products.defjvp
def _products_jvp(cell, primals, tangents):
    _, _, state, resets, _ = primals
    outputs = _whole(cell, *primals)  # which only second derivatives differentiate
    return _products(cell, *primals), cell.products(tangents[1], state, resets, outputs)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _whole(cell, inputs, weights, state, resets, outputs):
    """`outputs`, as a function of inputs, weights and state."""
    return outputs


def _whole_forward(cell, *args):
    _, weights, state, resets, _ = args
    outputs = _whole(cell, *args)
    return outputs, (weights, state, resets, outputs)


def _whole_backward(cell, saved, cotangents):
    weights, state, resets, outputs = saved
    inputs, products, before = cell.backward(*saved, cotangents)
    to_weights = jax.linear_transpose(lambda weights: cell.products(weights, state, resets, outputs), weights)
    return inputs, *to_weights(products), before, None, None


_whole.defvjp(_whole_forward, _whole_backward)


def previous(h0: Array, h: Array, resets: Array | None) -> Array:
    """What each step of `h`, `(time, hidden)`, found before it: the step before, `h0`, or at a reset zero."""
    before = jnp.concatenate([h0[None], h])[:-1]
    return before if resets is None else jnp.where(resets[:, None], 0, before)


def plus(x: Array, cotangent: Array | None) -> Array:
    return x if cotangent is None else x + cotangent


def filled(cotangents, like):
    """The cotangents of `like`, with zeros for None."""
    return jax.tree.map(lambda x, given: jnp.zeros_like(x) if given is None else given, like, cotangents)


def unless(fresh: Array | None, carried):
    """What is carried over, a pytree, or zero at a reset. A select: multiplying by zero would keep NaN and inf."""
    return carried if fresh is None else jax.tree.map(lambda x: jnp.where(fresh, 0, x), carried)


def sigmoid(x: Array) -> Array:
    """Finite, and so is its gradient, for any finite x."""
    return jnp.tanh(x / 2) / 2 + 0.5
