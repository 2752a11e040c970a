"""Every scan asks one function which implementation to run."""

import numpy as np
import pytest

from twofold.errors import InputError
from twofold.scan import kv_scan, linear_scan, softmax_fold, softmax_scan
from twofold.scan.dispatch import choose

TOKENS = np.ones((3, 2, 4))
SCANS = {
    "choose": choose,
    "linear_scan": lambda name: linear_scan(TOKENS, TOKENS, implementation=name),
    "softmax_scan": lambda name: softmax_scan(TOKENS[..., 0], TOKENS, implementation=name)[0],
    "softmax_fold": lambda name: softmax_fold(TOKENS[0], TOKENS, TOKENS, implementation=name)[0],
    "kv_scan": lambda name: kv_scan(TOKENS, TOKENS, TOKENS, implementation=name)[0],
}


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ["native", "cuda", "XLA", ""])
@pytest.mark.parametrize("scan", SCANS)
def test_missing_implementation_is_named(scan, name):
    with pytest.raises(InputError, match=f"implementation.*'{name}'"):
        SCANS[scan](name)


@pytest.mark.parametrize("scan", SCANS)
def test_auto_is_xla(scan):
    assert np.array_equal(SCANS[scan]("auto"), SCANS[scan]("xla"))
