"""What a person and a script are told of a decision."""

from datetime import UTC, datetime
from typing import Any

import pytest

from adapters.ir import Ask, Media, MediaRequest, Operation
from policies.catalog import Catalog
from policies.decide import Decision, Session, decide, trace_rules
from policies.explain import as_dict, explain, no_candidate_summary
from tests.policies.catalogs import catalog, policy, studio, traits

NOW = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
WORDS = MediaRequest(Operation.GENERATE, prompt="a lighthouse")
MASKED = MediaRequest(Operation.EDIT, prompt="a lighthouse", mask=Media(data=b"png"))


def choose(request: MediaRequest = WORDS, among: Catalog | None = None, **spec: Any) -> Decision:
    return decide(request, traits("portrait", 0.91), policy(**spec), among or studio(), {}, NOW)


def test_an_explanation_says_what_was_chosen_and_why_nothing_else_was() -> None:
    assert explain(choose(ceilings={"costUsd": 0.05})) == (
        "traits     portrait 0.91; language en",
        "tier       standard: p25 of at least 0.35 for portrait",
        "policy     test, no rule, objective cheapest",
        "chosen     canvas-2@gamma#eu at $0.028, p50 8.0 s: cheapest of 3 at $0.028",
        "fallback   canvas-2@alpha at $0.030, p50 5.0 s: p25 0.41 clears 0.35 for portrait",
        "fallback   canvas-2@beta at $0.031, p50 3.0 s: p25 0.41 clears 0.35 for portrait",
        "rejected   1 operation: does not do image.generate",
        "rejected   1 retired: canvas-1@alpha (since 2026-09-01)",
        "rejected   1 unknown_price: canvas-2@self (unknown price under a ceiling of $0.050)",
        "rejected   2 cost: canvas-2-pro@alpha ($0.060 > ceiling $0.050), vision-x@delta ($0.130 > ceiling $0.050)",
        "rejected   1 unknown_quality: sketch-0@beta (no score for portrait)",
        "rejected   3 quality: glyph-3@gamma (p25 0.33 < floor 0.35 for portrait),"
        " swift-1@alpha (p25 0.21 < floor 0.35 for portrait), swift-1@beta (p25 0.21 < floor 0.35 for portrait)",
    )


def test_the_nearest_misses_are_shown_and_the_others_counted() -> None:
    (line,) = [line for line in explain(choose(tiers={"standard": {"floor": 0.5}})) if "quality: canvas" in line]
    assert line == (
        "rejected   7 quality: canvas-2@alpha (p25 0.41 < floor 0.5 for portrait), canvas-2@beta (p25 0.41 < floor 0.5"
        " for portrait), canvas-2@gamma#eu (p25 0.41 < floor 0.5 for portrait) and 4 more"
    )


def test_doubt_rule_mark_and_estimates_are_told() -> None:
    rules = [{"name": "house", "require": {"vendors": ["omni"]}, "mark": "campaign"}]
    decision = decide(WORDS, traits("portrait", 0.4, "food"), policy(rules=rules), studio(), {}, NOW)
    lines = explain(decision)
    assert lines[0] == "traits     portrait 0.40, then food; language en"
    assert lines[1] == "tier       standard: p25 of at least 0.35 for portrait and food (in doubt: all of them)"
    assert lines[2] == "policy     test, rule house (mark campaign), objective cheapest"
    assert lines[3].startswith("chosen     vision-x@delta at about $0.130")


@pytest.mark.parametrize(
    ("action", "floor"),
    [
        ("saferTier", "p25 of at least 0.5 for portrait (in doubt: the floor of the next tier up)"),
        ("ignore", "p25 of at least 0.35 for portrait (in doubt: taken for certain)"),
    ],
)
def test_what_is_done_about_doubt_is_told(action: str, floor: str) -> None:
    rules = policy(onDoubt={"minConfidence": 0.6, "action": action})
    decision = decide(WORDS, traits("portrait", 0.4, "food"), rules, studio(), {}, NOW)
    assert explain(decision)[1] == f"tier       standard: {floor}"
    assert as_dict(decision, "", 1.0)["doubt"] == action


def test_a_session_that_left_its_model_is_told() -> None:
    decision = decide(WORDS, traits(), policy(), studio(), {}, NOW, session=Session(model="canvas-1"))
    note = "the session left canvas-1: retired, since 2026-09-01"
    assert f"note       {note}" in explain(decision)
    assert as_dict(decision, "", 1.0)["notes"] == [note]


def test_a_refusal_is_all_there_is_to_tell() -> None:
    lines = explain(choose(rules=[{"name": "no", "refuse": "No lighthouses, please."}]))
    assert lines[-1] == "refused    No lighthouses, please."
    assert not [line for line in lines if line.startswith(("chosen", "rejected"))]


