"""What one stream costs, measured in a process of its own. It is a script, so that nothing else is imported before.

`python benchmarks/edge_process.py onnx model.onnx 8 2000` prints a line of JSON; `jax FOLDER` is the stream over JAX.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

WARM = 1100
"""So many tokens are read first. This fills the KV cache of attention."""


def main(runtime: str, model: str, in_size: int, count: int) -> None:
    stream: Any
    begun = time.perf_counter()
    if runtime == "onnx":
        from twofold_edge import OnnxStream

        stream = OnnxStream(model)
    else:
        import twofold

        stream = twofold.Stream(twofold.load(model))
    token = [0.1] * in_size
    stream.push(token)
    start_up = time.perf_counter() - begun
    for _ in range(WARM):
        stream.push(token)
    seconds = []
    for _ in range(count):
        before = time.perf_counter()
        stream.push(token)
        seconds.append(time.perf_counter() - before)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    cost = {
        "start-up": start_up,
        "median": sorted(seconds)[count // 2],
        "fastest tenth": sorted(seconds)[count // 10],
        "resident": pages * os.sysconf("SC_PAGE_SIZE"),
        "state": stream.state_bytes,
    }
    print(json.dumps(cost))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
