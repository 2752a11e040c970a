"""Where answers are written: a file whose end is known to the store, or a pipe."""

import os
from pathlib import Path

from ..errors import InputError


class Answers:
    """Answers in a file, or in the standard output.

    What was written to a file after the last committed position is cut off when the file is opened. So after a kill, the file
    has what the store knows of. A pipe cannot be cut.
    """

    def __init__(self, path: Path | None, committed: int | None):
        """Open a file to write behind the first `committed` bytes, or standard output if there is no path.

        **Raises:** `InputError` if the file is shorter, or if it has something and nothing is committed; `OSError` if the
        file cannot be opened.
        """
        self.path = path
        if path is None:
            self._file = 1
            return
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        size, kept = os.fstat(self._file).st_size, committed or 0
        if size < kept or (size and committed is None):
            os.close(self._file)
            raise InputError(
                f"{path} has {size} bytes, and the store knows of {kept}; choose another --output, or delete the file"
                + (" and the store" if kept else "")
            )
        os.ftruncate(self._file, kept)
        os.lseek(self._file, 0, os.SEEK_END)

    def write(self, data: bytes) -> None:
        """Write all of `data`, at once.

        **Raises:** `OSError` if that cannot be done. `BrokenPipeError` is one.
        """
        left = memoryview(data)
        while left:
            left = left[os.write(self._file, left) :]

    def end(self) -> int | None:
        """How many bytes the file has, once they are on the disk. It is None for a pipe."""
        if self.path is None:
            return None
        os.fsync(self._file)
        return os.lseek(self._file, 0, os.SEEK_CUR)

    def close(self) -> None:
        """Close the file."""
        if self.path is not None:
            os.close(self._file)
