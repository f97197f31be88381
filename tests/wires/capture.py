"""A loopback server that keeps what an official SDK sends: the oracle for what our provider faces send.

Used by the ``test_sdk_*`` modules of this folder.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import web

from adapters.forms import read_multipart
from adapters.ir import ClientReply

Part = tuple[str, str, bytes]  # name, mime, value: a file name says nothing to any provider


@dataclass(frozen=True, slots=True)
class Captured:
    """One HTTP request as it came over the wire; header names in lower case."""

    method: str
    path: str  # with the query
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return orjson.loads(self.body)

    def parts(self) -> list[Part]:
        return multipart_parts(self.body, self.headers["content-type"])


def multipart_parts(body: bytes, content_type: str) -> list[Part]:
    """The parts of a multipart body in order of their name; those of one name keep the order they were sent in."""
    parts = [(name, mime, value) for name, _, mime, value in read_multipart(body, content_type)]
    return sorted(parts, key=lambda part: part[0])


@asynccontextmanager
async def capture(
    *replies: bytes | Mapping[str, Any] | ClientReply, content_type: str = "application/json"
) -> AsyncIterator[tuple[str, Sequence[Captured]]]:
    """Serve ``replies`` in turn, the last one for ever; yields the base URL and what has been captured so far."""
    captured: list[Captured] = []

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        captured.append(Captured(request.method, request.raw_path, headers, await request.read()))
        reply = replies[min(len(captured), len(replies)) - 1]
        if isinstance(reply, ClientReply):
            headers = {**reply.headers, "Content-Type": reply.content_type}
            return web.Response(status=reply.status, body=reply.body, headers=headers)
        body = reply if isinstance(reply, bytes) else orjson.dumps(reply)
        return web.Response(body=body, content_type=content_type)

    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"http://{host}:{port}", captured
    finally:
        await runner.cleanup()
