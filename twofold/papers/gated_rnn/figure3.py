"""Figure 3 of paper A: how large a gated RNN must be to learn attention, and to learn a step of gradient descent."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from ...report import size_pictures
from ...report.claims import Claim, claims_table
from ...report.provenance import write_json
from ...report.size_pictures import draw_figure3
from ...report.tables import console_table
from ...tasks.students.in_context_regression import loss_of_step, optimal_step
from ...train.sweep import Workers, sweep
from .training_cell import IMITATION, REGRESSION, D, Training, described, losses_of, median

COMPACT = 27, 21
"""Hidden neurons and gate rows that attention with d = 6 needs: d(d + 1)/2 memories and d queries, and d(d + 1)/2 products."""
CONSTRUCTION = 42, 36
"""Hidden neurons and gate rows of the paper's construction: d^2 + d and d^2."""
SPARSE = 12
"""Hidden neurons that one gradient step needs: 9 memories for sum y x^T, and 3 queries for the question."""
FAR_BELOW = CONSTRUCTION[0] // 2
"""A transition at no more neurons than these counts as far below the construction."""
GRID_MARKS = {
    "compact need of attention": COMPACT,
    "the paper's construction": CONSTRUCTION,
    "twice the compact need": (2 * COMPACT[0], 2 * COMPACT[1]),
}
LINE_MARKS = {
    f"need of one gradient step: 9 memories + 3 queries = {SPARSE}": SPARSE,
    f"the paper's construction: 36 + 6 = {CONSTRUCTION[0]}": CONSTRUCTION[0],
}
"""The sizes that the picture marks, by what they mean."""


class Grid(NamedTuple):
    """The networks that are trained, and how."""

    hidden: tuple[int, ...] = (14, 27, 42, 54, 84)
    gates: tuple[int, ...] = (11, 21, 36, 42, 72)
    """Panel A has all pairs of `hidden` and `gates`. Those at equal places have the proportions that the theory needs."""
    neurons: tuple[int, ...] = (4, 8, 10, 12, 14, 16, 20, 24, 32, 42, 80)
    """Panel B has networks with so many hidden neurons, and as many gate rows."""
    imitation: Training = Training(IMITATION, "gated RNN", (), steps=4_000)
    regression: Training = Training(REGRESSION, "gated RNN", (), steps=6_000, seeds=4)

    def imitations(self) -> list[Training]:
        """The networks of panel A, with the gates running fastest."""
        return [dataclasses.replace(self.imitation, sizes=(n, g)) for n in self.hidden for g in self.gates]

    def regressions(self) -> list[Training]:
        """The networks of panel B."""
        return [dataclasses.replace(self.regression, sizes=(n,)) for n in self.neurons]


QUICK = Grid(
    hidden=(14, 27, 54),
    gates=(11, 21, 42),
    neurons=(4, 12, 24, 42),
    imitation=Training(IMITATION, "gated RNN", (), steps=1_500, seeds=1),
    regression=Training(REGRESSION, "gated RNN", (), steps=2_000, seeds=2),
)


class Figures(NamedTuple):
    """What the figure shows. Losses are infinite for networks that are missing, and for those that all diverged."""

    imitation: np.ndarray
    """Panel A, (hidden, gates): the loss on new sequences, in units of the loss of outputs of 0. It is the median over seeds."""
    excess: np.ndarray
    """Panel B, (neurons, seeds): by how much the loss is higher than that of the optimal gradient step."""


IDENTIFIED = 1e-4
"""A student with a smaller loss than this, in units of the loss of outputs of 0, has identified its teacher."""
AT_OPTIMUM = 1e-3
"""A network whose loss is higher than the optimum by less than this has learned the optimal step: 1% of its loss."""


def reproduce(
    grid: Grid,
    *,
    out: Path | str,
    where: Workers = Workers(),  # noqa: B008
    progress: bool = True,
) -> Figures:
    """Train all networks of the grid, and write figure3.json and figure3.png to `out`. A run that was stopped is continued.

    `where` says where the cells run.
    """
    folder = Path(out)
    trainings = [*grid.imitations(), *grid.regressions()]
    cells = [training.as_cell(folder / "cells") for training in trainings]
    results = sweep(cells, where, progress=progress)
    figures = figures_of(grid, results)
    picture = draw_figure3(
        size_pictures.Grid(grid.hidden, grid.gates, figures.imitation, GRID_MARKS),
        size_pictures.Line(grid.neurons, figures.excess, LINE_MARKS),
    )
    picture.savefig(folder / "figure3.png")
    told = [claim._asdict() for claim in claims(grid, figures)]
    write_json(folder / "figure3.json", {"claims": told, "cells": described(cells, results)})
    return figures


