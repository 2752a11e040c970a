"""A signal to end the process waits until what was trained is saved."""

import contextlib
import signal
import threading
from collections.abc import Iterator

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether the process was asked to end."""

    def __init__(self) -> None:
        self.asked: int | None = None
        """The number of the signal; None if there was none."""
        self.unsaved = False
        """Whether there is something to save: only then does a signal wait."""

    def end(self) -> None:
        """End as the signal asked, if there was one.

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
    """Within this block SIGINT and SIGTERM wait for `Interruption.end` while something is unsaved.

    A signal that the process ignores stays ignored. Threads other than the main one get no signals, and nothing changes there.
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
