"""How long a GRU with a growing state lasts."""

import numpy as np
import pytest

from twofold.convert import growing_gru


@pytest.mark.parametrize(("growth", "holds"), [(1e3, 98), (1e5, 58)])
def test_growing_gru_holds_until_its_state_leaves_the_linear_range(growth, holds):
    error = growing_gru.error_by_token(growth, holds + 10)
    assert np.all(error[: holds - 2] < 20 / growth)
    assert np.max(error[holds:]) > 0.1
