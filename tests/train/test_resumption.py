"""A run that is stopped in whatever way is continued to the same bits, and only by the run that it is.

The model of these tests is one row of numbers, pulled to its data and shaken, so that it is compiled in a moment.
"""

import errno
import functools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from twofold import InputError, atomic
from twofold.train import checkpoint, fit
from twofold.train.history import History
from twofold.train.lock import locked

STEPS, RECORDS = 24, 8
START, TARGET = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((2, 3), np.float32)


def shaken(model, target, key, noise=0.1):
    return jnp.sum((model - target - noise * jax.random.normal(key, model.shape, model.dtype)) ** 2)


def distance(model, target):
    return jnp.sum(jnp.abs(model - target))


def run(folder=None, **changes):
    options = {
        "models": jnp.asarray(START),
        "data": jnp.asarray(TARGET),
        "optimiser": optax.adam(optax.cosine_decay_schedule(0.1, STEPS)),
        "steps": STEPS,
        "records": RECORDS,
        "key": jax.random.key(0),
        "validation": distance,
        "checkpoint_seconds": 0.0,
        "progress": False,
    } | changes
    if folder is not None:
        options |= {"checkpoint": folder / "checkpoint", "log": folder / "metrics.jsonl"}
    return fit(options.pop("loss", shaken), options.pop("models"), options.pop("data"), **options)


@pytest.fixture(scope="module")
def whole():
    return run()


def same(trained, whole):
    for name in ("models", "losses", "validation", "best"):
        np.testing.assert_array_equal(getattr(trained, name), getattr(whole, name))
    return True


def losses_in(log):
    return [json.loads(line)["loss"] for line in log.read_text().splitlines()]


@pytest.fixture
def stopped(monkeypatch):
    """`stopped(folder, stretches)`: a run that ends after so many stretches, each of them saved, as if it was killed."""

    def stop(folder, stretches, **changes):
        append = History.append

        def killed(history, file):
            append(history, file)
            if history.completed > stretches:
                raise BrokenPipeError("killed")

        with monkeypatch.context() as patched:
            patched.setattr(History, "append", killed)
            with pytest.raises(BrokenPipeError, match="killed"):
                run(folder, **changes)
        return folder

    return stop


# --- another run -----------------------------------------------------------------------------------------------------------

OTHER = {
    "steps": ({"steps": 1000}, "steps is 24 there and 1000 here"),
    "records": ({"records": 4}, "steps between records is 3 there and 6 here"),
    "patience": ({"patience": 3}, "patience is None there and 3 here"),
    "key": ({"key": jax.random.key(1)}, "the random key differs"),
    "seeds": ({"models": jnp.asarray(START[:1]), "data": jnp.asarray(TARGET[:1])}, "seeds is 2 there and 1 here"),
    "sizes": ({"models": jnp.zeros((2, 4)), "data": jnp.ones((2, 4))}, "the models at the start differs"),
    "dtype": ({"models": jnp.asarray(START, jnp.float16)}, "the models at the start differs"),
    "start": ({"models": jnp.asarray(START + 1)}, "the models at the start differs"),
    "data": ({"data": jnp.asarray(2 * TARGET)}, "the data differs"),
    "loss": ({"loss": functools.partial(shaken, noise=0.2)}, "the loss differs"),
    "validation": ({"validation": lambda model, target: 2 * distance(model, target)}, "the validation loss differs"),
    "no validation": ({"validation": None}, "the validation loss"),
    "learning rate": ({"optimiser": optax.adam(optax.cosine_decay_schedule(0.2, STEPS))}, "the optimiser differs"),
    "schedule": ({"optimiser": optax.adam(optax.cosine_decay_schedule(0.1, 9))}, "the optimiser differs"),
    "optimiser": ({"optimiser": optax.sgd(0.1)}, "the optimiser differs"),
}


@pytest.mark.parametrize("change", OTHER)
def test_the_checkpoint_of_another_run_is_refused_and_what_differs_is_said(change, tmp_path):
    run(tmp_path, steps=STEPS)
    changes, message = OTHER[change]
    with pytest.raises(InputError, match="holds no checkpoint of this run") as refused:
        run(tmp_path, **changes)
    assert message in str(refused.value)


