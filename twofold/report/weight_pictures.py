"""Pictures of weight matrices. Each function returns a figure, which the caller saves."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jax import Array
from jaxtyping import Float
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ..convert import Converted
from ..discover import normalise
from ..layers import GRU, LRU, LSTM, GatedRNN, Layer, LinearSelfAttention
from .panels import panels

SIGNED = LinearSegmentedColormap.from_list("signed", ["#c0392b", "#e8e8e8", "#1f5fa8"])
"""Negative red, zero grey, positive blue, as in paper A's figure 2."""

Matrices = dict[str, np.ndarray]
"""Matrices by their titles."""


def draw_weights(networks: dict[str, GatedRNN]) -> Figure:
    """The weight matrices of gated RNNs, a network a row (paper A, figure 2A). Each matrix has a largest entry of 1.

    The networks are normalised first. This changes no function, and matrices can be compared up to the mixing of neurons.
    """
    rows = [_gated_rnn_matrices(rnn) for rnn in networks.values()]
    figure, axes = _grid(rows, cell=0.34, gap=2)
    for ax, (name, rnn) in zip(axes[:, 0], networks.items(), strict=True):
        ax.set_ylabel(f"{name}\n{rnn.hidden_size} neurons, {rnn.gate_size} gate rows", fontsize=11)
    _add_colours(figure, axes[-1, -1].images[0], ax=axes[:, -1])
    return figure


def draw_figure2(
    student: GatedRNN, teacher: LinearSelfAttention, kernels: dict[str, Float[np.ndarray, "out memory query"]]
) -> Figure:
    """(A) a pruned student's weights, (B) its teacher's, (C) a kernel of memories times queries for every output (paper A).

    `kernels` has those of the student and those of the teacher. Each of them is drawn in a row of its own.
    """
    weights = _gated_rnn_matrices(student)
    widths = [matrix.shape[1] + 1.0 for matrix in weights.values()]
    heights = [1.2 + 14 / sum(widths) * max(len(matrix) for matrix in weights.values()), 4.2]
    figure = Figure(figsize=(15, sum(heights)), dpi=130, layout="constrained")
    top, bottom = np.ravel(np.asarray(figure.subfigures(2, 1, height_ratios=heights)))
    left, right = np.ravel(np.asarray(bottom.subfigures(1, 2, width_ratios=[1, 2])))
    parts = ((top, "A  the student, pruned"), (left, "B  the teacher"), (right, "C  kernels of memories and queries"))
    for part, title in parts:
        part.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    _draw_row(top.subplots(1, 6, width_ratios=widths), weights)
    _add_colours(top, top.axes[-1].images[0])
    projections = {"$W_V$": teacher.w_v, "$W_K$": teacher.w_k, "$W_Q$": teacher.w_q}
    _draw_row(left.subplots(1, 3), {title: _scaled(np.concatenate(np.asarray(w))) for title, w in projections.items()})
    lines = right.subplots(len(kernels), len(next(iter(kernels.values()))), squeeze=False)
    for line, (name, outputs) in zip(lines, kernels.items(), strict=True):
        _draw_row(line, {f"output {i + 1}": _scaled(kernel.T) for i, kernel in enumerate(outputs)})
        line[0].set_ylabel(name)
    return figure


def draw_layers(network: Converted) -> Figure:
    """The weight matrices of a converted network, a layer a row. Each row of a matrix has a largest entry of 1."""
    rows = [_layer_matrices(layer) for layer in network.stack.layers]
    rows[-1]["readout"] = np.asarray(network.readout)
    if network.embedding is not None:
        rows[0] = {"embedding": np.asarray(network.embedding)} | rows[0]
    rows = [{title: _scaled(matrix, axis=1) for title, matrix in row.items() if matrix.size} for row in rows]
    figure, axes = _grid(rows, cell=0.16, gap=4)
    for number, ax in enumerate(axes[:, 0], 1):
        ax.set_ylabel(f"layer {number}")
    return figure


def _grid(rows: Sequence[Matrices], *, cell: float, gap: int) -> tuple[Figure, np.ndarray]:
    """A panel for each matrix. An entry takes `cell` inches, and `gap` entries would fit between two matrices."""
    columns = max(len(row) for row in rows)
    widths = [max(list(row.values())[i].shape[1] for row in rows if i < len(row)) + gap for i in range(columns)]
    heights = [max(len(matrix) for matrix in row.values()) + gap for row in rows]
    size = (1 + cell * sum(widths), 0.7 + cell * sum(heights))
    figure, axes = panels(len(rows), columns, figsize=size, width_ratios=widths, height_ratios=heights)
    for line, row in zip(axes, rows, strict=True):
        _draw_row(line[: len(row)], row)
        for ax in line[len(row) :]:
            ax.set_visible(False)
    return figure, axes


def _draw_row(axes: np.ndarray, matrices: Matrices) -> None:
    for ax, (title, matrix) in zip(axes, matrices.items(), strict=True):
        ax.imshow(matrix, cmap=SIGNED, vmin=-1, vmax=1)
        ax.set(xticks=[], yticks=[], title=title, anchor="N")
        ax.set_xticks(np.arange(-0.5, matrix.shape[1]), minor=True)
        ax.set_yticks(np.arange(-0.5, matrix.shape[0]), minor=True)
        ax.grid(which="minor", color="white", linewidth=1.2)
        ax.tick_params(which="both", length=0)
        ax.spines[:].set_visible(False)


def _add_colours(figure: Any, image: AxesImage, **place: Any) -> None:
    colours = figure.colorbar(image, ticks=[-1, 0, 1], shrink=0.6, aspect=14, **place)
    colours.ax.set_yticklabels(["-1", "0", "1"])


def _gated_rnn_matrices(rnn: GatedRNN) -> Matrices:
    rnn = normalise(rnn)
    weights = {
        "λ": rnn.lam[:, None],
        "W$^m_{in}$": rnn.w_in_m,
        "W$^x_{in}$": rnn.w_in_x,
        "W$^m_{out}$": rnn.w_out_m,
        "W$^x_{out}$": rnn.w_out_x,
        "D": rnn.readout,
    }
    return {title: _scaled(np.asarray(w)) for title, w in weights.items()}


def _layer_matrices(layer: Layer) -> Matrices:
    weights: dict[str, Array | np.ndarray] = {}
    if isinstance(layer, LRU):
        if layer.w_in_m is not None and layer.w_in_x is not None:
            weights |= {"$W^{in}_m$": layer.w_in_m, "$W^{in}_x$": layer.w_in_x}
        weights |= {"B": layer.b_re, "|λ|": abs(layer.lam)[:, None], "C": layer.c_re, "D": layer.d}
        weights |= {"$W_m$": layer.w_out_m, "$W_x$": layer.w_out_x}
    elif isinstance(layer, LSTM | GRU):
        names = "fcgo" if isinstance(layer, LSTM) else "rhz"
        for name, u, b in zip(names, *(np.split(w, len(names)) for w in (layer.u, layer.b)), strict=True):
            weights |= {f"$U_{name}$": u, f"$b_{name}$": b[:, None]}
        if isinstance(layer, GRU):
            weights["diag $V_h$"] = np.diag(np.split(layer.v, 3)[1])[:, None]
    return {title: np.asarray(w) for title, w in weights.items()}


def _scaled(matrix: np.ndarray, axis: int | None = None) -> np.ndarray:
    """The matrix, or each of its rows, with a largest entry of 1."""
    return matrix / np.maximum(np.abs(matrix).max(axis=axis, keepdims=True, initial=0), np.finfo(matrix.dtype).tiny)
