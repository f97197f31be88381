"""The decisions of the list-watch loop as dialogues: what came of one request, and what is to be asked next."""

from collections.abc import Sequence
from typing import Any

import pytest

from proxy.kube.listwatch import (
    Ask,
    Ended,
    Event,
    Listed,
    Lost,
    Opened,
    Pace,
    Refused,
    Told,
    View,
    next_ask,
    same_objects,
    step,
)

PACE = Pace(first=1.0, longest=30.0, short=1.0)
LIST = ""


def config_map(name: str, version: int, uid: str = "u") -> dict[str, Any]:
    return {"metadata": {"namespace": "studio", "name": name, "resourceVersion": str(version), "uid": uid}}


def told(kind: str, name: str, version: int) -> Told:
    return Told({"type": kind, "object": config_map(name, version)})


def bookmark(version: int, lasted: float = 0.0) -> Told:
    one = {"kind": "ConfigMap", "metadata": {"resourceVersion": str(version)}}
    return Told({"type": "BOOKMARK", "object": one}, lasted)


def error(code: int) -> Told:
    return Told(
        {"type": "ERROR", "object": {"kind": "Status", "code": code, "reason": "Expired", "message": "too old"}}
    )


LISTED = Listed([config_map("a", 5), config_map("b", 7)], "10")
LOST, DENIED = Lost("connection refused"), Refused(403, "forbidden")
A_LIST_AT_ONCE = Ask(0.0, LIST)

DIALOGUES: dict[str, Sequence[tuple[Event, Ask]]] = {
    "the watch starts from the version of the list": [(LISTED, Ask(0.0, "10")), (Opened(), Ask(0.0, "10"))],
    "events and bookmarks move the version": [
        (LISTED, Ask(0.0, "10")),
        (told("MODIFIED", "a", 12), Ask(0.0, "12")),
        (bookmark(40), Ask(0.0, "40")),
        (told("DELETED", "a", 41), Ask(0.0, "41")),
    ],
    "a stream that ended in time goes on at once where it was": [
        (LISTED, Ask(0.0, "10")),
        (bookmark(40), Ask(0.0, "40")),
        (Ended(300.0), Ask(0.0, "40")),
    ],
    "streams that end at once are waited for longer and longer": [
        (LISTED, Ask(0.0, "10")),
        (Opened(), Ask(0.0, "10")),
        (bookmark(12), Ask(0.0, "12")),
        (Ended(0.1), Ask(1.0, "12")),
        (Opened(), Ask(1.0, "12")),
        (bookmark(13), Ask(1.0, "13")),
        (Ended(0.1), Ask(2.0, "13")),
        (Opened(), Ask(2.0, "13")),
        (Ended(300.0), Ask(0.0, "13")),
    ],
    "an expired version in a stream that opened well is a list at once": [
        (LISTED, Ask(0.0, "10")),
        (Opened(), Ask(0.0, "10")),
        (error(410), A_LIST_AT_ONCE),
        (Listed([], "50"), Ask(0.0, "50")),
    ],
    "an expired version as a status likewise": [
        (LISTED, Ask(0.0, "10")),
        (Refused(410, "too old"), A_LIST_AT_ONCE),
    ],
    "expired again after the list is no hot loop": [
        (LISTED, Ask(0.0, "10")),
        (error(410), A_LIST_AT_ONCE),
        (LISTED, Ask(0.0, "10")),
        (Opened(), Ask(0.0, "10")),
        (error(410), Ask(2.0, LIST)),
        (LISTED, Ask(2.0, "10")),
        (Opened(), Ask(2.0, "10")),
        (error(410), Ask(4.0, LIST)),
    ],
    "a server that is away is asked where it was left, after longer and longer": [
        (LISTED, Ask(0.0, "10")),
        (LOST, Ask(1.0, "10")),
        (LOST, Ask(2.0, "10")),
        (LOST, Ask(4.0, "10")),
        (LOST, Ask(8.0, "10")),
        (LOST, Ask(16.0, "10")),
        (LOST, Ask(30.0, "10")),
        (LOST, Ask(30.0, "10")),
        (Opened(), Ask(30.0, "10")),
        (bookmark(11), Ask(30.0, "11")),
        (bookmark(12, lasted=60.0), Ask(0.0, "12")),
        (LOST, Ask(1.0, "12")),
    ],
    "a stream that lasted ends the row even where it breaks": [
        (LISTED, Ask(0.0, "10")),
        (LOST, Ask(1.0, "10")),
        (LOST, Ask(2.0, "10")),
        (Opened(), Ask(2.0, "10")),
        (Lost("reset", lasted=60.0), Ask(1.0, "10")),
        (Opened(), Ask(1.0, "10")),
        (Lost("reset", lasted=60.0), Ask(1.0, "10")),
    ],
    "what is refused is listed again, later": [
        (LISTED, Ask(0.0, "10")),
        (DENIED, Ask(1.0, LIST)),
        (DENIED, Ask(2.0, LIST)),
        (LISTED, Ask(2.0, "10")),
        (bookmark(12, lasted=1.0), Ask(0.0, "12")),
    ],
    "a list that fails before there ever was one": [(LOST, Ask(1.0, LIST)), (LISTED, Ask(1.0, "10"))],
    "another error event is a list as well": [(LISTED, Ask(0.0, "10")), (error(500), Ask(1.0, LIST))],
    "too many requests wait as long as they are told and keep their place": [
        (LISTED, Ask(0.0, "10")),
        (Refused(429, "slow down", retry_after=12.0), Ask(12.0, "10")),
        (LOST, Ask(2.0, "10")),
    ],
    "a version that falls is another history": [
        (LISTED, Ask(0.0, "10")),
        (bookmark(9), Ask(1.0, LIST)),
        (Listed([], "9"), Ask(1.0, "9")),
        (bookmark(9), Ask(1.0, "9")),
    ],
    "an event without a version cannot be gone on from": [
        (LISTED, Ask(0.0, "10")),
        (Told({"type": "ADDED", "object": {"metadata": {"name": "a"}}}), Ask(1.0, LIST)),
    ],
}


