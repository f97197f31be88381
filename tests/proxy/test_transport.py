"""The only HTTP client: what may be reached, what is capped, and what a broken connection means."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from adapters.ir import Cause, Failed, Media, UpstreamCall, UpstreamReply
from policies.catalog import Credential, Provider
from proxy import transport
from proxy.transport import EventStream, Transport, is_public

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Names(AbstractResolver):
    """A DNS in which every name is this machine: what an attacker's record would say."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)]

    async def close(self) -> None: ...


@pytest.fixture
async def client() -> AsyncIterator[Transport]:
    client = Transport(Names())
    yield client
    await client.close()


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Handler], Awaitable[Provider]]]:
    runners: list[web.AppRunner] = []

    async def start(handler: Handler) -> Provider:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = runner.addresses[0][1]
        return Provider("local", "bfl", f"http://127.0.0.1:{port}/v1", Credential(), None, 1, (), 1.0, 5.0)

    yield start
    for runner in runners:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("1.1.1.1", True), ("2606:4700::1111", True), ("127.0.0.1", False), ("10.1.2.3", False), ("192.168.0.1", False),
        ("169.254.169.254", False), ("100.64.0.1", False), ("0.0.0.0", False), ("224.0.0.1", False), ("::1", False),
        ("fe80::1%eth0", False), ("fd00::1", False), ("::ffff:127.0.0.1", False), ("::ffff:1.1.1.1", True),
        ("64:ff9b::7f00:1", False), ("2002:7f00:1::", False),
    ],
)  # fmt: skip
def test_which_addresses_a_url_from_outside_may_lead_to(address: str, public: bool) -> None:
    assert is_public(address) is public


@pytest.mark.parametrize("host", ["internal.test", "127.0.0.1", "localhost"])
async def test_a_url_from_outside_does_not_reach_this_machine(client: Transport, serve: Any, host: str) -> None:
    asked = []

    async def secret(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(body=b"secret")

    provider = await serve(secret)
    port = provider.base_url.rpartition(":")[2].removesuffix("/v1")
    got = await client.fetch(f"http://{host}:{port}/latest/meta-data", None)
    assert got == Failed(Cause.UNAVAILABLE, "the picture could not be fetched: its address is not public")
    assert asked == []


async def test_the_configured_origin_may_be_private_and_is_never_left_by_redirect(
    client: Transport, serve: Any
) -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path == "/v1/away":
            raise web.HTTPFound("http://169.254.169.254/")
        return web.Response(body=b"picture", content_type="image/png")

    provider = await serve(handler)
    assert await client.fetch(f"{provider.base_url}/here", provider) == Media(b"picture", mime="image/png")
    away = await client.fetch(f"{provider.base_url}/away", provider)
    assert away == Failed(Cause.UNAVAILABLE, "fetching the picture was answered 302")


@pytest.mark.parametrize("url", ["file:///etc/hostname", "gopher://x/", "http://", "", "data:image/png;base64,AA=="])
async def test_what_is_no_http_url_is_not_fetched(client: Transport, url: str) -> None:
    assert isinstance(await client.fetch(url, None), Failed)


async def test_a_picture_beyond_the_cap_is_dropped_on_the_way(
    client: Transport, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_PICTURE", 1000)

    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"x" * 100)
        return response

    provider = await serve(handler)
    got = await client.fetch(f"{provider.base_url}/big", provider)
    assert isinstance(got, Failed)
    assert got.cause is Cause.MALFORMED


async def test_a_reply_comes_whole_with_lower_case_headers(client: Transport, serve: Any) -> None:
    async def handler(request: web.Request) -> web.Response:
        assert request.headers["X-Key"] == "k"
        return web.Response(status=429, body=await request.read(), headers={"Retry-After": "3"})

    provider = await serve(handler)
    reply = await client.send(UpstreamCall("POST", f"{provider.base_url}/x", body=b"{}"), {"X-Key": "k"}, provider, 5.0)
    assert isinstance(reply, UpstreamReply)
    assert (reply.status, reply.body, reply.headers["retry-after"]) == (429, b"{}", "3")


async def hang(request: web.Request) -> web.Response:
    await request.read()
    import asyncio

    await asyncio.Event().wait()
    return web.Response()


async def reset(request: web.Request) -> web.Response:
    await request.read()
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def truncate(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"{")
    assert request.transport is not None
    request.transport.close()
    return response


@pytest.mark.parametrize(
    ("handler", "method", "cause"),
    [
        (hang, "POST", Cause.AMBIGUOUS),
        (hang, "GET", Cause.UNAVAILABLE),
        (reset, "POST", Cause.AMBIGUOUS),
        (reset, "GET", Cause.UNAVAILABLE),
        (truncate, "POST", Cause.MALFORMED),
    ],
)
async def test_a_purchase_that_may_have_gone_through_is_ambiguous_and_a_look_is_not(
    client: Transport, serve: Any, handler: Handler, method: str, cause: Cause
) -> None:
    provider = await serve(handler)
    failed = await client.send(UpstreamCall(method, f"{provider.base_url}/x", body=b"{}"), {}, provider, 0.3)
    assert isinstance(failed, Failed)
    assert failed.cause is cause


async def test_a_refused_connection_was_never_a_purchase(client: Transport) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    provider = Provider("gone", "bfl", f"http://127.0.0.1:{port}", Credential(), None, None, (), 1.0, 5.0)
    failed = await client.send(UpstreamCall("POST", f"{provider.base_url}/x", body=b"{}"), {}, provider, 5.0)
    assert isinstance(failed, Failed)
    assert failed.cause is Cause.UNAVAILABLE


async def test_no_failure_tells_the_url(client: Transport, serve: Any) -> None:
    provider = await serve(reset)
    failed = await client.send(UpstreamCall("POST", f"{provider.base_url}/x?sig=SECRET"), {}, provider, 5.0)
    assert isinstance(failed, Failed)
    assert "SECRET" not in failed.message


async def test_a_full_provider_is_waited_for_and_then_left(client: Transport, serve: Any) -> None:
    import asyncio

    provider = await serve(hang)
    call = UpstreamCall("POST", f"{provider.base_url}/x", body=b"{}")
    first = asyncio.ensure_future(client.send(call, {}, provider, 5.0))  # noqa: TID251
    await asyncio.sleep(0)
    second = await client.send(call, {}, provider, 0.1)
    assert second == Failed(Cause.UNAVAILABLE, "all 1 places at local stayed taken")
    first.cancel()


async def test_events_come_one_by_one_whatever_the_chunks(client: Transport, serve: Any) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for chunk in (b"event: a\ndata: 1\n", b"\nda", b"ta: 2\r\n\r\n", b"data: 3"):
            await response.write(chunk)
        return response

    provider = await serve(handler)
    call = UpstreamCall("POST", f"{provider.base_url}/x", body=b"{}", stream=True)
    stream = await client.send(call, {}, provider, 5.0)
    assert isinstance(stream, EventStream)
    assert [event async for event in stream.events] == [b"event: a\ndata: 1", b"data: 2"]
