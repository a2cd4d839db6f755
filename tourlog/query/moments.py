"""Dates, times and durations: their parts, and adding and subtracting them. Knows no number arithmetic.

Aware datetimes are equal by instant, so every function takes them to UTC first: equal arguments give equal
results, whatever time zone each was written in.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from tourlog.errors import QueryError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def is_moment(value: Any) -> bool:
    """Whether `plus` and `minus` take the value: a date, a datetime or a timedelta."""
    return isinstance(value, date | timedelta)


def utc(value: Any) -> Any:
    """An aware datetime or time in UTC; anything else as it is."""
    if not _is_aware(value):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    offset = value.utcoffset()
    if offset is None:
        return value
    moved = datetime.combine(date(2000, 1, 2), value.replace(tzinfo=None)) - offset
    return moved.time().replace(tzinfo=UTC)


def plus(a: Any, b: Any) -> Any:
    """A date, datetime or duration moved by a duration, in either order.

    >>> plus(timedelta(days=1), date(2026, 1, 31))
    datetime.date(2026, 2, 1)
    """
    if isinstance(b, timedelta) and is_moment(a):
        return utc(a) + b
    if isinstance(a, timedelta) and isinstance(b, date):
        return utc(b) + a
    raise QueryError("expected numbers, or durations and at most one date", value=(a, b))


def minus(a: Any, b: Any) -> Any:
    """The duration between two dates or two datetimes, or either, or a duration, moved back by a duration."""
    if isinstance(b, timedelta) and is_moment(a):
        return utc(a) - b
    if type(a) is type(b) and isinstance(a, date) and _is_aware(a) == _is_aware(b):
        return utc(a) - utc(b)
    raise QueryError("expected numbers, two dates of one kind, or something and a duration", value=(a, b))


def part(name: str, *types: type) -> Callable[[Any], int]:
    """A function that reads the attribute `name` of values of these types.

    >>> part("hour", datetime, time)(datetime.fromisoformat("2026-01-01T00:30+02:00"))
    22
    """

    def read(value: Any) -> int:
        found: int = getattr(utc(_expect(value, *types)), name)
        return found

    return read


def weekday(value: Any) -> int:
    """The day of the week as ISO counts: 1 for Monday to 7 for Sunday."""
    return _day(value).isoweekday()


def day_of_year(value: Any) -> int:
    """1 for the first of January."""
    return _day(value).timetuple().tm_yday


def iso_week(value: Any) -> int:
    """The week of the ISO year, 1 to 53."""
    return _day(value).isocalendar().week


def date_of(value: Any) -> date:
    """The date of a datetime; a date is its own."""
    day = _day(value)
    return day.date() if isinstance(day, datetime) else day


def time_of(value: Any) -> time:
    """The time of day of a datetime, aware (UTC) when the datetime is."""
    found: datetime = utc(_expect(value, datetime))
    return found.timetz()


def timestamp(value: Any) -> float:
    """Seconds since 1970 in UTC; a naive datetime is taken for UTC, a date for its midnight.

    >>> timestamp(date(1970, 1, 2)), timestamp(datetime(1970, 1, 1, microsecond=500))
    (86400.0, 0.0005)
    """
    day = _day(value)
    moment = day if isinstance(day, datetime) else datetime.combine(day, time())
    return ((moment if _is_aware(moment) else moment.replace(tzinfo=UTC)) - _EPOCH) / _SECOND


def total_seconds(value: Any) -> float:
    """A duration in seconds."""
    duration: timedelta = _expect(value, timedelta)
    return duration.total_seconds()


def _day(value: Any) -> date:
    found: date = utc(_expect(value, date))
    return found


def _expect(value: Any, *types: type) -> Any:
    if isinstance(value, types):
        return value
    names = " or ".join(f"a {python_type.__name__}" for python_type in types)
    raise QueryError(f"expected {names}", value=value)


def _is_aware(value: Any) -> bool:
    return isinstance(value, datetime | time) and value.tzinfo is not None
