"""Valid files are changed at random. Whatever reads them returns data or raises `InputError`, and what has a checksum is never
read as something else. Training is killed at random, and its results stay the same to the bit.

`pytest -n 0 -s tests/test_mutations.py` prints the table; with `-m long` it is that of many more changes.
"""

import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from twofold import InputError, Stream
from twofold.data import load_events, load_labelled
from twofold.data.series import read_csv
from twofold.layers import GatedRNN
from twofold.train import described_run, fit, kept, open_run

# --- changes ---------------------------------------------------------------------------------------------------------------


def flipped(content, rng):
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]


def cut(content, rng):
    start, end = _places(content, rng)
    return content[:start] + content[end:]


def inserted(content, rng):
    new = rng.choice(
        [b"\0", b"\xff", b"\n", b",", b"-", b'"', b"null", b"nan", b"1e400", b"9" * 400, b"[" * 5000, b"{}"]
    )
    place = rng.randrange(len(content) + 1)
    return content[:place] + new + content[place:]


def swapped(content, rng):
    start, end = _places(content, rng)
    middle = (start + end) // 2
    return content[:start] + content[middle:end] + content[start:middle] + content[end:]


def repeated(content, rng):
    start, end = _places(content, rng)
    return content[:end] + content[start:end] + content[end:]


def _places(content, rng):
    """A stretch of the content: a few bytes, or up to all."""
    start = rng.randrange(len(content))
    return start, min(len(content), start + rng.choice([1, 2, 8, 50, len(content)]))


CHANGES = [flipped, cut, inserted, swapped, repeated]


def mutated(content, rng):
    """The content after one change or two. It may be the same."""
    for _ in range(rng.choice([1, 1, 2])):
        content = rng.choice(CHANGES)(content or b"\0", rng)
    return content


def outcome(read, path):
    """What is read, and why it was refused if it was. Any other error leaves, and the test fails."""
    try:
        return read(path), None
    except InputError as error:
        return None, str(error)


def print_row(*cells):
    print("\n" + "".join(f"{cell:<26}" for cell in cells), end="")


# --- readers of data -------------------------------------------------------------------------------------------------------

EVENTS = [([0.5, 1, 2.25, 7], [0, 1, 0, 1]), ([0, 3], [1, 1]), ([1, 2, 3.5], [0, 0, 1]), ([4, 5, 6], [1, 0, 1])]
RECORDS = [{"time_since_start": t, "type_event": m, "dim_process": 2, "seq_len": len(t)} for t, m in EVENTS]
HEADER = "@problemName Toy\n@missing false\n@univariate false\n@dimensions 2\n@equalLength false\n@classLabel true a b\n@data\n"
CASES = "1,2,3:4,5,6:a\n1.5,2:3,4e-3:b\n-1,2,3:4,5,6:a\n"

READERS = {
    "series.csv": (
        "date,load,price\n" + "".join(f"2024-01-01 {hour:02}:00:00,{hour}.5,{-hour}e-2\n" for hour in range(24)),
        read_csv,
    ),
    "events.csv": (
        "sequence,time,mark\n"
        + "".join(f"{i},{t},{m}\n" for i, row in enumerate(EVENTS) for t, m in zip(*row, strict=True)),
        load_events,
    ),
    "events.json": (json.dumps(RECORDS), load_events),
    "events.jsonl": ("\n".join(map(json.dumps, RECORDS)), load_events),
    "Toy_TRAIN.ts": (HEADER + CASES, lambda file: load_labelled(str(file))),
}
"""Valid files, and what reads them."""


def mutate_readers(name, number, folder):
    text, read = READERS[name]
    file, rng = folder / name, random.Random(name)
    if name.endswith(".ts"):
        (folder / "Toy_TEST.ts").write_text(text)
    file.write_text(text)
    read(file)
    refused = 0
    for _ in range(number):
        file.write_bytes(mutated(text.encode(), rng))
        _, refusal = outcome(read, file)
        refused += refusal is not None
        assert refusal is None or name in refusal or "there are" in refusal
    print_row(name, f"{number} changes", f"{refused} refused", f"{number - refused} read")
    assert 0 < refused < number


@pytest.mark.parametrize("name", READERS)
def test_a_reader_returns_data_or_says_what_is_wrong(name, tmp_path):
    mutate_readers(name, 200, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", READERS)
def test_readers_at_length(name, tmp_path):
    mutate_readers(name, 1800, tmp_path)


# --- what twofold itself writes --------------------------------------------------------------------------------------------


def same_stream(folder):
    stream = Stream.load(folder)
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves((stream.model, stream._now[0][0][0], stream.tokens))]


def make_stream(folder):
    stream = Stream(GatedRNN(2, 2, hidden_size=3, key=jax.random.key(0)))
    stream.push([1.0, 2.0])
    stream.save(folder)


def make_run(folder):
    with open_run(folder, {"task": "events", "width": 8, "learning_rate": 1e-3, "csv": None}):
        pass


def read_run(folder):
    described_run(folder)  # Changes in white space leave it as it is.
    make_run(folder)


def keep(folder):
    return kept(folder / "kept.json", {"seed": 0}, lambda: {"losses": [1.5, 0.25], "name": "ä"})


