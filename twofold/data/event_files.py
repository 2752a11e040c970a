"""Events from files: CSV files with the columns sequence, time and mark, JSON files of EasyTPP, and pairs of text files."""

import csv
import io
import json
import logging
import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from .event_sequences import EventSet, Recording, event_set, jittered, scorable, shuffled, split

logger = logging.getLogger(__name__)

PARTS = {"train": ("train",), "validation": ("dev", "validation", "val"), "test": ("test",)}
"""The names that the files of a folder may have, without their endings."""


def load_events(path: str | Path, jitter: float = 0.0) -> EventSet:
    """Read events from a file, or from a folder with the files train, dev (or validation, or val) and test.

    The sequences of a single file are split in three at random. The split is the same in every run. A folder may also have
    folds, event-1.txt, event-2.txt, ...: the last one is the test part, the one before it is for validation, and the others
    are for training.

    A CSV file has the columns `sequence`, `time` and `mark`, and one line for each event. The events of a sequence are in
    order of time. A JSON file has the records of EasyTPP, either in a list or one on each line. A record has `type_event`,
    and `time_since_start` or `time_since_last_event`. It may have `dim_process` and `seq_len` (Xue et al. 2024, *EasyTPP:
    towards open benchmarking temporal point processes*). If a record has both
    lists of times and they disagree, `time_since_start` is read, and a warning in the log of `twofold` says so.

    A pair of text files has a line for each sequence: event-NAME.txt has the marks, and time-NAME.txt has the times, with
    spaces between them (Du et al. 2016, *Recurrent marked temporal point processes*). Such a pair is named by its first file.

    **Arguments:**

    - `path`: the file or the folder.
    - `jitter`: uniform noise between 0 and this number is added to the times. It is for times that were rounded down to a
        multiple of this number, and has their unit.

    **Raises:** `InputError` that names the file, and the line where it can:

    - for times that are not finite numbers, negative, not in order, or too large or too close together for float32;
    - for times that are equal within a sequence, unless jitter is given;
    - for marks that the training part does not have, and for marks that are one number written in two ways;
    - for files that are missing, empty or broken.
    """
    if not 0 <= jitter < np.inf:
        raise InputError(f"jitter is {jitter}; it must be a finite number, 0 or more")
    path = Path(path)
    files = _parts(path)
    read: dict[str, list[Recording]] = {part: [] for part in files}
    declared: dict[str, set[str]] = {part: set() for part in files}
    for part in files:
        for file in files[part]:
            recordings, names = _read(file, ties=jitter > 0)
            read[part] += recordings
            declared[part] |= names
    kept = {part: jittered(scorable(recordings), jitter) for part, recordings in read.items()}
    for part, recordings in kept.items():
        if not recordings:
            raise InputError(
                f"{_named(files[part])} has no sequence of two or more events, so there is nothing to predict"
            )
        for recording in recordings:
            if np.any(np.diff(recording.times) <= 0):
                raise InputError(
                    f"jitter is {jitter}, too little to make the times of {_named(files[part])} different; use a larger one"
                )
    first = next(iter(files))  # the training part, or the only file
    marks = declared[first].union(*(recording.marks for recording in read[first]))
    _check_names(marks, _named(files[first]))
    parts = kept.values() if path.is_dir() else split(shuffled(kept[first]))
    left_out = sum(map(len, read.values())) - sum(map(len, kept.values()))
    preprocessing = f"times with uniform noise of {jitter:g} added" if jitter else "times as recorded"
    return event_set(path.stem, parts, marks, left_out=left_out, preprocessing=preprocessing)


def _named(files: list[Path]) -> str:
    return " and ".join(map(str, files))


def files_of(path: str | Path) -> tuple[Path, ...]:
    """The files that `load_events` reads. **Raises:** `InputError` if a folder lacks one of the three parts."""
    found = [file for files in _parts(Path(path)).values() for file in files]
    return tuple(one for file in found for one in ((file, _times_of(file)) if file.suffix == ".txt" else (file,)))


