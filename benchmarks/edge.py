"""Exported models beside the jitted step, and beside a Transformer with a KV cache that is exported in the same way."""

import json
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import jax
import tyro

from twofold.atomic import write_whole
from twofold.deploy import export_onnx
from twofold.layers import MIXERS
from twofold.models import SequenceModel
from twofold.report import provenance
from twofold.report.tables import markdown_table
from twofold.saving import save

SIZE, WIDTH, DEPTH, CAPACITY = 8, 64, 2, 1024


def model_of(mixer: str) -> SequenceModel:
    """A random model of 8 features, with two blocks of width 64."""
    options = MIXERS[mixer].taken(num_heads=4, capacity=CAPACITY, hidden_size=WIDTH, gate_size=WIDTH)
    return SequenceModel(SIZE, SIZE, width=WIDTH, depth=DEPTH, mixer=mixer, key=jax.random.key(0), **options)


def cost(runtime: str, path: Path, count: int) -> dict[str, float]:
    """What `edge_process.py` prints."""
    script = Path(__file__).with_name("edge_process.py")
    command = [sys.executable, str(script), runtime, str(path), str(SIZE), str(count)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def run(out: Path = Path("runs/edge"), tokens: int = 5000) -> None:
    """Measure every mixer with ONNX Runtime and with JAX, each in a process of its own.

    Args:
        out: The folder for edge.json and edge.md.
        tokens: So many tokens are timed.
    """
    figures: dict[str, dict] = {}
    with tempfile.TemporaryDirectory() as folder:
        for mixer in MIXERS:
            model, saved, file = model_of(mixer), Path(folder, mixer), Path(folder, f"{mixer}.onnx")
            save(saved, model)
            export_onnx(model, file)
            figures[mixer] = {
                "file": file.stat().st_size,
                "ONNX Runtime": cost("onnx", file, tokens),
                "JAX": cost("jax", saved, tokens),
            }
            print(mixer, figures[mixer], flush=True)
    settings = {"features": SIZE, "width": WIDTH, "depth": DEPTH, "capacity": CAPACITY, "tokens": tokens}
    out.mkdir(parents=True, exist_ok=True)
    versions = {"onnxruntime": version("onnxruntime"), "onnx": version("onnx")}
    provenance.command = f"python -m benchmarks.edge --out {out} --tokens {tokens}"
    provenance.write_json(out / "edge.json", {"settings": settings, "versions of ONNX": versions, "mixers": figures})
    headings = [
        "model",
        "runtime",
        "file, kB",
        "start-up, s",
        "µs a token",
        "fastest tenth, µs",
        "resident, MB",
        "state, kB",
    ]
    rows = [
        [
            MIXERS[mixer].title,
            runtime,
            f"{found['file'] / 1e3:.0f}" if runtime == "ONNX Runtime" else "",
            f"{each['start-up']:.2f}",
            f"{each['median'] * 1e6:.0f}",
            f"{each['fastest tenth'] * 1e6:.0f}",
            f"{each['resident'] / 1e6:.0f}",
            f"{each['state'] / 1e3:.1f}",
        ]
        for mixer, found in figures.items()
        for runtime, each in ((name, found[name]) for name in ("ONNX Runtime", "JAX"))
    ]
    write_whole(out / "edge.md", markdown_table(headings, rows) + "\n")


if __name__ == "__main__":
    tyro.cli(run, prog="python -m benchmarks.edge")
