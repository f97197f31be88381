"""The official OpenAI and Azure OpenAI SDKs, sync and async, as callers of the client face.

A small server stands in for the proxy: it mounts the routes as the proxy does, answers what is made with the wire's own
words, and hands on what is to be passed. So what is shown is that the routes are where the SDKs look for them, and that
an app that also chats, or makes its pictures with the Responses API, gets there and back every byte it would have got.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from aiohttp import ClientSession, web
from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, BadRequestError, NotFoundError, OpenAI

from adapters.ir import (
    Action,
    Artifact,
    Cause,
    ClientCall,
    ClientReply,
    Failure,
    InvalidRequest,
    Media,
    MediaRequest,
    MediaResult,
    Operation,
    Partial,
    Route,
)
from adapters.openai_images import client
from tests.wires.capture import Captured, capture

MODEL = "my-image-model"
VERSION = "2025-04-01-preview"
PNG = b"\x89PNG\r\n\x1a\n..."
RESULT = MediaResult((Artifact(Media(PNG, mime="image/png"), 8, 6),), created=1793145600.0)


@dataclass(frozen=True, slots=True)
class Served:
    """Where the face is, and every request it has read."""

    url: str
    requests: list[MediaRequest] = field(default_factory=list)


@asynccontextmanager
async def served(upstream: str = "", failure: Failure | None = None) -> AsyncIterator[Served]:
    """The face on loopback: answers with RESULT or ``failure``, and passes on to ``upstream``."""
    requests: list[MediaRequest] = []
    app = web.Application()
    mounts = [*(client.PREFIX + version for version in client.VERSIONS), *client.ALIASES]
    async with ClientSession(auto_decompress=False) as session:
        for mount in mounts:
            for route in client.ROUTES:
                if route.action is Action.PASS:
                    handler = _passing(session, upstream, mount)
                else:
                    handler = _making(route, requests, failure)
                app.router.add_route(route.method, mount + route.path, handler)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            host, port = runner.addresses[0][:2]
            yield Served(f"http://{host}:{port}", requests)
        finally:
            await runner.cleanup()


Handler = Callable[[web.Request], Any]


def _making(route: Route, requests: list[MediaRequest], failure: Failure | None) -> Handler:
    async def handle(http: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in http.headers.items()}
        call = ClientCall(http.method, route.name, dict(http.match_info), dict(http.query), headers, await http.read())
        try:
            request = client.read_request(call)
        except InvalidRequest as error:
            told = Failure(Cause.INVALID, error.message, field=error.field, status=error.status)
            return _response(client.write_error(told, None))
        requests.append(request)
        if failure:
            return _response(client.write_error(failure, request))
        if not request.stream:
            return _response(client.write_reply(RESULT, request))
        partials = (Partial(RESULT.artifacts[0], index) for index in range(request.partials))
        events = b"".join(client.write_event(event, request) for event in (*partials, RESULT))
        return web.Response(body=events, content_type="text/event-stream")

    return handle


def _response(reply: ClientReply) -> web.Response:
    return web.Response(
        status=reply.status, body=reply.body, content_type=reply.content_type, headers=dict(reply.headers)
    )


def _passing(session: ClientSession, upstream: str, mount: str) -> Handler:
    async def handle(http: web.Request) -> web.StreamResponse:
        url, body = upstream + http.raw_path.removeprefix(mount), await http.read()
        headers = {
            name: value for name, value in http.headers.items() if name.lower() not in ("host", "content-length")
        }
        async with session.request(http.method, url, data=body, headers=headers) as reply:
            response = web.StreamResponse(status=reply.status, headers={"Content-Type": reply.headers["Content-Type"]})
            await response.prepare(http)
            async for chunk in reply.content.iter_any():
                await response.write(chunk)
            return response

    return handle


def asynchronous(url: str) -> Iterator[AsyncOpenAI]:
    """Every way to point an async SDK at the face; the host alone, or a base URL with prefix and version."""
    azure = {"azure_endpoint": url, "api_version": VERSION}
    yield AsyncOpenAI(api_key="key", base_url=f"{url}/openai/v1")
    yield AsyncOpenAI(api_key="key", base_url=f"{url}/openai")
    yield AsyncOpenAI(api_key="key", base_url=f"{url}/v1")
    yield AsyncAzureOpenAI(api_key="key", **azure)
    yield AsyncAzureOpenAI(azure_ad_token="token", **azure)
    yield AsyncAzureOpenAI(api_key="key", azure_deployment=MODEL, **azure)


def synchronous(url: str) -> Iterator[OpenAI]:
    azure = {"azure_endpoint": url, "api_version": VERSION}
    yield OpenAI(api_key="key", base_url=f"{url}/openai/v1")
    yield OpenAI(api_key="key", base_url=f"{url}/openai")
    yield OpenAI(api_key="key", base_url=f"{url}/v1")
    yield AzureOpenAI(api_key="key", **azure)
    yield AzureOpenAI(azure_ad_token="token", **azure)
    yield AzureOpenAI(api_key="key", azure_deployment=MODEL, **azure)


# ------------------------------------------------------------------------------------------------------------- images

FILE = ("a.png", PNG, "image/png")
EDITED = MediaRequest(Operation.EDIT, prompt="blue", model=MODEL, references=(Media(PNG, mime="image/png"),))


async def test_every_async_client_generates_edits_and_streams() -> None:
    async with served() as face:
        for sdk in asynchronous(face.url):
            async with sdk:
                made = await sdk.images.generate(prompt="a kite", model=MODEL)
                edited = await sdk.images.edit(image=FILE, prompt="blue", model=MODEL)
                stream = await sdk.images.generate(prompt="a kite", model=MODEL, stream=True, partial_images=1)
                kinds = [event.type async for event in stream]
            assert (made.size, edited.size) == ("8x6", "8x6")
            assert kinds == ["image_generation.partial_image", "image_generation.completed"]
        made_here = MediaRequest(Operation.GENERATE, prompt="a kite", model=MODEL)
        streamed = MediaRequest(Operation.GENERATE, prompt="a kite", model=MODEL, stream=True, partials=1)
        assert face.requests == [made_here, EDITED, streamed] * 6


async def test_every_sync_client_generates_edits_and_streams() -> None:
    def use(sdk: OpenAI) -> tuple[str | None, str | None, list[str]]:
        with sdk:
            made = sdk.images.generate(prompt="a kite", model=MODEL)
            edited = sdk.images.edit(image=FILE, prompt="blue", model=MODEL)
            stream = sdk.images.edit(image=[FILE], prompt="blue", model=MODEL, stream=True)
            return made.size, edited.size, [event.type for event in stream]

    async with served() as face:
        for sdk in synchronous(face.url):
            assert await asyncio.to_thread(use, sdk) == ("8x6", "8x6", ["image_edit.completed"])
        assert face.requests[1::3] == [EDITED] * 6


async def test_a_refusal_reaches_every_client_as_one_and_is_not_sent_again() -> None:
    async with served(failure=Failure(Cause.REFUSED, "not this")) as face:
        for sdk in asynchronous(face.url):
            async with sdk:
                with pytest.raises(BadRequestError, match="not this") as caught:
                    await sdk.images.generate(prompt="a kite", model=MODEL)
            assert (caught.value.code, caught.value.type) == ("moderation_blocked", "image_generation_user_error")
        assert len(face.requests) == 6


async def test_a_variation_is_answered_as_retired() -> None:
    async with served() as face, AsyncOpenAI(api_key="key", base_url=f"{face.url}/v1") as sdk:
        with pytest.raises(NotFoundError, match="retired"), pytest.warns(DeprecationWarning, match="deprecated"):
            await sdk.images.create_variation(image=FILE)


# ----------------------------------------------------------------------------------------------------- what is passed

ASKED: dict[str, Any] = {
    "model": "gpt-6",
    "input": "draw a kite",
    "tools": [{"type": "image_generation", "model": "gpt-image-2.5-flare", "partial_images": 1}],
}
CALL = {"id": "ig_1", "type": "image_generation_call"}
DRAWN = {**CALL, "status": "completed", "result": "aGVsbG8=", "revised_prompt": "a red kite"}
REFUSED = {**CALL, "status": "failed", "result": None, "error": {"code": "moderation_blocked", "message": "not this"}}
RESPONSE = {
    "id": "resp_1", "object": "response", "created_at": 1793145600, "status": "completed", "model": "gpt-6",
    "output": [DRAWN, REFUSED], "parallel_tool_calls": True, "tool_choice": "auto", "tools": ASKED["tools"],
}  # fmt: skip
AT = {"item_id": "ig_1", "output_index": 0}
EVENTS: Sequence[Mapping[str, Any]] = (
    {"type": "response.created", "response": {**RESPONSE, "status": "in_progress", "output": []}},
    {"type": "response.image_generation_call.in_progress", **AT},
    {"type": "response.image_generation_call.generating", **AT},
    {
        "type": "response.image_generation_call.partial_image",
        **AT,
        "partial_image_b64": "aGU=",
        "partial_image_index": 0,
    },
    {"type": "response.image_generation_call.completed", **AT},
    {"type": "response.output_item.done", "output_index": 0, "item": DRAWN},
    {"type": "response.completed", "response": RESPONSE},
)
NUMBERED = [{**event, "sequence_number": number} for number, event in enumerate(EVENTS)]
STREAM = b"".join(b"event: %s\ndata: %s\n\n" % (event["type"].encode(), orjson.dumps(event)) for event in NUMBERED)


async def created(url: str, base: str) -> dict[str, Any]:
    async with AsyncOpenAI(api_key="key", base_url=url + base) as sdk:
        return (await sdk.responses.create(**ASKED)).model_dump()


async def streamed(url: str, base: str) -> list[dict[str, Any]]:
    async with AsyncOpenAI(api_key="key", base_url=url + base) as sdk:
        return [event.model_dump() async for event in await sdk.responses.create(**ASKED, stream=True)]


@pytest.mark.parametrize("base", ["/openai/v1", "/openai", "/v1"])
@pytest.mark.parametrize(
    ("use", "kind", "body"),
    [
        pytest.param(created, "application/json", orjson.dumps(RESPONSE), id="whole"),
        pytest.param(streamed, "text/event-stream", STREAM, id="stream"),
    ],
)
async def test_the_image_tool_of_responses_is_to_the_sdk_as_if_we_were_not_there(
    use: Callable[[str, str], Any], kind: str, body: bytes, base: str
) -> None:
    async with capture(body, content_type=kind) as (upstream, captured), served(upstream) as face:
        through, direct = await use(face.url, base), await use(upstream, "")
    assert through == direct
    sent, expected = captured
    assert (sent.method, sent.path, sent.body) == (expected.method, expected.path, expected.body)
    assert sent.path == "/responses"
    assert not face.requests


async def test_the_events_of_responses_survive_byte_for_byte() -> None:
    async with (
        capture(STREAM, content_type="text/event-stream") as (upstream, _),
        served(upstream) as face,
        AsyncOpenAI(api_key="key", base_url=f"{face.url}/openai/v1") as sdk,
        sdk.responses.with_streaming_response.create(**ASKED, stream=True) as raw,
    ):
        assert b"".join([chunk async for chunk in raw.iter_bytes()]) == STREAM


PASSED: Sequence[tuple[str, Callable[[Any], Any]]] = (
    ("/responses", lambda sdk: sdk.responses.create(model="gpt-6", input="hello")),
    ("/responses/resp_1", lambda sdk: sdk.responses.retrieve("resp_1")),
    ("/chat/completions", lambda sdk: sdk.chat.completions.create(model="gpt-6", messages=[])),
    ("/completions", lambda sdk: sdk.completions.create(model="gpt-6", prompt="hello")),
    ("/embeddings", lambda sdk: sdk.embeddings.create(model="e", input="x", encoding_format="float")),
    ("/audio/speech", lambda sdk: sdk.audio.speech.create(model="t", voice="v", input="x")),
    ("/audio/transcriptions", lambda sdk: sdk.audio.transcriptions.create(model="t", file=("a.wav", b"x"))),
    ("/models", lambda sdk: sdk.models.list()),
    ("/models/gpt-6", lambda sdk: sdk.models.retrieve("gpt-6")),
    ("/files", lambda sdk: sdk.files.create(file=("a.txt", b"x"), purpose="vision")),
    ("/files/file-1/content", lambda sdk: sdk.files.content("file-1")),
    ("/batches", lambda sdk: sdk.batches.list()),
    ("/moderations", lambda sdk: sdk.moderations.create(input="x")),
    ("/vector_stores", lambda sdk: sdk.vector_stores.list()),
)


@pytest.mark.parametrize(("path", "use"), PASSED, ids=[path for path, _ in PASSED])
async def test_what_is_no_image_work_is_passed_on(path: str, use: Callable[[Any], Any]) -> None:
    async with capture({"data": []}) as (upstream, captured), served(upstream) as face:
        for sdk in asynchronous(face.url):
            async with sdk:
                await use(sdk)
    assert [call.path.partition("?")[0] for call in captured[:3]] == [path] * 3
    assert all(azure_path(call).endswith(path) for call in captured[3:])
    assert len(captured) == 6


def azure_path(call: Captured) -> str:
    """Without the query, which has to name the version."""
    path, _, query = call.path.partition("?")
    assert f"api-version={VERSION}" in query
    return path


@pytest.mark.parametrize("path", ["/organization/admin_api_keys", "/projects", "/images", "/respond", "/responsesx"])
async def test_what_is_unknown_or_takes_an_administrators_key_is_not_passed_on(path: str) -> None:
    async with capture({}) as (upstream, captured), served(upstream) as face, ClientSession() as session:
        for mount in ("/openai/v1", "/openai", "/v1", "/openai/deployments/d"):
            async with session.get(face.url + mount + path) as reply:
                assert reply.status == 404
    assert not captured
