"""A lock, so that only one process at a time uses a folder."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from ..errors import InputError

try:
    import fcntl
except ImportError:  # Windows does not have it, so nothing is locked there
    fcntl = None  # type: ignore[assignment]


@contextlib.contextmanager
def locked(folder: Path | str) -> Iterator[None]:
    """Hold the lock of a folder. A missing folder is made. The lock ends with the `with` block, or when the process dies.

    **Raises:** `InputError` if another process, or another block of this one, holds the lock; `OSError` if the folder
    cannot be made or written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as file:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise InputError(
                    f"{folder} is used by another run at this moment; wait for its end, or choose another folder"
                ) from error
        yield
