"""Two kinds of processes: in one, glibc keeps the memory of large buffers; an ordinary one gives it back to the system."""

import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

# glibc gives every buffer over 32 MiB back to the system, and the next call has to get its pages again. For large shapes, this
# would take more time than the contestants.
KEEP_MEMORY = "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=17179869184"


def keep_memory() -> None:
    """Start this process again with the setting `KEEP_MEMORY`, because glibc reads it only at the start."""
    given = os.environ.get("GLIBC_TUNABLES", "")
    if sys.platform == "linux" and platform.libc_ver()[0] == "glibc" and KEEP_MEMORY not in given:
        environment = os.environ | {"GLIBC_TUNABLES": f"{given}:{KEEP_MEMORY}".strip(":")}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def in_an_ordinary_process(arguments: list[str]) -> dict:
    """The figures of `python -m benchmarks --ordinary` with these arguments."""
    tunables = os.environ.get("GLIBC_TUNABLES", "").replace(KEEP_MEMORY, "").strip(":")
    command = [sys.executable, "-m", "benchmarks", "--ordinary", *arguments]
    with tempfile.TemporaryDirectory() as out:
        subprocess.run(
            [*command, "--out", out],
            check=True,
            cwd=Path(__file__).parents[1],
            env=os.environ | {"GLIBC_TUNABLES": tunables},
            stdout=subprocess.DEVNULL,
        )
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
