"""A policy on its way to replace another one: who gets it, what is compared, when it is held. Whole Muxels over a
sandbox in which the candidate's provider can be made to fail."""

import logging
import os
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from adapters.imaging import picture_size
from adapters.ir import Ask
from policies.decide import decide
from policies.match import Policy
from policies.rollout import takes_part
from proxy import exchange, rollout
from proxy.metrics import Metrics
from proxy.rollout import Part, Rollouts
from proxy.transport import Transport
from tests.policies.catalogs import policy
from tests.proxy.conftest import Build, World
from tests.proxy.test_exchange import GENERATE, exposition, until
from tests.proxy.test_tracing import Spans

FOX = {"prompt": "a fox in the snow", "size": "256x256"}
LIVE, CANDIDATE = "flux-2-pro@together", "flux-dev@a1111"  # answer in one call, and soon
DOCUMENT = """
---
apiVersion: muxel.dev/v1alpha1
kind: RoutingPolicy
metadata: {name: %s}
spec:
  rules: [{name: only, use: {models: ["%s"]}}]
  %s
"""
FREE = "maxErrorRate: null, maxErrorRateRise: null, maxCostRise: null, maxLatencyRise: null"  # nothing can break these


def policies(rolled: str, candidate: str = "", *, model: str = CANDIDATE) -> str:
    """The default policy with a rollout, and its candidate."""
    return DOCUMENT % ("default", LIVE, f"rollout: {{candidate: next, {rolled}}}") + DOCUMENT % (
        "next", model, candidate,
    )  # fmt: skip


def canary(percent: float = 50, hold: str = FREE, **more: str) -> str:
    return policies(f"mode: canary, percent: {percent}, hold: {{minRequests: 5, {hold}}}", **more)


def drawn(world: World, caller: str) -> bool:
    """Whether the canary is for this caller: what the hash says, without Muxel's help."""
    current = world.muxel.services.state.current
    assert current is not None
    rolled = current.policies["default"].rollout
    assert rolled is not None
    return takes_part(rolled, "default", caller, "", "")


async def admin(world: World, path: str = "/rollouts") -> Any:
    async with world.http.get(world.muxel.admin_url + path) as reply:
        assert reply.status == 200
        return (await reply.json())["rollouts"] if path == "/rollouts" else await reply.text()


async def ask(world: World, caller: str, **headers: str) -> tuple[str, str]:
    """The policy and the arm that answered, after whatever retries."""
    reply = await world.post(GENERATE, FOX, x_muxel_caller=caller, **headers)
    return reply.headers["x-muxel-policy"], reply.headers.get("x-muxel-arm", "")


@pytest.fixture
def spans() -> Spans:
    return Spans()


def told(caplog: pytest.LogCaptureFixture, message: str) -> list[dict[str, Any]]:
    return [record.fields for record in caplog.records if record.getMessage() == message]  # type: ignore[attr-defined]


# -------------------------------------------------------------------------------------------------------------- canary


async def test_a_canary_gets_exactly_those_whom_the_hash_draws_and_they_keep_it(build: Build) -> None:
    world = await build(canary(30))
    callers = [f"app-{number}" for number in range(40)]
    expected = {caller: ("next", "candidate") if drawn(world, caller) else ("default", "live") for caller in callers}
    for _ in range(2):
        assert {caller: await ask(world, caller) for caller in callers} == expected
    count = sum(arm == "candidate" for _, arm in expected.values())
    assert 5 < count < 20
    assert await world.purchases() == {"a1111": 2 * count, "together": 2 * (40 - count)}
    told = exposition(world)
    assert f'muxel_rollout_requests_total{{arm="candidate",outcome="ok",policy="default"}} {2.0 * count}' in told
    assert f'muxel_rollout_pictures_total{{arm="live",policy="default"}} {2.0 * (40 - count)}' in told
    assert f'muxel_rollout_seconds_count{{arm="candidate",policy="default"}} {2.0 * count}' in told
    assert f'muxel_rollout_comparisons_total{{change="model",policy="default"}} {2.0 * count}' in told
    assert 'muxel_rollout_state{candidate="next",policy="default"} 2.0' in told


