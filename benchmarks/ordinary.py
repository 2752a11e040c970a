"""The same measurements in an ordinary process, in which glibc gives the memory of large arrays back to the system."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path


def in_an_ordinary_process(arguments: list[str]) -> dict:
    """The figures of `python -m benchmarks --ordinary` with these arguments."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "benchmarks", "--ordinary", *arguments, "--out", out]
        subprocess.run(command, check=True, cwd=Path(__file__).parents[1], stdout=subprocess.DEVNULL)
        return json.loads((Path(out) / "bench.json").read_text())


def put_beside(figures: dict, ordinary: dict | None) -> None:
    """Add to the figures of a comparison those that an ordinary process has for the comparison of this title."""
    if ordinary:
        for comparison in ordinary["cases"] + ordinary["training"]:
            if comparison["title"] == figures["title"]:
                _put_beside(figures["contestants"], comparison["contestants"])


def _put_beside(figures: dict, ordinary: dict) -> None:
    if "ms" in figures and "ms" in ordinary:
        figures["ordinary"] = {name: ordinary[name] for name in ("ms", "ratio") if name in ordinary}
    for name, within in figures.items():
        if name in ordinary and isinstance(within, dict):
            _put_beside(within, ordinary[name])
