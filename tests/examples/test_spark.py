"""Real Spark is stopped in the middle of the flights, goes on from its checkpoint, and answers exactly."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from twofold.deploy import KeyedStream
from twofold.deploy.finished_run import read_run

EXAMPLE = Path(__file__).parents[2] / "examples" / "spark.py"

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    """What examples/spark.py printed, and its folder. It is real Spark, in a process of its own."""
    pytest.importorskip("pyspark", reason="pyspark is not installed: a trained run in real Spark is NOT TESTED")
    if shutil.which("java") is None:
        pytest.skip("Java is not installed: a trained run in real Spark is NOT TESTED")
    folder = tmp_path_factory.mktemp("example") / "flights"
    command = [sys.executable, str(EXAMPLE), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-5000:]
    return done.stdout, folder


def answers_of(file):
    """The answers in a file of the example, by the keys and the order of the flights."""
    rows = json.loads(file.read_text())
    found = {tuple(row[name] for name in ("airport", "time", "flight", "mark")): row for row in rows}
    assert len(found) == len(rows)
    return found


def test_spark_that_is_stopped_in_the_middle_goes_on_exactly(example):
    """Each flight has one answer, and it is that of the run, read from its folder by another process than Spark's."""
    printed, folder = example
    stopped, total = (int(number.replace(",", "")) for number in re.findall(r"([\d,]+)", printed.splitlines()[0]))
    assert 0 < stopped < total
    arrived = [
        json.loads(line) for file in sorted((folder / "arriving").iterdir()) for line in file.read_text().splitlines()
    ]
    streamed = answers_of(folder / "streamed.json")
    assert len(streamed) == len(arrived) == total
    words, model = read_run(folder / "run")
    known = [row for row in arrived if row["mark"] in words.marks]
    ys = KeyedStream(model).push([row["airport"] for row in known], np.array([words.token(row) for row in known]))
    for row, answer in zip(known, words.answers(ys, known), strict=True):
        found = streamed.pop((row["airport"], row["time"], row["flight"], row["mark"]))
        assert found["error"] is None
        assert json.loads(found["answer"])["gap"] == pytest.approx(answer["gap"], rel=1e-4)
    assert all(
        row["answer"] is None and "the training data have the marks" in row["error"] for row in streamed.values()
    )


def test_a_batch_of_whole_histories_has_the_answers_of_the_stream(example):
    _, folder = example
    streamed, batch = (answers_of(folder / name) for name in ("streamed.json", "batch.json"))
    assert streamed.keys() == batch.keys()
    for place, row in streamed.items():
        assert batch[place]["error"] == row["error"]
        if row["answer"] is not None:
            gaps = [json.loads(found["answer"])["gap"] for found in (row, batch[place])]
            assert gaps[1] == pytest.approx(gaps[0], rel=1e-4)
