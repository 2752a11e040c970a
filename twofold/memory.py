"""Memory that the process keeps for the next large array."""

import ctypes
import platform

# The parameters of glibc's mallopt, from malloc.h.
TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
LARGEST = 2**31 - 1


def keep_memory() -> bool:
    """Keep freed memory in this process, rather than return it to the system. Returns whether that is possible here.

    The C library of Linux (glibc) returns each array above 32 MiB to the system when it is freed. The next array of that
    size then takes new pages, which the system clears first. That can take ten times as long as the computation. After
    this call the process keeps what it has once used, and all threads share it.

    Call it before JAX makes its first array: JAX's threads choose their memory when they start. The `twofold` command
    does so, and `twofold.train.fit` calls it too. A library cannot decide this for the programs that import it.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return all([mallopt(MMAP_THRESHOLD, LARGEST), mallopt(TRIM_THRESHOLD, LARGEST), mallopt(ARENA_MAX, 1)])
