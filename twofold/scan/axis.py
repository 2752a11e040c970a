"""Sequences that are spread over devices: each device has one part of the tokens, in the order of time."""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax import Array, lax

from ..errors import InputError
from ._varying import alike

TIME = "time"
"""The axis of a mesh that layers take for time."""
GATHERED = 4
"""Up to so many devices, it moves no more bytes to gather all summaries than to pass them on in doubling steps."""

Summary = TypeVar("Summary")


def time_axis() -> str | None:
    """The axis over which time is spread, "time", or None where it is not: outside of `jax.shard_map` over such a mesh."""
    try:
        lax.axis_size(TIME)
    except NameError:
        return None
    return TIME


def refuse_spread_time(name: str, reason: str) -> None:
    """**Raises:** `InputError` where time is spread over devices, with the reason why the layer `name` cannot be."""
    if time_axis() is not None:
        raise InputError(f"{name} cannot be computed with time spread over devices: {reason}")


class _Part(NamedTuple):
    """What some tokens come to."""

    summary: Any
    cut: Array
    """Whether there is a reset among them, which nothing passes."""


def before_part(
    merge: Callable[[Summary, Summary, int], Summary],
    start: Summary,
    part: Summary,
    resets: Array | None,
    axis_name: str,
    reverse: bool = False,
) -> Summary:
    """What the tokens before this device's part come to, and what came before all tokens, `start`.

    `part` sums up the tokens of this device, and `resets` are theirs. `merge(earlier, later, parts)` is associative, for tokens
    without resets. `later` has the tokens of so many devices, `parts`. The devices exchange summaries alone, so that the number
    of bytes does not depend on the number of tokens.
    """

    def combine(earlier: _Part, later: _Part, parts: int) -> _Part:
        merged = merge(earlier.summary, later.summary, parts)
        return _Part(chosen(later.cut, later.summary, merged), earlier.cut | later.cut)

    cut = jnp.zeros((), bool) if resets is None else jnp.any(resets)
    first, own = alike((_Part(start, jnp.zeros_like(cut)), _Part(part, cut)))
    return _before(combine, first, own, axis_name, reverse).summary


def chosen(where: Array, x: Any, y: Any) -> Any:
    """x or y, which are pytrees."""
    return jax.tree.map(lambda x, y: jnp.where(where, x, y), x, y)


def _before(
    combine: Callable[[_Part, _Part, int], _Part], start: _Part, part: _Part, axis_name: str, reverse: bool
) -> _Part:
    devices, place = lax.axis_size(axis_name), lax.axis_index(axis_name)
    place = devices - 1 - place if reverse else place

    def passed_on(x: _Part, places: int) -> _Part:
        """What the device has that is so many places earlier. It is zero where there is none."""
        pairs = [(i, i + places) for i in range(devices - places)]
        pairs = [(devices - 1 - i, devices - 1 - j) for i, j in pairs] if reverse else pairs
        return jax.tree.map(lambda leaf: lax.ppermute(leaf, axis_name, pairs), x)

    if devices <= GATHERED:
        parts = jax.tree.map(lambda leaf: lax.all_gather(leaf, axis_name), part)
        found = so_far = start
        for i in range(devices - 1):
            at = devices - 1 - i if reverse else i
            so_far = combine(so_far, jax.tree.map(lambda leaf, at=at: leaf[at], parts), 1)
            found = chosen(place > i, so_far, found)
        return found
    found, reach = chosen(place == 0, start, passed_on(part, 1)), 1
    while reach < devices:
        found = chosen(place >= reach, combine(passed_on(found, reach), found, reach), found)
        reach *= 2
    return found


def of_last_part(x: Any, axis_name: str | None) -> Any:
    """The value that the device with the last tokens has, on all devices."""
    if axis_name is None:
        return x
    last = lax.axis_index(axis_name) == lax.axis_size(axis_name) - 1
    return jax.tree.map(lambda leaf: lax.psum(jnp.where(last, leaf, jnp.zeros_like(leaf)), axis_name), x)
