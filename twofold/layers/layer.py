"""What a layer is: one function of a sequence, with a parallel face and a step-by-step face."""

import abc
from typing import Generic, Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike
from jaxtyping import ArrayLike, Bool, Float, Shaped

from ..errors import InputError

State = TypeVar("State")


class Layer(eqx.Module, Generic[State]):
    """A causal sequence layer, unbatched and time first; `jax.vmap` makes batches.

    The law of every layer: folding `step` over a sequence equals `prefill`; splitting a sequence anywhere equals not
    splitting it; and a reset equals a fresh state.
    """

    @property
    @abc.abstractmethod
    def in_size(self) -> int:
        """Features a token."""

    @property
    @abc.abstractmethod
    def out_size(self) -> int:
        """Size of each output."""

    @property
    def reads(self) -> Literal["features", "marks"]:
        """What a token is: `in_size` features, or one of `in_size` marks, an integer from 0."""
        return "features"

    @abc.abstractmethod
    def init_state(self) -> State:
        """The state before the first token: a pytree of arrays whose shapes never change."""

    @abc.abstractmethod
    def prefill(
        self,
        state: State,
        xs: Shaped[ArrayLike, "time *features"],
        *,
        resets: Bool[ArrayLike, " time"] | None = None,
    ) -> tuple[State, Float[Array, "time out"]]:
        """Take in many tokens in parallel.

        **Arguments:**

        - `state`: what came before, from `init_state`, `prefill` or `step`.
        - `xs`: the tokens, `(time, in_size)`.
        - `resets`: where true, the token is the first of a new sequence, as if the state were fresh.

        **Returns:** the state after the last token, and the outputs `(time, out_size)`.

        **Raises:** `InputError` if the shapes do not fit.
        """

    def step(self, state: State, x: Shaped[ArrayLike, "*features"]) -> tuple[State, Float[Array, " out"]]:
        """Take in one token, `(in_size,)`, in constant time and memory; returns the new state and the output."""
        state, ys = self.prefill(state, jnp.asarray(x)[None])
        return state, ys[0]

    def __call__(
        self, xs: Shaped[ArrayLike, "time *features"], *, resets: Bool[ArrayLike, " time"] | None = None
    ) -> Float[Array, "time out"]:
        """The outputs `(time, out_size)` of a whole sequence `(time, in_size)`, from a fresh state."""
        return self.prefill(self.init_state(), xs, resets=resets)[1]

    def _tokens(self, xs, like: Array) -> Array:
        """`xs` as an array of the dtype of `like`, a parameter; an error if it is not `(time, in_size)`, or complex."""
        xs = jnp.asarray(xs)
        if jnp.issubdtype(xs.dtype, jnp.complexfloating):
            raise InputError(
                f"{type(self).__name__} takes real tokens; got {xs.dtype}. Give real and imaginary parts as features"
            )
        if xs.ndim != 2 or xs.shape[1] != self.in_size:
            raise InputError(
                f"{type(self).__name__} takes tokens of {self.in_size} features, (time, {self.in_size});"
                f" got an array of shape {xs.shape}"
            )
        return xs.astype(like.dtype)

    def _check(self, state, resets, time: int) -> None:
        """An error if the state is not one of this layer, or the resets are not `(time,)`."""
        fresh = jax.eval_shape(self.init_state)
        shapes, needed = ([x.shape for x in jax.tree.leaves(tree)] for tree in (state, fresh))
        if shapes != needed:
            raise InputError(f"the state has shapes {shapes}; that of this {type(self).__name__} has {needed}")
        if resets is not None and jnp.shape(resets) != (time,):
            raise InputError(f"resets have shape {jnp.shape(resets)}; these tokens need ({time},)")


def check_sizes(*, at_least: int = 1, **sizes: int) -> None:
    """**Raises:** `InputError` for a size that is too small, with its name."""
    for name, size in sizes.items():
        if size < at_least:
            raise InputError(f"{name} is {size}; it must be at least {at_least}")


def parameter_dtype(dtype: DTypeLike | None) -> np.dtype:
    """The dtype that a constructor gives to parameters: the one asked for, or else JAX's default.

    **Raises:** `InputError` for a dtype that is not real and floating, or that needs 64 bits where JAX has them off.
    """
    chosen = jnp.dtype(jnp.result_type(float) if dtype is None else dtype)
    if not jnp.issubdtype(chosen, jnp.floating):
        raise InputError(f"dtype is {chosen}; parameters are real numbers, of a dtype such as float32")
    if jax.dtypes.canonicalize_dtype(chosen) != chosen:
        raise InputError(f"dtype is {chosen}, which needs jax.config.update('jax_enable_x64', True)")
    return chosen


def dtype_of(layer: Layer) -> np.dtype:
    """The dtype that a layer computes in: the one of its parameters, or where it has none, of its state."""
    real = [x for tree in (layer, layer.init_state()) for x in jax.tree.leaves(tree) if eqx.is_inexact_array(x)]
    return real[0].dtype if real else jnp.result_type(float)


def promoted(*weights: ArrayLike) -> list[Array]:
    """The weights as arrays of one dtype, by JAX's rule of promotion."""
    dtype = jnp.result_type(*weights)
    return [jnp.asarray(w, dtype) for w in weights]


def head_size(name: str, size: int, num_heads: int) -> int:
    """The size of each of `num_heads` equal heads of a total of `size`, or an `InputError`."""
    check_sizes(num_heads=num_heads, **{name: size})
    if size % num_heads:
        raise InputError(f"{name} has size {size}, which does not split into num_heads = {num_heads} equal heads")
    return size // num_heads