@pytest.mark.parametrize(
    ("decision", "summary"),
    [
        (
            choose(MASKED, tiers={"standard": {"floor": 0.8}}),
            "no deployment is eligible: 9 capability (mask), 1 retired (since 2026-09-01),"
            " 1 quality (p25 0.64 < floor 0.8 for portrait)",
        ),
        (
            choose(tiers={"standard": {"floor": 0.8}}),
            "no deployment is eligible: 9 quality, 1 retired (since 2026-09-01),"
            " 1 unknown_quality (no score for portrait)",
        ),
        (
            choose(MediaRequest(Operation.VECTORIZE)),
            "no deployment is eligible: 12 operation (does not do image.vectorize)",
        ),
        (choose(among=catalog()), "no deployment is eligible: the catalog is empty"),
        (choose(MediaRequest(Operation.GENERATE, ask=Ask(model="dall-e-9"))), "unknown model 'dall-e-9'"),
    ],
)
def test_the_summary_counts_what_stood_in_the_way(decision: Decision, summary: str) -> None:
    assert no_candidate_summary(decision) == summary
    assert explain(decision)[3] == f"chosen     none: {summary}"


RULES = [
    {"name": "food", "match": {"task": ["food"], "tier": ["premium"]}},
    {"name": "brand", "match": {"headers": {"x-team": "s3cret-*"}}},
    {"name": "words", "match": {"prompt": "forbidden|words"}, "refuse": "no"},
    {"name": "office", "match": {"during": [{"from": "08:00", "to": "18:00", "timeZone": "Europe/Berlin"}]}},
    {"name": "crew", "when": "'x-crew' in request.headers"},
    {"name": "web", "match": {"app": ["web", "web-*"]}, "mark": "web"},
    {"name": "rest"},
    {"name": "never"},
]


def test_rules_are_told_in_order_with_what_each_failed_on_up_to_the_one_that_applies() -> None:
    request = MediaRequest(Operation.GENERATE, prompt="a lighthouse", ask=Ask(app="web-eu", headers={"x-team": "a"}))
    rules, seen = policy(rules=RULES), traits("portrait", 0.91)
    decision, told = decide(request, seen, rules, studio(), {}, NOW), trace_rules(request, seen, rules, NOW)
    assert decision.rule == told.verdicts[-1].rule
    assert explain(decision, told)[1:8] == (
        "rule       1 food: no, task: portrait is not food",
        "rule       2 brand: no, headers: x-team does not match",
        "rule       3 words: no, prompt: the expression is not found",
        "rule       4 office: no, during: it is fri 01:00 in Europe/Berlin",
        "rule       5 crew: no, when: is false",
        "rule       6 web: applies",
        "rule       2 more are not looked at",
    )
    shown = as_dict(decision, "", 1.0, told)
    assert shown["rules"][0] == {"name": "food", "matched": False, "failed": "task: portrait is not food"}
    assert shown["rules"][-1] == {"name": "web", "matched": True, "failed": ""}
    assert (len(shown["rules"]), shown["rules_not_looked_at"]) == (6, 2)


def test_where_no_rule_applies_all_are_told() -> None:
    rules, seen = policy(rules=RULES[:3]), traits("food", 0.91)
    told = trace_rules(WORDS, seen, rules, NOW)
    assert [verdict.failed for verdict in told.verdicts] == [
        "tier: standard is not premium",
        "headers: there is no x-team",
        "prompt: the expression is not found",
    ]
    assert told.unseen == 0
    assert "rule       3 words: no, prompt: the expression is not found" in explain(choose(), told)


def test_a_verdict_repeats_neither_prompts_nor_expressions_nor_values_of_headers() -> None:
    request = MediaRequest(Operation.GENERATE, prompt="my plan", ask=Ask(caller="k" * 99, headers={"x-team": "mine"}))
    told = str(trace_rules(request, traits("portrait", 0.91), policy(rules=RULES[:6]), NOW))
    assert not [secret for secret in ("plan", "forbidden", "mine", "s3cret", "in request", "k" * 50) if secret in told]


def test_the_json_has_its_stable_keys() -> None:
    decision = choose(ceilings={"costUsd": 0.0301})
    shown = as_dict(decision, "sha256:1", 42.0)
    assert {"traits", "chosen", "fallbacks", "rejected", "rule", "policy_hash", "decide_us"} <= set(shown)
    assert (shown["policy_hash"], shown["decide_us"], shown["rule"]) == ("sha256:1", 42.0, "")
    assert shown["traits"]["task"] == "portrait"
    assert [shown["chosen"][key] for key in ("model", "provider", "price_usd")] == ["canvas-2", "gamma", 0.028]
    assert [one["provider"] for one in shown["fallbacks"]] == ["alpha"]
    assert len(shown["rejected"]) == len(decision.rejected) == 10
    assert {
        "model": "glyph-3",
        "provider": "gamma",
        "code": "cost",
        "detail": "$0.045 > ceiling $0.030",
    }.items() <= next(one for one in shown["rejected"] if one["model"] == "glyph-3").items()


def test_the_json_of_no_choice_has_null_for_it() -> None:
    shown = as_dict(choose(MediaRequest(Operation.VECTORIZE)), "", 1.0)
    assert (shown["chosen"], shown["fallbacks"]) == (None, [])
