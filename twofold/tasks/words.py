"""What the numbers of a deployed model mean: its tokens by the names of their features, and its answers in words.

A run keeps them beside its model, in words.json. So the model can be used without the data that it was trained on.
"""

import abc
import dataclasses
import functools
import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import ArrayLike, Float
from scipy.special import softmax

from ..atomic import write_whole
from ..data.calendar import CALENDAR, calendar
from ..errors import InputError
from ..sealed import sealed, unsealed

FILE = "words.json"
LARGEST = float(np.finfo(np.float32).max)


@dataclasses.dataclass(frozen=True)
class Words(abc.ABC):
    """What a token and an answer of a deployed model mean. Each task has a subclass.

    A record is what a user has: a mapping from names to values. `token` makes a token of it, and `answer` makes a record of
    the model's output. Fields of a record that have no place in a token are ignored.
    """

    inputs: tuple[str, ...]
    """The name of each feature of a token, in order."""

    task: ClassVar[str]
    """The name of the task."""

    @property
    def numbers(self) -> tuple[str, ...]:
        """The names of the fields of a record that are numbers. Other fields are text."""
        return self.inputs

    def token(self, record: Mapping[str, Any]) -> Float[np.ndarray, " in"]:
        """The token of a record, `(in_size,)`.

        **Raises:** `InputError` that names the field: if it is missing, is no finite number of float32, or is no known mark.
        """
        return np.array([number(record, name) for name in self.inputs])

    def answer(self, y: Float[ArrayLike, " out"], record: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer that an output of the model stands for. It can be written as JSON.

        **Arguments:**

        - `y`: the output of the model, `(out_size,)`.
        - `record`: the record of the last token. If it has a time, so has the answer.
        """
        return self.answers(np.asarray(y)[None], [{} if record is None else record])[0]

    @abc.abstractmethod
    def answers(
        self, ys: Float[np.ndarray, "tokens out"], records: Sequence[Mapping[str, Any]]
    ) -> list[dict[str, Any]]:
        """As `answer`, for many outputs, `(tokens, out_size)`, and their records."""

    def as_json(self) -> dict[str, Any]:
        """The words as an object of JSON. `from_json` reads it."""
        return {"task": self.task} | dataclasses.asdict(self)

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "Words":
        """The words that `as_json` returned, also after they were written as JSON.

        **Raises:** `InputError` for anything else.
        """
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
        }
        try:
            return {kind.task: kind for kind in KINDS}[fields.pop("task")](**fields)
        except (KeyError, TypeError) as error:
            raise InputError(f"{str(content)!r:.80} are not the words of a run: {error!r}") from error

    def write(self, folder: Path | str) -> None:
        """Write words.json to a folder.

        **Raises:** `OSError` if the file cannot be written.
        """
        write_whole(Path(folder) / FILE, json.dumps(sealed(self.as_json()), indent=1) + "\n")

    @staticmethod
    def read(folder: Path | str) -> "Words":
        """The words of the run in a folder.

        **Raises:** `InputError` if there is no words.json, or if it is damaged or was changed by hand.
        """
        file = Path(folder) / FILE
        if not file.is_file():
            raise InputError(
                f"{folder} has no {FILE}; if it holds a finished run of an older version, run the command again that"
                " trained it, which does not train again and writes the file"
            )
        try:
            return Words.from_json(unsealed(file.read_bytes()))
        except ValueError as error:
            raise InputError(f"{file} is damaged or was changed by hand: {error}") from error


@dataclasses.dataclass(frozen=True)
class ClassWords(Words):
    """The words of a classification."""

    classes: tuple[str, ...]
    """The name of each class."""

    task = "classification"

    def answers(self, ys, records):
        """The most probable class, and the probabilities of all classes by their names."""
        shares = softmax(ys, 1)
        best = np.argmax(ys, 1)
        return [
            {"class": self.classes[i], "probabilities": dict(zip(self.classes, row, strict=True))}
            for i, row in zip(best, plain(shares), strict=True)
        ]


@dataclasses.dataclass(frozen=True)
class ForecastWords(Words):
    """The words of a forecast.

    If the features have the time of the day and of the week, a record may have a `date` in place of these four numbers. It
    is written as 2024-01-31 or 2024-01-31 13:00, in the time zone of the training data.
    """

    targets: tuple[str, ...]
    """The names of the series that are forecast."""
    horizon: int
    """How many values of each target are forecast."""
    step: float | None
    """The seconds from one observation to the next, or None if the training data have no dates."""

    task = "forecasting"

    def token(self, record):
        if "date" in record and set(CALENDAR) <= set(self.inputs) and not record.keys() & set(CALENDAR):
            phases = calendar(np.array([_date(record)]))[0]
            record = {**record, **dict(zip(CALENDAR, phases.tolist(), strict=True))}
        return super().token(record)

    def answers(self, ys, records):
        """The next values of each target by its name, and their times if the record has a date and the step is known."""
        forecasts = plain(np.reshape(ys, (len(ys), self.horizon, len(self.targets))).swapaxes(1, 2))
        return [
            {"forecast": dict(zip(self.targets, rows, strict=True)), **self._times(record)}
            for rows, record in zip(forecasts, records, strict=True)
        ]

    def _times(self, record: Mapping[str, Any]) -> dict[str, list[str]]:
        if self.step is None or "date" not in record:
            return {}
        ahead = np.round(self.step * 1e6 * np.arange(1, self.horizon + 1)).astype("timedelta64[us]")
        times = _date(record) + ahead
        whole = times.astype("datetime64[s]")
        return {"times": (whole if np.array_equal(whole, times) else times).astype(str).tolist()}


@dataclasses.dataclass(frozen=True)
class EventWords(Words):
    """The words of events.

    A token is (`gap`, `mark`): the time since the event before, which is 0 for the first event, and a mark. With `with_times`,
    a record has the `time` of the event instead, and the token is one of `twofold.models.TimedEvents`.
    """

    marks: tuple[str, ...]
    """The name of each mark, by its number."""
    unit: str | None
    """The unit of times, such as "minute". It is None if the training data do not name it."""

    task = "events"

    @property
    def numbers(self):
        return self.inputs[:1]

    def with_times(self) -> "EventWords":
        """The words of records that have the time of an event, `time`, counted from any moment, in the unit of the training
        data. They belong to the model `TimedEvents`."""
        return dataclasses.replace(self, inputs=("time", "rest of time", "mark"))

    def token(self, record):
        name = self.inputs[0]
        value = number(record, name)
        if name == "time":
            nearest = float(np.float32(value))
            return np.array([nearest, value - nearest, self.mark(record)])
        if value < 0:
            raise InputError(f"gap is {value}; the time since the event before cannot be negative")
        return np.array([value, self.mark(record)])

    def mark(self, record: Mapping[str, Any]) -> float:
        """The number of the mark of a record.

        **Raises:** `InputError` for a mark that the training data do not have.
        """
        value = _present(record, "mark")
        name = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        if not isinstance(name, str) or name not in self._numbers:
            known = ", ".join(self.marks[:20]) + (", ..." if len(self.marks) > 20 else "")
            raise InputError(f"mark is {value!r:.80}; the training data have the marks {known}")
        return self._numbers[name]

    @functools.cached_property
    def _numbers(self) -> dict[str, float]:
        return {name: float(i) for i, name in enumerate(self.marks)}

    def answers(self, ys, records):
        """The expected time to the next event, its most probable mark, and the probabilities of all marks by their names.

        If the record has its `time`, the answer has the expected `time` of the next event.
        """
        # The formulas of `twofold.models.next_event`, in NumPy: JAX would compile them for each number of tokens.
        ys = np.asarray(ys, float)
        components = (ys.shape[1] - len(self.marks)) // 3
        logits, means, log_deviations, marks = np.split(ys, [components * i for i in (1, 2, 3)], axis=1)
        with np.errstate(over="ignore"):
            gaps = np.sum(softmax(logits, 1) * np.exp(means + np.exp(2 * log_deviations) / 2), 1)
        best = np.argmax(marks, 1)
        answers = [
            {"gap": gap, "mark": self.marks[i], "probabilities": dict(zip(self.marks, row, strict=True))}
            for gap, i, row in zip(plain(gaps), best, plain(softmax(marks, 1)), strict=True)
        ]
        if self.inputs[0] == "time":
            for answer, gap, record in zip(answers, gaps.tolist(), records, strict=True):
                answer["time"] = record["time"] + gap if "time" in record and math.isfinite(gap) else None
        return answers


@dataclasses.dataclass(frozen=True)
class ActionWords(Words):
    """The words of control. A token is the return that is still asked for, an observation, and the action before."""

    low: tuple[float, ...]
    """The smallest value of each feature of an action."""
    high: tuple[float, ...]
    """The largest value."""

    task = "control"

    def answers(self, ys, records):
        """The action, as a list of its features."""
        return [{"action": row} for row in plain(ys)]


KINDS: tuple[type[Words], ...] = (ClassWords, ForecastWords, EventWords, ActionWords)


def _present(record: Mapping[str, Any], name: str) -> Any:
    if name not in record:
        raise InputError(f"the field {name!r} is missing")
    return record[name]


def number(record: Mapping[str, Any], name: str) -> float:
    """The finite number of a field.

    **Raises:** `InputError` that names the field.
    """
    value = _present(record, name)
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InputError(f"{name} is {value!r:.80}; it must be a number")
    if not -LARGEST <= value <= LARGEST:  # type: ignore[operator]  # mypy has no order for Real
        raise InputError(f"{name} is {value}; it must be a finite number that float32 can hold")
    return float(value)


def _date(record: Mapping[str, Any]) -> np.datetime64:
    try:
        return np.datetime64(datetime.fromisoformat(record["date"]).replace(tzinfo=None))
    except (TypeError, ValueError) as error:
        raise InputError(f"date is {record['date']!r:.80}; write dates as 2024-01-31 or 2024-01-31 13:00") from error


def plain(x: Float[np.ndarray, "*shape"]) -> Any:
    """The numbers of an array as Python's, in lists, with seven digits: float32 has no more. Infinity and NaN become None."""
    x = np.asarray(x, float)
    with np.errstate(all="ignore"):
        scale = 10.0 ** (6 - np.floor(np.log10(np.abs(x))))
        short = np.where((x != 0) & np.isfinite(scale), np.round(x * scale) / scale, x)
    finite = np.isfinite(x)
    if not finite.all():
        short = short.astype(object)
        short[~finite] = None
    return short.tolist()
