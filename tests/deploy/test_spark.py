"""What Spark calls for the rows of a key. tests/examples/test_spark.py runs it in real Spark."""

import json

import jax
import numpy as np
import pytest

from twofold import InputError, save
from twofold.data.nycflights import read
from twofold.deploy import KeyedStream
from twofold.deploy.finished_run import read_run
from twofold.models import EventModel, SequenceModel, event_features
from twofold.tasks import ClassWords, EventWords

pandas = pytest.importorskip("pandas")
pytest.importorskip("pyspark", reason="pyspark is not installed: a trained run in Spark is NOT TESTED")
spark = pytest.importorskip("twofold.deploy.spark")


@pytest.fixture(scope="module")
def flights():
    """The departures of two days from three airports, in minutes: no two at the same time."""
    table = read("flights")
    table = table[(table.month == 1) & (table.day <= 2) & table.dep_time.notna()]
    left = table.day * 1440 + table.sched_dep_time // 100 * 60 + table.sched_dep_time % 100 + table.dep_delay
    made = pandas.DataFrame({"airport": table.origin, "time": left, "mark": table.carrier}).sort_values("time")
    return made.assign(time=made.time + np.arange(len(made)) / 65536).reset_index(drop=True)


@pytest.fixture(scope="module")
def run(flights, tmp_path_factory):
    """A run of the task events with random weights."""
    folder, periods = tmp_path_factory.mktemp("run"), (10.0, 100.0)
    marks = tuple(sorted(set(flights.mark)))
    features, out = event_features(len(marks), periods), 3 * 2 + len(marks)
    inner = SequenceModel(features, out, width=8, depth=1, num_heads=2, dtype="float32", key=jax.random.key(0))
    save(folder, EventModel(inner, marks=len(marks), periods=periods))
    EventWords(("gap", "mark"), marks, "minute").write(folder)
    return folder


@pytest.fixture(scope="module")
def expected(flights, run):
    """The answers of a keyed stream, by the times of the flights."""
    words, model = read_run(run)
    records = flights.to_dict("records")
    ys = KeyedStream(model).push(list(flights.airport), np.array([words.token(record) for record in records]))
    return dict(zip(flights.time, words.answers(ys, records), strict=True))


class State:
    """What Spark gives to an operator as the state of a key."""

    def __init__(self):
        self.get, self.exists = (None,), False

    def update(self, value):
        self.get, self.exists = value, True


def settings(run):
    words, model = read_run(run)
    return {"files": tuple(spark.packed(model).items()), "words": json.dumps(words.as_json()), "order": ["time"]}


def test_a_state_is_that_of_a_keyed_stream(flights, run, expected):
    """Rows are sorted in their micro-batch. Afterwards, a keyed stream of another process may go on with the state."""
    own, state = flights[flights.airport == "JFK"].head(30), State()
    (answers,) = spark._continued(("JFK",), [own.iloc[5:9], own.iloc[:5]], state, **settings(run))
    (rest,) = spark._continued(("JFK",), [own.iloc[9:]], state, **settings(run))
    found = pandas.concat([answers, rest])
    assert [json.loads(answer) for answer in found.answer] == [expected[moment] for moment in own.time]
    _, model = read_run(run)
    stream = KeyedStream(model)
    stream.restore({"JFK": state.get[0]})
    assert stream.snapshot() == {"JFK": state.get[0]}


def test_rows_that_cannot_be_read_have_an_error_and_change_nothing(flights, run, expected):
    own = flights[flights.airport == "JFK"].head(4)
    bad = own.assign(mark=[own.mark.iloc[0], "??", None, own.mark.iloc[3]])
    bad = pandas.concat([bad, own.head(1).assign(time=np.nan)])
    state = State()
    (found,) = spark._continued(("JFK",), [bad], state, **settings(run))
    assert found.answer.isna().tolist() == [False, True, True, False, True]
    assert found.error.iloc[1].startswith("mark is '??'; the training data have the marks ")
    assert "time is nan" in found.error.iloc[4]
    good = State()
    (alone,) = spark._continued(("JFK",), [own.iloc[[0, 3]]], good, **settings(run))
    assert found.answer.dropna().tolist() == alone.answer.tolist()
    assert state.get == good.get
    (nothing,) = spark._continued(("JFK",), [bad.iloc[1:3]], untouched := State(), **settings(run))
    assert nothing.answer.isna().all()
    assert not untouched.exists


def test_a_checkpoint_of_another_model_is_refused(flights, run, tmp_path):
    own, state = flights.head(3), State()
    list(spark._continued(("JFK",), [own], state, **settings(run)))
    words, model = read_run(run)
    save(tmp_path, jax.tree.map(lambda x: 2 * x, model.inner))
    EventWords(("gap", "mark"), words.marks, "minute").write(tmp_path)
    with pytest.raises(InputError, match="not one of this model"):
        list(spark._continued(("JFK",), [own], state, **settings(tmp_path)))


def test_a_time_of_spark_is_read_as_a_date():
    table = pandas.DataFrame({"date": pandas.to_datetime(["2024-01-31 13:00"]), "x": [1.0]})
    assert spark._records(table) == [{"date": "2024-01-31T13:00:00", "x": 1.0}]


class Rows:
    """The columns of a table of Spark."""

    columns: tuple = ("airport", "answer")


def test_columns_are_checked(run, tmp_path, unchecked):
    with pytest.raises(InputError, match="the rows have the columns airport, answer; they must have airport, time"):
        spark.answered(Rows(), run, key="airport", order="time")
    save(tmp_path, SequenceModel(2, 2, width=8, depth=1, key=jax.random.key(0)))
    with pytest.raises(InputError, match=r"no words\.json"):
        spark.answered(Rows(), tmp_path, key="airport", order="time")
    ClassWords(("a", "b"), ("c", "d")).write(tmp_path)
    with pytest.raises(InputError, match="the rows have the columns"):
        spark.answered(Rows(), tmp_path, key="airport", order="airport")
