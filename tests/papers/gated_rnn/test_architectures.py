"""Figures 4 and 5 share their networks, and are trained, written, drawn and printed, here in small."""

import json
from functools import partial

import jax
import numpy as np
import pytest
from rich.console import Console

from twofold.discover import nearest_attention
from twofold.papers.gated_rnn import architectures, figure4, figure5, training_cell
from twofold.papers.gated_rnn.architectures import GATED, LAYERED, LRUS, Contestant, Plan, chosen, compare
from twofold.papers.gated_rnn.training_cell import ARCHITECTURES, IMITATION, REGRESSION, Training, sized
from twofold.tasks.students.in_context_regression import loss_of_step, loss_of_steps, optimal_step
from twofold.train.sweep import Workers

TINY = Plan(
    parameters=(150,),
    imitation=Training(IMITATION, "", (), steps=2, batch=2, time=3),
    regression=Training(REGRESSION, "", (), steps=2, batch=2, time=3),
)


def test_networks_are_trained_once_for_both_figures(tmp_path, threads, monkeypatch, pictures, capsys):
    monkeypatch.setattr(architectures, "SEQUENCES", {IMITATION: 60, REGRESSION: 200})
    monkeypatch.setattr(training_cell, "BATCH", 8)
    monkeypatch.setattr(architectures, "nearest_attention", partial(nearest_attention, max_heads=1))
    monkeypatch.setattr(architectures, "QUICK", TINY)
    monkeypatch.setattr(architectures, "GATED", ())
    monkeypatch.setattr(figure4, "SHOWN", ("GRU",))
    monkeypatch.setattr(figure5, "LAYERED", ("GRU",))
    monkeypatch.setattr(figure4, "claims", lambda plan, contestants: [])
    monkeypatch.setattr(figure5, "claims", lambda plan, contestants: [])
    figure4.Command(quick=True, out=tmp_path, scheduler=threads.scheduler).run(Console(width=200))
    assert "GRU x 2" in capsys.readouterr().out
    written = json.loads((tmp_path / "figure4.json").read_text())
    assert len(written["cells"]) == 2 * 2 * (2 + 1)
    assert [len(pictures["figure4.png"].axes), len(pictures["figure4.png"].axes[0].lines)] == [4, 2 + 2]
    nobody = Workers(scheduler="tcp://127.0.0.1:1")  # all is kept, so nobody is needed
    figure5.Command(quick=True, out=tmp_path, scheduler=nobody.scheduler).run(Console(width=200))
    assert json.loads((tmp_path / "figure5.json").read_text())["cells"] == written["cells"]
    assert len(pictures["figure5.png"].axes) == 8
    contestants, _ = compare(TINY, ("GRU",), tmp_path / "cells", nobody)
    assert [one.name for one in contestants] == [*("GRU", "GRU x 2") * 2, *["linear attention"] * 2]
    for one in contestants[-2:]:  # attention is found in attention
        np.testing.assert_allclose(one.figures["explained"], 1, atol=1e-6)
        np.testing.assert_allclose(one.figures["explained longer"], 1, atol=1e-6)
        assert np.all(one.figures["loss"] > 0)


@pytest.mark.parametrize("name", sorted(set(ARCHITECTURES) - {"linear attention"}))
def test_a_size_is_chosen_by_the_number_of_parameters(name):
    training = Training(IMITATION, name, (), None if name in GATED else 2)
    found = sized(training, 2_000)
    (size,) = found.sizes
    others = [Training(IMITATION, name, (n,), training.depth).parameters() for n in (size - 1, size + 1)]
    assert min(abs(n - 2_000) for n in others) >= abs(found.parameters() - 2_000)
    assert found.parameters() == sum(x.size for x in jax.tree.leaves(found.model(jax.random.key(0))))


def contestant(task, name, depth=1, **figures):
    training = Training(task, name, (4,), depth)
    names = ("training", "loss", "validation", "explained", "explained longer")
    return Contestant(training, 100, {n: np.array(figures.get(n, [1.0, 1.0])) for n in names})


def everything(imitation, regression):
    """A network of each architecture, with these losses by name."""
    names = (*GATED, *LAYERED)
    return [contestant(IMITATION, name, loss=[imitation[name]] * 2) for name in names] + [
        contestant(REGRESSION, name, validation=[regression[name]] * 2) for name in names
    ]


LIKE_THE_PAPER = (
    {"gated RNN": 1e-6, "gated RNN, dense": 1e-6, "LSTM": 0.2, "GRU": 0.15, "LRU": 0.5, "LRU In-Out": 1e-3, "LRU In-Skip": 1e-3},
    {"gated RNN": 0.19, "gated RNN, dense": 0.19, "LSTM": 0.1, "GRU": 0.05, "LRU": 0.9, "LRU In-Out": 0.1, "LRU In-Skip": 0.1},
)  # fmt: skip


def test_the_claims_of_figure4_hold_for_losses_like_the_papers():
    assert [claim.holds for claim in figure4.claims(Plan(), everything(*LIKE_THE_PAPER))] == [True] * 5
    imitation, regression = LIKE_THE_PAPER
    others = everything(dict.fromkeys(imitation, 0.1), dict.fromkeys(regression, 0.5))
    assert [claim.holds for claim in figure4.claims(Plan(), others)] == [False, True, False, False, True]


def lrus(signs):
    """LRUs whose losses in context fall (1) or rise (-1) with their share of attention and the quality of their imitation."""
    return [
        contestant(task, name, depth, loss=[x, x + 0.1], validation=[sign * x + 9] * 2, explained=[-x, -x - 0.1])
        for task in (IMITATION, REGRESSION)
        for name, sign in zip(LRUS, signs, strict=True)
        for depth in (1, 2)
        for x in (LRUS.index(name) + depth / 2,)
    ]


@pytest.mark.parametrize(("nearness", "sign"), [("explained", 1), ("loss", -1)])
def test_the_correlation_has_its_sign_and_its_interval(nearness, sign):
    found = figure5.correlation(lrus([sign] * 3), nearness)
    assert found.networks == 12
    assert sign * found.value > 0.9
    assert found.low <= found.value <= found.high
    assert np.isnan(figure5.correlation([], nearness).value)


def test_a_seed_that_diverged_is_not_correlated():
    networks = lrus([1, 1, 1])
    networks[-1].figures["validation"][0] = np.nan
    assert figure5.correlation(networks, "loss").networks == 11


def test_several_steps_are_better_than_one():
    losses = [loss_of_steps(steps) for steps in (1, 2, 4)]
    np.testing.assert_allclose(losses[0], loss_of_step(optimal_step()), rtol=5e-3)
    assert losses[0] > 2 * losses[1] > 4 * losses[2]


def test_networks_are_chosen_by_task_and_architecture():
    networks = everything(*LIKE_THE_PAPER)
    assert [one.name for one in chosen(networks, REGRESSION, *LRUS)] == list(LRUS)
    assert len(chosen(networks, IMITATION)) == len(GATED) + len(LAYERED)
