"""A process that is killed at any moment, and started again, leaves the answers of one that was not."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

KEYS = 40


@pytest.fixture(scope="module")
def start(event_run, tmp_path_factory):
    """`start(*arguments, **options)`: the real command, in a process of its own that keeps its compiled programs."""
    cache = tmp_path_factory.mktemp("cache")
    environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "true", "XDG_CACHE_HOME": str(cache)}

    def begin(*arguments, **options):
        command = [sys.executable, "-m", "twofold", "stream", event_run, "--key", "key", *arguments]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE} | options
        return subprocess.Popen(list(map(str, command)), env=environment, **pipes)

    return begin


def written(file, lines):
    """Events of many keys; every hundredth line is bad."""
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.exponential(size=lines)).tolist()
    with file.open("w") as opened:
        for i, (time_, key, mark) in enumerate(
            zip(times, rng.integers(0, KEYS, lines), rng.integers(0, 2, lines), strict=True)
        ):
            record = {"key": f"k{key}", "time": time_, "mark": "xy"[mark]}
            opened.write("nonsense\n" if i % 100 == 99 else json.dumps(record) + "\n")
    return file


def size_of(file):
    return file.stat().st_size if file.exists() else 0


def killed_until_done(begin, output, kills, whole):
    """Kill the process so many times, each at a random moment after its start or after its answers grow. Then let it end."""
    rng, done = np.random.default_rng(1), 0
    while done < kills:
        process, before = begin(), size_of(output)
        if rng.random() < 0.9:  # the others are killed while they start
            grown = before + rng.integers(1, max(2, whole // kills))
            while process.poll() is None and size_of(output) < min(grown, whole):
                time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        if process.poll() is not None:
            return done
        process.kill()
        process.communicate()
        done += 1
    process = begin()
    _, err = process.communicate()
    assert process.returncode == 0, err
    return done


def check_kills(start, tmp_path, lines, kills):
    source, whole, output = written(tmp_path / "in.ndjson", lines), tmp_path / "whole", tmp_path / "out"
    process = start("--input", source, "--output", whole)
    _, err = process.communicate()
    assert process.returncode == 0, err
    options = ("--input", source, "--output", output, "--store", tmp_path / "store", "--every", 500, "--max-keys", 16)
    done = killed_until_done(lambda: start(*options), output, kills, size_of(whole))
    assert output.read_bytes() == whole.read_bytes()
    numbers = [json.loads(line)["line"] for line in output.read_text().splitlines()]
    assert numbers == [i + 1 for i in range(lines) if i % 100 != 99]
    return done


def test_some_kills_lose_and_repeat_nothing(start, tmp_path):
    assert check_kills(start, tmp_path, 25_000, 2) == 2


@pytest.mark.long
def test_a_hundred_kills_lose_and_repeat_nothing(start, tmp_path):
    assert check_kills(start, tmp_path, 500_000, 100) == 100


def answers_until(process, last):
    """The lines that a process writes to its pipe, by their numbers, up to the line `last`."""
    found = {}
    while last not in found:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        found[json.loads(line)["line"]] = line
    return found


def test_to_a_pipe_answers_since_the_last_commit_come_again_with_their_numbers(start, tmp_path):
    """And after SIGTERM or Ctrl-C, nothing comes again: they commit first. A file that is followed may grow."""
    source = written(tmp_path / "in.ndjson", 5_000)
    options = ("--input", source, "--follow", "--store", tmp_path / "store", "--seconds", 1000)
    seen = []
    for end, code, last in ((signal.SIGKILL, -9, 4999), (signal.SIGTERM, 143, 4999), (signal.SIGINT, 130, 5001)):
        if last == 5001:
            with source.open("a") as opened:
                opened.write('{"key": "k1", "time": 1e6, "mark": "x"}\n')
        with start(*options, stdout=subprocess.PIPE) as process:
            seen.append(answers_until(process, last))
            process.send_signal(end)
            assert process.wait() == code, process.stderr.read()
    assert seen[0] == seen[1]
    assert list(seen[0]) == [i + 1 for i in range(5_000) if i % 100 != 99]
    assert list(seen[2]) == [5001]