def test_a_short_run_is_not_taken_for_the_beginning_of_a_long_one(tmp_path):
    run(tmp_path, steps=10, records=2)
    with pytest.raises(InputError, match="steps is 10 there and 1000 here"):
        run(tmp_path, steps=1000, records=200)


def test_other_versions_continue_the_run_and_say_so(tmp_path, monkeypatch, caplog, stopped, whole):
    stopped(tmp_path, 3)
    as_installed = checkpoint.versions()
    monkeypatch.setattr(checkpoint, "versions", lambda: as_installed | {"jax": "99"})
    same(run(tmp_path), whole)
    assert not caplog.records
    with pytest.raises(InputError, match="steps is 24"):
        run(tmp_path, steps=25)
    run(tmp_path / "other")
    monkeypatch.setattr(checkpoint, "versions", lambda: as_installed)
    with pytest.raises(InputError, match="the optimiser differs"):
        run(tmp_path / "other", optimiser=optax.sgd(0.1))
    run(tmp_path / "other", optimiser=optax.adam(optax.cosine_decay_schedule(0.2, STEPS)))
    assert "other versions of twofold or JAX: the optimiser differs" in caplog.text


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "checkpoint" / "1200").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no checkpoint that can be read; delete the folder to start again"):
        run(tmp_path)


# --- killed ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_kills_while_files_are_written_lose_nothing(seed, tmp_path, monkeypatch, whole):
    """The run is started again and again, and dies each time before or after one event of the file system.

    The log takes the first 3 events, and each checkpoint 3 more, so that at least one is whole each time.
    """
    rng, deaths = random.Random(seed), 0

    def dying(call, events, last):
        def event(*args):
            events.append(args)
            if len(events) == last and rng.random() < 0.5:
                call(*args)
            if len(events) >= last:
                raise SystemExit("killed")
            return call(*args)

        return event

    while True:
        with monkeypatch.context() as patched:
            events: list = []
            last = rng.randint(8, 12)
            for name in ("fsync", "replace"):
                patched.setattr(atomic.os, name, dying(getattr(os, name), events, last))
            try:
                trained = run(tmp_path)
                break
            except SystemExit:
                deaths += 1
    assert deaths >= 3
    same(trained, whole)
    assert losses_in(tmp_path / "metrics.jsonl") == whole.losses.T.tolist()


@pytest.mark.parametrize("optimiser", [optax.adam(0.1), optax.chain(optax.add_noise(0.1, 0.5, 3), optax.sgd(0.1))])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_every_dtype_and_random_keys_of_the_optimiser_are_restored(optimiser, dtype, tmp_path, stopped):
    options = {"models": jnp.asarray(START, dtype), "data": jnp.asarray(TARGET, dtype), "optimiser": optimiser}
    stopped(tmp_path, 4, **options)
    same(run(tmp_path, **options), run(**options))


# --- damaged ---------------------------------------------------------------------------------------------------------------


def newest(folder):
    return max((folder / "checkpoint").glob("checkpoint-*"), key=lambda file: file.stat().st_mtime_ns)


def flipped(file, at):
    content = bytearray(file.read_bytes())
    content[int(at * (len(content) - 1))] ^= 1
    file.write_bytes(content)


def into_folder(file):
    file.unlink()
    (file / "within").mkdir(parents=True)


