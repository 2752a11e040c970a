"""Figure 3 is trained, written and drawn, here in small; its claims are judged by what was found."""

import json

import numpy as np
import pytest

from twofold.papers.gated_rnn.figure3 import (
    AT_OPTIMUM,
    COMPACT,
    CONSTRUCTION,
    IDENTIFIED,
    QUICK,
    SPARSE,
    Figures,
    Grid,
    claims,
    figures_of,
    reproduce,
)
from twofold.papers.gated_rnn.training_cell import IMITATION, REGRESSION, Training
from twofold.saving import load
from twofold.tasks.students.in_context_regression import loss_of_step, optimal_step
from twofold.train.sweep import Workers

TINY = Grid(
    hidden=(27,),
    gates=(21,),
    neurons=(4, 12),
    imitation=Training(IMITATION, "gated RNN", (), steps=2, batch=2, time=3),
    regression=Training(REGRESSION, "gated RNN", (), steps=2, batch=2, time=3),
)


def test_figure3_is_trained_once_written_and_drawn(tmp_path, threads, pictures):
    figures = reproduce(TINY, out=tmp_path, where=threads, progress=False)
    assert figures.imitation.shape == (1, 1)
    assert figures.excess.shape == (2, 2)
    assert np.all(np.isfinite(figures.imitation))
    written = json.loads((tmp_path / "figure3.json").read_text())
    assert [cell["settings"]["sizes"] for cell in written["cells"]] == [
        [27, 21],
        [4],
        [12],
    ]
    assert len(written["claims"]) == len(claims(TINY, figures))
    grid, line = pictures["figure3.png"].axes[:2]
    np.testing.assert_array_equal(grid.images[0].get_array(), figures.imitation)
    assert "compact need of attention" in grid.get_legend_handles_labels()[1]
    assert [line_of.get_xdata()[0] for line_of in line.lines[-2:]] == [SPARSE, CONSTRUCTION[0]]
    cell = written["cells"][-1]["result"]
    assert cell["losses"][0]["loss"] - loss_of_step(optimal_step(3), 3) == figures.excess[1, 0]
    (folder,) = [
        path for path in (tmp_path / "cells").iterdir() if path.is_dir() and load(path / "seed-1").hidden_size == 12
    ]
    assert sum(x.size for x in vars(load(folder / "seed-0")).values()) == cell["parameters"]
    again = reproduce(TINY, out=tmp_path, where=Workers(scheduler="tcp://127.0.0.1:1"), progress=False)
    np.testing.assert_array_equal(again.excess, figures.excess)


def test_cells_that_failed_have_no_loss():
    figures = figures_of(TINY, [None] * 3)
    assert np.all(np.isinf(figures.imitation))
    assert np.all(np.isnan(figures.excess))
    assert [claim.holds for claim in claims(TINY, figures)] == [False, False, False]


@pytest.mark.parametrize(
    ("identified", "learned", "holds"),
    [
        (1, 1, [False, True, True]),
        (2, 1, [True, True, True]),
        (2, 2, [True, False, False]),
        (3, 3, [False, False, False]),
        (3, 4, [False, False, False]),
    ],
)
def test_claims_are_judged_by_the_first_size_that_is_enough(identified, learned, holds):
    """The proportional sizes are 1, 2 and 4 times the compact need.

    The neurons are a third of the need, the need, the construction and twice it.
    """
    grid = TINY._replace(
        hidden=tuple(n * COMPACT[0] for n in (1, 2, 4)),
        gates=tuple(n * COMPACT[1] for n in (1, 2, 4)),
        neurons=(SPARSE // 3, SPARSE, CONSTRUCTION[0], 2 * CONSTRUCTION[0]),
    )
    losses = np.where(np.arange(1, 4) >= identified, IDENTIFIED / 2, 1.0)
    excess = np.where(np.arange(4)[:, None] >= learned, AT_OPTIMUM / 2, 0.3 + np.arange(2))
    told = claims(grid, Figures(np.diag(losses), excess))
    assert [claim.holds for claim in told] == holds


def test_the_sizes_of_the_theory_are_on_the_grid():
    for grid in (Grid(), QUICK):
        assert COMPACT in zip(grid.hidden, grid.gates, strict=True)
        assert {SPARSE, CONSTRUCTION[0]} <= set(grid.neurons)
    assert CONSTRUCTION in zip(Grid().hidden, Grid().gates, strict=True)
