"""The choice as a whole: cases in ``decisions/*.yaml`` over one small catalog, and properties over any catalog.

A case has ``policy`` (a RoutingPolicy's spec), ``request``, ``ask``, ``traits``, ``health``, ``credentials`` where they
matter, and ``expect``, which ``pytest --regold`` rewrites.
"""

from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from adapters.ir import Ask, Lora, Media, MediaRequest, Operation, Tier
from policies import schema
from policies.catalog import Catalog, Deployment, Limits
from policies.classify import Traits
from policies.decide import Code, Decision, Health, Session, decide
from policies.explain import explain
from policies.match import Policy
from policies.session import resume
from tests.policies.catalogs import catalog, deployment, model, policy, studio, traits

HERE = Path(__file__).parent
CASES = sorted((HERE / "decisions").glob("*.yaml"))
NOW = datetime(2026, 11, 20, tzinfo=UTC).timestamp()
PICTURE = Media(data=b"png")
WORDS = MediaRequest(Operation.GENERATE, prompt="a lighthouse")
HOSTS = ("alpha", "beta", "gamma", "delta")


def choose(request: MediaRequest, rules: Policy, among: Catalog, seen: Traits | None = None, **live: Any) -> Decision:
    return decide(request, seen or traits(), rules, among, live.pop("health", {}), live.pop("now", NOW), **live)


def ids(decision: Decision) -> list[str]:
    return [candidate.deployment.id for candidate in decision.candidates]


def codes(decision: Decision) -> dict[str, Code]:
    return {rejection.deployment.id: rejection.code for rejection in decision.rejected}


# ----------------------------------------------------------------------------------------------------------- the cases


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_decision_is_what_its_case_expects(path: Path, request: pytest.FixtureRequest) -> None:
    source = path.read_text(encoding="utf-8")
    case = yaml.safe_load(source)
    actual = _shown(_decide(case))
    if request.config.getoption("--regold"):
        written = yaml.safe_dump({"expect": actual}, sort_keys=False, width=120)
        path.write_text(source[: source.index("expect:")] + written, encoding="utf-8")
    else:
        assert actual == case["expect"]


def _decide(case: dict[str, Any]) -> Decision:
    ask = {"tier": None, **case.get("ask", {})}
    ask["tier"] = Tier(ask["tier"]) if ask["tier"] else None
    wanted = {"operation": "image.generate", "prompt": "a lighthouse", **case.get("request", {})}
    wanted["operation"] = Operation(wanted["operation"])
    wanted["references"] = (PICTURE,) * wanted.get("references", 0)
    wanted["mask"] = PICTURE if wanted.get("mask") else None
    wanted |= {key: tuple(wanted[key]) for key in ("size", "aspect") if key in wanted}
    seen = {"task": "portrait", "confidence": 0.91, **case.get("traits", {})}
    seen["tasks"] = tuple(seen.get("tasks", {}).items())
    seen["tier"] = Tier(seen["tier"]) if "tier" in seen else None
    return decide(
        MediaRequest(**wanted, ask=Ask(**ask)),
        Traits(**seen),
        policy(**case.get("policy", {})),
        studio(),
        {name: Health(**health) for name, health in case.get("health", {}).items()},
        NOW,
        credentials=case.get("credentials"),
    )


def _shown(decision: Decision) -> dict[str, Any]:
    asked = {"tier": decision.tier.value, "floor": decision.floor, "objective": decision.objective}
    told = {"rule": decision.rule, "refusal": decision.refusal, "mark": decision.mark}
    told |= {"unknown_model": decision.unknown_model}
    return {
        "reason": decision.reason,
        **asked,
        **{key: value for key, value in told.items() if value},
        "candidates": ids(decision),
        "rejected": {
            rejection.deployment.id: f"{rejection.code.value}: {rejection.detail}" for rejection in decision.rejected
        },
    }


