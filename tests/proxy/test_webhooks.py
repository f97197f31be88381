"""Callers are told of their jobs: signed by their own wire's rules, until it arrives, never anywhere private."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from replicate.webhook import Webhooks as Official
from replicate.webhook import WebhookSigningSecret

from proxy import webhooks
from tests.proxy.conftest import Build, World

INPUT = {"prompt": "a lighthouse above the sea at dusk", "aspect_ratio": "1:1"}
MODEL = "/replicate/v1/models/black-forest-labs/flux-2-pro/predictions"


class Receiver:
    """A caller's own server: what it was sent, and how it answers."""

    def __init__(self) -> None:
        self.url = ""
        self.got: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()
        self.answers: list[int] = []

    async def __call__(self, request: web.Request) -> web.Response:
        self.got.put_nowait((dict(request.headers), await request.read()))
        return web.Response(status=self.answers.pop(0) if self.answers else 200)


@asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    here, app = Receiver(), web.Application()
    app.router.add_post("/hook", here.__call__)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    here.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    try:
        yield here
    finally:
        await runner.cleanup()


async def secret(world: World) -> WebhookSigningSecret:
    url = f"{world.muxel.url}/replicate/v1/webhooks/default/secret"
    async with world.http.get(url, headers={"Authorization": "Bearer app"}) as reply:
        return WebhookSigningSecret(key=(await reply.json())["key"])


async def submit(world: World, hook: str) -> str:
    fields = {"input": INPUT, "webhook": hook, "webhook_events_filter": ["completed"]}
    reply = await world.post(MODEL, fields, Authorization="Bearer app")
    assert reply.status in (201, 202)
    name: str = (await reply.json())["id"]
    return name


async def test_the_official_sdk_verifies_what_a_caller_is_sent_when_its_job_ends(build: Build) -> None:
    async with receiver() as here:
        world = await build(webhook_hosts=("127.0.0.1",))
        name = await submit(world, here.url)
        async with asyncio.timeout(30):
            headers, body = await here.got.get()
        Official.validate(headers=headers, body=body.decode(), secret=await secret(world))
        assert f'"id":"{name}"'.encode() in body
        assert b'"status":"succeeded"' in body


async def test_a_message_that_is_not_taken_is_sent_again(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "DELAYS", (0.01, 0.01))
    async with receiver() as here:
        here.answers = [500, 503]
        world = await build(webhook_hosts=("127.0.0.1",))
        await submit(world, here.url)
        async with asyncio.timeout(30):
            told = [await here.got.get() for _ in range(3)]
        assert len({body for _, body in told}) == 1
        assert b'muxel_webhooks_total{outcome="delivered"} 1.0' in await settled(world)


async def test_a_private_address_that_no_operator_listed_is_never_called(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "DELAYS", ())
    async with receiver() as here:
        world = await build()
        await submit(world, here.url)
        assert b'muxel_webhooks_total{outcome="given_up"} 1.0' in await settled(world)
        assert here.got.empty()


async def settled(world: World) -> bytes:
    """The metrics once nothing is under way any more."""
    await world.muxel.services.jobs.drain(30.0)
    while work := set(world.muxel.services.work):
        await asyncio.wait(work)
    return world.muxel.services.metrics.exposition()
