"""A request from end to end: what is chosen and said, what is bought how often, what comes back when things break."""

import asyncio
import base64
import json
import logging
from collections.abc import Awaitable, Callable
from io import BytesIO

import openai
import pytest
from PIL import Image

from adapters.ir import Cause
from proxy.jobs import Running
from tests.proxy.conftest import Build, World

GENERATE = "/v1/images/generations"
PRODUCT = {"prompt": "studio product photo of a glass bottle", "size": "1024x1024"}
QUICK_RETRY = """
apiVersion: muxel.dev/v1alpha1
kind: RoutingPolicy
metadata: {name: default}
spec:
  resilience:
    attempts: {max: 4, perDeployment: 1, backoffSeconds: 0.01}
"""


async def test_the_answer_says_what_was_chosen_why_and_for_how_much(world: World) -> None:
    reply = await world.post(GENERATE, PRODUCT)
    headers = reply.headers
    assert reply.status == 200
    assert headers["x-muxel-task"] == "product_photo"
    assert headers["x-muxel-attempts"] == "1"
    assert float(headers["x-muxel-cost-usd"]) > 0
    assert headers["x-muxel-reason"].startswith("product_photo")
    assert headers["x-muxel-decision"]
    assert await world.purchases() == {headers["x-muxel-provider"]: 1}
    assert "dur=" in headers["server-timing"]


async def test_different_pictures_get_different_models(world: World) -> None:
    prompts = (
        "studio product photo of a glass bottle on marble",
        'poster with the words "GRAND OPENING" in huge letters',
        "anime character with a sword",
        "quick draft of a mountain landscape",
    )
    models = set()
    for prompt in prompts:
        reply = await world.post(GENERATE, {"prompt": prompt, "size": "1024x1024"}, x_muxel_dry_run="true")
        models.add((await reply.json())["chosen"]["model"])
    assert len(models) >= 3


async def test_a_dry_run_tells_the_decision_and_spends_nothing(world: World) -> None:
    reply = await world.post(GENERATE, PRODUCT, x_muxel_dry_run="1")
    told = await reply.json()
    assert set(told) >= {"traits", "chosen", "fallbacks", "rejected", "rule", "policy_hash", "decide_us"}
    assert told["policy_hash"] == world.muxel.services.state.current.hash  # type: ignore[union-attr]
    assert await world.purchases() == {}


@pytest.mark.parametrize(
    ("headers", "field"),
    [
        ({"x_muxel_tier": "gold"}, "x-muxel-tier"),
        ({"x_muxel_max_price": "1"}, "x-muxel-max-price"),
        ({"x_muxel_policy": "nightly"}, "x-muxel-policy"),
        ({"x_muxel_model": "dall-e-9"}, "x-muxel-model"),
    ],
)
async def test_a_header_that_cannot_be_used_is_named(world: World, headers: dict[str, str], field: str) -> None:
    reply = await world.post(GENERATE, PRODUCT, **headers)
    assert reply.status in (400, 404)
    assert (await reply.json())["error"]["param"] == field
    assert await world.purchases() == {}


@pytest.mark.parametrize(
    ("path", "body", "status", "named"),
    [
        (GENERATE, b"{", 400, "body"),
        (GENERATE, b'{"size": "1024x1024"}', 400, "prompt"),
        (GENERATE, b'{"prompt": "x", "size": "0x10"}', 400, "size"),
        ("/openai/v1/images/generations", b'{"prompt": 1}', 400, "prompt"),
        ("/openai/v1/images/sketches", b"{}", 404, "path"),
        ("/gemini/v1beta/models/gemini-3-pro-image:generateContent", b'{"contents": []}', 400, "contents"),
        ("/gemini/v9/sketches", b"{}", 404, "sketches"),
        ("/bfl/v1/flux-2-pro", b"{}", 422, "prompt"),
        ("/bfl/v1/finetunes", b"{}", 404, "path"),
        ("/replicate/v1/models/a/b/predictions", b'{"input": {}}', 422, "prompt"),
        ("/replicate/v1/trainings", b"{}", 404, "trainings"),
        ("/nowhere", b"{}", 404, "path"),
    ],
)
async def test_bad_input_is_answered_in_the_callers_shape_and_names_the_field(
    world: World, path: str, body: bytes, status: int, named: str
) -> None:
    async with world.http.post(world.muxel.url + path, data=body) as reply:
        text = await reply.text()
        assert reply.content_type.endswith("json")
    answer = json.loads(text)
    shape = path.split("/")[1]
    key = {"gemini": "error", "bfl": "detail", "replicate": "detail"}.get(shape, "error")
    assert key in answer
    assert named in text
    assert reply.status in (status, 400, 422)
    assert await world.purchases() == {}