def train(folder):
    """The results of a run whose last two states are saved."""
    trained = fit(
        lambda model, target, key: jnp.sum(
            (model - target - 0.1 * jax.random.normal(key, model.shape, model.dtype)) ** 2
        ),
        jnp.arange(6, dtype=jnp.float32).reshape(2, 3),
        jnp.ones((2, 3), jnp.float32),
        optimiser=optax.adam(0.1),
        steps=6,
        records=3,
        key=jax.random.key(0),
        checkpoint=folder / "checkpoint",
        checkpoint_seconds=0.0,
        log=folder / "metrics.jsonl",
        progress=False,
    )
    losses = [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return np.asarray(trained.models).tobytes(), trained.losses.tolist(), losses


FILES = {
    "a model": ("*.safetensors", make_stream, same_stream),
    "config.json": ("config.json", make_stream, same_stream),
    "run.json": ("run.json", make_run, read_run),
    "a kept result": ("kept.json", keep, keep),
    "a checkpoint": ("checkpoint/checkpoint-*", train, train),
    "metrics.jsonl": ("metrics.jsonl", train, train),
}
"""Which files are changed, what writes them, and what reads them."""
MADE_AGAIN = {"a kept result", "a checkpoint", "metrics.jsonl"}
"""These are never refused, as long as one checkpoint is whole."""


def mutate_files(name, number, folder):
    pattern, make, read = FILES[name]
    rng, refused = random.Random(name), 0
    make(folder / "whole")
    shutil.copytree(folder / "whole", folder / "unchanged")
    expected = read(folder / "unchanged")
    for i in range(number):
        copy = shutil.copytree(folder / "whole", folder / str(i))
        file = rng.choice(sorted(copy.glob(pattern)))
        file.write_bytes(mutated(file.read_bytes(), rng))
        result, refusal = outcome(read, copy)
        refused += refusal is not None
        assert result == expected if refusal is None else str(copy) in refusal
        shutil.rmtree(copy)
    print_row(name, f"{number} changes", f"{refused} refused", f"{number - refused} the same", "0 other")
    assert (refused > 0) == (name not in MADE_AGAIN)


@pytest.mark.parametrize("name", FILES)
def test_a_changed_file_is_refused_or_read_as_it_was(name, tmp_path, unchecked):
    mutate_files(name, 4 if name in ("a checkpoint", "metrics.jsonl") else 60, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("name", FILES)
def test_files_at_length(name, tmp_path, unchecked):
    mutate_files(name, 42, tmp_path)


# --- kills -----------------------------------------------------------------------------------------------------------------

TRAINER = """
import hashlib, os, sys
import jax, jax.numpy as jnp, numpy as np, optax
from twofold.train import fit

def loss(model, target, key):
    return jnp.mean((model @ model - target - jax.random.normal(key, model.shape)) ** 2)

def train(folder):
    trained = fit(
        loss, jnp.stack([jnp.eye(64), 2 * jnp.eye(64)]), jnp.ones((2, 64, 64)), optimiser=optax.adam(1e-3), steps=STEPS,
        key=jax.random.key(0), records=60, progress=False, log=folder + "/metrics.jsonl", checkpoint=folder + "/checkpoint",
        validation=lambda model, target: jnp.mean((model @ model - target) ** 2),
    )
    with open(folder + "/digest", "w") as file:
        file.write(hashlib.sha256(np.asarray(trained.models).tobytes() + trained.losses.tobytes()).hexdigest())

for folder in sys.stdin:  # each run is a process of its own, forked before JAX has started any thread
    child = os.fork()
    if child == 0:
        train(folder.strip())
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


SIGNALS = [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]


class Trainer:
    """A process that starts a training process for each folder that it is told."""

    def __init__(self, steps):
        program = TRAINER.replace("STEPS", str(steps))
        self.process = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, folder, number=None, stretches=0, after=0.0):
        """The exit code of a run that gets a signal, if there is one, so many seconds after so many of its stretches."""
        folder.mkdir(exist_ok=True)
        log = folder / "metrics.jsonl"
        log.unlink(missing_ok=True)  # it is written anew
        print(folder, file=self.process.stdin, flush=True)
        child = int(self.process.stdout.readline())
        if number is not None:
            while _alive(child) and not (log.exists() and log.read_bytes().count(b"\n") >= stretches):
                time.sleep(0.002)
            time.sleep(after)
            with contextlib.suppress(ProcessLookupError):  # it was faster
                os.kill(child, number)
        return int(self.process.stdout.readline())


def _alive(process):
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, 0)
        return True
    return False


@pytest.mark.long
def test_a_hundred_kills_of_training_change_no_bit(tmp_path):
    """Checkpoints are as far apart as they are for users. Half of the kills are in the last second, where the end is saved."""
    trainer, rng = Trainer(steps=6000), random.Random(0)
    assert trainer.run(tmp_path / "whole") == 0
    whole = (tmp_path / "whole" / "digest").read_text()
    seconds = json.loads((tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()[-1])["seconds"]
    last = max(0, 60 - round(60 / seconds))  # where the last second begins
    kills = {(part, kind.name): 0 for part in ("at any time", "in the last second") for kind in SIGNALS}
    ended, runs = 0, 0
    while sum(kills.values()) < 100:
        folder, runs = tmp_path / str(runs), runs + 1
        for _ in range(3):
            part, kind = rng.choice(["at any time", "in the last second"]), rng.choice(SIGNALS)
            stretches = rng.randint(0 if part == "at any time" else last, 60)
            code = trainer.run(folder, kind, stretches, rng.choice([0, rng.uniform(0, 0.1)]))
            assert code in (0, -kind, 128 + kind)
            kills[part, kind.name] += code != 0
            ended += code == 0
        assert trainer.run(folder) == 0
        steps = [json.loads(line)["step"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
        assert steps == list(range(100, 6001, 100))
        assert (folder / "digest").read_text() == whole
    for (part, kind), number in kills.items():
        print_row(f"kills {part}", kind, f"{number} kills")
    print_row("all kills", f"{runs} runs", f"{ended} signals came after the end", "0 other bits")
    trainer.process.communicate()
