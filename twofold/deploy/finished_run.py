"""A finished run, ready for records."""

from pathlib import Path

from ..layers import Layer
from ..models import TimedEvents
from ..saving import load
from ..tasks.words import EventWords, Words


def read_run(folder: Path | str) -> tuple[Words, Layer]:
    """The words and the model of the run in a folder. Records of events have the time of the event.

    **Raises:** `InputError` for a folder that is no finished run.
    """
    words, model = Words.read(folder), load(folder)
    return (words.with_times(), TimedEvents(model)) if isinstance(words, EventWords) else (words, model)