async def test_a_candidate_that_fails_is_held_at_once_and_live_traffic_never_notices(
    build: Build, caplog: pytest.LogCaptureFixture
) -> None:
    world = await build(canary(hold="maxErrorRate: 0.1"))
    world.faults.put({"provider": "a1111", "down": 1})
    theirs = [caller for caller in (f"app-{number}" for number in range(40)) if drawn(world, caller)]
    ours = [caller for caller in (f"app-{number}" for number in range(40)) if not drawn(world, caller)]
    with caplog.at_level(logging.INFO):
        for live, candidate in zip(ours[:4], theirs[:4], strict=True):
            assert (await world.post(GENERATE, FOX, x_muxel_caller=live)).status == 200
            assert (await world.post(GENERATE, FOX, x_muxel_caller=candidate)).status >= 500
        assert (await admin(world))[0]["state"] == "canary"
        assert (await world.post(GENERATE, FOX, x_muxel_caller=theirs[4])).status >= 500
        for caller in (*theirs[:8], *ours[:8]):
            reply = await world.post(GENERATE, FOX, x_muxel_caller=caller)
            assert (reply.status, reply.headers["x-muxel-policy"]) == (200, "default")
            assert "x-muxel-arm" not in reply.headers
    (status,) = await admin(world)
    assert (status["state"], status["bound"]) == ("held", "maxErrorRate")
    assert status["reason"] == "5 of 5 failed, above 0.1"
    assert status["held_at"] > 1.7e9
    assert status["arms"]["candidate"] | {"requests": 5, "failed": 5, "error_rate": 1.0} == status["arms"]["candidate"]
    assert status["arms"]["live"] | {"requests": 4, "failed": 0, "error_rate": 0.0} == status["arms"]["live"]
    metrics = await admin(world, "/metrics")
    assert 'muxel_rollout_state{candidate="next",policy="default"} 3.0' in metrics
    assert 'muxel_rollout_holds_total{bound="maxErrorRate",policy="default"} 1.0' in metrics
    assert 'muxel_rollout_requests_total{arm="candidate",outcome="failed",policy="default"} 5.0' in metrics
    (event,) = told(caplog, "rollout held")
    assert (event["type"], event["reason"], event["bound"]) == ("Warning", "RolloutHeld", "maxErrorRate")
    assert event["message"] == "policy next is held and default decides alone: 5 of 5 failed, above 0.1"
    assert event["regarding"] == {"kind": "RoutingPolicy", "name": "default"}


async def test_a_candidate_that_costs_more_than_the_live_policy_would_have_is_held(build: Build) -> None:
    world = await build(canary(100, hold="maxCostRise: 0.25", model="qwen-image-2.0-pro@together"))
    arms = [await ask(world, "app") for _ in range(7)]
    assert arms == [("next", "candidate")] * 5 + [("default", "")] * 2
    (status,) = await admin(world)
    assert (status["state"], status["bound"]) == ("held", "maxCostRise")
    assert status["arms"]["candidate"]["cost_vs_live"] > 1.25


async def test_a_candidate_that_is_slow_is_held(build: Build) -> None:
    world = await build(canary(hold=FREE.replace("maxLatencyRise: null", "maxLatencyRise: 1")))
    world.faults.put({"provider": "a1111", "latency": {"p50": 0.5, "p95": 0.5}})
    theirs, ours = (next(f"app-{n}" for n in range(40) if drawn(world, f"app-{n}") is side) for side in (True, False))
    for _ in range(40):  # five of each are enough on a machine that does nothing else
        await ask(world, ours)
        if (await ask(world, theirs))[1] != "candidate":
            break
    (status,) = await admin(world)
    assert (status["state"], status["bound"]) == ("held", "maxLatencyRise")
    assert status["arms"]["candidate"]["seconds"] >= 0.5
    assert status["arms"]["candidate"]["failed"] == 0


async def test_refusals_by_the_candidates_rules_hold_it(build: Build) -> None:
    documents = canary(hold="maxRefusalRise: 0.1")
    world = await build(documents.replace(f'use: {{models: ["{CANDIDATE}"]}}', "refuse: not today"))
    callers = [f"app-{number}" for number in range(60)]
    for caller in callers:
        await world.post(GENERATE, FOX, x_muxel_caller=caller)
    (status,) = await admin(world)
    assert (status["state"], status["bound"]) == ("held", "maxRefusalRise")
    assert status["arms"]["candidate"]["failed"] == 0


