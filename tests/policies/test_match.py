"""Rules and selectors: what holds for which request, and what a compiled policy keeps of the document."""

from dataclasses import replace
from datetime import UTC, datetime
from time import thread_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ir import Ask, Media, MediaRequest, Operation, Tier
from policies import schema
from policies.classify import Traits
from policies.expressions import mistake, searcher
from policies.match import compile_selector, first_match
from policies.subject import PROMPT_SEARCHED, Subject
from tests.policies.catalogs import deployment, model, policy, traits

WORDS = MediaRequest(Operation.GENERATE, prompt="a lighthouse")
PICTURE = Media(data=b"png")
NOON = datetime(2026, 11, 30, 12, 0, tzinfo=UTC).timestamp()  # a Monday


def holds(match: dict[str, Any], request: MediaRequest = WORDS, seen: Traits | None = None, now: float = NOON) -> bool:
    rules = policy(rules=[{"name": "rule", "match": match}])
    return first_match(rules, Subject(request, seen or traits("portrait", 0.7), Tier.STANDARD, now)) is not None


@pytest.mark.parametrize(
    ("match", "expected"),
    [
        ({}, True),
        ({"operation": ["image.edit", "image.generate"]}, True),
        ({"operation": ["image.edit"]}, False),
        ({"task": ["food", "portrait"]}, True),
        ({"task": ["food"]}, False),
        ({"tier": ["standard"]}, True),
        ({"tier": ["draft", "premium"]}, False),
        ({"language": ["en"]}, True),
        ({"language": ["de"]}, False),
        ({"minConfidence": 0.7}, True),
        ({"minConfidence": 0.71}, False),
        ({"maxConfidence": 0.7}, True),
        ({"maxConfidence": 0.69}, False),
        ({"prompt": "LIGHT ?house"}, True),
        ({"prompt": "^lighthouse"}, False),
        ({"task": ["portrait"], "prompt": "lighthouse"}, True),
        ({"task": ["portrait"], "prompt": "harbour"}, False),
    ],
)
def test_every_key_of_a_match_must_hold(match: dict[str, Any], expected: bool) -> None:
    assert holds(match) is expected


@pytest.mark.parametrize(
    ("match", "ask", "expected"),
    [
        ({"caller": ["shop-*", "crm"]}, Ask(caller="shop-7"), True),
        ({"caller": ["shop-*", "crm"]}, Ask(caller="crm"), True),
        ({"caller": ["shop-*"]}, Ask(caller="my-shop-7"), False),
        ({"caller": ["*"]}, Ask(), True),
        ({"caller": []}, Ask(), False),
        ({"caller": ["a.b"]}, Ask(caller="axb"), False),
        ({"caller": ["[ab]?"]}, Ask(caller="[ab]?"), True),
        ({"caller": ["[ab]"]}, Ask(caller="a"), False),
        ({"headers": {"X-Team": "brand*"}}, Ask(headers={"x-team": "brand-eu"}), True),
        ({"headers": {"X-Team": "brand*"}}, Ask(headers={"x-team": "Brand"}), False),
        ({"headers": {"X-Team": "*"}}, Ask(headers={}), False),
        ({"headers": {"x-a": "1", "x-b": "2"}}, Ask(headers={"x-a": "1", "x-b": "3"}), False),
        ({"app": ["web", "web-*"]}, Ask(app="web-eu"), True),
        ({"app": ["web-*"]}, Ask(app="web"), False),
        ({"app": ["*"]}, Ask(), True),
        ({"app": ["web"]}, Ask(), False),
        ({"namespace": ["team-*-prod"]}, Ask(namespace="team-a-prod"), True),
        ({"namespace": ["team-*-prod"]}, Ask(namespace="team-a-prod-2"), False),
        ({"namespace": ["retail"], "app": ["web"]}, Ask(app="web", namespace="media"), False),
        ({"caller": ["a*b*c"]}, Ask(caller="a-b-b-c"), True),
        ({"caller": ["a*b*c"]}, Ask(caller="a-c-b"), False),
        ({"caller": ["a**c"]}, Ask(caller="ac"), True),
        ({"caller": ["*ab*ab"]}, Ask(caller="ab"), False),
        ({"caller": ["*ab*ab"]}, Ask(caller="abab"), True),
    ],
)
def test_names_and_headers_match_whole_names_where_only_the_star_is_special(
    match: dict[str, Any], ask: Ask, expected: bool
) -> None:
    assert holds(match, MediaRequest(Operation.GENERATE, ask=ask)) is expected