# ------------------------------------------------------------------------------------------- each code, and their order


ABLE = Limits(max_references=1, mask=True, transparent=True, max_prompt=100, max_edge=2048, min_edge=256)
FAULTS: dict[Code, dict[str, Any]] = {
    # What makes one deployment ineligible with that code, in the order in which codes are given.
    Code.OPERATION: {"model": {"operations": [Operation.VECTORIZE]}},
    Code.RETIRED: {"model": {"retires": date(2026, 11, 20)}},
    Code.DENIED: {"policy": {"deny": {"providers": ["alpha"]}}},
    Code.NOT_ASKED: {"ask": {"model": "other"}},
    Code.SESSION: {
        "policy": {"session": {"consistency": "reference"}}, "ask": {"session": "s"}, "limits": {"max_references": 0}
    },
    Code.CREDENTIAL: {"live": {"credentials": frozenset({"beta"})}},
    Code.CAPABILITY: {"request": {"references": (PICTURE, PICTURE)}},
    Code.LIMIT: {"request": {"size": (4096, 4096)}},
    Code.UNKNOWN_PRICE: {"usd": None, "ask": {"max_cost": 1.0}},
    Code.COST: {"ask": {"max_cost": 0.01}},
    Code.UNKNOWN_QUALITY: {"quality": {}},
    Code.QUALITY: {"quality": {"portrait": 0.1}},
    Code.BREAKER: {"live": {"health": {"one@alpha": Health(available=False, detail="open for 12 s")}}},
    Code.LATENCY: {"ask": {"max_latency": 1.0}},
}  # fmt: skip
ORDER = list(FAULTS)


def _faulty(*faults: dict[str, Any]) -> Decision:
    """A decision over one deployment with all these faults, and another one that is only there to be asked for."""

    def joined(key: str) -> dict[str, Any]:
        return {name: value for fault in faults for name, value in fault.get(key, {}).items()}

    quality = next((fault["quality"] for fault in faults if "quality" in fault), {"portrait": 0.6})
    usd = None if any("usd" in fault for fault in faults) else 0.03
    limits = replace(ABLE, **joined("limits"))
    one = deployment(model("one", quality, **joined("model")), "alpha", usd, limits=limits)
    other = deployment(model("other", {"portrait": 0.6}), "beta", 0.02, limits=ABLE)
    request = replace(WORDS, **joined("request"), ask=Ask(**joined("ask")))
    return choose(request, policy(**joined("policy")), catalog(one, other), **joined("live"))


def test_every_code_has_its_fault_in_the_order_of_the_codes() -> None:
    assert list(FAULTS) == list(Code)


@pytest.mark.parametrize("code", ORDER)
def test_a_fault_is_rejected_with_its_code_and_without_it_nothing_is(code: Code) -> None:
    assert codes(_faulty(FAULTS[code]))["one@alpha"] is code
    assert "one@alpha" in ids(_faulty())


EITHER_OR = {Code.COST, Code.QUALITY}  # a price or a score is either unknown or too far off, never both
WAIVED_BY_A_PIN = {Code.UNKNOWN_QUALITY, Code.QUALITY}
PAIRS = [
    (first, then)
    for first, then in combinations(ORDER, 2)
    if not (then in EITHER_OR and ORDER.index(then) - ORDER.index(first) == 1)
    and not (first is Code.NOT_ASKED and then in WAIVED_BY_A_PIN)
]


@pytest.mark.parametrize(("first", "then"), PAIRS)
def test_of_two_faults_the_earlier_in_the_order_is_told(first: Code, then: Code) -> None:
    assert codes(_faulty(FAULTS[first], FAULTS[then]))["one@alpha"] is first


