"""Readers of data files, and generators of data. A reader returns data, or raises an `InputError` that says what is wrong.

`twofold.data.series` reads series. Import it on its own: it needs pandas, which the other modules do not need.
"""

from .event_files import load_events
from .event_sequences import EventSequences, EventSet, Recording
from .flights import load_flights
from .minari_sets import ControlSet, Episodes, load_control
from .observations import Series
from .point_processes import Forecasts, Hawkes, PointProcess, Sinusoidal
from .uea import LabelledSet, Sequences, load_labelled

__all__ = [
    "ControlSet",
    "Episodes",
    "EventSequences",
    "EventSet",
    "Forecasts",
    "Hawkes",
    "LabelledSet",
    "PointProcess",
    "Recording",
    "Sequences",
    "Series",
    "Sinusoidal",
    "load_control",
    "load_events",
    "load_flights",
    "load_labelled",
]
