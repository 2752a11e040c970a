"""Training over a mesh of devices has the losses of a single device, and continues on any number of them."""

from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from twofold import InputError
from twofold.layers import Aaren
from twofold.models import SequenceModel
from twofold.tasks import Classification, Events, Forecasting
from twofold.tasks.run import train
from twofold.train import fit, mesh_of, over_batch
from twofold.train.mesh import over_rows

pytestmark = pytest.mark.skipif(len(jax.devices()) < 8, reason="needs 8 devices, which --plain does not have")


def next_token_loss(model, data, key):
    xs = data[jax.random.randint(key, (5,), 0, len(data))]
    return jnp.mean((over_batch(model, xs)[:, :-1] - xs[:, 1:]) ** 2)


def fitted(mesh, *, seeds=1, steps=6, **options):
    def make(key):
        return SequenceModel(2, 2, mixer="aaren", width=8, depth=1, num_heads=2, key=key, dtype=jnp.float32)

    data = jnp.asarray(np.random.default_rng(0).standard_normal((10, 11, 2), np.float32))
    models = jax.vmap(make)(jax.random.split(jax.random.key(0), seeds))
    return fit(
        next_token_loss,
        models,
        data,
        optimiser=optax.adamw(1e-2),
        steps=steps,
        key=jax.random.key(1),
        shared_data=True,
        records=3,
        mesh=mesh,
        progress=False,
        **options,
    )


def test_losses_and_models_are_those_of_one_device():
    spread, expected = fitted(mesh_of(2, 4), seeds=2), fitted(None, seeds=2)
    np.testing.assert_allclose(spread.losses, expected.losses, rtol=1e-5)
    for x, y in zip(*(jax.tree.leaves(one.models) for one in (spread, expected)), strict=True):
        np.testing.assert_allclose(x, y, atol=1e-4)
        assert x.devices() == y.devices()


@pytest.fixture(scope="module")
def alone():
    """What one device finds."""
    return fitted(None)


@pytest.mark.parametrize(("first", "second"), [((1, 1), (2, 4)), ((2, 4), (1, 1))])
def test_a_run_continues_on_another_number_of_devices(first, second, alone, tmp_path, monkeypatch):
    from twofold.train import saver

    class Stopped(Exception):
        pass

    def stop(self, state, done=saver.Saver.stretch_done):
        done(self, state)
        if self.history.completed == 2 and not self.history.finished():
            raise Stopped

    options = {"checkpoint": tmp_path / "checkpoint", "checkpoint_seconds": 0.0}
    with monkeypatch.context() as patch:
        patch.setattr(saver.Saver, "stretch_done", stop)
        with pytest.raises(Stopped):
            fitted(mesh_of(*first), **options)
    continued = fitted(mesh_of(*second), **options)
    np.testing.assert_allclose(continued.losses, alone.losses, rtol=1e-5)


def test_a_device_keeps_its_part_of_the_optimiser(monkeypatch):
    """Only the sum of the gradients' moments, over eight devices, takes the memory of one."""
    from twofold.train.population import Population

    found = []

    def stretch(self, *args, whole=Population.stretch):
        result = whole(self, *args)
        found.append(result[0])
        return result

    monkeypatch.setattr(Population, "stretch", stretch)
    fitted(mesh_of(8, 1))
    moments = [x for x in jax.tree.leaves(found[-1].optimiser) if x.ndim > 1 and 8 in x.shape[1:]]
    assert moments
    assert all(x.addressable_shards[0].data.size == x.size // 8 for x in moments)


def test_rows_are_spread(assert_close):
    rows, shared = jnp.arange(5.0), jnp.array(3.0)

    def f(shared, row):
        return jnp.stack([shared * row, row])

    with jax.set_mesh(mesh_of(4, 1)):
        assert_close(jax.jit(partial(over_rows, f))(shared, rows), jnp.stack([3 * rows, rows], 1))
    with jax.set_mesh(mesh_of(2, 2)), pytest.raises(InputError, match="time_devices must be 1"):
        over_rows(f, shared, rows)


TINY = {"width": 8, "depth": 1, "heads": 2, "batch": 4, "steps": 2, "measurements": 1}


@pytest.mark.parametrize(
    ("task", "devices"),
    [
        (Classification(dataset="BasicMotions", **TINY), (2, 4)),
        (Forecasting(dataset="eustock", context=16, **TINY), (3, 1)),
        (Events(sequences=10, events=9, **TINY), (2, 2)),
    ],
)
def test_tasks_are_trained_over_a_mesh(task, devices):
    """One step of training, whose loss is that of a single device."""
    data = task.load()
    arrays, model = task.arrays(data), task.model(data, jax.random.key(0))

    def loss(model):
        return task.loss(model, arrays, jax.random.key(1))

    alone = eqx.filter_jit(eqx.filter_value_and_grad(loss))(model)
    with jax.set_mesh(mesh_of(*devices)):
        spread = eqx.filter_jit(eqx.filter_value_and_grad(loss))(model)
    for x, y in zip(*map(jax.tree.leaves, (spread, alone)), strict=True):
        np.testing.assert_allclose(np.asarray(x), np.asarray(y), atol=1e-5)


def test_sequences_alone_are_spread_for_every_mixer(tmp_path):
    task = Classification(dataset="BasicMotions", mixer="lstm", **TINY)
    run = train(task, tmp_path / "spread", mesh=mesh_of(2, 1), progress=False)
    assert run.figures["streaming error"][0] < 1e-3
    with pytest.raises(InputError, match="the LSTM cannot be computed with time spread over devices"):
        train(task, tmp_path / "time", mesh=mesh_of(1, 2), progress=False)


def test_a_mesh_is_checked():
    assert mesh_of() is None
    with pytest.raises(InputError, match="time_devices is 0"):
        mesh_of(1, 0)
    with pytest.raises(InputError, match=r"needs 1000 devices; there are 8"):
        mesh_of(100, 10)


def test_without_a_mesh_it_is_vmap(assert_close):
    layer, xs = Aaren(2, 2, key=jax.random.key(0)), jnp.ones((3, 4, 2))
    assert_close(over_batch(layer, xs), jax.vmap(layer)(xs))