@pytest.mark.parametrize(
    ("fields", "code", "detail"),
    [
        ({"mask": PICTURE}, Code.CAPABILITY, "mask"),
        ({"background": "transparent"}, Code.CAPABILITY, "transparent background"),
        ({"references": (PICTURE,) * 3}, Code.CAPABILITY, "references 3 > 1"),
        ({"prompt": "x" * 101}, Code.LIMIT, "prompt longer than 100 characters"),
        ({"size": (128, 512)}, Code.LIMIT, "edge 128 < 256"),
        ({"size": (1024, 2049)}, Code.LIMIT, "edge 2049 > 2048"),
        ({"size": (2000, 2000)}, Code.LIMIT, "pixels 4000000 > 3000000"),
        ({"size": (1000, 300)}, Code.LIMIT, "aspect 3.33 > 3.00"),
        ({"aspect": (16, 1)}, Code.LIMIT, "edge 4096 > 2048"),
        ({"aspect": (16, 9), "resolution": "4K"}, Code.LIMIT, "edge 5461 > 2048"),
        ({"resolution": "2K"}, Code.LIMIT, "pixels 4194304 > 3000000"),
        ({"resolution": "2160p"}, Code.LIMIT, "edge 2880 > 2048"),
        ({"aspect": (16, 9), "resolution": "1440p"}, Code.LIMIT, "edge 2560 > 2048"),
        ({"duration": 2.0}, Code.LIMIT, "seconds 2 < 2.5"),
        ({"duration": 10.5}, Code.LIMIT, "seconds 10.5 > 10"),
    ],
)
def test_what_a_deployment_cannot_take_is_told_with_the_numbers(
    fields: dict[str, Any], code: Code, detail: str
) -> None:
    limits = Limits(
        max_references=1, max_prompt=100, max_edge=2048, min_edge=256, max_pixels=3_000_000, max_aspect=3,
        min_seconds=2.5, max_seconds=10,
    )  # fmt: skip
    among = catalog(deployment(model("one", {"portrait": 0.6}), "alpha", 0.03, limits=limits))
    (rejection,) = choose(replace(WORDS, **fields), policy(), among).rejected
    assert (rejection.code, rejection.detail) == (code, detail)


def test_a_size_at_the_limit_and_a_price_at_the_ceiling_are_within_them() -> None:
    limits = Limits(
        max_prompt=100, max_edge=2048, min_edge=256, max_pixels=2048 * 1024, max_aspect=2, min_seconds=5, max_seconds=5
    )
    among = catalog(deployment(model("one", {"portrait": 0.35}), "alpha", 0.1, limits=limits))
    ask = Ask(max_cost=0.3, max_latency=5.0)
    request = replace(WORDS, prompt="x" * 100, size=(2048, 1024), duration=5.0, n=3, ask=ask)
    assert ids(choose(request, policy(), among)) == ["one@alpha"]


def test_what_works_on_a_picture_is_not_sent_words_alone() -> None:
    limits = Limits(min_references=1, max_references=2)
    among = catalog(deployment(model("one", {"portrait": 0.6}), "alpha", 0.03, limits=limits))
    (rejection,) = choose(WORDS, policy(), among).rejected
    assert (rejection.code, rejection.detail) == (Code.CAPABILITY, "references 0 < 1")
    assert ids(choose(replace(WORDS, references=(PICTURE,)), policy(), among)) == ["one@alpha"]


def test_what_a_wire_cannot_send_yet_is_told_from_what_is_not_done() -> None:
    film = replace(
        deployment(model("film", {"portrait": 0.6}, operations=[Operation.VIDEO_GENERATE]), "alpha", 0.03),
        operations=frozenset(),
        unsendable=frozenset({Operation.VIDEO_GENERATE}),
    )
    among = catalog(film, deployment(model("still", {"portrait": 0.6}), "beta", 0.03))
    decision = choose(replace(WORDS, operation=Operation.VIDEO_GENERATE), policy(), among)
    assert decision.candidates == ()
    assert {one.deployment.id: (one.code, one.detail) for one in decision.rejected} == {
        "film@alpha": (Code.OPERATION, "does video.generate, but its wire cannot send it yet"),
        "still@beta": (Code.OPERATION, "does not do video.generate"),
    }
    assert codes(choose(WORDS, policy(), among))["film@alpha"] is Code.OPERATION
    assert explain(decision)[3:] == (
        "chosen     none: no deployment is eligible: 1 operation (does video.generate, but its wire cannot send it"
        " yet), 1 operation (does not do video.generate)",
        "rejected   1 operation: does video.generate, but its wire cannot send it yet",
        "rejected   1 operation: does not do video.generate",
    )


