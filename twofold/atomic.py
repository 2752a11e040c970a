"""Files that are written whole or not at all."""

import os
from pathlib import Path


def write_whole(file: Path | str, data: bytes | str) -> None:
    """Replace the content of `file` by `data`. Text is written as UTF-8.

    Whatever happens on the way, the file has its old content or the new one, whole: after an error, a full disk, a kill,
    or a loss of power. Once this function returns, the new content is on the disk. A file has one writer at a time. What a
    killed writer leaves behind is a hidden file beside `file`; the next writer overwrites it.

    **Raises:** `OSError` if the file cannot be written. It is then as before.
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
    """Make the renamed, new and removed files of `folder` survive a loss of power."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows cannot open a folder
        return
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
