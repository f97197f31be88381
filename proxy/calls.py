"""Single calls to one deployment: signed, sent, read. Submits, looks at a job, cancels, pictures in and out.

``upstream`` builds whole attempts from these; ``exchange`` uses ``look`` and ``cancel`` for jobs that another replica
started. Owns what a failed look means. Must not know retries, fallbacks or callers' wires.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from opentelemetry.trace import Span

from adapters.imaging import picture_size, read_base64, sniff_mime
from adapters.ir import (
    Artifact,
    Cause,
    Done,
    Failed,
    InvalidRequest,
    Media,
    MediaRequest,
    Pending,
    Step,
    Target,
    UpstreamCall,
    UpstreamReply,
)
from adapters.registry import WIRES, ProviderFace, Wire
from policies.catalog import Deployment, Provider
from proxy.auth import may_see_key
from proxy.services import Services
from proxy.tracing import describe_failure, traceparent
from proxy.transport import EventStream

_POLL_FAILURES = 5  # looks that fail in a row, after which a job is given up
_POLL_MAX = 10.0  # seconds between looks at most
_LOOK_AGAIN = frozenset((408, 429, 500, 502, 503, 504))  # statuses of a poll that say nothing of the job
_CANCEL_SECONDS = 10.0


def target_of(deployment: Deployment) -> Target:
    return Target(deployment.provider.base_url, deployment.remote, deployment.options)


def wire_of(deployment: Deployment) -> Wire:
    return WIRES[deployment.provider.wire]


def face_of(provider: Provider) -> ProviderFace:
    face = WIRES[provider.wire].provider
    assert face is not None
    return face


async def call(
    services: Services, deployment: Deployment, upstream_call: UpstreamCall, deadline: float, span: Span
) -> UpstreamReply | EventStream | Failed:
    """One signed call within the deadline and the provider's own limit."""
    provider = deployment.provider
    seconds = min(deadline - services.monotonic(), provider.attempt_seconds)
    if seconds <= 0:
        return Failed(Cause.UNAVAILABLE, "the deadline has passed", over=False)
    headers = services.keyring.headers(provider, face_of(provider).AUTH, upstream_call) | traceparent(span)
    return await services.transport.send(upstream_call, headers, provider, seconds)


async def poll(
    services: Services, deployment: Deployment, pending: Pending, deadline: float, span: Span
) -> Done | Failed:
    """Looks at a job until it ends. A look that fails is no verdict on the job: it is looked at again."""
    handle, wait, failures, usage = pending.handle, pending.after, 0, pending.usage
    while True:
        if deadline - services.monotonic() <= wait:
            await cancel(services, deployment, handle, span)
            return Failed(Cause.AMBIGUOUS, "the deadline passed while the provider was still at work")
        await asyncio.sleep(wait)
        step = await look(services, deployment, handle, deadline, span)
        match step:
            case Pending(new_handle, after):
                handle, wait, failures = new_handle or handle, min(after, _POLL_MAX), 0
            case Failed(over=False) if failures < _POLL_FAILURES:
                failures += 1
                wait = min(step.retry_after or 0.25 * 2**failures, _POLL_MAX)
            case Done() if step.usage.cost_usd is None:
                return replace(step, usage=replace(step.usage, cost_usd=usage.cost_usd))
            case _:
                return step


async def look(
    services: Services, deployment: Deployment, handle: Mapping[str, Any], deadline: float, span: Span
) -> Step:
    """One look at a job, with a span of its own."""
    wire = wire_of(deployment)
    assert wire.provider is not None
    assert wire.polling is not None
    asked = wire.polling.poll(handle, target_of(deployment))
    if not may_see_key(deployment.provider, asked.url):
        return Failed(Cause.MALFORMED, f"{deployment.provider.name} named a poll URL on a host that is not its own")
    looking = services.tracing.poll(span)
    try:
        reply = await call(services, deployment, asked, deadline, looking)
        step = _seen(wire.provider, reply)
        if isinstance(step, Failed):
            describe_failure(looking, step)
        return step
    finally:
        looking.end()


