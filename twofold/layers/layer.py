"""What a layer is: one function of a sequence, which takes all tokens in parallel or one token at a time."""

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
    """A causal layer. It takes one sequence, with time as the first axis; `jax.vmap` makes batches.

    Every layer obeys one law: folding `step` over a sequence equals `prefill`, splitting a sequence anywhere equals not
    splitting it, and a reset equals a fresh state.
    """

    @property
    @abc.abstractmethod
    def in_size(self) -> int:
        """The number of features of a token."""

    @property
    @abc.abstractmethod
    def out_size(self) -> int:
        """The number of features of an output."""

    @property
    def reads(self) -> Literal["features", "marks"]:
        """What a token is: "features" for `in_size` numbers, "marks" for one integer from 0 to `in_size` - 1."""
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

        - `state`: the state before the first token. `init_state`, `prefill` and `step` return states.
        - `xs`: the tokens, `(time, in_size)`, or `(time,)` for a model that reads marks.
        - `resets`: `(time,)`. Where it is true, the token is the first of a new sequence, as if the state were fresh.

        **Returns:** the state after the last token, and the outputs `(time, out_size)`.

        **Raises:** `InputError` if the shapes do not fit.
        """

    def step(self, state: State, x: Shaped[ArrayLike, "*features"]) -> tuple[State, Float[Array, " out"]]:
        """Take in one token, `(in_size,)`, in constant time and memory. Return the new state and the output, `(out_size,)`."""
        state, ys = self.prefill(state, jnp.asarray(x)[None])
        return state, ys[0]

    def __call__(
        self, xs: Shaped[ArrayLike, "time *features"], *, resets: Bool[ArrayLike, " time"] | None = None
    ) -> Float[Array, "time out"]:
        """The outputs, `(time, out_size)`, for a whole sequence, `(time, in_size)`, from a fresh state."""
        return self.prefill(self.init_state(), xs, resets=resets)[1]

    def _tokens(self, xs, like: Array) -> Array:
        """`xs` as an array with the dtype of the parameter `like`.

        **Raises:** `InputError` if `xs` is not `(time, in_size)`, or is complex.
        """
        xs = jnp.asarray(xs)
        if jnp.issubdtype(xs.dtype, jnp.complexfloating):
            raise InputError(
                f"{type(self).__name__} takes real tokens; got {xs.dtype}; give real and imaginary parts as two features"
            )
        if xs.ndim != 2 or xs.shape[1] != self.in_size:
            raise InputError(
                f"{type(self).__name__} takes tokens of {self.in_size} features, (time, {self.in_size});"
                f" got an array of shape {xs.shape}"
            )
        return xs.astype(like.dtype)

    def _check(self, state, resets, time: int) -> None:
        """**Raises:** `InputError` if the state has other shapes than this layer's, or the resets are not `(time,)`."""
        fresh = jax.eval_shape(self.init_state)
        shapes, needed = ([x.shape for x in jax.tree.leaves(tree)] for tree in (state, fresh))
        if shapes != needed:
            raise InputError(f"the state has the shapes {shapes}; this {type(self).__name__} needs the shapes {needed}")
        if resets is not None and jnp.shape(resets) != (time,):
            raise InputError(f"resets has the shape {jnp.shape(resets)}; {time} tokens need the shape ({time},)")


def check_sizes(*, at_least: int = 1, **sizes: int) -> None:
    """**Raises:** `InputError` with the name of a size that is too small."""
    for name, size in sizes.items():
        if size < at_least:
            raise InputError(f"{name} is {size}; it must be at least {at_least}")


def parameter_dtype(dtype: DTypeLike | None) -> np.dtype:
    """The dtype that a constructor gives to the parameters: `dtype`, or JAX's default float dtype for None.

    **Raises:** `InputError` for a dtype that is not a real floating type, or that needs 64 bits while JAX has them turned off.
    """
    chosen = jnp.dtype(jnp.result_type(float) if dtype is None else dtype)
    if not jnp.issubdtype(chosen, jnp.floating):
        raise InputError(f"dtype is {chosen}; parameters need a real floating dtype, such as float32")
    if jax.dtypes.canonicalize_dtype(chosen) != chosen:
        raise InputError(f"dtype is {chosen}, which needs jax.config.update('jax_enable_x64', True)")
    return chosen


def dtype_of(layer: Layer) -> np.dtype:
    """The dtype that a layer computes in. It is the dtype of its parameters, or of its state if it has no parameters."""
    real = [x for tree in (layer, layer.init_state()) for x in jax.tree.leaves(tree) if eqx.is_inexact_array(x)]
    return real[0].dtype if real else jnp.result_type(float)


def promoted(*weights: ArrayLike) -> list[Array]:
    """The weights as arrays of one dtype, which follows from their dtypes by JAX's rules of promotion."""
    dtype = jnp.result_type(*weights)
    return [jnp.asarray(w, dtype) for w in weights]


def head_size(name: str, size: int, num_heads: int) -> int:
    """The size of each head, where `num_heads` equal heads share `size` features.

    **Raises:** `InputError` for sizes below 1, or if `size` does not split into equal heads. `name` is the name of `size` there.
    """
    check_sizes(num_heads=num_heads, **{name: size})
    if size % num_heads:
        raise InputError(f"{name} is {size}, which does not split into num_heads = {num_heads} equal heads")
    return size // num_heads
