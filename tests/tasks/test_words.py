"""The words of a run: records become tokens, answers become records, bad fields are named, and files come back."""

import json
from datetime import datetime, timedelta

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twofold import InputError
from twofold.data.series import elecdemand
from twofold.models.next_event import next_event
from twofold.tasks import (
    ActionWords,
    Classification,
    ClassWords,
    Control,
    Events,
    EventWords,
    Forecasting,
    ForecastWords,
    Words,
    train,
)
from twofold.tasks.words import FILE, plain

TINY = {"mixer": "gru", "width": 8, "depth": 1, "steps": 3, "batch": 4, "measurements": 1}
TASKS = (
    Classification(dataset="BasicMotions", **TINY),
    Events(dataset="sin", sequences=30, events=6, **TINY),
    Forecasting(dataset="elecdemand", horizon=4, context=8, patch=4, **TINY),
)
CLASSES = ClassWords(("a", "b"), ("yes", "no", "perhaps"))
DEMAND = ForecastWords(("Demand", "sin day", "cos day", "sin week", "cos week"), ("Demand",), 2, 1800.0)
EVENTS = EventWords(("gap", "mark"), ("AA", "7"), "minute")
ACTIONS = ActionWords(("return_to_go", "observation_0", "previous_action_0"), (-1.0,), (1.0,))


@pytest.fixture(params=[*TASKS, "control"], ids=lambda task: getattr(task, "name", task))
def task(request, write_control, tmp_path):
    if request.param == "control":
        return Control(env="inverted-pendulum", dataset=str(write_control(tmp_path)), window=8, **TINY)
    return request.param


def test_the_words_of_a_task_name_what_its_model_reads_and_answers(task):
    data = task.load()
    model = task.deployed(task.model(data, jax.random.key(0)), data)
    words = task.words(data)
    assert words.task == task.name
    assert len(words.inputs) == model.in_size
    token = np.asarray(task.example(data)[1])
    record = dict(zip(words.inputs, token.tolist(), strict=True))
    if isinstance(words, EventWords):
        record["mark"] = words.marks[int(token[1])]
    np.testing.assert_array_equal(words.token(record), token)
    answer = words.answer(jax.jit(lambda xs: model(xs))(token[None])[0], record)
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer


@pytest.mark.parametrize("words", [CLASSES, DEMAND, EVENTS, ACTIONS], ids=lambda words: words.task)
def test_words_come_back_from_json_and_from_files(words, tmp_path):
    assert Words.from_json(json.loads(json.dumps(words.as_json()))) == words
    words.write(tmp_path)
    assert Words.read(tmp_path) == words
    (tmp_path / FILE).write_text((tmp_path / FILE).read_text().replace(words.inputs[0], "other"))
    with pytest.raises(InputError, match=r"words\.json is damaged or was changed by hand: its content does not fit"):
        Words.read(tmp_path)


@pytest.mark.parametrize("content", [{}, {"task": "other"}, {"task": "events"}, {"task": "events", "more": 1}])
def test_other_json_is_refused(content):
    with pytest.raises(InputError, match="are not the words of a run"):
        Words.from_json(content)


def test_a_finished_run_without_words_gets_them_without_training(tmp_path):
    task = TASKS[0]
    train(task, tmp_path, progress=False)
    words, kept = Words.read(tmp_path), (tmp_path / "metrics.jsonl").read_bytes()
    assert words.classes == ("badminton", "running", "standing", "walking")
    (tmp_path / FILE).unlink()
    with pytest.raises(InputError, match=r"has no words\.json; .* run the command again that trained it"):
        Words.read(tmp_path)
    train(task, tmp_path, progress=False)
    assert Words.read(tmp_path) == words
    assert (tmp_path / "metrics.jsonl").read_bytes() == kept


