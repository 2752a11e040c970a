"""Lines become answers in the words of the run; bad lines are named and touch nothing; positions are those of the store."""

import json
import os
import sqlite3
import subprocess
import sys

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twofold import InputError, Stream, cli, load, save
from twofold.deploy import Store
from twofold.deploy.lines import Lines
from twofold.deploy.service import Service, Settings
from twofold.models import Forecaster, SequenceModel, TimedEvents
from twofold.tasks import ForecastWords, Words


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def answered(tmp_path, capfd):
    """`answered(run, text, *arguments)`: the exit code, the answers to a file with this text, and the complaints."""

    def answer(run, text, *arguments, output="out"):
        (tmp_path / "in").write_bytes(text if isinstance(text, bytes) else text.encode())
        words = ["stream", run, "--input", "in", "--output", output, *arguments]
        code = cli.main(list(map(str, words)))
        answers = [json.loads(line) for line in (tmp_path / output).read_text().splitlines()]
        return code, answers, capfd.readouterr().err

    return answer


def events(*rows):
    return "".join(json.dumps(dict(zip(("key", "time", "mark"), row, strict=True))) + "\n" for row in rows)


def test_answers_are_those_of_the_model_in_words(event_run, answered):
    """Times are seconds since 1970, which float32 cannot hold; the gaps between them are exact all the same."""
    rows = [("a", 1.7e9, "x"), ("b", 1.7e9 + 1, "y"), ("a", 1.7e9 + 0.5, "y"), ("a", 1.7e9 + 0.25, "x")]
    code, answers, err = answered(event_run, events(*rows), "--key", "key")
    stream, words = Stream(load(event_run)), Words.read(event_run)
    expected = [words.answer(stream.push(token)) for token in ([0, 0], [0.5, 1], [-0.25, 0])]
    assert (code, [answer["line"] for answer in answers]) == (0, [1, 2, 3, 4])
    for answer, wanted in zip([answers[i] for i in (0, 2, 3)], expected, strict=True):
        assert answer["key"] == "a"
        assert answer["mark"] == wanted["mark"]
        np.testing.assert_allclose(answer["gap"], wanted["gap"], rtol=1e-4)
        assert answer["time"] == pytest.approx(rows[answer["line"] - 1][1] + answer["gap"], abs=1e-6)
    assert "4 lines in" in err
    assert "4 answered, 0 bad" in err


def test_without_a_key_all_lines_share_one_state(class_run, answered):
    _, answers, _ = answered(class_run, '{"a": 1, "b": 2}\n{"b": 3, "a": -1, "more": null}')
    stream = Stream(load(class_run))
    for answer, token in zip(answers, ([1, 2], [-1, 3]), strict=True):
        expected = Words.read(class_run).answer(stream.push(token))
        assert (answer["class"], "key" in answer) == (expected["class"], False)
        np.testing.assert_allclose(
            list(answer["probabilities"].values()), list(expected["probabilities"].values()), rtol=1e-4
        )


def test_a_forecast_has_its_times(answered, tmp_path):
    inner = SequenceModel(2, 3, width=8, depth=1, dtype="float32", key=jax.random.key(0))
    save("run", Forecaster(inner, variates=1, targets=(0,), horizon=3, patch=2, season=1, memory=9.0))
    ForecastWords(("load",), ("load",), 3, 3600.0).write("run")
    text = "date,load\r\n2024-02-28 22:00,1.5\r\n2024-02-28 23:00,2\r\n"
    _, answers, _ = answered("run", text, "--format", "csv")
    assert [answer["line"] for answer in answers] == [2, 3]
    assert answers[1]["times"] == ["2024-02-29T00:00:00", "2024-02-29T01:00:00", "2024-02-29T02:00:00"]
    stream = Stream(load("run"))
    stream.push([1.5])
    np.testing.assert_allclose(answers[1]["forecast"]["load"], stream.push([2.0]), rtol=1e-4)


BAD = [
    ("nonsense", "it is not JSON: Expecting value"),
    (b"\xff\xfe{}", "it is not JSON: 'utf-8' codec can't decode"),
    ("[" * 100_000, "it is not JSON: maximum recursion depth exceeded"),
    ("[1, 2]", "it is [1, 2]; it must be an object with names and values"),
    ('{"key": "a", "time": 1}', "the field 'mark' is missing"),
    ('{"time": 1, "mark": "x"}', "the field 'key' is missing"),
    ('{"key": 1.5, "time": 1, "mark": "x"}', "key is 1.5; a key must be a string or an integer"),
    ('{"key": true, "time": 1, "mark": "x"}', "key is True; a key must be a string or an integer"),
    ('{"key": "a", "time": NaN, "mark": "x"}', "time is nan; it must be a finite number"),
    ('{"key": "a", "time": null, "mark": "x"}', "time is None; it must be a number"),
    ('{"key": "a", "time": true, "mark": "x"}', "time is True; it must be a number"),
    ('{"key": "a", "time": "1", "mark": "x"}', "time is '1'; it must be a number"),
    ('{"key": "a", "time": 1, "mark": "z"}', "mark is 'z'; the training data have the marks x, y"),
    ('{"key": "a", "time": ' + "9" * 5000 + "}", "it is not JSON: Exceeds the limit"),
    ('{"key": "a", "more": "' + "." * 2_000_000 + '"}', "it has more than 1,048,576 bytes"),
]


