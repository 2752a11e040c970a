"""Sequences of marked events: as they were recorded, and as arrays."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ..errors import InputError
from .point_processes import PointProcess


class Recording(NamedTuple):
    """One sequence as it was recorded."""

    times: Float[np.ndarray, " events"]
    marks: list[str]
    place: Callable[[int], str] = "event {}".format
    """Where event i stands, for errors: "line 3 of events.csv"."""


class EventSequences(NamedTuple):
    """Sequences padded to a common length: their last event is repeated, so that no time passes."""

    times: Float[np.ndarray, "sequences time"]
    marks: Int[np.ndarray, "sequences time"]
    lengths: Int[np.ndarray, " sequences"]

    @property
    def elapsed(self) -> Float[np.ndarray, "sequences time"]:
        """The time since the event before; 0 for the first, and for padding."""
        return np.diff(self.times, axis=1, prepend=self.times[:, :1])

    @property
    def tokens(self) -> Float[np.ndarray, "sequences time 2"]:
        """What a model reads: (time since the event before, mark)."""
        return np.stack([self.elapsed, self.marks], 2).astype(np.float32)

    @property
    def scored(self) -> Bool[np.ndarray, "sequences time_minus_1"]:
        """Which of the events from the second on are not padding: each is predicted from those before it."""
        return np.arange(1, self.times.shape[1]) < self.lengths[:, None]


class EventSet(NamedTuple):
    """A data set in its three parts, none with a sequence of fewer than two events: nothing could be predicted in it."""

    name: str
    train: EventSequences
    validation: EventSequences
    test: EventSequences
    marks: tuple[str, ...]
    """What the numbers of the marks stand for."""
    left_out: int = 0
    """How many sequences of fewer than two events there were besides."""
    process: PointProcess | None = None
    """Where the sequences come from, if that is known."""
    preprocessing: str = "times as recorded"

    @property
    def notes(self) -> str:
        """What the data are, in a line."""
        counts = [len(part.lengths) for part in (self.train, self.validation, self.test)]
        return (
            f"{counts[0]} sequences to train, {counts[1]} to validate, {counts[2]} to test"
            f" ({self.test.scored.sum():,} events scored), {self.left_out} of fewer than two events left out;"
            f" {len(self.marks)} marks; {self.preprocessing}"
        )


def event_set(name: str, parts: Iterable[list[Recording]], marks: Iterable[str], **described: Any) -> EventSet:
    """A data set of sequences in three parts, whose marks are among `marks`.

    **Raises:** `InputError` for another mark.
    """
    names = tuple(sorted(set(marks), key=lambda mark: (not mark.isdecimal(), mark.zfill(20) * mark.isdecimal(), mark)))
    train, validation, test = (_as_arrays(part, names) for part in parts)
    return EventSet(name, train, validation, test, names, **described)


def split(recordings: list[Recording]) -> tuple[list[Recording], list[Recording], list[Recording]]:
    """The first 70 % to train on, the next 10 % to validate with, and the last 20 % to test with; none of them empty.

    **Raises:** `InputError` for fewer than three sequences.
    """
    if len(recordings) < 3:
        raise InputError(f"there are {len(recordings)} sequences of two or more events; three parts need at least 3")
    test = max(1, round(0.2 * len(recordings)))
    validation = max(1, round(0.1 * len(recordings)))
    train = len(recordings) - validation - test
    return recordings[:train], recordings[train : train + validation], recordings[train + validation :]


def shuffled(recordings: list[Recording]) -> list[Recording]:
    """In an order that is random, and the same in every run."""
    return [recordings[i] for i in np.random.default_rng(0).permutation(len(recordings))]


def scorable(recordings: list[Recording]) -> list[Recording]:
    """Those of at least two events."""
    return [recording for recording in recordings if len(recording.times) > 1]


def jittered(recordings: list[Recording], width: float) -> list[Recording]:
    """Times plus uniform noise from 0 to `width`, the same in every run: for times that were rounded down to a multiple of it.

    Rounded times have no density: a model that sees through the rounding has an arbitrarily large likelihood. With the
    noise its density is at most the probability of the rounded time, by `width` (dequantisation; Theis et al. 2016).
    """
    rng = np.random.default_rng(0)

    def noisy(recording):
        times = recording.times + rng.uniform(0, width, len(recording.times))
        order = np.argsort(times)
        return recording._replace(times=times[order], marks=[recording.marks[i] for i in order])

    return [noisy(recording) for recording in recordings] if width else recordings


def _as_arrays(recordings: list[Recording], names: tuple[str, ...]) -> EventSequences:
    numbers = {name: number for number, name in enumerate(names)}
    lengths = np.array([len(recording.times) for recording in recordings])
    times, marks = np.zeros((len(lengths), lengths.max())), np.zeros((len(lengths), lengths.max()), int)
    for i, (recording, length) in enumerate(zip(recordings, lengths, strict=True)):
        for place, mark in enumerate(recording.marks):
            if mark not in numbers:
                raise InputError(
                    f"{recording.place(place)}: the mark {mark!r} does not occur in the training part, so that nothing is"
                    f" known of it; its marks are {_listed(names)}"
                )
        last = np.minimum(np.arange(times.shape[1]), length - 1)
        times[i], marks[i] = recording.times[last], np.array([numbers[mark] for mark in recording.marks])[last]
    return EventSequences(times, marks, lengths)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
