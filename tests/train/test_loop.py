"""Training: seeds are independent, and a run that was killed continues to the same bits."""

import json
import os

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from twofold import InputError
from twofold.sealed import sealed
from twofold.tasks.students.teacher_student import Recipe
from twofold.tasks.students.ways import AdamW
from twofold.train import Checkpoint, draw_learning_curve, fit, open_run

RECIPE = Recipe(size=2, hidden_size=6, gate_size=6, time=5, way=AdamW(batch=4, steps=47))


def _fit(seeds=1, **options):
    keys = jax.random.split(jax.random.key(0), seeds)
    teachers, students = eqx.filter_vmap(RECIPE.teacher)(keys), eqx.filter_vmap(RECIPE.student)(keys)
    defaults = {
        "optimiser": RECIPE.way.optimiser(),
        "steps": RECIPE.way.steps,
        "key": jax.random.key(1),
        "records": 5,
        "progress": False,
    }
    return fit(RECIPE.loss, students, teachers, **(defaults | options))


def _same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


OPTIMISER = RECIPE.way.optimiser()


@jax.jit
def _step(student, state, teacher, key):
    loss, gradient = jax.value_and_grad(RECIPE.loss)(student, teacher, key)
    updates, state = OPTIMISER.update(gradient, state, student)
    return optax.apply_updates(student, updates), state, loss


def _by_hand(start_key, data_key):
    """The same training as a plain loop: the model, and the loss of every step."""
    teacher, student = RECIPE.teacher(start_key), RECIPE.student(start_key)
    state, losses = jax.jit(OPTIMISER.init)(student), []
    for i in range(RECIPE.way.steps):
        student, state, loss = _step(student, state, teacher, jax.random.fold_in(data_key, i))
        losses.append(loss)
    return student, losses


@pytest.mark.parametrize("backend", ["cpu", "gpu"])
def test_each_seed_is_trained_as_if_alone_and_step_by_step(backend, assert_close, monkeypatch):
    """On a CPU one after the other, elsewhere together."""
    with monkeypatch.context() as patch:
        patch.setattr(jax, "default_backend", lambda: backend)
        trained = _fit(seeds=2)
    keys = (jax.random.split(jax.random.key(i), 2) for i in range(2))
    for i, (start_key, data_key) in enumerate(zip(*keys, strict=True)):
        model, losses = _by_hand(start_key, data_key)
        assert_close(jax.tree.map(lambda x, i=i: x[i], trained.models), model, rtol=1e-8)
        np.testing.assert_allclose(trained.losses[i, 0], np.mean(losses[:10]), rtol=1e-8)


def test_a_killed_run_continues_to_the_same_bits(tmp_path, monkeypatch):
    whole = _fit(seeds=2)
    save = Checkpoint.save

    def killed(self, step, state):
        save(self, step, state)
        if step == 10:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        _fit(seeds=2, checkpoint=tmp_path / "checkpoint", checkpoint_seconds=0.0)
    monkeypatch.setattr(Checkpoint, "save", save)
    continued = _fit(seeds=2, checkpoint=tmp_path / "checkpoint")
    assert _same(continued.models, whole.models)
    np.testing.assert_array_equal(continued.losses, whole.losses)
    finished = _fit(seeds=2, checkpoint=tmp_path / "checkpoint")
    assert _same(finished.models, whole.models)
    assert finished.seconds == continued.seconds > 0


def _distance(model, teacher):
    """A validation loss that is smallest where training is not at its end."""
    return jnp.abs(jnp.linalg.norm(model.readout) - 3.0)


@pytest.mark.parametrize("seeds", [1, 2])
def test_each_seed_is_kept_where_its_validation_loss_was_smallest(tmp_path, seeds, assert_close):
    options = {"seeds": seeds, "records": 47, "validation": _distance}
    trained = _fit(**options, log=tmp_path / "log.jsonl")
    for i in range(seeds):
        model = jax.tree.map(lambda x, i=i: x[i], trained.models)
        assert_close(float(_distance(model, None)), trained.validation[i].min(), rtol=1e-8)
        assert trained.best[i] == np.argmin(trained.validation[i])
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 48)) == trained.steps.tolist()
    assert [line["validation"] for line in lines] == trained.validation.T.tolist()
    assert [line["loss"] for line in lines] == trained.losses.T.tolist()


def test_a_seed_ends_when_its_patience_does_as_if_it_were_alone():
    """The validation loss of `_falling_until` falls until the seed's own time has come, and later once more."""
    models = jnp.array([[0.0], [0.0]])
    turn = jnp.array([4.0, 9.0])

    def validation(model, turn):
        return jnp.sum(jnp.where(model > turn + 6, -100.0, jnp.abs(model - turn)))

    def train(rows):
        return fit(
            lambda model, data, key: -jnp.sum(model),
            models[rows],
            turn[rows],
            optimiser=optax.sgd(1.0),
            steps=40,
            key=jax.random.key(0),
            records=40,
            validation=validation,
            patience=4,
            progress=False,
        )

    both, first, second = train(np.array([0, 1])), train(np.array([0])), train(np.array([1]))
    assert both.models.ravel().tolist() == [4.0, 9.0] == [first.models.item(), second.models.item()]
    assert both.best == [3, 8] == first.best + second.best
    ended = [int(np.sum(np.isfinite(t.losses[0]))) for t in (both, first, second)]
    assert ended == [13, 8, 13]