def test_a_model_serves_until_the_day_it_retires() -> None:
    among = catalog(deployment(model("one", {"portrait": 0.6}, retires=date(2026, 11, 21)), "alpha", 0.03))
    assert ids(choose(WORDS, policy(), among, now=NOW + 86_399)) == ["one@alpha"]
    assert codes(choose(WORDS, policy(), among, now=NOW + 86_400)) == {"one@alpha": Code.RETIRED}


# ------------------------------------------------------------------------------------------------ what else is promised


def test_measured_latency_replaces_the_prior() -> None:
    among = catalog(
        deployment(model("a", {"portrait": 0.6}), "alpha", 0.03, 5.0), deployment(model("b", {}), "beta", 0.02)
    )
    health = {"a@alpha": Health(p50=2.5, p95=4.5, success=0.98), "b@beta": Health()}
    (chosen,) = choose(WORDS, policy(), among, health=health).candidates
    assert (chosen.p50, chosen.p95, chosen.success) == (2.5, 4.5, 0.98)


def test_what_retires_within_a_month_is_told_with_the_choice_and_what_is_not_chosen_is_not() -> None:
    ending = deployment(model("ending", {"portrait": 0.6}, retires=date(2026, 12, 20)), "alpha", 0.03)
    lasting = deployment(model("lasting", {"portrait": 0.6}), "beta", 0.04)
    told = choose(WORDS, policy(), catalog(ending, lasting))
    assert told.notes == ("ending retires on 2026-12-20",)
    assert told.reason.endswith("; ending retires on 2026-12-20")
    assert choose(WORDS, policy(), catalog(ending, lasting), now=NOW - 86_400).notes == ()
    assert choose(WORDS, policy(deny={"models": ["ending"]}), catalog(ending, lasting)).notes == ()


def test_a_house_style_is_a_model_of_its_own_that_only_its_rule_reaches() -> None:
    """Weights a deployment always applies count against what it can take, as those of the request do."""
    weights = (Lora("https://weights.test/acme"),)
    limits = Limits(max_loras=2)
    style = replace(deployment(model("acme-style"), "alpha", 0.01, limits=limits), loras=weights)
    among = catalog(style, deployment(model("plain", {"portrait": 0.6}), "beta", 0.03, limits=limits))
    rules = policy(rules=[{"name": "house", "match": {"caller": ["acme-*"]}, "use": {"models": ["acme-style"]}}])
    assert ids(choose(WORDS, rules, among)) == ["plain@beta"]
    house = replace(WORDS, ask=Ask(caller="acme-shop"))
    assert ids(choose(house, rules, among)) == ["acme-style@alpha"]
    assert ids(choose(replace(house, loras=weights), rules, among)) == ["acme-style@alpha"]
    full = choose(replace(house, loras=weights * 2), rules, among)
    assert (full.rejected[-1].code, full.rejected[0].detail) == (Code.DENIED, "LoRAs 3 > 2")


# ----------------------------------------------------------------------------------------------------------- sessions

SETTLED = Session(model="canvas-2", seed=7, style="house", style_urls=("https://pictures.test/look.png",))
HOUSE = {"name": "house", "match": {"task": ["food"]}, "rewrite": {"promptSuffix": ", in gouache"}}


