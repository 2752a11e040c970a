"""Lines of a file or a pipe, as they come, in bounded memory."""

import codecs
import os
import select
import stat
import time
from typing import NamedTuple

from ..errors import InputError

CHUNK = 1 << 18
"""So many bytes are read at once."""
PAUSE = 0.1
"""A file that may grow is looked at again after so many seconds."""


class Line(NamedTuple):
    """One line of the input."""

    number: int
    """Lines are counted from 1."""
    end: int
    """How many bytes of the input there are up to the end of this line."""
    text: bytes | None
    """The line without its end, or None if it is too long."""


class Lines:
    """The lines of a file or a pipe that is open."""

    def __init__(self, file: int, *, number: int = 0, end: int = 0, longest: int = 1 << 20, follow: bool = False):
        """Lines from the position at which the file is open.

        **Arguments:**

        - `file`: the number that the operating system has for the open file.
        - `number`, `end`: how many lines and bytes of the input come before.
        - `longest`: a line of more bytes is not kept, so that it takes no memory.
        - `follow`: whether to wait for more at the end of a file.
        """
        self.file, self.number, self.end, self.longest = file, number, end, longest
        self.is_file = stat.S_ISREG(os.fstat(file).st_mode)
        self.follow = follow and self.is_file
        self.ended = False
        self._rest = b""
        self._dropped = 0  # bytes of the line that has begun, which is too long

    def read(self, seconds: float) -> list[Line]:
        """All whole lines that are there now, up to a quarter of a megabyte. If there are none, wait for at most `seconds`.

        At the end of the input, `ended` is true, and a last line without an end counts as whole.

        **Raises:** `InputError` if a file that is followed becomes shorter; `OSError` if the input cannot be read.
        """
        if not self.is_file and not select.select([self.file], [], [], seconds)[0]:
            return []
        chunk = os.read(self.file, CHUNK)
        if chunk:
            return self._lines(chunk)
        if not self.follow:
            self.ended = True
            return self._lines(b"\n", missing=1) if self._rest or self._dropped else []
        if os.fstat(self.file).st_size < self.end:
            raise InputError(f"the input was cut: it had {self.end} bytes, and has {os.fstat(self.file).st_size}")
        time.sleep(min(seconds, PAUSE))
        return []

    def _lines(self, chunk: bytes, missing: int = 0) -> list[Line]:
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        found = []
        for text in whole:
            self.number += 1
            self.end += self._dropped + len(text) + 1 - missing
            fits = self._dropped + len(text) <= self.longest
            if self.number == 1:
                text = text.removeprefix(codecs.BOM_UTF8)
            found.append(Line(self.number, self.end, text.removesuffix(b"\r") if fits else None))
            self._dropped = 0
        if self._dropped + len(self._rest) > self.longest:
            self._dropped += len(self._rest)
            self._rest = b""
        return found
