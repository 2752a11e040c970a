"""What determines the results of a training run. Only the run that made a checkpoint may continue it."""

import hashlib
import re
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .history import History
from .population import Population

Identity = dict[str, Any]
"""A description of a run, from names to values. Large things, such as the data, are there as digests."""


def identity_of(population: Population, history: History) -> Identity:
    """A description of all that determines the results of a run, to the last bit."""
    params, data, key = population.shapes_of_one()
    return {
        "steps": int(history.ends[-1]),
        "steps between records": history.lengths[0],
        "patience": history.patience,
        "seeds": population.seeds,
        "the random key": _digest(population.keys),
        "the data": _digest(population.data),
        "the models at the start": _digest(population.params),
        "the loss": _program(population.loss_of_one, params, data, key),
        "the validation loss": _program(population.validation_of_one, params, data) if population.validated else None,
        "the optimiser": _program(
            population.optimiser.update, params, jax.eval_shape(population.optimiser.init, params), params
        ),
    }


def versions() -> dict[str, str]:
    """The versions of the programs that compute the results. Other versions may change their last bits."""
    return {name: version(name) for name in ("twofold", "jax", "jaxlib", "equinox", "optax")}


def differences(then: Identity, now: Identity) -> list[str]:
    """The differences between two runs, each as a clause of a sentence."""
    return [
        f"{name} differs"
        if isinstance(now.get(name), str)
        else f"{name} is {then.get(name)} there and {now[name]} here"
        for name in now
        if then.get(name) != now[name]
    ]


def _program(f: Callable, *arguments: Any) -> str:
    """A digest of the program that a function is for arguments of these shapes. It covers the constants of the program."""
    traced = jax.make_jaxpr(f)(*arguments)
    return _digest(
        traced.consts, re.sub(r"0x[0-9a-f]+", "", str(traced))
    )  # addresses of Python's objects change in every run


def _digest(arrays: Any, text: str = "") -> str:
    leaves = jax.tree.leaves(arrays)
    digest = hashlib.sha256(text.encode())
    for leaf in leaves:
        array = plain(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def plain(leaf: Any) -> np.ndarray:
    """An array as an array of NumPy. A random key becomes its numbers."""
    is_key = isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(leaf) if is_key else leaf)
