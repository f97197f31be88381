"""The only HTTP client: sends signed calls to providers and fetches pictures by URL.

``exchange`` is its caller. A URL from a caller or from a provider's reply is hostile: it meets only public addresses,
checked on what was resolved and again on every redirect, never carries a key, and its bytes are capped. Only the origin
an operator configured may be private. Network failures come back as ``Failed``, never as exceptions.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from fnmatch import fnmatchcase

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from adapters.ir import Cause, Failed, Media, UpstreamCall, UpstreamReply, WebhookCall
from policies.catalog import Provider
from proxy.auth import origin
from proxy.settings import MIB

MAX_REPLY = 192 * MIB  # base64 of the largest batch of pictures
MAX_PICTURE = 64 * MIB
FETCH_SECONDS = 60.0
WEBHOOK_SECONDS = 10.0
_EVENT_END = re.compile(rb"\r?\n\r?\n")
Events = AsyncGenerator[bytes | Failed]
_NAT64 = ipaddress.ip_network("64:ff9b::/96")  # counts as global, yet leads to any IPv4 address


class AddressRefused(OSError):
    """The name resolved to an address that a URL from outside must not reach."""


def is_public(address: str) -> bool:
    """Whether a URL from outside may lead there."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip in _NAT64 or ip.sixtofour or ip.teredo:
            return False
        ip = ip.ipv4_mapped or ip
    return ip.is_global and not ip.is_multicast


def _guarded_socket(info: aiohttp.AddrInfoType) -> socket.socket:
    family, kind, protocol, _, where = info
    if not is_public(str(where[0])):
        raise AddressRefused("the address is not public")
    return socket.socket(family, kind, protocol)


@dataclass(frozen=True, slots=True)
class EventStream:
    """An answer that is an event stream, begun: ``events`` yields one event's lines at a time, or ends in a Failed."""

    events: Events


class Transport:
    """The client sessions of a process. ``resolver`` stands in for DNS in tests."""

    def __init__(self, resolver: AbstractResolver | None = None) -> None:
        self._configured = _session(aiohttp.TCPConnector(limit=0, ttl_dns_cache=30, resolver=resolver))
        self._outside = _session(aiohttp.TCPConnector(limit=0, resolver=resolver, socket_factory=_guarded_socket))
        self._slots: dict[str, tuple[int, asyncio.Semaphore]] = {}

    async def close(self) -> None:
        await self._configured.close()
        await self._outside.close()

    async def send(
        self, call: UpstreamCall, headers: Mapping[str, str], provider: Provider, seconds: float
    ) -> UpstreamReply | EventStream | Failed:
        """One call to a provider within ``seconds``, waiting for a free slot included. A call that was sent and not
        answered is AMBIGUOUS: it may be billed. Redirects are not followed."""
        slots = self._slot(provider)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        if slots.locked():
            try:
                async with asyncio.timeout_at(deadline):
                    await slots.acquire()
            except TimeoutError:
                return Failed(Cause.UNAVAILABLE, f"all {provider.concurrency} places at {provider.name} stayed taken")
        else:
            await slots.acquire()
        streaming = False
        try:
            answer = await self._send(call, headers, provider, deadline - loop.time())
            if streaming := isinstance(answer, EventStream):
                return EventStream(_releasing(answer.events, slots))
            return answer
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return _failed(error, call)
        finally:
            if not streaming:
                slots.release()

    async def _send(
        self, call: UpstreamCall, headers: Mapping[str, str], provider: Provider, seconds: float
    ) -> UpstreamReply | EventStream | Failed:
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=min(provider.connect_seconds, seconds))
        session = self._configured if _is_configured(provider, call.url) else self._outside
        response = await session.request(
            call.method, _url(call.url), headers=headers, data=call.body or None, allow_redirects=False, timeout=timeout
        )
        if call.stream and response.content_type == "text/event-stream":
            return EventStream(_events(response, call))
        async with response:
            body = await _read_capped(response, MAX_REPLY)
        if body is None:
            return Failed(Cause.MALFORMED, f"the answer is larger than {MAX_REPLY // MIB} MiB")
        return UpstreamReply(response.status, {name.lower(): value for name, value in response.headers.items()}, body)

    async def relay(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes, provider: Provider
    ) -> aiohttp.ClientResponse | Failed:
        """A call handed on as it is. The caller reads the answer and closes it."""
        timeout = aiohttp.ClientTimeout(total=provider.attempt_seconds, sock_connect=provider.connect_seconds)
        try:
            return await self._configured.request(
                method, _url(url), headers=headers, data=body or None, allow_redirects=False, timeout=timeout
            )
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return _failed(error, UpstreamCall(method, url))

    async def notify(self, url: str, call: WebhookCall, hosts: Sequence[str]) -> str:
        """Posts a webhook; why it did not arrive, "" if it did. ``hosts`` are patterns of names that may be private."""
        try:
            listed = any(fnmatchcase(origin(url)[1], pattern) for pattern in hosts)
            session = self._configured if listed else self._outside
            timeout = aiohttp.ClientTimeout(total=WEBHOOK_SECONDS)
            async with session.post(
                url, data=call.body, headers=call.headers, timeout=timeout, allow_redirects=False
            ) as response:
                return "" if response.ok else f"answered {response.status}"
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return _reason(error)

    async def fetch(self, url: str, provider: Provider | None) -> Media | Failed:
        """The picture behind a URL from outside; without any credential. ``provider``: whose reply named it."""
        if url.startswith("data:"):
            return Failed(Cause.MALFORMED, "a data URI is not fetched")
        try:
            trusted = provider is not None and _is_configured(provider, url)
            session = self._configured if trusted else self._outside
            timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS, sock_connect=10)
            async with session.get(url, timeout=timeout, allow_redirects=not trusted, max_redirects=3) as response:
                if response.status != 200:
                    return Failed(Cause.UNAVAILABLE, f"fetching the picture was answered {response.status}")
                body = await _read_capped(response, MAX_PICTURE)
                kind = response.content_type
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            return Failed(Cause.UNAVAILABLE, f"the picture could not be fetched: {_reason(error)}")
        if body is None:
            return Failed(Cause.MALFORMED, f"the picture is larger than {MAX_PICTURE // MIB} MiB")
        if not body:
            return Failed(Cause.MALFORMED, "the picture is empty")
        return Media(data=body, mime=kind if kind.startswith(("image/", "video/")) else "")

    def _slot(self, provider: Provider) -> "asyncio.Semaphore":
        """The places for calls to a provider; made anew when its limit changes."""
        size = provider.concurrency or 1_000_000
        known = self._slots.get(provider.name)
        if known is None or known[0] != size:
            known = self._slots[provider.name] = (size, asyncio.Semaphore(size))
        return known[1]