@pytest.mark.parametrize(
    ("match", "fields", "expected"),
    [
        ({"minReferences": 1}, {"references": (PICTURE,)}, True),
        ({"minReferences": 2}, {"references": (PICTURE,)}, False),
        ({"minReferences": 0}, {}, True),
        ({"minPixels": 1024 * 1024}, {"size": (1024, 1024)}, True),
        ({"minPixels": 1024 * 1024 + 1}, {"size": (1024, 1024)}, False),
        ({"maxPixels": 1024 * 1024}, {"size": (1024, 1024)}, True),
        ({"maxPixels": 1024 * 1024}, {"resolution": "2K"}, False),
        ({"minPixels": 4_000_000}, {"resolution": "2K", "aspect": (1, 1)}, True),
        ({"minPixels": 1}, {}, False),
        ({"maxPixels": 99_999_999}, {}, False),
        ({"maxReferences": 1}, {"references": (PICTURE,)}, True),
        ({"maxReferences": 0}, {"references": (PICTURE,)}, False),
        ({"size": ["512x512", "1024x1536"]}, {"size": (1024, 1536)}, True),
        ({"size": ["1536x1024"]}, {"size": (1024, 1536)}, False),
        ({"size": ["2048x2048"]}, {"resolution": "2K", "aspect": (1, 1)}, True),
        ({"size": ["1024x1024"]}, {}, False),
        ({"aspect": ["16:9"]}, {"size": (1920, 1080)}, True),
        ({"aspect": ["16:9"]}, {"size": (1344, 768)}, True),
        ({"aspect": ["16:9"]}, {"aspect": (16, 9)}, True),
        ({"aspect": ["16:9"]}, {"size": (1536, 1024)}, False),
        ({"aspect": ["16:9"]}, {"size": (1080, 1920)}, False),
        ({"aspect": ["4:5"]}, {"size": (768, 1024)}, False),
        ({"aspect": ["3:4", "tall"]}, {"size": (1080, 1920)}, True),
        ({"aspect": ["wide"]}, {"size": (1025, 1024)}, False),
        ({"aspect": ["square"]}, {"size": (1025, 1024)}, True),
        ({"aspect": ["square"]}, {"size": (1152, 1024)}, False),
        ({"aspect": ["wide"]}, {"size": (1152, 1024)}, True),
        ({"aspect": ["tall"]}, {"size": (1024, 1152)}, True),
        ({"aspect": ["wide", "tall", "square"]}, {}, False),
        ({"aspect": ["wide"]}, {"aspect": (4_000_000, 1)}, True),
    ],
)
def test_sizes_and_references_are_compared_and_no_size_matches_neither_bound(
    match: dict[str, Any], fields: dict[str, Any], expected: bool
) -> None:
    assert holds(match, MediaRequest(Operation.GENERATE, **fields)) is expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, None),
        ({"size": (640, 480), "resolution": "4K"}, (640, 480)),
        ({"aspect": (1, 1)}, (1024, 1024)),
        ({"aspect": (16, 9)}, (1365, 768)),
        ({"resolution": "512"}, (512, 512)),
        ({"aspect": (9, 16), "resolution": "2K"}, (1536, 2731)),
    ],
)
def test_dimensions_come_from_the_size_or_else_from_aspect_and_resolution(
    fields: dict[str, Any], expected: tuple[int, int] | None
) -> None:
    assert MediaRequest(Operation.GENERATE, **fields).dimensions() == expected


def test_the_first_rule_that_holds_applies() -> None:
    rules = policy(
        rules=[
            {"name": "food", "match": {"task": ["food"]}},
            {"name": "portraits", "match": {"task": ["portrait"]}},
            {"name": "all"},
        ]
    )
    found = [
        first_match(rules, Subject(WORDS, traits(task), Tier.STANDARD, NOON)) for task in ("food", "portrait", "logo")
    ]
    assert [rule and rule.name for rule in found] == ["food", "portraits", "all"]
    assert first_match(policy(), Subject(WORDS, traits(), Tier.STANDARD, NOON)) is None


@pytest.mark.parametrize(
    ("expression", "prompt", "expected"),
    [
        ("äpfel", "Zwei ÄPFEL", True),
        (r"\blogo\b", "a logo, please", True),
        (r"\blogo\b", "logotype", False),
        (r"^\pL+$", "Übergrößenträger", True),
        ("(?-i)Logo", "logo", False),
        ("sale.{0,20}ends", "SALE now: it ends soon", True),
        (r"end\z", "the end", True),
        ("poster|banner", "", False),
        ("x", "\ud800 x", True),
    ],
)
def test_expressions_are_those_of_re2(expression: str, prompt: str, expected: bool) -> None:
    assert holds({"prompt": expression}, MediaRequest(Operation.GENERATE, prompt=prompt)) is expected


@pytest.mark.parametrize("expression", ["(a+)+$", "(a|aa)+b", "(x+x+)+y", "(.*a){20}b", "(?:a?){50}a{50}b"])
def test_no_expression_takes_longer_than_its_prompt_is_long(expression: str) -> None:
    compiled = policy(rules=[{"name": "rule", "match": {"prompt": expression}}])
    for letter in "ax":
        subject = Subject(replace(WORDS, prompt=letter * (PROMPT_SEARCHED - 1) + "!"), traits(), Tier.STANDARD, NOON)
        begun = thread_time()
        assert first_match(compiled, subject) is None
        assert thread_time() - begun < 0.1