async def test_mistakes_of_callers_hold_nothing(build: Build) -> None:
    world = await build(canary(100, hold="maxErrorRate: 0.0, maxErrorRateRise: 0.0, maxRefusalRise: 0.0"))
    for _ in range(12):
        assert (await world.post(GENERATE, {"size": "512x512"}, x_muxel_caller="app")).status == 400
        assert (await world.post(GENERATE, FOX, x_muxel_caller="app", x_muxel_tier="gold")).status == 400
        assert (await world.post(GENERATE, FOX, x_muxel_caller="app", x_muxel_max_cost="0.00001")).status == 422
    (status,) = await admin(world)
    assert status["state"] == "canary"
    assert status["arms"]["candidate"]["refused"] == 12


async def test_a_canary_request_goes_by_the_candidate_in_everything(build: Build) -> None:
    """Attempts and output too, not the choice alone."""
    kept = "output: {fit: asIs}\n  resilience: {attempts: {max: 1}}"
    world = await build(canary(candidate=kept))
    theirs, ours = (next(f"app-{n}" for n in range(40) if drawn(world, f"app-{n}") is side) for side in (True, False))
    for caller, dropped in ((theirs, False), (ours, True)):
        reply = await world.post(GENERATE, FOX | {"size": "500x333"}, x_muxel_caller=caller)
        assert reply.status == 200
        assert ("size" in reply.headers.get("x-muxel-dropped", "")) is dropped, reply.headers
    world.faults.put({"provider": "a1111", "down": 1})
    world.faults.put({"provider": "together", "down": 1})
    for caller, attempts in ((theirs, "1"), (ours, "2")):
        reply = await world.post(GENERATE, FOX, x_muxel_caller=caller)
        assert (reply.status, reply.headers["x-muxel-attempts"]) == (503, attempts)


async def test_a_named_policy_is_what_the_caller_gets(build: Build) -> None:
    world = await build(canary(100))
    assert await ask(world, "app") == ("next", "candidate")
    assert await ask(world, "app", x_muxel_policy="default") == ("default", "")
    assert await ask(world, "app", x_muxel_policy="next") == ("next", "")


async def test_a_policy_that_is_only_ever_named_can_be_rolled_out_where_it_says_so(build: Build) -> None:
    rolled = "rollout: {candidate: brand-2, mode: canary, percent: 100, named: true}"
    documents = DOCUMENT % ("brand", LIVE, rolled) + DOCUMENT % ("brand-2", CANDIDATE, "")
    world = await build(documents)
    assert await ask(world, "app", x_muxel_policy="brand") == ("brand-2", "candidate")
    assert (await ask(world, "app"))[1] == ""


async def test_a_dry_run_shows_the_arm_and_counts_for_none(build: Build) -> None:
    world = await build(canary(100))
    assert await ask(world, "app", x_muxel_dry_run="true") == ("next", "candidate")
    (status,) = await admin(world)
    assert status["arms"]["candidate"]["requests"] == 0
    assert status["comparisons"] == {}


@pytest.mark.parametrize("fault", [{}, {"error": 1}])
async def test_a_job_counts_for_the_arm_that_bought_it_when_it_ends(build: Build, fault: dict[str, int]) -> None:
    world = await build(canary(100, model="flux-2-max@bfl"))
    world.faults.put({"provider": "bfl", **fault})
    headers = {"x-muxel-caller": "app"}
    body = {"prompt": "a lighthouse", "width": 512, "height": 512}
    async with world.http.post(f"{world.muxel.url}/bfl/v1/flux-2-pro", json=body, headers=headers) as reply:
        url = (await reply.json())["polling_url"]
        assert reply.headers["x-muxel-arm"] == "candidate"
    (running,) = world.muxel.services.jobs._jobs.values()
    await running.ended.wait()

    async def counted() -> bool:
        return bool((await admin(world))[0]["arms"]["candidate"]["requests"] == 1)

    await until(counted)
    for _ in range(3):  # looking at it changes nothing
        async with world.http.get(url, headers=headers) as reply:
            assert reply.status == 200
    (status,) = await admin(world)
    assert status["arms"]["candidate"]["requests"] == 1
    assert status["arms"]["candidate"]["failed"] == len(fault)


