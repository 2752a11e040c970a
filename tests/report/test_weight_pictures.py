"""Pictures of weights show the matrices that they are given, with a largest entry of 1."""

import jax
import numpy as np
import pytest

from twofold.convert import to_gated_rnn, to_gru, to_lru, to_lstm
from twofold.layers import LinearSelfAttention
from twofold.report.weight_pictures import draw_figure2, draw_layers, draw_weights


@pytest.fixture(scope="module")
def attention():
    return LinearSelfAttention(2, 2, key=jax.random.key(0))


def drawn(axes):
    """The matrices that are drawn in some axes, by their titles."""
    return {ax.get_title(): np.asarray(ax.images[0].get_array()) for ax in axes if ax.images}


def test_weights_are_a_network_a_row(attention):
    networks = {form: to_gated_rnn(attention, form) for form in ("paper", "compact")}
    figure = draw_weights(networks)
    axes = [ax for ax in figure.axes if ax.images]
    assert len(axes) == 12
    for row, (name, rnn) in zip((axes[:6], axes[6:]), networks.items(), strict=True):
        assert row[0].get_ylabel() == f"{name}\n{rnn.hidden_size} neurons, {rnn.gate_size} gate rows"
        matrices = drawn(row)
        assert next(iter(matrices)) == "λ"
        np.testing.assert_allclose(np.sort(matrices["λ"][:, 0]), np.sort(rnn.lam), atol=1e-6)
        assert matrices["W$^m_{in}$"].shape == rnn.w_in_m.shape
        assert matrices["D"].shape == rnn.readout.shape
        assert all(np.abs(matrix).max() == pytest.approx(1) for matrix in matrices.values())


def test_figure2_has_the_teacher_and_the_kernels(attention):
    student = to_gated_rnn(attention, "compact")
    kernels = {name: np.arange(1.0, 13).reshape(2, 3, 2) * sign for name, sign in (("student", 1), ("teacher", -1))}
    figure = draw_figure2(student, attention, kernels)
    panels = drawn(figure.axes)
    for title, weights in (("$W_V$", attention.w_v), ("$W_K$", attention.w_k), ("$W_Q$", attention.w_q)):
        np.testing.assert_allclose(panels[title], weights[0] / np.abs(weights).max(), rtol=1e-6)
    assert panels["W$^x_{in}$"].shape == student.w_in_x.shape
    rows = {ax.get_ylabel(): ax for ax in figure.axes if ax.get_ylabel()}
    for name, kernel in kernels.items():
        np.testing.assert_allclose(rows[name].images[0].get_array(), kernel[0].T / 6)


@pytest.mark.parametrize(
    ("convert", "titles"),
    [
        (lambda a: to_lru(a, "in-out"), {"$W^{in}_m$", "B", "|λ|", "C", "$W_x$", "readout"}),
        (to_lstm, {"$U_f$", "$U_c$", "$U_g$", "$U_o$", "$b_f$", "readout"}),
        (lambda a: to_gru(a, tokens=8), {"$U_r$", "$U_h$", "$U_z$", "$b_z$", "diag $V_h$", "readout"}),
    ],
    ids=["LRU", "LSTM", "GRU"],
)
def test_converted_networks_are_a_layer_a_row(attention, convert, titles):
    network = convert(attention)
    figure = draw_layers(network)
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert {ax.get_title() for ax in shown} >= titles
    assert [ax.get_ylabel() for ax in shown if ax.get_ylabel()] == [f"layer {i + 1}" for i in range(network.layers)]
    for ax in shown:
        largest = np.abs(ax.images[0].get_array()).max(axis=1)
        assert np.all((np.abs(largest - 1) < 1e-6) | (largest == 0))
    readout = np.asarray(network.readout)
    np.testing.assert_allclose(drawn(shown)["readout"], readout / np.abs(readout).max(axis=1, keepdims=True), rtol=1e-6)