@pytest.mark.parametrize(
    ("words", "record", "message"),
    [
        (CLASSES, {"a": 1}, "the field 'b' is missing"),
        (CLASSES, {"a": 1, "b": None}, "b is None; it must be a number"),
        (CLASSES, {"a": True, "b": 1}, "a is True; it must be a number"),
        (CLASSES, {"a": "1", "b": 1}, "a is '1'; it must be a number"),
        (CLASSES, {"a": [1.0], "b": 1}, r"a is \[1.0\]; it must be a number"),
        (CLASSES, {"a": float("nan"), "b": 1}, "a is nan; it must be a finite number that float32 can hold"),
        (CLASSES, {"a": -1e39, "b": 1}, r"a is -1e\+39; it must be a finite number"),
        (CLASSES, {"a": 10**400, "b": 1}, "a is 10000.*; it must be a finite number"),
        (EVENTS, {"gap": -1, "mark": "AA"}, "gap is -1.0; the time since the event before cannot be negative"),
        (EVENTS, {"gap": 1, "mark": "UA"}, "mark is 'UA'; the training data have the marks AA, 7"),
        (EVENTS, {"gap": 1, "mark": True}, "mark is True; the training data have"),
        (EVENTS, {"gap": 1, "mark": ["AA"]}, r"mark is \['AA'\]; the training data have"),
        (EVENTS, {"gap": 1}, "the field 'mark' is missing"),
        (DEMAND, {"Demand": 1}, "the field 'sin day' is missing"),
        (DEMAND, {"Demand": 1, "date": "yesterday"}, "date is 'yesterday'; write dates as 2024-01-31 or"),
        (DEMAND, {"Demand": 1, "date": 3}, "date is 3; write dates as"),
        (DEMAND, dict.fromkeys(DEMAND.inputs, 0) | {"date": None}, "date is None; write dates as"),
    ],
)
def test_a_bad_field_is_named_with_its_value(words, record, message, unchecked):
    with pytest.raises(InputError, match=message):
        words.token(record)


def test_fields_without_a_place_in_the_token_are_ignored():
    np.testing.assert_array_equal(CLASSES.token({"b": np.float32(2), "more": None, "a": 1}), [1, 2])
    np.testing.assert_array_equal(EVENTS.token({"gap": 2.5, "mark": 7}), [2.5, 1])


def test_a_date_stands_for_the_time_of_day_and_week():
    data = elecdemand()
    words = Forecasting(dataset="elecdemand").words(data)
    for row in (0, 100, 17_519):
        date = datetime(2014, 1, 1) + timedelta(minutes=30 * row)
        record = dict(zip(data.columns[:3], data.values[0, row], strict=False)) | {"date": date.isoformat()}
        np.testing.assert_array_equal(words.token(record), data.values[0, row])


def test_classes_have_their_probabilities():
    answer = CLASSES.answer(np.log([0.2, 0.7, 0.1]))
    assert answer == {"class": "no", "probabilities": {"yes": 0.2, "no": 0.7, "perhaps": 0.1}}


def test_forecasts_have_names_and_times():
    words = ForecastWords(("Demand", "Price"), ("Price", "Demand"), 2, 1800.0)
    answer = words.answer(np.arange(4.0), {"date": "2014-12-31 23:30"})
    assert answer["forecast"] == {"Price": [0, 2], "Demand": [1, 3]}
    assert answer["times"] == ["2015-01-01T00:00:00", "2015-01-01T00:30:00"]
    assert "times" not in words.answer(np.arange(4.0))


def test_the_next_event_is_that_of_the_model(normal):
    y = normal("outputs", 3 * 4 + 2)
    expected = next_event(jnp.asarray(y), 2)
    answer = EVENTS.answer(y)
    np.testing.assert_allclose(answer["gap"], expected.mean(), rtol=1e-6)
    np.testing.assert_allclose(list(answer["probabilities"].values()), np.exp(expected.log_marks), rtol=1e-6)
    assert answer["mark"] == max(answer["probabilities"], key=answer["probabilities"].get)


def test_numbers_have_seven_digits_and_what_is_not_finite_is_none():
    assert plain(np.float32([0.1, -1.5e-12, 0, 123456.7])) == [0.1, -1.5e-12, 0, 123456.7]
    assert plain(np.array([[np.nan, 1e-320], [np.inf, 3.4e38]])) == [[None, 1e-320], [None, 3.4e38]]
