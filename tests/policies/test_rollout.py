"""Who takes part in a rollout, for ever the same, and how two decisions for one request differ."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ir import MediaRequest, Operation
from policies.decide import decide
from policies.explain import describe_rollout, explain_rollout
from policies.match import Policy
from policies.rollout import Change, Comparison, Rollout, compare, takes_part
from tests.policies.catalogs import policy, studio, traits

NOW = 1_795_000_000.0
PINNED = [40, 44, 48, 53]
names = st.text(max_size=20)
percents = st.floats(0, 100)


def rollout(**spec: object) -> Rollout:
    compiled = policy("default", rollout={"candidate": "next", **spec}).rollout
    assert compiled is not None
    return compiled


# ------------------------------------------------------------------------------------------------------ who takes part


def test_the_same_callers_take_part_in_every_release_of_muxel() -> None:
    """Pinned: a change of these would move every caller of every canary under way."""
    canary = rollout(mode="canary", percent=5)
    drawn = [n for n in range(100) if takes_part(canary, "default", f"app-{n}", "", "")]
    assert drawn == PINNED


@given(names, names, names, percents, percents)
def test_who_is_in_stays_in_at_a_larger_percent(
    caller: str, session: str, request: str, one: float, two: float
) -> None:
    less, more = (rollout(mode="canary", percent=percent) for percent in sorted((one, two)))
    if takes_part(less, "default", caller, session, request):
        assert takes_part(more, "default", caller, session, request)


@given(names, names, names)
def test_nobody_is_in_at_0_and_everybody_at_100(caller: str, session: str, request: str) -> None:
    assert not takes_part(rollout(mode="canary", percent=0), "default", caller, session, request)
    assert takes_part(rollout(mode="canary", percent=100), "default", caller, session, request)


@pytest.mark.parametrize("percent", [0.5, 5, 50, 99])
def test_about_the_percent_takes_part(percent: float) -> None:
    canary = rollout(mode="canary", percent=percent)
    share = sum(takes_part(canary, "default", f"app-{n}", "", "") for n in range(20_000)) / 200
    assert share == pytest.approx(percent, abs=1)


def test_another_policy_or_candidate_draws_others() -> None:
    def drawn(canary: Rollout, name: str) -> set[int]:
        return {n for n in range(1_000) if takes_part(canary, name, f"app-{n}", "", "")}

    canary = rollout(mode="canary", percent=20)
    first = drawn(canary, "default")
    for other in (drawn(canary, "brand"), drawn(replace(canary, candidate="next-2"), "default")):
        assert 10 < len(first & other) < 80, "of 200 each, 40 are in both by chance"


@given(names.filter(bool), names.filter(bool), st.lists(names, min_size=2, max_size=5))
def test_what_is_sticky_decides_alone(caller: str, session: str, others: list[str]) -> None:
    by_caller = rollout(mode="canary", percent=50)
    assert len({takes_part(by_caller, "default", caller, one, one) for one in others}) == 1
    by_session = rollout(mode="canary", percent=50, sticky="session")
    assert len({takes_part(by_session, "default", one, session, one) for one in others}) == 1
    by_request = rollout(mode="canary", percent=50, sticky="request")
    assert len({takes_part(by_request, "default", one, one, "42") for one in others}) == 1


@given(names.filter(bool), names)
def test_who_has_no_session_goes_by_the_caller_and_who_has_no_name_by_the_request(name: str, request: str) -> None:
    by_session = rollout(mode="canary", percent=50, sticky="session")
    by_caller, by_request = replace(by_session, sticky="caller"), replace(by_session, sticky="request")
    assert takes_part(by_session, "default", name, "", request) == takes_part(by_caller, "default", name, "", request)
    assert takes_part(by_session, "default", "", "", request) == takes_part(by_request, "default", name, "", request)


def test_callers_that_are_named_take_part_whatever_the_percent() -> None:
    canary = rollout(mode="canary", callers=["acme-*", "intern"])
    assert [name for name in ("acme-1", "acme", "intern", "") if takes_part(canary, "default", name, "", "1")] == [
        "acme-1", "intern",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("spec", "percent", "paused"),
    [
        ({}, 100, False),
        ({"percent": 10}, 10, False),
        ({"callers": ["acme"]}, 0, False),
        ({"percent": 0}, 0, True),
        ({"mode": "canary", "percent": 0}, 0, True),
        ({"mode": "canary", "callers": ["acme"]}, 0, False),
        ({"mode": "canary", "percent": 2.5, "callers": ["acme"]}, 2.5, False),
    ],
)
def test_a_shadow_is_of_all_requests_unless_it_says_of_which(
    spec: dict[str, object], percent: float, paused: bool
) -> None:
    assert (rollout(**spec).percent, rollout(**spec).paused) == (percent, paused)


def test_any_change_of_a_policy_gives_it_another_digest() -> None:
    digests = [
        policy("default").digest,
        policy("default", objective="fastest").digest,
        policy("next").digest,
        policy("default", rollout={"candidate": "next"}).digest,
        policy("default", rollout={"candidate": "next", "percent": 5}).digest,
    ]
    assert len(set(digests)) == len(digests)
    assert policy("default", objective="cheapest").digest == policy("default").digest


# ----------------------------------------------------------------------------------------------------------- comparing


def compared(live: Policy, candidate: Policy) -> Comparison:
    request = MediaRequest(Operation.GENERATE, prompt="a face")
    one, other = (decide(request, traits(), by, studio(), {}, NOW) for by in (live, candidate))
    return compare(one, other)


def using(*models: str, **more: object) -> Policy:
    return policy(rules=[{"name": "only", "use": {"models": list(models)}, **more}])


@pytest.mark.parametrize(
    ("candidate", "change", "cost_delta"),
    [
        (using("canvas-2@alpha"), Change.SAME, 0.0),
        (using("canvas-2@beta"), Change.HOST, 0.001),
        (using("swift-1@alpha"), Change.MODEL, -0.026),
        (using("canvas-2@self"), Change.HOST, None),
        (using("swift-1", refuse="no"), Change.LOST, None),
        (policy(ceilings={"costUsd": 0.0001}), Change.LOST, None),
    ],
)
def test_two_decisions_differ_by_what_is_tried_first(
    candidate: Policy, change: Change, cost_delta: float | None
) -> None:
    found = compared(using("canvas-2@alpha"), candidate)
    assert found.change is change
    assert found.cost_delta == (None if cost_delta is None else pytest.approx(cost_delta))


def test_what_only_the_candidate_can_serve_is_gained_and_what_neither_can_is_neither() -> None:
    nothing = policy(ceilings={"costUsd": 0.0001})
    assert compared(nothing, using("canvas-2")).change is Change.GAINED
    assert compared(nothing, nothing).change is Change.NEITHER


def test_a_higher_floor_is_told() -> None:
    live, candidate = (policy(tiers={"standard": {"floor": floor}, "premium": {"floor": 0.6}}) for floor in (0.3, 0.5))
    assert compared(live, candidate).floor_delta == pytest.approx(0.2)


# --------------------------------------------------------------------------------------------------------- in words


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({}, "next, shadow of 100 % by caller"),
        ({"mode": "canary", "percent": 2.5, "sticky": "session"}, "next, canary of 2.5 % by session"),
        ({"mode": "canary", "callers": ["acme-*", "intern"]}, "next, canary of acme-*, intern"),
        ({"mode": "canary", "percent": 5, "callers": ["acme-*"]}, "next, canary of 5 % by caller and of acme-*"),
        ({"percent": 0}, "next, shadow of 0 % by caller (paused)"),
    ],
)
def test_a_rollout_is_told_in_a_line(spec: dict[str, object], told: str) -> None:
    assert describe_rollout(rollout(**spec)) == told


def test_what_the_candidate_would_do_is_told_in_a_line() -> None:
    _, told = explain_rollout(rollout(), compared(using("canvas-2@alpha"), using("swift-1@alpha")))
    assert told == "candidate  swift-1@alpha at $0.004, p50 1.5 s: another model, $0.026 cheaper"
    _, same = explain_rollout(rollout(), compared(using("canvas-2@alpha"), using("canvas-2@alpha")))
    assert same == "candidate  the same"
