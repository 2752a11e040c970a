"""A saved model is the model; damaged files are refused with a reason."""

import contextlib
import itertools
import json
import os
import signal
import stat
import subprocess
import sys
import time
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twofold import InputError, convert, load, save
from twofold.layers import MIXERS, GatedRNN, LinearSelfAttention
from twofold.models import SequenceModel
from twofold.saving import folder as folder_module
from twofold.saving import load_with_state, save_with_state
from twofold.sealed import checksum_of


def _attention(key):
    return LinearSelfAttention(3, 2, num_heads=3, key=key)


MODELS = {
    "attention": _attention,
    "converted": lambda key: convert.to_gated_rnn(_attention(key), "minimal"),
    "lru of attention": lambda key: convert.to_lru(_attention(key), "out"),
    "lstm of attention": lambda key: convert.to_lstm(_attention(key)),
    "dense": lambda key: GatedRNN(3, 2, recurrence="dense", key=key),
    "marks": lambda key: SequenceModel(3, 2, width=8, reads="marks", key=key),
    **{mixer: partial(SequenceModel, 3, 2, width=8, mixer=mixer, predicts="sequence") for mixer in MIXERS},
}


@pytest.mark.parametrize("name", MODELS)
def test_a_loaded_model_is_the_saved_one(tmp_path, name):
    model = MODELS[name](key=jax.random.key(0))
    save(tmp_path / name, model)
    loaded = load(tmp_path / name)
    assert jax.tree.structure(loaded) == jax.tree.structure(model)
    assert all(jax.tree.leaves(jax.tree.map(lambda a, b: a.dtype == b.dtype and bool((a == b).all()), loaded, model)))
    assert sorted(file.name for file in (tmp_path / name).iterdir()) == ["config.json", "model.safetensors"]


@pytest.fixture
def folder(tmp_path):
    save(tmp_path, LinearSelfAttention(3, 2, key=jax.random.key(0)))
    return tmp_path


def _edit(file, change, seal=True):
    """Change the description of the model; with `seal`, as somebody would who knows the checksum."""
    config = json.loads(file.read_text())
    change(config["model"])
    if seal:
        config["checksum"] = checksum_of(config)
    file.write_text(json.dumps(config))


def _set(field, value):
    return lambda f: _edit(f / "config.json", lambda model: model.update({field: value}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "config.json").unlink(), "holds no saved model"),
        (lambda f: (f / "config.json").write_text("{"), "config.json is damaged"),
        (lambda f: (f / "config.json").write_bytes(b"\xff\xfe\x00"), "config.json is damaged"),
        (lambda f: (f / "config.json").write_text("[]"), "has a list where an object"),
        (lambda f: (f / "config.json").write_text("null"), "has a NoneType where an object"),
        (lambda f: (f / "config.json").write_text("3"), "has a int where an object"),
        (lambda f: (f / "config.json").write_text("[" * 100_000), "config.json is damaged: RecursionError"),
        (lambda f: (f / "config.json").write_text('{"format": 3}'), "has the format 3; .* reads the formats 1 and 2"),
        (lambda f: (f / "config.json").write_text('{"format": true}'), "has the format True"),
        (lambda f: (f / "config.json").write_text('{"format": 2, "model": {}}'), "should have .'checksum', 'files'"),
        (lambda f: _edit(f / "config.json", lambda m: m.update(num_heads=2), seal=False), "changed by hand"),
        (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-8]), "truncated"),
        (lambda f: (f / "model.safetensors").write_bytes(b"\xff" * 64), "truncated or damaged"),
        (_set("type", "Nonsense"), "unknown type 'Nonsense'"),
        (_set("type", []), r"unknown type \[\]"),
        (_set("type", "LSTM"), "model, a LSTM, lacks field 'b'"),
        (
            lambda f: _edit(f / "config.json", lambda m: m["w_v"].update(shape=[1, 2, 2])),
            r"it should be float\d\d \(1, 2, 2",
        ),
        (lambda f: _edit(f / "config.json", lambda m: m["w_v"].update(more=1)), "should have a shape and a dtype"),
        (lambda f: _edit(f / "config.json", lambda m: m.update(w_z=m["w_v"])), "has the unknown field 'w_z'"),
        (lambda f: _edit(f / "config.json", lambda m: m.pop("w_v")), "lacks field 'w_v'"),
        (_set("w_v", None), "arrays that do not belong to it: model.w_v"),
        (_set("w_v", 3), "arrays that do not belong to it: model.w_v"),
    ],
)
def test_damage_is_named(folder, damage, message, unchecked):
    damage(folder)
    with pytest.raises(InputError, match=message) as caught:
        load(folder)
    assert str(folder) in str(caught.value)


