"""A trained model on a stream: one token in, one output out."""

import os
import threading
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float, Shaped

from ..errors import InputError
from ..layers import Layer
from ..saving import load_with_state, named_leaves, save_with_state, with_named_leaves
from ..saving.folder import STATE


class Stream:
    """Runs a model token by token, in memory that does not grow with their number.

    Threads may share a stream: their tokens are taken one after another. A process that was forked cannot use the streams
    of its parent, since JAX's threads do not exist in it; it is refused. Start it with the method `"spawn"`.

    !!! example

        stream = twofold.Stream(model)
        for x in sensor:
            y = stream.push(x)
    """

    def __init__(self, model: Layer):
        """A stream at its beginning. The model's step is compiled at the first `push`."""
        self.model = model
        self._size, self._reads_marks = model.in_size, model.reads == "marks"
        self._dtype = jnp.result_type(float)
        # The parameters are closed over, not passed: a call then costs half as much. The state is updated in place.
        self._step = jax.jit(lambda state, x: model.step(state, x), donate_argnums=0)
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._compiled = False
        # One entry: ((state, output), tokens).
        self._now: deque[tuple[tuple[Any, Any], int]] = deque(maxlen=1)
        self.reset()

    @property
    def tokens(self) -> int:
        """How many tokens were pushed."""
        return self._now[0][1]

    def push(self, x: Shaped[ArrayLike, "*features"] | Sequence[float]) -> Float[np.ndarray, " out"]:
        """The output after one more token: `(in_size,)` finite numbers, or one mark, an integer below `in_size`.

        A Ctrl-C in here leaves the stream before the token or after it, and `tokens` says which. If it hits the moment in which
        JAX replaces the state, the state is lost, and the next `push` says so.

        **Raises:** `InputError` if the token is anything else. The stream is then as before. `RuntimeError` in a process
        that was forked after the stream was made, and if the step itself failed and took the state with it.
        """
        if os.getpid() != self._process:
            raise RuntimeError("this process was forked after the stream was made; start it with the method 'spawn'")
        x = self._checked(x)
        with self._lock:
            if not self._compiled:  # on a copy, because a step that is interrupted while it is compiled could lose it
                self._step(jax.tree.map(jnp.copy, self._now[0][0][0]), x)
                self._compiled = True
            (state, _), tokens = self._now[0]
            # The step destroys the old state. An interrupt can come between any two operations of Python, but `extend` is one:
            # so the new state takes the place of the old, unless the interrupt comes inside of JAX.
            try:
                self._now.extend(zip(map(self._step, (state,), (x,)), (tokens + 1,), strict=True))
            except Exception as error:
                if any(leaf.is_deleted() for leaf in jax.tree.leaves(state)):
                    raise RuntimeError("the stream lost its state in a step that failed; reset or load it") from error
                raise
            y = self._now[0][0][1]
        return np.asarray(y)

    def reset(self) -> None:
        """Forget all tokens, as if the stream were new."""
        self._continue_from(self.model.init_state(), 0)

    @property
    def state_bytes(self) -> int:
        """Memory that the state takes."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self._now[0][0][0]))

    def save(self, path: Path | str) -> None:
        """Write the model and where the stream stands to the folder `path`, in place of what was saved there before.

        After a kill, the folder holds the old model and state or the new ones. **Raises:** as `twofold.save` does.
        """
        with self._lock:
            (state, _), tokens = self._now[0]
            arrays = named_leaves(state) | {"tokens": np.asarray(tokens)}
            arrays = {name: np.array(array) for name, array in arrays.items()}  # not views of what a push destroys
        save_with_state(path, self.model, arrays)

    @classmethod
    def load(cls, path: Path | str) -> "Stream":
        """The stream that `save` wrote, to be continued exactly.

        **Raises:** `InputError` if files are missing, damaged or do not belong together.
        """
        model, arrays = load_with_state(path)
        file = Path(path) / STATE
        if arrays is None:
            raise InputError(f"{path} holds a model and no state of a stream that names this model")
        tokens = arrays.pop("tokens", np.asarray(-1))
        if tokens.shape != () or tokens.dtype.kind not in "iu" or tokens < 0:
            raise InputError(f"{file} does not say how many tokens the stream had")
        stream = cls(model)
        try:
            state = with_named_leaves(model.init_state(), arrays)
        except InputError as error:
            raise InputError(f"{file} is not a state of this version of the model: {error}") from error
        stream._continue_from(state, int(tokens))
        return stream

    def _continue_from(self, state: Any, tokens: int) -> None:
        state = jax.tree.map(jnp.copy, state)  # each array its own, to be updated in place
        with self._lock:
            self._now.append(((state, None), tokens))

    def _checked(self, x) -> np.ndarray:
        x = np.asarray(x)
        if self._reads_marks:
            if x.shape != () or x.dtype.kind not in "iu" or not 0 <= x < self._size:
                raise InputError(f"the token is {x!r}; this model takes one integer from 0 to {self._size - 1}")
            return x.astype(int)
        if x.shape != (self._size,) or x.dtype.kind not in "fiu":
            raise InputError(
                f"the token has shape {x.shape} and dtype {x.dtype};"
                f" this model takes {self._size} numbers, ({self._size},)"
            )
        finite = np.isfinite(x)
        if not finite.all():
            bad = int(np.argmin(finite))
            raise InputError(f"feature {bad} of token {self.tokens} is {x[bad]}; all features must be finite numbers")
        return x.astype(self._dtype)  # one dtype, so that the step is compiled once
