"""Calls meant for another address: taken for us by the name of the host, or sent to us as to a forward proxy.

Some SDKs cannot change their base URL. They reach us because the host's name leads here (over TLS, with a certificate
they trust), or name the real address in a header. ``app`` puts this before its handlers; the wires say which paths of
ours such addresses stand for. Must not know any wire by name.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Middleware

from adapters.registry import ProxiedFace, Wire

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Meant:
    """What a call that came another way was meant for: the parameters of our path, and the base URL it was sent to."""

    params: Mapping[str, str]
    base_url: str


MEANT = web.RequestKey("meant", Meant)


def reroute(wires: Iterable[Wire], hosts: Iterable[str]) -> Middleware:
    """The middleware. ``hosts`` are ``NAME=NAME``: what is asked of the first name is meant for the second."""
    faces = [wire.proxied for wire in wires if wire.proxied is not None]
    names = dict(pair.split("=", 1) for pair in hosts)

    @web.middleware
    async def middleware(request: web.Request, handler: _Handler) -> web.StreamResponse:
        for face in faces:
            if found := _meant_for(face, request, names):
                return await _dispatch(request, *found)
        return await handler(request)

    return middleware


def _meant_for(face: ProxiedFace, request: web.Request, names: Mapping[str, str]) -> tuple[str, str] | None:
    """Our path, with its query, and the base URL the call was sent to; None where it was meant for us."""
    if target := request.headers.get(face.PROXY_HEADER, ""):
        parts = urlsplit(target)
        base_url = f"{parts.scheme}://{parts.netloc}"
    else:
        name = names.get(request.host, request.host)
        target, base_url = f"https://{name}{request.raw_path}", f"{request.scheme}://{request.host}"
    path = face.proxy_path(target)
    return None if path is None else (path, base_url)


async def _dispatch(request: web.Request, path: str, base_url: str) -> web.StreamResponse:
    meant = request.clone(rel_url=path)
    match = await request.app.router.resolve(meant)
    meant[MEANT] = Meant(dict(match), base_url)
    return await match.handler(meant)
