"""The pictures of the experiments."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jax import Array
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from ..convert import Converted
from ..discover import normalise
from ..layers import GRU, LRU, LSTM, GatedRNN, Layer, LinearSelfAttention

SIGNED = LinearSegmentedColormap.from_list("signed", ["#c0392b", "#e8e8e8", "#1f5fa8"])
"""Negative red, zero grey, positive blue, as in paper A's figure 2."""
TITLES = ["λ", "W$^m_{in}$", "W$^x_{in}$", "W$^m_{out}$", "W$^x_{out}$", "D"]
"""Of a gated RNN's weights."""
STREAMS = ["#1f5fa8", "#c0392b", "#2e8b57", "#7fbf7b", "#e08e0b", "#8e8e8e", "black"]
"""Colours of Aaren, of the Transformer, and of more models on a stream."""


def draw_weights(networks: dict[str, GatedRNN], file: Path | str) -> None:
    """The weight matrices of gated RNNs, a network a row (paper A, figure 2A). Rows are scaled to a largest entry of 1.

    A rescaling of gate branches changes no function, so that matrices can be compared up to the mixing of neurons.
    """
    rows = {name: normalise(rnn) for name, rnn in networks.items()}
    widths = [max(_matrices(rnn)[i].shape[1] for rnn in rows.values()) for i in range(6)]
    heights = [max(m.shape[0] for m in _matrices(rnn)) for rnn in rows.values()]
    figure, axes = _subplots(
        len(rows),
        6,
        figsize=(1.5 + 0.34 * (sum(widths) + 12), 1.2 + 0.34 * (sum(heights) + 3 * len(rows))),
        width_ratios=[w + 1 for w in widths],
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for line, (name, rnn) in zip(axes, rows.items(), strict=True):
        for ax, title, matrix in zip(line, TITLES, _matrices(rnn), strict=True):
            image = _draw_matrix(ax, matrix / _largest(matrix), title)
        line[0].set_ylabel(f"{name}\n{rnn.hidden_size} neurons, {rnn.gate_size} gate rows", fontsize=11)
    colours = figure.colorbar(image, ax=axes[:, -1], ticks=[-1, 0, 1], shrink=0.6, aspect=14)
    colours.ax.set_yticklabels(["-1", "0", "1"])
    _write(figure, file)


def draw_figure2(
    student: GatedRNN, teacher: LinearSelfAttention, kernels: dict[str, np.ndarray], file: Path | str
) -> None:
    """(A) a pruned student's weights, (B) its teacher's, (C) a kernel of memories times queries for every output (paper A).

    `kernels` are by whose they are, (out, memory, query), each drawn in its row.
    """
    matrices = _matrices(normalise(student))
    widths = [matrix.shape[1] + 1.0 for matrix in matrices]
    heights = [1.2 + 14 / sum(widths) * max(len(matrix) for matrix in matrices), 4.2]
    figure = Figure(figsize=(15, sum(heights)), layout="constrained")
    top, bottom = np.ravel(np.asarray(figure.subfigures(2, 1, height_ratios=heights)))
    left, right = np.ravel(np.asarray(bottom.subfigures(1, 2, width_ratios=[1, 2])))
    parts = ((top, "A  the student, pruned"), (left, "B  the teacher"), (right, "C  kernels of memories and queries"))
    for part, title in parts:
        part.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    for ax, title, matrix in zip(top.subplots(1, 6, width_ratios=widths), TITLES, matrices, strict=True):
        image = _draw_matrix(ax, matrix / _largest(matrix), title)
    colours = top.colorbar(image, ticks=[-1, 0, 1], shrink=0.6, aspect=14)
    colours.ax.set_yticklabels(["-1", "0", "1"])
    weights = {"$W_V$": teacher.w_v, "$W_K$": teacher.w_k, "$W_Q$": teacher.w_q}
    for ax, (title, w) in zip(left.subplots(1, 3), weights.items(), strict=True):
        matrix = np.concatenate(np.asarray(w))
        _draw_matrix(ax, matrix / _largest(matrix), title)
    panels = right.subplots(len(kernels), len(next(iter(kernels.values()))), squeeze=False)
    for line, (name, outputs) in zip(panels, kernels.items(), strict=True):
        for i, (ax, kernel) in enumerate(zip(line, outputs, strict=True)):
            _draw_matrix(ax, kernel.T / _largest(kernel), f"output {i + 1}")
        line[0].set_ylabel(name)
    _write(figure, file)


def draw_streams(streams: dict[str, dict[str, Any]], file: Path | str) -> None:
    """State, process memory and cumulative time against the number of tokens, a line a model (paper B's comparison).

    Each of `streams` has the lists `tokens`, `state_bytes` and `cumulative_seconds`; `peak_bytes` are drawn if all have them.
    Times are dashed where `integrated` is true.
    """
    panels = {
        "state_bytes": (2**10, "log", "state (KiB)", "What must be remembered"),
        "peak_bytes": (2**20, "linear", "peak of resident memory (MiB)", "What the process holds"),
        "cumulative_seconds": (1, "log", "seconds in all", "What it takes"),
    }
    panels = {key: panel for key, panel in panels.items() if all(key in stream for stream in streams.values())}
    figure, axes = _subplots(1, len(panels), figsize=(4.4 * len(panels), 4.2), layout="constrained")
    for ax, (key, (unit, scale, ylabel, title)) in zip(axes, panels.items(), strict=True):
        for i, (name, stream) in enumerate(streams.items()):
            behind = len(streams) - 1 - i  # the thicker: where lines coincide, all show
            integrated = key == "cumulative_seconds" and stream.get("integrated", False)
            ax.plot(
                stream["tokens"],
                np.divide(stream[key], unit),
                color=STREAMS[i],
                label=name,
                linestyle="--" if integrated else "-",
                linewidth=1.5 + 0.25 * behind,
                marker="o",
                markersize=3 + 0.8 * behind,
            )
        ax.set(xscale="log", yscale=scale, xlabel="tokens in the stream", ylabel=ylabel, title=title)
        if scale == "linear":
            ax.set_ylim(bottom=0)
        if key == "cumulative_seconds" and any(stream.get("integrated") for stream in streams.values()):
            ax.set_ylabel(f"{ylabel} (dashed: integrated)")
        ax.grid(True, which="major", color="#e2e2e2")
        ax.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(streams), frameon=False)
    _write(figure, file)


