"""Optional packages that ship data, or that read data."""

import importlib.util
from pathlib import Path

from ..errors import InputError


def folder_of(package: str) -> Path:
    """The folder where a package of the extra `tasks` is installed.

    **Raises:** `InputError` that says how to install the package, if it is missing.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise missing(package)
    return Path(spec.submodule_search_locations[0])


def missing(package: str, extra: str = "tasks") -> InputError:
    """The error that says how to install a package, which is in one of twofold's extras."""
    return InputError(f"the package {package} is missing; pip install 'twofold[{extra}]' installs it")
