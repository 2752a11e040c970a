"""Named arrays in one file, which is written whole or not at all."""

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np


def write_arrays(path: Path | str, arrays: dict[str, Any]) -> None:
    """Replace the file `path`. After a kill, it has the old content or the new one."""
    path = Path(path)
    temporary = path.with_name(f".{path.name}.new")
    with open(temporary, "wb") as opened:
        np.savez(opened, **arrays)
        opened.flush()
        os.fsync(opened.fileno())
    os.replace(temporary, path)


def read_arrays(path: Path | str, needed: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The arrays of a file. Raises `ValueError` if it is damaged, or if `needed` arrays are missing."""
    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
    except (ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is not a saved stream, or is damaged: {error}") from error
    if not all(name in arrays for name in needed):
        raise ValueError(f"{path} is not a saved stream: it has the arrays {sorted(arrays)}")
    return arrays