def test_bad_lines_are_named_and_touch_nothing(event_run, answered):
    good, rest = events(("a", 1, "x"), ("b", 2, "y")).encode(), events(("a", 3, "y")).encode()
    bad = [line if isinstance(line, bytes) else line.encode() for line, _ in BAD]
    code, answers, err = answered(event_run, good + b"\n".join(bad) + b"\n" + rest, "--key", "key")
    _, expected, _ = answered(event_run, good + b"\n" * len(bad) + rest, "--key", "key", output="clean")
    assert (code, answers) == (0, expected)
    for number, (_, message) in enumerate(BAD, 3):
        (told,) = (line for line in err.splitlines() if f"line {number}: " in line)
        assert message in told
        assert len(told) < 400


def test_a_bad_line_can_end_the_run_and_the_next_run_goes_on_there(event_run, answered, tmp_path):
    options = ("--key", "key", "--on-error", "stop", "--store", "store")
    good, rest = events(("a", 1, "x"), ("b", 2, "y")), events(("a", 3, "y"))
    code, answers, err = answered(event_run, good + "nonsense\n" + rest, *options)
    assert (code, len(answers)) == (2, 2)
    assert "twofold: line 3: it is not JSON" in err
    code, answers, err = answered(event_run, good + rest, *options)  # the line was removed
    assert (code, [answer["line"] for answer in answers]) == (0, [1, 2, 3])
    _, expected, _ = answered(event_run, good + rest, "--key", "key", output="whole")
    assert answers == expected


def test_a_line_whose_answer_is_not_finite_is_a_bad_line(answered):
    inner = SequenceModel(2, 3, width=8, depth=1, dtype="float32", key=jax.random.key(0))
    save("run", Forecaster(inner, variates=1, targets=(0,), horizon=3, patch=2, season=1, memory=9.0))
    ForecastWords(("load",), ("load",), 3, None).write("run")
    _, answers, err = answered("run", '{"load": 1}\n{"load": 3e38}\n{"load": 2}\n')
    _, expected, _ = answered("run", '{"load": 1}\n\n{"load": 2}\n', output="clean")
    assert answers == expected
    assert "line 2: its numbers are so large that the answer is not finite" in err
    code, _, err = answered("run", '{"load": 3e38}\n', "--on-error", "stop", output="stopped")
    assert (code, "line 1: its numbers are so large" in err) == (2, True)


def test_bad_rows_are_named(event_run, answered):
    bad = {
        "a,1": "it has 2 fields, and the header has 3",
        '"a,1,x': "it is not CSV: unexpected end of data",
        "a,one,x": "time is 'one'; it must be a number",
        "a,1_0,x": "time is '1_0'; it must be a number",
        "a,nan,x": "time is nan; it must be a finite number",
        "a,,x": "time is ''; it must be a number",
    }
    text = "\n".join(["\ufeffkey, time,mark", *bad, "7,2,y\n"])
    code, answers, err = answered(event_run, text, "--format", "csv", "--key", "key")
    assert (code, answers[0]["line"], answers[0]["key"]) == (0, len(bad) + 2, "7")
    for number, message in enumerate(bad.values(), 2):
        assert f"line {number}: {message}" in err


def test_a_header_with_a_name_twice_is_refused(event_run, answered):
    code, _, err = answered(event_run, "time,mark,time\n1,x,2\n", "--format", "csv")
    assert (code, "every name must be there once" in err) == (2, True)


@pytest.mark.parametrize("form", ["ndjson", "csv"])
def test_a_finished_input_that_has_grown_is_continued(form, event_run, answered):
    if form == "csv":
        parts = ["key,time,mark\na,1,x\n", "b,2,y\na,3,x\n"]
    else:
        parts = [events(("a", 1, "x")), events(("b", 2, "y"), ("a", 3, "x"))]
    options = ("--key", "key", "--format", form)
    answered(event_run, parts[0], *options, "--store", "store")
    _, answers, _ = answered(event_run, "".join(parts), *options, "--store", "store")
    _, expected, _ = answered(event_run, "".join(parts), *options, output="whole")
    assert answers == expected
    _, again, err = answered(event_run, "".join(parts), *options, "--store", "store")
    assert (again, "0 lines in" in err) == (expected, True)


