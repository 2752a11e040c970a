"""Observations of series at equal distances in time, as arrays. `series` reads them from packages and files."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Series(NamedTuple):
    """Observations at equal distances in time, at one place or at several places."""

    name: str
    values: Float[np.ndarray, "places time features"]
    """The observed series come first, and then the covariates, which are known in advance."""
    columns: tuple[str, ...]
    """The names of the features."""
    variates: int
    """How many of the features are observed series."""
    targets: tuple[int, ...]
    """The numbers of the series that are to be forecast."""
    season: int
    """How many observations make a season, for the seasonal naive forecast. It is 1 if no season is known."""
    notes: str
    """What was done to the data."""
    step: float | None = None
    """The seconds from one observation to the next. It is None if there are no dates, or if they have gaps."""
    tested: bool = True
    """Whether the last part of the series is kept for a test. Otherwise, all of it is for training and validation."""
