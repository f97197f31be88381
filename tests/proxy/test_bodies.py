"""The byte budget of request bodies: taken before a byte is read, and given back whatever happens."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from adapters.ir import InvalidRequest
from proxy import app
from proxy.bodies import Bodies
from proxy.exchange import Streaming
from proxy.metrics import Metrics
from tests.proxy.conftest import Build

LIMIT, BUDGET = 1000, 1500


@dataclass
class Budget:
    bodies: Bodies
    metrics: Metrics

    @property
    def held(self) -> float:
        held = self.metrics.registry.get_sample_value("muxel_body_bytes")
        assert held is not None
        return held


@pytest.fixture
def budget() -> Budget:
    metrics = Metrics()
    return Budget(Bodies(LIMIT, BUDGET, metrics), metrics)


@dataclass
class Arriving:
    """As much of a request as a body needs; notes what was held each time more of it was asked for."""

    budget: Budget
    chunks: Sequence[bytes]
    declared: int | None = None
    encoding: str = "identity"
    held: list[float] = field(default_factory=list)

    @property
    def request(self) -> web.Request:
        return cast(web.Request, self)

    @property
    def headers(self) -> dict[str, str]:
        return {"Content-Encoding": self.encoding}

    @property
    def content_length(self) -> int | None:
        return self.declared

    @property
    def content(self) -> "Arriving":
        return self

    async def iter_any(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            self.held.append(self.budget.held)
            yield chunk
        self.held.append(self.budget.held)


def body(size: int) -> bytes:
    return b"x" * size


@pytest.mark.parametrize(
    ("declared", "chunks", "held"),
    [
        (1000, [body(400), body(600)], [1000, 1000, 1000]),  # all of it before the first byte
        (None, [body(400), body(600)], [0, 400, 1000]),  # chunked: as it comes
        (None, [body(1000)], [0, 1000]),
        (None, [], [0]),
        (0, [], [0]),
    ],
)
async def test_bytes_are_reserved_before_they_are_read_and_held_to_the_end(
    budget: Budget, declared: int | None, chunks: list[bytes], held: list[float]
) -> None:
    arriving = Arriving(budget, chunks, declared)
    async with budget.bodies.read(arriving.request) as read:
        assert read == b"".join(chunks)
        assert budget.held == len(read)
    assert arriving.held == held
    assert budget.held == 0


@pytest.mark.parametrize(
    ("declared", "chunks", "encoding", "status", "name", "read"),
    [
        (1001, [body(1001)], "identity", 413, "body", 0),
        (10**12, [], "identity", 413, "body", 0),
        (None, [body(400), body(601), body(1)], "identity", 413, "body", 2),
        (10, [body(10)], "gzip", 415, "content-encoding", 0),
        (10, [body(10)], "br, identity", 415, "content-encoding", 0),
        (501, [body(501)], "identity", 429, "body", 0),
        (None, [body(300), body(201), body(1)], "identity", 429, "body", 2),
    ],
)
async def test_what_cannot_be_admitted_is_refused_at_once_and_leaves_nothing_behind(
    budget: Budget, declared: int | None, chunks: list[bytes], encoding: str, status: int, name: str, read: int
) -> None:
    arriving = Arriving(budget, chunks, declared, encoding)
    async with budget.bodies.read(Arriving(budget, [], LIMIT).request):
        with pytest.raises(InvalidRequest) as refused:
            async with budget.bodies.read(arriving.request):
                pytest.fail("it was admitted")
        assert (refused.value.status, refused.value.field) == (status, name)
        assert len(arriving.held) == read
        assert budget.held == LIMIT
    assert budget.held == 0


@pytest.mark.parametrize("error", [ValueError, InvalidRequest, asyncio.CancelledError, GeneratorExit])
async def test_the_budget_is_given_back_on_every_way_out(budget: Budget, error: type[BaseException]) -> None:
    raised = InvalidRequest("prompt", "no") if error is InvalidRequest else error()

    async def leave() -> None:
        async with budget.bodies.read(Arriving(budget, [body(LIMIT)]).request):
            assert budget.held == LIMIT
            raise raised

    for _ in range(3):  # together more than there is
        with pytest.raises(error):
            await leave()
        assert budget.held == 0


# ------------------------------------------------------------------------------------------------------------ over HTTP


@dataclass
class Held:
    """A server that holds every body it was sent until ``release``, and tells when it begins and ends with one."""

    budget: Budget
    url: str = ""
    begun: asyncio.Queue[None] = field(default_factory=asyncio.Queue)
    ended: asyncio.Queue[None] = field(default_factory=asyncio.Queue)
    has_read: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.Response:
        self.begun.put_nowait(None)
        try:
            async with self.budget.bodies.read(request) as read:
                self.has_read.set()
                await self.release.wait()
                return web.Response(text=str(len(read)))
        except InvalidRequest as error:
            return web.Response(status=error.status)
        finally:
            self.ended.put_nowait(None)


@asynccontextmanager
async def holding(budget: Budget) -> AsyncIterator[tuple[Held, ClientSession]]:
    held = Held(budget)
    application = web.Application(client_max_size=LIMIT)
    application.router.add_post("/", held.handle)
    async with asyncio.timeout(30), TestServer(application) as server, ClientSession() as http:
        held.url = str(server.make_url("/"))
        yield held, http


async def post(held: Held, http: ClientSession, size: int) -> tuple[int, str]:
    async with http.post(held.url, data=body(size)) as reply:
        return reply.status, await reply.text()


async def test_bodies_beyond_the_budget_are_told_to_come_back_while_another_is_held(budget: Budget) -> None:
    async with holding(budget) as (held, http), asyncio.TaskGroup() as group:
        first = group.create_task(post(held, http, LIMIT))
        await held.has_read.wait()
        assert [await post(held, http, 501) for _ in range(3)] == [(429, "")] * 3
        held.release.set()
        assert await first == (200, "1000")
        assert await post(held, http, LIMIT) == (200, "1000")
        assert budget.held == 0


async def test_a_body_announced_counts_before_it_comes_and_no_longer_once_its_sender_hung_up(budget: Budget) -> None:
    async with holding(budget) as (held, http):
        host, _, port = held.url.removeprefix("http://").rstrip("/").rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(f"POST / HTTP/1.1\r\nHost: muxel\r\nContent-Length: {LIMIT}\r\n\r\nx".encode())
        await held.begun.get()
        assert budget.held == LIMIT
        assert await post(held, http, 501) == (429, "")
        await held.ended.get()
        writer.close()
        await writer.wait_closed()
        await held.ended.get()
        assert budget.held == 0


async def test_the_body_of_a_streamed_answer_counts_until_the_stream_ends(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = await build()
    gauge = Budget(cast(Bodies, None), world.muxel.services.metrics)
    held: list[float] = []
    stream = app._stream

    async def noted(request: web.Request, streaming: Streaming) -> Any:
        held.append(gauge.held)
        return await stream(request, streaming)

    monkeypatch.setattr(app, "_stream", noted)
    reply = await world.post("/v1/images/generations", {"prompt": "a fox", "stream": True})
    assert reply.content_type == "text/event-stream"
    assert held[0] > 0
    assert gauge.held == 0