PIN = """
apiVersion: muxel.dev/v1alpha1
kind: RoutingPolicy
metadata: {name: default}
spec: {modelField: pin}
"""


async def test_a_pinned_model_is_the_one_that_answers_and_an_unknown_one_is_named(build: Build) -> None:
    world = await build(PIN)
    reply = await world.post(GENERATE, PRODUCT | {"model": "flux-2-max"})
    assert reply.headers["x-muxel-model"] == "flux-2-max"
    unknown = await world.post(GENERATE, PRODUCT | {"model": "dall-e-9"})
    assert unknown.status == 404
    assert (await unknown.json())["error"]["param"] == "model"
    routed = await world.post(GENERATE, PRODUCT | {"model": "auto"})
    assert routed.headers["x-muxel-model"] != "flux-2-max"


REWRITE = """
apiVersion: muxel.dev/v1alpha1
kind: RoutingPolicy
metadata: {name: default}
spec:
  rules:
    - name: no-interns
      match: {caller: [intern]}
      refuse: ask your art director
    - name: house-style
      match: {task: [product_photo]}
      use: {models: [recraft-v3]}
      rewrite: {promptSuffix: ", in the house style", negativePrompt: clutter}
"""


async def test_rules_refuse_with_their_message_and_rewrite_what_is_sent(build: Build) -> None:
    world = await build(REWRITE)
    refused = await world.post(GENERATE, PRODUCT, x_muxel_caller="intern")
    assert refused.status == 400
    assert "ask your art director" in (await refused.json())["error"]["message"]
    assert await world.purchases() == {}
    made = await world.post(GENERATE, PRODUCT)
    assert made.headers["x-muxel-model"] == "recraft-v3"
    seen = [*await world.upstream_requests("recraft"), *await world.upstream_requests("replicate")]
    (sent,) = [request for request in seen if request["action"] in ("create", "submit")]
    assert "negative_prompt" in sent["fields"] or "input" in sent["fields"]


async def test_a_body_beyond_the_limit_is_refused_in_the_callers_shape(build: Build) -> None:
    world = await build(max_body_bytes=1000)
    reply = await world.post(GENERATE, {"prompt": "x" * 2000})
    assert reply.status == 413
    assert "1000 bytes" in (await reply.json())["error"]["message"]

    async def chunks() -> object:
        for _ in range(10):
            yield b"x" * 500

    async with world.http.post(f"{world.muxel.url}/gemini/v1beta/models/m:generateContent", data=chunks()) as chunked:
        assert chunked.status == 413
        assert (await chunked.json())["error"]["code"] == 413


async def test_a_compressed_body_is_refused(world: World) -> None:
    headers = {"content-encoding": "gzip"}
    async with world.http.post(world.muxel.url + GENERATE, data=b"\x1f\x8b", headers=headers) as reply:
        assert reply.status == 415


async def test_nothing_eligible_lists_the_codes(world: World) -> None:
    reply = await world.post(GENERATE, PRODUCT, x_muxel_max_cost="0.0001")
    error = (await reply.json())["error"]
    assert reply.status == 422
    assert "cost" in error["message"]
    assert error["code"] == "no_deployment"


async def test_a_dead_provider_is_left_for_the_next_and_then_avoided(build: Build) -> None:
    world = await build(QUICK_RETRY)
    first = await world.post(GENERATE, PRODUCT)
    dead = first.headers["x-muxel-provider"]
    world.faults.put({"provider": dead, "down": 1})
    attempts = []
    for _ in range(8):
        reply = await world.post(GENERATE, PRODUCT)
        assert reply.status == 200
        assert reply.headers["x-muxel-provider"] != dead
        attempts.append(int(reply.headers["x-muxel-attempts"]))
    assert attempts[0] == 2
    assert attempts[-1] == 1  # its breaker is open: the decision does not even try
    dry = await world.post(GENERATE, PRODUCT, x_muxel_dry_run="1")
    codes = {(row["provider"], row["code"]) for row in (await dry.json())["rejected"]}
    assert (dead, "breaker") in codes


