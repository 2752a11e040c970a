"""Whole models: an encoder for tokens, a stack of blocks, and a readout."""

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float, PRNGKeyArray

from ..errors import InputError
from ..layers.affine import affine
from ..layers.layer import Layer, check_sizes, parameter_dtype
from ..layers.mixers import mixer_named
from ..layers.running_mean import RunningMean
from ..layers.stack import Block, Stack


class SequenceModel(Layer[tuple]):
    """An encoder of tokens, pre-norm residual blocks, and a readout. Every output depends on the tokens so far alone.

    With `predicts="step"`, the output at t is about token t. With `predicts="sequence"`, the output at t is about the
    sequence x_1..x_t, and it is read from the mean of the features so far. So the last output is about the whole sequence.
    """

    encoder: eqx.nn.Linear | eqx.nn.Embedding
    stack: Stack
    norm: eqx.nn.LayerNorm
    readout: eqx.nn.Linear

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        width: int = 64,
        depth: int = 2,
        mixer: str | Callable[..., Layer] = "aaren",
        reads: Literal["features", "marks"] = "features",
        predicts: Literal["step", "sequence"] = "step",
        feed_forward_size: int | None = None,
        dtype: DTypeLike | None = None,
        key: PRNGKeyArray,
        **mixer_options: Any,
    ):
        """A random model.

        **Arguments:**

        - `in_size`: the number of features of a token, or with `reads="marks"` the number of different marks.
        - `out_size`: the number of features of an output.
        - `width`, `depth`: the size and the number of the blocks.
        - `mixer`: one of the names of `MIXERS`, or a constructor that takes `(in_size, out_size, *, key)`.
        - `mixer_options`: options of the mixer, such as `num_heads`.
        - `reads`: `"features"`, or `"marks"` for tokens that are integers from 0 to `in_size` - 1.
        - `predicts`: `"step"` or `"sequence"`. The class explains them.
        - `feed_forward_size`: the number of hidden neurons in the feed-forward part of a block. It is 4 * `width` if not given.
        - `dtype`: the dtype of the parameters. It is JAX's default float dtype if not given.
        - `key`: the random key of the weights.

        **Raises:** `InputError` for an unknown name, for sizes below 1, and for sizes that do not fit together.
        """
        check_sizes(in_size=in_size, out_size=out_size, width=width, depth=depth)
        if dtype is not None:
            mixer_options["dtype"] = dtype
        dtype = parameter_dtype(dtype)
        encoder_key, readout_key, *block_keys = jax.random.split(key, 2 + depth)
        encoders = {"features": eqx.nn.Linear, "marks": eqx.nn.Embedding}
        if reads not in encoders:
            raise InputError(f"reads is {reads!r}; it must be 'features' or 'marks'")
        if predicts not in ("step", "sequence"):
            raise InputError(f"predicts is {predicts!r}; it must be 'step' or 'sequence'")
        make = mixer_named(mixer).make if isinstance(mixer, str) else mixer

        def block(key):
            mixer_key, block_key = jax.random.split(key)
            mixer = make(width, width, key=mixer_key, **mixer_options)
            return Block(mixer, feed_forward_size=feed_forward_size, key=block_key)

        self.encoder = encoders[reads](in_size, width, dtype=dtype, key=encoder_key)
        layers: list[Layer] = [block(k) for k in block_keys]
        self.stack = Stack([*layers, RunningMean(width, dtype=dtype)] if predicts == "sequence" else layers)
        self.norm = eqx.nn.LayerNorm(width, dtype=dtype)
        self.readout = eqx.nn.Linear(width, out_size, dtype=dtype, key=readout_key)

    @property
    def reads(self) -> Literal["features", "marks"]:
        return "marks" if isinstance(self.encoder, eqx.nn.Embedding) else "features"

    @property
    def in_size(self) -> int:
        """The number of features of a token, or the number of marks."""
        shape = self.encoder.weight.shape
        return shape[0] if self.reads == "marks" else shape[1]

    @property
    def out_size(self) -> int:
        return self.readout.weight.shape[0]

    def init_state(self):
        return self.stack.init_state()

    def prefill(self, state, xs, *, resets=None):
        state, features = self.features(state, xs, resets=resets)
        return state, self.read(features)

    def features(self, state, xs, *, resets=None) -> tuple[tuple, Float[Array, "time width"]]:
        """As `prefill`, but with the features after the stack, `(time, width)`, in place of the outputs.

        `read` makes the outputs from the features.
        """
        return self.stack.prefill(state, self._encoded(xs), resets=resets)

    def read(self, features: Float[Array, "tokens width"]) -> Float[Array, "tokens out"]:
        """The outputs, `(tokens, out)`, from the features at some tokens, `(tokens, width)`."""
        return affine(self.readout.weight, self.readout.bias, jax.vmap(self.norm)(features))

    def _encoded(self, xs):
        xs = self._encodable(xs)
        if isinstance(self.encoder, eqx.nn.Embedding):
            return jax.vmap(self.encoder)(xs)
        return affine(self.encoder.weight, self.encoder.bias, xs)

    def _encodable(self, xs):
        if self.reads == "features":
            return self._tokens(xs, like=self.readout.weight)
        xs = jnp.asarray(xs)
        if xs.ndim != 1 or not jnp.issubdtype(xs.dtype, jnp.integer):
            raise InputError(
                f"this model reads marks, integers of shape (time,); got an array of {xs.dtype} of shape {xs.shape}"
            )
        known = not isinstance(xs, jax.core.Tracer)
        if known and xs.size and not 0 <= int(xs.min()) <= int(xs.max()) < self.in_size:
            bad = int(xs.min()) if int(xs.min()) < 0 else int(xs.max())
            raise InputError(
                f"the tokens contain the mark {bad}; this model takes integers from 0 to {self.in_size - 1}"
            )
        return xs

    def with_scaled_input(self, mean: Float[ArrayLike, " in"], scale: Float[ArrayLike, " in"]) -> "SequenceModel":
        """The model that gives for `x` what this one gives for `(x - mean) / scale`. The encoder takes in the normalisation.

        `mean` and `scale` are `(in_size,)`.

        **Raises:** `InputError` for a model that reads marks.
        """
        encoder = self.encoder
        if not isinstance(encoder, eqx.nn.Linear) or encoder.bias is None:
            raise InputError("this model reads marks; only features have a mean and a scale")
        weight = encoder.weight / jnp.asarray(scale)
        bias = encoder.bias - weight @ jnp.asarray(mean)
        return eqx.tree_at(lambda m: (m.encoder.weight, m.encoder.bias), self, (weight, bias))
