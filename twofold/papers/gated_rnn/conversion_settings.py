"""The settings that the tables of conversions share."""

import dataclasses
from typing import Literal


@dataclasses.dataclass
class Conversion:
    """What is converted and measured."""

    d: int = 4
    """Size of tokens, queries, keys and values."""
    tokens: int = 256
    """Random tokens that the error is measured over."""
    dtype: Literal["float64", "float32"] = "float64"
    """The dtype of all weights and all arithmetic."""
    seed: int = 0
    """The seed of weights and tokens."""
