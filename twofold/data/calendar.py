"""The time of the day and of the week, as numbers that a model can read."""

import numpy as np
from jaxtyping import Float, Shaped

CALENDAR = ("sin day", "cos day", "sin week", "cos week")
"""The names of the covariates that `calendar` makes."""


def calendar(times: Shaped[np.ndarray, " time"]) -> Float[np.ndarray, "time 4"]:
    """The time of the day and the time of the week, each as a point on a circle: the columns are `CALENDAR`.

    `times` are of a dtype datetime64. Parts of a second do not count. The week begins on Monday.
    """
    seconds = times.astype("datetime64[s]").astype(np.int64)
    days, second = np.divmod(seconds, 86_400)
    weekday = (days + 3) % 7  # day 0 is a Thursday, 1 January 1970
    day = (second // 3600 + second % 3600 // 60 / 60 + second % 60 / 3600) / 24
    week = (weekday + day) / 7
    return np.column_stack([f(2 * np.pi * phase) for phase in (day, week) for f in (np.sin, np.cos)])