DAMAGES = {
    "first byte": lambda file: flipped(file, 0.0),
    "a byte early": lambda file: flipped(file, 0.1),
    "a byte amid": lambda file: flipped(file, 0.5),
    "a byte late": lambda file: flipped(file, 0.9),
    "last byte": lambda file: flipped(file, 1.0),
    "empty": lambda file: file.write_bytes(b""),
    "half": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "longer": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "folder": into_folder,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_where_the_newest_checkpoint_is_damaged_the_older_is_taken(damage, tmp_path, stopped, whole, caplog):
    stopped(tmp_path, 5)
    DAMAGES[damage](newest(tmp_path))
    if damage == "folder":
        with pytest.raises(OSError, match="checkpoint-"):  # it is in the way of the next checkpoint
            run(tmp_path)
    else:
        same(run(tmp_path), whole)
        assert losses_in(tmp_path / "metrics.jsonl") == whole.losses.T.tolist()
    assert "is damaged" in caplog.text


def test_where_both_checkpoints_are_damaged_the_run_is_refused(tmp_path, stopped):
    stopped(tmp_path, 5)
    for file in (tmp_path / "checkpoint").glob("checkpoint-*"):
        flipped(file, 0.5)
    with pytest.raises(InputError, match="no checkpoint that can be read; delete the folder to start again"):
        run(tmp_path)


def test_a_checkpoint_is_of_the_step_that_it_says_whatever_its_name(tmp_path, stopped, whole):
    stopped(tmp_path, 5)
    one, other = (tmp_path / "checkpoint" / name for name in checkpoint.FILES)
    third = one.with_name("third")
    for file, name in ((one, third), (other, one), (third, other)):
        file.rename(name)
    same(run(tmp_path), whole)
    finished = newest(tmp_path)
    shutil.copy(finished, other if finished == one else one)
    same(run(tmp_path), whole)


@pytest.mark.parametrize("damage", ["truncated", "deleted", "garbage"])
def test_the_log_is_written_again_from_the_checkpoint(damage, tmp_path, stopped, whole):
    log = stopped(tmp_path, 5) / "metrics.jsonl"
    if damage == "deleted":
        log.unlink()
    else:
        log.write_text(log.read_text()[:50] if damage == "truncated" else "garbage\n" * 9)
    same(run(tmp_path), whole)
    assert losses_in(log) == whole.losses.T.tolist()


def test_a_folder_in_the_place_of_the_log_is_an_error_before_any_step(tmp_path):
    (tmp_path / "metrics.jsonl" / "within").mkdir(parents=True)
    with pytest.raises(OSError, match=r"metrics.jsonl"):
        run(tmp_path)
    assert not any((tmp_path / "checkpoint").glob("checkpoint-*"))


def test_a_full_disk_keeps_what_was_saved(tmp_path, stopped, whole):
    stopped(tmp_path, 3)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = newest(tmp_path).stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size - 100, limits[1]))  # No checkpoint fits.
    try:
        with pytest.raises(OSError, match=os.strerror(errno.EFBIG)):
            run(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list((tmp_path / "checkpoint").glob(".checkpoint*"))
    same(run(tmp_path), whole)


# --- two at once, and signals ----------------------------------------------------------------------------------------------


def test_two_runs_do_not_share_a_folder(tmp_path, whole):
    with locked(tmp_path / "checkpoint"), pytest.raises(InputError, match="is used by another run at this moment"):
        run(tmp_path)
    same(run(tmp_path), whole)


@pytest.fixture
def signalled(monkeypatch):
    """`signalled(number, *stretches)`: the signal arrives while these stretches are recorded."""

    def arrange(number, *stretches):
        add = History.add

        def interrupted(history, *args):
            add(history, *args)
            if history.completed in stretches:
                signal.raise_signal(number)

        monkeypatch.setattr(History, "add", interrupted)

    return arrange


@pytest.mark.parametrize(
    ("number", "error", "code"), [(signal.SIGINT, KeyboardInterrupt, None), (signal.SIGTERM, SystemExit, 143)]
)
def test_a_signal_saves_what_was_trained(number, error, code, tmp_path, signalled, monkeypatch, whole, caplog):
    """Long before it is time to save."""
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    with monkeypatch.context() as patched:
        signalled(number, 3)
        with pytest.raises(error) as ended:
            run(tmp_path, checkpoint_seconds=3600.0)
        patched.undo()
    assert getattr(ended.value, "code", None) == code
    assert len(losses_in(tmp_path / "metrics.jsonl")) == 3
    assert ("terminated after step 9, which is saved" in caplog.text) == (number == signal.SIGTERM)
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    added = []
    add = History.add
    monkeypatch.setattr(History, "add", lambda history, *args: added.append(args) or add(history, *args))
    same(run(tmp_path), whole)
    assert len(added) == RECORDS - 3


def test_a_signal_before_anything_is_trained_ends_at_once(tmp_path):
    def loss(model, target, key):
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("the signal was to end this")

    with pytest.raises(SystemExit):
        run(tmp_path, loss=loss)


def test_a_run_without_checkpoint_and_a_run_in_a_thread_leave_signals_alone(tmp_path, signalled, whole):
    results = []
    thread = threading.Thread(target=lambda: results.append(run(tmp_path)))
    thread.start()
    thread.join()
    same(results[0], whole)
    signalled(signal.SIGINT, 3)
    with pytest.raises(KeyboardInterrupt):
        run()


# --- failed seeds ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("validation", [None, distance])
def test_a_seed_that_becomes_nan_has_failed_and_the_others_are_as_without_it(validation):
    data = jnp.stack([jnp.ones(3), jnp.full(3, jnp.nan)])
    trained = run(data=data, validation=validation)
    assert trained.failed.tolist() == [False, True]
    with pytest.raises(FloatingPointError, match="diverged for model 1 of 2"):
        trained.checked()
    assert run(validation=validation).checked().failed.tolist() == [False, False]
    alone = run(data=data[:1], models=jnp.asarray(START[:1]), key=jax.random.split(jax.random.key(0))[:1])
    np.testing.assert_allclose(trained.losses[0], alone.losses[0], rtol=1e-6)


def test_a_seed_whose_last_step_is_not_finite_has_failed():
    """Its loss, measured before the step, is finite to the end."""
    optimiser = optax.sgd(lambda count: jnp.where(count == STEPS - 1, jnp.inf, 0.1))
    data = jnp.stack([jnp.ones(3), jnp.ones(3)])
    with pytest.raises(FloatingPointError, match="did not reach a finite loss"):
        run(data=data, validation=None, optimiser=optimiser)


# --- real kills ------------------------------------------------------------------------------------------------------------

PROGRAM = """
import hashlib, sys
import jax, jax.numpy as jnp, numpy as np, optax
from twofold.train import fit

def loss(model, target, key):
    return jnp.mean((model @ model - target - jax.random.normal(key, model.shape)) ** 2)

def distance(model, target):
    return jnp.mean((model @ model - target) ** 2)

trained = fit(
    loss, jnp.stack([jnp.eye(64), 2 * jnp.eye(64)]), jnp.ones((2, 64, 64)), optimiser=optax.adam(1e-3), steps=6000,
    key=jax.random.key(0), records=200, validation=distance, progress=False,
    log=sys.argv[1] + "/metrics.jsonl", checkpoint=sys.argv[1] + "/checkpoint", checkpoint_seconds=float(sys.argv[2]),
)
print(hashlib.sha256(np.asarray(trained.models).tobytes() + trained.losses.tobytes()).hexdigest())
"""


def start(folder, every):
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, folder, str(every)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def begun(process, log, before):
    """Wait until a process trains: it then writes its log anew."""
    while process.poll() is None and (not log.exists() or log.stat().st_mtime_ns == before):
        time.sleep(0.01)


@pytest.mark.long
def test_processes_killed_at_random_times_lose_nothing(tmp_path):
    """Three kills in each run, a third of them by SIGTERM, saved after every stretch or a few times a second."""
    whole = start(tmp_path / "whole", 3600.0).communicate()[0]
    rng, kills, table = random.Random(0), 0, []
    while kills < 38:
        folder, every = tmp_path / str(len(table)), rng.choice([0.0, 0.3])
        log, times = folder / "metrics.jsonl", []
        while True:
            before = log.stat().st_mtime_ns if log.exists() else None
            process = start(folder, every)
            if len(times) < 3:
                begun(process, log, before)
            try:
                out, err = process.communicate(timeout=rng.uniform(0, 1) if len(times) < 3 else None)
                break
            except subprocess.TimeoutExpired:
                kind = rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM])
                process.send_signal(kind)
                err = process.communicate()[1]
                assert process.returncode in (-kind, 128 + kind, 0), err
                times.append(f"{kind.name} after {len(log.read_text().splitlines())} stretches")
        kills += len(times)
        steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
        table.append(f"saved every {every} s: {', '.join(times)}; the same bits: {out == whole}")
        print(table[-1])
        assert out == whole, err
        assert steps == list(range(30, 6001, 30))


@pytest.mark.long
def test_of_two_processes_in_one_folder_the_second_is_refused_until_the_first_is_dead(tmp_path):
    first = start(tmp_path / "run", 0.0)
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        time.sleep(0.01)
    assert "is used by another run at this moment" in start(tmp_path / "run", 0.0).communicate()[1]
    first.kill()
    first.communicate()
    last = start(tmp_path / "run", 0.0)
    assert last.communicate()[0] == start(tmp_path / "whole", 3600.0).communicate()[0]
