"""Request bodies, admitted by their size before they are read.

``app`` reads every body through here. One request may not be larger than a limit, and all that are held at once may not
be larger than a budget: memory is reserved first and read second. Must not look inside.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from adapters.ir import InvalidRequest
from proxy.metrics import Metrics


class Bodies:
    """The byte budget of a process."""

    def __init__(self, limit: int, budget: int, metrics: Metrics) -> None:
        self._limit = limit
        self._free = budget
        self._gauge = metrics.body_bytes

    @asynccontextmanager
    async def read(self, request: web.Request) -> AsyncIterator[bytes]:
        """The body, whose bytes count until the block ends. Raises InvalidRequest with the status to answer: 413 too
        large, 415 compressed, 429 the budget is spent."""
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise InvalidRequest("content-encoding", "send the body without Content-Encoding", status=415)
        reserved = 0

        def reserve(size: int) -> None:
            nonlocal reserved
            if reserved + size > self._limit:
                raise InvalidRequest("body", f"the body is larger than {self._limit} bytes", status=413)
            if size > self._free:
                raise InvalidRequest("body", "too many large requests are under way; try again", status=429)
            reserved += size
            self._free -= size
            self._gauge.inc(size)

        try:
            declared = request.content_length or 0
            reserve(declared)
            yield await _read(request, declared, reserve)
        finally:
            self._free += reserved
            self._gauge.dec(reserved)


async def _read(request: web.Request, declared: int, reserve: Callable[[int], None]) -> bytes:
    """Apart from the block that holds the body, so that the chunks are gone while it is held."""
    body, reserved = bytearray(), declared
    async for chunk in request.content.iter_any():
        if (beyond := len(body) + len(chunk) - reserved) > 0:
            reserve(beyond)
            reserved += beyond
        body += chunk
    return bytes(body)
