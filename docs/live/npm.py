"""Files of packages of npm, kept under build/npm."""

import shutil
import subprocess
import tarfile
from collections.abc import Iterable
from pathlib import Path

KEPT = Path(__file__).parents[2] / "build" / "npm"


def copy_from_npm(package: str, names: Iterable[str], folder: Path) -> None:
    """Copy files of the newest version of a package, by their paths in it, into `folder`.

    **Raises:** `subprocess.CalledProcessError` if npm cannot fetch the package; `KeyError` if it has no such file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        kept = KEPT / package / name
        if not kept.exists():
            _unpack(package)
        shutil.copy(kept, folder)


def _unpack(package: str) -> None:
    KEPT.mkdir(parents=True, exist_ok=True)
    packed = subprocess.run(
        ["npm", "pack", "--silent", package], cwd=KEPT, stdout=subprocess.PIPE, text=True, check=True
    )
    archive = KEPT / packed.stdout.split()[-1]
    with tarfile.open(archive) as opened:
        opened.extractall(KEPT / "unpacked", filter="data")
    shutil.rmtree(KEPT / package, ignore_errors=True)
    (KEPT / "unpacked" / "package").rename(KEPT / package)
    archive.unlink()
