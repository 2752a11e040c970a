"""Checkpoints of a training run: a run that was killed continues where it was."""

import hashlib
import io
import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr

from ..atomic import write_whole
from ..errors import InputError
from .identity import Identity, differences, plain, versions

logger = logging.getLogger(__name__)

FILES = ("checkpoint-0", "checkpoint-1")
"""Two files that are written in turn, so that there is an older checkpoint where the newest is damaged."""
CHECKSUM = hashlib.sha256().digest_size
"""Bytes of the checksum that a file begins with. An archive of NumPy's follows."""


class Saved(NamedTuple):
    """The content of a file."""

    file: Path
    step: int
    run: Identity
    versions: dict[str, str]
    arrays: dict[str, np.ndarray]


class Checkpoint:
    """The saved states of one training run, in a folder of its own.

    Each file is written whole or not at all, with a checksum of its content, and with what determines the run.
    """

    def __init__(self, folder: Path | str, run: Identity):
        self.folder, self.run = Path(folder), run
        self.next = FILES[0]

    def save(self, step: int, state: Any) -> None:
        """Keep `state`, a pytree of arrays, as the state after `step` steps. The state before the last one is forgotten.

        **Raises:** `OSError` if the state cannot be written. What was saved before is then as it was.
        """
        about = json.dumps({"step": step, "run": self.run, "versions": versions()})
        packed = io.BytesIO()
        arrays: dict[str, Any] = {"about": np.frombuffer(about.encode(), np.uint8)} | _as_bytes(state)
        np.savez(packed, **arrays)
        content = packed.getvalue()
        write_whole(self.folder / self.next, hashlib.sha256(content).digest() + content)
        self.next = FILES[1 - FILES.index(self.next)]

    def restore(self, like: Any) -> tuple[int, Any] | None:
        """The newest saved (step, state), of the structure and shapes of `like`, or None if nothing is saved.

        Where the newest checkpoint is damaged, the one before is taken, and a warning in the log of `twofold` says so.

        **Raises:** `InputError` if what is saved belongs to another run, or if all of it is damaged.
        """
        readable = [saved for name in FILES if (saved := self._read(self.folder / name))]
        if not readable:
            if self.folder.is_dir() and any(not file.name.startswith(".") for file in self.folder.iterdir()):
                raise InputError(
                    f"{self.folder} holds no checkpoint that can be read; delete the folder to start again"
                )
            return None
        newest = max(readable, key=lambda saved: saved.step)
        self._check(newest, like)
        self.next = FILES[1 - FILES.index(newest.file.name)]
        return newest.step, _from_bytes(newest.arrays, like)

    def _read(self, file: Path) -> Saved | None:
        """The content of a file, or None if there is none that can be trusted."""
        try:
            checked = file.read_bytes()
            checksum, content = checked[:CHECKSUM], checked[CHECKSUM:]
            if checksum != hashlib.sha256(content).digest():
                raise ValueError("its checksum is another")
        except FileNotFoundError:
            return None
        except (ValueError, OSError) as error:
            logger.warning("the checkpoint %s is damaged (%s); the one before is taken", file, error)
            return None
        with np.load(io.BytesIO(content)) as packed:
            arrays = dict(packed)
        return Saved(file, **json.loads(arrays.pop("about").tobytes()), arrays=arrays)

    def _check(self, saved: Saved, like: Any) -> None:
        found = differences(saved.run, self.run)
        if not found:
            return
        # Other versions may compute the same in other words; numbers and sizes must agree even so.
        numbers_agree = all(saved.run.get(name) == n for name, n in self.run.items() if not isinstance(n, str))
        if numbers_agree and _sizes(saved.arrays) == _sizes(_as_bytes(like)) and saved.versions != versions():
            logger.warning(
                "the run in %s is continued with other versions of twofold or JAX: %s", self.folder, ", ".join(found)
            )
            return
        raise InputError(
            f"{self.folder} holds no checkpoint of this run ({', '.join(found)});"
            " choose another folder, or delete the folder to start again"
        )


def _as_bytes(state: Any) -> dict[str, np.ndarray]:
    """The arrays of a pytree as bytes, whatever their dtypes, by their paths in it."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {keystr(path): np.frombuffer(plain(leaf).tobytes(), np.uint8) for path, leaf in leaves}


def _sizes(arrays: dict[str, np.ndarray]) -> dict[str, int]:
    return {name: array.size for name, array in arrays.items()}


def _from_bytes(arrays: dict[str, np.ndarray], like: Any) -> Any:
    def restored(path, leaf):
        numbers = plain(leaf)
        array = arrays[keystr(path)].view(numbers.dtype).reshape(numbers.shape)
        if isinstance(leaf, np.ndarray):
            return array.copy()
        is_key = jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
        return (
            jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf))
            if is_key
            else jnp.asarray(array)
        )

    return jax.tree_util.tree_map_with_path(restored, like)
