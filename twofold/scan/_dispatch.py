"""Which implementation runs a scan: the one place that decides."""

import os
import warnings
from functools import cache
from typing import Literal, get_args

import jax
import numpy as np

from ..errors import InputError
from . import _native
from ._platform import Implementation

VARIABLE = "TWOFOLD_IMPLEMENTATION"
REAL = "float32", "float64"
KERNELS = {  # the dtypes that each operation has native kernels for
    "linear_scan": (*REAL, "complex64", "complex128"),
    "softmax_scan": REAL,
    "softmax_fold": (),
    "kv_scan": REAL,
    "lstm_scan": REAL,
    "gru_scan": REAL,
}


def implementations() -> dict[str, tuple[str, ...]]:
    """The implementations that each scan has here, the one that `"auto"` takes first.

    `"native"` are kernels for the CPU, `"xla"` what JAX compiles on any platform. `"auto"` is the default of each scan's
    `implementation`; the environment variable `TWOFOLD_IMPLEMENTATION` (`auto`, `native` or `xla`, read when JAX traces)
    says what it stands for, unless a scan has no such implementation.
    """
    has_native = _native.missing() is None
    first = _auto() if jax.default_backend() == "cpu" else "xla"

    def order(name):
        each = ("native", "xla") if KERNELS[name] and has_native else ("xla",)
        return each[::-1] if first == "xla" else each

    return {name: order(name) for name in KERNELS}


def choose(implementation: str, operation: str, *arrays) -> Implementation:
    """What `dispatch` is to do for the implementation asked for, given all arrays; time is the first axis of the first.

    Raises `InputError` for a name that is unknown, or for kernels that there are not.
    """
    if implementation not in get_args(Implementation):
        raise InputError(f"unknown implementation {implementation!r}; use 'auto', 'xla' or 'native'")
    if implementation == "xla":
        return "xla"
    dtypes = {np.dtype(x.dtype).name for x in arrays}
    fits = len(dtypes) == 1 and dtypes <= {*KERNELS[operation]}
    if implementation == "native":
        if not KERNELS[operation]:
            raise InputError(f"implementation='native': {operation} has no kernel; use 'auto' or 'xla'")
        if not fits:
            raise InputError(
                f"implementation='native': {operation} has kernels for arrays all of {', '.join(KERNELS[operation])};"
                f" these are of {', '.join(sorted(dtypes))}"
            )
        if _native.missing():
            raise InputError(f"implementation='native': there are no kernels here, as {_native.missing()}; use 'xla'")
        return "native"
    # A single token is as fast as plain operations.
    return "auto" if fits and _auto() == "native" and (_named() == "native" or len(arrays[0]) > 1) else "xla"


def _named() -> str:
    """What the environment variable says."""
    named = os.environ.get(VARIABLE, "auto") or "auto"
    if named not in ("auto", "xla", "native"):
        raise InputError(f"{VARIABLE} is {named!r}; it must be 'auto', 'xla' or 'native'")
    return named


def _auto() -> Literal["native", "xla"]:
    """What `"auto"` stands for on a CPU, where there is a kernel."""
    named = _named()
    if named == "xla":
        return "xla"
    missing = _native.missing()
    if missing and named == "native":
        raise InputError(f"{VARIABLE} is 'native', but there are no kernels here, as {missing}")
    if missing and jax.default_backend() == "cpu":
        _warn_once(missing)
    return "xla" if missing else "native"


@cache
def _warn_once(missing: str) -> None:
    warnings.warn(
        f"scans run without the native CPU kernels, several times slower: {missing}."
        f" Reinstall twofold with a C++ compiler, or set {VARIABLE}=xla to keep this quiet.",
        RuntimeWarning,
        stacklevel=3,
    )