def test_a_session_keeps_its_model_where_another_would_be_chosen() -> None:
    rules, best = policy(), policy(objective="best")
    assert choose(WORDS, best, studio()).candidates[0].deployment.model.id == "vision-x"
    for one in (rules, best):
        decision = choose(WORDS, one, studio(), session=Session(model="canvas-2"))
        assert [candidate.deployment.model.id for candidate in decision.candidates][:3] == ["canvas-2"] * 3
        assert decision.notes == ()


@pytest.mark.parametrize(
    ("spec", "live", "note"),
    [
        ({"deny": {"models": ["glyph-3"]}}, {}, "the session left glyph-3: denied, in deny of the policy"),
        ({"ceilings": {"costUsd": 0.04}}, {}, "the session left glyph-3: cost, $0.045 > ceiling $0.040"),
        (
            {"tiers": {"standard": {"floor": 0.1}}},
            {"health": {"glyph-3@gamma": Health(available=False, detail="open for 12 s")}},
            "the session left glyph-3: breaker, open for 12 s",
        ),
    ],
)
def test_a_session_that_had_to_leave_its_model_says_why(spec: dict[str, Any], live: dict[str, Any], note: str) -> None:
    rules = policy(**{"tiers": {"standard": {"floor": 0.2}}, **spec})
    decision = choose(WORDS, rules, studio(), session=Session(model="glyph-3"), **live)
    assert decision.candidates
    assert decision.notes == (note,)
    assert note in decision.reason


def test_a_model_that_left_the_catalog_is_told_and_so_are_other_references() -> None:
    decision = choose(WORDS, policy(), studio(), session=Session(model="gone", strayed=True))
    assert decision.notes == (
        "the session left gone: no longer in the catalog",
        "other references than those the session began with",
    )


def test_a_session_held_by_references_goes_only_where_references_are_taken() -> None:
    rules = policy(session={"consistency": "reference"}, tiers={"standard": {"floor": 0.1}})
    for session in (Session("s"), Session(model="canvas-2")):
        taking = choose(WORDS, rules, studio(), session=session)
        assert ids(taking)
        assert all(one.deployment.limits.max_references for one in taking.candidates)
        assert codes(taking)["swift-1@alpha"] is Code.SESSION
    own = choose(WORDS, rules, studio(), session=Session(model="swift-1"))
    assert ids(own)[0].startswith("swift-1@"), "its own model may go without"


def test_a_session_brings_back_the_rewrite_and_the_look_of_its_first_frame() -> None:
    able = Limits(max_style_references=1)
    among = catalog(
        deployment(model("one", {"portrait": 0.6}), "alpha", 0.01),
        deployment(model("canvas-2", {"portrait": 0.6}), "beta", 0.03, limits=able),
    )
    rules = policy(rules=[HOUSE])
    decision = choose(WORDS, rules, among, session=SETTLED)
    assert ids(decision) == ["canvas-2@beta"], "the other one cannot take the style reference"
    assert (decision.rule, decision.rewrite and decision.rewrite.prompt_suffix) == ("", ", in gouache")
    resumed = resume(WORDS, decision.session)
    assert (resumed.seed, [media.url for media in resumed.style_references]) == (7, list(SETTLED.style_urls))
    own = replace(WORDS, seed=1, style_references=(PICTURE,))
    assert resume(own, decision.session) == own


def test_a_rule_has_its_own_sessions_and_may_have_none() -> None:
    rules = policy(
        session={"token": True},
        rules=[{"name": "loose", "match": {"task": ["food"]}, "session": {"consistency": "none"}}],
    )
    assert choose(WORDS, rules, studio(), session=SETTLED).token
    loose = choose(WORDS, rules, studio(), traits("food"), session=SETTLED)
    assert (loose.token, loose.session, loose.rewrite) == (False, None, None)
    assert ids(loose) == ids(choose(WORDS, rules, studio(), traits("food")))


