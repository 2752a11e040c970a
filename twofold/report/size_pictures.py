"""Pictures of losses against the sizes of networks. Each function returns a figure, which the caller saves."""

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from .panels import panels, plain


class Grid(NamedTuple):
    """Losses of networks by two sizes, and the sizes that a theory names."""

    rows: tuple[int, ...]
    columns: tuple[int, ...]
    losses: Float[np.ndarray, "rows columns"]
    marks: dict[str, tuple[int, int]]
    """Rows and columns by what they mean."""


class Line(NamedTuple):
    """Losses of networks by one size, for several seeds, and the sizes that a theory names."""

    sizes: tuple[int, ...]
    losses: Float[np.ndarray, "sizes seeds"]
    marks: dict[str, int]


class Panel(NamedTuple):
    """Values by sizes, for several architectures, and levels to compare them with."""

    title: str
    ylabel: str
    lines: dict[str, tuple[list[int], list[float]]]
    """Parameters and values by the architecture's name."""
    levels: dict[str, float]
    yscale: Literal["log", "linear"] = "log"


COLOURS = {
    "gated RNN": "black",
    "gated RNN, dense": "#8e8e8e",
    "LSTM": "#c0392b",
    "GRU": "#e08e0b",
    "LRU": "#1f5fa8",
    "LRU In-Out": "#2e8b57",
    "LRU In-Skip": "#7fbf7b",
}


def draw_figure3(grid: Grid, line: Line) -> Figure:
    """Panel A: a grid of losses. Panel B: the seeds of every size as points, and their median as a line (paper A, figure 3)."""
    figure, axes = panels(1, 2, figsize=(13.0, 5.0))
    _draw_grid(axes[0, 0], grid)
    _draw_line(axes[0, 1], line)
    return figure


def _draw_grid(ax: Axes, grid: Grid) -> None:
    finite = grid.losses[np.isfinite(grid.losses)]
    norm = LogNorm(finite.min(), finite.max()) if len(finite) else None
    image = ax.imshow(grid.losses, origin="lower", norm=norm, cmap="viridis", aspect="auto")
    ax.figure.colorbar(image, ax=ax, label="share of the teacher's output that is missed")
    for (row, column), loss in np.ndenumerate(grid.losses):
        ax.text(column, row, f"{loss:.0e}", ha="center", va="center", color="white", fontsize=8)
    for (meaning, (row, column)), style in zip(grid.marks.items(), ("-", "--", ":"), strict=False):
        if row in grid.rows and column in grid.columns:
            x, y = grid.columns.index(column) - 0.5, grid.rows.index(row) - 0.5
            ax.plot(
                [x, x + 1, x + 1, x, x], [y, y, y + 1, y + 1, y], style, color="#c0392b", linewidth=2.5, label=meaning
            )
    ax.set_xticks(range(len(grid.columns)), [str(n) for n in grid.columns])
    ax.set_yticks(range(len(grid.rows)), [str(n) for n in grid.rows])
    ax.set(title="A  imitating attention", xlabel="gate rows", ylabel="hidden neurons")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False, fontsize=8)


def _draw_line(ax: Axes, line: Line) -> None:
    floor = 1e-6  # the loss may be below the optimum by the noise of its measurement
    for seed in line.losses.T:
        ax.plot(line.sizes, np.maximum(seed, floor), ".", color="#9fb8d8")
    ax.plot(
        line.sizes, np.maximum(np.median(line.losses, 1), floor), "o-", color="#1f5fa8", label="median of the seeds"
    )
    for (meaning, size), style in zip(line.marks.items(), ("-", "--", ":"), strict=False):
        ax.axvline(size, linestyle=style, color="#c0392b", label=meaning)
    ax.set(
        title="B  regression in context",
        xlabel="hidden neurons, and gate rows",
        ylabel="loss minus that of the optimal step",
        xscale="log",
        yscale="log",
    )
    ax.set_xticks(line.sizes, [str(n) for n in line.sizes])
    ax.minorticks_off()
    plain(ax)
    ax.legend(frameon=False, fontsize=8)


def draw_architectures(rows: list[list[Panel]]) -> Figure:
    """Panels of lines, one row after another. Lines of two layers are dashed (paper A, figures 4 and 5)."""
    figure, axes = panels(len(rows), len(rows[0]), figsize=(4.8 * len(rows[0]), 3.8 * len(rows)))
    for row, line in zip(axes, rows, strict=True):
        for ax, panel in zip(row, line, strict=True):
            _draw_panel(ax, panel)
    handles = {label: handle for ax in axes.flat for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=6, frameon=False, fontsize=8)
    return figure


def _draw_panel(ax: Axes, panel: Panel) -> None:
    for name, (sizes, values) in panel.lines.items():
        architecture, _, depth = name.partition(" x ")
        ax.plot(sizes, values, "o--" if depth == "2" else "o-", color=COLOURS[architecture], markersize=4, label=name)
    for meaning, level in panel.levels.items():
        ax.axhline(level, linestyle=":", color="#555555", linewidth=1)
        ax.annotate(meaning, (1, level), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=7)
    ax.set(title=panel.title, xlabel="parameters", ylabel=panel.ylabel, xscale="log", yscale=panel.yscale)
    ax.xaxis.set_minor_formatter("")  # the numbers between the powers of ten would lie on each other
    plain(ax)
