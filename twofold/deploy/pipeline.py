"""From lines that come in to answers that go out, with a store that knows how far both are."""

import contextlib
import hashlib
import os
import sys
import time
from typing import Any

from ..errors import InputError
from ..train.signals import interruption
from .answers import Answers
from .lines import Line, Lines
from .records import csv_records, json_record
from .service import Service, Settings
from .store import Store

REPORTED = 10.0
"""Progress is told after so many seconds."""
WAIT = 0.2
"""The longest wait for a line, in seconds, before signals and clocks are looked at."""
HEAD = 4096
"""A file is known again by so many of its first bytes."""


class Pipeline:
    """The lines of a file or a pipe, and the answers to them in a file or a pipe.

    After a kill at any moment, a pipeline with the same settings goes on. If both are files, the answers are then those of a
    pipeline that was not killed, to the last bit.
    """

    def __init__(self, settings: Settings):
        """Open all, and go to where the store says that the pipeline was.

        **Raises:** `InputError` if something cannot be used, or is not what the store knows; `OSError` if it cannot be opened.
        """
        settings.check()
        self.settings = settings
        with contextlib.ExitStack() as opened:
            store = opened.enter_context(contextlib.closing(Store(settings.store)))
            self.service = Service(settings, store, _tell)
            file = 0 if settings.input is None else os.open(settings.input, os.O_RDONLY | os.O_CLOEXEC)
            if file:
                opened.callback(os.close, file)
            self.lines = Lines(file, longest=settings.max_line, follow=settings.follow)
            self.name = os.path.realpath(settings.input or "/dev/fd/0") if self.lines.is_file else "-"
            self.inputs: dict[str, dict[str, Any]] = store.note("inputs") or {}
            self.at, self.header = self._resumed()
            path = None if settings.output is None else settings.output.resolve()
            output = store.note("output") or {"path": path and str(path), "bytes": None}
            if output["path"] != (path and str(path)):
                raise InputError(
                    f"the answers of this store are in {output['path'] or 'a pipe'}; use another store, or the same --output"
                )
            self.answers = opened.enter_context(contextlib.closing(Answers(path, output["bytes"])))
            self._opened = opened.pop_all()

    def close(self) -> None:
        """Close the store and the files."""
        self._opened.close()

    def _resumed(self) -> tuple[Line, str | None]:
        """Go behind the last line that is committed. Return it, and the header if the input has one."""
        known = self.inputs.get(self.name)
        if known is None:
            return Line(0, 0, None), None
        if self.lines.is_file:
            size = os.fstat(self.lines.file).st_size
            if size < known["bytes"] or self._head(known["bytes"]) != known["head"]:
                raise InputError(
                    f"{self.name} is not the file that the store has read {known['bytes']} bytes of; use another store, or"
                    " give the file another name"
                )
            os.lseek(self.lines.file, known["bytes"], os.SEEK_SET)
        self.lines.number, self.lines.end = known["lines"], known["bytes"]
        return Line(known["lines"], known["bytes"], None), known["header"] if self.lines.is_file else None

    def run(self) -> None:
        """Answer lines until the input ends, or a signal asks to end. All is then committed.

        **Raises:** `InputError` for a bad line, if the settings say that it ends the run; `KeyboardInterrupt` after Ctrl-C;
        `SystemExit` after SIGTERM; `OSError` if something cannot be read or written.
        """
        began = committed = told = time.monotonic()
        first = count = self.at.number
        self._commit()  # so that the store knows the file of answers before there is one in it
        with interruption() as asked:
            asked.unsaved = True  # what was read from a pipe is answered before a signal ends the process
            while not (self.lines.ended or asked.asked):
                self._answer(self.lines.read(WAIT))
                now = time.monotonic()
                due = self.at.number - count >= self.settings.every or now - committed >= self.settings.seconds
                if due and self.at.number > count:
                    self._commit()
                    committed, count = now, self.at.number
                if now - told >= REPORTED:
                    self._report(first, now - began)
                    told = now
            self._commit()
        self._report(first, time.monotonic() - began)
        asked.end()

    def _answer(self, lines: list[Line]) -> None:
        if lines and self.settings.format == "csv" and self.header is None:
            self.at, *lines = lines
            if self.at.text is None:
                raise InputError(f"the header of the CSV file has more than {self.settings.max_line} bytes")
            self.header = self.at.text.decode(errors="replace")
        if lines:
            record_of = json_record if self.header is None else csv_records(self.header, self.service.words.numbers)
            data, done, error = self.service.answer(lines, record_of)
            self.answers.write(data)
            self.at = lines[done - 1] if done else self.at
            if error is not None:
                self._commit()
                raise error

    def _commit(self) -> None:
        """Write states and positions, in this order: the answers are on the disk before the store knows of them."""
        if self.settings.store is None:  # nobody will ask
            return
        self.inputs[self.name] = {
            "lines": self.at.number,
            "bytes": self.at.end,
            "head": self._head(self.at.end),
            "header": self.header,
        }
        output = {"path": self.answers.path and str(self.answers.path), "bytes": self.answers.end()}
        self.service.stream.commit({"inputs": self.inputs, "output": output})

    def _head(self, size: int) -> str | None:
        """A checksum of the beginning of the input, of which `size` bytes were read."""
        if not self.lines.is_file:
            return None
        return hashlib.sha256(os.pread(self.lines.file, min(size, HEAD), 0)).hexdigest()

    def _report(self, first: int, seconds: float) -> None:
        lines = self.at.number - first
        _tell(
            f"{lines:,} lines in {seconds:.1f} s, {lines / max(seconds, 1e-9):,.0f} lines/s; {self.service.answered:,}"
            f" answered, {self.service.bad:,} bad"
        )


def _tell(sentence: str) -> None:
    print(f"twofold: {sentence}", file=sys.stderr, flush=True)
