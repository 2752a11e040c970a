"""A model in an ONNX file on many streams at once. Each key has a state of its own."""

import io
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .model import OnnxModel

Key = str | int


class OnnxKeyedStream:
    """Runs a model that `twofold export` wrote on many streams at once. It has the methods of `twofold.deploy.KeyedStream`.

    All states are in memory. Threads may share a keyed stream.

    !!! example

        stream = OnnxKeyedStream("model.onnx")
        for sensors, readings in batches:
            ys = stream.push(sensors, readings)
    """

    def __init__(self, file: Path | str, *, max_keys: int = 4096, threads: int = 1):
        """A stream for each key. No key has read a token.

        **Arguments:**

        - `file`: the ONNX file.
        - `max_keys`: the most keys that have a state. There is no store: a further key is refused.
        - `threads`: how many threads ONNX Runtime uses.

        **Raises:** `ValueError` for `max_keys` below 1 and for an ONNX file that twofold did not write; `OSError` if the file
        cannot be read.
        """
        if max_keys < 1:
            raise ValueError(f"max_keys is {max_keys}; it must be at least 1")
        self.max_keys = max_keys
        self._model = OnnxModel.read(file, threads)
        self._states: dict[Key, dict[str, np.ndarray]] = {}
        self._fresh = self._model.fresh(1)
        self._lock = threading.Lock()

    @property
    def about(self) -> dict[str, Any]:
        """What the file says of itself: twofold's version, the sizes, the state, the task, and what its numbers mean."""
        return self._model.about

    @property
    def state_bytes(self) -> int:
        """The memory that the state of a key takes, in bytes."""
        return sum(leaf.nbytes for leaf in self._fresh.values())

    def push(self, keys: Sequence[Key], xs) -> np.ndarray:
        """Read one token for each of `keys`, `(tokens, in_size)`, and return the outputs after them, `(tokens, out_size)`.

        A key may come several times. Its tokens are then read in their order.

        **Raises:** `ValueError` for keys or tokens that cannot be used, and for more than `max_keys` keys. All states are then
        as they were.
        """
        keys = list(keys.tolist() if isinstance(keys, np.ndarray) else keys)
        for key in keys:
            if isinstance(key, bool) or not isinstance(key, str | int):
                raise ValueError(f"the key {key!r:.80} is of type {type(key).__name__}; keys are strings or integers")
        xs = self._model.checked(xs, axes=1)
        if len(keys) != len(xs):
            raise ValueError(f"there are {len(keys)} keys and {len(xs)} tokens; every token needs a key")
        ys = np.zeros((len(xs), self._model.out_size), np.float32)
        with self._lock:
            states = {key: self._states.get(key, self._fresh) for key in keys}
            if len(self._states.keys() | states.keys()) > self.max_keys:
                raise ValueError(f"max_keys is {self.max_keys}; reset keys that are not needed, or allow more")
            for round_ in _rounds(keys):
                names = [keys[i] for i in round_]
                together = {leaf: np.concatenate([states[key][leaf] for key in names]) for leaf in self._fresh}
                together, ys[round_] = self._model.step(together, xs[round_])
                for i, key in enumerate(names):
                    states[key] = {leaf: array[i : i + 1].copy() for leaf, array in together.items()}
            self._states |= states
        return ys

    def snapshot(self, keys: Iterable[Key] | None = None) -> dict[Key, bytes]:
        """The states of some keys, or of all keys, as bytes. Keys that have read no token are left out."""
        with self._lock:
            chosen = self._states if keys is None else [key for key in keys if key in self._states]
            return {key: _to_bytes(self._states[key]) for key in chosen}

    def restore(self, snapshot: Mapping[Key, bytes]) -> None:
        """Give keys the states that `snapshot` returned. Other keys stay as they are.

        **Raises:** `ValueError` for a state that does not belong to this model. No state is then changed.
        """
        states = {key: self._model.checked_state(_from_bytes(content)) for key, content in snapshot.items()}
        with self._lock:
            self._states |= states

    def answer(self, y) -> dict[str, Any]:
        """What an output, `(out_size,)`, says in words: a class by its name, forecasts by those of their targets, and so on.

        **Raises:** `ValueError` if the file has no words, because it was not exported from a run.
        """
        return self._model.answer(y)

    def reset(self, keys: Iterable[Key] | None = None) -> None:
        """Forget some keys, or all keys. They are then as new."""
        with self._lock:
            for key in list(self._states if keys is None else keys):
                self._states.pop(key, None)


def _rounds(keys: list[Key]) -> Iterator[list[int]]:
    """The places of the tokens in `keys`: of the first token of each key, then of the second of each key that has two, ..."""
    counts: dict[Key, int] = {}
    rounds: list[list[int]] = []
    for i, key in enumerate(keys):
        rank = counts[key] = counts.get(key, -1) + 1
        if rank == len(rounds):
            rounds.append([])
        rounds[rank].append(i)
    yield from rounds


def _to_bytes(state: dict[str, Any]) -> bytes:
    stored = io.BytesIO()
    np.savez(stored, **state)
    return stored.getvalue()


def _from_bytes(content: bytes) -> dict[str, np.ndarray]:
    with np.load(io.BytesIO(content), allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
