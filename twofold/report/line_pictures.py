"""Pictures of lines: losses, errors, and costs. Each function returns a figure, which the caller saves."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from .panels import panels, plain

STREAM_COLOURS = [
    "#1f5fa8",
    "#c0392b",
    "#2e8b57",
    "#7fbf7b",
    "#e08e0b",
    "#8e8e8e",
    "black",
    "#8e44ad",
    "#16a0a0",
    "#6d4c41",
    "#d81b60",
]
"""The colours of Aaren, of the Transformer, and of more models on a stream."""
COST_COLOURS = ["black", "#8e8e8e", "#1f5fa8", "#2e8b57", "#7fbf7b", "#c0392b", "#e08e0b"]
"""The colours of attention, of the gated RNN, and of the architectures of table 3."""


def draw_lines(
    lines: dict[str, tuple[np.ndarray, np.ndarray]], *, xlabel: str, ylabel: str, log_x: bool = True
) -> Figure:
    """Lines of (x, y) by their names. The y axis is logarithmic."""
    figure, axes = panels(1, 1, figsize=(6.4, 4.0))
    ax = axes[0, 0]
    for name, (x, y) in lines.items():
        ax.plot(x, y, label=name, marker="o" if len(x) < 50 else None, markersize=4)
    ax.set(xlabel=xlabel, ylabel=ylabel, yscale="log", xscale="log" if log_x else "linear")
    plain(ax)
    ax.legend(frameon=False, fontsize=8)
    return figure


def draw_costs(sizes: Sequence[int], costs: dict[str, dict[str, list[int]]]) -> Figure:
    """Parameters against d. Each form of conversion has a panel, and each architecture has a line in it."""
    figure, axes = panels(1, len(costs), figsize=(4.4 * len(costs), 4.2), sharey=True)
    for ax, (form, lines) in zip(axes[0], costs.items(), strict=True):
        for colour, (name, parameters) in zip(COST_COLOURS, lines.items(), strict=True):
            style = {"attention": "--", "LRU": (0, (6, 6))}.get(name, "-")  # LRU and LRU In-Out nearly coincide
            order = 3 if name == "LRU" else 2
            ax.loglog(
                sizes, parameters, linestyle=style, color=colour, label=name, marker="o", markersize=3.5, zorder=order
            )
        ax.set(title=f"{form} form", xlabel="d")
        ax.set_xticks(sizes, [str(d) for d in sizes])
        ax.minorticks_off()
        plain(ax)
    axes[0, 0].set(ylabel="parameters")
    axes[0, 0].legend(frameon=False, fontsize=8)
    return figure


def draw_streams(streams: dict[str, dict[str, Any]]) -> Figure:
    """State, process memory and cumulative time against the number of tokens, a line for each model (paper B's comparison).

    Each of `streams` has the lists `tokens`, `state_bytes` and `cumulative_seconds`. The panel of `peak_bytes` is drawn if
    all of them have this list. Times are dashed where `integrated` is true.
    """
    quantities = {
        "state_bytes": (2**10, "log", "state (KiB)", "What must be remembered"),
        "peak_bytes": (2**20, "linear", "peak of resident memory (MiB)", "What the process holds"),
        "cumulative_seconds": (1, "log", "seconds in all", "What it takes"),
    }
    shown = {key: how for key, how in quantities.items() if all(key in stream for stream in streams.values())}
    figure, axes = panels(1, len(shown), figsize=(4.4 * len(shown), 4.2))
    for ax, (key, (unit, scale, ylabel, title)) in zip(axes[0], shown.items(), strict=True):
        integrated = [key == "cumulative_seconds" and stream.get("integrated", False) for stream in streams.values()]
        for i, (name, stream) in enumerate(streams.items()):
            behind = len(streams) - 1 - i  # the thicker: where lines coincide, all show
            ax.plot(
                stream["tokens"],
                np.divide(stream[key], unit),
                color=STREAM_COLOURS[i],
                label=name,
                linestyle="--" if integrated[i] else "-",
                linewidth=1.5 + 0.25 * behind,
                marker="o",
                markersize=3 + 0.8 * behind,
            )
        ylabel += " (dashed: integrated)" * any(integrated)
        ax.set(xscale="log", yscale=scale, xlabel="tokens in the stream", ylabel=ylabel, title=title)
        if scale == "linear":
            ax.set_ylim(0, 1.05 * ax.get_ylim()[1])
        plain(ax)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(streams), frameon=False)
    return figure


def draw_training_costs(lines: dict[str, list[dict[str, Any]]]) -> Figure:
    """The increase of memory and the time of a training step against the length of its sequence, a line for each model."""
    figure, axes = panels(1, 2, figsize=(8.8, 4.2))
    quantities = {"increase_bytes": (2**20, "memory (MiB)"), "seconds": (1, "seconds a step")}
    for ax, (key, (unit, ylabel)) in zip(axes[0], quantities.items(), strict=True):
        for colour, (name, costs) in zip(("#1f5fa8", "#7fbf7b", "#c0392b"), lines.items(), strict=True):
            tokens, values = ([cost[field] for cost in costs] for field in ("tokens", key))
            ax.plot(tokens, np.divide(values, unit), color=colour, label=name, marker="o", markersize=4)
        ax.set(xscale="log", yscale="log", xlabel="tokens in the sequence", ylabel=ylabel)
        plain(ax)
    axes[0, 0].legend(frameon=False, fontsize=8)
    return figure
