"""The sandbox over real loopback HTTP: as our own provider faces meet it, and as the official SDK does."""

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from io import BytesIO
from random import Random
from typing import Any

import aiohttp
import openai
import pytest
from PIL import Image, ImageChops, ImageStat

from adapters.ir import (
    Cause,
    Done,
    Failed,
    Media,
    MediaRequest,
    Operation,
    Pending,
    Step,
    Target,
    UpstreamCall,
    UpstreamReply,
)
from adapters.registry import WIRES, Wire
from proxy.sandbox.address import sandbox_base_url
from proxy.sandbox.app import RunningSandbox, start
from proxy.sandbox.faults import Faults, Rule

PROVIDERS = {"openai": "openai_images", "google": "gemini", "bfl": "bfl", "replicate": "replicate"}
REAL = {
    "openai": "https://api.openai.com/v1",
    "google": "https://generativelanguage.googleapis.com/v1beta",
    "bfl": "https://api.bfl.ai/v1",
    "replicate": "https://api.replicate.com/v1",
}
MODELS = {"openai": "gpt-image-2", "google": "gemini-3-pro-image", "bfl": "flux-2-pro", "replicate": "bfl/flux-schnell"}
OPTIONS = {"replicate": {"inputs": {"prompt": "prompt", "size": "width,height", "references": "image"}}}
SMALL = MediaRequest(Operation.GENERATE, prompt="a red barn", size=(96, 64), seed=3)
every_provider = pytest.mark.parametrize("name", PROVIDERS)


@pytest.fixture
async def sandbox() -> AsyncIterator[RunningSandbox]:
    running = await serve()
    yield running
    await running.close()


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def serve(**settings: Any) -> RunningSandbox:
    providers: dict[str, Wire] = {name: WIRES[wire] for name, wire in PROVIDERS.items()}
    defaults = {"faults": Faults([Rule(refuse_words=("forbidden-sandbox-word",))]), "rng": Random(1)}
    return await start("127.0.0.1", 0, providers, **(defaults | settings))


async def send(client: aiohttp.ClientSession, call: UpstreamCall, headers: dict[str, str]) -> UpstreamReply:
    sent = {**call.headers, **headers}
    async with client.request(call.method, call.url, data=call.body or None, headers=sent) as reply:
        return UpstreamReply(reply.status, {k.lower(): v for k, v in reply.headers.items()}, await reply.read())


async def obtain(
    client: aiohttp.ClientSession, sandbox: RunningSandbox, name: str, request: MediaRequest = SMALL, fault: str = ""
) -> Step:
    """One picture through the provider's own face, polled to the end where it is a job."""
    wire = WIRES[PROVIDERS[name]]
    assert wire.provider is not None
    target = Target(sandbox_base_url(sandbox.url, name, REAL[name]), MODELS[name], OPTIONS.get(name, {}))
    headers = {"x-sandbox-fault": fault} if fault else {}
    step = wire.provider.read_reply(await send(client, wire.provider.write_request(request, target), headers))
    handle: Mapping[str, Any] = {}
    while isinstance(step, Pending):
        assert wire.polling is not None
        handle = step.handle or handle
        step = wire.provider.read_reply(await send(client, wire.polling.poll(handle, target), {}))
    return step


async def picture_of(client: aiohttp.ClientSession, step: Step) -> Image.Image:
    assert isinstance(step, Done), step
    media = step.artifacts[0].media
    if media.url:
        async with client.get(media.url) as reply:
            return Image.open(BytesIO(await reply.read()))
    return Image.open(BytesIO(media.data))


async def control(client: aiohttp.ClientSession, sandbox: RunningSandbox, method: str, path: str, **given: Any) -> Any:
    async with client.request(method, f"{sandbox.url}/_sandbox/{path}", **given) as reply:
        return await reply.json()


