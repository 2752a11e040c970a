"""Figure 4 of paper A: which recurrent networks find attention, and which regress best in context."""

import dataclasses

from rich.console import Console

from ...report.claims import Claim
from ...report.size_pictures import Panel
from .architectures import (
    GATED,
    Contestant,
    Options,
    Plan,
    best,
    imitation_levels,
    panel,
    regression_levels,
)
from .figure3 import IDENTIFIED
from .training_cell import IMITATION, REGRESSION

SHOWN = ("LSTM", "GRU", "LRU In-Out")
"""The architectures with layers that figure 4 shows. Its LRU has an input gate."""
CLOSE = 3.0
"""Losses are close if one is at most so many times the other."""


def claims(plan: Plan, contestants: list[Contestant]) -> list[Claim]:
    """The paper's claims about this figure, with what was found."""
    imitation = {name: best(contestants, IMITATION, "loss", name) for name in (*GATED, *SHOWN)}
    regression = {name: best(contestants, REGRESSION, "validation", name) for name in (*GATED, *SHOWN)}
    one_step = regression_levels(plan, 2.0)["one optimal step"]
    ratio = max(imitation["LSTM"], imitation["GRU"]) / min(imitation["LSTM"], imitation["GRU"])
    return [
        Claim(
            "A: gated linear RNNs reach the teacher, with diagonal and with dense recurrence",
            f"the share of the output that is missed: {_told(imitation, GATED, '.1e')}; asked is {IDENTIFIED:g}",
            all(imitation[name] < IDENTIFIED for name in GATED),
        ),
        Claim(
            "A: LSTMs and GRUs do not reach the teacher, and they are close to each other",
            f"the share that is missed: {_told(imitation, ('LSTM', 'GRU'), '.1e')}; a factor of {ratio:.2g}",
            min(imitation["LSTM"], imitation["GRU"]) > IDENTIFIED and ratio < CLOSE,
        ),
        Claim(
            "A: an LRU with input gates mimics attention better than LSTM and GRU do",
            f"the share that is missed: {_told(imitation, SHOWN, '.1e')}",
            imitation["LRU In-Out"] < min(imitation["LSTM"], imitation["GRU"]),
        ),
        Claim(
            "B: with enough parameters, nonlinear RNNs are better than one gradient step",
            f"validation loss: {_told(regression, SHOWN, '.4f')}; one optimal step {one_step:.4f}",
            all(regression[name] < one_step for name in SHOWN),
        ),
        Claim(
            "B: the GRU is best, although it is farthest from attention",
            f"validation loss: {_told(regression, (*SHOWN, *GATED), '.4f')}",
            regression["GRU"] == min(regression.values()),
        ),
    ]


def _told(losses: dict[str, float], names: tuple[str, ...], form: str) -> str:
    return ", ".join(f"{name} {losses[name]:{form}}" for name in names)


@dataclasses.dataclass
class Command(Options):
    """Compare recurrent networks with attention: as its students, and in regression in context (paper A, figure 4).

    A run that was stopped is continued. docs/guides/sweeps.md says how to run it on a cluster.

    Examples: twofold reproduce figure4 --quick | twofold reproduce figure4 --scheduler tcp://host:8786
    """

    def run(self, console: Console) -> None:
        self.reproduce("figure4", SHOWN, panels, claims, console)


def panels(plan: Plan, contestants: list[Contestant]) -> list[list[Panel]]:
    """Losses, and the shares that attention explains: in the first row of imitation, in the second of regression."""
    return [
        [
            panel(contestants, IMITATION, "loss", "A  imitating attention", imitation_levels(contestants)),
            panel(contestants, IMITATION, "explained", "A  attention in the students", {}),
        ],
        [
            panel(contestants, REGRESSION, "validation", "B  regression in context", regression_levels(plan, 2.0)),
            panel(contestants, REGRESSION, "explained", "B  attention in the learners", {}),
        ],
    ]
