"""Events read from any form of file are the ones that were written; a file that cannot be used is refused with a reason."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from twofold import InputError
from twofold.data.event_files import load_events

SEQUENCE = st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 2)), min_size=2, max_size=6)
SEQUENCES = st.lists(SEQUENCE, min_size=3, max_size=6)  # of (time since the event before, mark)


def as_csv(sequences):
    rows = [(i, time, mark) for i, events in enumerate(sequences) for time, mark in with_times(events)]
    return "sequence,time,mark\n" + "".join(f"{i},{time},{mark}\n" for i, time, mark in rows)


def with_times(events):
    return list(zip(np.cumsum([elapsed for elapsed, _ in events]).tolist(), [mark for _, mark in events], strict=True))


def records(sequences, of_times="time_since_start"):
    for events in sequences:
        times = [time for time, _ in with_times(events)] if of_times == "time_since_start" else [x for x, _ in events]
        marks = [mark for _, mark in events]
        yield {"dim_process": 3, "seq_len": len(marks), of_times: times, "type_event": marks}


WRITTEN = {
    "csv": as_csv,
    "json": lambda sequences: json.dumps(list(records(sequences))),
    "jsonl": lambda sequences: "\n".join(map(json.dumps, records(sequences, "time_since_last_event"))),
}


def unpadded(part):
    """The sequences as they were written, with the names of the marks as numbers."""
    return [(times[:n].tolist(), marks[:n].tolist()) for times, marks, n in zip(*part, strict=True)]


def parts(data):
    return data.train, data.validation, data.test


@pytest.mark.parametrize("ending", WRITTEN)
@given(sequences=SEQUENCES)
def test_a_file_is_split_and_nothing_is_lost(tmp_path_factory, ending, sequences):
    file = tmp_path_factory.mktemp("events") / f"some.{ending}"
    file.write_text(WRITTEN[ending](sequences))
    data = load_events(file)
    number = [int(mark) for mark in data.marks]
    read = [(times, [number[m] for m in marks]) for part in parts(data) for times, marks in unpadded(part)]
    assert sorted(read) == sorted(tuple(map(list, zip(*with_times(events), strict=True))) for events in sequences)
    assert data.name == "some"
    assert data.left_out == 0


@given(sequences=SEQUENCES)
def test_padding_takes_no_time_and_is_not_scored(tmp_path_factory, sequences):
    file = tmp_path_factory.mktemp("events") / "some.csv"
    file.write_text(as_csv(sequences))
    for part in parts(load_events(file)):
        assert np.all((part.elapsed[:, 1:] > 0) == part.scored)
        assert np.all(part.elapsed[:, 0] == 0)
        assert np.all(part.scored.sum(1) == part.lengths - 1)


@pytest.fixture
def write(tmp_path):
    """`write("train.csv", text)` writes the file, and returns its path."""

    def write(name, text):
        file = tmp_path / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        return file

    return write


def write_pair(folder, name, sequences):
    """A file of marks and a file of times, with a line for each sequence."""
    for stem, column in (("time", 0), ("event", 1)):
        lines = [" ".join(str(event[column]) for event in with_times(events)) for events in sequences]
        (folder / f"{stem}-{name}.txt").write_text("\n".join(lines) + "\n")


@given(sequences=SEQUENCES)
def test_the_last_folds_of_a_folder_are_for_the_test_and_for_validation(tmp_path_factory, sequences):
    """The training part is all others, in the order of their numbers: 10 is after 9."""
    folder = tmp_path_factory.mktemp("folds")
    for number, fold in {"8": sequences[:1], "9": sequences[1:], "10": sequences, "11": sequences[:2]}.items():
        write_pair(folder, number, fold)
    every_mark = [(1, mark) for mark in range(3)]
    write_pair(folder, "7", [every_mark])
    data = load_events(folder)
    assert data.marks == ("0", "1", "2")
    as_read = [tuple(map(list, zip(*with_times(events), strict=True))) for events in [every_mark, *sequences]]
    assert [unpadded(part) for part in parts(data)] == [as_read, as_read[1:], as_read[1:3]]


def test_pairs_of_files_may_have_the_names_of_parts_or_stand_alone(tmp_path):
    for name in ("train", "dev", "test"):
        write_pair(tmp_path, name, [[(2, 5), (1, 6)]] * 3)
    assert [unpadded(part) for part in parts(load_events(tmp_path))] == [[([2, 3], [0, 1])] * 3] * 3
    assert [unpadded(part) for part in parts(load_events(tmp_path / "event-dev.txt"))] == [[([2, 3], [0, 1])]] * 3


@pytest.mark.parametrize(
    ("marks", "times", "message"),
    [
        ("1 2\n1 2\n", "1 2\n", "event-a.txt has 2 lines, and .*time-a.txt has 1; each sequence has a line in both"),
        ("1 2\n1 2\n", "1 2\n1\n", "line 2 of .*event-a.txt has 2 marks, and of .*time-a.txt 1 times"),
        ("1 2\n1 2\n", "1 2\n1 x\n", "event 2 of line 2 of .*time-a.txt: the time is 'x'"),
        ("1 2\n1 2\n", "1 2\n2 1\n", "event 2 of line 2 of .*time-a.txt: the time 1.0 is before 2.0"),
        ("1 2\n1 2\n", "1 2\n1 1\n", "event 2 of line 2 of .*time-a.txt: the time 1.0 is also .* --jitter"),
        ("1 2\n\n1\n", "1 2\n\n1\n", "there are 1 sequences of two or more events"),
        ("1\n", "1\n", "event-a.txt has no sequence of two or more events"),
        ("1\n", "\n", "time-a.txt is empty"),
        ("1 2\n01 2\n", "1 2\n1 2\n", "event-a.txt has the marks '01' and '1', which are one number"),
    ],
)
def test_a_pair_that_cannot_be_used_is_refused(write, marks, times, message):
    write("time-a.txt", times)
    with pytest.raises(InputError, match=message):
        load_events(write("event-a.txt", marks))


def test_two_folds_are_not_enough(tmp_path):
    for number in "12":
        write_pair(tmp_path, number, [[(1, 0), (1, 0)]])
    with pytest.raises(InputError, match=r"has 2 folds event-NUMBER.txt; three parts need at least 3"):
        load_events(tmp_path)


HEADER = "sequence,time,mark\n"
GOOD = HEADER + "".join(f"{s},0,x\n{s},{s}.5,y\n" for s in "123")


@pytest.mark.parametrize("validation", ["dev", "validation"])
def test_a_folder_has_its_own_parts(write, tmp_path, validation):
    write("train.csv", HEADER + "a,0,x\na,1,y\nb,0,y\nb,2.5,x\n")
    write(f"{validation}.jsonl", json.dumps({"time_since_start": [0, 3], "type_event": ["x", "x"]}))
    write("test.csv", HEADER + "a,7,y\na,9,y\n")
    data = load_events(tmp_path)
    assert data.marks == ("x", "y")
    assert [unpadded(part) for part in parts(data)] == [
        [([0, 1], [0, 1]), ([0, 2.5], [1, 0])],
        [([0, 3], [0, 0])],
        [([7, 9], [1, 1])],
    ]


def test_sequences_without_anything_to_predict_are_counted(write):
    data = load_events(write("some.csv", GOOD + "4,1,z\n5,1,x\n"))
    assert data.left_out == 2
    assert sum(len(part.lengths) for part in parts(data)) == 3


def test_the_events_of_sequences_may_take_turns(write):
    mixed = "".join(f"{s},{time},x\n" for time in (0, 1, 2) for s in "abc")
    assert [unpadded(part) for part in parts(load_events(write("some.csv", HEADER + mixed)))] == 3 * [
        [([0, 1, 2], [0, 0, 0])]
    ]


def test_marks_may_be_long_numbers_and_names_that_floats_know(write):
    names = ["12345678901234567", "12345678901234568", "inf", "infinity", "nan", "snan"]
    events = "".join(f"{s},{time},{mark}\n" for s in "abc" for time, mark in enumerate(names))
    assert set(load_events(write("some.csv", HEADER + events)).marks) == set(names)


def test_jitter_tells_equal_times_apart(write):
    file = write("some.csv", HEADER + "".join(f"{s},{time},{time}\n" for s in "abcd" for time in (0, 0, 1, 1, 1, 3)))
    data = load_events(file, jitter=1.0)
    for part in parts(data):
        assert np.all(np.floor(part.times) == part.marks + (part.marks == 2))  # mark 2 is the third name, "3"
        assert np.all(np.diff(part.times) > 0)
    again = load_events(file, jitter=1.0)
    assert all(np.array_equal(a.times, b.times) for a, b in zip(parts(data), parts(again), strict=True))
    with pytest.raises(InputError, match="jitter is 1e-300, too little"):
        load_events(file, jitter=1e-300)


@pytest.mark.parametrize("jitter", [-1.0, float("nan"), float("inf")])
def test_jitter_must_be_a_finite_number_from_0(write, jitter):
    with pytest.raises(InputError, match=f"jitter is {jitter}; it must be a finite number, 0 or more"):
        load_events(write("some.csv", GOOD), jitter=jitter)


def record(**changes):
    return json.dumps({"time_since_start": [0, 1], "type_event": [0, 1], "dim_process": 2, "seq_len": 2} | changes)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "a.csv is empty"),
        ("a.csv", " \n", "a.csv is empty"),
        ("a.csv", HEADER, "a.csv has no events"),
        ("a.csv", b"\xff\xfe\x00", "not a readable text file"),
        ("a.dat", GOOD, "ends in '.dat'; files of events end in .csv, .json, .jsonl, .txt"),
        ("a.txt", "1 2\n", "a.txt must have a name that begins with event-; the file with its times begins with time-"),
        ("event-a.txt", "1 2\n", "time-a.txt is not a readable text file: .*No such file"),
        ("a.csv", "sequence,when,mark\na,0,x\n", "line 1 of .*a.csv lacks the column 'time'"),
        ("a.csv", GOOD + "4,0\n", "line 8 of .*a.csv has 2 fields"),
        ("a.csv", GOOD + "4,noon,x\n", "line 8 of .*a.csv: the time is 'noon'"),
        ("a.csv", GOOD + "4,0,x\n4,nan,x\n", "line 9 of .*a.csv: the time is nan"),
        ("a.csv", GOOD + "4,inf,x\n", "line 8 of .*a.csv: the time is inf"),
        ("a.csv", GOOD + "4,-1,x\n", "line 8 of .*a.csv: the time is -1.0; it must be a finite number, not negative"),
        ("a.csv", GOOD + "4,0,\n", "line 8 of .*a.csv has no mark"),
        ("a.csv", GOOD + "4,2,x\n\n4,1,x\n", "line 10 of .*a.csv: the time 1.0 is before 2.0"),
        ("a.csv", GOOD + "4,2,x\n4,2,y\n", "line 9 of .*a.csv: the time 2.0 is also the time .* --jitter"),
        ("a.csv", HEADER + "a,0,x\nb,0,x\n", "no sequence of two or more events"),
        (
            "a.csv",
            HEADER + "a,0,x\na,1,x\n",
            "there are 1 sequences of two or more events; three parts need at least 3",
        ),
        ("a.csv", GOOD + f"4,0,{'x' * 200_000}\n", "line 8 of .*a.csv is not CSV: field larger"),
        ("a.csv", GOOD + '4,0,"x\n4,1,y\n', "line 9 of .*a.csv is not CSV: unexpected end"),
        ("a.csv", GOOD + "4,1_0,x\n", "line 8 of .*a.csv: the time is '1_0'"),
        (
            "a.csv",
            GOOD + "4,0,x\n4,1e39,x\n",
            "line 9 of .*a.csv: the time is 1e[+]39; float32 holds 3.4e[+]38 at most",
        ),
        ("a.csv", GOOD + "4,0,x\n4,1e-60,x\n", "line 9 of .*a.csv: .* 1e-60 after the event before; float32 holds"),
        (
            "a.csv",
            GOOD + "4,0,1\n4,1,01\n",
            "a.csv has the marks '01' and '1', which are one number; write it in one way",
        ),
        ("a.csv", GOOD + "4,0,1\n4,1,1.0\n", "a.csv has the marks '1' and '1.0'"),
        ("a.json", "[" * 100_000, "a.json cannot be read as JSON"),
        ("a.jsonl", record() + '\n{"a": ' + "9" * 5000 + "}", "line 2 of .*a.jsonl cannot be read as JSON"),
        (
            "a.json",
            record(time_since_start=[0, 10**400]),
            "event 2 of line 1 of .*: the time is 10{39}[.]{3}; it must be",
        ),
        ("a.json", record(time_since_start=[0, True]), "event 2 of line 1 of .*a.json: the time is True"),
        ("a.json", record(type_event=[0, None]), "event 2 of line 1 of .*a.json: the mark is None"),
        ("a.json", record(type_event=[0, [1]]), "event 2 of line 1 of .*a.json: the mark is .1."),
        (
            "a.json",
            record(dim_process=10**8),
            "dim_process 100000000; it must be the number of marks, at most 1,000,000",
        ),
        ("a.json", "[]", "a.json has no events"),
        ("a.json", '[{"a": 1},\n]', "line 2 of .*a.json is not JSON"),
        ("a.json", "[3]", "record 1 of .*a.json is no record"),
        ("a.jsonl", record() + "\n{", "line 2 of .*a.jsonl is not JSON"),
        ("a.json", f"[{record()}, {record(type_event=None)}]", "record 2 of .*a.json lacks the list type_event"),
        ("a.json", '{"type_event": []}', "line 1 of .*a.json lacks the list time_since_start or time_since_last_event"),
        ("a.json", record(seq_len=3), "line 1 of .*a.json has 2 times, 2 marks and seq_len 3"),
        ("a.json", record(dim_process="a"), "line 1 of .*a.json has dim_process 'a'"),
        ("a.json", record(type_event=[0, 2]), "event 2 of line 1 of .*: the mark is 2; dim_process 2 allows 0 to 1"),
        ("a.json", record(time_since_start=[0, None]), "event 2 of line 1 of .*a.json: the time is None"),
        ("a.json", record(time_since_start=[1, 0]), "event 2 of line 1 of .*a.json: the time 0.0 is before 1.0"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(write, name, text, message):
    with pytest.raises(InputError, match=message):
        load_events(write(name, text))


@pytest.mark.parametrize(
    ("elapsed", "agree"),
    [
        ([0, 1, 2.001], True),
        ([5, 1, 2], True),
        ([0, 1, 3], False),
        ([0, None, 2], False),
        ([0, 1], False),
        ([0, 2], False),
        (7, False),
    ],
)
def test_two_lists_of_times_that_disagree_are_told_of(elapsed, agree, write, caplog):
    times = {"time_since_start": [0, 1, 3], "time_since_last_event": elapsed, "type_event": [0, 1, 0], "seq_len": 3}
    data = load_events(write("a.json", "\n".join([record(), record(**times), record()])))
    assert sorted(unpadded(part)[0][0] for part in parts(data)) == [[0, 1], [0, 1], [0, 1, 3]]
    told = "time_since_last_event is not the difference of time_since_start in line 2 of"
    assert (told in caplog.text and "and 1 records in all" in caplog.text) == (not agree)


def test_a_mark_that_is_not_in_the_training_part_is_refused(write, tmp_path):
    for part in ("train", "dev"):
        write(f"{part}.csv", GOOD)
    write("test.csv", HEADER + "a,0,x\na,1,z\n")
    with pytest.raises(InputError, match=r"line 3 of .*test.csv: the mark 'z' does not occur .* its marks are x, y"):
        load_events(tmp_path)


def test_a_part_that_is_missing_or_there_twice_is_refused(write, tmp_path):
    write("train.csv", GOOD)
    write("test.csv", GOOD)
    with pytest.raises(InputError, match=r"has 0 files of the validation part; .* dev or validation or val"):
        load_events(tmp_path)
    write("dev.csv", GOOD)
    write("val.csv", GOOD)
    with pytest.raises(InputError, match="has 2 files of the validation part"):
        load_events(tmp_path)
