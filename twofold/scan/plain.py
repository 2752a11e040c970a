"""Loops over time for programs that are translated, and not compiled by XLA."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

plain = ContextVar("plain", default=False)
"""Whether loops over time are traced as `lax.scan`."""


@contextmanager
def plain_loops() -> Iterator[None]:
    """In here, scans trace their loops as `lax.scan` over tokens, although that is slower in XLA.

    Its parameters say what each turn reads and writes. In the other loops, that is hidden in operations on whole arrays.
    """
    before = plain.set(True)
    try:
        yield
    finally:
        plain.reset(before)
