"""The pictures of the experiments."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from ..discover import normalise
from ..layers import GatedRNN

SIGNED = LinearSegmentedColormap.from_list("signed", ["#c0392b", "#e8e8e8", "#1f5fa8"])
"""Negative red, zero grey, positive blue, as in paper A's figure 2."""


def draw_weights(networks: dict[str, GatedRNN], file: Path | str) -> None:
    """The weight matrices of gated RNNs, a network a row (paper A, figure 2A). Rows are scaled to a largest entry of 1.

    A rescaling of gate branches changes no function, so that matrices can be compared up to the mixing of neurons.
    """
    rows = {name: normalise(rnn) for name, rnn in networks.items()}
    titles = ["λ", "W$^m_{in}$", "W$^x_{in}$", "W$^m_{out}$", "W$^x_{out}$", "D"]
    widths = [max(_matrices(rnn)[i].shape[1] for rnn in rows.values()) for i in range(6)]
    heights = [max(m.shape[0] for m in _matrices(rnn)) for rnn in rows.values()]
    figure, axes = plt.subplots(
        len(rows),
        6,
        figsize=(1.5 + 0.34 * (sum(widths) + 12), 1.2 + 0.34 * (sum(heights) + 3 * len(rows))),
        width_ratios=[w + 1 for w in widths],
        height_ratios=heights,
        squeeze=False,
        layout="constrained",
    )
    for line, (name, rnn) in zip(axes, rows.items(), strict=True):
        for ax, title, matrix in zip(line, titles, _matrices(rnn), strict=True):
            image = ax.imshow(matrix / max(np.abs(matrix).max(initial=0), 1e-30), cmap=SIGNED, vmin=-1, vmax=1)
            ax.set(xticks=[], yticks=[], title=title, anchor="N")
            ax.set_xticks(np.arange(-0.5, matrix.shape[1]), minor=True)
            ax.set_yticks(np.arange(-0.5, matrix.shape[0]), minor=True)
            ax.grid(which="minor", color="white", linewidth=1.2)
            ax.tick_params(which="both", length=0)
            for spine in ax.spines.values():
                spine.set_visible(False)
        line[0].set_ylabel(f"{name}\n{rnn.hidden_size} neurons, {rnn.gate_size} gate rows", fontsize=11)
    colours = figure.colorbar(image, ax=axes[:, -1], ticks=[-1, 0, 1], shrink=0.6, aspect=14)
    colours.ax.set_yticklabels(["-1", "0", "1"])
    _write(figure, file)


def draw_streams(streams: dict[str, dict[str, list[int] | list[float]]], file: Path | str) -> None:
    """State size and cumulative time against the number of tokens, a line a model (paper B's comparison, its section 4).

    Each of `streams` has the lists `tokens`, `state_bytes` and `cumulative_seconds`.
    """
    figure, (memory, time) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for colour, (name, stream) in zip(("#1f5fa8", "#c0392b", "#2e8b57"), streams.items(), strict=False):
        style = dict(color=colour, label=name, marker="o", markersize=3.5, linewidth=1.8)
        memory.loglog(stream["tokens"], np.divide(stream["state_bytes"], 1024), **style)
        time.loglog(stream["tokens"], stream["cumulative_seconds"], **style)
    memory.set(xlabel="tokens in the stream", ylabel="state (KiB)", title="What must be remembered")
    time.set(xlabel="tokens in the stream", ylabel="seconds in all", title="What it takes")
    for ax in (memory, time):
        ax.grid(True, which="major", color="#e2e2e2")
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False)
    _write(figure, file)


def _matrices(rnn: GatedRNN) -> list[np.ndarray]:
    weights = (rnn.lam[:, None], rnn.w_in_m, rnn.w_in_x, rnn.w_out_m, rnn.w_out_x, rnn.readout)
    return [np.asarray(w) for w in weights]


def _write(figure, file: Path | str) -> None:
    figure.savefig(file, dpi=130)
    plt.close(figure)