async def test_a_refusal_is_not_shopped_around(world: World) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        async with openai.AsyncOpenAI(base_url=f"{world.muxel.url}/v1", api_key="app") as client:
            await client.images.generate(prompt="a product photo of a forbidden-sandbox-word", model="x")
    assert caught.value.code == "moderation_blocked"
    assert sum((await world.purchases()).values()) == 1


async def test_when_everything_is_throttled_the_caller_hears_how_long(build: Build) -> None:
    world = await build(QUICK_RETRY.replace("max: 4", "max: 2"))
    world.faults.put({"provider": "*", "throttle": 1, "retry_after": 33})
    reply = await world.post(GENERATE, PRODUCT)
    assert reply.status == 429
    assert reply.headers["retry-after"] == "33"
    assert sum((await world.purchases()).values()) == 2


@pytest.mark.parametrize(
    ("fault", "status", "bought"),
    [("reset", 504, 1), ("empty", 502, 2), ("truncate", 502, 2), ("denied", 502, 2), ("error", 503, 2)],
)
async def test_what_breaks_upstream_is_a_gateway_error_and_bought_only_as_often_as_it_may(
    build: Build, fault: str, status: int, bought: int
) -> None:
    world = await build(QUICK_RETRY.replace("max: 4", "max: 2"))
    world.faults.put({"provider": "*", fault: 1})
    pinned = "gpt-image-2-medium"  # two deployments, one of them polled
    reply = await world.post(GENERATE, PRODUCT, x_muxel_model=pinned)
    assert reply.status == status, await reply.text()
    if status != 503:
        assert reply.headers["x-should-retry"] == "false"
    assert sum((await world.purchases()).values()) == bought
    assert "app" not in (await reply.json())["error"]["message"]


async def test_a_failed_poll_never_buys_twice(world: World) -> None:
    world.faults.put({"provider": "bfl", "poll_error": 0.5})
    reply = await world.post(GENERATE, PRODUCT, x_muxel_model="flux-2-pro@bfl")
    assert reply.status == 200
    assert await world.purchases() == {"bfl": 1}


async def test_several_pictures_are_fanned_out_with_seeds_that_count_up(world: World) -> None:
    reply = await world.post(GENERATE, PRODUCT | {"n": 3}, x_muxel_model="flux-2-pro@bfl")
    body = await reply.json()
    assert len(body["data"]) == 3
    assert await world.purchases() == {"bfl": 3}
    assert float(reply.headers["x-muxel-cost-usd"]) == pytest.approx(0.09)


async def test_some_pictures_are_better_than_none(build: Build) -> None:
    world = await build(QUICK_RETRY.replace("max: 4", "max: 1"))
    world.faults.put({"provider": "bfl", "error": 0.5})
    reply = await world.post(GENERATE, PRODUCT | {"n": 8}, x_muxel_model="flux-2-pro@bfl")
    body = await reply.json()
    assert reply.status == 200
    assert 0 < len(body["data"]) < 8
    assert f"n ({8 - len(body['data'])} missing)" in reply.headers["x-muxel-dropped"]


async def test_a_picture_asked_for_by_url_is_hosted_in_the_format_asked_for(world: World) -> None:
    reply = await world.post(GENERATE, PRODUCT | {"response_format": "url", "output_format": "webp"})
    async with world.http.get((await reply.json())["data"][0]["url"]) as picture:
        assert picture.content_type == "image/webp"
        with Image.open(BytesIO(await picture.read())) as image:
            assert (image.format, image.size) == ("WEBP", (1024, 1024))
    async with world.http.get(f"{world.muxel.url}/media/guess") as missing:
        assert missing.status == 404


