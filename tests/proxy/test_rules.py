"""Rules in a whole Muxel: whose request it is, what a rule adds, and what is told of those that were looked at."""

import base64

import pytest

from tests.proxy.conftest import Build, World

GENERATE = "/v1/images/generations"
PRODUCT = {"prompt": "studio product photo of a glass bottle"}
POLICY = """
apiVersion: muxel.dev/v1alpha1
kind: RoutingPolicy
metadata: {name: default}
spec:
  rules:
    - name: crew
      when: request.headers["x-crew"] == "night"
      mark: crew
    - name: web
      match: {app: [web], namespace: ["retail-*"]}
      rewrite: {format: webp, size: 1536x1024}
    - name: logos
      match: {app: [logos]}
      rewrite: {format: svg}
    - name: office
      match: {during: [{days: [mon, tue, wed, thu, fri, sat, sun]}]}
      mark: always
    - name: rest
"""


async def rules(world: World, **headers: str) -> tuple[str, list[str]]:
    """The rule a request comes under, and those that were looked at."""
    told = await (await world.post(GENERATE, PRODUCT, x_muxel_dry_run="1", **headers)).json()
    return told["rule"], [rule["name"] for rule in told["rules"]]


async def test_headers_say_for_which_app_of_which_namespace_a_request_is(build: Build) -> None:
    world = await build(POLICY)
    assert await rules(world, x_muxel_app="web", x_muxel_namespace="retail-eu") == ("web", ["crew", "web"])
    assert (await rules(world, x_muxel_app="web"))[0] == "office"
    assert (await rules(world))[0] == "office"


async def test_a_sidecar_knows_its_app_and_namespace_and_no_header_says_otherwise(build: Build) -> None:
    world = await build(POLICY, app="web", namespace="retail-eu")
    assert (await rules(world))[0] == "web"
    assert (await rules(world, x_muxel_app="web", x_muxel_namespace="retail-eu"))[0] == "web"
    for lie in ({"x_muxel_namespace": "finance"}, {"x_muxel_app": "logos"}):
        refused = await world.post(GENERATE, PRODUCT, **lie)
        assert refused.status == 403
        assert "this sidecar serves" in (await refused.json())["error"]["message"]
    assert await world.purchases() == {}


async def test_without_a_namespace_the_app_of_the_process_is_only_what_is_meant_if_nothing_is_said(
    build: Build,
) -> None:
    world = await build(POLICY, app="logos")
    assert (await rules(world))[0] == "logos"
    assert (await rules(world, x_muxel_app="web", x_muxel_namespace="retail-eu"))[0] == "web"


async def test_a_dry_run_tells_each_rule_that_was_looked_at_and_what_it_failed_on(build: Build) -> None:
    world = await build(POLICY)
    told = await (await world.post(GENERATE, PRODUCT, x_muxel_dry_run="1", x_muxel_app="crm", x_crew="day")).json()
    assert told["rules"] == [
        {"name": "crew", "matched": False, "failed": "when: is false"},
        {"name": "web", "matched": False, "failed": "app: crm is not web"},
        {"name": "logos", "matched": False, "failed": "app: crm is not logos"},
        {"name": "office", "matched": True, "failed": ""},
    ]
    assert told["rules_not_looked_at"] == 1


async def test_a_rule_whose_when_fails_is_counted_and_told_in_the_answer(build: Build) -> None:
    world = await build(POLICY)
    reply = await world.post(GENERATE, PRODUCT)
    assert reply.status == 200
    assert "rule crew was passed over" in reply.headers["x-muxel-reason"]
    counted = 'muxel_rule_faults_total{policy="default",rule="crew"} 1.0'
    assert counted in world.muxel.services.metrics.exposition().decode()
    assert "passed over" not in (await world.post(GENERATE, PRODUCT, x_crew="day")).headers["x-muxel-reason"]
    assert counted in world.muxel.services.metrics.exposition().decode()


@pytest.mark.parametrize(
    ("app", "begins"), [("web", b"RIFF"), ("logos", b"<svg")], ids=["another format", "another kind of model"]
)
async def test_the_format_a_rule_adds_is_the_one_that_comes_back(build: Build, app: str, begins: bytes) -> None:
    world = await build(POLICY)
    reply = await world.post(GENERATE, PRODUCT, x_muxel_app=app, x_muxel_namespace="retail-eu", x_crew="day")
    assert reply.status == 200
    picture = base64.b64decode((await reply.json())["data"][0]["b64_json"])
    assert begins in picture[:300]


async def test_what_the_caller_asks_for_goes_before_what_a_rule_adds(build: Build) -> None:
    world = await build(POLICY)
    asked = PRODUCT | {"output_format": "png"}
    reply = await world.post(GENERATE, asked, x_muxel_app="web", x_muxel_namespace="retail-eu", x_crew="day")
    assert base64.b64decode((await reply.json())["data"][0]["b64_json"]).startswith(b"\x89PNG")
