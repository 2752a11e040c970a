"""Models that are trained together, and the functions that are compiled for them."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray

from .mesh import spread_state


class State(NamedTuple):
    """What training changes. Every array has a leading axis for seeds."""

    params: Any
    optimiser: Any
    kept: Any
    """The parameters of each seed when its validation loss was smallest. It is None without validation."""


class Population:
    """The models of all seeds, their data and keys, and the compiled functions that train them."""

    def __init__(
        self,
        models: Any,
        data: Any,
        key: PRNGKeyArray | Key[Array, " seeds"],
        *,
        shared_data: bool,
        loss: Callable,
        validation: Callable | None,
        optimiser: optax.GradientTransformation,
    ):
        self.params, self.static = eqx.partition(models, eqx.is_inexact_array)
        self.data, self.data_static = eqx.partition(data, eqx.is_array)
        self.seeds = len(jax.tree.leaves(self.params)[0])
        one_key_ndim = 0 if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else 1  # typed keys, and arrays of integers
        self.keys = key if key.ndim > one_key_ndim else jax.random.split(key, self.seeds)
        self.shared_data, self.optimiser, self.validated = shared_data, optimiser, validation is not None
        self._loss, self._validation = loss, validation
        self._stretch = jax.jit(self._stretch_of_all, static_argnames="length", donate_argnums=(0, 1))
        self._validate = jax.jit(partial(self._of_each, self.validation_of_one))

    def models(self, params: Any) -> Any:
        """The models with these parameters."""
        return eqx.combine(params, self.static)

    def start(self) -> State:
        """The state before the first step."""

        @jax.jit  # one program in place of several for each shape
        def begun(params):
            # A stretch destroys its arguments. So these are copies.
            copied, kept = (jax.tree.map(jnp.copy, params) for _ in range(2))
            return State(copied, jax.vmap(self.optimiser.init)(params), kept if self.validated else None)

        return begun(self.params)

    def stretch(self, state: State, first: int, length: int) -> tuple[State, Float[Array, " seeds"]]:
        """The state after `length` more steps, and the mean loss of these steps. `first` steps were done before."""
        params, optimiser, losses = self._stretch(
            state.params, state.optimiser, self.keys, self.data, first, length=length
        )
        return state._replace(params=params, optimiser=optimiser), losses

    def validate(self, state: State) -> Float[Array, " seeds"]:
        """The validation loss of each seed."""
        return self._validate(state.params, self.data)

    def keep(self, state: State, better: Bool[np.ndarray, " seeds"]) -> State:
        """The same state, but with the present parameters kept for the seeds that are `better`."""
        return state._replace(kept=_chosen(state.params, state.kept, better))

    def loss_of_one(self, params: Any, data: Any, key: PRNGKeyArray) -> Array:
        """The training loss of one seed, from its arrays."""
        return self._loss(self.models(params), eqx.combine(data, self.data_static), key)

    def validation_of_one(self, params: Any, data: Any) -> Array:
        """The validation loss of one seed, from its arrays."""
        assert self._validation is not None
        return self._validation(self.models(params), eqx.combine(data, self.data_static))

    def shapes_of_one(self) -> tuple[Any, Any, Any]:
        """The shapes of the parameters, data and key of one seed."""
        data = self.data if self.shared_data else _shapes_of_one(self.data)
        return _shapes_of_one(self.params), data, _shapes_of_one(self.keys)

    def _stretch_of_all(self, params, optimiser, keys, data, first, length):
        train_one = partial(self._stretch_of_one, first=first, length=length)
        return self._of_each(train_one, params, optimiser, keys, data)

    def _stretch_of_one(self, params, opt_state, key, data, first, length):
        def step(carry, i):
            params, opt_state = carry
            value, grads = jax.value_and_grad(self.loss_of_one)(params, data, jax.random.fold_in(key, i))
            updates, opt_state = self.optimiser.update(grads, opt_state, params)
            opt_state = spread_state(opt_state)
            return (optax.apply_updates(params, updates), opt_state), value

        carry, values = lax.scan(step, (params, opt_state), first + jnp.arange(length))
        return *carry, jnp.mean(values)

    def _of_each(self, f, *args):
        """Apply `f` to the arguments of every seed. The last argument is the data.

        On a CPU one seed follows the other, because its products of matrices are slower in a batch. Accelerators take all
        seeds at once, which is what a batch size of 0 means.
        """
        *own, data = args
        together = None if jax.default_backend() == "cpu" else 0
        if self.shared_data:
            return lax.map(lambda one: f(*one, data), own, batch_size=together)
        return lax.map(lambda one: f(*one), args, batch_size=together)


@partial(jax.jit, donate_argnums=1)
def _chosen(params, kept, better):
    return jax.tree.map(lambda x, y: jnp.where(better.reshape(-1, *[1] * (x.ndim - 1)), x, y), params, kept)


def _shapes_of_one(tree):
    return jax.eval_shape(lambda tree: jax.tree.map(lambda x: x[0], tree), tree)
