"""The callers' port: every client face of the registry, mounted below its prefix, and the pictures kept for fetching.

``serve`` and the tests build it. Turns aiohttp's requests into ``ClientCall`` and ``ClientReply`` back into responses;
what happens between is ``exchange`` and ``submit``. Must not know any wire by name.
"""

import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace

from aiohttp import hdrs, web

from adapters.ir import Action, Cause, ClientCall, ClientReply, Failure, InvalidRequest, PassThrough, Route, Upload
from adapters.registry import WIRES, ClientFace, Wire
from proxy import submit
from proxy.ask import Home, read_ask
from proxy.bodies import Bodies
from proxy.exchange import Exchange, Streaming
from proxy.passthrough import Relayed, pass_through
from proxy.reroute import MEANT, reroute
from proxy.services import Services
from proxy.settings import Settings
from proxy.submit import Watching
from proxy.tasks import begin, spawn
from proxy.tracing import end_server

_log = logging.getLogger("muxel.app")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_app(services: Services) -> web.Application:
    """All wires with a client face, and ``/media/{id}``."""
    bodies = Bodies(services.settings.max_body_bytes, services.settings.body_budget_bytes, services.metrics)
    app = web.Application(
        client_max_size=services.settings.max_body_bytes, middlewares=[reroute(WIRES.values(), services.settings.hosts)]
    )
    for wire in WIRES.values():
        if wire.client is None:
            continue
        mounts = [f"{wire.client.PREFIX}{version}" for version in wire.client.VERSIONS]
        for mount in (*mounts, *wire.client.ALIASES):
            for route in wire.client.ROUTES:
                app.router.add_route(route.method, mount + route.path, _handler(services, bodies, wire, mount, route))
    for face in {wire.client.PREFIX: wire.client for wire in WIRES.values() if wire.client}.values():
        app.router.add_route("*", face.PREFIX + "/{path:.*}", _unknown(face))
    app.router.add_get("/media/{id}", _media(services))
    app.router.add_route("*", "/{path:.*}", _unknown(_default_face()))
    return app


def _default_face() -> ClientFace:
    """The face that answers paths that belong to no wire: the one with an alias at the root."""
    return next(wire.client for wire in WIRES.values() if wire.client and wire.client.ALIASES)


def _handler(services: Services, bodies: Bodies, wire: Wire, mount: str, route: Route) -> _Handler:
    path = mount + route.path
    home = Home(services.settings.app, services.settings.namespace)

    async def handle(request: web.Request) -> web.StreamResponse:
        started = services.monotonic()
        headers = {name.lower(): value for name, value in request.headers.items()}
        span = services.tracing.server(path, request.method, request.path, headers, request.scheme)
        services.metrics.in_flight.inc()
        under_way = begin(services.work)
        call = _call(request, services.settings, wire, mount, route, headers)
        config = services.state.current
        assert config is not None
        exchange = Exchange(services, wire, call, span, secrets.token_hex(8), started, config)
        status = 499  # unless an answer is made, the caller has hung up
        held = AsyncExitStack()
        try:
            body = await held.enter_async_context(bodies.read(request))
            exchange.call = replace(call, body=body, ask=read_ask(headers, home))
            answer = await _act(exchange, route.action)
            status = answer.response.status if isinstance(answer, Relayed) else 200
            match answer:
                case Streaming() | Watching():
                    return await _stream(request, answer)
                case Relayed():
                    return await _relay(request, answer)
            status = answer.status
            return _response(answer)
        except InvalidRequest as error:
            answer = exchange.refuse(error)
            status = answer.status
            return _response(answer)
        except Exception:
            status = 500
            _log.exception("request %s failed", exchange.id)
            return _response(exchange.answer(Failure(Cause.MALFORMED, "Muxel failed", status=500, id=exchange.id)))
        finally:
            await _give_back(held, exchange)
            services.metrics.in_flight.dec()
            under_way.cancel()
            end_server(span, status)

    return handle


def _call(
    request: web.Request, settings: Settings, wire: Wire, mount: str, route: Route, headers: Mapping[str, str]
) -> ClientCall:
    """What was asked, without the body. A call that was meant for another address is told as if it had come to it."""
    assert wire.client is not None
    meant = request.get(MEANT)
    base_url = f"{settings.public_url or f'{request.scheme}://{request.host}'}{mount}"
    return ClientCall(
        request.method,
        route.name,
        meant.params if meant else request.match_info,
        request.query,
        headers,
        b"",
        meant.base_url if meant else base_url,
        version=mount.removeprefix(wire.client.PREFIX),
        path=request.raw_path.removeprefix(mount),
    )


