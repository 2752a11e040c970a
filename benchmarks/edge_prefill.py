"""Exported graphs of whole sequences beside exported steps, in µs a token: `python -m benchmarks.edge_prefill`."""

import tempfile
import time
from pathlib import Path

import numpy as np

from twofold.deploy import OnnxStream, export_onnx
from twofold.layers import MIXERS

from .edge import CAPACITY, SIZE, model_of

TOKENS = 2048


def seconds(run) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def run() -> None:
    """Both have read as many tokens before as the KV cache holds."""
    xs = np.random.default_rng(0).normal(size=(TOKENS, SIZE)).astype(np.float32)
    for mixer in MIXERS:
        streams = []
        for prefill in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                file = Path(folder, "model.onnx")
                export_onnx(model_of(mixer), file, prefill=prefill)
                streams.append(OnnxStream(file))
            streams[-1].push_many(xs[:CAPACITY])
        step, sequence = (seconds(lambda stream=stream: stream.push_many(xs)) / TOKENS * 1e6 for stream in streams)
        print(f"{mixer}: a step {step:.0f} µs, a token of a sequence {sequence:.1f} µs, {step / sequence:.1f} times")


if __name__ == "__main__":
    run()
