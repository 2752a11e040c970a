"""The networks that figures 4 and 5 of paper A compare: how they are trained, and how much attention is in them."""

import dataclasses
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console
from rich.table import Table

from ...discover import nearest_attention
from ...errors import InputError
from ...report.claims import Claim, claims_table
from ...report.provenance import write_json
from ...report.size_pictures import Panel, draw_architectures
from ...report.tables import console_table
from ...saving import load
from ...tasks.students.in_context_regression import loss_of_step, loss_of_steps, optimal_step, sample_tasks
from ...tasks.students.teacher_student import sample_tokens
from ...train.sweep import Cell, Workers, addressed, sweep
from .training_cell import IMITATION, REGRESSION, D, Task, Training, described, losses_of, median, sized

LAYERED = ("LSTM", "GRU", "LRU", "LRU In-Out", "LRU In-Skip")
LRUS = ("LRU", "LRU In-Out", "LRU In-Skip")
GATED = ("gated RNN", "gated RNN, dense")
SEQUENCES = {IMITATION: 512, REGRESSION: 4096}
"""How many sequences the nearest attention is fitted to. In regression, only the last output of a sequence counts."""
SHARES = "explained", "explained longer"
LONGER = 4
"""The longer sequences have so many times as many tokens as those of training."""


class Plan(NamedTuple):
    """Which networks are trained, and how."""

    parameters: tuple[int, ...] = (500, 2_000, 8_000)
    """Each architecture has one network of nearly so many parameters."""
    imitation: Training = Training(IMITATION, "", (), steps=4_000)
    regression: Training = Training(REGRESSION, "", (), steps=6_000, learning_rate=2e-3)

    def trainings(self, layered: Iterable[str]) -> list[Training]:
        """The networks of these architectures with one and two layers, of gated RNNs, and one of attention."""
        kinds = [*((name, None) for name in GATED), *((name, depth) for name in layered for depth in (1, 2))]
        each = [
            sized(dataclasses.replace(task, architecture=name, depth=depth), parameters)
            for parameters in self.parameters
            for task in (self.imitation, self.regression)
            for name, depth in kinds
        ]
        alone = [
            dataclasses.replace(task, architecture="linear attention", sizes=(1,))
            for task in (self.imitation, self.regression)
        ]
        return [*each, *alone]


QUICK = Plan(
    parameters=(1_000,),
    imitation=Training(IMITATION, "", (), steps=500, seeds=1),
    regression=Training(REGRESSION, "", (), steps=500, seeds=1),
)


class Contestant(NamedTuple):
    """What became of the models of one cell. All arrays have an entry for each seed."""

    training: Training
    parameters: int
    figures: dict[str, np.ndarray]
    """Losses and `SHARES` by name. NaN is for a seed that diverged. The losses of imitation are in units of the loss of outputs
    of 0. The shares are those of the outputs that the nearest attention explains, also on longer sequences."""

    @property
    def name(self) -> str:
        """The architecture, with its number of layers if there are two."""
        return self.training.architecture + " x 2" * (self.training.depth == 2)


def compare(
    plan: Plan, layered: Iterable[str], folder: Path, where: Workers
) -> tuple[list[Contestant], list[dict[str, Any]]]:
    """Train all networks, and find the attention in them. Cells are kept in `folder`, and a run that was stopped goes on.

    **Returns:** the networks, and the settings and results of all cells.
    """
    trainings = plan.trainings(layered)
    cells = [training.as_cell(folder) for training in trainings]
    results = sweep(cells, where)
    measured = [_share_cell(training, folder) for training in trainings]
    shares = sweep(measured, where)
    contestants = contestants_of(plan, layered, [*results, *shares])
    return contestants, described([*cells, *measured], [*results, *shares])


def contestants_of(plan: Plan, layered: Iterable[str], results: list[Any]) -> list[Contestant]:
    """The networks of a plan, from the results of its cells: those of all trainings, and then the shares of attention."""
    trainings = plan.trainings(layered)
    halves = results[: len(trainings)], results[len(trainings) :]
    return [_contestant(*each) for each in zip(trainings, *halves, strict=True)]


def _contestant(training: Training, result: dict[str, Any] | None, shares: list[Any] | None) -> Contestant:
    imitates = training.task == IMITATION
    names = ("training", "loss") if imitates else ("training", "loss", "validation")
    unit = losses_of(training, result, "outputs of 0") if imitates else 1.0
    losses = {name: losses_of(training, result, name) / unit for name in names}
    each = shares or [None] * training.seeds
    found = {name: np.array([np.nan if share is None else share[name] for share in each]) for name in SHARES}
    return Contestant(training, training.parameters(), losses | found)


def _share_cell(training: Training, folder: Path) -> Cell:
    """The cell that measures how much attention is in the models of another cell."""
    trained = training.as_cell(folder)
    settings = {"nearest attention of": trained.settings, "sequences": SEQUENCES[training.task], "longer": LONGER}
    models = trained.file.with_suffix("").absolute()
    make = partial(_shares, training.task, training.time, training.seeds, models)
    return Cell(f"nearest attention of {training.title}", addressed(folder, settings), settings, make)