@pytest.mark.parametrize(
    ("real", "url"),
    [
        ("https://api.openai.com/v1", "http://localhost:1/p/v1"),
        ("https://host/v1beta/", "http://localhost:1/p/v1beta"),
        ("https://host", "http://localhost:1/p"),
    ],
)
def test_a_provider_keeps_the_path_of_its_base_url(real: str, url: str) -> None:
    assert sandbox_base_url("http://localhost:1/", "p", real) == url


# --------------------------------------------------------------------------------------------------------- the pictures


@every_provider
async def test_every_wire_gives_a_real_picture(
    client: aiohttp.ClientSession, sandbox: RunningSandbox, name: str
) -> None:
    image = await picture_of(client, await obtain(client, sandbox, name))
    image.load()
    expected = (1254, 836) if name == "google" else (96, 64)  # that wire says no pixels: 3:2 at 1K
    assert image.size == expected


@every_provider
async def test_every_wire_carries_a_reference_there(
    client: aiohttp.ClientSession, sandbox: RunningSandbox, name: str
) -> None:
    out = BytesIO()
    Image.new("RGB", (80, 80), "black").save(out, "PNG")
    request = MediaRequest(
        Operation.EDIT, prompt="x", size=(80, 80), references=(Media(data=out.getvalue(), mime="image/png"),)
    )
    image = (await picture_of(client, await obtain(client, sandbox, name, request))).convert("L")
    assert sum(image.histogram()[:100]) > 0.6 * image.width * image.height


async def test_several_pictures_count_the_seed_up(client: aiohttp.ClientSession, sandbox: RunningSandbox) -> None:
    body = {"version": "a/b", "input": {"prompt": "x", "num_outputs": 3, "width": 64, "height": 64, "seed": 1}}
    headers = {"Prefer": "wait=5"}
    async with client.post(f"{sandbox.url}/replicate/v1/predictions", json=body, headers=headers) as reply:
        urls = (await reply.json())["output"]
    pictures = []
    for url in urls:
        assert url.startswith(f"{sandbox.url}/replicate/files/")
        async with client.get(url) as reply:
            pictures.append(await reply.read())
    assert len(set(pictures)) == 3


async def test_the_official_sdk_gets_a_picture(sandbox: RunningSandbox) -> None:
    async with openai.AsyncOpenAI(base_url=f"{sandbox.url}/openai/v1", api_key="none", max_retries=0) as sdk:
        made = await sdk.images.generate(model="gpt-image-2", prompt="a cat", size="64x96", n=2, output_format="webp")
    images = [Image.open(BytesIO(base64.b64decode(item.b64_json or ""))) for item in made.data or ()]
    assert [(image.format, image.size) for image in images] == [("WEBP", (64, 96))] * 2


async def test_the_official_sdk_streams_partials_that_grow_sharper(sandbox: RunningSandbox) -> None:
    async with openai.AsyncOpenAI(base_url=f"{sandbox.url}/openai/v1", api_key="none", max_retries=0) as sdk:
        stream = await sdk.images.generate(
            model="gpt-image-2", prompt="a poster", size="512x512", stream=True, partial_images=2
        )
        events = [event async for event in stream]
    kinds = ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [event.type for event in events] == kinds
    first, second, whole = (Image.open(BytesIO(base64.b64decode(event.b64_json))).convert("L") for event in events)
    blur = [ImageStat.Stat(ImageChops.difference(partial, whole)).mean[0] for partial in (first, second)]
    assert blur[0] > blur[1] > 0


async def test_an_uploaded_file_can_be_named_in_a_prediction(
    client: aiohttp.ClientSession, sandbox: RunningSandbox
) -> None:
    out = BytesIO()
    Image.new("RGB", (70, 50), "navy").save(out, "PNG")
    form = aiohttp.FormData()
    form.add_field("content", out.getvalue(), filename="navy.png", content_type="image/png")
    async with client.post(f"{sandbox.url}/replicate/v1/files", data=form) as reply:
        url = (await reply.json())["urls"]["get"]
    async with client.get(url) as reply:
        assert await reply.read() == out.getvalue()
    edit = MediaRequest(Operation.EDIT, prompt="x", references=(Media(url=url),))
    wire = WIRES["replicate"]
    assert wire.provider is not None
    target = Target(f"{sandbox.url}/replicate/v1", "a/b", {"inputs": {"references": "image"}, "wait": 5})
    step = wire.provider.read_reply(await send(client, wire.provider.write_request(edit, target), {}))
    assert (await picture_of(client, step)).size == (70, 50)


