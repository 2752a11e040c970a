"""A trained model on a stream: one token in, one output out."""

from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float, Shaped

from ..errors import InputError
from ..layers import Layer
from ..models import SequenceModel
from ..saving import load, named_leaves, read_arrays, save, with_named_leaves, write_arrays


class Stream:
    """Runs a model token by token, in memory that does not grow with their number.

    !!! example

        stream = twofold.Stream(model)
        for x in sensor:
            y = stream.push(x)
    """

    def __init__(self, model: Layer):
        """A stream at its beginning. The model's step is compiled at the first `push`."""
        self.model = model
        self.tokens = 0
        """How many tokens were pushed."""
        self._state = self._fresh_state()
        # The parameters are closed over, not passed: a call then costs half as much. The state is updated in place.
        self._step = jax.jit(lambda state, x: model.step(state, x), donate_argnums=0)

    def push(self, x: Shaped[ArrayLike, "*features"] | Sequence[float]) -> Float[np.ndarray, " out"]:
        """The output after one more token: `(in_size,)` finite numbers, or one mark, an integer below `in_size`.

        **Raises:** `InputError` if the token is anything else. The stream is then as before.
        """
        self._state, y = self._step(self._state, self._checked(x))
        self.tokens += 1
        return np.asarray(y)

    def reset(self) -> None:
        """Forget all tokens, as if the stream were new."""
        self._state, self.tokens = self._fresh_state(), 0

    @property
    def state_bytes(self) -> int:
        """Memory that the state takes."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self._state))

    def save(self, path: Path | str) -> None:
        """Write the model and where the stream stands to the folder `path`."""
        save(path, self.model)
        arrays = named_leaves(self._state) | {"tokens": np.asarray(self.tokens)}
        write_arrays(Path(path) / "state.safetensors", arrays)

    @classmethod
    def load(cls, path: Path | str) -> "Stream":
        """The stream that `save` wrote, to be continued exactly.

        **Raises:** `InputError` if files are missing, damaged or do not belong together.
        """
        stream = cls(load(path))
        file = Path(path) / "state.safetensors"
        arrays = read_arrays(file)
        stream._state = with_named_leaves(stream._state, arrays, file)
        stream.tokens = int(arrays.get("tokens", 0))
        return stream

    def _fresh_state(self):
        return jax.tree.map(jnp.copy, self.model.init_state())  # each array its own, to be updated in place

    def _checked(self, x) -> np.ndarray:
        x = np.asarray(x)
        size = self.model.in_size
        if isinstance(self.model, SequenceModel) and self.model.reads == "marks":
            if x.shape != () or x.dtype.kind not in "iu" or not 0 <= x < size:
                raise InputError(f"the token is {x!r}; this model takes one integer from 0 to {size - 1}")
            return x.astype(int)
        if x.shape != (size,) or x.dtype.kind not in "fiu":
            raise InputError(
                f"the token has shape {x.shape} and dtype {x.dtype}; this model takes {size} numbers, ({size},)"
            )
        if not np.all(np.isfinite(x)):
            bad = int(np.argmin(np.isfinite(x)))
            raise InputError(f"feature {bad} of token {self.tokens} is {x[bad]}; all features must be finite numbers")
        return x.astype(jnp.result_type(float))  # one dtype, so that the step is compiled once
