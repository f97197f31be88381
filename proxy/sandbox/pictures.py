"""One request to its pictures: faults that strike the work itself, latency, drawing, and where they are kept.

Called by ``provider``. Owns what the handlers share. Must not know HTTP answers, nor fetch anything: a picture named by
URL is one stored here.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import ParamSpec, TypeVar
from urllib.parse import urlsplit

from adapters.imaging import sniff_mime
from adapters.ir import (
    Action,
    Artifact,
    Cause,
    ClientCall,
    Delivery,
    Failure,
    InvalidRequest,
    Media,
    MediaRequest,
    MediaResult,
    Route,
)
from adapters.registry import ClientFace, Wire
from proxy.sandbox.faults import Fault, Faults, Kind
from proxy.sandbox.render import render, seed_of, size_of
from proxy.sandbox.store import Files, Jobs, RequestLog

MAX_PIXELS = 34_000_000  # of one picture: 8192 x 4096 is still drawn

_Given = ParamSpec("_Given")
_Got = TypeVar("_Got")


@dataclass(frozen=True, slots=True)
class Sandbox:
    """Everything the handlers share."""

    faults: Faults
    files: Files
    jobs: Jobs
    log: RequestLog
    clock: Callable[[], float]  # seconds since the epoch
    sleep: Callable[[float], Awaitable[None]]
    rng: Random
    pool: ThreadPoolExecutor


@dataclass(frozen=True, slots=True)
class Mount:
    """One route of one provider, below one version."""

    provider: str
    wire: Wire
    face: ClientFace
    route: Route
    base: str  # the path of the mount: "/openai/v1"


@dataclass(frozen=True, slots=True)
class Order:
    """One request to make pictures, and what was drawn for it by chance."""

    mount: Mount
    call: ClientCall
    request: MediaRequest
    size: tuple[int, int]
    fault: Fault | None
    seconds: float  # from the request to the pictures

    def meets(self, *kinds: Kind) -> bool:
        return self.fault is not None and self.fault.kind in kinds


async def made(box: Sandbox, order: Order) -> MediaResult | Failure:
    """The pictures once the order's seconds are over, or what came of it instead."""
    if order.fault and order.meets(Kind.ERROR, Kind.REFUSE):
        await box.sleep(order.seconds)
        return failure_of(order.fault)
    started = box.clock()
    try:
        artifacts = await _artifacts(box, order)
    except InvalidRequest as error:
        return Failure(Cause.INVALID, error.message, field=error.field)
    await box.sleep(max(0.0, order.seconds - (box.clock() - started)))
    return MediaResult(artifacts, id=secrets.token_hex(8), model=order.request.model, created=box.clock())


async def _artifacts(box: Sandbox, order: Order) -> tuple[Artifact, ...]:
    if order.meets(Kind.EMPTY):
        return (Artifact(Media(mime="image/png")),)
    seeds = [seed_of(order.request, index) for index in range(order.request.n)]
    return tuple([await _artifact(box, order, seed) for seed in seeds])


async def _artifact(box: Sandbox, order: Order, seed: int) -> Artifact:
    mount, model = order.mount, order.request.model or order.mount.wire.name
    width, height = order.size
    data = await in_thread(
        box, render, order.request, width=width, height=height, seed=seed, model=model, provider=mount.provider
    )
    media = Media(data=data, mime=sniff_mime(data))
    submitted, delivery = mount.route.action is Action.SUBMIT, order.request.delivery
    if delivery is Delivery.URL or (submitted and delivery is Delivery.DATA_URI):
        url = f"{order.call.base_url.removesuffix(mount.base)}/{mount.provider}/files/{box.files.put(media)}"
        media = replace(media, url=url, data=b"" if submitted else data)  # a job lives longer than its files
    return Artifact(media, width, height, seed=seed)


def prepared(box: Sandbox, request: MediaRequest) -> tuple[MediaRequest, tuple[int, int]]:
    """The request with the bytes of every picture that it names by URL, and the size to draw. Raises InvalidRequest for
    what can be known to fail before there is a job."""
    request = request.with_pictures([_opened(box, media) for media in request.pictures])
    width, height = size_of(request)
    if width * height > MAX_PIXELS:
        raise InvalidRequest("size", f"size: the sandbox draws at most {MAX_PIXELS} pixels; got {width}x{height}")
    return request, (width, height)


def _opened(box: Sandbox, media: Media) -> Media:
    if not media.url:
        return media
    stored = box.files.get(urlsplit(media.url).path.rpartition("/")[2])
    if stored is None:
        raise InvalidRequest("image", "image: the sandbox fetches no URL but those of its own files; send the picture")
    return stored


def failure_of(fault: Fault) -> Failure:
    """What the provider says of a fault, where it says anything."""
    match fault.kind:
        case Kind.DOWN:
            return Failure(Cause.UNAVAILABLE, "the service is down", status=503)
        case Kind.DENIED:
            return Failure(Cause.DENIED, "the API key is missing or not valid", status=401)
        case Kind.THROTTLE:
            return Failure(
                Cause.THROTTLED, "too many requests", retry_after=1.0 if fault.value is None else fault.value
            )
        case Kind.REFUSE:
            return Failure(Cause.REFUSED, "the prompt was refused by the content policy")
        case _:
            return Failure(Cause.UNAVAILABLE, "the server had an error", status=int(fault.value or 500))


async def in_thread(
    box: Sandbox, function: Callable[_Given, _Got], *args: _Given.args, **kwargs: _Given.kwargs
) -> _Got:
    """``function`` in the pool, so that drawing holds up nobody."""
    return await asyncio.get_running_loop().run_in_executor(box.pool, partial(function, *args, **kwargs))