def figures_of(grid: Grid, results: list[Any]) -> Figures:
    """The figures from the results of all cells, in the order of the grid."""
    imitations, regressions = grid.imitations(), grid.regressions()
    imitation = [
        median(losses_of(training, result, "loss") / losses_of(training, result, "outputs of 0"))
        for training, result in zip(imitations, results[: len(imitations)], strict=True)
    ]
    losses = [
        losses_of(training, result, "loss")
        for training, result in zip(regressions, results[len(imitations) :], strict=True)
    ]
    time = grid.regression.time
    return Figures(
        np.reshape(imitation, (len(grid.hidden), len(grid.gates))),
        np.array(losses) - loss_of_step(optimal_step(time, D // 2), time, D // 2),
    )


def claims(grid: Grid, figures: Figures) -> list[Claim]:
    """The paper's claims about this figure, with what was found."""
    proportional = np.diagonal(figures.imitation)
    found = [n for n, loss in zip(grid.hidden, proportional, strict=True) if loss < IDENTIFIED]
    factor = found[0] / COMPACT[0] if found else np.inf
    transition, fall = transition_of(grid.neurons, figures.excess)
    return [
        Claim(
            "A: mild overparametrization, about twice the neurons that are needed, identifies the teacher",
            f"from {factor:.2g} times the compact need of {COMPACT[0]} x {COMPACT[1]}, a share of less than {IDENTIFIED:g}"
            f" of the output is left; at the need itself, it is {_at(grid.hidden, proportional, COMPACT[0]):.1e}",
            1 < factor <= 3,
        ),
        Claim(
            f"B: the transition is at far fewer neurons than the construction's {CONSTRUCTION[0]}",
            f"the median of what is above the optimum falls most, by a factor of {fall:.0f}, at {transition:g} neurons; the"
            f" theory needs {SPARSE}",
            transition <= FAR_BELOW,
        ),
        Claim(
            f"B: {SPARSE} neurons are enough for one gradient step (theory of this library, not of the paper)",
            f"with {SPARSE} neurons, the best of the seeds is {_at(grid.neurons, np.min(figures.excess, 1), SPARSE):.1e}"
            f" above the optimum",
            bool(_at(grid.neurons, np.min(figures.excess, 1), SPARSE) < AT_OPTIMUM),
        ),
    ]


def transition_of(neurons: tuple[int, ...], excess: np.ndarray) -> tuple[float, float]:
    """The size before which the median of `excess`, (neurons, seeds), falls most, and by which factor it falls.

    The size is infinite if there is no fall by a factor of 10. What is below `AT_OPTIMUM` counts as equal.
    """
    medians = np.maximum([median(values) for values in excess], AT_OPTIMUM)
    if not np.all(np.isfinite(medians)):
        return np.inf, np.nan
    falls = medians[:-1] / medians[1:]
    most = int(np.argmax(falls))
    return float(neurons[most + 1]) if falls[most] >= 10 else np.inf, float(falls[most])


def _at(sizes: tuple[int, ...], values: Any, size: int) -> float:
    return float(dict(zip(sizes, values, strict=True)).get(size, np.nan))


def table(grid: Grid, figures: Figures) -> Table:
    """The losses of both panels."""
    rows = [
        (f"{n} hidden", *(f"{loss:.1e}" for loss in losses))
        for n, losses in zip(grid.hidden, figures.imitation, strict=True)
    ]
    return console_table(
        ("A", *(f"{g} gates" for g in grid.gates)),
        rows,
        title="Figure 3 (paper A): the share of the teacher's output that the student misses",
    )


def line_table(grid: Grid, figures: Figures) -> Table:
    """The losses of panel B."""
    rows = [
        (str(n), f"{median(values):.1e}", f"{np.min(values):.1e}")
        for n, values in zip(grid.neurons, figures.excess, strict=True)
    ]
    return console_table(("B: neurons", "median", "best"), rows, title="Loss minus that of the optimal gradient step")


@dataclasses.dataclass
class Command(Workers):
    """Train gated RNNs of many sizes to imitate attention, and to regress in context (paper A, figure 3).

    A run that was stopped is continued. docs/guides/sweeps.md says how to run it on a cluster.

    Examples: twofold reproduce figure3 --quick | twofold reproduce figure3 --scheduler tcp://host:8786
    """

    quick: bool = False
    """Train few networks for few steps. This takes less than three minutes."""
    out: Path | None = None
    """The folder for results and pictures. If not given, it is runs/figure3 or runs/figure3-quick."""

    def run(self, console: Console) -> None:
        grid = QUICK if self.quick else Grid()
        out = self.out or Path("runs") / ("figure3" + "-quick" * self.quick)
        figures = reproduce(grid, out=out, where=self)
        console.print(table(grid, figures))
        console.print(line_table(grid, figures))
        console.print(claims_table(claims(grid, figures), "Claims of the paper"))
        console.print(f"Results and the picture are in {out}.")
