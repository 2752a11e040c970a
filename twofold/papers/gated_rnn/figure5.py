"""Figure 5 of paper A: all architectures, by parameters, in training and in validation; and whether attention is what helps."""

import dataclasses
from typing import NamedTuple

import numpy as np
from rich.console import Console
from scipy.stats import bootstrap, spearmanr

from ...report.claims import Claim
from ...report.size_pictures import Panel
from .architectures import (
    LAYERED,
    LRUS,
    Contestant,
    Options,
    Plan,
    best,
    chosen,
    imitation_levels,
    panel,
    regression_levels,
)
from .training_cell import IMITATION, REGRESSION

MUCH = 2.0
"""A loss is much smaller than another if it is at most one part in so many."""


class Correlation(NamedTuple):
    """Spearman's correlation over networks, and its 95% interval by the bootstrap."""

    value: float
    low: float
    high: float
    networks: int

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}] over {self.networks} LRUs"


def correlation(contestants: list[Contestant], nearness: str) -> Correlation:
    """The correlation of the nearness to attention with the quality in context, over the seeds of all LRUs.

    The quality is minus the validation loss. `nearness` says what is near: "explained", for the share of the outputs in context
    that attention explains, or "loss", for minus the loss of the network of the same kind that imitates attention.
    """
    pairs = zip(chosen(contestants, IMITATION, *LRUS), chosen(contestants, REGRESSION, *LRUS), strict=True)
    xs, ys = [], []
    for imitation, regression in pairs:
        xs.append(regression.figures["explained"] if nearness == "explained" else -imitation.figures["loss"])
        ys.append(-regression.figures["validation"])
    x, y = np.ravel(xs), np.ravel(ys)
    good = np.isfinite(x) & np.isfinite(y)
    x, y = x[good], y[good]
    if len(x) < 4:
        return Correlation(np.nan, np.nan, np.nan, len(x))

    def spearman(x, y):
        return spearmanr(x, y).statistic

    interval = bootstrap(
        (x, y), spearman, paired=True, vectorized=False, n_resamples=2000, method="percentile", rng=0
    ).confidence_interval
    return Correlation(float(spearman(x, y)), float(interval.low), float(interval.high), len(x))


def claims(plan: Plan, contestants: list[Contestant]) -> list[Claim]:
    """The paper's claims about this figure, with what was found."""
    imitation = {name: best(contestants, IMITATION, "loss", name) for name in LRUS}
    regression = {name: best(contestants, REGRESSION, "validation", name) for name in LAYERED}
    by_share, by_loss = (correlation(contestants, nearness) for nearness in ("explained", "loss"))
    told = {
        task: ", ".join(f"{name} {losses[name]:{form}}" for name in LRUS)
        for task, losses, form in ((IMITATION, imitation, ".1e"), (REGRESSION, regression, ".4f"))
    }
    return [
        Claim(
            "A: input gates help LRUs to mimic attention",
            f"the share of the output that is missed: {told[IMITATION]}",
            max(imitation["LRU In-Out"], imitation["LRU In-Skip"]) < imitation["LRU"] / MUCH,
        ),
        Claim(
            "B: LRUs with input gates are much better in context than the LRU",
            f"validation loss: {told[REGRESSION]}",
            max(regression["LRU In-Out"], regression["LRU In-Skip"]) < regression["LRU"] / MUCH,
        ),
        Claim(
            "B: among LRUs, closeness to attention goes with performance in context",
            f"rank correlation of the validation loss, as minus, with the share of the outputs that attention explains:"
            f" {by_share}; with minus the loss of the same architecture and size in imitation: {by_loss}",
            by_share.low > 0 and by_loss.low > 0,
        ),
    ]


def panels(plan: Plan, contestants: list[Contestant]) -> list[list[Panel]]:
    """Losses in training and in validation, and the shares that attention explains, at the lengths of training and longer."""
    levels = imitation_levels(contestants)
    shares = (("explained", "attention explains"), ("explained longer", "the same on 4 times as many tokens"))
    return [
        [
            panel(contestants, IMITATION, "training", "A  imitating attention: training", levels),
            panel(contestants, IMITATION, "loss", "A  imitating attention: new sequences", levels),
            *(panel(contestants, IMITATION, name, f"A  {title}", {}) for name, title in shares),
        ],
        [
            panel(contestants, REGRESSION, "training", "B  in context: training", regression_levels(plan)),
            panel(contestants, REGRESSION, "validation", "B  in context: validation", regression_levels(plan, 2.0)),
            *(panel(contestants, REGRESSION, name, f"B  {title}", {}) for name, title in shares),
        ],
    ]


@dataclasses.dataclass
class Command(Options):
    """Compare all architectures, with one and two layers, as students of attention and in context (paper A, figure 5).

    The networks of figure 4 are among them, and are not trained again. A run that was stopped is continued.

    Examples: twofold reproduce figure5 --quick | twofold reproduce figure5 --scheduler tcp://host:8786
    """

    def run(self, console: Console) -> None:
        self.reproduce("figure5", LAYERED, panels, claims, console)
