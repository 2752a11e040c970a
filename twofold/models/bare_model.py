"""Layers between a linear embedding and a linear readout, and nothing else."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jax.typing import DTypeLike
from jaxtyping import PRNGKeyArray

from ..layers.affine import affine
from ..layers.layer import Layer, check_sizes, parameter_dtype
from ..layers.mixers import mixer_named
from ..layers.stack import Stack


class BareModel(Layer[tuple]):
    """y = W_r layers(W_e x + b_e) + b_r: the models that paper A compares in section 3.3.

    There are no norms, no residual connections and no feed-forward parts. All layers have the width of the model.
    """

    embedding: eqx.nn.Linear
    stack: Stack
    readout: eqx.nn.Linear

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        width: int,
        depth: int = 1,
        mixer: str | Callable[..., Layer],
        dtype: DTypeLike | None = None,
        key: PRNGKeyArray,
        **mixer_options: Any,
    ):
        """A random model.

        **Arguments:**

        - `in_size`, `out_size`: the number of features of a token, and of an output.
        - `width`, `depth`: the size and the number of the layers.
        - `mixer`: one of the names of `MIXERS`, or a constructor that takes `(in_size, out_size, *, key)`.
        - `mixer_options`: options of the mixer, such as `gating`.
        - `dtype`: the dtype of the parameters. It is JAX's default float dtype if not given.
        - `key`: the random key of the weights.

        **Raises:** `InputError` for an unknown name, and for sizes below 1.
        """
        check_sizes(in_size=in_size, out_size=out_size, width=width, depth=depth)
        if dtype is not None:
            mixer_options["dtype"] = dtype
        dtype = parameter_dtype(dtype)
        make = mixer_named(mixer).make if isinstance(mixer, str) else mixer
        embedding_key, readout_key, *layer_keys = jax.random.split(key, 2 + depth)
        self.embedding = eqx.nn.Linear(in_size, width, dtype=dtype, key=embedding_key)
        self.stack = Stack([make(width, width, key=k, **mixer_options) for k in layer_keys])
        self.readout = eqx.nn.Linear(width, out_size, dtype=dtype, key=readout_key)

    @property
    def in_size(self) -> int:
        return self.embedding.weight.shape[1]

    @property
    def out_size(self) -> int:
        return self.readout.weight.shape[0]

    def init_state(self):
        return self.stack.init_state()

    def prefill(self, state, xs, *, resets=None):
        xs = self._tokens(xs, like=self.readout.weight)
        state, ys = self.stack.prefill(state, affine(self.embedding.weight, self.embedding.bias, xs), resets=resets)
        return state, affine(self.readout.weight, self.readout.bias, ys)
