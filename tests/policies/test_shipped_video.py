"""The shipped video and 3D models: listed while no wire can send what they do, sound for the day one can.

``lit`` is the same catalog for wires that can send everything. What is asserted of it must hold on the day the wires
learn it, because nobody will edit the catalog then.
"""

import re
from dataclasses import replace

import pytest

from adapters.ir import Media, MediaRequest, Operation, Tier
from policies.catalog import Catalog, Deployment
from policies.classify import Traits
from policies.decide import decide
from policies.decision import Code, Decision
from policies.load import Config, load_documents
from policies.price import price
from tests.policies.test_shipped_catalog import FACTS, NOW, tasks_of

PICTURE = Media(data=b"picture", mime="image/png")
WORDS = MediaRequest(Operation.VIDEO_GENERATE, prompt="a lighthouse in a storm")
FRAME = MediaRequest(Operation.VIDEO_FROM_IMAGE, prompt="the waves move", references=(PICTURE,))
SOLID = MediaRequest(Operation.MODEL3D_GENERATE, prompt="a lighthouse")
NEW = (Operation.VIDEO_GENERATE, Operation.VIDEO_FROM_IMAGE, Operation.MODEL3D_GENERATE)
# No price of these is known.
UNPRICED = {
    "flux-3-video@bfl",
    "gemini-omni-1.2-flash@google-interactions",
    "happyhorse-1.1@fal",
    "meshy-6@fal#fal-ai/meshy/v6/text-to-3d",
    "seedance-1.5-pro@ark",
    "seedance-2.0@ark",
}


@pytest.fixture(scope="module")
def shipped() -> Config:
    return load_documents({}, FACTS)


@pytest.fixture(scope="module")
def lit() -> Config:
    everything = {name: replace(facts, operations=frozenset(Operation)) for name, facts in FACTS.items()}
    return load_documents({}, everything, tasks=tasks_of("image", "edit", "video"))


def choose(config: Config, request: MediaRequest, task: str = "general_video", tier: Tier | None = None) -> Decision:
    traits = Traits(task, 1.0, tasks=((task, 1.0),), tier=tier)
    return decide(request, traits, config.policies["default"], config.catalog, {}, NOW)


def unlimited(config: Config) -> Config:
    """Without the default policy's ceiling on cost, which is one for pictures."""
    policy = config.policies["default"]
    ceilings = replace(policy.ceilings, cost_usd=None)
    return replace(config, policies={"default": replace(policy, ceilings=ceilings)})


def doing(catalog: Catalog, operation: Operation) -> tuple[Deployment, ...]:
    return catalog.by_operation.get(operation, ())


def test_there_are_enough_that_have_not_retired(lit: Config) -> None:
    current = {
        operation: {one.model.id for one in doing(lit.catalog, operation) if one.model.retires is None}
        for operation in NEW
    }
    assert len(current[Operation.VIDEO_GENERATE]) >= 35
    assert len(current[Operation.VIDEO_FROM_IMAGE]) >= 35
    assert len(current[Operation.MODEL3D_GENERATE]) >= 6
    makers = {one.model.vendor for one in doing(lit.catalog, Operation.VIDEO_GENERATE)}
    assert len(makers) >= 12


@pytest.mark.parametrize("request_", [WORDS, FRAME, SOLID], ids=lambda one: str(one.operation))
def test_what_no_wire_can_send_is_listed_and_never_a_candidate(
    shipped: Config, lit: Config, request_: MediaRequest
) -> None:
    assert request_.operation not in set().union(*(facts.operations for facts in FACTS.values()))
    decision = choose(shipped, request_)
    assert decision.candidates == ()
    assert {one.code for one in decision.rejected} == {Code.OPERATION}
    told = {one.deployment.id for one in decision.rejected if "its wire cannot send it yet" in one.detail}
    assert told == {one.id for one in doing(lit.catalog, request_.operation)} != set()


def test_a_name_does_not_reach_past_the_wire(shipped: Config) -> None:
    named = replace(WORDS, ask=replace(WORDS.ask, model="veo-3.1"))
    decision = choose(shipped, named)
    assert (decision.candidates, decision.unknown_model) == ((), "")


@pytest.mark.parametrize("request_", [WORDS, FRAME, SOLID], ids=lambda one: str(one.operation))
def test_they_light_up_with_the_wires_alone(lit: Config, request_: MediaRequest) -> None:
    decision = choose(lit, request_)
    assert decision.candidates
    assert not [one for one in decision.rejected if "yet" in one.detail]
    assert all(not one.unsendable for one in lit.catalog.deployments)


def test_pictures_are_chosen_alike_whether_videos_can_be_sent_or_not(shipped: Config, lit: Config) -> None:
    request = MediaRequest(Operation.GENERATE, prompt="a lighthouse", size=(1024, 1024))
    for task in tasks_of("image"):
        before, after = (choose(config, request, task) for config in (shipped, lit))
        assert [one.deployment.id for one in before.candidates] == [one.deployment.id for one in after.candidates]