def _parts(folder: Path) -> dict[str, list[Path]]:
    """The files of each part. A single file has all parts."""
    if not folder.is_dir():
        return {"all": [folder]}
    numbered = {fold[1]: file for file in folder.iterdir() if (fold := FOLD.fullmatch(file.name))}
    if numbered:
        folds = [numbered[number] for number in sorted(numbered, key=int)]
        if len(folds) < 3:
            raise InputError(f"{folder} has {len(folds)} folds event-NUMBER.txt; three parts need at least 3")
        return {"train": folds[:-2], "validation": folds[-2:-1], "test": folds[-1:]}
    found = {}
    for part, stems in PARTS.items():
        endings = [file for file in sorted(folder.iterdir()) if file.suffix in READERS]
        files = [file for file in endings if file.stem.removeprefix(MARKS) in stems]
        if len(files) != 1:
            raise InputError(
                f"{folder} has {len(files)} files of the {part} part; there must be one, with the name {' or '.join(stems)}"
                f" and the ending {' or '.join(READERS)}, or with a name of {MARKS} and one of these"
            )
        found[part] = files
    return found


FOLD = re.compile(r"event-(\d+)\.txt")
"""The marks of a fold."""

MARKS, TIMES = "event-", "time-"
"""How the names of text files begin."""


def _read(file: Path, ties: bool) -> tuple[list[Recording], set[str]]:
    """The sequences of a file, and the marks that the file declares, whether they occur or not."""
    if file.suffix not in READERS:
        raise InputError(f"{file} ends in {file.suffix!r}; files of events end in {', '.join(READERS)}")
    recordings, declared = READERS[file.suffix](file, _text(file))
    if not recordings:
        raise InputError(f"{file} has no events")
    for recording in recordings:
        _check(recording, ties)
    return recordings, declared


