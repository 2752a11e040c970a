"""The folder of a run. It says what the run was asked to do: the same command continues the run, and another is refused."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..atomic import write_whole
from ..errors import InputError
from ..sealed import sealed, unsealed
from .lock import locked


@contextlib.contextmanager
def open_run(folder: Path | str, config: dict[str, Any]) -> Iterator[Path]:
    """Open a folder for the run that `config` describes, for the time of a `with` block.

    A new folder gets `config` as its run.json. A folder that has the same config is continued. The folder is locked, so that
    no other process can open it at the same time.

    **Raises:** `InputError` if the folder holds anything else, or is in use; `OSError` if it cannot be made or written.
    """
    folder = Path(folder)
    described = folder / "run.json"
    config = json.loads(json.dumps(config))
    if folder.exists() and not described.exists() and not _is_empty(folder):
        raise InputError(f"{folder} exists and is not a run of twofold; choose another --out")
    with locked(folder):
        if described.exists():
            _compare(folder, config)
        else:
            write_whole(described, json.dumps(sealed(config), indent=2) + "\n")
        yield folder


def described_run(folder: Path | str) -> dict[str, Any]:
    """The config of the run in a folder, from its run.json.

    **Raises:** `InputError` if the file is damaged or was changed by hand; `OSError` if it cannot be read.
    """
    file = Path(folder) / "run.json"
    try:
        return unsealed(file.read_bytes())
    except ValueError as error:
        raise InputError(
            f"{file} is damaged or was changed by hand: {error}; delete {folder} to start again"
        ) from error


def _is_empty(folder: Path) -> bool:
    """Whether a folder holds no files, except for those that a run leaves if it is killed before it has written run.json."""
    return folder.is_dir() and all(file.name in (".lock", ".run.json.new") for file in folder.iterdir())


def _compare(folder: Path, config: dict[str, Any]) -> None:
    present = described_run(folder)
    for name in sorted(present.keys() | config.keys()):
        if present.get(name) != config.get(name):
            raise InputError(
                f"{folder} holds another run, of {name} = {present.get(name)} rather than {config.get(name)};"
                " choose another --out, or delete the folder"
            )
