"""A model in an ONNX file: what it reads, the state before the first token, and its step."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from .words import answer


class OnnxModel:
    """The session of ONNX Runtime for a file that `twofold export` wrote."""

    def __init__(self, content: bytes, threads: int):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.content = content
        self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        about = self._session.get_modelmeta().custom_metadata_map.get("twofold")
        if about is None:
            raise ValueError("this ONNX file was not written by twofold; `twofold export RUN FILE.onnx` writes one")
        self.about = json.loads(about)
        self.in_size, self.out_size = self.about["in_size"], self.about["out_size"]
        self.reads_marks = self.about["reads"] == "marks"
        self.reads_many = self.about["form"] == "prefill"
        self._token = "xs" if self.reads_many else "x"

    @classmethod
    def read(cls, file: Path | str, threads: int) -> "OnnxModel":
        return cls(Path(file).read_bytes(), threads)

    def fresh(self, batch: int) -> dict[str, np.ndarray]:
        """The state of a batch of sequences before their first token, by the names of its arrays."""
        return {
            name: np.broadcast_to(np.asarray(leaf["initial"], leaf["dtype"]), (batch, *leaf["shape"])).copy()
            for name, leaf in self.about["state"].items()
        }

    def step(self, state: dict[str, np.ndarray], x: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """The state after one more token of each sequence, `(batch, in_size)`, and the outputs, `(batch, out_size)`."""
        if self.reads_many:
            state, ys = self.prefill(state, x[None])
            return state, ys[0]
        return self._run(state, x)

    def prefill(self, state: dict[str, np.ndarray], xs: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """As `step`, for many tokens, `(time, batch, in_size)`."""
        if self.reads_many and len(xs):
            return self._run(state, xs)
        ys = np.zeros((len(xs), xs.shape[1], self.out_size), np.float32)
        for t, x in enumerate(xs):
            state, ys[t] = self.step(state, x)
        return state, ys

    def _run(self, state, x):
        *leaves, y = self._session.run(None, {**state, self._token: x})
        return dict(zip(state, leaves, strict=True)), y

    def answer(self, y: np.ndarray) -> dict[str, Any]:
        """What an output says in words. Raises `ValueError` if the file has no words."""
        if "words" not in self.about:
            raise ValueError("this file was not exported from a run, so it does not say what its answers mean")
        return answer(y, self.about["words"])

    def checked_state(self, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Raises `ValueError` for a state that does not belong to this model."""
        forms, needed = ({name: (x.shape[1:], x.dtype) for name, x in each.items()} for each in (state, self.fresh(1)))
        if forms != needed:
            raise ValueError(f"the state has the arrays {forms}; this model needs {needed}")
        return state

    def checked(self, x, axes: int) -> np.ndarray:
        """Tokens as the graph takes them, with so many axes before the features.

        Raises `ValueError` for anything that is not such tokens.
        """
        x = np.asarray(x)
        if self.reads_marks:
            if x.ndim != axes or (x.dtype.kind not in "iu" and x.size) or not np.all((x >= 0) & (x < self.in_size)):
                raise ValueError(f"the tokens are {x!r}; this model takes integers from 0 to {self.in_size - 1}")
            return x.astype(np.int32)
        if x.ndim != 1 + axes or x.shape[-1] != self.in_size or x.dtype.kind not in "fiu":
            raise ValueError(
                f"the tokens have the shape {x.shape} and the dtype {x.dtype}; this model takes tokens of {self.in_size} numbers"
            )
        if not np.isfinite(x).all():
            raise ValueError(f"the tokens contain {x[~np.isfinite(x)][0]}; all features must be finite numbers")
        return x.astype(np.float32)