def _text(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not a readable text file: {error}") from error
    if not text.strip():
        raise InputError(f"{file} is empty")
    return text


def _read_csv(file: Path, text: str) -> tuple[list[Recording], set[str]]:
    rows = _rows(file, text)
    header = [name.strip() for name in next(rows)[1]]
    missing = [name for name in ("sequence", "time", "mark") if name not in header]
    if missing:
        raise InputError(
            f"line 1 of {file} lacks the column {missing[0]!r}; the header must name sequence, time and mark"
        )
    columns = [header.index(name) for name in ("sequence", "time", "mark")]
    events: dict[str, list[tuple[float, str, int]]] = {}
    for line, row in rows:
        if not row:
            continue
        if len(row) != len(header):
            raise InputError(f"line {line} of {file} has {len(row)} fields; the header has {len(header)}")
        sequence, time, mark = (row[column].strip() for column in columns)
        if not mark:
            raise InputError(f"line {line} of {file} has no mark; every event needs one")
        events.setdefault(sequence, []).append((_number(time, f"line {line} of {file}"), mark, line))

    def recording(rows):
        times, marks, lines = zip(*rows, strict=True)
        return Recording(np.array(times), list(marks), partial(_line_of, file, lines))

    return [recording(rows) for rows in events.values()], set()


def _rows(file: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Each row, with the number of its last line."""
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)  # so a quote that is never closed is an error
    try:
        for row in rows:
            yield rows.line_num, row
    except csv.Error as error:
        raise InputError(f"line {rows.line_num} of {file} is not CSV: {error}") from error


def _read_json(file: Path, text: str) -> tuple[list[Recording], set[str]]:
    recordings, most, disagree = [], 0, []
    for where, record in _records(file, text):
        if not isinstance(record, dict):
            raise InputError(
                f"{where} is no record; a record is an object with type_event, and time_since_start or"
                " time_since_last_event"
            )
        times, marks = record.get("time_since_start", record.get("time_since_last_event")), record.get("type_event")
        if not isinstance(times, list) or not isinstance(marks, list):
            missing = "type_event" if isinstance(times, list) else "time_since_start or time_since_last_event"
            raise InputError(f"{where} lacks the list {missing}; every record needs it")
        length = record.get("seq_len", len(marks))
        if not len(times) == len(marks) == length:
            raise InputError(
                f"{where} has {len(times)} times, {len(marks)} marks and seq_len {length}; they must agree"
            )
        numbers = np.array([_number(time, f"event {i + 1} of {where}") for i, time in enumerate(times)], float)
        if "time_since_start" not in record:
            numbers = np.cumsum(numbers)
        elif not _agree(numbers, record.get("time_since_last_event")):
            disagree.append(where)
        for i, mark in enumerate(marks):
            if isinstance(mark, bool) or not isinstance(mark, str | int | float) or mark == "":
                raise InputError(f"event {i + 1} of {where}: the mark is {mark!r}; it must be a number or a name")
        if "dim_process" in record:
            most = max(most, _declared(record, where))
        recordings.append(Recording(numbers, [str(mark) for mark in marks], partial(_event_of, where)))
    if disagree:
        logger.warning(
            "time_since_last_event is not the difference of time_since_start in %s, and %d records in all; it may be the time"
            " since the last event of the same type. time_since_start is read",
            *(disagree[0], len(disagree)),
        )
    return recordings, set(map(str, range(most)))


def _agree(times: np.ndarray, elapsed: Any) -> bool:
    """Whether `time_since_last_event`, if there is one, is what `time_since_start` says but for rounding."""
    if elapsed is None or len(times) < 2:
        return True
    gaps = np.diff(times)
    try:
        said = np.array(elapsed, float)
    except (TypeError, ValueError, OverflowError):  # no list of numbers
        return False
    return said.shape == times.shape and np.allclose(said[1:], gaps, rtol=0.01, atol=0.01 * np.mean(np.abs(gaps)))


def _read_pair(file: Path, text: str) -> tuple[list[Recording], set[str]]:
    """The sequences of a file of marks, `text`, and of the file of times beside it."""
    if not file.name.startswith(MARKS):
        raise InputError(
            f"{file} must have a name that begins with {MARKS}; the file with its times begins with {TIMES}"
        )
    beside = _times_of(file)
    marks, times = text.splitlines(), _text(beside).splitlines()
    if len(marks) != len(times):
        raise InputError(
            f"{file} has {len(marks)} lines, and {beside} has {len(times)}; each sequence has a line in both"
        )

    def recording(line, marks, times):
        if len(marks) != len(times):
            raise InputError(
                f"line {line} of {file} has {len(marks)} marks, and of {beside} {len(times)} times; they must agree"
            )
        where = f"line {line} of {beside}"
        numbers = [_number(time, f"event {i} of {where}") for i, time in enumerate(times, 1)]
        return Recording(np.array(numbers, float), marks, partial(_event_of, where))

    lines = enumerate(zip(marks, times, strict=True), 1)
    return [recording(line, marks.split(), times.split()) for line, (marks, times) in lines], set()


def _times_of(marks: Path) -> Path:
    return marks.with_name(TIMES + marks.name.removeprefix(MARKS))


def _line_of(file: Path, lines: tuple[int, ...], i: int) -> str:
    return f"line {lines[i]} of {file}"


def _event_of(where: str, i: int) -> str:
    return f"event {i + 1} of {where}"


def _records(file: Path, text: str) -> Iterator[tuple[str, Any]]:
    """Each record, with a name for its place in the file."""
    if text.lstrip().startswith("["):
        for number, record in enumerate(_parsed(text, file, 1), 1):
            yield f"record {number} of {file}", record
    else:
        for line, record in enumerate(text.splitlines(), 1):
            if record.strip():
                yield f"line {line} of {file}", _parsed(record, file, line)


def _parsed(text: str, file: Path, line: int) -> Any:
    """The value of the JSON text that begins on this line of the file."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"line {line + error.lineno - 1} of {file} is not JSON: {error.msg}") from error
    except (RecursionError, ValueError) as error:  # thousands of nested lists, or integers of thousands of digits
        raise InputError(f"the text that begins on line {line} of {file} cannot be read as JSON: {error}") from error


def _declared(record: dict[str, Any], where: str) -> int:
    """The number of marks that a record declares.

    **Raises:** `InputError` if the record has a mark outside 0..dim_process - 1.
    """
    marks = record["dim_process"]
    if not isinstance(marks, int) or isinstance(marks, bool) or not 1 <= marks <= MOST_MARKS:
        raise InputError(f"{where} has dim_process {marks!r}; it must be the number of marks, at most {MOST_MARKS:,}")
    for i, mark in enumerate(record["type_event"]):
        if not isinstance(mark, int) or not 0 <= mark < marks:
            raise InputError(
                f"event {i + 1} of {where}: the mark is {mark!r}; dim_process {marks} allows 0 to {marks - 1}"
            )
    return marks


MOST_MARKS = 1_000_000
"""A model has parameters for every mark. More marks than this are a mistake in the file."""

READERS = {".csv": _read_csv, ".json": _read_json, ".jsonl": _read_json, ".txt": _read_pair}
"""The reader for each ending of a file."""


def _number(value: Any, where: str) -> float:
    try:
        if isinstance(value, bool) or (isinstance(value, str) and "_" in value):  # Python reads 1_0 as 10
            raise ValueError(value)
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: the time is {_shortened(value)}; it must be a number") from error


def _shortened(value: Any) -> str:
    """A value as an error message shows it, cut off where it is long."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _check_names(marks: set[str], file: str) -> None:
    """Refuse marks that are one number written in two ways, such as 1 and 01: they are one mark, counted as two by mistake."""
    written: dict[Decimal, str] = {}
    for mark in sorted(marks):
        try:
            number = Decimal(mark)  # exact, unlike float: a mark may be a name of 17 digits
        except InvalidOperation:
            continue
        if number.is_finite() and written.setdefault(number, mark) != mark:
            raise InputError(
                f"{file} has the marks {written[number]!r} and {mark!r}, which are one number; write it in one way"
            )


def _check(recording: Recording, ties: bool) -> None:
    """Check that the times are finite, not negative and increasing, and that they are still different in float32."""
    times, place = recording.times, recording.place
    narrow = np.finfo(np.float32)
    for i in np.flatnonzero(~np.isfinite(times) | (times < 0))[:1].tolist():
        raise InputError(f"{place(i)}: the time is {times[i]}; it must be a finite number, not negative")
    gaps = np.diff(times)
    for i in np.flatnonzero(gaps < 0)[:1].tolist():
        raise InputError(
            f"{place(i + 1)}: the time {times[i + 1]} is before {times[i]}, the time of the event before it in the"
            " sequence; sort the events of a sequence by time"
        )
    for i in [] if ties else np.flatnonzero(gaps == 0)[:1].tolist():
        raise InputError(
            f"{place(i + 1)}: the time {times[i + 1]} is also the time of the event before it in the sequence, and the"
            " times of a sequence must differ; if the times were rounded down to multiples of a number, give this number"
            " to --jitter, which adds noise of that width"
        )
    for i in np.flatnonzero(times > narrow.max)[:1].tolist():
        raise InputError(
            f"{place(i)}: the time is {times[i]}; float32 holds {narrow.max:.3g} at most, so use a larger unit of time"
        )
    for i in np.flatnonzero((gaps > 0) & (gaps < narrow.tiny))[:1].tolist():
        raise InputError(
            f"{place(i + 1)}: the time {times[i + 1]} is {gaps[i]:.3g} after the event before; float32 holds"
            f" {narrow.tiny:.3g} at least, so use a smaller unit of time"
        )
