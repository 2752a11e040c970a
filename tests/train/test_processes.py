"""Two processes train together, as one would. If one is killed, the other says so, and both, or one alone, go on from there."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest

from twofold import InputError
from twofold.train import join_processes

PROGRAM = """
import json, os, signal, sys
import jax, jax.numpy as jnp, numpy as np, optax
from twofold.layers import Aaren
from twofold.train import fit, join_processes, mesh_of, over_batch, saver

folder, address, process, killed_at = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
if address:
    join_processes(address, 2, process)

def stretch_done(self, state, done=saver.Saver.stretch_done):
    done(self, state)
    if self.history.completed == killed_at:
        os.kill(os.getpid(), signal.SIGKILL)

saver.Saver.stretch_done = stretch_done

def loss(model, data, key):
    xs = data[jax.random.randint(key, (4,), 0, len(data))]
    return jnp.mean((over_batch(model, xs)[:, :-1] - xs[:, 1:]) ** 2)

data = jnp.asarray(np.random.default_rng(0).standard_normal((10, 6, 2), np.float32))
models = jax.vmap(lambda key: Aaren(2, 2, num_heads=1, key=key))(jax.random.split(jax.random.key(0), 1))
try:
    trained = fit(loss, models, data, optimiser=optax.adamw(1e-2), steps=6, key=jax.random.key(1), shared_data=True, records=6,
        checkpoint=folder, checkpoint_seconds=0.0, mesh=mesh_of(2 if address else 1), progress=False)
    print(json.dumps(trained.losses[0].tolist()))
except ConnectionError as error:
    print(error, file=sys.stderr, flush=True)
    os._exit(2)
"""


def start(folder, address="", process=0, killed_at=-1):
    flags = [flag for flag in os.environ.get("XLA_FLAGS", "").split() if "device_count" not in flag]
    environment = os.environ | {"XLA_FLAGS": " ".join(flags)}  # one device for each
    words = [sys.executable, "-c", PROGRAM, str(folder), address, str(process), str(killed_at)]
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(*processes):
    """The exit codes, and the last lines of outputs and of errors. None of the processes hangs."""
    texts = [process.communicate(timeout=100) for process in processes]
    lines = [tuple(text.splitlines()[-1] if text else "" for text in each) for each in texts]
    return [(process.returncode, *told) for process, told in zip(processes, lines, strict=True)]


@pytest.fixture
def address():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{free.getsockname()[1]}"


def test_two_processes_survive_the_loss_of_one(tmp_path, address):
    together = [start(tmp_path / "both", address, 0), start(tmp_path / "both", address, 1, killed_at=3)]
    alone = start(tmp_path / "alone")
    (code, _, told), (killed, *_) = ended(*together)
    assert killed == -signal.SIGKILL
    assert code == 2
    assert told.startswith("another process of this training has ended or cannot be reached; start all of them again")
    ((_, losses, _),) = ended(alone)
    shutil.copytree(tmp_path / "both", tmp_path / "one")
    on = ended(start(tmp_path / "one"), *(start(tmp_path / "both", address, i) for i in range(2)))
    assert [code for code, *_ in on] == [0, 0, 0]
    for _, continued, _ in on:
        np.testing.assert_allclose(json.loads(continued), json.loads(losses), rtol=1e-5)


@pytest.mark.parametrize(("processes", "process"), [(None, None), (2, None), (2, 2), (2, -1)])
def test_numbers_that_do_not_fit_are_refused(processes, process):
    with pytest.raises(InputError, match=f"process is {process} of {processes} processes"):
        join_processes("127.0.0.1:1", processes, process)
