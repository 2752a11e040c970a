"""The grid of panels that a picture is made of, and how panels with lines look."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def panels(rows: int, columns: int, *, figsize: tuple[float, float], **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure and its (rows, columns) axes. pyplot is not used, since it would change the backend of the user's program."""
    figure = Figure(figsize=figsize, dpi=130, layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def plain(ax: Axes) -> None:
    """Leave a light grid and two spines of a panel."""
    ax.grid(True, which="major", color="#e2e2e2")
    ax.spines[["top", "right"]].set_visible(False)
