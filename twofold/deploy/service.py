"""A trained run answers lines of text: their records become tokens, and outputs become answers."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import InputError
from .finished_run import read_run
from .keyed_stream import KeyedStream
from .lines import Line
from .records import Record
from .store import Store


@dataclasses.dataclass(frozen=True)
class Settings:
    """How lines are read and answered. `twofold stream` has these options."""

    folder: Path
    """The folder of the run."""
    input: Path | None = None
    """The file that is read. If not given, it is standard input."""
    output: Path | None = None
    """The file for the answers. If not given, it is standard output."""
    key: str | None = None
    """The field that says which state a record belongs to. If not given, all records share one state."""
    format: Literal["ndjson", "csv"] = "ndjson"
    """What a line is: an object of JSON, or a row of a CSV file whose first line has the names."""
    follow: bool = False
    """At the end of the file, wait for more."""
    store: Path | None = None
    """The SQLite database for the states, and for the positions in the input and the output. If not given, nothing is kept."""
    every: int = 10_000
    """States and positions are committed after so many lines, ..."""
    seconds: float = 1.0
    """... after so many seconds, at the end, and when the process is asked to end."""
    on_error: Literal["skip", "stop"] = "skip"
    """A bad line is reported with its number. Then it is skipped, or it ends the run."""
    max_keys: int = 4096
    """The most states that are in memory. Others are in the database, or in a temporary file."""
    warm: int = 0
    """Keep so many of the last tokens of each key in the store. If the store has such tokens, another model may go on: it
    reads them first."""
    max_line: int = 1 << 20
    """A line of more bytes is a bad line."""

    def check(self) -> None:
        """**Raises:** `InputError` for a setting that cannot be used."""
        for name, least in (("every", 1), ("max_keys", 1), ("warm", 0), ("max_line", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if not 0 <= self.seconds < float("inf"):
            raise InputError(f"seconds is {self.seconds}; it must be a finite number, not negative")
        if self.follow and self.input is None:
            raise InputError("follow is for a file; name it with --input")
        if self.warm and self.store is None:
            raise InputError("warm is for a store, which keeps the last tokens; name it with --store")


class Service:
    """A model, the states of all keys, and the words that records and answers are in."""

    def __init__(self, settings: Settings, store: Store, complain: Callable[[str], None]):
        """The service of a finished run.

        **Arguments:**

        - `settings`: the settings.
        - `store`: where the states of keys are.
        - `complain`: what is done with the sentence about a line that cannot be answered.

        **Raises:** `InputError` for a folder that is no finished run, and for a store that cannot be used.
        """
        words, model = read_run(settings.folder)
        self.words, self.settings, self.complain = words, settings, complain
        inputs = json.loads(json.dumps(words.as_json()))
        known = store.note("words")
        for name in ("task", "inputs", "marks"):
            if known is not None and known.get(name) != inputs.get(name):
                raise InputError(
                    f"the store {settings.store} has the {name} {known.get(name)}, and the run {settings.folder} has"
                    f" {inputs.get(name)}; its states cannot be used, so take a new store"
                )
        self.stream = KeyedStream(model, max_keys=settings.max_keys, store=store, warm=settings.warm)
        store.take_note("words", inputs)
        self.answered = self.bad = 0

    def answer(self, lines: list[Line], record_of: Callable[[bytes], Record]) -> tuple[bytes, int, InputError | None]:
        """Answer some lines, in one batch.

        **Returns:** the answers as lines of NDJSON, how many lines they are for, and the error of the next line if it is bad
        and the settings say that it ends the run.

        **Raises:** `InputError` if a line that ends the run was found too late: the states have then changed.
        """
        numbers, keys, tokens, records = [], [], [], []
        ending, done = None, 0
        for line in lines:
            try:
                if line.text is None:
                    raise InputError(f"it has more than {self.settings.max_line:,} bytes")
                if line.text.strip():
                    record = record_of(line.text)
                    key, token = self._key(record), self.words.token(record)
                    numbers.append(line.number)
                    keys.append(key)
                    tokens.append(token)
                    records.append(record)
            except InputError as error:
                if self.settings.on_error == "stop":
                    ending = InputError(f"line {line.number}: {error}")
                    break
                self._refuse(line.number, error)
            done += 1
        data = self._answers(numbers, keys, np.array(tokens), records) if tokens else b""
        return data, done, ending

    def _answers(self, numbers: list[int], keys: list[Any], tokens: np.ndarray, records: list[Record]) -> bytes:
        ys = self.stream.push(keys, tokens)
        finite = np.isfinite(ys).all(1)
        for i in np.flatnonzero(~finite):
            self._refuse(numbers[i], InputError("its numbers are so large that the answer is not finite"))
        known = np.flatnonzero(finite)
        self.answered += len(known)
        rows = []
        for i, answer in zip(known, self.words.answers(ys[known], [records[i] for i in known]), strict=True):
            named = {} if self.settings.key is None else {"key": keys[i]}
            rows.append(json.dumps({"line": numbers[i], **named, **answer}, separators=(",", ":")) + "\n")
        return "".join(rows).encode()

    def _key(self, record: Record) -> Any:
        name = self.settings.key
        if name is None:
            return ""
        if name not in record:
            raise InputError(f"the field {name!r} is missing")
        key = record[name]
        if isinstance(key, bool) or not isinstance(key, str | int):
            raise InputError(f"{name} is {key!r:.80}; a key must be a string or an integer")
        return key

    def _refuse(self, number: int, error: InputError) -> None:
        if self.settings.on_error == "stop":
            raise InputError(f"line {number}: {error}") from error
        self.bad += 1
        self.complain(f"line {number}: {error}")
