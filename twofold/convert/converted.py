"""A source converted into another architecture: its layers between linear maps, and nothing else."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import ArrayLike, Float

from ..forms import exact_outputs
from ..layers import LRU, GatedRNN, Layer, LinearSelfAttention, Stack


class Converted(Layer[tuple]):
    """y = W_readout layers(W_in x~): real layers of one architecture between two linear maps.

    x~ is (x, 1), for layers without biases whose source reads a constant 1. `embedding` is None where the layers read the
    tokens themselves.
    """

    embedding: Float[Array, "e in_plus_1"] | None
    stack: Stack
    readout: Float[Array, "out n"]
    scale: float = eqx.field(static=True)
    """The largest argument of a linearised sigmoid, for tokens within the input bound."""
    error_bound: float = eqx.field(static=True)
    """No entry of an output differs from the source's entry by more than this, for tokens and lengths within the bounds given.
    This is the worst case: all tokens at their bound, and all signs against you. For random tokens the error is smaller by orders
    of magnitude: `error_on` has the error for tokens of yours."""

    def __init__(
        self,
        layers: tuple[Layer, ...] | list[Any],
        readout: Float[ArrayLike, "out n"],
        *,
        scale: float,
        error_bound: float,
        embedding: Float[ArrayLike, "e in_plus_1"] | None = None,
    ):
        """Layers between two maps. The maps take the dtype of the layers.

        **Arguments:**

        - `layers`: the layers of the target architecture, from the first to the last.
        - `readout`: the map behind the last layer.
        - `scale`, `error_bound`: see the fields of the class.
        - `embedding`: the map in front of the first layer. It is None if the layers read the tokens themselves.
        """
        dtype = jax.tree.leaves(layers)[0].dtype
        self.embedding = None if embedding is None else jnp.asarray(embedding, dtype)
        self.stack = Stack(layers)
        self.readout = jnp.asarray(readout, dtype)
        self.scale, self.error_bound = scale, error_bound

    @property
    def in_size(self) -> int:
        return self.stack.in_size if self.embedding is None else self.embedding.shape[1] - 1

    @property
    def out_size(self) -> int:
        return self.readout.shape[0]

    @property
    def layers(self) -> int:
        """The number of layers between the maps."""
        return len(self.stack.layers)

    @property
    def neurons(self) -> int:
        """The number of hidden neurons of all layers. A complex neuron counts once."""
        return sum(layer.hidden_size if isinstance(layer, LRU) else layer.out_size for layer in self.stack.layers)

    @property
    def parameters(self) -> int:
        """The number of entries in all weights. Zeros and the two maps count too."""
        return sum(x.size for x in jax.tree.leaves(self))

    def error_on(self, source: LinearSelfAttention | GatedRNN, xs: Float[ArrayLike, "time in"]) -> float:
        """No entry of `self(xs)` differs by more than this from the exact function of `source`, which it was converted from.

        It is the largest difference from the source's outputs in float64, and a bound on the rounding of these. Another machine,
        and `step`, have another order of operations: there, the part that is rounding is another one of about this size.

        **Raises:** `InputError` if the tokens do not fit.
        """
        tokens = np.asarray(self._tokens(xs, like=self.readout), np.float64)
        (exact,), (rounding,) = exact_outputs(source, tokens[None])
        return float(np.max(np.abs(np.asarray(self(xs), np.float64) - exact) + rounding, initial=0.0))

    def init_state(self):
        return self.stack.init_state()

    def prefill(self, state, xs, *, resets=None):
        xs = self._tokens(xs, like=self.readout)
        if self.embedding is not None:
            xs = jnp.concatenate([xs, jnp.ones_like(xs[:, :1])], 1) @ self.embedding.T
        state, ys = self.stack.prefill(state, xs, resets=resets)
        return state, ys @ self.readout.T