def _same(a, b):
    if jax.tree.structure(a) != jax.tree.structure(b):
        return False
    return all(jax.tree.leaves(jax.tree.map(lambda a, b: a.dtype == b.dtype and bool((a == b).all()), a, b)))


def _refused_or(folder, model):
    """Whether loading is refused; if it is not, the model is the identical one."""
    try:
        loaded = load(folder)
    except InputError:
        return True
    assert _same(loaded, model)
    return False


@pytest.fixture
def nested(tmp_path):
    model = SequenceModel(3, 2, width=4, depth=1, mixer="lru", feed_forward_size=4, key=jax.random.key(0))
    save(tmp_path, model)
    return tmp_path, model


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_flipped_bit_or_a_missing_end_is_refused(nested, name, unchecked):
    folder, model = nested
    whole, refused = (folder / name).read_bytes(), 0
    places = range(0, len(whole), 11)
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        (folder / name).write_bytes(damaged)
        refused += _refused_or(folder, model)
        (folder / name).write_bytes(whole[:place])
        assert _refused_or(folder, model)
    assert refused > 0.7 * len(places)  # White space of config.json may be other white space.


def _places(node):
    """All places in a JSON document, as the container and the key."""
    for key in list(node) if isinstance(node, dict) else range(len(node) if isinstance(node, list) else 0):
        yield node, key
        yield from _places(node[key])


@pytest.mark.parametrize("seal", [False, True], ids=["unsealed", "sealed"])
def test_values_of_another_type_are_refused(nested, seal, unchecked):
    folder, model = nested
    file = folder / "config.json"
    config = json.loads(file.read_text())
    for container, key in list(_places(config))[:: 3 if seal else 1]:
        before = container[key]
        for value in (None, -1, "a", [[]], {"type": "GRU"}) if seal else (None, -1, "a", [], {}):
            container[key] = value
            if seal and container is not config:
                config["checksum"] = checksum_of(config)
            file.write_text(json.dumps(config))
            if value == before or not seal:
                assert _refused_or(folder, model) == (value != before)
            else:
                with contextlib.suppress(InputError):  # It may be another model, but it is one.
                    load(folder)
        container[key] = before
        config["checksum"] = checksum_of(config)


def test_weights_put_in_by_hand_are_refused(nested):
    folder, _ = nested
    other = eqx.tree_at(jax.tree.leaves, load(folder), replace_fn=jnp.zeros_like)
    save(folder / "zeros", other)
    (folder / "zeros" / "model.safetensors").replace(folder / "model.safetensors")
    with pytest.raises(InputError, match="belongs to another model"):
        load(folder)


def test_a_folder_of_format_1_still_loads(nested, unchecked):
    folder, model = nested
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"format": 1, "model": config["model"]}))
    assert _same(load(folder), model)
    config["model"]["norm"].pop("eps")
    (folder / "config.json").write_text(json.dumps({"format": 1, "model": config["model"]}))
    with pytest.raises(InputError, match=r"model\.norm, a LayerNorm, lacks field 'eps'"):
        load(folder)


def test_fields_that_do_not_fit_together_are_refused(nested, unchecked):
    folder, _ = nested
    _edit(folder / "config.json", lambda model: model["norm"].update(eps="small"))
    with pytest.raises(InputError, match="its fields do not fit together: TypeError") as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_only_layers_of_twofold_are_saved(tmp_path, unchecked):
    class Own(eqx.Module):
        x: jax.Array

    with pytest.raises(InputError, match="model is a Own"):
        save(tmp_path / "own", Own(jnp.zeros(1)))
    assert not (tmp_path / "own").exists()


def test_double_precision_is_not_lost_silently(tmp_path):
    with jax.enable_x64(True):
        save(tmp_path, LinearSelfAttention(3, 2, key=jax.random.key(0)))
    with jax.enable_x64(False), pytest.raises(InputError, match="jax_enable_x64"):
        load(tmp_path)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize("x64", [False, True])
def test_dtypes_stay_whatever_the_default_is(tmp_path, dtype, x64, unchecked):
    model = LinearSelfAttention(3, 2, key=jax.random.key(0))
    model = jax.tree.map(lambda x: x.astype(dtype), model)
    with jax.enable_x64(not x64):
        save(tmp_path, model)
    with jax.enable_x64(x64):
        assert _same(load(tmp_path), model)


class Killed(BaseException):
    """The process ends here."""


def _die_at(monkeypatch, number):
    """Let the system calls of a save fail from the one of this number on: what would clean up does nothing either."""
    calls = itertools.count()

    def mortal(call):
        def made(*args, **options):
            if next(calls) >= number:
                raise Killed
            return call(*args, **options)

        return made

    for name in ("fsync", "replace", "unlink"):
        monkeypatch.setattr(os, name, mortal(getattr(os, name)))
    monkeypatch.setattr("twofold.atomic.open", mortal(open), raising=False)


