"""Files of figures. Beside the figures stands what made them, so that they can be made again."""

import datetime
import hashlib
import json
import platform
import re
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..atomic import write_whole

command: str | None = None
"""The command line that runs; None if twofold is called as a library."""


def command_of(words: Iterable[str]) -> str:
    """The command line of these words. Absolute paths are there by their last names, because folders are of one machine."""
    return " ".join(["twofold", *(re.sub(r"^(--[a-z-]+=)?/(.*/)?(?=[^/])", r"\1", word) for word in words)])


def digests(files: Iterable[Path]) -> dict[str, str]:
    """The SHA-256 of each file, by the name of the file.

    **Raises:** `OSError` if a file cannot be read.
    """
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def provenance() -> dict[str, Any]:
    """The command (None if none ran), the commit (None outside a checkout), the versions, the machine and the date."""
    return {
        "command": command,
        "commit": _commit(),
        "versions": {name: version(name) for name in ("twofold", "jax", "jaxlib", "equinox", "optax", "numpy")}
        | {"python": platform.python_version()},
        "machine": f"{platform.system()} {platform.machine()}, {_processor()}",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def write_json(file: Path, figures: dict[str, Any]) -> None:
    """Write figures, with their provenance, to a file whose folder exists.

    **Raises:** `OSError` if the file cannot be written.
    """
    write_whole(file, json.dumps(figures | {"provenance": provenance()}, indent=2) + "\n")


def four_digits(values: Iterable[float]) -> list[float]:
    """The values with four significant digits, as long curves are written."""
    return [float(f"{value:.4g}") for value in values]


def _commit() -> str | None:
    checkout = Path(__file__).parents[2]
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=40"]
    if not (checkout / ".git").exists():
        return None
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def processors() -> list[str]:
    """The model name of each core, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return []
    return [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]


def _processor() -> str:
    names = processors()
    return f"{len(names)} x {names[0]}" if names else platform.processor()