async def _give_back(held: AsyncExitStack, exchange: Exchange) -> None:
    """The bytes of the body; those of a job when it has ended, since it still works with them."""
    if exchange.job is None or exchange.job.done():
        await held.aclose()
    else:
        exchange.job.add_done_callback(lambda _: spawn(held.aclose(), name=f"body of {exchange.id}"))


async def _act(exchange: Exchange, action: Action) -> ClientReply | Streaming | Watching | Relayed:
    try:
        return await _ACTIONS[action](exchange)
    except PassThrough:
        return await pass_through(exchange)


async def _upload(exchange: Exchange) -> ClientReply:
    """Keeps a file for a later request of the same caller to name."""
    files = exchange.wire.files
    assert files is not None
    media, name = files.read_upload(exchange.call)
    services = exchange.services
    stored = services.media.put(media, services.wall())
    url = f"{exchange.origin}/media/{stored}"
    return files.write_upload_reply(Upload(stored, url, media, name, services.wall()))


async def _download(exchange: Exchange) -> ClientReply:
    """What is known of a file that was stored."""
    files = exchange.wire.files
    assert files is not None
    services, name = exchange.services, exchange.call.params["id"]
    media = services.media.get(name, services.wall())
    if media is None:
        return exchange.answer(Failure(Cause.EXPIRED, "there is no such file", field="id"))
    return files.write_upload_reply(Upload(name, f"{exchange.origin}/media/{name}", media, created=services.wall()))


async def _describe(exchange: Exchange) -> ClientReply:
    assert exchange.wire.described is not None
    return exchange.wire.described.describe(exchange.call)


async def _secret(exchange: Exchange) -> ClientReply:
    """The key by which this caller can verify what its webhooks are sent."""
    assert exchange.wire.secrets is not None
    caller = "" if exchange.wire.signs_publicly else exchange.call.ask.caller
    return exchange.wire.secrets.write_secret(exchange.services.sealer.secret(caller))


_ACTIONS: Mapping[Action, Callable[[Exchange], Awaitable[ClientReply | Streaming | Watching | Relayed]]] = {
    Action.CREATE: Exchange.create,
    Action.SUBMIT: submit.submit,
    Action.POLL: submit.poll,
    Action.WATCH: submit.watch,
    Action.CANCEL: submit.cancel,
    Action.UPLOAD: _upload,
    Action.DOWNLOAD: _download,
    Action.DESCRIBE: _describe,
    Action.SECRET: _secret,
    Action.PASS: pass_through,
}


def _response(reply: ClientReply) -> web.Response:
    response = web.Response(status=reply.status, body=reply.body, headers=reply.headers)
    response.headers[hdrs.CONTENT_TYPE] = reply.content_type
    return response


async def _relay(request: web.Request, relayed: Relayed) -> web.StreamResponse:
    """The bytes of a provider's answer as they come, an event stream's too."""
    async with relayed.response as upstream:
        response = web.StreamResponse(status=upstream.status, headers=relayed.headers)
        await response.prepare(request)
        async for chunk in upstream.content.iter_any():
            await response.write(chunk)
    await response.write_eof()
    return response


async def _stream(request: web.Request, streaming: Streaming | Watching) -> web.StreamResponse:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", hdrs.CONTENT_TYPE: "text/event-stream"}
    response = web.StreamResponse(headers=headers | streaming.exchange.headers())
    await response.prepare(request)
    events = streaming.events()
    try:
        async for chunk in events:
            await response.write(chunk)
    finally:
        await events.aclose()
    await response.write_eof()
    return response


def _unknown(face: ClientFace) -> _Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        message = f"Muxel has no {request.method} {request.path}"
        failure = Failure(Cause.INVALID, message, field="path", status=404, code="unknown_path")
        return _response(face.write_error(failure, None))

    return handle


def _media(services: Services) -> _Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        media = services.media.get(request.match_info["id"], services.wall())
        if media is None:
            return web.Response(status=404, text="there is no such picture\n")
        headers = {hdrs.CONTENT_TYPE: media.mime or "application/octet-stream", "X-Content-Type-Options": "nosniff"}
        return web.Response(body=media.data, headers=headers)

    return handle