def test_what_the_store_does_not_know_is_refused(event_run, answered, tmp_path):
    options, text = ("--key", "key", "--store", "store"), events(("a", 1, "x"), ("b", 2, "y"))
    answered(event_run, text, *options)
    for changed, message in (
        (text.replace("1", "2"), "in is not the file that the store has read"),
        (text[:20], "in is not the file that the store has read"),
    ):
        code, _, err = answered(event_run, changed, *options)
        assert (code, message in err) == (2, True)
    (tmp_path / "out").write_text("")
    code, _, err = answered(event_run, text, *options)
    assert (code, "out has 0 bytes, and the store knows of" in err) == (2, True)
    (tmp_path / "other").write_text("7")
    code, answers, err = answered(event_run, text, *options, output="other")
    assert (code, answers, "the answers of this store are in" in err) == (2, [7], True)
    code, answers, err = answered(event_run, text, output="other")
    assert (code, answers, "other has 1 bytes, and the store knows of 0" in err) == (2, [7], True)


def test_settings_and_folders_are_checked(event_run, capfd, tmp_path):
    for arguments, message in (
        (["--every", "0"], "every is 0; it must be at least 1"),
        (["--max-keys", "0"], "max_keys is 0; it must be at least 1"),
        (["--seconds", "nan"], "seconds is nan; it must be a finite number"),
        (["--follow"], "follow is for a file"),
        (["--warm", "3"], "warm is for a store"),
        (["--input", "missing"], "No such file or directory: 'missing'"),
    ):
        assert cli.main(["stream", str(event_run), *arguments]) == 2
        assert message in capfd.readouterr().err
    assert cli.main(["stream", str(tmp_path)]) == 2
    assert "has no words.json" in capfd.readouterr().err


def test_a_store_is_refused_by_a_run_with_other_words_and_warms_a_retrained_one_up(event_run, class_run, answered):
    import shutil

    text = events(*[(key, i, "xy"[i % 2]) for i in range(9) for key in "ab"])
    options = ("--key", "key", "--store", "store")
    answered(event_run, text, *options, "--warm", "4")
    code, _, err = answered(class_run, text, *options)
    assert (code, "the store store has the task events, and the run" in err) == (2, True)
    shutil.copytree(event_run, "retrained")
    leaves, form = jax.tree.flatten(load(event_run))
    save("retrained", jax.tree.unflatten(form, [1.5 * leaf for leaf in leaves]))
    code, _, err = answered("retrained", text, *options)
    assert (code, "has states of another model" in err) == (2, True)
    more = text + events(("a", 9, "x"))
    _, answers, _ = answered("retrained", more, *options, "--warm", "4")
    stream, words = Stream(TimedEvents(load("retrained"))), Words.read("retrained").with_times()
    for i in (5, 6, 7, 8):
        stream.push(words.token({"time": i, "mark": "xy"[i % 2]}))
    record = {"time": 9, "mark": "x"}
    np.testing.assert_allclose(
        answers[-1]["gap"], words.answer(stream.push(words.token(record)), record)["gap"], rtol=1e-4
    )


def test_the_store_can_be_read_by_any_program(event_run, answered):
    answered(event_run, events(("a", 1, "x"), (5, 2, "y")), "--key", "key", "--store", "store")
    with sqlite3.connect("store") as base:
        assert [key for (key,) in base.execute("SELECT key FROM states ORDER BY key")] == ['"a"', "5"]
        (inputs,) = base.execute("SELECT value FROM notes WHERE name = 'inputs'").fetchone()
    base.close()
    assert json.loads(inputs)[os.path.realpath("in")]["lines"] == 2