def test_a_session_stays_where_it_is_when_a_deployment_it_did_not_use_goes() -> None:
    """All stand within a tenth of the best price, and the cheapest stays, so that the band stays where it is."""
    hosted = [deployment(model(f"m{n}", {"portrait": 0.6}), HOSTS[n % 4], 0.0300 + n * 0.0002) for n in range(10)]
    chosen_by = {}
    for n in range(30):
        request = replace(WORDS, ask=Ask(session=f"session {n}"))
        chosen_by[n] = chosen = ids(choose(request, policy(), catalog(*hosted)))[0]
        for gone in hosted[1:]:
            if gone.id != chosen:
                rest = catalog(*(one for one in hosted if one is not gone))
                assert ids(choose(request, policy(), rest))[0] == chosen
    assert len(set(chosen_by.values())) > 3, "sessions spread over what is about as good"


def test_a_session_never_pays_a_tenth_more_than_the_cheapest() -> None:
    hosted = [deployment(model(f"m{n}", {"portrait": 0.6}), "alpha", 0.03 * 1.04**n) for n in range(8)]
    for n in range(30):
        (first, *_) = choose(replace(WORDS, ask=Ask(session=str(n))), policy(), catalog(*hosted)).candidates
        assert first.price_usd is not None
        assert first.price_usd <= 0.03 * 1.1


def test_a_rewrite_travels_with_the_decision() -> None:
    rules = policy(rules=[{"name": "brand", "rewrite": {"promptSuffix": ", on white", "negativePrompt": "text"}}])
    rewrite = choose(WORDS, rules, studio()).rewrite
    assert rewrite is not None
    assert (rewrite.prompt_prefix, rewrite.prompt_suffix, rewrite.negative_prompt) == ("", ", on white", "text")


@pytest.mark.parametrize("name", ["auto", "muxel/auto", ""])
def test_auto_is_always_routed(name: str) -> None:
    routed = ids(choose(WORDS, policy(), studio()))
    assert ids(choose(replace(WORDS, model=name), policy(modelField="pin"), studio())) == routed
    asked = replace(WORDS, model="vision-x", ask=Ask(model=name or "auto"))
    assert ids(choose(asked, policy(modelField="pin"), studio())) == routed


def test_a_reason_is_short_ascii_and_holds_nothing_the_caller_wrote() -> None:
    strange = traits("pörträt\r\n", 0.3, *(f"task_number_{n}" for n in range(20)))
    for request in (WORDS, replace(WORDS, ask=Ask(model="evil\r\nx-header: 1"))):
        reason = choose(request, policy(tiers={"standard": {"floor": 0}}), studio(), strange).reason
        assert reason.isascii()
        assert len(reason) <= 200
        assert "evil" not in reason
        assert "lighthouse" not in reason


def test_a_catalog_swapped_for_another_is_never_mistaken_for_it() -> None:
    rules = policy()
    for usd in (0.01, 0.02, 0.03) * 20:
        among = catalog(deployment(model("one", {"portrait": 0.6}), "alpha", usd))
        assert choose(WORDS, rules, among).candidates[0].price_usd == usd


# ---------------------------------------------------------------------------------------------------------- properties

SHARES = st.floats(0, 1).map(lambda share: round(share, 2))
DOLLARS = st.floats(0.001, 0.3).map(lambda usd: round(usd, 3))
OBJECTIVES = st.sampled_from(("cheapest", "hybrid", "fastest", "best"))


@st.composite
def catalogs(draw: st.DrawFn) -> Catalog:
    hosted: dict[str, Deployment] = {}
    for number in range(draw(st.integers(1, 5))):
        quality = draw(st.none() | SHARES)
        made = model(f"m{number}", {} if quality is None else {"general": quality, "portrait": draw(SHARES)})
        for host in draw(st.lists(st.sampled_from(HOSTS), min_size=1, max_size=3, unique=True)):
            one = deployment(made, host, draw(st.none() | DOLLARS), draw(st.floats(0.5, 30)), draw(st.floats(1, 90)))
            hosted[one.id] = one
    return catalog(*hosted.values())


