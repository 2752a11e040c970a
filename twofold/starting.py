"""Ctrl-C while the command starts ends it at once, without a traceback. This is imported before all that takes long.

Where twofold is used as a library, nothing is changed.
"""

import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType


def _end(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)  # an exception, within an extension that is just imported, would become an error of its own


def has_started() -> None:
    """From here on, Ctrl-C is a `KeyboardInterrupt` again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if (
    Path(sys.argv[0]).name.removesuffix(".exe")
    in ("twofold", "-m")  # "-m" is there until `python -m` has found the module
    and threading.current_thread() is threading.main_thread()
    and signal.getsignal(signal.SIGINT) is signal.default_int_handler
):
    signal.signal(signal.SIGINT, _end)