def draw_costs(sizes: Sequence[int], costs: dict[str, dict[str, list[int]]], file: Path | str) -> None:
    """Parameters against d, a panel for each form of conversion and a line for each architecture."""
    figure, axes = _subplots(1, len(costs), figsize=(4.4 * len(costs), 4.2), sharey=True, layout="constrained")
    colours = ["black", "#8e8e8e", "#1f5fa8", "#2e8b57", "#7fbf7b", "#c0392b", "#e08e0b"]
    for ax, (form, lines) in zip(np.atleast_1d(axes), costs.items(), strict=True):
        for colour, (name, parameters) in zip(colours, lines.items(), strict=True):
            style = {"attention": "--", "LRU": (0, (6, 6))}.get(name, "-")  # LRU and LRU In-Out nearly coincide
            order = 3 if name == "LRU" else 2
            ax.loglog(
                sizes, parameters, linestyle=style, color=colour, label=name, marker="o", markersize=3.5, zorder=order
            )
        ax.set(title=f"{form} form", xlabel="d")
        ax.set_xticks(sizes, [str(d) for d in sizes])
        ax.minorticks_off()
        ax.grid(True, color="#e2e2e2")
        ax.spines[["top", "right"]].set_visible(False)
    first = np.atleast_1d(axes)[0]
    first.set(ylabel="parameters")
    first.legend(frameon=False, fontsize=8)
    _write(figure, file)


def draw_lines(
    lines: dict[str, tuple[np.ndarray, np.ndarray]],
    file: Path | str,
    *,
    xlabel: str,
    ylabel: str,
    log_x: bool = True,
) -> None:
    """Lines of (x, y), y on a logarithmic axis."""
    figure, ax = _subplots(figsize=(6.4, 4), layout="constrained")
    for name, (x, y) in lines.items():
        ax.plot(x, y, label=name, marker="o" if len(x) < 50 else None, markersize=4)
    ax.set(xlabel=xlabel, ylabel=ylabel, yscale="log", xscale="log" if log_x else "linear")
    ax.grid(True, color="#e2e2e2")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, fontsize=8)
    _write(figure, file)


def draw_layers(network: Converted, file: Path | str) -> None:
    """The weight matrices of a converted network, a layer a row, each matrix row scaled to a largest entry of 1."""
    rows = [_layer_matrices(layer) for layer in network.stack.layers]
    rows[-1]["readout"] = np.asarray(network.readout)
    if network.embedding is not None:
        rows[0] = {"embedding": np.asarray(network.embedding)} | rows[0]
    rows = [{title: matrix for title, matrix in row.items() if matrix.size} for row in rows]
    columns = max(len(row) for row in rows)
    widths = [max(list(row.values())[i].shape[1] for row in rows if i < len(row)) for i in range(columns)]
    heights = [max(m.shape[0] for m in row.values()) for row in rows]
    figure, axes = _subplots(
        len(rows),
        columns,
        figsize=(1.0 + 0.16 * (sum(widths) + 4 * columns), 0.7 + 0.16 * (sum(heights) + 4 * len(rows))),
        width_ratios=[w + 3 for w in widths],
        height_ratios=[h + 3 for h in heights],
        squeeze=False,
        layout="constrained",
    )
    for number, (line, row) in enumerate(zip(axes, rows, strict=True)):
        for ax in line[len(row) :]:
            ax.set_visible(False)
        for ax, (title, matrix) in zip(line, row.items(), strict=False):
            largest = np.maximum(np.abs(matrix).max(axis=1, keepdims=True), 1e-300)
            _draw_matrix(ax, matrix / largest, title)
        line[0].set_ylabel(f"layer {number + 1}")
    _write(figure, file)


def _layer_matrices(layer: Layer) -> dict[str, np.ndarray]:
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


def _draw_matrix(ax, matrix: np.ndarray, title: str):
    image = ax.imshow(matrix, cmap=SIGNED, vmin=-1, vmax=1)
    ax.set(xticks=[], yticks=[], title=title, anchor="N")
    ax.set_xticks(np.arange(-0.5, matrix.shape[1]), minor=True)
    ax.set_yticks(np.arange(-0.5, matrix.shape[0]), minor=True)
    ax.grid(which="minor", color="white", linewidth=1.2)
    ax.tick_params(which="both", length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return image


def _matrices(rnn: GatedRNN) -> list[np.ndarray]:
    weights = (rnn.lam[:, None], rnn.w_in_m, rnn.w_in_x, rnn.w_out_m, rnn.w_out_x, rnn.readout)
    return [np.asarray(w) for w in weights]


def _largest(matrix: np.ndarray) -> float:
    return max(float(np.abs(matrix).max(initial=0)), 1e-30)


def _write(figure, file: Path | str) -> None:
    figure.savefig(file, dpi=130)


def _subplots(*grid: int, figsize: tuple, layout: Literal["constrained"], **shared: Any) -> tuple[Figure, Any]:
    """A figure of its own and its axes, without pyplot: that would change the backend of the user's program."""
    figure = Figure(figsize=figsize, layout=layout)
    return figure, figure.subplots(*grid, **shared)
