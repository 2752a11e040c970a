"""A conversion is measured against its source in float64."""

import numpy as np
import pytest

from twofold import InputError
from twofold.convert import to_gated_rnn
from twofold.papers.gated_rnn import table3, table4
from twofold.papers.gated_rnn.measured_conversion import Conversion, attention_of_rank, measured


@pytest.mark.parametrize("table", [table3, table4])
@pytest.mark.parametrize("sizes", [{"d": 0, "tokens": 5}, {"d": 4, "tokens": -1}], ids=str)
def test_sizes_are_checked(tmp_path, table, sizes):
    with pytest.raises(InputError, match="d is {d} and tokens is {tokens}; both".format(**sizes)):
        table.reproduce(Conversion(**sizes), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_error_is_relative_to_the_source():
    conversion = Conversion(d=3, tokens=10)
    attention, rnn = conversion.random_sources()
    assert (rnn.hidden_size, rnn.gate_size) == (6 + 3, 6)
    xs = conversion.random_tokens()
    exact = to_gated_rnn(attention, "compact")
    cell = measured(attention, exact, xs)
    assert (cell.layers, cell.neurons, cell.error_bound, cell.scale) == (1, 6 + 3, None, None)
    assert cell.parameters == 9 + 2 * 9 * 4 + 2 * 6 * 9 + 3 * 6
    assert cell.error < 1e-6
    doubled = type(exact).from_weights(
        exact.lam, exact.w_in_m, exact.w_in_x, exact.w_out_m, exact.w_out_x, 2 * exact.readout
    )
    np.testing.assert_allclose(measured(attention, doubled, xs).error, 1, rtol=1e-5)


def test_weights_have_the_rank_and_the_dtype_that_was_asked_for():
    low, rank = Conversion(d=5, dtype="float32").half_rank()
    assert rank == 2
    assert low.w_v.dtype == np.float32
    assert np.linalg.matrix_rank(np.asarray(attention_of_rank(2, 5, 0).w_v[0])) == 2
    assert low.w_k.shape == (1, 2, 5)
