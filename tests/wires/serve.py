"""A loopback server in the proxy's stead, for an official SDK to call a client face.

It mounts a wire's routes as the proxy does and answers what is made with the wire's own words. Used by the
``test_sdk_*`` modules of this folder.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from adapters.ir import (
    Action,
    Cause,
    ClientCall,
    ClientReply,
    Failure,
    InvalidRequest,
    MediaRequest,
    MediaResult,
    PassThrough,
    Route,
)
from adapters.registry import Wire


@dataclass(frozen=True, slots=True)
class Served:
    """Where the face is, every request it has read, and every path that was to be passed on."""

    url: str
    requests: list[MediaRequest] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)


@asynccontextmanager
async def served(wire: Wire, outcome: MediaResult | Failure, passed_answer: Any = None) -> AsyncIterator[Served]:
    """The face on loopback: it answers with ``outcome``, and what is to be passed on with ``passed_answer``."""
    face: Any = wire.client
    app = web.Application()
    runner = web.AppRunner(app)
    requests: list[MediaRequest] = []
    passed: list[str] = []

    def handler(route: Route) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def make(http: web.Request) -> web.Response:
            try:
                return await _made(wire, route, http, outcome, requests)
            except PassThrough:
                return await pass_on(http)

        async def pass_on(http: web.Request) -> web.Response:
            passed.append(f"{http.method} {http.path}")
            return web.json_response(passed_answer)

        return pass_on if route.action is Action.PASS else make

    for mount in (*(face.PREFIX + version for version in face.VERSIONS), *face.ALIASES):
        for route in face.ROUTES:
            app.router.add_route(route.method, mount + route.path, handler(route))
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        yield Served(f"http://{host}:{port}{face.PREFIX}", requests, passed)
    finally:
        await runner.cleanup()


async def _made(
    wire: Wire, route: Route, http: web.Request, outcome: MediaResult | Failure, requests: list[MediaRequest]
) -> web.Response:
    face: Any = wire.client
    headers = {name.lower(): value for name, value in http.headers.items()}
    call = ClientCall(http.method, route.name, http.match_info, http.query, headers, await http.read())
    if wire.described and route.action is Action.DESCRIBE:
        return _answer(wire.described.describe(call))
    try:
        request = face.read_request(call)
    except InvalidRequest as error:
        failure = Failure(Cause.INVALID, error.message, error.field, error.status)
        return _answer(face.write_error(failure, None))
    requests.append(request)
    match outcome:
        case Failure():
            return _answer(face.write_error(outcome, request))
        case _ if request.stream and wire.events:
            return web.Response(body=wire.events.write_event(outcome, request), content_type="text/event-stream")
        case _:
            return _answer(face.write_reply(outcome, request))


def _answer(reply: ClientReply) -> web.Response:
    return web.Response(status=reply.status, body=reply.body, headers=reply.headers, content_type=reply.content_type)
