"""The pictures of results, drawn again from the files of results."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..report import size_pictures
from ..report.line_pictures import draw_costs, draw_streams, draw_training_costs
from ..report.size_pictures import Panel, draw_architectures, draw_figure3
from .gated_rnn import figure3, figure4, figure5
from .gated_rnn.architectures import LAYERED, Contestant, Plan, contestants_of
from .results import Figured, read_figures


def _figure3(results: Figured) -> Figure:
    grid = figure3.Grid()
    found = figure3.figures_of(grid, [cell["result"] for cell in results["cells"]])
    return draw_figure3(
        size_pictures.Grid(grid.hidden, grid.gates, found.imitation, figure3.GRID_MARKS),
        size_pictures.Line(grid.neurons, found.excess, figure3.LINE_MARKS),
    )


def _architectures(
    layered: tuple[str, ...], panels: Callable[[Plan, list[Contestant]], list[list[Panel]]]
) -> Callable[[Figured], Figure]:
    def draw(results: Figured) -> Figure:
        plan = Plan()
        return draw_architectures(
            panels(plan, contestants_of(plan, layered, [cell["result"] for cell in results["cells"]]))
        )

    return draw


DRAWN: dict[str, tuple[str, Callable[[Any], Figure]]] = {
    "figure3/figure3.png": ("figure3/figure3.json", _figure3),
    "figure4/figure4.png": ("figure4/figure4.json", _architectures(figure4.SHOWN, figure4.panels)),
    "figure5/figure5.png": ("figure5/figure5.json", _architectures(LAYERED, figure5.panels)),
    "table3/costs.png": ("table3/table3.json", lambda r: draw_costs(r["costs"]["d"], r["costs"]["parameters"])),
    "efficiency/efficiency.png": ("efficiency/efficiency.json", lambda r: draw_streams(r["streams"])),
    "long/long.png": ("long/long.json", lambda r: draw_training_costs(r["models"])),
}
"""The file and the drawer of each picture, by its path in the folder of results."""


def drawn(folder: Path, picture: str) -> Figure:
    """Draw a picture of `DRAWN` from the files in the folder of results.

    **Raises:** `InputError` if the file is missing or damaged.
    """
    file, draw = DRAWN[picture]
    return draw(read_figures(folder / file))