@pytest.mark.parametrize("dialogue", DIALOGUES.values(), ids=DIALOGUES.keys())
def test_after_each_event_the_next_request_is(dialogue: Sequence[tuple[Event, Ask]]) -> None:
    view = View()
    assert next_ask(view, PACE, jitter=1.0) == A_LIST_AT_ONCE
    for event, ask in dialogue:
        view = step(view, event, PACE)
        assert next_ask(view, PACE, jitter=1.0) == ask, event


def run(*events: Event) -> View:
    view = View()
    for event in events:
        view = step(view, event, PACE)
    return view


def names(view: View) -> set[str]:
    return set(view.objects)


def test_objects_follow_events_and_a_list_replaces_them_whole() -> None:
    view = run(LISTED)
    assert names(view) == {"studio/a", "studio/b"}
    view = step(view, told("ADDED", "c", 11), PACE)
    view = step(view, told("DELETED", "a", 12), PACE)
    assert names(view) == {"studio/b", "studio/c"}
    view = step(view, told("MODIFIED", "b", 13), PACE)
    assert view.objects["studio/b"] == config_map("b", 13)
    view = step(view, Listed([config_map("c", 11)], "20"), PACE)
    assert names(view) == {"studio/c"}, "a name the list does not have was deleted meanwhile"


@pytest.mark.parametrize("event", [LOST, DENIED, error(410), error(500), Ended(0.0), bookmark(1)], ids=repr)
def test_through_any_trouble_the_objects_stand_as_last_heard_of(event: Event) -> None:
    before = run(LISTED, Opened())
    after = step(before, event, PACE)
    assert same_objects(before, after)
    assert before.connected
    assert not after.connected
    assert after.trouble


def test_trouble_is_over_when_a_stream_opens() -> None:
    assert run(LISTED, Opened(), LOST, Opened()).trouble == ""
    assert run(LISTED, LOST, LISTED).trouble


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ((), (Listed([], "1"),), False),
        ((LISTED,), (Listed([config_map("b", 7), config_map("a", 5)], "99"),), True),
        ((LISTED,), (LISTED, bookmark(11), LOST), True),
        ((LISTED,), (LISTED, told("MODIFIED", "a", 11)), False),
        ((LISTED,), (LISTED, told("DELETED", "a", 11)), False),
        ((LISTED,), (Listed([config_map("a", 5, uid="new"), config_map("b", 7)], "10"),), False),
    ],
    ids=["first list", "order", "quiet", "modified", "deleted", "recreated"],
)
def test_what_is_the_same_is_no_change(one: Sequence[Event], other: Sequence[Event], same: bool) -> None:
    assert same_objects(run(*one), run(*other)) is same


def test_jitter_halves_the_wait_at_most() -> None:
    view = run(LISTED, LOST, LOST)
    waits = [next_ask(view, PACE, jitter).after for jitter in (0.0, 0.5, 1.0)]
    assert waits == [1.0, 1.5, 2.0]


def test_a_thousand_failures_wait_no_longer_than_the_longest() -> None:
    assert next_ask(run(*[LOST] * 1000), PACE, jitter=1.0).after == PACE.longest
