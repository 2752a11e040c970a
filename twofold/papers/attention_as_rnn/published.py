"""Figures that were published for the data of paper B, and what differs from the protocol here."""

import math
from typing import NamedTuple

from ...tasks.forecasting import HORIZONS

UNIT = 1e5
"""The unit of time of StackOverflow, in seconds. It is that of Du et al. 2016, whose code multiplies the times by 1e-5."""


class Published(NamedTuple):
    """Figures of one model on one data set, as they were published."""

    data: str
    model: str
    metrics: dict[str, float]
    source: str
    differs: str
    """What is different there, in full sentences."""
    judged: bool = True
    """Whether the unit is known, so that figures can be compared."""


PATCHTST = "It reads the 96 values at once, not causally. It has dropout, and sees no calendar."
DLINEAR = "It is a linear map, without normalisation over the window. It sees no calendar."


def _by_horizon(model: str, differs: str, **figures: tuple[tuple[float, float], ...]) -> list[Published]:
    source = "Liu et al. 2024, iTransformer, from 96 values"
    return [
        Published(f"{data}-{horizon}", model, {"MSE": mse, "MAE": mae}, source, differs)
        for data, each in figures.items()
        for horizon, (mse, mae) in zip(HORIZONS, each, strict=True)
    ]


PUBLISHED = [
    Published(
        "ETTh1-336",
        "Aaren, published",
        {"MSE": 0.65, "MAE": 0.55},
        "Feng et al. 2024, Attention as an RNN",
        "Its inputs, its size and its training were not matched here.",
    ),
    *_by_horizon(
        "PatchTST",
        PATCHTST,
        ETTh1=((0.414, 0.419), (0.460, 0.445), (0.501, 0.466), (0.500, 0.488)),
        ETTh2=((0.302, 0.348), (0.388, 0.400), (0.426, 0.433), (0.431, 0.446)),
        exchange_rate=((0.088, 0.205), (0.176, 0.299), (0.301, 0.397), (0.901, 0.714)),
    ),
    *_by_horizon(
        "DLinear",
        DLINEAR,
        ETTh1=((0.386, 0.400), (0.437, 0.432), (0.481, 0.459), (0.519, 0.516)),
        ETTh2=((0.333, 0.387), (0.477, 0.476), (0.594, 0.541), (0.831, 0.657)),
        exchange_rate=((0.088, 0.218), (0.176, 0.315), (0.313, 0.427), (0.839, 0.695)),
    ),
    Published(
        "stackoverflow",
        "THP",
        {"RMSE": 4.99},
        "Zuo et al. 2020, Transformer Hawkes process",
        "The unit of time is not stated. The time has an output of its own, which is trained on squared errors. Here it is the"
        " mean of the density.",
        judged=False,
    ),
    Published(
        "stackoverflow",
        "GRU, log-normal mixture",
        {"NLL of time": 14.4 - math.log(UNIT)},
        "Shchur et al. 2020, Intensity-free learning of temporal point processes",
        f"It is 14.4 there. The unit is not stated, and the second is taken to be it here. In our unit of {UNIT:g} seconds the"
        f" figure is smaller by {math.log(UNIT):.1f}. The split is another one.",
        judged=False,
    ),
]
"""What was published for these data."""


def published_for(data: str) -> list[Published]:
    """What was published for a data set."""
    return [each for each in PUBLISHED if each.data == data]
