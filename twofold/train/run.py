"""The folder of a run: what it was asked to do, so that the same command continues it and another does not spoil it."""

import json
from pathlib import Path

from ..errors import InputError


def open_run(folder: Path | str, config: dict) -> Path:
    """A folder for the run that `config` describes: made, or found with the same config to be continued.

    **Raises:** `InputError` if the folder holds anything else.
    """
    folder = Path(folder)
    described = folder / "run.json"
    config = json.loads(json.dumps(config))
    if described.is_file():
        try:
            present = json.loads(described.read_text())
        except ValueError as error:
            raise InputError(f"{described} is damaged ({error}); delete {folder} to start again") from error
        changed = [name for name in sorted(present.keys() | config.keys()) if present.get(name) != config.get(name)]
        if changed:
            name = changed[0]
            raise InputError(
                f"{folder} holds another run, of {name} = {present.get(name)} rather than {config.get(name)};"
                " choose another --out, or delete it"
            )
    elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not a run of twofold; choose another --out")
    else:
        folder.mkdir(parents=True, exist_ok=True)
        described.write_text(json.dumps(config, indent=2) + "\n")
    return folder