async def test_a_url_of_anybody_else_is_not_fetched(client: aiohttp.ClientSession, sandbox: RunningSandbox) -> None:
    edit = MediaRequest(Operation.EDIT, prompt="x", references=(Media(url="http://example.com/cat.png"),))
    step = await obtain(client, sandbox, "bfl", edit)
    assert isinstance(step, Failed)
    assert "the sandbox fetches no URL" in step.message


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/openai/v1/images/generations", {"prompt": "x", "size": "16000x16000"}),
        ("/bfl/v1/flux-2-pro", {"prompt": "x", "width": 16000, "height": 16000}),
    ],
)
async def test_a_picture_beyond_all_bounds_is_turned_down_at_once(
    client: aiohttp.ClientSession, sandbox: RunningSandbox, path: str, body: dict[str, Any]
) -> None:
    async with client.post(sandbox.url + path, json=body) as reply:
        assert reply.status == 400
        assert "at most 34000000 pixels" in await reply.text()


# ----------------------------------------------------------------------------------------------------------------- jobs


class Gate:
    """A sleep that lasts until it is let go, so that a job can be looked at while it runs."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.entered = asyncio.Event()

    async def sleep(self, _: float) -> None:
        self.entered.set()
        await self.open.wait()


@pytest.fixture
async def gated() -> AsyncIterator[tuple[RunningSandbox, Gate]]:
    gate = Gate()
    running = await serve(sleep=gate.sleep)
    yield running, gate
    gate.open.set()
    await running.close()


async def test_a_job_is_pending_until_its_time_has_come(
    client: aiohttp.ClientSession, gated: tuple[RunningSandbox, Gate]
) -> None:
    sandbox, gate = gated
    async with client.post(
        f"{sandbox.url}/bfl/v1/flux-2-pro", json={"prompt": "x", "width": 64, "height": 64}
    ) as reply:
        url = (await reply.json())["polling_url"]
    await gate.entered.wait()
    async with client.get(url) as reply:
        assert (await reply.json())["status"] == "Pending"
    gate.open.set()
    status = "Pending"
    while status == "Pending":
        async with client.get(url) as reply:
            status = (await reply.json())["status"]
    assert status == "Ready"


async def test_a_canceled_job_stays_canceled(client: aiohttp.ClientSession, gated: tuple[RunningSandbox, Gate]) -> None:
    sandbox, gate = gated
    body = {"input": {"prompt": "x", "width": 64, "height": 64}}
    async with client.post(f"{sandbox.url}/replicate/v1/models/a/b/predictions", json=body) as reply:
        assert reply.status == 202
        urls = (await reply.json())["urls"]
    await gate.entered.wait()
    async with client.post(urls["cancel"]) as reply:
        assert (await reply.json())["status"] == "canceled"
    gate.open.set()
    async with client.get(urls["get"]) as reply:
        assert (await reply.json())["status"] == "canceled"


@pytest.mark.parametrize(
    ("path", "status"), [("/bfl/v1/get_result?id=nobody", 404), ("/replicate/v1/predictions/nobody", 404)]
)
async def test_an_unknown_job_is_answered_as_the_wire_does(
    client: aiohttp.ClientSession, sandbox: RunningSandbox, path: str, status: int
) -> None:
    async with client.get(sandbox.url + path) as reply:
        assert reply.status == status
        body = await reply.json(content_type=None)
    assert body.get("status") in ("Task not found", 404)


async def test_a_job_of_one_provider_is_unknown_to_another(client: aiohttp.ClientSession) -> None:
    sandbox = await start("127.0.0.1", 0, {"one": WIRES["bfl"], "two": WIRES["bfl"]})
    try:
        async with client.post(f"{sandbox.url}/one/v1/flux-2-pro", json={"prompt": "x"}) as reply:
            url = (await reply.json())["polling_url"]
        async with client.get(url.replace("/one/", "/two/")) as reply:
            assert reply.status == 404
    finally:
        await sandbox.close()


# --------------------------------------------------------------------------------------------------------------- faults


@every_provider
@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("denied", Cause.DENIED),
        ("throttle=7", Cause.THROTTLED),
        ("error", Cause.UNAVAILABLE),
        ("down", Cause.UNAVAILABLE),
        ("refuse", Cause.REFUSED),
    ],
)
async def test_a_fault_is_read_as_its_cause_on_every_wire(
    client: aiohttp.ClientSession, sandbox: RunningSandbox, name: str, fault: str, cause: Cause
) -> None:
    step = await obtain(client, sandbox, name, fault=fault)
    assert isinstance(step, Failed), step
    assert step.cause is cause
    assert step.retry_after == (7 if cause is Cause.THROTTLED else None)


@every_provider
async def test_a_forbidden_word_is_refused_on_every_wire(
    client: aiohttp.ClientSession, sandbox: RunningSandbox, name: str
) -> None:
    request = MediaRequest(Operation.GENERATE, prompt="a forbidden-sandbox-word", size=(96, 64))
    step = await obtain(client, sandbox, name, request)
    assert isinstance(step, Failed), step
    assert step.cause is Cause.REFUSED


@every_provider
async def test_an_empty_success_has_no_picture_in_it(
    client: aiohttp.ClientSession, sandbox: RunningSandbox, name: str
) -> None:
    step = await obtain(client, sandbox, name, fault="empty")
    match step:
        case Failed(cause=cause):
            assert cause is Cause.MALFORMED
        case Done(artifacts=(artifact, *_)):
            assert not artifact.media.data
            assert artifact.media.url in ("", "data:image/png;base64,")
        case _:
            pytest.fail(f"neither failed nor done: {step}")


GENERATE = {"prompt": "x", "size": "64x64"}


async def test_a_reset_connection_gives_no_answer(client: aiohttp.ClientSession, sandbox: RunningSandbox) -> None:
    url = f"{sandbox.url}/openai/v1/images/generations"
    with pytest.raises((aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
        await client.post(url, json=GENERATE, headers={"x-sandbox-fault": "reset"})


@pytest.mark.parametrize("stream", [False, True])
async def test_a_truncated_answer_ends_half_way(
    client: aiohttp.ClientSession, sandbox: RunningSandbox, stream: bool
) -> None:
    url = f"{sandbox.url}/openai/v1/images/generations"
    body = {**GENERATE, "stream": stream, "partial_images": 0}
    async with client.post(url, json=body, headers={"x-sandbox-fault": "truncate"}) as reply:
        assert reply.status == 200
        with pytest.raises(aiohttp.ClientPayloadError):
            await reply.read()


async def test_a_hanging_request_ends_with_the_caller_and_not_before(
    client: aiohttp.ClientSession, sandbox: RunningSandbox
) -> None:
    url = f"{sandbox.url}/openai/v1/images/generations"
    with pytest.raises(TimeoutError):
        await client.post(
            url, json=GENERATE, headers={"x-sandbox-fault": "hang"}, timeout=aiohttp.ClientTimeout(total=0.2)
        )
    assert isinstance(await obtain(client, sandbox, "openai"), Done)


async def test_a_latency_by_header_is_slept(client: aiohttp.ClientSession) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    sandbox = await serve(sleep=sleep, clock=lambda: 1000.0)
    try:
        await obtain(client, sandbox, "openai", fault="latency=30")
        assert slept == [30]
    finally:
        await sandbox.close()


async def test_a_header_that_names_no_fault_is_answered_with_an_error(
    client: aiohttp.ClientSession, sandbox: RunningSandbox
) -> None:
    url = f"{sandbox.url}/openai/v1/images/generations"
    async with client.post(url, json=GENERATE, headers={"x-sandbox-fault": "sulk"}) as reply:
        assert reply.status == 400
        assert (await reply.json())["error"]["param"] == "x-sandbox-fault"


async def test_one_provider_can_be_killed_and_revived_at_run_time(
    client: aiohttp.ClientSession, sandbox: RunningSandbox
) -> None:
    shown = await control(client, sandbox, "PUT", "faults", json={"provider": "bfl", "down": 1})
    assert shown["put"] == {"bfl": {"provider": "bfl", "down": 1}}
    dead, alive = await obtain(client, sandbox, "bfl"), await obtain(client, sandbox, "openai")
    assert isinstance(dead, Failed)
    assert isinstance(alive, Done)
    assert (await control(client, sandbox, "GET", "faults"))["put"]
    await control(client, sandbox, "DELETE", "faults", params={"provider": "bfl"})
    assert isinstance(await obtain(client, sandbox, "bfl"), Done)


@pytest.mark.parametrize("body", [b"{", b'{"provider": "bfl", "dwon": 1}', b'{"down": 1}'])
async def test_a_fault_that_cannot_be_put_says_why(
    client: aiohttp.ClientSession, sandbox: RunningSandbox, body: bytes
) -> None:
    async with client.put(f"{sandbox.url}/_sandbox/faults", data=body) as reply:
        assert reply.status == 400
        assert "error" in await reply.json()


async def test_polls_fail_without_harm_to_the_job(client: aiohttp.ClientSession, sandbox: RunningSandbox) -> None:
    async with client.post(
        f"{sandbox.url}/bfl/v1/flux-2-pro", json={"prompt": "x", "width": 64, "height": 64}
    ) as reply:
        url = (await reply.json())["polling_url"]
    await control(client, sandbox, "PUT", "faults", json={"provider": "bfl", "poll_error": 1})
    async with client.get(url) as reply:
        assert reply.status == 500
    await control(client, sandbox, "DELETE", "faults")
    async with client.get(url) as reply:
        assert (await reply.json())["status"] in ("Pending", "Ready")


@pytest.mark.parametrize(("headers", "status"), [({}, 401), ({"Authorization": "Bearer any"}, 200)])
async def test_a_key_is_needed_only_where_it_is_required(
    client: aiohttp.ClientSession, sandbox: RunningSandbox, headers: dict[str, str], status: int
) -> None:
    await control(client, sandbox, "PUT", "faults", json={"provider": "openai", "require_key": True})
    async with client.post(f"{sandbox.url}/openai/v1/images/generations", json=GENERATE, headers=headers) as reply:
        assert reply.status == status


# ------------------------------------------------------------------------------------------------------ the request log


async def test_requests_are_counted_and_kept_without_credentials(
    client: aiohttp.ClientSession, sandbox: RunningSandbox
) -> None:
    await obtain(client, sandbox, "bfl")
    async with client.post(
        f"{sandbox.url}/openai/v1/images/generations", json=GENERATE, headers={"Authorization": "Bearer sk-hidden"}
    ) as reply:
        assert reply.status == 200
    counts = (await control(client, sandbox, "GET", "requests"))["counts"]
    assert counts["bfl"]["creates"] == 1
    assert counts["bfl"]["count"] >= 2  # and its polls
    log = await control(client, sandbox, "GET", "requests", params={"provider": "openai"})
    assert (log["count"], log["creates"]) == (1, 1)
    (entry,) = log["requests"]
    assert (entry["method"], entry["path"]) == ("POST", "/openai/v1/images/generations")
    assert entry["fields"] == ["prompt", "size"]
    assert entry["bytes"] > 20
    assert "hidden" not in str(log)


async def test_an_address_that_is_taken_is_an_error(sandbox: RunningSandbox) -> None:
    port = int(sandbox.url.rpartition(":")[2])
    with pytest.raises(OSError, match="address"):
        await start("127.0.0.1", port, {"openai": WIRES["openai_images"]})