async def test_a_job_is_brought_to_the_form_of_its_own_policy_by_any_replica(build: Build, tmp_path: Path) -> None:
    key = tmp_path / "seal"
    key.write_text("a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=")
    documents = canary(100, candidate="output: {fit: asIs}", model="flux-2-max@bfl")
    first = await build(documents, seal_key_file=key)
    second = await build(documents, seal_key_file=key, sandbox=first.sandbox)
    headers = {"x-muxel-caller": "app"}
    body = {"prompt": "a lighthouse", "width": 500, "height": 333}
    sizes = []
    async with first.http.post(f"{first.muxel.url}/bfl/v1/flux-2-pro", json=body, headers=headers) as reply:
        url = (await reply.json())["polling_url"]
    (running,) = first.muxel.services.jobs._jobs.values()
    await running.ended.wait()
    for world in (first, second):
        async with world.http.get(url.replace(first.muxel.url, world.muxel.url), headers=headers) as reply:
            answer = await reply.json()
        async with world.http.get(answer["result"]["sample"]) as picture:
            sizes.append(picture_size(await picture.read()))
    assert sizes[0] == sizes[1] != (500, 333)


# -------------------------------------------------------------------------------------------------------------- shadow


async def test_a_shadow_is_decided_and_told_but_never_bought(
    build: Build, caplog: pytest.LogCaptureFixture, spans: Spans
) -> None:
    world = await build(policies("mode: shadow"), SimpleSpanProcessor(spans))
    with caplog.at_level(logging.INFO):
        for number in range(10):
            reply = await world.post(GENERATE, FOX, x_muxel_caller=f"app-{number}")
            assert reply.headers["x-muxel-policy"] == "default"
            assert "x-muxel-arm" not in reply.headers
    assert await world.purchases() == {"together": 10}
    told_ = exposition(world)
    assert 'muxel_rollout_comparisons_total{change="model",policy="default"} 10.0' in told_
    assert 'muxel_rollout_state{candidate="next",policy="default"} 1.0' in told_
    assert "muxel_rollout_requests_total{" not in told_
    line = told(caplog, "request")[-1]
    assert line["rollout.change"] == "model"
    assert line["rollout.beside"] == CANDIDATE
    compared = {
        choice: float(
            told_.split(f'muxel_rollout_compared_usd_total{{choice="{choice}",policy="default"}} ')[1].split()[0]
        )
        for choice in ("live", "candidate")
    }
    assert line["rollout.cost_delta_usd"] < 0
    assert line["rollout.cost_delta_usd"] * 10 == pytest.approx(compared["candidate"] - compared["live"], abs=1e-5)
    server = next(span for span in reversed(spans.get_finished_spans()) if span.name.startswith("POST"))
    assert server.attributes is not None
    assert server.attributes["muxel.rollout.change"] == "model"
    assert server.attributes["muxel.rollout.beside"] == CANDIDATE


async def test_percent_bounds_what_a_shadow_costs(build: Build) -> None:
    world = await build(policies("percent: 20"))
    callers = [f"app-{number}" for number in range(30)]
    for caller in callers:
        await ask(world, caller)
    (status,) = await admin(world)
    assert sum(status["comparisons"].values()) == sum(drawn(world, caller) for caller in callers)