def _saved(seed, state):
    return GatedRNN(2, 2, key=jax.random.key(seed)), {"h": np.full(2, float(seed))} if state else None


@pytest.mark.parametrize("states", list(itertools.product([False, True], repeat=2)), ids=str)
def test_a_kill_at_any_point_leaves_the_old_or_the_new(tmp_path, monkeypatch, states):
    old, new, next_one = _saved(1, states[0]), _saved(2, states[1]), _saved(3, True)
    found = []
    for number in itertools.count():
        folder = tmp_path / str(number)
        save_with_state(folder, *old)
        (folder / "run.json").write_text("other")
        with monkeypatch.context() as patched:
            _die_at(patched, number)
            try:
                save_with_state(folder, *new)
                died = False
            except Killed:
                died = True
        loaded = load_with_state(folder)
        found.append([_same(loaded, old), _same(loaded, new)])
        assert sum(found[-1]) == 1
        for seeds in (next_one, new):  # A later save succeeds and clears what is left over.
            save_with_state(folder, *seeds)
            assert _same(load_with_state(folder), seeds)
        names = {"config.json", "model.safetensors", "run.json"} | ({"state.safetensors"} if states[1] else set())
        assert {file.name for file in folder.iterdir()} == names
        assert (folder / "run.json").read_text() == "other"
        if not died:
            break
    assert found == sorted(found, reverse=True)  # First the old one, then the new one.
    assert len(found) > 8


@pytest.mark.parametrize("again", ["old", "new"])
def test_a_save_after_a_kill_can_be_killed_too(tmp_path, monkeypatch, again):
    """The second save may be of the same model: it must not spoil files that the first has only half put in place."""
    monkeypatch.setattr(os, "fsync", lambda number: None)  # Nothing here is lost by power.
    contents = {
        name: ({"name": name}, {"model.safetensors": name.encode(), "state.safetensors": name.encode() * 2})
        for name in ("old", "new")
    }
    for first, second in itertools.product(range(18), range(1, 18, 2)):
        folder = tmp_path / f"{first} {second}"
        folder_module.write_together(folder, *contents["old"])
        for number, name in ((first, "new"), (second, again)):
            with monkeypatch.context() as patched:
                _die_at(patched, number)
                with contextlib.suppress(Killed):
                    folder_module.write_together(folder, *contents[name])
        config, files = folder_module.read_together(folder)
        assert (config["model"], files) in contents.values()


def test_an_error_before_the_switch_leaves_no_new_files(folder, monkeypatch):
    old, names = load(folder), sorted(folder.iterdir())

    def full(number):
        raise OSError("No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            save(folder, LinearSelfAttention(2, 2, key=jax.random.key(1)))
    assert _same(load(folder), old)
    assert sorted(folder.iterdir()) == names


def test_saving_replaces_and_files_have_the_mode_of_the_umask(folder):
    other = LinearSelfAttention(2, 2, key=jax.random.key(1))
    before = os.umask(0o022)
    try:
        save(folder, other)
    finally:
        os.umask(before)
    np.testing.assert_array_equal(load(folder).w_v, other.w_v)
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o644}


def test_what_an_older_version_left_over_is_removed(folder):
    (folder / ".model.safetensors.4711").write_bytes(b"half")
    (folder / ".hidden").write_text("mine")
    save(folder, LinearSelfAttention(2, 2, key=jax.random.key(1)))
    assert sorted(file.name for file in folder.iterdir()) == [".hidden", "config.json", "model.safetensors"]


SAVER = """
import sys, jax, numpy as np
from twofold.layers import GatedRNN
from twofold.saving import save_with_state
models = [GatedRNN(2, 2, key=jax.random.key(seed)) for seed in (0, 1)]
print("ready", flush=True)
while True:
    for seed in (0, 1):
        save_with_state(sys.argv[1], models[seed], {"h": np.full(2, float(seed))})
"""


@pytest.mark.long
def test_a_model_survives_real_kills(tmp_path):
    rng = np.random.default_rng(0)
    for _ in range(25):
        saver = subprocess.Popen([sys.executable, "-c", SAVER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert saver.stdout.readline() == "ready\n"
        time.sleep(0.05 + 0.2 * rng.random())
        saver.send_signal(signal.SIGKILL)
        saver.wait()
        saver.stdout.close()
        model, state = load_with_state(tmp_path)
        with jax.enable_x64(False):
            expected = GatedRNN(2, 2, key=jax.random.key(int(state["h"][0])))
        assert _same(model, expected)
