"""A line of text as a record: names and values."""

import csv
import json
from collections.abc import Callable, Collection
from typing import Any

from ..errors import InputError

Record = dict[str, Any]


def json_record(line: bytes) -> Record:
    """The record in a line of NDJSON.

    **Raises:** `InputError` if the line is anything but one object of JSON.
    """
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError) as error:
        raise InputError(f"it is not JSON: {error}") from error
    if not isinstance(record, dict):
        raise InputError(f"it is {record!r:.80}; it must be an object with names and values")
    return record


def csv_records(header: str, numbers: Collection[str]) -> Callable[[bytes], Record]:
    """A function from the lines of a CSV file to their records. A line holds one row.

    **Arguments:**

    - `header`: the first line, with the names of the columns.
    - `numbers`: the names of the columns that have numbers. All others have text.

    **Raises:** `InputError` if the header cannot be read, or has a name twice. The function raises it for a line that cannot
    be read, or has fewer or more fields than the header.
    """
    names = [name.strip() for name in _fields(header.encode())]
    if len(set(names)) < len(names):
        raise InputError(f"the header of the CSV file is {','.join(names)!r:.200}; every name must be there once")
    columns = [(name, name in numbers) for name in names]

    def record(line: bytes) -> Record:
        fields = _fields(line)
        if len(fields) != len(columns):
            raise InputError(f"it has {len(fields)} fields, and the header has {len(columns)}")
        return {
            name: _number(field) if is_number else field.strip()
            for (name, is_number), field in zip(columns, fields, strict=True)
        }

    return record


def _fields(line: bytes) -> list[str]:
    try:
        (fields,) = csv.reader([line.decode()], strict=True)
    except (ValueError, csv.Error) as error:
        raise InputError(f"it is not CSV: {error}") from error
    return fields


def _number(field: str) -> float | str:
    """The number in a field. Other text is returned as it is, and `Words.token` refuses it."""
    try:
        return field if "_" in field else float(field)
    except ValueError:
        return field
