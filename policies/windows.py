"""Times of the week by the clocks of a zone: ``during`` of a rule, compiled and asked.

``conditions`` compiles them, ``check`` asks for the zones. What is compared is what a clock on a wall there shows: an
hour that summer time skips is in no window, one that it repeats is in a window twice. Knows no clock: the time is an
argument. A zone's rules are read once, from the system's tz database or else from tzdata.
"""

from dataclasses import dataclass
from datetime import datetime, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from policies import schema

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Window:
    """``start`` and ``end`` are minutes of the day; an end before the start is on the next day."""

    days: frozenset[int]  # on which it begins; Monday is 0
    start: int
    end: int
    zone: tzinfo


def compile_window(spec: schema.Window) -> Window:
    """Raises ValueError for a zone that does not exist."""
    days = DAYS if spec.days is None else spec.days
    return Window(frozenset(map(DAYS.index, days)), _minute(spec.begins), _minute(spec.ends), zone(spec.time_zone))


def _minute(text: str) -> int:
    hours, _, minutes = text.partition(":")
    return int(hours) * 60 + int(minutes)


def zone(name: str) -> tzinfo:
    """Raises ValueError for one that does not exist."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # the directory of zones called Europe is an OSError
        raise ValueError(f"there is no time zone {name!r}") from None


def zones() -> frozenset[str]:
    """The names of all. Looks through hundreds of files."""
    return frozenset(available_timezones())


def is_in(window: Window, now: float) -> bool:
    """Whether the window is open at ``now``, seconds since the epoch."""
    there = datetime.fromtimestamp(now, window.zone)
    minute, day = there.hour * 60 + there.minute, there.weekday()
    if window.start < window.end:
        return day in window.days and window.start <= minute < window.end
    return (day in window.days and minute >= window.start) or ((day - 1) % 7 in window.days and minute < window.end)


def clock(now: float, place: tzinfo) -> str:
    """``now`` as a clock there shows it: mon 18:30."""
    there = datetime.fromtimestamp(now, place)
    return f"{DAYS[there.weekday()]} {there:%H:%M}"
