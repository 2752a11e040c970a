"""A trained model on a stream. For each token that comes in, one output goes out."""

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float, Shaped

from ..errors import InputError
from ..layers import Layer
from ..layers.layer import dtype_of
from ..saving import load_with_state, named_leaves, save_with_state, with_named_leaves
from ..saving.folder import STATE
from .tokens import Tokens

LARGEST_BLOCK = 1024
"""The most tokens that `push_many` gives to the model at once."""


class Stream:
    """Runs a model token by token. The memory does not grow with the number of tokens.

    Threads may share a stream: their tokens are taken one after another. A forked process cannot use the streams of its
    parent, because it does not have the threads of JAX. Start processes with the method `"spawn"`.

    !!! example

        stream = twofold.Stream(model)
        for x in sensor:
            y = stream.push(x)
    """

    def __init__(self, model: Layer):
        """A stream that has read no tokens. The first `push` compiles the step of the model."""
        self.model = model
        self._takes = Tokens(model)
        # The parameters are constants of the compiled step, which halves the cost of a call. The state is updated in place.
        self._step = jax.jit(lambda state, x: model.step(state, x), donate_argnums=0)
        self._prefill = jax.jit(lambda state, xs: model.prefill(state, xs), donate_argnums=0)
        self._lock = threading.Lock()
        self._process = os.getpid()
        self._compiled: set[tuple[int, ...]] = set()  # the shapes of the inputs that were read already
        # This has one entry, ((state, output), tokens), which is replaced in a single operation.
        self._now: deque[tuple[tuple[Any, Any], int]] = deque(maxlen=1)
        self.reset()

    @property
    def tokens(self) -> int:
        """How many tokens the stream has read."""
        return self._now[0][1]

    def push(self, x: Shaped[ArrayLike, "*features"] | Sequence[float | int]) -> Float[np.ndarray, " out"]:
        """Read one more token, and return the output after it, `(out_size,)`.

        A token is `(in_size,)` finite numbers. For a model that reads marks, it is an integer from 0 to `in_size` - 1.

        After a Ctrl-C, the stream is as it was before the token or after it, and `tokens` says which. A Ctrl-C at the very
        moment in which JAX replaces the state can destroy the state. The next `push` then says so.

        **Raises:** `InputError` for any other token, which leaves the stream as it was. `RuntimeError` in a process that was
        forked after the stream was made, and if the state was lost in a step that failed.
        """
        self._check_process()
        x = self._takes.checked(x, before=self.tokens)
        with self._lock:
            return self._read(self._step, x, 1)

    def push_many(self, xs: Shaped[ArrayLike, "time *features"]) -> Float[np.ndarray, "time out"]:
        """Read many tokens at once, and return the outputs after each of them, `(time, out_size)`.

        The state and the outputs are those of so many calls of `push`, up to rounding, at the speed of a scan. `xs` is
        `(time, in_size)`, or `(time,)` for a model that reads marks. Tokens are read in blocks of powers of two, up to
        1024, so that few lengths are compiled. After a Ctrl-C, `tokens` says how many were read.

        **Raises:** as `push`. A token that cannot be read leaves the stream as it was.
        """
        self._check_process()
        xs = self._takes.checked(xs, many=True, before=self.tokens)
        ys, start = [np.zeros((0, self.model.out_size), dtype_of(self.model))], 0
        with self._lock:
            while start < len(xs):
                size = min(LARGEST_BLOCK, 1 << (len(xs) - start).bit_length() - 1)
                ys.append(self._read(self._prefill, xs[start : start + size], size))
                start += size
        return np.concatenate(ys)

    def _read(self, run: Callable, x: np.ndarray, count: int) -> np.ndarray:
        """The output of `run`, which reads `count` tokens and takes the state to the next one."""
        if x.shape not in self._compiled:
            # With a copy of the state, which an interrupt during compilation could destroy.
            run(jax.tree.map(jnp.copy, self._now[0][0][0]), x)
            self._compiled.add(x.shape)
        (state, _), tokens = self._now[0]
        # `run` destroys the old state, and an interrupt can come between any two operations of Python. `extend` is a
        # single operation. So the new state takes the place of the old one, unless the interrupt comes inside of JAX.
        try:
            self._now.extend(zip(map(run, (state,), (x,)), (tokens + count,), strict=True))
        except Exception as error:
            if any(leaf.is_deleted() for leaf in jax.tree.leaves(state)):
                raise RuntimeError("the stream lost its state in a step that failed; reset or load it") from error
            raise
        return np.asarray(self._now[0][0][1])

    def reset(self) -> None:
        """Forget all tokens. The stream is then as new."""
        self._continue_from(self.model.init_state(), 0)

    @property
    def state_bytes(self) -> int:
        """The memory that the state takes, in bytes."""
        return sum(leaf.nbytes for leaf in jax.tree.leaves(self._now[0][0][0]))

    def save(self, path: Path | str) -> None:
        """Write the model, its state and the number of tokens to the folder `path`, in place of a model that is there.

        After a kill, the folder holds the old model and its state, or the new ones.

        **Raises:** `InputError` if the model holds something that twofold does not have, such as a mixer of your own, and
        `OSError` if the files cannot be written.
        """
        save_with_state(path, self.model, self.snapshot())

    @classmethod
    def load(cls, path: Path | str) -> "Stream":
        """Read the stream that `save` wrote to the folder `path`. It continues exactly where it was.

        **Raises:** `InputError` if files are missing or damaged, or do not belong together.
        """
        model, arrays = load_with_state(path)
        if arrays is None:
            raise InputError(
                f"{path} holds a model and no state of a stream that belongs to it; twofold.load reads the model"
            )
        stream = cls(model)
        try:
            stream.restore(arrays)
        except InputError as error:
            raise InputError(f"{Path(path) / STATE} cannot be used: {error}") from error
        return stream

    def snapshot(self) -> dict[str, np.ndarray]:
        """The state and the number of tokens, as arrays with names. `restore` takes them."""
        with self._lock:
            (state, _), tokens = self._now[0]
            arrays = named_leaves(state) | {"tokens": np.asarray(tokens)}
            return {name: np.array(x) for name, x in arrays.items()}  # copies, because the next push destroys the state

    def restore(self, snapshot: dict[str, np.ndarray]) -> None:
        """Continue exactly where a stream with the same model was when `snapshot` was taken.

        **Raises:** `InputError` if the arrays are no snapshot of this model. The stream is then as it was.
        """
        arrays = dict(snapshot)
        tokens = arrays.pop("tokens", np.asarray(-1))
        if tokens.shape != () or tokens.dtype.kind not in "iu" or tokens < 0:
            raise InputError("the snapshot is damaged: it does not say how many tokens the stream has read")
        try:
            state = with_named_leaves(self.model.init_state(), arrays)
        except InputError as error:
            raise InputError(f"the snapshot is not a state of this version of the model: {error}") from error
        self._continue_from(state, int(tokens))

    def _continue_from(self, state: Any, tokens: int) -> None:
        state = jax.tree.map(jnp.copy, state)  # no array may be shared, because a step updates them in place
        with self._lock:
            self._now.append(((state, None), tokens))

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            raise RuntimeError("this process was forked after the stream was made; start it with the method 'spawn'")
