"""The sandbox over HTTP: every provider's routes, and a small control API.

The command line, the demo and the tests run it through ``start``.

    /{provider}{version}{route}      as the provider; the version is one of its wire's
    /{provider}/files/{id}           finished pictures and uploads
    /_sandbox/faults                 GET shows; PUT {"provider": "bfl", "down": 1} replaces; DELETE ?provider= clears
    /_sandbox/requests               GET counts; with ?provider= its latest requests too

``x-sandbox-fault: throttle=7`` makes one request meet one fault.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

import orjson
from aiohttp import web

from adapters.ir import Action, Route
from adapters.registry import Wire
from proxy.sandbox.faults import FaultError, Faults, shipped_faults
from proxy.sandbox.pictures import Mount, Sandbox
from proxy.sandbox.provider import ACTIONS, Handler, handler
from proxy.sandbox.store import Files, Jobs, RequestLog

MAX_BODY = 128 * 1024 * 1024  # fifty pictures of a megapixel, as base64


def create_app(
    providers: Mapping[str, Wire],
    *,
    faults: Faults,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    rng: Random | None = None,
) -> web.Application:
    """The sandbox for providers by name; those whose wire has no client face are left out."""
    pool = ThreadPoolExecutor(2, thread_name_prefix="sandbox-render")
    box = Sandbox(faults, Files(clock), Jobs(clock), RequestLog(), clock, sleep, rng or Random(), pool)
    app = web.Application(client_max_size=MAX_BODY)
    for (method, path), handle in _handlers(box, providers).items():
        app.router.add_route(method, path, handle)

    async def close(_: web.Application) -> None:
        box.jobs.close()
        pool.shutdown(wait=False, cancel_futures=True)

    app.on_cleanup.append(close)
    return app


def _handlers(box: Sandbox, providers: Mapping[str, Wire]) -> dict[tuple[str, str], Handler]:
    """By method and path; a wire's own route for files is the one finished pictures have as well."""
    handlers: dict[tuple[str, str], Handler] = {
        ("GET", "/_sandbox/faults"): partial(_show_faults, box),
        ("PUT", "/_sandbox/faults"): partial(_put_faults, box),
        ("DELETE", "/_sandbox/faults"): partial(_clear_faults, box),
        ("GET", "/_sandbox/requests"): partial(_requests, box),
    }
    for provider, wire in providers.items():
        if wire.client is None:
            continue
        for version in wire.client.VERSIONS:
            base = f"/{provider}{version}"
            for route in wire.client.ROUTES:
                if route.action not in ACTIONS:
                    continue
                mount = Mount(provider, wire, wire.client, route, base)
                handlers[(route.method, base + route.path)] = handler(box, mount)
        files = Mount(provider, wire, wire.client, Route("GET", "/files/{id}", Action.DOWNLOAD), f"/{provider}")
        handlers[("GET", f"/{provider}/files/{{id}}")] = handler(box, files)
    return handlers


# -------------------------------------------------------------------------------------------------------- control API


async def _show_faults(box: Sandbox, http: web.Request) -> web.Response:
    return _json(box.faults.show())


async def _put_faults(box: Sandbox, http: web.Request) -> web.Response:
    try:
        box.faults.put(orjson.loads(await http.read()))
    except orjson.JSONDecodeError as error:
        return _json({"error": f"the body is not valid JSON: {error}"}, 400)
    except FaultError as error:
        return _json({"error": str(error)}, 400)
    return _json(box.faults.show())


async def _clear_faults(box: Sandbox, http: web.Request) -> web.Response:
    box.faults.clear(http.query.get("provider", ""))
    return _json(box.faults.show())


async def _requests(box: Sandbox, http: web.Request) -> web.Response:
    provider = http.query.get("provider", "")
    return _json(box.log.of(provider) if provider else {"counts": box.log.counts()})


def _json(value: Mapping[str, Any], status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")


# ------------------------------------------------------------------------------------------------------------ running


@dataclass(frozen=True, slots=True)
class RunningSandbox:
    """A sandbox that listens. ``url`` has no trailing slash."""

    url: str
    runner: web.AppRunner

    async def close(self) -> None:
        await self.runner.cleanup()


async def start(host: str, port: int, providers: Mapping[str, Wire], **settings: Any) -> RunningSandbox:
    """Serves the sandbox in the running loop; port 0 takes a free one. ``settings`` are those of ``create_app``, with
    the shipped faults where none are given. Raises OSError if the address cannot be had."""
    app = create_app(providers, **{"faults": shipped_faults(), **settings})
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    bound: tuple[str, int] = runner.addresses[0][:2]
    name = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
    return RunningSandbox(f"http://{name}:{bound[1]}", runner)