def _shares(task: Task, time: int, seeds: int, folder: Path) -> list[dict[str, float | None] | None]:
    """The shares of the outputs of each seed that attention explains, at the length of training and at a longer one."""
    key, longer_key = jax.random.split(jax.random.key(7))
    if task == IMITATION:
        xs, longer = (
            np.swapaxes(sample_tokens(k, length, SEQUENCES[task], D), 0, 1)
            for k, length in ((key, time), (longer_key, LONGER * time))
        )
    else:
        xs, longer = (
            np.asarray(sample_tasks(k, SEQUENCES[task], time=length, in_size=D // 2, out_size=D // 2)[0])
            for k, length in ((key, time), (longer_key, LONGER * time))
        )

    def share(model: Path) -> dict[str, float | None] | None:
        if not model.exists():  # training diverged
            return None
        try:
            found = nearest_attention(load(model), xs, longer=longer, last=task == REGRESSION)
        except InputError:  # the outputs do not vary, or grow over all bounds on longer sequences
            return None
        return dict(zip(SHARES, (found.explained, found.explained_longer), strict=True))

    return [share(folder / f"seed-{seed}") for seed in range(seeds)]


def chosen(contestants: Iterable[Contestant], task: Task, *architectures: str) -> list[Contestant]:
    """The networks of a task and of some architectures; of all architectures if none are named."""
    return [
        one
        for one in contestants
        if one.training.task == task and (not architectures or one.training.architecture in architectures)
    ]


def best(contestants: Iterable[Contestant], task: Task, name: str, *architectures: str) -> float:
    """The smallest median loss of any size of some architectures."""
    return min((median(one.figures[name]) for one in chosen(contestants, task, *architectures)), default=np.inf)


def panel(contestants: Iterable[Contestant], task: Task, name: str, title: str, levels: dict[str, float]) -> Panel:
    """A loss or a share against the number of parameters: the median over seeds, a line for each architecture and depth."""
    lines: dict[str, tuple[list[int], list[float]]] = {}
    for one in chosen(contestants, task, *LAYERED, *GATED):
        sizes, values = lines.setdefault(one.name, ([], []))
        sizes.append(one.parameters)
        values.append(median(one.figures[name]))
    if name in SHARES:
        lines = {label: (sizes, np.maximum(values, 0).tolist()) for label, (sizes, values) in lines.items()}
        return Panel(title, "share that attention explains", lines, levels, yscale="linear")
    return Panel(title, "loss / loss of outputs of 0" if task == IMITATION else "loss", lines, levels)


def imitation_levels(contestants: Iterable[Contestant]) -> dict[str, float]:
    """The levels to compare imitations with."""
    return {"outputs of 0": 1.0, "attention, trained": best(contestants, IMITATION, "loss", "linear attention")}


def regression_levels(plan: Plan, variance: float = 1.0) -> dict[str, float]:
    """The losses to compare regressions with. That of ridge regression, the Bayes optimum, is 0: the examples have no noise."""
    time, size = plan.regression.time, D // 2
    return {
        "outputs of 0": variance / 2,
        "one optimal step": variance * loss_of_step(optimal_step(time, size), time, size),
        **{f"{steps} steps": variance * loss_of_steps(steps, time, size) for steps in (2, 4, 8)},
    }


def table(contestants: list[Contestant]) -> Table:
    """The losses of all networks, and the shares that attention explains. Each row has a network of both tasks."""
    rows = [
        (
            imitation.name,
            f"{imitation.parameters:,}",
            f"{median(imitation.figures['loss']):.1e}",
            f"{median(imitation.figures['explained']):.1%}",
            *(f"{median(regression.figures[name]):.4f}" for name in ("loss", "validation")),
            f"{median(regression.figures['explained']):.1%}",
        )
        for imitation, regression in zip(chosen(contestants, IMITATION), chosen(contestants, REGRESSION), strict=True)
    ]
    headings = ("", "parameters", "A: loss", "A: attention", "B: loss", "B: validation", "B: attention")
    caption = (
        "Medians over seeds. A's losses are in units of the loss of outputs of 0; B's networks have a smaller readout."
    )
    return console_table(headings, rows, title="A: imitating attention, B: regression in context", caption=caption)


@dataclasses.dataclass
class Options(Workers):
    """The options of figures 4 and 5. Both take their networks from one folder."""

    quick: bool = False
    """Train few small networks for few steps. This takes less than three minutes."""
    out: Path | None = None
    """The folder for results and pictures. If not given, it is runs/architectures or runs/architectures-quick."""

    def reproduce(
        self,
        name: str,
        layered: tuple[str, ...],
        panels: Callable[[Plan, list[Contestant]], list[list[Panel]]],
        claims: Callable[[Plan, list[Contestant]], list[Claim]],
        console: Console,
    ) -> None:
        """Train the networks of a figure, write its results and its picture, and print its table and claims."""
        plan = QUICK if self.quick else Plan()
        out = self.out or Path("runs") / ("architectures" + "-quick" * self.quick)
        contestants, cells = compare(plan, layered, out / "cells", self)
        told = claims(plan, contestants)
        draw_architectures(panels(plan, contestants)).savefig(out / f"{name}.png")
        write_json(out / f"{name}.json", {"claims": [claim._asdict() for claim in told], "cells": cells})
        console.print(table(contestants))
        console.print(claims_table(told, "Claims of the paper"))
        console.print(f"Results and the picture are in {out}.")