async def test_the_upstream_is_asked_before_the_other_policy_is(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    world = await build(policies("mode: shadow"))
    order: list[str] = []
    send = Transport.send

    def decided(request: Any, traits: Any, by: Any, *rest: Any, **named: Any) -> Any:
        order.append(by.name)
        return decide(request, traits, by, *rest, **named)

    async def sent(self: Transport, *rest: Any) -> Any:
        order.append("sent")
        return await send(self, *rest)

    monkeypatch.setattr(exchange, "decide", decided)
    monkeypatch.setattr(Transport, "send", sent)
    await ask(world, "app")
    assert order[:3] == ["default", "sent", "next"]


async def test_a_comparison_that_goes_wrong_is_told_and_touches_no_request(
    build: Build, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = await build(policies("mode: shadow"))

    def broken(*decisions: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(rollout, "compare", broken)
    reply = await world.post(GENERATE, FOX)
    assert (reply.status, reply.headers["x-muxel-model"]) == (200, "flux-2-pro")
    assert 'muxel_rollout_comparisons_total{change="error",policy="default"} 1.0' in exposition(world)
    assert "a comparison with policy next failed" in caplog.text


async def test_counters_are_there_before_anything_has_happened(build: Build) -> None:
    told = exposition(await build(canary()))
    for series in (
        'muxel_rollout_requests_total{arm="candidate",outcome="failed",policy="default"} 0.0',
        'muxel_rollout_holds_total{bound="maxLatencyRise",policy="default"} 0.0',
        'muxel_rollout_comparisons_total{change="same",policy="default"} 0.0',
        'muxel_rollout_comparisons_total{change="error",policy="default"} 0.0',
    ):
        assert series in told


async def test_a_paused_rollout_is_off(build: Build) -> None:
    world = await build(canary(0))
    assert await ask(world, "app") == ("default", "")
    (status,) = await admin(world)
    assert (status["state"], status["comparisons"]) == ("off", {})
    assert 'muxel_rollout_state{candidate="next",policy="default"} 0.0' in exposition(world)


# -------------------------------------------------------------------------------------------------------------- reload


async def reloads(world: World) -> float:
    return float(exposition(world).split("muxel_config_reloads_total ")[1].split()[0])


async def rewritten(world: World, file: Path, text: str) -> None:
    before = await reloads(world)
    (file.parent / "next").write_text(text)
    os.replace(file.parent / "next", file)

    async def again() -> bool:
        return await reloads(world) > before

    await until(again)


async def test_a_hold_outlasts_reloads_until_either_policy_changes(build: Build, tmp_path: Path) -> None:
    file = tmp_path / "policy.yaml"
    documents = canary(100, hold="maxErrorRate: 0.1")
    world = await build(documents)
    world.faults.put({"provider": "a1111", "down": 1})

    async def state() -> str:
        return str((await admin(world))[0]["state"])

    async def fail() -> None:
        for _ in range(6):
            await ask(world, "app")
        assert await state() == "held"

    await fail()
    unrelated = DOCUMENT % ("unrelated", LIVE, "")
    await rewritten(world, file, documents + unrelated)
    assert await state() == "held"
    assert 'muxel_rollout_state{candidate="next",policy="default"} 3.0' in exposition(world)
    assert await ask(world, "app") == ("default", "")
    await rewritten(world, file, documents.replace("candidate: next", "candidate: nxt"))  # refused, so nothing changes
    assert await state() == "held"

    world.faults.clear()
    again = documents.replace("metadata: {name: next}", "metadata: {name: next, annotations: {resumed: 2026-11-30T10}}")
    await rewritten(world, file, again)
    assert await state() == "canary"
    world.faults.put({"provider": "a1111", "down": 1})
    await fail()
    await rewritten(world, file, again.replace("percent: 100", "percent: 99.9"))
    assert await state() == "canary"
    await rewritten(world, file, documents.split("---")[2].replace("name: next", "name: default"))
    assert await admin(world) == []
    assert "muxel_rollout_state{" not in exposition(world)


def loaded(percent: float) -> dict[str, Policy]:
    rolled = {"candidate": "next", "mode": "canary", "percent": percent}
    return {"default": policy("default", rollout=rolled), "next": policy("next")}


def part(rollouts: Rollouts, policies: dict[str, Policy]) -> Part | None:
    return rollouts.part(policies, policies["default"], Ask(), "", "1", 0.0)


def test_a_request_of_the_last_configuration_has_no_part_in_the_rollout_of_this_one() -> None:
    rollouts, before, now = Rollouts(Metrics()), loaded(100), loaded(99)
    rollouts.configure(before)
    assert part(rollouts, before) is not None
    rollouts.configure(now)
    assert part(rollouts, before) is None
    assert part(rollouts, now) is not None


def test_a_request_under_way_at_a_reload_counts_for_the_rollout_that_goes_on() -> None:
    rollouts, before, now = Rollouts(Metrics()), loaded(100), loaded(100)
    rollouts.configure(before)
    under_way = part(rollouts, before)
    rollouts.configure(now)
    begun = part(rollouts, now)
    assert under_way
    assert begun
    assert begun.policy is now["next"], "of its own configuration"
    for one in (under_way, begun, begun):
        rollouts.ended(one, "ok", 200, 1, 0.01, 1.0, 1.0)
    (told,) = rollouts.report(1.0)
    assert told["arms"]["candidate"]["requests"] == 2, "each once"