def _session(connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, headers={"User-Agent": "muxel"}
    )


def _url(url: str) -> URL:
    """As it is written, since that is what was signed; only what no URL may hold is escaped."""
    return URL(url, encoded=url.isascii() and url.isprintable() and " " not in url)


def _is_configured(provider: Provider, url: str) -> bool:
    """Whether the URL is at the origin the operator wrote down, which alone may be a private address."""
    return origin(url) == origin(provider.base_url)


async def _releasing(events: Events, slots: asyncio.Semaphore) -> Events:
    """The events, and the place at the provider given back when they end."""
    try:
        async with aclosing(events):
            async for event in events:
                yield event
    finally:
        slots.release()


async def _read_capped(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """The body; None if it is larger than ``limit``, of which no more than that is ever held."""
    if response.content_length is not None and response.content_length > limit:
        return None
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > limit:
            return None
    return bytes(body)


async def _events(response: aiohttp.ClientResponse, call: UpstreamCall) -> Events:
    """The events of a stream, each without the blank line that ends it."""
    pending = bytearray()
    try:
        async with response:
            async for chunk in response.content.iter_any():
                searched = max(0, len(pending) - 3)
                pending += chunk
                while end := _EVENT_END.search(pending, searched):
                    yield bytes(pending[: end.start()])
                    del pending[: end.end()]
                    searched = 0
                if len(pending) > MAX_REPLY:
                    yield Failed(Cause.MALFORMED, "an event of the stream is too large")
                    return
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        yield _failed(error, call)


def _failed(error: Exception, call: UpstreamCall) -> Failed:
    """What a network failure means. A GET buys nothing and may be asked again; a POST that was sent may be billed."""
    never_sent = isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError | AddressRefused)
    if never_sent or isinstance(error, ValueError) or call.method == "GET":
        return Failed(Cause.UNAVAILABLE, f"the call did not get through: {_reason(error)}", over=False)
    if isinstance(error, aiohttp.ClientPayloadError):
        return Failed(Cause.MALFORMED, f"the answer broke off: {_reason(error)}")
    return Failed(Cause.AMBIGUOUS, f"sent, and not answered: {_reason(error)}")


def _reason(error: Exception) -> str:
    """The kind of failure; never the text of the exception, which may hold a signed URL."""
    match error:
        case TimeoutError():
            return "timed out"
        case aiohttp.ClientConnectorDNSError():
            return "the host name does not resolve"
        case aiohttp.ClientConnectorError() | OSError() if isinstance(error, AddressRefused) or isinstance(
            getattr(error, "os_error", None), AddressRefused
        ):
            return "its address is not public"
        case aiohttp.ClientConnectorCertificateError() | ssl.SSLError() | aiohttp.ClientConnectorSSLError():
            return "TLS failed"
        case aiohttp.ClientConnectorError():
            return "connection refused or unreachable"
        case aiohttp.InvalidURL() | ValueError():
            return "its URL is not valid"
        case aiohttp.TooManyRedirects():
            return "too many redirects"
        case _:
            return type(error).__name__
