"""Packages that data come with, or are read with: all are optional."""

import importlib.util
from pathlib import Path

from ..errors import InputError


def folder_of(package: str) -> Path:
    """Where a package is installed.

    **Raises:** `InputError` that says how to install it, if it is missing.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise missing(package)
    return Path(spec.submodule_search_locations[0])


def missing(package: str) -> InputError:
    """The error that says how to install a package."""
    return InputError(f"the package {package} is missing; pip install 'twofold[tasks]' has it")
