"""Sequences of marked events, as they were recorded and as arrays."""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from ..errors import InputError
from .packing import Packing, first_fit
from .point_processes import PointProcess


class Recording(NamedTuple):
    """One sequence as it was recorded."""

    times: Float[np.ndarray, " events"]
    marks: list[str]
    place: Callable[[int], str] = "event {}".format
    """A function from the number of an event to its place in words, such as "line 3 of events.csv". Errors name it."""


class EventSequences(NamedTuple):
    """Sequences that are padded to a common length. The padding repeats the last event, so that no time passes in it."""

    times: Float[np.ndarray, "sequences time"]
    marks: Int[np.ndarray, "sequences time"]
    lengths: Int[np.ndarray, " sequences"]

    @property
    def elapsed(self) -> Float[np.ndarray, "sequences time"]:
        """The time since the event before. It is 0 for the first event, and for padding."""
        return np.diff(self.times, axis=1, prepend=self.times[:, :1])

    @property
    def tokens(self) -> Float[np.ndarray, "sequences time 2"]:
        """The tokens that a model reads: (time since the event before, mark)."""
        return np.stack([self.elapsed, self.marks], 2).astype(np.float32)

    @property
    def scored(self) -> Bool[np.ndarray, "sequences time_minus_1"]:
        """Which of the events from the second on are not padding. These are predicted, each from the events before it."""
        return np.arange(1, self.times.shape[1]) < self.lengths[:, None]

    @property
    def packing(self) -> Packing:
        """The sequences end to end in rows, each as long as the longest sequence."""
        return first_fit(self.lengths, self.times.shape[1])


class EventSet(NamedTuple):
    """A data set in three parts. Every sequence has at least two events, because nothing can be predicted in a shorter one."""

    name: str
    train: EventSequences
    validation: EventSequences
    test: EventSequences
    marks: tuple[str, ...]
    """The name of each mark, by its number."""
    left_out: int = 0
    """How many sequences were left out because they had fewer than two events."""
    process: PointProcess | None = None
    """The process that made the sequences, for simulated data."""
    preprocessing: str = "times as recorded"
    """What was done to the times."""
    unit: str | None = None
    """The unit of times, such as "minute". It is None if the data do not name it."""

    @property
    def notes(self) -> str:
        """A line that says what the data are."""
        counts = [len(part.lengths) for part in (self.train, self.validation, self.test)]
        return (
            f"{counts[0]} sequences to train, {counts[1]} to validate, {counts[2]} to test"
            f" ({self.test.scored.sum():,} events scored), {self.left_out} of fewer than two events left out;"
            f" {len(self.marks)} marks; {self.preprocessing}"
        )


def event_set(name: str, parts: Iterable[list[Recording]], marks: Iterable[str], **described: Any) -> EventSet:
    """Make a data set from the sequences of its three parts: training, validation and test.

    **Raises:** `InputError` for an event whose mark is not in `marks`.
    """
    names = tuple(sorted(set(marks), key=lambda mark: (not mark.isdecimal(), mark.zfill(20) * mark.isdecimal(), mark)))
    train, validation, test = (_as_arrays(part, names) for part in parts)
    return EventSet(name, train, validation, test, names, **described)


def split(recordings: list[Recording]) -> tuple[list[Recording], list[Recording], list[Recording]]:
    """Split sequences in three parts: the first 70% for training, the next 10% for validation, the last 20% for the test.

    No part is empty.

    **Raises:** `InputError` for fewer than three sequences.
    """
    if len(recordings) < 3:
        raise InputError(f"there are {len(recordings)} sequences of two or more events; three parts need at least 3")
    test = max(1, round(0.2 * len(recordings)))
    validation = max(1, round(0.1 * len(recordings)))
    train = len(recordings) - validation - test
    return recordings[:train], recordings[train : train + validation], recordings[train + validation :]


def shuffled(recordings: list[Recording]) -> list[Recording]:
    """The sequences in a random order, which is the same in every run."""
    return [recordings[i] for i in np.random.default_rng(0).permutation(len(recordings))]


def scorable(recordings: list[Recording]) -> list[Recording]:
    """The sequences with at least two events."""
    return [recording for recording in recordings if len(recording.times) > 1]


def jittered(recordings: list[Recording], width: float) -> list[Recording]:
    """Add uniform noise between 0 and `width` to times that were rounded down to a multiple of `width`.

    The noise is the same in every run. Rounded times have no density, so a model that sees through the rounding could have
    any likelihood. With the noise, the average log density is at most the log of the probability of the rounded time divided
    by `width` (dequantisation; Theis et al. 2016, *A note on the evaluation of generative models*).
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
                    f"{recording.place(place)}: the mark {mark!r} does not occur in the training part, so that nothing can"
                    f" be learned about it; its marks are {_listed(names)}"
                )
        last = np.minimum(np.arange(times.shape[1]), length - 1)
        times[i], marks[i] = recording.times[last], np.array([numbers[mark] for mark in recording.marks])[last]
    return EventSequences(times, marks, lengths)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