def _seen(face: ProviderFace, reply: UpstreamReply | EventStream | Failed) -> Step:
    """What a look says of the job. One that did not get through, or was put off, says nothing of it."""
    if isinstance(reply, Failed):
        return replace(reply, over=False)
    if isinstance(reply, EventStream):
        return Failed(Cause.MALFORMED, "a poll was answered with a stream")
    step = face.read_reply(reply)
    return replace(step, over=False) if isinstance(step, Failed) and reply.status in _LOOK_AGAIN else step


async def cancel(services: Services, deployment: Deployment, handle: Mapping[str, Any], span: Span) -> None:
    """Asks the provider to stop the job, where it can. The answer changes nothing: the job may be billed either way."""
    polling = wire_of(deployment).polling
    asked = polling.cancel(handle, target_of(deployment)) if polling and handle else None
    if asked is not None and may_see_key(deployment.provider, asked.url):
        await call(services, deployment, asked, services.monotonic() + _CANCEL_SECONDS, span)


async def collect(services: Services, deployment: Deployment, done: Done) -> Done | Failed:
    """The pictures with their bytes, those behind URLs fetched at the same time. What cannot be had, or is no picture,
    is left out; where nothing is left, the purchase has failed."""
    found = await asyncio.gather(*(_picture(services, deployment, artifact) for artifact in done.artifacts))
    pictures = tuple(step for step in found if isinstance(step, Artifact))
    failures = [step for step in found if isinstance(step, Failed)]
    return replace(done, artifacts=pictures) if pictures or not failures else failures[0]


async def _picture(services: Services, deployment: Deployment, artifact: Artifact) -> Artifact | Failed:
    media = artifact.media
    if media.url.startswith("data:"):
        try:
            media = read_base64(media.url, "output")
        except InvalidRequest as error:
            return Failed(Cause.MALFORMED, error.message)
    elif media.url:
        fetched = await _fetch(services, deployment, media.url)
        if isinstance(fetched, Failed):
            return Failed(Cause.MALFORMED, fetched.message)
        media = fetched
    if sniff_mime(media.data) != "image/svg+xml" and not all(picture_size(media.data)):
        return Failed(Cause.MALFORMED, "the provider's answer is not a picture")
    return artifact if media is artifact.media else replace(artifact, media=media)


async def _fetch(services: Services, deployment: Deployment, url: str) -> Media | Failed:
    """A finished picture is paid for: a fetch that fails is tried once more."""
    media = await services.transport.fetch(url, deployment.provider)
    if isinstance(media, Failed) and media.cause is Cause.UNAVAILABLE:
        return await services.transport.fetch(url, deployment.provider)
    return media


async def inputs(
    services: Services, deployment: Deployment, request: MediaRequest, deadline: float, span: Span
) -> MediaRequest | Failed:
    """The request with every input picture in a form this deployment's wire can carry: fetched, or uploaded first."""
    ready: list[Media] = []
    for picture in request.pictures:
        step = await _input(services, deployment, picture, deadline, span)
        if isinstance(step, Failed):
            return step
        ready.append(step)
    return request.with_pictures(ready) if ready else request


async def _input(
    services: Services, deployment: Deployment, picture: Media, deadline: float, span: Span
) -> Media | Failed:
    wire = wire_of(deployment)
    assert wire.provider is not None
    if picture.url and not wire.provider.TAKES_URLS:
        fetched = await services.transport.fetch(picture.url, None)
        if isinstance(fetched, Failed):
            return Failed(Cause.INVALID, f"an input {fetched.message.removeprefix('the ')}")
        picture = fetched
    if wire.uploads is None or len(picture.data) <= wire.uploads.UPLOAD_ABOVE:
        return picture
    reply = await call(services, deployment, wire.uploads.write_upload(picture, target_of(deployment)), deadline, span)
    if isinstance(reply, EventStream):
        return Failed(Cause.MALFORMED, "an upload was answered with a stream")
    url = reply if isinstance(reply, Failed) else wire.uploads.read_upload_reply(reply)
    return url if isinstance(url, Failed) else Media(url=url, mime=picture.mime)
