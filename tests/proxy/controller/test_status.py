"""The verdict on a set of sources, when it changes, and which Events follow from the change."""

from dataclasses import replace

import pytest

from policies.compose import Source
from policies.load import ConfigError, Problem
from proxy.controller.events import EventLog, Told, count_up, event, happenings
from proxy.controller.status import MOST_ERRORS, Status, judge, read, write
from tests.proxy.controller.sources import BROKEN, GOOD, POLICY, outcome, source

NOW = 1_764_000_000.25  # 2025-11-24T16:00:00Z
LATER = NOW + 60
BRAND = source("brand", GOOD)
BAD = source("brand", BROKEN, version="2")
TEAM = source("team", POLICY % ("team", "{}"))


def status_of(
    *sources: Source, previous: Status | None = None, in_force: str = "", now: float = NOW, failure: str = ""
) -> Status:
    made = outcome(*sources)
    return judge(sources, made, in_force or getattr(made, "hash", ""), previous, now, failure)


@pytest.mark.parametrize(
    ("status", "accepted", "programmed", "message"),
    [
        (status_of(BRAND, TEAM), ("True", "Valid"), ("True", "Compiled"), "2 sources, hash "),
        (status_of(BRAND), ("True", "Valid"), ("True", "Compiled"), "1 source, hash "),
        (status_of(in_force="abc"), ("False", "Invalid"), ("False", "LastGoodKept"), "no ConfigMap has the label"),
        (status_of(BAD), ("False", "Invalid"), ("False", "NothingCompiled"), "studio/brand/policy.yaml:4:8: spec.obj"),
        (
            status_of(BAD, in_force="abc"),
            ("False", "Invalid"),
            ("False", "LastGoodKept"),
            'did you mean "objective"?; the last good policies stay in force, hash abc',
        ),
        (
            status_of(BRAND, failure="Forbidden"),
            ("True", "Valid"),
            ("False", "WriteFailed"),
            "Forbidden",
        ),
    ],
)
def test_a_verdict_is_two_conditions_and_a_line(
    status: Status, accepted: tuple[str, str], programmed: tuple[str, str], message: str
) -> None:
    first, second = status.conditions
    assert (first.status, first.reason) == accepted
    assert (second.status, second.reason) == programmed
    data = write(status)
    assert (data["accepted"], data["programmed"]) == (accepted[0], programmed[0])
    assert message in data["message"]
    assert first.since == second.since == "2025-11-24T16:00:00Z"


def test_what_was_written_reads_back_and_what_others_wrote_does_not() -> None:
    status = status_of(BAD, TEAM, in_force="abc")
    assert read(write(status)) == status
    for broken in ({}, {"conditions": "["}, {**write(status), "conditions": "[]"}, {**write(status), "sources": "[1]"}):
        assert read(broken) is None


def test_the_same_again_is_the_same_text_and_a_change_dates_only_what_changed() -> None:
    first = status_of(BRAND)
    assert write(status_of(BRAND, previous=first, now=LATER)) == write(first)
    kept = status_of(BAD, previous=first, in_force=first.hash, now=LATER)
    assert [condition.since for condition in kept.conditions] == ["2025-11-24T16:01:00Z"] * 2
    unwritten = status_of(BRAND, previous=first, failure="conflict", now=LATER)
    assert [condition.since for condition in unwritten.conditions] == ["2025-11-24T16:00:00Z", "2025-11-24T16:01:00Z"]


def test_every_source_has_its_version_and_its_own_errors() -> None:
    status = status_of(TEAM, BAD, in_force="abc")
    brand, team = status.sources
    assert (brand.id, brand.uid, brand.version, team.errors) == ("studio/brand", "uid-brand", "2", ())
    assert brand.errors == status.errors
    assert brand.errors[0].startswith("studio/brand/policy.yaml:4:8: spec.objektive is not a known key")


def test_a_source_is_not_blamed_for_one_whose_name_begins_like_its_own() -> None:
    status = status_of(source("brand", GOOD), source("brand-new", POLICY % ("x", "{a: 1}")))
    assert [bool(observed.errors) for observed in status.sources] == [False, True]


def test_errors_without_end_are_told_of_in_part() -> None:
    error = ConfigError(Problem("studio/a/p.yaml", line, 1, "wrong") for line in range(1, MOST_ERRORS + 11))
    status = judge([], error, "", None, NOW)
    assert len(status.errors) == MOST_ERRORS + 1
    assert status.errors[-1] == "and 10 more"


# --------------------------------------------------------------------------------------------------------------- events


def told(previous: Status | None, status: Status) -> list[tuple[str, str]]:
    return [(happening.source.name, happening.reason) for happening in happenings(previous, status)]


def test_what_changed_is_told_once_of_the_source_it_is_about() -> None:
    good = status_of(BRAND, TEAM)
    assert told(None, good) == [("brand", "PolicyInForce"), ("team", "PolicyInForce")]
    assert told(good, status_of(BRAND, TEAM, previous=good, now=LATER)) == []

    bad = status_of(BAD, TEAM, previous=good, in_force=good.hash)
    assert told(good, bad) == [("brand", "PolicyRefused")]
    assert told(bad, status_of(BAD, TEAM, previous=bad, in_force=good.hash, now=LATER)) == []
    worse = status_of(replace(BAD, version="3"), TEAM, previous=bad, in_force=good.hash)
    assert told(bad, worse) == [("brand", "PolicyRefused")]

    mended = status_of(replace(BRAND, version="4"), TEAM, previous=worse)
    assert told(worse, mended) == [("brand", "PolicyInForce"), ("team", "PolicyInForce")]
    assert told(mended, status_of(TEAM, previous=mended)) == []
    assert told(mended, status_of(previous=mended, in_force=mended.hash)) == []


def test_a_new_leader_that_reads_the_status_back_tells_nothing_again() -> None:
    bad = status_of(BAD, TEAM, in_force="abc")
    assert told(read(write(bad)), status_of(BAD, TEAM, previous=read(write(bad)), in_force="abc")) == []


def test_a_refusal_says_what_is_in_force_and_where_the_mistake_is_and_fits_an_event() -> None:
    status = status_of(BAD, in_force="abc")
    (happening,) = happenings(None, status)
    assert happening.type == "Warning"
    assert happening.message.startswith("the last good policies stay in force, hash abc. studio/brand/policy.yaml:4:8:")
    many = source("brand", POLICY % ("default", "{" + ", ".join(f"ключ{n}: 1" for n in range(90)) + "}"))
    (long,) = happenings(None, status_of(many))
    assert len(long.message.encode()) <= 1024
    assert long.message.endswith("...")


def test_an_event_carries_the_uid_of_its_source_and_is_counted_up_when_it_repeats() -> None:
    (happening,) = happenings(None, status_of(BAD))
    made = event(happening, "muxel-0", NOW)
    assert made["involvedObject"]["uid"] == "uid-brand"
    assert made["involvedObject"]["resourceVersion"] == "2"
    assert made["metadata"]["namespace"] == "studio"
    assert (made["count"], made["firstTimestamp"]) == (1, "2025-11-24T16:00:00Z")

    log = EventLog()
    assert log.again(happening) is None
    log.note(happening, Told("studio", made["metadata"]["name"], 1))
    (repeated,) = happenings(None, status_of(replace(BAD, version="3")))
    again = log.again(repeated)
    assert again == Told("studio", made["metadata"]["name"], 2)
    assert count_up(again, LATER) == {"count": 2, "lastTimestamp": "2025-11-24T16:01:00Z"}
    log.forget(repeated)
    assert log.again(happening) is None
