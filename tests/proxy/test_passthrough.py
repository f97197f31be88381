"""Calls that ask for no media work reach the wire's own provider as they are, and nothing else does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from yarl import URL

from adapters.registry import WIRES
from proxy.passthrough import upstream_url
from tests.proxy.conftest import Build

PROVIDER = """
apiVersion: muxel.dev/v1alpha1
kind: Provider
metadata: {{name: openai}}
spec:
  wire: openai_images
  baseUrl: {url}/v1
  credential: {{file: openai}}
  passThrough: {mode}
"""
EVENTS = (b"event: response.created\ndata: {}\n\n", b"event: response.completed\ndata: {}\n\n")


@asynccontextmanager
async def provider() -> AsyncIterator[tuple[str, list[tuple[str, dict[str, str], bytes]]]]:
    """A provider that answers with two events; its URL and what it was sent."""
    seen: list[tuple[str, dict[str, str], bytes]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        seen.append((f"{request.method} {request.raw_path}", headers, await request.read()))
        response = web.StreamResponse(status=201, headers={"Content-Type": "text/event-stream", "x-request-id": "r1"})
        await response.prepare(request)
        for event in EVENTS:
            await response.write(event)
        return response

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}", seen
    finally:
        await runner.cleanup()


async def test_a_call_is_handed_on_byte_for_byte_with_the_callers_own_key(build: Build) -> None:
    async with provider() as (url, seen):
        world = await build(PROVIDER.format(url=url, mode="callersKey"), sandbox="never")
        headers = {"Authorization": "Bearer app", "x-muxel-tier": "draft", "Connection": "close"}
        target = URL(f"{world.muxel.url}/openai/v1/responses?include%5B%5D=a%2Fb", encoded=True)
        async with world.http.post(target, data=b'{"input": "hi"}', headers=headers) as reply:
            assert (reply.status, reply.headers["x-request-id"]) == (201, "r1")
            assert await reply.read() == b"".join(EVENTS)
            assert reply.headers["x-muxel-decision"]
    [(line, sent, body)] = seen
    assert line == "POST /v1/responses?include%5B%5D=a%2Fb"
    assert body == b'{"input": "hi"}'
    assert sent["authorization"] == "Bearer app"
    assert not [name for name in sent if name.startswith("x-muxel-")]


async def test_our_key_takes_the_place_of_the_callers_where_the_operator_says_so(build: Build, tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "openai").write_text("ours")
    async with provider() as (url, seen):
        policy = PROVIDER.format(url=url, mode="ownKey")
        world = await build(policy, sandbox="never", credentials=tmp_path / "keys")
        async with world.http.get(f"{world.muxel.url}/v1/models", headers={"Authorization": "Bearer app"}) as reply:
            assert reply.status == 201
    [(line, sent, _)] = seen
    assert line == "GET /v1/models"
    assert sent["authorization"] == "Bearer ours"


async def test_nothing_is_handed_on_where_no_provider_takes_it(build: Build) -> None:
    async with provider() as (url, seen):
        world = await build(PROVIDER.format(url=url, mode="none"), sandbox="never")
        async with world.http.post(f"{world.muxel.url}/openai/v1/responses", json={}) as reply:
            assert reply.status == 404
            error = (await reply.json())["error"]
    assert "/responses" in error["message"]
    assert error["code"] == "not_passed_through"
    assert not seen


async def test_a_provider_that_is_not_there_is_an_error_in_the_callers_shape(build: Build) -> None:
    world = await build(PROVIDER.format(url="http://127.0.0.1:9", mode="callersKey"), sandbox="never")
    async with world.http.post(f"{world.muxel.url}/openai/v1/responses", json={}) as reply:
        assert reply.status == 503
        assert "did not get through" in (await reply.json())["error"]["message"]


@pytest.mark.parametrize(
    ("wire", "base_url", "version", "path", "url"),
    [
        ("openai_images", "https://api.openai.com/v1", "/v1", "/models", "https://api.openai.com/v1/models"),
        ("openai_images", "https://api.openai.com/v1", "", "/models", "https://api.openai.com/v1/models"),
        ("gemini", "https://g.example/v1beta", "/v1alpha", "/models/m:countTokens", "https://g.example/v1alpha/models/m:countTokens"),
        ("openai_images", "https://gateway.example/llm", "/v1", "/models?a=b", "https://gateway.example/llm/models?a=b"),
    ],
)  # fmt: skip
def test_the_callers_api_version_wins_where_the_base_url_has_one(
    wire: str, base_url: str, version: str, path: str, url: str
) -> None:
    face = WIRES[wire].client
    assert face is not None
    assert upstream_url(base_url, version, path, face) == url
