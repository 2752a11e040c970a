"""Checkpoints of a training run. A run that was killed continues from the last one."""

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
"""The two files are written in turn. So there is an older checkpoint if the newest is damaged."""
CHECKSUM = hashlib.sha256().digest_size
"""How many bytes the checksum at the beginning of a file has. An archive of NumPy follows it."""


class Saved(NamedTuple):
    """What a file of a checkpoint holds."""

    file: Path
    step: int
    run: Identity
    versions: dict[str, str]
    arrays: dict[str, np.ndarray]


class Checkpoint:
    """The saved states of one training run, in a folder of its own.

    Each file is written whole or not at all. It has a checksum of its content, and the identity of the run.
    """

    def __init__(self, folder: Path | str, run: Identity):
        """The checkpoint in `folder` of the run that `run` describes. `twofold.train.identity` makes such a description."""
        self.folder, self.run = Path(folder), run
        self.next = FILES[0]

    def save(self, step: int, state: Any) -> None:
        """Save `state`, a pytree of arrays, as the state after `step` steps. The last state that was saved before is kept too.

        **Raises:** `OSError` if the state cannot be written. The states that were saved before are then still there.
        """
        about = json.dumps({"step": step, "run": self.run, "versions": versions()})
        packed = io.BytesIO()
        arrays: dict[str, Any] = {"about": np.frombuffer(about.encode(), np.uint8)} | _as_bytes(state)
        np.savez(packed, **arrays)
        content = packed.getvalue()
        write_whole(self.folder / self.next, hashlib.sha256(content).digest() + content)
        self.next = FILES[1 - FILES.index(self.next)]

    def restore(self, like: Any) -> tuple[int, Any] | None:
        """The newest saved step and state, or None if nothing is saved. The state has the structure and the shapes of `like`.

        If the newest checkpoint is damaged, the one before it is taken, and a warning in the log of `twofold` says so.

        **Raises:** `InputError` if the checkpoint belongs to another run, or if both files are damaged.
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
        """The content of a file, or None if the file is missing or damaged."""
        try:
            checked = file.read_bytes()
            checksum, content = checked[:CHECKSUM], checked[CHECKSUM:]
            if checksum != hashlib.sha256(content).digest():
                raise ValueError("its content does not fit its checksum")
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
        # Another version of twofold or JAX may write the same computation in another way, so digests may differ. Numbers and
        # sizes must agree even so.
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
    """The arrays of a pytree by their paths in it, each as bytes, because NumPy cannot save every dtype."""
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
