"""Save a model to a folder, and load it again, alone or with the state of a stream."""

import hashlib
import json
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..layers import Layer
from .arrays import from_bytes, to_bytes
from .description import built, described
from .folder import CONFIG, MODEL, STATE, read_together, write_together


def save(path: Path | str, model: Layer) -> None:
    """Write `model` to the folder `path`. It may be any layer or model of twofold: trained, converted or pruned.

    A missing folder is made. A model in the folder is replaced, and the state of its stream is removed. After a kill, the
    folder holds the whole old model or the whole new one. Other files in the folder stay.

    **Raises:** `InputError` if the model holds something that twofold does not have, such as a mixer of your own, and
    `OSError` if the files cannot be written.
    """
    save_with_state(path, model, None)


def load(path: Path | str) -> Layer:
    """Read the model that `save` wrote to the folder `path`.

    **Raises:** `InputError` if the folder holds no model, or files that are damaged or do not belong together.
    """
    return load_with_state(path)[0]


def fingerprint(model: Layer) -> str:
    """A checksum of the structure and the weights of a model: 64 letters, which are the same in every process.

    **Raises:** `InputError` if the model holds something that twofold does not have, such as a mixer of your own.
    """
    description, arrays = described(model)
    digest = hashlib.sha256(json.dumps(description, sort_keys=True).encode())
    for name in sorted(arrays):
        digest.update(name.encode() + np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def save_with_state(path: Path | str, model: Layer, state: dict[str, np.ndarray] | None) -> None:
    """As `save`. The named arrays of a state go into the file `state.safetensors`."""
    description, arrays = described(model)
    files = {MODEL: to_bytes(arrays)}
    if state is not None:
        files[STATE] = to_bytes(state)
    write_together(Path(path), description, files)


def load_with_state(path: Path | str) -> tuple[Layer, dict[str, np.ndarray] | None]:
    """As `load`, together with the arrays of the state that was written with the model, or None if there was no state."""
    folder = Path(path)
    config, files = read_together(folder)
    arrays = {name: _arrays(folder / name, data) for name, data in files.items()}
    try:
        return built(config["model"], arrays[MODEL]), arrays.get(STATE)
    except (InputError, RecursionError) as error:
        raise InputError(f"{folder / CONFIG} and {MODEL} do not make a model: {error}") from error


def _arrays(file: Path, data: bytes) -> dict[str, np.ndarray]:
    try:
        return from_bytes(data)
    except InputError as error:
        raise InputError(f"{file} cannot be used: {error}") from error