async def test_a_streaming_caller_gets_real_partials_where_the_upstream_has_them(world: World) -> None:
    async with openai.AsyncOpenAI(
        base_url=f"{world.muxel.url}/v1", api_key="app", default_headers={"x-muxel-model": "gpt-image-2-medium@openai"}
    ) as client:
        stream = await client.images.generate(
            model="gpt-image-2", prompt="a fox", size="1024x1024", stream=True, partial_images=2
        )
        events = [event async for event in stream]
    assert [event.type for event in events] == [
        "image_generation.partial_image", "image_generation.partial_image", "image_generation.completed",
    ]  # fmt: skip
    with Image.open(BytesIO(base64.b64decode(events[-1].b64_json))) as image:
        assert image.size == (1024, 1024)


async def test_a_streaming_caller_of_another_upstream_gets_one_final_event(world: World) -> None:
    body = {"prompt": "a fox", "size": "1024x1024", "stream": True, "partial_images": 2}
    reply = await world.post(GENERATE, body, x_muxel_model="flux-2-pro@bfl")
    text = await reply.text()
    assert reply.content_type == "text/event-stream"
    assert text.count("event: ") == 1
    assert "image_generation.completed" in text


async def test_a_stream_that_fails_before_its_first_event_is_an_ordinary_error(build: Build) -> None:
    world = await build(QUICK_RETRY)
    world.faults.put({"provider": "*", "denied": 1})
    reply = await world.post(GENERATE, {"prompt": "a fox", "stream": True}, x_muxel_model="gpt-image-2-medium")
    assert reply.status == 502
    assert reply.content_type == "application/json"


async def test_a_caller_that_hangs_up_cancels_upstream_and_the_money_is_booked(world: World) -> None:
    world.faults.put({"provider": "replicate", "latency": {"p50": 60, "p95": 60}})
    pending = asyncio.ensure_future(  # noqa: TID251
        world.post(GENERATE, PRODUCT, x_muxel_model="flux-2-pro@replicate")
    )
    await until(lambda: world.purchases())
    pending.cancel()

    async def told() -> bool:
        return any(request["action"] == "cancel" for request in await world.upstream_requests("replicate"))

    await until(told)
    assert 'muxel_cost_usd_total{kind="exact",model="flux-2-pro",provider="replicate"} 0.03' in exposition(world)


async def test_prompts_pictures_and_keys_never_reach_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="muxel")
    secret_prompt = "a zebra in a turquoise hat"
    await world.post(GENERATE, {"prompt": secret_prompt, "size": "1024x1024"}, authorization="Bearer sk-very-secret")
    await world.post(GENERATE, {"prompt": secret_prompt, "size": "bad"}, authorization="Bearer sk-very-secret")
    lines = [json.dumps(getattr(record, "fields", {})) + record.getMessage() for record in caplog.records]
    requests = [record for record in caplog.records if record.name == "muxel.request"]
    assert len(requests) == 2
    assert not any("turquoise" in line or "sk-very" in line or len(line) > 4000 for line in lines)


async def until(holds: Callable[[], Awaitable[object]]) -> None:
    """Asks another process again and again, for there is no event to await; pytest's own timeout is the end of it."""
    for _ in range(500):
        if await holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came to be")


def exposition(world: World) -> str:
    return world.muxel.services.metrics.exposition().decode()


async def test_metrics_count_what_happened(world: World) -> None:
    reply = await world.post(GENERATE, PRODUCT)
    model, provider = reply.headers["x-muxel-model"], reply.headers["x-muxel-provider"]
    text = exposition(world)
    assert 'muxel_requests_total{operation="image.generate",outcome="ok",wire="openai_images"} 1.0' in text
    assert f'muxel_attempts_total{{model="{model}",outcome="ok",provider="{provider}"}} 1.0' in text
    assert "muxel_config_last_reload_successful 1.0" in text
    async with world.http.get(f"{world.muxel.admin_url}/metrics") as served:
        assert "openmetrics" in served.headers["content-type"]


