"""Deployments to send any operation through any wire, taken from the golden cases; and a caller for every wire.

A wire with both faces is its own client: what its provider face writes, its client face must be able to read.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import yaml
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from adapters.ir import ClientCall, Operation, Route, Target, UpstreamCall
from adapters.registry import WIRES, Wire
from tests.wires.golden import build

HERE = Path(__file__).parent


@cache
def targets() -> Mapping[tuple[str, Operation], Target]:
    """By wire and operation: the plainest target a golden case has for it."""
    found: dict[tuple[str, Operation], Target] = {}
    for path in sorted(HERE.glob("*/*.yaml")):
        case = yaml.safe_load(path.read_text(encoding="utf-8"))
        if "target" not in case or "request" not in case or "sends" not in case:
            continue
        name, operation = path.parent.name, Operation(case["request"]["operation"])
        face, target = WIRES[name].provider, build(Target, case["target"])
        able = face is not None and operation in face.PROVIDER_OPERATIONS
        carried = case["sends"].get("media", 0) == _pictures(case["request"]) > 0 or operation is Operation.GENERATE
        known = found.get((name, operation))
        if able and carried and (known is None or _plainness(target) < _plainness(known)):
            found[name, operation] = target
    return found


def _pictures(request: Mapping[str, Any]) -> int:
    return len(request.get("references", ())) + len(request.get("style_references", ())) + ("mask" in request)


def _plainness(target: Target) -> tuple[int, int]:
    return len(target.options), len(target.base_url)


def both_faces(operation: Operation) -> list[str]:
    """The wires whose callers can ask for an operation that their own provider face can write."""
    return [
        name
        for name, wire in WIRES.items()
        if wire.client and operation in wire.client.CLIENT_OPERATIONS and (name, operation) in targets()
    ]


def can_be_sent(operation: Operation) -> list[str]:
    """The wires that can be sent it, and that a sandbox can play."""
    return [name for name, wire in WIRES.items() if wire.client and (name, operation) in targets()]


def at_muxel(wire: Wire, target: Target, origin: str) -> Target:
    """The same target as an app sees it that changed its base URL."""
    assert wire.client is not None
    return replace(target, base_url=f"{origin}{wire.client.PREFIX}{urlsplit(target.base_url).path}")


@cache
def _router(name: str) -> tuple[web.UrlDispatcher, Mapping[web.AbstractRoute, Route]]:
    """The routes of a client face, as the callers' port has them."""

    async def nothing(request: web.Request) -> web.Response:
        raise AssertionError

    router, face = web.Application().router, WIRES[name].client
    assert face is not None
    mounted = {
        router.add_route(route.method, face.PREFIX + version + route.path, nothing): route
        for version in face.VERSIONS
        for route in face.ROUTES
    }
    return router, mounted


async def as_client_call(wire: Wire, call: UpstreamCall) -> ClientCall:
    """What the client face is given when ``call`` arrives at it."""
    router, mounted = _router(wire.name)
    parts = urlsplit(call.url)
    path = f"{parts.path}?{parts.query}" if parts.query else parts.path
    match = await router.resolve(make_mocked_request(call.method, path))
    assert match.http_exception is None, f"{wire.name} has no route for {call.method} {parts.path}"
    headers = {name.lower(): value for name, value in call.headers.items()}
    route = mounted[match.route]
    return ClientCall(call.method, route.name, dict(match), dict(parse_qsl(parts.query)), headers, call.body)