@pytest.mark.parametrize("stop_at", [10, 30])
def test_a_killed_run_continues_with_its_validation_and_its_log(tmp_path, monkeypatch, stop_at):
    options = {"seeds": 2, "validation": _distance, "patience": 3}
    whole = _fit(**options, log=tmp_path / "whole.jsonl")
    save = Checkpoint.save

    def killed(self, step, state):
        save(self, step, state)
        if step == stop_at:
            raise KeyboardInterrupt

    resumable = options | {"log": tmp_path / "log.jsonl", "checkpoint": tmp_path / "checkpoint"}
    monkeypatch.setattr(Checkpoint, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        _fit(**resumable, checkpoint_seconds=0.0)
    monkeypatch.setattr(Checkpoint, "save", save)
    for _ in range(2):
        continued = _fit(**resumable)
        assert _same(continued.models, whole.models)
        assert continued.best == whole.best
        np.testing.assert_array_equal(continued.validation, whole.validation)
    logs = [(tmp_path / name).read_text().splitlines() for name in ("log.jsonl", "whole.jsonl")]
    losses, expected = ([json.loads(line)["loss"] for line in log] for log in logs)
    assert losses == expected


def test_a_model_that_is_never_finite_is_not_kept_for_good():
    with pytest.raises(FloatingPointError, match="became NaN by step 10"):
        _fit(optimiser=optax.sgd(1e30), validation=_distance)


@pytest.mark.parametrize("options", [{"patience": 3}, {"patience": 0, "validation": _distance}])
def test_patience_needs_a_validation_loss(options):
    with pytest.raises(InputError, match="patience is"):
        _fit(**options)


@pytest.mark.parametrize("validation", [None, _distance])
def test_the_learning_curve_is_drawn(tmp_path, validation, pictures, lines_of):
    trained = _fit(seeds=2, validation=validation)
    draw_learning_curve(trained, tmp_path / "curve.png", title="a run")
    (axes,) = pictures["curve.png"].axes
    assert (axes.get_title(), axes.get_xlabel(), axes.get_ylabel()) == ("a run", "steps", "loss")
    lines, steps = lines_of(axes), trained.steps.tolist()
    assert lines["training"] == (steps, trained.losses.mean(axis=0).tolist())
    if validation is None:
        assert "validation" not in lines
    else:
        assert lines["validation"] == (steps, trained.validation.mean(axis=0).tolist())
        kept = [row[best] for best, row in zip(trained.best, trained.validation, strict=True)]
        assert lines["kept"] == (trained.steps[trained.best].tolist(), kept)


def test_weight_decay_spares_the_recurrent_parameters():
    student = RECIPE.student(jax.random.key(0))
    optimiser = RECIPE.way._replace(weight_decay=0.5).optimiser()
    updates, _ = optimiser.update(jax.tree.map(jnp.zeros_like, student), optimiser.init(student), student)
    assert not np.any(updates.recurrent)
    assert all(np.any(u) for u in (updates.w_in_m, updates.w_in_x, updates.w_out_m, updates.w_out_x, updates.readout))


def test_a_loss_that_becomes_nan_is_an_error():
    with pytest.raises(FloatingPointError, match="became NaN by step 10"):
        _fit(optimiser=optax.sgd(1e30))


def test_no_steps_are_refused():
    with pytest.raises(InputError, match="steps is 0"):
        _fit(steps=0)


def test_a_foreign_checkpoint_is_refused(tmp_path):
    _fit(checkpoint=tmp_path / "checkpoint")
    with pytest.raises(InputError, match="delete the folder to start again"):
        _fit(seeds=2, checkpoint=tmp_path / "checkpoint")


def test_a_folder_is_that_of_one_run(tmp_path):
    folder = tmp_path / "run"
    for _ in range(2):
        with open_run(folder, {"a": 1, "b": (1, 2)}) as opened:
            assert opened == folder
            assert json.loads((folder / "run.json").read_text()) == sealed({"a": 1, "b": [1, 2]})
    with pytest.raises(InputError, match="of a = 1 rather than 2"), open_run(folder, {"a": 2, "b": (1, 2)}):
        pass
    for damage in ("{", "", "[]", "null", "[" * 100_000):
        (folder / "run.json").write_text(damage)
        with pytest.raises(InputError, match="is damaged"), open_run(folder, {"a": 1}):
            pass
    with pytest.raises(InputError, match="is not a run of twofold"), open_run(tmp_path, {"a": 1}):
        pass
    assert [file.name for file in tmp_path.iterdir()] == ["run"]


def test_a_folder_has_one_run_at_a_time(tmp_path):
    with (
        open_run(tmp_path / "run", {}),
        pytest.raises(InputError, match="is used by another run at this moment"),
        open_run(tmp_path / "run", {}),
    ):
        pass
    with open_run(tmp_path / "run", {}):
        pass


def test_a_full_disk_leaves_no_half_of_a_run(tmp_path, monkeypatch):
    def full(number):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"), open_run(tmp_path / "run", {"a": 1}):
            pass
    with open_run(tmp_path / "run", {"a": 2}):
        pass


@pytest.mark.parametrize("left", [".lock", ".run.json.new"])
def test_what_a_killed_run_leaves_before_its_first_file_is_no_other_run(left, tmp_path):
    (tmp_path / left).touch()
    with open_run(tmp_path, {"a": 1}):
        pass
