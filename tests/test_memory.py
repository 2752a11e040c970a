"""A process that keeps its memory takes no new pages for its next large array."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, twofold
import numpy as np
if sys.argv[1] == "keep":
    assert twofold.keep_memory()
for _ in range(10):
    np.ones(2**24, np.float32)  # 64 MiB, freed at once
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_large_arrays_take_the_pages_of_those_before():
    pages = 2**26 // 4096
    assert faults("return") - faults("keep") > 5 * pages
