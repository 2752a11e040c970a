"""Which implementation runs a scan: the one place that decides."""

from typing import Literal

from ..errors import InputError

Implementation = Literal["auto", "xla", "native"]


def choose(implementation: Implementation) -> Literal["xla"]:
    """The implementation to run for the one asked for; `"auto"` takes the fastest that is present.

    Raises `InputError` for a name that is unknown or that this build does not have.
    """
    if implementation in ("auto", "xla"):
        return "xla"
    if implementation == "native":
        raise InputError("implementation='native' is not part of this build; use 'auto' or 'xla'")
    raise InputError(f"unknown implementation {implementation!r}; use 'auto', 'xla' or 'native'")
