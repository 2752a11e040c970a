"""Which implementation a scan is asked to run: the one place that reads names, variables and dtypes."""

import os
import warnings
from functools import cache
from typing import Literal, get_args

import jax
from jax import Array

from ..errors import InputError
from . import _native
from ._platform import Implementation

VARIABLE = "TWOFOLD_IMPLEMENTATION"
REAL = "float32", "float64"
KERNELS = {  # the dtypes that each operation has native kernels for
    "linear_scan": (*REAL, "complex64", "complex128"),
    "softmax_scan": REAL,
    "decaying_softmax_scan": REAL,  # those of softmax_scan
    "softmax_fold": (),
    "kv_scan": REAL,
    "causal_attention": REAL,
    "lstm_scan": REAL,
    "gru_scan": REAL,
}


def implementations() -> dict[str, tuple[str, ...]]:
    """The implementations that each scan has on this machine, by the scan's name.

    - `"native"`: kernels for the CPU. They are for float32 and float64, and in `linear_scan` for complex numbers too.
    - `"xla"`: what JAX compiles, on any platform and for any dtype.

    The first is the one that `implementation="auto"`, the default of each scan, stands for on this machine. The choice
    is made where JAX lowers a program, so a program that is lowered here for another platform holds no kernels. Nor
    does an exported program, and a single token needs none.

    The environment variable `TWOFOLD_IMPLEMENTATION` is `auto`, `native` or `xla`, and says what `"auto"` stands for
    where there is a choice. It is read when JAX traces a scan.

    **Raises:** `InputError` if the variable has another value, or asks for kernels that are missing.
    """
    has_native = _native.missing() is None
    first = _auto() if jax.default_backend() == "cpu" else "xla"

    def order(name):
        each = ("native", "xla") if KERNELS[name] and has_native else ("xla",)
        return each[::-1] if first == "xla" else each

    return {name: order(name) for name in KERNELS}


def choose(implementation: str, operation: str, tokens: Array) -> Implementation:
    """What `dispatch` is to do for the implementation asked for, given an array with time first, of the common dtype.

    Raises `InputError` for a name that is unknown, or for kernels that there are not.
    """
    if implementation not in get_args(Implementation):
        raise InputError(f"unknown implementation {implementation!r}; use 'auto', 'xla' or 'native'")
    if implementation == "xla":
        return "xla"
    fits = tokens.dtype.name in KERNELS[operation]
    if implementation == "native":
        if not KERNELS[operation]:
            raise InputError(f"implementation='native': {operation} has no kernel; use 'auto' or 'xla'")
        if not fits:
            raise InputError(
                f"implementation='native': {operation} has kernels for {', '.join(KERNELS[operation])};"
                f" these arrays are of {tokens.dtype}, so use 'auto' or 'xla'"
            )
        if _native.missing():
            raise InputError(f"implementation='native': there are no kernels here, as {_native.missing()}; use 'xla'")
        return "native"
    # A single token is as fast as plain operations.
    return "auto" if fits and _auto() == "native" and (_named() == "native" or len(tokens) > 1) else "xla"


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