@st.composite
def requests(draw: st.DrawFn) -> MediaRequest:
    ask = Ask(
        tier=draw(st.none() | st.sampled_from(Tier)),
        max_cost=draw(st.none() | DOLLARS),
        max_latency=draw(st.none() | st.floats(0.5, 30)),
        session=draw(st.sampled_from(("", "s"))),
        priority=draw(st.sampled_from(("", "high", "low"))),
        model=draw(st.sampled_from(("", "", "m0", "nobody"))),
    )
    operation = draw(st.sampled_from((Operation.GENERATE, Operation.EDIT, Operation.UPSCALE)))
    references = (PICTURE,) * draw(st.integers(0, 2))
    return MediaRequest(operation, "a lighthouse", n=draw(st.integers(1, 4)), references=references, ask=ask)


def _standard(floor: float, objective: str = "cheapest", **spec: Any) -> Policy:
    tiers = {tier.value: {"floor": floor} for tier in Tier}
    return policy(tiers=tiers, objective=objective, onDoubt={"minConfidence": 0.5}, **spec)


@given(catalogs(), requests(), SHARES, OBJECTIVES, st.data())
def test_each_deployment_is_either_a_candidate_or_rejected_exactly_once(
    among: Catalog, request: MediaRequest, floor: float, objective: str, data: st.DataObject
) -> None:
    rules = [
        {"name": "r", "match": {"tier": ["draft"]}, "avoid": {"models": ["m1"]}, "prefer": {"providers": ["beta"]}}
    ]
    down = data.draw(st.sets(st.sampled_from([one.id for one in among.deployments])))
    health = {name: Health(available=False) for name in down}
    decision = choose(request, _standard(floor, objective, rules=rules), among, health=health)
    seen = [*ids(decision), *(rejection.deployment.id for rejection in decision.rejected)]
    assert sorted(seen) == sorted(one.id for one in among.deployments)
    assert all(rejection.code in Code and rejection.detail for rejection in decision.rejected)


@given(catalogs(), requests(), SHARES, OBJECTIVES)
def test_the_same_inputs_give_the_same_answer_with_nothing_remembered(
    among: Catalog, request: MediaRequest, floor: float, objective: str
) -> None:
    rules = _standard(floor, objective)
    first = choose(request, rules, among)
    assert choose(request, rules, among) == first
    assert choose(request, _standard(floor, objective), replace(among)) == first


@given(catalogs(), SHARES, SHARES, OBJECTIVES, st.none() | st.floats(0.5, 60))
def test_raising_a_floor_never_lowers_the_chosen_quality(
    among: Catalog, one: float, other: float, objective: str, max_latency: float | None
) -> None:
    request = replace(WORDS, ask=Ask(max_latency=max_latency))
    low, high = (choose(request, _standard(floor, objective), among).candidates for floor in sorted((one, other)))
    if high:
        assert low
        assert (high[0].p25 or 0.0) >= (low[0].p25 or 0.0)


@given(catalogs(), SHARES, DOLLARS, DOLLARS)
def test_raising_a_cost_ceiling_never_raises_the_price_of_the_cheapest(
    among: Catalog, floor: float, one: float, other: float
) -> None:
    low, high = (
        choose(WORDS, _standard(floor, ceilings={"costUsd": usd}), among).candidates for usd in sorted((one, other))
    )
    if low:
        assert high[0].price_usd == low[0].price_usd


