"""Tests beside policies: what they may say, that they are no part of what is in force, and what does not hold."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from adapters.ir import Ask, MediaRequest, Operation, Tier
from policies.cases import Case, Expect, PolicyTest, Request
from policies.decide import decide
from policies.decision import Decision, Health
from policies.load import Config, _shipped_files, load_documents
from policies.verify import Mismatch, health_of, rule_trace, verify
from proxy.traffic import KEYS
from tests.policies.catalogs import policy, studio, traits
from tests.policies.test_load import BASE, TASKS, WIRES

NOW = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
WORDS = MediaRequest(Operation.GENERATE, prompt="a lighthouse")
SUITE = """\
apiVersion: muxel.dev/v1alpha1
kind: PolicyTest
metadata: {name: suite}
spec:
  tests:
    - {name: b, request: {prompt: a fox}, expect: {tier: standard}}
    - {name: a, request: {prompt: a fox}, policy: eu, expect: {tier: standard}}
"""
INSIDE = """\
apiVersion: muxel.dev/v1alpha1
kind: RoutingPolicy
metadata: {name: eu}
spec:
  objective: best
"""
TESTS = "  tests: [{name: c, request: {prompt: a fox}, expect: {tier: standard}}]\n"


def read(files: Mapping[str, str], tests: bool = True) -> Config:
    return load_documents({"base.yaml": BASE, **files}, WIRES, shipped=False, tasks=TASKS, tests=tests)


# ---------------------------------------------------------------------------------------------------------- the format


def test_a_request_has_the_keys_of_recorded_traffic_and_no_others() -> None:
    assert set(Request.model_fields) == KEYS


def case(**fields: Any) -> Case:
    given = {"name": "a test", "request": {"prompt": "a fox"}, "expect": {"tier": "standard"}, **fields}
    return Case.model_validate_json(orjson.dumps(given), strict=True)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-12-01", 1_796_083_200.0),
        ("2026-12-01T00:00:00Z", 1_796_083_200.0),
        ("2026-12-01T02:30:00+02:00", 1_796_085_000.0),
    ],
)
def test_a_time_without_a_zone_is_utc_and_a_date_its_first_moment(text: str, seconds: float) -> None:
    moment = case(at=text).at
    assert moment is not None
    assert moment.timestamp() == seconds


def test_an_editor_is_told_every_form_that_is_taken() -> None:
    told = PolicyTest.model_json_schema()["$defs"]
    forms = {name: json.dumps(told["Expect"]["properties"][name]) for name in ("model", "refused", "notRouted")}
    assert all('"string"' in form for form in forms.values())
    assert '"array"' in forms["model"]
    assert '"boolean"' in forms["refused"]
    assert '"string"' in json.dumps(told["Case"]["properties"]["at"])


# ---------------------------------------------------------------------------------- no part of what is in force


def test_tests_are_found_in_the_order_of_files_with_the_policy_they_are_of() -> None:
    config = read({"z.test.yaml": SUITE, "eu.yaml": INSIDE + TESTS})
    assert [(one.case.name, one.policy, one.suite, one.file) for one in config.tests] == [
        ("c", "eu", "eu", "eu.yaml"),
        ("b", "default", "suite", "z.test.yaml"),
        ("a", "eu", "suite", "z.test.yaml"),
    ]
    assert [one.place("name") for one in config.tests] == [(6, 18), (6, 14), (7, 14)]


def test_tests_change_neither_hash_nor_policy_and_are_none_of_a_servers_business() -> None:
    bare = read({"eu.yaml": INSIDE}, tests=False)
    tested = read({"eu.yaml": INSIDE + TESTS, "z.test.yaml": SUITE}, tests=False)
    assert tested.hash == bare.hash == read({"eu.yaml": INSIDE + TESTS, "z.test.yaml": SUITE}).hash
    assert tested.tests == ()
    assert set(tested.policies) == {"default", "eu"}


@pytest.mark.usefixtures("with_tests_shipped")
def test_what_muxel_ships_is_not_tested_with_a_users_configuration() -> None:
    assert load_documents({}, WIRES, tests=True).tests == ()


@pytest.fixture
def with_tests_shipped(monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"shipped/base.yaml": BASE.encode(), "shipped/eu.yaml": (INSIDE + TESTS).encode()}
    monkeypatch.setattr("policies.load._shipped_files", lambda: files)


def test_the_shipped_tests_are_a_file_of_their_own_that_is_not_loaded() -> None:
    shipped = Path(__file__).parents[2] / "policies" / "defaults"
    assert list(shipped.glob("*.test.yaml"))
    assert not any(name.endswith(".test.yaml") for name in _shipped_files())


# ------------------------------------------------------------------------------------------------------------- verdicts


def decided(request: MediaRequest = WORDS, health: Mapping[str, Health] = {}, **spec: Any) -> Decision:
    return decide(request, traits("portrait", 0.91), policy(**spec), studio(), health, NOW)


REFUSING = {"rules": [{"name": "no", "refuse": "not here"}]}
CHEAP = MediaRequest(Operation.GENERATE, prompt="a", ask=Ask(max_cost=0.0001))
HOLDS: list[tuple[dict[str, Any], MediaRequest, dict[str, Any]]] = [
    ({"task": "portrait"}, WORDS, {}),
    ({"task": ["people", "portrait"]}, WORDS, {}),
    ({"model": "canvas-2"}, WORDS, {}),
    ({"model": "canvas"}, WORDS, {}),  # an alias
    ({"model": ["nobody", "canvas-2@*"]}, WORDS, {}),
    ({"provider": "ga*"}, WORDS, {}),
    ({"tier": "standard", "rule": ""}, WORDS, {}),
    ({"rule": "r"}, WORDS, {"rules": [{"name": "r", "objective": "best"}]}),
    ({"maxCostUsd": 0.028, "minCostUsd": 0.028}, WORDS, {}),
    ({"refused": False}, WORDS, {}),
    ({"refused": True, "rule": "no"}, WORDS, REFUSING),
    ({"refused": "not here"}, WORDS, REFUSING),
    ({"rejected": {"swift-1": "quality", "cut-1": "operation"}}, WORDS, {}),
    ({"candidates": ["canvas-2@gamma", "canvas-2@alpha"]}, WORDS, {}),
    ({"notRouted": ["swift-*", "cut-1"]}, WORDS, {}),
    ({"notRouted": False}, WORDS, {}),
    ({"notRouted": True}, CHEAP, {}),
]


def mismatches(expect: dict[str, Any], decision: Decision) -> tuple[Mismatch, ...]:
    return verify(case(expect=expect).expect, decision)


@pytest.mark.parametrize(("expect", "request_", "spec"), HOLDS, ids=lambda value: str(value)[:40])
def test_an_expectation_that_holds_is_not_told(
    expect: dict[str, Any], request_: MediaRequest, spec: dict[str, Any]
) -> None:
    assert mismatches(expect, decided(request_, **spec)) == ()


FAILS: list[tuple[dict[str, Any], MediaRequest, dict[str, Any], str, str]] = [
    # expectation, request, policy, what was got, what stands against it
    ({"task": "logo"}, WORDS, {}, "portrait 0.91", "plausible: portrait 0.91"),
    (
        {"model": "swift-1"},
        WORDS,
        {},
        "canvas-2@gamma#eu at $0.028",
        "swift-1@beta is rejected, quality: p25 0.21 < floor",
    ),
    ({"model": "vision-x"}, WORDS, {}, "canvas-2@gamma#eu at $0.028", "vision-x@delta at $0.130 is number 4 of 6"),
    ({"model": "canvas-2"}, WORDS, REFUSING, "refused by rule no: not here", "canvas-2@alpha is rejected, denied"),
    ({"model": "canvas-2"}, CHEAP, {}, "no deployment is eligible: ", "cost: $0.028 > ceiling $0.000"),
    ({"provider": "delta"}, WORDS, {}, "canvas-2@gamma#eu at", "vision-x@delta at $0.130"),
    ({"tier": "premium"}, WORDS, {}, "standard", ""),
    ({"rule": "r"}, WORDS, {}, "no rule", ""),
    ({"rule": ""}, WORDS, {"rules": [{"name": "r", "objective": "best"}]}, "r", ""),
    ({"maxCostUsd": 0.02}, WORDS, {}, "canvas-2@gamma#eu at $0.028", ""),
    ({"minCostUsd": 0.03}, WORDS, {}, "canvas-2@gamma#eu at $0.028", ""),
    ({"maxCostUsd": 9}, CHEAP, {}, "no deployment is eligible", ""),
    ({"refused": True}, WORDS, {}, "canvas-2@gamma#eu", ""),
    ({"refused": False}, WORDS, REFUSING, "refused by rule no", ""),
    ({"refused": "elsewhere"}, WORDS, REFUSING, "refused by rule no: not here", ""),
    ({"rejected": {"swift-1": "cost"}}, WORDS, {}, "0 eligible, 2 rejected", "swift-1@alpha is rejected, quality"),
    (
        {"rejected": {"canvas-2": "cost"}},
        WORDS,
        {},
        "4 eligible, 0 rejected",
        "canvas-2@gamma#eu at $0.028 is number 1",
    ),
    (
        {"candidates": ["canvas-2", "vision-x"]},
        WORDS,
        {},
        "canvas-2@gamma#eu, canvas-2@alpha",
        "place 2: vision-x@delta",
    ),
    ({"notRouted": True}, WORDS, {}, "canvas-2@gamma#eu", ""),
    ({"notRouted": True}, WORDS, REFUSING, "refused by rule no", ""),
    ({"notRouted": False}, CHEAP, {}, "no deployment is eligible", ""),
    ({"notRouted": ["vision-*"]}, WORDS, {}, "1 eligible", "vision-x@delta at $0.130 is number"),
]


@pytest.mark.parametrize(("expect", "request_", "spec", "got", "because"), FAILS, ids=lambda value: str(value)[:40])
def test_an_expectation_that_does_not_hold_is_told_with_what_stands_against_it(
    expect: dict[str, Any], request_: MediaRequest, spec: dict[str, Any], got: str, because: str
) -> None:
    (mismatch,) = mismatches(expect, decided(request_, **spec))
    assert mismatch.field == next(iter(expect))
    assert mismatch.got.startswith(got)
    assert because in "\n".join(mismatch.because)


def test_every_key_of_expect_is_held_against_the_decision() -> None:
    tried = {key for expect, *_ in FAILS for key in expect}
    assert tried == {field.alias for field in Expect.model_fields.values()}


def test_unavailable_deployments_are_as_if_their_breaker_were_open() -> None:
    view = health_of(case(unavailable=["*@gamma"], health={"canvas-2": {"p50": 2, "success": 0.5}}), studio())
    assert not view["canvas-2@gamma#eu"].available
    assert view["canvas-2@alpha"] == Health(p50=2.0, success=0.5)
    decision = decided(health=view)
    assert mismatches({"provider": "alpha", "rejected": {"*@gamma": "breaker"}}, decision)[0].field == "rejected"
    assert mismatches({"provider": "alpha", "rejected": {"canvas-2@gamma": "breaker"}}, decision) == ()


def test_the_trace_of_rules_ends_with_the_one_that_applies() -> None:
    rules = policy(
        rules=[
            {"name": "other", "match": {"task": ["logo"]}, "objective": "best"},
            {"name": "premium", "match": {"tier": ["premium"]}, "objective": "best"},
            {"name": "all", "objective": "fastest"},
            {"name": "never", "refuse": "no"},
        ]
    )
    assert rule_trace(rules, WORDS, traits()) == (("other", False), ("premium", False), ("all", True))
    asked = MediaRequest(Operation.GENERATE, prompt="a", ask=Ask(tier=Tier.PREMIUM))
    assert rule_trace(rules, asked, traits()) == (("other", False), ("premium", True))
