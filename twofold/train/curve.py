"""The picture of a training run: its losses against its steps."""

from pathlib import Path

import numpy as np

from .loop import Trained


def draw_learning_curve(trained: Trained, file: Path | str, *, title: str = "") -> None:
    """Draw the training loss and the validation loss of a run against its steps, and write the picture to `file`.

    With several seeds, thin lines are the seeds and a bold line is their mean. Dots show where each model was kept.
    """
    from matplotlib.figure import Figure  # imported here, because it takes a second

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    ax = figure.add_subplot()
    for name, colour, curves in (
        ("training", "#8e8e8e", trained.losses),
        ("validation", "#1f5fa8", trained.validation),
    ):
        done = ~np.all(np.isnan(curves), axis=0)
        if not np.any(done):
            continue
        steps = trained.steps[done]
        if len(curves) > 1:
            ax.plot(steps, curves.T[done], color=colour, alpha=0.35, linewidth=0.8)
        ax.plot(steps, np.mean(curves[:, done], axis=0), color=colour, label=name, linewidth=1.8)
    kept = [
        (trained.steps[best], row[best])
        for best, row in zip(trained.best, trained.validation, strict=True)
        if best >= 0
    ]
    if kept:
        ax.plot(*zip(*kept, strict=True), "o", color="#c0392b", label="kept", markersize=5)
    ax.set(xlabel="steps", ylabel="loss", title=title)
    ax.grid(True, color="#e2e2e2")
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False)
    figure.savefig(file, dpi=130)