@given(catalogs(), SHARES, OBJECTIVES)
def test_adding_a_dominated_deployment_does_not_change_the_choice(among: Catalog, floor: float, objective: str) -> None:
    before = choose(WORDS, _standard(floor, objective), among).candidates
    if not before:
        return
    best = before[0].deployment
    quality = {task: max(0.0, score.p25 - 0.1) for task, score in best.model.quality.items()}
    dear = None if before[0].price_usd is None else before[0].price_usd + 0.01
    worse = deployment(model("worse", quality), "omega", dear, best.p50 + 1, best.p95 + 1)
    after = choose(WORDS, _standard(floor, objective), catalog(*among.deployments, worse)).candidates
    assert after[0].deployment is best


@given(catalogs(), requests(), SHARES, OBJECTIVES, DOLLARS)
def test_an_unknown_price_is_never_chosen_under_a_ceiling(
    among: Catalog, request: MediaRequest, floor: float, objective: str, ceiling: float
) -> None:
    for candidate in choose(request, _standard(floor, objective, ceilings={"costUsd": ceiling}), among).candidates:
        assert candidate.price_usd is not None
        assert candidate.price_usd <= ceiling + 1e-6


SESSIONS = st.builds(Session, st.sampled_from(("", "s", "t")), st.sampled_from(("", "m0", "m1", "m2", "gone")))


@given(catalogs(), requests(), SHARES, OBJECTIVES, SESSIONS, st.sampled_from(("model", "reference")))
def test_a_session_never_leaves_its_model_while_that_is_eligible(
    among: Catalog, request: MediaRequest, floor: float, objective: str, session: Session, consistency: str
) -> None:
    rules = _standard(
        floor, objective, session={"consistency": consistency}, rules=[{"name": "r", "prefer": {"models": ["m1"]}}]
    )
    decision = choose(request, rules, among, session=session)
    models = [one.deployment.model.id for one in decision.candidates]
    if session.model in models:
        assert models[: models.count(session.model)] == [session.model] * models.count(session.model)
        assert decision.notes == ()
    elif session.model and models:
        assert decision.notes[0].startswith(f"the session left {session.model}: ")


@given(catalogs(), SHARES, OBJECTIVES, st.text(min_size=1, max_size=8))
def test_a_name_keeps_its_model_when_another_that_was_not_the_best_goes(
    among: Catalog, floor: float, objective: str, name: str
) -> None:
    rules = _standard(floor, objective)
    best = choose(WORDS, rules, among).candidates
    request = replace(WORDS, ask=Ask(session=name))
    kept = choose(request, rules, among).candidates
    if not kept:
        return
    staying = {best[0].deployment.model.id, kept[0].deployment.model.id}
    rest = catalog(*(one for one in among.deployments if one.model.id in staying))
    assert choose(request, rules, rest).candidates[0].deployment is kept[0].deployment


@given(catalogs(), SHARES, OBJECTIVES)
def test_the_second_attempt_goes_to_another_provider_where_there_is_one(
    among: Catalog, floor: float, objective: str
) -> None:
    hosts = [one.deployment.provider.name for one in choose(WORDS, _standard(floor, objective), among).candidates]
    if len(set(hosts)) > 1:
        assert hosts[0] != hosts[1]


@given(catalogs(), requests(), st.text(max_size=40), st.integers(0, 9), st.floats(0, 1))
def test_a_price_is_that_of_the_request_whatever_was_asked_before(
    among: Catalog, request: MediaRequest, prompt: str, seed: int, strength: float
) -> None:
    """Sheets are kept by shape: nothing outside the shape may matter to what is on them."""
    rules = _standard(0.0)
    plain = choose(request, rules, among)
    other = replace(
        request, prompt=prompt, seed=seed, strength=strength, negative_prompt="x", format="png", stream=True
    )
    fresh = choose(other, _standard(0.0), replace(among))
    assert choose(other, rules, among) == fresh
    assert [one.price_usd for one in plain.candidates] == [one.price_usd for one in fresh.candidates]


def test_objectives_here_are_those_users_may_write() -> None:
    assert set(schema.Objective.__args__) == {"cheapest", "hybrid", "fastest", "best"}