async def test_the_maker_is_named_and_not_the_one_that_failed_after_it(build: Build) -> None:
    world = await build(QUICK_RETRY.replace("max: 4", "max: 2"))
    world.faults.put({"provider": "bfl", "error": 0.5})
    for other in ("bfl-eu", "replicate", "fal", "together"):
        world.faults.put({"provider": other, "down": 1})
    reply = await world.post(GENERATE, PRODUCT | {"n": 8}, x_muxel_model="flux-2-pro")
    assert reply.status == 200
    assert 0 < len((await reply.json())["data"]) < 8
    assert reply.headers["x-muxel-attempts"] == "2"
    assert reply.headers["x-muxel-provider"] == "bfl"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_mistake_of_ours_is_an_answer_and_never_silence(
    world: World, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def mistaken(*_: object, **__: object) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr("proxy.exchange.finish", mistaken)
    async with asyncio.timeout(20):
        reply = await world.post(GENERATE, PRODUCT | {"stream": stream})
    assert reply.status == 500
    assert (await reply.json())["error"]["message"] == "Muxel failed"


# --------------------------------------------------------------------------------------------------------------- jobs


async def submit(world: World, caller: str = "app") -> tuple[str, Running]:
    body = {"prompt": "a lighthouse", "width": 1024, "height": 1024}
    headers = {"x-key": caller, "x-muxel-model": "flux-2-pro@bfl"}
    async with world.http.post(f"{world.muxel.url}/bfl/v1/flux-2-pro", json=body, headers=headers) as reply:
        url: str = (await reply.json())["polling_url"]
    (running,) = world.muxel.services.jobs._jobs.values()
    return url, running


async def polled(world: World, url: str, caller: str = "app") -> tuple[int, str]:
    async with world.http.get(url, headers={"x-key": caller}) as reply:
        return reply.status, (await reply.json())["status"]


async def test_a_job_is_its_callers_alone(world: World) -> None:
    url, running = await submit(world)
    await running.ended.wait()
    assert await polled(world, url) == (200, "Ready")
    assert await polled(world, url, caller="thief") == (404, "Task not found")
    assert await polled(world, url + "x") == (404, "Task not found")


async def test_a_job_holds_the_bytes_of_its_body_until_it_ends(world: World) -> None:
    world.faults.put({"provider": "bfl", "latency": {"p50": 0.3, "p95": 0.3}})
    _, running = await submit(world)
    assert "muxel_body_bytes 0.0" not in exposition(world)
    await running.ended.wait()

    async def given_back() -> bool:
        return "muxel_body_bytes 0.0" in exposition(world)

    await until(given_back)


async def test_any_replica_answers_for_a_job_another_one_started(build: Build, tmp_path: object) -> None:
    key = tmp_path / "seal"  # type: ignore[operator]
    key.write_text(base64.b64encode(b"k" * 32).decode())
    first = await build(seal_key_file=key)
    second = await build(seal_key_file=key, sandbox=first.sandbox)
    url, running = await submit(first)
    await running.ended.wait()
    elsewhere = url.replace(first.muxel.url, second.muxel.url)
    assert await polled(second, elsewhere) == (200, "Ready")
    assert await first.purchases() == {"bfl": 1}


async def test_a_cancelled_prediction_is_stopped_at_the_provider(world: World) -> None:
    world.faults.put({"provider": "replicate", "latency": {"p50": 60, "p95": 60}})
    headers = {"authorization": "Bearer app", "x-muxel-model": "flux-2-pro@replicate"}
    url = f"{world.muxel.url}/replicate/v1/models/black-forest-labs/flux-2-pro/predictions"
    async with world.http.post(url, json={"input": {"prompt": "a fox"}}, headers=headers) as reply:
        prediction = await reply.json()
    async with world.http.post(prediction["urls"]["cancel"], headers=headers) as reply:
        assert (await reply.json())["status"] == "canceled"
    (running,) = world.muxel.services.jobs._jobs.values()
    assert running.outcome is not None
    assert getattr(running.outcome, "cause", None) is Cause.CANCELED


async def test_a_job_that_fails_upstream_is_bought_elsewhere_by_default(build: Build) -> None:
    world = await build(QUICK_RETRY)
    world.faults.put({"provider": "bfl", "error": 1})
    reply = await world.post(GENERATE, PRODUCT, x_muxel_model="flux-2-pro")
    assert reply.status == 200
    assert reply.headers["x-muxel-provider"] not in ("bfl", "sandbox")
