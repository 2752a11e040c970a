"""A process that keeps its memory takes no new pages for its next large array."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, jax, twofold
if sys.argv[1] == "keep":
    assert twofold.keep_memory()
add = jax.jit(lambda x: x + 1)
x = jax.numpy.zeros(2**24)  # 64 MiB
faults = []
for _ in range(40):
    add(x).block_until_ready()  # freed at once
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
print(faults[-1] - faults[-11])
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told")
def test_large_arrays_take_the_pages_of_those_before():
    """Once the process has as much as it needs."""
    pages = 10 * 2**26 // 4096
    assert faults("return") > pages / 2
    assert faults("keep") < pages / 10
