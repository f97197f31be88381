"""What a rule adds to a request: for whom, before what, and that the choice is made for the request as it is sent."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from adapters.ir import Ask, MediaRequest, Operation
from policies.catalog import Limits, Price
from policies.decide import Decision, Session, decide
from policies.rewrite import prepared
from tests.policies.catalogs import catalog, deployment, model, policy, traits

NOW = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
WORDS = MediaRequest(Operation.GENERATE, prompt="a lighthouse")


def sent(rewrite: dict[str, Any], request: MediaRequest = WORDS, session: Session | None = None) -> MediaRequest:
    (rule,) = policy(rules=[{"name": "house", "rewrite": rewrite}]).rules
    return prepared(request, session, rule.rewrite)


@pytest.mark.parametrize(
    ("rewrite", "field", "default", "own"),
    [
        ({"negativePrompt": "text"}, "negative_prompt", "text", "hands"),
        ({"size": "1024x1536"}, "size", (1024, 1536), (512, 512)),
        ({"aspect": "16:9"}, "aspect", (16, 9), (1, 1)),
        ({"resolution": "2K"}, "resolution", "2K", "4K"),
        ({"quality": "high"}, "quality", "high", "low"),
        ({"seed": 7}, "seed", 7, 0),
        ({"steps": 28}, "steps", 28, 4),
        ({"guidance": 3.5}, "guidance", 3.5, 0.0),
        ({"format": "webp"}, "format", "webp", "png"),
        ({"compression": 80}, "compression", 80, 0),
        ({"background": "transparent"}, "background", "transparent", "opaque"),
    ],
)
def test_a_default_applies_where_the_caller_said_nothing(
    rewrite: dict[str, Any], field: str, default: object, own: object
) -> None:
    assert sent(rewrite) == replace(WORDS, **{field: default})
    asked = replace(WORDS, **{field: own})
    assert sent(rewrite, asked) == asked


@pytest.mark.parametrize(
    ("asked", "rewrite", "expected"),
    [
        ({"aspect": (1, 1)}, {"size": "1024x1536"}, {"aspect": (1, 1)}),
        ({"resolution": "2K"}, {"size": "1024x1536"}, {"resolution": "2K"}),
        ({"size": (512, 512)}, {"aspect": "16:9", "resolution": "4K"}, {"size": (512, 512)}),
        ({"resolution": "2K"}, {"aspect": "16:9", "resolution": "4K"}, {"aspect": (16, 9), "resolution": "2K"}),
        ({"aspect": (1, 1)}, {"aspect": "16:9", "resolution": "4K"}, {"aspect": (1, 1), "resolution": "4K"}),
    ],
)
def test_no_default_contradicts_the_size_a_caller_named_in_another_way(
    asked: dict[str, Any], rewrite: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert sent(rewrite, replace(WORDS, **asked)) == replace(WORDS, **expected)


def test_a_length_is_for_videos_alone() -> None:
    assert sent({"duration": 8}) == WORDS
    video = MediaRequest(Operation.VIDEO_GENERATE, prompt="waves")
    assert sent({"duration": 8}, video).duration == 8
    assert sent({"duration": 8}, replace(video, duration=4.0)).duration == 4


def test_the_caller_goes_before_its_session_and_that_before_the_rule() -> None:
    settled = Session(seed=3)
    assert sent({"seed": 7}, session=settled).seed == 3
    assert sent({"seed": 7}, replace(WORDS, seed=1), settled).seed == 1


def test_prefix_and_suffix_are_added_to_whatever_the_caller_wrote() -> None:
    assert sent({"promptPrefix": "photo of ", "promptSuffix": ", grainy"}).prompt == "photo of a lighthouse, grainy"


# ------------------------------------------------------------------------------------------------------- and the choice

PLAIN = Limits(max_images=4, max_prompt=20, max_edge=1536)
BY_SIZE = Price("megapixel", (("first", 0, 0.01), ("extra", 0, 0.05)), source="test")


def choose(rewrite: dict[str, Any], **spec: Any) -> Decision:
    quality = {"general": 0.5}
    raster = deployment(model("raster", quality), "alpha", 0.01, limits=PLAIN)
    hosted = catalog(
        replace(raster, price=BY_SIZE),
        deployment(model("vector", quality), "beta", 0.05, limits=Limits(vector=True)),
        deployment(model("able", quality), "gamma", 0.09, limits=Limits(transparent=True)),
    )
    rules = policy(rules=[{"name": "house", "rewrite": rewrite}], **spec)
    return decide(WORDS, traits("portrait", 0.9), rules, hosted, {}, NOW)


@pytest.mark.parametrize(
    ("rewrite", "chosen"),
    [
        ({}, ["raster", "able"]),
        ({"format": "webp", "seed": 7}, ["raster", "able"]),
        ({"format": "svg"}, ["vector"]),
        ({"background": "transparent"}, ["able"]),
        ({"size": "2048x2048"}, ["able"]),
        ({"promptSuffix": ", in oil"}, ["raster", "able"]),
        ({"promptSuffix": ", in oil, by lamplight"}, ["able"]),
    ],
)
def test_what_is_chosen_can_do_what_the_rule_adds(rewrite: dict[str, Any], chosen: list[str]) -> None:
    assert [one.deployment.model.id for one in choose(rewrite).candidates] == chosen


def test_what_the_rule_adds_is_priced_and_counts_against_the_ceiling() -> None:
    assert choose({}).candidates[0].price_usd == pytest.approx(0.01)
    assert choose({"size": "1536x1024"}).candidates[0].price_usd == pytest.approx(0.06)
    dear = choose({"size": "1536x1024"}, ceilings={"costUsd": 0.03})
    assert dear.candidates == ()
    assert {rejection.code.value for rejection in dear.rejected} == {"cost", "capability"}


def test_rules_are_matched_with_what_the_caller_asked_for_and_not_with_what_they_add() -> None:
    rules = policy(
        rules=[
            {"name": "large", "match": {"minPixels": 2_000_000}, "refuse": "too large"},
            {"name": "house", "rewrite": {"size": "2048x2048"}},
        ]
    )
    request = replace(WORDS, ask=Ask(app="web"))
    assert decide(request, traits(), rules, catalog(), {}, NOW).rule == "house"
