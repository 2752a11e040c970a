"""A picture of the returns that policies reach, against the returns that they are asked for."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from .panels import panels, plain

COLUMNS = 3


class Conditioned(NamedTuple):
    """What became of the returns that policies were asked for, on one data set."""

    title: str
    asked: Float[np.ndarray, " shares"]
    reached: dict[str, Float[np.ndarray, " shares"]]
    """The mean return of each model, by its name."""


def draw_conditioning(sets: Sequence[Conditioned]) -> Figure:
    """A panel for each data set, and a line for each model. On the dashed line, they do as they are asked."""
    columns = min(COLUMNS, len(sets))
    rows = -(-len(sets) // columns)
    figure, axes = panels(rows, columns, figsize=(4.4 * columns, 3.6 * rows + 0.6))
    for ax, one in zip(axes.flat, sets, strict=False):
        for name, reached in one.reached.items():
            ax.plot(one.asked, reached, label=name, marker="o", markersize=3.5)
        ax.plot(one.asked, one.asked, color="black", linestyle="--", linewidth=1)
        ax.set(title=one.title, xlabel="return asked for", ylabel="return reached")
        plain(ax)
    for ax in axes.flat[len(sets) :]:
        ax.set_axis_off()
    handles, names = axes[0, 0].get_legend_handles_labels()
    if names:
        figure.legend(handles, names, loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    return figure
