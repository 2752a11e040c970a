"""The GRU with the reset after the product is that of Equinox and PyTorch; both variants are one where V_h is diagonal."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from twofold.layers import GRU

TIME, IN, OUT = 6, 3, 4


def theirs(weight):
    """Rows in the order r, h~, z, in theirs: reset, update and new gate, where the update gate is 1 - z."""
    r, candidate, z = np.split(np.asarray(weight), 3)
    return np.concatenate([r, -z, candidate])


@pytest.fixture(params=["any weights", "diagonal"])
def given(normal, request):
    """u, v, b, b_n, tokens, h. Where `V_h` is diagonal and b_n zero, the default layer must do the same."""
    shapes = (3 * OUT, IN), (3 * OUT, OUT), (3 * OUT,), (OUT,), (TIME, IN), (OUT,)
    u, v, b, b_n, xs, h = (normal(f"given {i}", *shape) for i, shape in enumerate(shapes))
    if request.param == "diagonal":
        v[OUT : 2 * OUT] *= np.eye(OUT)
        b_n = None
    return u, v, b, b_n, xs, h


@pytest.fixture
def results(given, normal):
    """The outputs and last state of twofold's layer, and the gradients of a random sum of them, by argument."""
    pulls = normal("pull 0", TIME, OUT), normal("pull 1", OUT)

    def loss(args):
        *weights, xs, h = args
        layer = GRU.from_weights(*weights)
        assert layer.reset_after == (weights[3] is not None)
        h, ys = layer.prefill(h, xs)
        return jnp.vdot(pulls[0], ys) + jnp.vdot(pulls[1], h), (ys, h)

    gradients, out = jax.jit(jax.grad(loss, has_aux=True))(given)
    return pulls, out, gradients


def comparable(of_v, of_b_n, given):
    """Of the gradients in V and b_n, what both variants have: b_n may be absent, and V_h off its diagonal matters."""
    if given[3] is not None:
        return of_v, of_b_n
    candidate = slice(2 * OUT, None)  # In their order.
    of_v = of_v.copy()
    of_v[candidate] *= np.eye(OUT)
    return of_v, None


def test_equinox_has_the_same_values_and_gradients(given, results, assert_close):
    u, v, b, b_n, xs, h = given
    pulls, out, gradients = results
    cell = eqx.nn.GRUCell(IN, OUT, key=jax.random.key(0))
    weights = theirs(u), theirs(v), theirs(b), np.zeros(OUT) if b_n is None else b_n
    cell = eqx.tree_at(lambda l: (l.weight_ih, l.weight_hh, l.bias, l.bias_n), cell, weights)

    @jax.jit
    def run(cell, xs, h):
        h, ys = lax.scan(lambda h, x: (cell(x, h), cell(x, h)), h, xs)
        return ys, h

    expected, pull_back = jax.vjp(run, cell, xs, h)
    of_cell, *others = pull_back(pulls)
    assert_close(out, expected)
    of_u, of_v, of_b, of_b_n, *of_others = gradients
    assert_close([theirs(of_u), theirs(of_b), *of_others], [of_cell.weight_ih, of_cell.bias, *others])
    assert_close(
        comparable(theirs(of_v), of_b_n, given), comparable(np.asarray(of_cell.weight_hh), of_cell.bias_n, given)
    )


def test_pytorch_has_the_same_values_and_gradients(given, results, assert_close):
    """PyTorch has two biases, of which only the sum matters but for that of the new gate: b_n is its second."""
    torch = pytest.importorskip("torch")
    u, v, b, b_n, xs, h = given
    pulls, out, gradients = results
    rnn = torch.nn.GRU(IN, OUT, dtype=torch.float64)
    weights = [rnn.weight_ih_l0, rnn.weight_hh_l0, rnn.bias_ih_l0, rnn.bias_hh_l0]
    second = np.concatenate([np.zeros(2 * OUT), np.zeros(OUT) if b_n is None else b_n])
    with torch.no_grad():
        for weight, value in zip(weights, [theirs(u), theirs(v), theirs(b), second], strict=True):
            weight.copy_(torch.tensor(value))
    xs, h = (torch.tensor(x, requires_grad=True) for x in (xs, h))
    ys, last = rnn(xs, h[None])
    assert_close(out, (ys.detach().numpy(), last[0].detach().numpy()))
    ((torch.tensor(pulls[0]) * ys).sum() + (torch.tensor(pulls[1]) * last[0]).sum()).backward()
    of_u, of_v, of_b, of_b_n, *of_others = gradients
    expected_u, expected_v, expected_b, expected_second = (x.grad.numpy() for x in weights)
    assert_close([theirs(of_u), theirs(of_b), *of_others], [expected_u, expected_b, xs.grad.numpy(), h.grad.numpy()])
    expected = comparable(expected_v, expected_second[2 * OUT :], given)
    assert_close(comparable(theirs(of_v), of_b_n, given), expected)


def test_where_the_reset_is_matters_in_general(normal):
    u, v, b, xs = normal("u", 12, 3), normal("v", 12, 4), normal("b", 12), normal("x", 6, 3)
    before, after = GRU.from_weights(u, v, b)(xs), GRU.from_weights(u, v, b, np.zeros(4))(xs)
    np.testing.assert_allclose(before[0], after[0], rtol=1e-12)
    assert np.max(np.abs(before - after)) > 0.05


@pytest.mark.parametrize("reset_after", [False, True])
def test_weights_start_uniform_in_the_inverse_root_of_the_size(reset_after):
    layer = GRU(30, 25, reset_after=reset_after, key=jax.random.key(0))
    assert layer.reset_after == reset_after
    assert (layer.u.shape, layer.v.shape, layer.b.shape) == ((75, 30), (75, 25), (75,))
    for weight in (layer.u, layer.v, layer.b):
        assert 0.18 < np.max(np.abs(weight)) <= 0.2
        assert abs(np.std(weight) * 12**0.5 - 0.4) < 0.06
    if reset_after:
        assert layer.b_n.shape == (25,)
        assert 0.1 < np.max(np.abs(layer.b_n)) <= 0.2
