"""Calls that ask for no media work, such as a chat or a list of models: to the wire's own provider as they are.

``app`` calls it for the routes a wire marks so, and where a wire's ``read_request`` says so: an app that changed its
base URL keeps all of its API. Which provider takes them, and whether with the caller's key or ours, is the provider's
``passThrough``. Nothing is decided, translated, retried or booked here, and nothing inside is looked at.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import aiohttp

from adapters.ir import Cause, ClientReply, Failed, Failure, UpstreamCall
from adapters.registry import ClientFace
from policies.catalog import PassThrough, Provider
from proxy.calls import face_of
from proxy.exchange import Exchange
from proxy.tracing import traceparent

_HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer", "transfer-encoding",
     "upgrade")
)  # fmt: skip
_NOT_SENT = _HOP_BY_HOP | {"host", "content-length", "accept-encoding", "traceparent"}
_NOT_ANSWERED = _HOP_BY_HOP | {"content-length", "content-encoding", "set-cookie"}
_KEYS = frozenset(("authorization", "x-api-key", "api-key", "x-goog-api-key", "x-key", "cookie"))


@dataclass(frozen=True, slots=True)
class Relayed:
    """A provider's answer, begun: the headers to hand on, and where the bytes come from. ``app`` closes it."""

    response: aiohttp.ClientResponse
    headers: Mapping[str, str]


async def pass_through(exchange: Exchange) -> Relayed | ClientReply:
    """The provider's answer as it comes, or an error in the caller's shape where there is none."""
    call, services = exchange.call, exchange.services
    provider = _provider(exchange)
    if provider is None:
        message = f"Muxel makes no media of {call.method} {call.path[:200]}, and no provider takes it as it is"
        return exchange.answer(Failure(Cause.INVALID, message, "path", 404, code="not_passed_through", id=exchange.id))
    given = {name: value for name, value in call.headers.items() if _is_sent(name, provider)}
    url = _url(exchange, provider)
    headers = given | traceparent(exchange.span) | {"accept-encoding": "identity"}
    if provider.pass_through is PassThrough.OWN_KEY:
        sent = UpstreamCall(call.method, url, headers, call.body)
        headers = services.keyring.headers(provider, face_of(provider).AUTH, sent)
    answer = await services.transport.relay(call.method, url, headers, call.body, provider)
    exchange.span.set_attribute("muxel.provider", provider.name)
    if isinstance(answer, Failed):
        return exchange.answer(Failure(answer.cause, answer.message, id=exchange.id))
    exchange.note("passed", answer.status)
    kept = {name: value for name, value in answer.headers.items() if name.lower() not in _NOT_ANSWERED}
    return Relayed(answer, kept | exchange.headers())


def _url(exchange: Exchange, provider: Provider) -> str:
    call, wire = exchange.call, exchange.wire
    if wire.proxied:
        return wire.proxied.pass_url(provider.base_url, call.path)
    assert wire.client is not None
    return upstream_url(provider.base_url, call.version, call.path, wire.client)


def upstream_url(base_url: str, version: str, path: str, face: ClientFace) -> str:
    """Where a call below our mount belongs at the provider: its API version is the caller's, where the caller named one
    and the base URL ends in one."""
    own = next((known for known in sorted(face.VERSIONS, key=len, reverse=True) if base_url.endswith(known)), "")
    base = base_url.removesuffix(own) + version if own and version else base_url
    return base + path


def _provider(exchange: Exchange) -> Provider | None:
    """The first provider of the wire that takes such calls; one that needs our key must have it."""
    services, providers = exchange.services, exchange.config.catalog.providers
    usable = services.keyring.usable(providers, services.wall())
    for provider in providers.values():
        if provider.wire != exchange.wire.name or provider.pass_through is PassThrough.NONE:
            continue
        if provider.pass_through is PassThrough.CALLERS_KEY or provider.name in usable:
            return provider
    return None


def _is_sent(name: str, provider: Provider) -> bool:
    if name in _NOT_SENT or name.startswith("x-muxel-"):
        return False
    if provider.pass_through is PassThrough.CALLERS_KEY:
        return True
    return name not in _KEYS and not name.startswith("x-amz-")