def test_lines_of_a_pipe_are_answered_at_once(class_run):
    """The next line is written only after the answer has come."""
    command = [sys.executable, "-m", "twofold", "stream", str(class_run)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        for i in range(3):
            process.stdin.write(b'{"a": 1, "b": 2}\n')
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["line"] == i + 1
        process.stdin.close()
        assert process.wait() == 0
        assert b"3 lines in" in process.stderr.read()


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_lines_are_whole_whatever_is_read_at_once(size, tmp_path, monkeypatch):
    monkeypatch.setattr("twofold.deploy.lines.CHUNK", size)
    (tmp_path / "in").write_bytes(b"\xef\xbb\xbfone\r\n\n" + b"x" * 50 + b"\nlast")
    file = os.open(tmp_path / "in", os.O_RDONLY)
    lines, found = Lines(file, longest=10), []
    while not lines.ended:
        found += lines.read(0.0)
    os.close(file)
    assert [line.text for line in found] == [b"one", b"", None, b"last"]
    assert [line.end for line in found] == [8, 9, 60, 64]


def test_a_long_line_takes_no_memory(tmp_path):
    lines = tmp_path / "in"
    with lines.open("wb") as opened:
        for _ in range(100):
            opened.write(b"." * 1_000_000)
        opened.write(b"\nnext\n")
    file, largest = os.open(lines, os.O_RDONLY), 0
    reader, found = Lines(file), []
    while not reader.ended:
        found += reader.read(0.0)
        largest = max(largest, len(reader._rest))
    os.close(file)
    assert [line.text for line in found] == [None, b"next"]
    assert largest <= 1 << 20


def mutated(rng, line):
    """A line with some bytes changed, removed, doubled, or put in."""
    data = bytearray(line)
    for _ in range(rng.integers(1, 6)):
        at, kind = int(rng.integers(0, len(data) + 1)), rng.integers(0, 5)
        piece = bytes(data[at : at + int(rng.integers(1, 9))])
        if kind == 0:
            data[at : at + 1] = rng.bytes(1)
        elif kind == 1:
            del data[at : at + len(piece)]
        elif kind == 2:
            data[at:at] = piece * int(rng.integers(1, 4))
        elif kind == 3:
            data[at:at] = rng.choice(
                [b"1e308", b"-", b"null", b"NaN", b'"', b"[", b"{", b"\\ud800", b"\x00", b"9" * 50]
            )
        else:
            data[at:at] = rng.bytes(int(rng.integers(1, 4)))
    return bytes(data)


def fuzzed(event_run, tmp_path, capfd, count):
    """The answers to one key among so many lines that were changed at random, and without them."""
    rng, results = np.random.default_rng(0), []
    good = [events(("watched", i * 1.5, "xy"[i % 2])).encode() for i in range(50)]
    other = [events((key, i / 3, "xy"[i % 2])).encode()[:-1] for i in range(20) for key in ("a", 5, "ü")]
    noise = [mutated(rng, other[i % len(other)]) for i in range(count)]
    for number, lines in enumerate((noise, [])):
        at = np.sort(rng.integers(0, len(lines) + 1, len(good)))
        with (tmp_path / "in").open("wb") as opened:
            start = 0
            for stop, line in zip(at, good, strict=True):
                opened.write(b"\n".join([*lines[start:stop], line]))
                start = stop
            opened.write(b"\n".join(lines[start:]))
        output = tmp_path / f"out {number}"
        assert cli.main(["stream", str(event_run), "--input", "in", "--output", str(output), "--key", "key"]) == 0
        capfd.readouterr()
        answers = [json.loads(line) for line in output.read_text().splitlines()]
        results.append([answer | {"line": 0} for answer in answers if answer["key"] == "watched"])
        if lines:
            assert len(answers) > len(good) + count / 100  # some of the changed lines are good ones
    return results


def test_changed_lines_crash_nothing_and_change_no_other_key(event_run, tmp_path, capfd):
    noisy, clean = fuzzed(event_run, tmp_path, capfd, 5_000)
    assert noisy == clean
    assert len(clean) == 50


@pytest.mark.long
def test_a_million_changed_lines_crash_nothing(event_run, tmp_path, capfd):
    noisy, clean = fuzzed(event_run, tmp_path, capfd, 1_000_000)
    assert noisy == clean


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def service(event_run):
    return Service(Settings(event_run, key="key"), Store(), lambda sentence: None)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.fixed_dictionaries(
        {}, optional={"key": JSON, "time": JSON, "mark": JSON | st.sampled_from(["x", "y"]), "more": JSON}
    ),
    st.binary(max_size=30),
)
def test_any_record_and_any_bytes_are_answered_or_refused(service, record, data):
    from twofold.deploy.lines import Line
    from twofold.deploy.records import csv_records, json_record

    def read(line, record_of):
        before = service.stream.snapshot(["watched"])
        answers, done, error = service.answer([Line(1, 0, line)], record_of)
        assert (done, error) == (1, None)
        assert service.stream.snapshot(["watched"]) == before
        for answer in answers.splitlines():
            json.loads(answer, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))

    service.answer([Line(1, 0, b'{"key": "watched", "time": 1, "mark": "x"}')], json_record)
    read(json.dumps(record).encode(), json_record)
    read(data, json_record)
    read(data, csv_records("key,time,mark", ("time",)))


def test_a_header_of_any_text_is_read_or_refused():
    from twofold.deploy.records import csv_records

    for text in ("", '"', "a,a", "a\x00b", "a\rb"):
        try:
            csv_records(text, ())
        except InputError:
            continue
