"""Files that are written whole or not at all."""

import os
from pathlib import Path


def write_whole(file: Path | str, data: bytes | str) -> None:
    """Replace the content of `file` by `data`. Text is written as UTF-8.

    The file always has the whole old content or the whole new one, even after an error, a full disk, a kill or a loss of
    power. Once this function returns, the new content is on the disk. Only one writer may write a file at a time. A writer
    that is killed leaves a hidden file beside `file`, which the next writer overwrites.

    **Raises:** `OSError` if the file cannot be written. The old content is then still there.
    """
    file = Path(file)
    temporary = file.with_name(f".{file.name}.new")
    try:
        with open(temporary, "wb") as opened:
            opened.write(data.encode() if isinstance(data, str) else data)
            opened.flush()
            os.fsync(opened.fileno())
        os.replace(temporary, file)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:  # such as that of a full disk
            error.filename = os.fspath(file)
        temporary.unlink(missing_ok=True)
        raise
    flush_folder(file.parent)


def flush_folder(folder: Path | str) -> None:
    """Write to the disk which files `folder` has, so that new, renamed and removed files survive a loss of power."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows cannot open a folder
        return
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
