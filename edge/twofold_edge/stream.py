"""A model in an ONNX file on a stream. For each token that comes in, one output goes out."""

import threading
from pathlib import Path
from typing import Any

import numpy as np

from .files import read_arrays, write_arrays
from .model import OnnxModel


class OnnxStream:
    """Runs a model that `twofold export` wrote, token by token. It has the interface of `twofold.Stream`.

    The memory does not grow with the number of tokens. Threads may share a stream: their tokens are taken one after another.

    !!! example

        stream = OnnxStream("model.onnx")
        for x in sensor:
            y = stream.push(x)
    """

    def __init__(self, file: Path | str, *, threads: int = 1):
        """A stream that has read no tokens.

        **Arguments:**

        - `file`: the ONNX file. If it was exported with `--prefill`, `push_many` is fast.
        - `threads`: how many threads ONNX Runtime uses. One is the fastest for small models.

        **Raises:** `ValueError` for an ONNX file that twofold did not write; `OSError` if the file cannot be read.
        """
        self._start(OnnxModel.read(file, threads))

    _now: tuple[dict[str, np.ndarray], int]
    """The state, and the number of tokens. Both are replaced in a single operation."""

    def _start(self, model: OnnxModel) -> None:
        self._model = model
        self._lock = threading.Lock()
        self.reset()

    @property
    def about(self) -> dict[str, Any]:
        """What the file says of itself: twofold's version, the sizes, the state, the task, and what its numbers mean."""
        return self._model.about

    @property
    def tokens(self) -> int:
        """How many tokens the stream has read."""
        return self._now[1]

    @property
    def state_bytes(self) -> int:
        """The memory that the state takes, in bytes."""
        return sum(leaf.nbytes for leaf in self._now[0].values())

    def push(self, x) -> np.ndarray:
        """Read one more token, `(in_size,)`, and return the output after it, `(out_size,)`.

        For a model that reads marks, a token is an integer from 0 to `in_size` - 1.

        **Raises:** `ValueError` for any other token, which leaves the stream as it was.
        """
        x = self._model.checked(x, axes=0)
        with self._lock:
            state, tokens = self._now
            state, ys = self._model.step(state, x[None])
            self._now = state, tokens + 1
        return ys[0]

    def push_many(self, xs) -> np.ndarray:
        """Read many tokens, `(time, in_size)`, and return the outputs after each of them, `(time, out_size)`.

        **Raises:** as `push`. A token that cannot be read leaves the stream as it was.
        """
        xs = self._model.checked(xs, axes=1)
        with self._lock:
            state, tokens = self._now
            state, ys = self._model.prefill(state, xs[:, None])
            self._now = state, tokens + len(xs)
        return ys[:, 0]

    def answer(self, y) -> dict[str, Any]:
        """What an output, `(out_size,)`, says in words: a class by its name, forecasts by those of their targets, and so on.

        **Raises:** `ValueError` if the file has no words, because it was not exported from a run.
        """
        return self._model.answer(y)

    def reset(self) -> None:
        """Forget all tokens. The stream is then as new."""
        self._now = self._model.fresh(1), 0

    def save(self, path: Path | str) -> None:
        """Write the model, the state and the number of tokens to the file `path`, whole or not at all.

        **Raises:** `OSError` if the file cannot be written.
        """
        write_arrays(path, {"model": np.frombuffer(self._model.content, np.uint8), **self.snapshot()})

    @classmethod
    def load(cls, path: Path | str, *, threads: int = 1) -> "OnnxStream":
        """Read the stream that `save` wrote to the file `path`. It continues exactly where it was.

        **Raises:** `ValueError` if the file is not one of `save`, or is damaged; `OSError` if it cannot be read.
        """
        arrays = read_arrays(path, needed=("model", "tokens"))
        stream = cls.__new__(cls)
        stream._start(OnnxModel(arrays.pop("model").tobytes(), threads))
        stream.restore(arrays)
        return stream

    def snapshot(self) -> dict[str, np.ndarray]:
        """The state and the number of tokens, as arrays with names. `restore` takes them."""
        state, tokens = self._now
        return {"tokens": np.asarray(tokens)} | {name: leaf.copy() for name, leaf in state.items()}

    def restore(self, snapshot: dict[str, np.ndarray]) -> None:
        """Continue exactly where a stream with the same model was when `snapshot` was taken.

        **Raises:** `ValueError` if the arrays are no snapshot of this model. The stream is then as it was.
        """
        arrays = dict(snapshot)
        tokens = arrays.pop("tokens", np.asarray(-1))
        if tokens.shape != () or tokens.dtype.kind not in "iu" or tokens < 0:
            raise ValueError("the snapshot is damaged: it does not say how many tokens the stream has read")
        self._now = self._model.checked_state(arrays), int(tokens)
