"""Least squares on the function: from random weights, or from pruned ones, to the target, exactly where that can be."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from twofold import InputError
from twofold.convert import to_gated_rnn
from twofold.discover import decompile, finetune, prune
from twofold.layers import GatedRNN, LinearSelfAttention

KEY = jax.random.key(0)
TEACHER = LinearSelfAttention(2, 2, key=KEY)
STUDENT = GatedRNN(2, 2, hidden_size=10, gate_size=12, key=jax.random.key(1))


@jax.jit
def loss(a, b, seed=0):
    """Half the mean squared difference, relative to the mean square of b."""
    xs = jax.random.normal(jax.random.key(seed), (64, 32, 2))
    ours, theirs = (jax.vmap(layer)(xs) for layer in (a, b))
    return jnp.mean((ours - theirs) ** 2) / 2 / jnp.mean(theirs**2)


@pytest.fixture(scope="module")
def trained():
    return finetune(STUDENT, TEACHER, time=6)


def test_random_student_becomes_its_teacher(trained):
    """On sequences that it has not seen, five times as long as those that it has; from 1 to 1e-20."""
    assert loss(STUDENT, TEACHER) > 0.1
    assert loss(trained.network, TEACHER) < 1e-20
    assert 1.0 in np.asarray(trained.network.lam)
    found = decompile(trained.network)
    assert found.residual < 1e-9
    assert loss(found.attention, TEACHER) < 1e-18


def test_losses_fall_from_that_of_the_start(trained):
    assert trained.losses[0] == pytest.approx(finetune(STUDENT, TEACHER, steps=1, time=6).losses[0], rel=1e-12)
    assert np.all(np.diff(trained.losses) < 0)
    assert np.all(np.diff(trained.seconds) > 0)
    assert len(trained.losses) == len(trained.seconds) <= 101


def test_of_several_starts_the_best_is_returned():
    """The first is the network given; the others are random."""
    found = finetune(STUDENT, TEACHER, steps=3, starts=3, time=6)
    ends = [losses[-1] for losses in found.all_losses]
    assert len(set(ends)) == 3
    assert found.losses[-1] == min(ends)
    np.testing.assert_allclose(found.all_losses[0], finetune(STUDENT, TEACHER, steps=3, time=6).losses, rtol=1e-9)
    assert len(found.seconds) == len(found.losses)
    assert (found.network.hidden_size, found.network.gate_size) == (10, 12)


def test_no_start_follows_one_that_succeeds():
    assert len(finetune(to_gated_rnn(TEACHER), TEACHER, starts=3).all_losses) == 1


def test_lossy_pruning_is_undone():
    conversion = to_gated_rnn(TEACHER)
    noise = np.random.default_rng(0)
    worn = jax.tree.map(lambda w: w * (1 + 0.01 * noise.normal(size=w.shape)), conversion)
    pruned = prune(eqx.tree_at(lambda rnn: rnn.recurrent, worn, conversion.recurrent), 0.02).network
    assert loss(pruned, TEACHER) > 1e-6
    assert loss(finetune(pruned, TEACHER).network, TEACHER) < 1e-20


def test_what_is_there_already_is_left_alone():
    conversion = to_gated_rnn(TEACHER)
    found = finetune(conversion, TEACHER)
    assert len(found.losses) <= 3
    assert loss(found.network, conversion) < 1e-24


def test_target_may_be_any_layer_and_float32_stays(assert_close):
    source = to_gated_rnn(TEACHER)
    near = jax.tree.map(lambda w: (w + 0.01).astype(np.float32), source)
    found = finetune(near, source).network
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype("float32")}
    assert loss(found, source) < 1e-11


@pytest.mark.parametrize(
    ("rnn", "target", "message"),
    [
        (STUDENT, LinearSelfAttention(3, 2, key=KEY), "maps 2 to 2 features and the target 3 to 2"),
        (GatedRNN(2, 2, recurrence="dense", key=KEY), TEACHER, "dense"),
        (eqx.tree_at(lambda r: r.readout, STUDENT, STUDENT.readout * np.nan), TEACHER, "readout contains nan"),
        (STUDENT, eqx.tree_at(lambda l: l.w_v, TEACHER, TEACHER.w_v * np.inf), r"the target contains -?inf"),
        (GatedRNN(2, 2, hidden_size=100, gate_size=100, key=KEY), TEACHER, "20,900 parameters.*prune it first"),
        (GatedRNN(2, 2, hidden_size=0, gate_size=0, key=KEY), TEACHER, "nothing to train"),
    ],
    ids=["sizes", "dense", "NaN", "infinite target", "many parameters", "no parameters"],
)
def test_unusable_networks_are_refused(rnn, target, message):
    with pytest.raises(InputError, match=message):
        finetune(rnn, target)


@pytest.mark.parametrize("arguments", [{"steps": 0}, {"time": 0}, {"starts": 0}])
def test_impossible_numbers_are_named(arguments):
    with pytest.raises(InputError, match="must be at least 1"):
        finetune(STUDENT, TEACHER, **arguments)