@pytest.mark.parametrize("task", sorted(tasks_of("video")))
def test_floors_leave_a_choice_of_videos_and_mean_something(lit: Config, task: str) -> None:
    able = {
        one.model.id: one.model.quality_for(task)
        for one in doing(lit.catalog, Operation.VIDEO_GENERATE)
        if one.model.retires is None
    }
    clear = {
        tier: sum(score is not None and score.p25 >= terms.floor for score in able.values())
        for tier, terms in lit.policies["default"].tiers.items()
    }
    assert clear[Tier.PREMIUM] >= 3
    assert clear[Tier.STANDARD] >= 6
    assert clear[Tier.DRAFT] >= 10
    assert clear[Tier.PREMIUM] < clear[Tier.STANDARD] < clear[Tier.DRAFT]


@pytest.mark.parametrize("tier", Tier)
@pytest.mark.parametrize("request_", [WORDS, FRAME], ids=lambda one: str(one.operation))
def test_every_kind_of_video_finds_a_model_at_every_tier(lit: Config, request_: MediaRequest, tier: Tier) -> None:
    for task in tasks_of("video"):
        assert choose(unlimited(lit), request_, task, tier).candidates, task


@pytest.mark.parametrize("tier", Tier)
def test_every_tier_finds_a_3d_model(lit: Config, tier: Tier) -> None:
    assert choose(lit, SOLID, "render_3d", tier).candidates
    assert choose(lit, replace(SOLID, references=(PICTURE,)), "render_3d", tier).candidates


def test_words_alone_are_never_sent_to_what_works_on_a_picture(lit: Config) -> None:
    remotes = {one.deployment.remote for one in choose(lit, SOLID, "render_3d", Tier.DRAFT).candidates}
    assert remotes
    assert not [remote for remote in remotes if "image-to" in remote or "trellis" in remote]


@pytest.mark.parametrize("seconds", [5.0, 8.0])
def test_prices_of_videos_and_3d_are_of_the_right_order(lit: Config, seconds: float) -> None:
    unpriced = set()
    for one in lit.catalog.deployments:
        for request in (WORDS, FRAME, SOLID):
            if request.operation not in one.operations:
                continue
            usd = price(replace(request, duration=seconds), one)
            if usd is None:
                unpriced.add(one.id)
            elif request is SOLID:
                assert 0.01 <= usd <= 1.5, one.id
            else:
                assert 0.015 <= usd / seconds <= 0.6, f"{one.id}: {usd}"
    assert unpriced == UNPRICED


def test_a_sharper_video_never_costs_less(lit: Config) -> None:
    tables = [one.price.table for one in lit.catalog.deployments if one.price and one.price.unit == "resolutionSecond"]
    assert len(tables) >= 40
    for table in tables:
        assert [usd for _, _, usd in table] == sorted(usd for _, _, usd in table)


def test_the_most_that_is_priced_is_within_the_limits(lit: Config) -> None:
    """A resolution with a price beyond ``maxPixels`` could never be asked for: one of the two is a slip."""
    for one in lit.catalog.deployments:
        if one.price and one.price.unit == "resolutionSecond":
            assert one.limits.max_pixels is not None, one.id
            assert one.price.table[-1][1] <= one.limits.max_pixels, one.id


def test_a_length_beyond_the_hosts_is_not_asked_of_it(lit: Config) -> None:
    long = choose(unlimited(lit), replace(WORDS, duration=25.0), tier=Tier.DRAFT)
    assert {one.deployment.model.id for one in long.candidates} == {"wan-3.0-video", "wan-3.0-video-prime"}
    (refused, *_) = [one for one in long.rejected if one.deployment.id.startswith("veo-3.1@replicate")]
    assert (refused.code, refused.detail) == (Code.LIMIT, "seconds 25 > 8")


@pytest.mark.parametrize("aspect", [(16, 9), (9, 16), (1, 1)])
def test_a_shape_without_a_resolution_is_no_reason_against_hosts_of_720p(lit: Config, aspect: tuple[int, int]) -> None:
    plain, shaped = (
        {one.deployment.id for one in choose(unlimited(lit), request, tier=Tier.DRAFT).candidates}
        for request in (WORDS, replace(WORDS, aspect=aspect))
    )
    assert shaped == plain
    assert "runway-gen-4.5@replicate" in shaped


def test_every_remote_id_at_fal_is_an_endpoint_and_says_what_it_takes(lit: Config) -> None:
    for one in lit.catalog.deployments:
        if one.provider.name == "fal" and set(one.operations) & set(NEW):
            assert re.fullmatch(r"[a-z0-9-]+(/[a-z0-9.-]+)+", one.remote), one.id
            if "image-to-video" in one.remote:
                assert one.operations == {Operation.VIDEO_FROM_IMAGE}, one.id
            if "text-to-video" in one.remote:
                assert one.operations == {Operation.VIDEO_GENERATE}, one.id
