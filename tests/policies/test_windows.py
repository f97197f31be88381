"""Times of the week: midnight, summer time, and zones in which it is another day."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from policies import schema
from policies.windows import clock, compile_window, is_in, zone

OFFICE = {"days": ["mon", "tue", "wed", "thu", "fri"], "from": "08:00", "to": "18:00", "timeZone": "Europe/Berlin"}
NIGHT = {"days": ["fri"], "from": "22:00", "to": "06:00", "timeZone": "Europe/Berlin"}
SMALL_HOURS = {"from": "02:30", "to": "03:30", "timeZone": "Europe/Berlin"}


def open_at(window: dict[str, Any], moment: str) -> bool:
    at = datetime.fromisoformat(moment)
    assert at.tzinfo is not None
    return is_in(compile_window(schema.Window.model_validate(window)), at.timestamp())


@pytest.mark.parametrize(
    ("window", "moment", "expected"),
    [
        # Monday 2026-11-30; Berlin is an hour ahead in winter and two in summer
        (OFFICE, "2026-11-30T06:59:59Z", False),
        (OFFICE, "2026-11-30T07:00:00Z", True),
        (OFFICE, "2026-11-30T16:59:59Z", True),
        (OFFICE, "2026-11-30T17:00:00Z", False),
        (OFFICE, "2026-11-29T12:00:00Z", False),
        (OFFICE, "2026-07-01T06:00:00Z", True),
        (OFFICE, "2026-07-01T16:00:00Z", False),
        # From Friday evening into Saturday morning, and no other morning
        (NIGHT, "2026-12-04T20:59:00Z", False),
        (NIGHT, "2026-12-04T21:00:00Z", True),
        (NIGHT, "2026-12-04T23:30:00Z", True),
        (NIGHT, "2026-12-05T04:59:00Z", True),
        (NIGHT, "2026-12-05T05:00:00Z", False),
        (NIGHT, "2026-12-05T21:00:00Z", False),
        (NIGHT, "2026-12-04T01:00:00Z", False),
        # The hour from 02:00 is skipped on 2026-03-29 and comes twice on 2026-10-25
        (SMALL_HOURS, "2026-03-29T00:59:00Z", False),
        (SMALL_HOURS, "2026-03-29T01:00:00Z", True),
        (SMALL_HOURS, "2026-03-29T01:30:00Z", False),
        (SMALL_HOURS, "2026-10-25T00:30:00Z", True),
        (SMALL_HOURS, "2026-10-25T01:00:00Z", False),
        (SMALL_HOURS, "2026-10-25T01:30:00Z", True),
        (SMALL_HOURS, "2026-10-25T02:29:00Z", True),
        (SMALL_HOURS, "2026-10-25T02:30:00Z", False),
        # Another day elsewhere
        ({"days": ["tue"], "timeZone": "Pacific/Auckland"}, "2026-11-30T12:00:00Z", True),
        ({"days": ["mon"], "timeZone": "Pacific/Auckland"}, "2026-11-30T12:00:00Z", False),
        ({"days": ["sun"], "timeZone": "America/Los_Angeles"}, "2026-11-30T07:00:00Z", True),
        # A whole day, every day, and the days around the turn of the week
        ({"days": ["mon"]}, "2026-11-30T00:00:00Z", True),
        ({"days": ["mon"]}, "2026-11-30T23:59:59Z", True),
        ({"days": ["mon"]}, "2026-12-01T00:00:00Z", False),
        ({}, "2026-11-30T00:00:00Z", True),
        ({"days": ["sun"], "from": "20:00", "to": "04:00"}, "2026-11-30T03:00:00Z", True),
        ({"from": "20:00", "to": "00:00"}, "2026-11-30T23:59:00Z", True),
        ({"from": "20:00", "to": "00:00"}, "2026-11-30T00:00:00Z", False),
        ({"from": "20:00", "to": "24:00"}, "2026-11-30T00:00:00Z", False),
    ],
)
def test_a_window_is_open_by_the_clocks_of_its_zone(window: dict[str, Any], moment: str, expected: bool) -> None:
    assert open_at(window, moment) is expected


@pytest.mark.parametrize(
    "name", ["Europe", "europe/berlin", "../../etc/passwd", "/etc/localtime", "Mars/Olympus", "\0"]
)
def test_what_is_no_zone_is_refused_whatever_it_is(name: str) -> None:
    with pytest.raises(ValueError, match=r"^there is no time zone"):
        zone(name)


def test_a_clock_shows_the_day_and_the_time_there() -> None:
    noon = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
    assert clock(noon, ZoneInfo("Pacific/Auckland")) == "tue 01:00"