def test_no_pattern_takes_longer_than_what_it_is_held_against_is_long() -> None:
    compiled = policy(rules=[{"name": "rule", "match": {"headers": {"x-team": "*a*a*a*a*a*a*a*b"}}}])
    ask = Ask(headers={"x-team": "a" * 8_000})
    begun = thread_time()
    assert first_match(compiled, Subject(replace(WORDS, ask=ask), traits(), Tier.STANDARD, NOON)) is None
    assert thread_time() - begun < 0.1


@given(st.text(alphabet="ab(){}[]*+?|\\\\^$.,:<=!P1kZ-äé", max_size=14))
def test_whatever_is_written_for_an_expression_is_used_or_blamed_inside_itself(expression: str) -> None:
    if wrong := mistake(expression):
        assert 0 <= wrong.offset <= len(expression)
        with pytest.raises(ValueError, match="is not a regular expression"):
            searcher(expression)
    else:
        assert searcher(expression)("ab") in (True, False)


def test_an_expression_sees_only_the_start_of_a_prompt() -> None:
    assert holds({"prompt": "needle"}, MediaRequest(Operation.GENERATE, prompt="x" * (PROMPT_SEARCHED - 6) + "needle"))
    assert not holds({"prompt": "needle"}, MediaRequest(Operation.GENERATE, prompt="x" * PROMPT_SEARCHED + "needle"))


def test_a_broken_expression_is_told_with_its_place() -> None:
    with pytest.raises(ValueError, match=r"^spec\.rules\[1\]\.match\.prompt: '\(' is not a regular expression"):
        policy(rules=[{"name": "fine"}, {"name": "broken", "match": {"prompt": "("}}])


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({}, False),
        ({"models": ["flux-2-pro"]}, True),
        ({"models": ["flux-*"]}, True),
        ({"models": ["flux"]}, False),
        ({"models": ["the-pro"]}, True),
        ({"models": ["flux-2-pro@fal"]}, True),
        ({"models": ["*@fal"]}, True),
        ({"models": ["flux-2-pro@fal#eu"]}, True),
        ({"models": ["*@replicate"]}, False),
        ({"providers": ["fal", "bfl"]}, True),
        ({"providers": ["bfl"]}, False),
        ({"vendors": ["black*"]}, True),
        ({"regions": ["eu"]}, True),
        ({"regions": ["us"]}, False),
        ({"models": ["other"], "regions": ["us", "e*"]}, True),
    ],
)
def test_a_selector_means_a_deployment_by_any_of_its_names(selector: dict[str, Any], expected: bool) -> None:
    flux = model("flux-2-pro", vendor="black-forest-labs", aliases=("the-pro",))
    selects = compile_selector(schema.Selector.model_validate(selector))
    assert selects is not None
    assert selects(deployment(flux, "fal", 0.03, region="eu")) is expected


def test_what_the_proxy_reads_is_kept_as_written() -> None:
    compiled = policy(
        "house",
        modelField="pin",
        weights={"quality": 1, "cost": 2, "latency": 3, "reliability": 4},
        speedPremium={"maxExtra": 0.5},
        tiers={"draft": {"floor": 0.1, "objective": "fastest"}},
        defaultTier="draft",
        ceilings={"costUsd": 0.2},
        resilience={
            "attempts": {"max": 7, "backoffSeconds": 0.1},
            "fallBack": {"ambiguous": True},
            "breaker": {"minCalls": 9, "slowSeconds": 60},
        },
        output={"fit": "asIs"},
    )
    assert (compiled.name, compiled.model_field, compiled.max_extra) == ("house", "pin", 0.5)
    assert (compiled.weights.quality, compiled.weights.reliability) == (1, 4)
    assert (compiled.tiers[Tier.DRAFT].floor, compiled.tiers[Tier.DRAFT].objective) == (0.1, "fastest")
    assert (compiled.tiers[Tier.PREMIUM].floor, compiled.tiers[Tier.PREMIUM].objective) == (0.5, "")
    assert (compiled.default_tier, compiled.ceilings.cost_usd) == (Tier.DRAFT, 0.2)
    assert (compiled.resilience.attempts.max, compiled.resilience.attempts.per_deployment) == (7, 2)
    assert (compiled.resilience.fall_back.ambiguous, compiled.resilience.fall_back.refused) == (True, False)
    assert (compiled.resilience.breaker.min_calls, compiled.resilience.breaker.slow_seconds) == (9, 60)
    assert compiled.output.fit == "asIs"


def test_the_headers_that_rules_look_at_are_known_whether_by_match_or_by_when() -> None:
    rules = [
        {"name": "by-match", "match": {"headers": {"X-Team": "red"}}},
        {"name": "by-when", "when": "request.headers['X-Plan'] == 'pro' || has(request.headers.beta)"},
        {"name": "by-words", "when": "request.prompt.contains('x-nothing')"},
    ]
    assert policy(rules=rules).headers >= {"x-team", "x-plan", "beta"}
    assert "x-nothing" not in policy(rules=rules).headers
