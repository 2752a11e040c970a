"""The LSTM is that of Equinox and PyTorch, with the weights in another order."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from twofold.layers import LSTM

TIME, IN, OUT = 6, 3, 4


def theirs(weight):
    """Rows in the order f, c~, g, o, in theirs: input, forget, cell, output gate."""
    f, candidate, g, o = np.split(np.asarray(weight), 4)
    return np.concatenate([g, f, candidate, o])


@pytest.fixture
def given(normal):
    """u, v, b, tokens, h, c."""
    shapes = (4 * OUT, IN), (4 * OUT, OUT), (4 * OUT,), (TIME, IN), (OUT,), (OUT,)
    return [normal(f"given {i}", *shape) for i, shape in enumerate(shapes)]


def ours(u, v, b, xs, h, c):
    layer = LSTM.from_weights(u, v, b)
    (h, c), ys = layer.prefill(type(layer.init_state())(h, c), xs)
    return ys, h, c


@pytest.fixture
def results(given, normal):
    """The outputs and last state of `ours`, and the gradients of a random sum of them, by argument."""
    pulls = [normal(f"pull {i}", *shape) for i, shape in enumerate([(TIME, OUT), (OUT,), (OUT,)])]

    def loss(args):
        out = ours(*args)
        return sum(jnp.vdot(pull, x) for pull, x in zip(pulls, out, strict=True)), out

    gradients, out = jax.jit(jax.grad(loss, has_aux=True))(given)
    return pulls, out, gradients


def test_equinox_has_the_same_values_and_gradients(given, results, assert_close):
    u, v, b, xs, h, c = given
    pulls, out, gradients = results
    cell = eqx.nn.LSTMCell(IN, OUT, key=jax.random.key(0))
    cell = eqx.tree_at(lambda l: (l.weight_ih, l.weight_hh, l.bias), cell, tuple(map(theirs, (u, v, b))))

    @jax.jit
    def run(cell, xs, state):
        (h, c), ys = lax.scan(lambda state, x: (cell(x, state), cell(x, state)[0]), state, xs)
        return ys, h, c

    expected, pull_back = jax.vjp(run, cell, xs, (h, c))
    of_cell, *others = pull_back(tuple(pulls))
    assert_close(out, expected)
    of_weights = list(map(theirs, gradients[:3]))
    assert_close(of_weights, [of_cell.weight_ih, of_cell.weight_hh, of_cell.bias])
    assert_close([gradients[3], tuple(gradients[4:])], others)


def test_pytorch_has_the_same_values_and_gradients(given, results, assert_close):
    """PyTorch has two biases, of which only the sum matters."""
    torch = pytest.importorskip("torch")
    pulls, out, gradients = results
    u, v, b, xs, h, c = given
    rnn = torch.nn.LSTM(IN, OUT, dtype=torch.float64)
    weights = [rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0, rnn.bias_hh_l0]
    with torch.no_grad():
        for weight, value in zip(weights, [theirs(u), theirs(v), theirs(b), 0 * b], strict=True):
            weight.copy_(torch.tensor(value))
    xs, h, c = (torch.tensor(x, requires_grad=True) for x in (xs, h, c))
    ys, (last_h, last_c) = rnn(xs, (h[None], c[None]))
    expected = ys, last_h[0], last_c[0]
    assert_close(out, tuple(x.detach().numpy() for x in expected))
    sum((torch.tensor(pull) * x).sum() for pull, x in zip(pulls, expected, strict=True)).backward()
    leaves = [*weights[:3], xs, h, c]
    assert_close([*map(theirs, gradients[:3]), *gradients[3:]], [x.grad.numpy() for x in leaves])


def test_weights_start_uniform_in_the_inverse_root_of_the_size():
    layer = LSTM(30, 25, key=jax.random.key(0))
    assert (layer.u.shape, layer.v.shape, layer.b.shape) == ((100, 30), (100, 25), (100,))
    for weight in (layer.u, layer.v, layer.b):
        assert 0.18 < np.max(np.abs(weight)) <= 0.2
        assert abs(np.std(weight) * 12**0.5 - 0.4) < 0.06
    assert not np.array_equal(layer.u[:, :25], layer.v)
