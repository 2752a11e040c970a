"""A saved model is the model; damaged files are refused with a reason."""

import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twofold import InputError, convert, load, save
from twofold.layers import MIXERS, GatedRNN, LinearSelfAttention
from twofold.models import SequenceModel


def _models():
    key = jax.random.key(0)
    attention = LinearSelfAttention(3, 2, num_heads=3, key=key)
    yield "attention", attention
    yield "converted", convert.to_gated_rnn(attention, "minimal")
    yield "lru of attention", convert.to_lru(attention, "out")
    yield "lstm of attention", convert.to_lstm(attention)
    yield "dense", GatedRNN(3, 2, recurrence="dense", key=key)
    for mixer in MIXERS:
        yield mixer, SequenceModel(3, 2, width=8, mixer=mixer, predicts="sequence", key=key)
    yield "marks", SequenceModel(3, 2, width=8, reads="marks", key=key)


@pytest.mark.parametrize(("name", "model"), list(_models()))
def test_a_loaded_model_is_the_saved_one(tmp_path, name, model):
    save(tmp_path / name, model)
    loaded = load(tmp_path / name)
    assert jax.tree.structure(loaded) == jax.tree.structure(model)
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: a.dtype == b.dtype and bool((a == b).all()), loaded, model)))
    assert sorted(file.name for file in (tmp_path / name).iterdir()) == ["config.json", "model.safetensors"]


@pytest.fixture
def folder(tmp_path):
    save(tmp_path, LinearSelfAttention(3, 2, key=jax.random.key(0)))
    return tmp_path


def _edit(file, change):
    config = json.loads(file.read_text())
    change(config["model"])
    file.write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "holds no saved model"),
        (lambda f: (f / "config.json").write_text("{"), "config.json is damaged"),
        (lambda f: (f / "config.json").write_text("[]"), "config.json is damaged"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-8]), "truncated"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 64), "truncated or damaged"),
        (lambda f: _edit(f / "config.json", lambda m: m.update(type="Nonsense")), "unknown type 'Nonsense'"),
        (
            lambda f: _edit(f / "config.json", lambda m: m["w_v"].update(shape=[1, 2, 2])),
            r"should be float64 \(1, 2, 2\)",
        ),
        (lambda f: _edit(f / "config.json", lambda m: m.update(w_z=m["w_v"])), "lacks the array model.w_z"),
    ],
)
def test_damage_is_named(folder, damage, message):
    damage(folder)
    with pytest.raises(InputError, match=message):
        load(folder)


def test_only_layers_of_twofold_are_saved(tmp_path, unchecked):
    class Own(eqx.Module):
        x: jax.Array

    with pytest.raises(InputError, match="model is a Own"):
        save(tmp_path / "own", Own(jnp.zeros(1)))
    assert not (tmp_path / "own").exists()


def test_double_precision_is_not_lost_silently(folder):
    with jax.enable_x64(False), pytest.raises(InputError, match="jax_enable_x64"):
        load(folder)


def test_saving_replaces(folder):
    other = LinearSelfAttention(2, 2, key=jax.random.key(1))
    save(folder, other)
    np.testing.assert_array_equal(load(folder).w_v, other.w_v)
