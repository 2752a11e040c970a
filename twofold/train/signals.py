"""Signals that end the process wait until the run is saved."""

import contextlib
import signal
import threading
from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether a signal has asked the process to end."""

    def __init__(self) -> None:
        self.asked: int | None = None
        """The number of the signal, or None if there was no signal."""
        self.unsaved = False
        """Whether something is not saved yet. Only then does a signal wait."""

    def end(self) -> None:
        """End the process as the signal asked, if there was a signal.

        **Raises:** `KeyboardInterrupt` after SIGINT (Ctrl-C), `SystemExit` with code 143 after SIGTERM.
        """
        if self.asked == signal.SIGTERM:
            raise SystemExit(128 + signal.SIGTERM)
        if self.asked is not None:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: object) -> None:
        waits = self.unsaved and self.asked is None  # a second signal ends the process at once
        self.asked = number
        if not waits:
            self.end()


@contextlib.contextmanager
def interruption() -> Iterator[Interruption]:
    """Make SIGINT and SIGTERM wait for `Interruption.end` while something is unsaved, for the time of a `with` block.

    A signal that the process ignores stays ignored. In a thread other than the main one nothing changes, because signals
    reach the main thread alone.
    """
    asked = Interruption()
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, asked._handle)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
