"""Rules and selectors: what holds for which request, and what a compiled policy keeps of the document."""

from datetime import UTC, datetime
from typing import Any

import pytest

from adapters.ir import Ask, Media, MediaRequest, Operation, Tier
from policies import schema
from policies.case import PROMPT_SEARCHED, Case
from policies.classify import Traits
from policies.match import compile_selector, first_match
from tests.policies.catalogs import deployment, model, policy, traits

WORDS = MediaRequest(Operation.GENERATE, prompt="a lighthouse")
PICTURE = Media(data=b"png")
NOON = datetime(2026, 11, 30, 12, 0, tzinfo=UTC).timestamp()  # a Monday


def holds(match: dict[str, Any], request: MediaRequest = WORDS, seen: Traits | None = None, now: float = NOON) -> bool:
    rules = policy(rules=[{"name": "rule", "match": match}])
    return first_match(rules, Case(request, seen or traits("portrait", 0.7), Tier.STANDARD, now)) is not None


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
    ],
)
def test_callers_and_headers_match_whole_names_where_only_the_star_is_special(
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
        first_match(rules, Case(WORDS, traits(task), Tier.STANDARD, NOON)) for task in ("food", "portrait", "logo")
    ]
    assert [rule and rule.name for rule in found] == ["food", "portraits", "all"]
    assert first_match(policy(), Case(WORDS, traits(), Tier.STANDARD, NOON)) is None


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
