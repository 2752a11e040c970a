"""A step of training on a long sequence is measured in a process of its own, kept, written and drawn."""

import json
import sys

import pytest
from rich.console import Console

from twofold import InputError
from twofold.papers.attention_as_rnn import long, own_process, training_cost
from twofold.papers.attention_as_rnn.comparison import AAREN, TRANSFORMER
from twofold.papers.attention_as_rnn.training_cost import Job, StepCost

COST = StepCost(sequence_bytes=10, before_bytes=2**20, peak_bytes=3 * 2**20, seconds=1.5)


@pytest.fixture
def jobs(monkeypatch):
    """The jobs that were run. The Transformer is slow, and cannot take 16 tokens; whole sequences of 64 do not fit."""
    run = []

    def cost(job):
        run.append(job)
        if job.mixer == TRANSFORMER:
            return COST._replace(seconds=2 * long.PATIENCE)._asdict()
        return None if job.tokens == 64 and job.chunk is None else COST._asdict()

    monkeypatch.setattr(long, "_run", cost)
    return run


def test_costs_are_measured_once_written_drawn_and_printed(tmp_path, jobs, pictures, lines_of, capsys):
    out = tmp_path / "run"
    costs = long.reproduce(lengths=(16, 64), chunk=8, out=out, progress=False)
    assert [(job.mixer, job.chunk, job.tokens) for job in jobs] == [
        (AAREN, 8, 16),
        (AAREN, 8, 64),
        (AAREN, None, 16),
        (AAREN, None, 64),
        (TRANSFORMER, None, 16),
    ]
    assert [list(column) for column in costs.values()] == [[16, 64], [16], [16]]
    written = json.loads((out / "long.json").read_text())["models"]
    assert [one["increase_bytes"] for one in written["Aaren, 8 tokens at a time"]] == [2 * 2**20] * 2
    memory, seconds = (lines_of(ax) for ax in pictures["long.png"].axes)
    assert memory["Aaren, 8 tokens at a time"] == ([16, 64], [2.0, 2.0])
    assert seconds["Aaren, whole"] == ([16], [1.5])
    Console(width=160).print(long.table(costs))
    printed = capsys.readouterr().out
    assert "2 MiB; 1.50 s" in printed
    assert "not measured" in printed
    long.reproduce(lengths=(16, 64), chunk=8, out=out, progress=False)
    assert len(jobs) == 5


def test_a_step_is_measured(monkeypatch):
    cost = training_cost.measured(Job(AAREN, 64, 16))
    assert cost.sequence_bytes == 64 * 8 * 4
    assert 0 < cost.before_bytes <= cost.peak_bytes
    assert cost.seconds > 0


def test_a_process_that_fails_says_why():
    with pytest.raises(InputError, match=r"no such mixer could not be measured \(exit code 1\)"):
        long._run(Job("no such mixer", 16, None))


def test_a_process_without_memory_measures_nothing(monkeypatch):
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    run = own_process.subprocess.run
    monkeypatch.setattr(own_process.subprocess, "run", lambda _, **how: run([sys.executable, "-c", killed], **how))
    assert long._run(Job(AAREN, 16, None)) is None


def test_sizes_are_checked(tmp_path):
    with pytest.raises(InputError, match="chunk is 0"):
        long.reproduce(chunk=0, out=tmp_path)
