"""Programs of every mixer are exported for any platform, from this machine, as `jax.export` does; they hold no kernel of it."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from jax import export

from twofold.layers.mixers import MIXERS

PLATFORMS = [("cuda",), ("tpu",), ("cpu", "cuda", "tpu")]


@pytest.fixture
def program(normal):
    """`program(mixer)`: a compiled function, and its arguments. It takes in tokens in parallel, some of them after a
    reset, and one more token, and finds the gradient of all that in the weights and the tokens."""

    def make(mixer):
        layer = MIXERS[mixer].make(4, 4, key=jax.random.key(0))
        weights, static = eqx.partition(layer, eqx.is_inexact_array)
        leaves, tree = jax.tree.flatten(weights)
        resets = jnp.arange(40) % 15 == 0

        def results(leaves, xs):
            layer = eqx.combine(jax.tree.unflatten(tree, leaves), static)
            state, ys = layer.prefill(layer.init_state(), xs, resets=resets)
            state, y = layer.step(state, xs[0])
            return jax.tree.leaves((ys, y, state))

        def loss(leaves, xs):
            outputs = results(leaves, xs)
            return sum(jnp.sum(x) for x in outputs if jnp.issubdtype(x.dtype, jnp.inexact)).real, outputs

        return jax.jit(jax.grad(loss, (0, 1), has_aux=True)), (leaves, normal("tokens", 40, 4, dtype="float32"))

    return make


@pytest.mark.parametrize("platforms", PLATFORMS, ids=" ".join)
@pytest.mark.parametrize("mixer", MIXERS)
def test_prefill_step_and_gradient_are_exported(program, mixer, platforms):
    run, args = program(mixer)
    exported = export.export(run, platforms=platforms)(*args)
    assert exported.platforms == platforms
    assert "twofold_" not in exported.mlir_module()


@pytest.mark.parametrize("mixer", MIXERS)
def test_an_exported_program_is_stored_and_called(program, assert_close, mixer):
    pytest.importorskip("flatbuffers")
    run, args = program(mixer)
    stored = export.export(run, platforms=["cpu"])(*args).serialize()
    assert_close(export.deserialize(stored).call(*args), run(*args), rtol=1e-4)
