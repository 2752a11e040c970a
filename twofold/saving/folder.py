"""The files of a saved model are replaced together. After a kill at any point, all files are the old ones or all are the new.

`config.json` has the checksums of the other files. A save has three steps:

1. The new files are written beside the old ones. Their hidden names contain their checksums.
2. `config.json` is replaced. This is atomic, and from then on the new files are valid.
3. The new files get their visible names.

A reader looks for a file under both names, and takes the one that has the right checksum. So it finds the new files even
between steps 2 and 3. If a kill prevents step 3, the next save does it.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..atomic import flush_folder, write_whole
from ..errors import InputError
from ..sealed import checksum_of, sealed

CONFIG, MODEL, STATE = "config.json", "model.safetensors", "state.safetensors"
FORMAT = 2
"""The version of the format that is written. Format 1 had no checksums, and did not say which model a state belongs to."""
KEYS = {1: {"format", "model"}, 2: {"format", "model", "files", "checksum"}}
"""The keys of `config.json` in each format that can be read."""


def write_together(folder: Path, model: dict[str, Any], files: dict[str, bytes]) -> None:
    """Replace the saved model in `folder`. `model` describes the new one, and `files` has its files by name.

    Other files in the folder stay.

    **Raises:** `OSError` if the files cannot be written. Then either all old files are there, or all new ones.
    """
    checksums = {name: _checksum(data) for name, data in files.items()}
    config = sealed({"format": FORMAT, "files": checksums, "model": model})
    folder.mkdir(parents=True, exist_ok=True)
    flush_folder(folder.parent)
    with _locked(folder):
        try:
            for name, data in files.items():
                write_whole(_new(folder / name, checksums[name]), data)
            write_whole(folder / CONFIG, json.dumps(config, indent=1) + "\n")
        finally:
            _tidy(folder)


def read_together(folder: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read `config.json`, and the files that it names.

    **Raises:** `InputError` if the folder holds no model, or files that are damaged or do not belong together.
    """
    file = folder / CONFIG
    while True:
        if not file.is_file():
            raise InputError(f"{folder} holds no saved model: there is no {CONFIG} in it")
        text = file.read_bytes()
        config = _read_config(file, text)
        checksums = config["files"] if config["format"] > 1 else {MODEL: None}
        try:
            return config, {name: _read(folder / name, checksum) for name, checksum in checksums.items()}
        except InputError:
            if file.is_file() and file.read_bytes() == text:
                raise
            # Another process has just replaced the files. The loop reads the new ones.


def _read_config(file: Path, text: bytes) -> dict[str, Any]:
    try:
        config = json.loads(text)
        checksum = checksum_of(config) if isinstance(config, dict) else None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file} is damaged: {type(error).__name__}: {error}") from error
    if not isinstance(config, dict):
        raise InputError(f"{file} is damaged: it has a {type(config).__name__} where an object with a model should be")
    number = config.get("format")
    if type(number) is not int or number not in KEYS:
        raise InputError(f"{file} has the format {number!r}; this version of twofold reads the formats 1 and {FORMAT}")
    if config.keys() != KEYS[number]:
        raise InputError(f"{file} is damaged: it has {sorted(config)}, and should have {sorted(KEYS[number])}")
    if number > 1 and config["checksum"] != checksum:
        raise InputError(f"{file} is damaged or was changed by hand: its content does not fit its checksum")
    named = config.get("files", {})
    if number > 1 and not (
        isinstance(named, dict)
        and named.keys() in ({MODEL}, {MODEL, STATE})
        and all(isinstance(checksum, str) for checksum in named.values())
    ):
        raise InputError(f"{file} is damaged: it should have the checksums of its files; it has {named!r:.80}")
    return config


def _read(file: Path, checksum: str | None) -> bytes:
    """The content of the file that has this checksum, under its hidden name or its visible one."""
    candidates = [file] if checksum is None else [_new(file, checksum), file]
    found = [candidate.read_bytes() for candidate in candidates if candidate.is_file()]
    if not found:
        raise InputError(f"{file} is missing")
    for data in found:
        if checksum in (None, _checksum(data)):
            return data
    raise InputError(
        f"{file} is truncated or damaged, or belongs to another model: {CONFIG} has another checksum for it"
    )


def _tidy(folder: Path) -> None:
    """Give the files that `config.json` names their visible names, and remove the other files of a save."""
    try:
        config = _read_config(folder / CONFIG, (folder / CONFIG).read_bytes())
    except (OSError, InputError):
        config = {"format": 1}
    if config["format"] > 1:
        for name, checksum in config["files"].items():
            with contextlib.suppress(FileNotFoundError):
                os.replace(_new(folder / name, checksum), folder / name)
        for name in {MODEL, STATE} - config["files"].keys():
            (folder / name).unlink(missing_ok=True)
    for file in folder.iterdir():
        if LEFT_OVER.fullmatch(file.name):
            file.unlink(missing_ok=True)
    flush_folder(folder)


def _new(file: Path, checksum: str) -> Path:
    return file.with_name(f".{file.name}.{checksum}")


LEFT_OVER = re.compile(rf"\.+({re.escape(CONFIG)}|{re.escape(MODEL)}|{re.escape(STATE)})\.[0-9a-f]+(\.new)?")
"""The names of the hidden files that a killed save leaves. In format 1 they end in a number."""


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Make other processes and threads that save to the same folder wait."""
    try:
        import fcntl
    except ImportError:  # Windows has no such locks
        yield
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield
    finally:
        os.close(opened)


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
