"""Add to the site what its live pages need and the repository does not hold: libraries from npm, and exported models.

Run `python -m docs.live.assets build/site` after the pages are built.
"""

import shutil
import sys
from pathlib import Path

import jax

from docs.live.npm import copy_from_npm
from twofold.deploy import export_onnx
from twofold.models import SequenceModel

BROWSER = "edge/browser"
"""The page that runs any exported model, in the repository and in the site."""
UPLOT = "dist/uPlot.esm.js", "dist/uPlot.min.css"
RUNTIME = "dist/ort.wasm.min.mjs", "dist/ort-wasm-simd-threaded.mjs", "dist/ort-wasm-simd-threaded.wasm"
CAPACITIES = 64, 256, 1024, 4096
"""The Transformer is exported with each of these sizes of its cache."""
FEATURES = 4


def stream_models() -> dict[str, SequenceModel]:
    """The models of docs/live/stream.md, by the names of their files."""

    def model(mixer: str, **options) -> SequenceModel:
        sizes = {"width": 32, "depth": 2, "num_heads": 4, "dtype": "float32"}
        return SequenceModel(FEATURES, 1, mixer=mixer, **sizes, **options, key=jax.random.key(0))

    transformers = {f"transformer-{n}": model("softmax-attention", capacity=n) for n in CAPACITIES}
    return {"aaren": model("aaren"), **transformers}


def main(site: Path) -> None:
    live = site / "live"
    copy_from_npm("uplot", UPLOT, live / "vendor")
    copy_from_npm("onnxruntime-web", RUNTIME, live / "vendor")
    copy_from_npm("onnxruntime-web", RUNTIME, site / BROWSER / "ort")
    shutil.copy(Path(__file__).parents[2] / BROWSER / "onnx_stream.js", live)
    (live / "models").mkdir(exist_ok=True)
    for name, model in stream_models().items():
        export_onnx(model, live / "models" / f"{name}.onnx")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
