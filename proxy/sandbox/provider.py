"""One request to one of the sandbox's providers: read by its wire, met by a fault, answered in its shape.

``app`` mounts ``handler`` once for each route. What is drawn and how long it takes is ``pictures``.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson
from aiohttp import web

from adapters.ir import (
    Action,
    Artifact,
    Cause,
    ClientCall,
    ClientReply,
    Failure,
    InvalidRequest,
    Job,
    JobState,
    Media,
    MediaRequest,
    Partial,
    PassThrough,
    Upload,
)
from adapters.replies import read_answer
from proxy.sandbox.faults import Fault, FaultError, Kind, read_fault_header
from proxy.sandbox.pictures import Mount, Order, Sandbox, failure_of, in_thread, made, prepared
from proxy.sandbox.render import develop

KEY_HEADERS = frozenset(("authorization", "x-key", "x-goog-api-key", "api-key"))
_SECRET = KEY_HEADERS | {"cookie", "proxy-authorization"}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def handler(box: Sandbox, mount: Mount) -> Handler:
    async def handle(http: web.Request) -> web.StreamResponse:
        body = await http.read()
        call = ClientCall(
            method=http.method,
            route=mount.route.name,
            params=dict(http.match_info),
            query=dict(http.query),
            headers={name.lower(): value for name, value in http.headers.items()},
            body=body,
            base_url=f"{http.scheme}://{http.host}{mount.base}",
        )
        if mount.route.action is not Action.DOWNLOAD:
            box.log.add(mount.provider, _logged(mount.route.action, http.path, call))
        try:
            return await ACTIONS[mount.route.action](box, mount, call, http)
        except PassThrough:
            return await _pass(box, mount, call, http)
        except InvalidRequest as error:
            failure = Failure(Cause.INVALID, error.message, field=error.field, status=error.status)
            return _response(mount.face.write_error(failure, None))

    return handle


async def _create(box: Sandbox, mount: Mount, call: ClientCall, http: web.Request) -> web.StreamResponse:
    request = mount.face.read_request(call)
    rule = box.faults.of(mount.provider, request.model)
    fault = _fault_of(call) or rule.pick(box.rng, request.prompt)
    if rule.require_key and not KEY_HEADERS & call.headers.keys():
        fault = Fault(Kind.DENIED)
    if stopped := await _stopped(mount, fault, http, request):
        return stopped
    told = fault.value if fault and fault.kind is Kind.LATENCY else None
    seconds = rule.latency.sample(box.rng) if told is None else told
    order = Order(mount, call, *prepared(box, request), fault, seconds)
    if mount.wire.events is not None and request.stream:
        return await _stream(box, order, http)
    reply = await (_submit if mount.route.action is Action.SUBMIT else _answer)(box, order)
    return await _cut(http, reply) if order.meets(Kind.TRUNCATE) else _response(reply)


async def _answer(box: Sandbox, order: Order) -> ClientReply:
    match await made(box, order):
        case Failure() as failure:
            return order.mount.face.write_error(failure, order.request)
        case result:
            return order.mount.face.write_reply(result, order.request)


async def _submit(box: Sandbox, order: Order) -> ClientReply:
    """Starts a job, waits for it as long as the caller asked, and answers with it as it then stands."""
    provider, request, face = order.mount.provider, order.request, order.mount.wire.jobs
    assert face is not None
    given = read_answer(order.call.body).get("input")
    job = Job(
        id=secrets.token_hex(13),
        state=JobState.QUEUED,
        base_url=order.call.base_url,
        model=request.model,
        input=given if isinstance(given, dict) else {"prompt": request.prompt},
    )
    task = box.jobs.start(provider, job, made(box, order))
    if request.wait != 0:
        await asyncio.wait({task}, timeout=request.wait)
    return face.write_job(_answering(order.call, box.jobs.get(provider, job.id) or job))


def _answering(call: ClientCall, job: Job) -> Job:
    """The job, for the route that was called."""
    accept = call.headers.get("accept", "")
    return replace(job, base_url=call.base_url, route=call.route, params=call.params, accept=accept)


async def _stream(box: Sandbox, order: Order, http: web.Request) -> web.StreamResponse:
    """Partial pictures as they come along, then the finished ones. A failure comes before the first event."""
    request, face = order.request, order.mount.wire.events
    assert face is not None
    steps = request.partials + 1
    result = await made(box, replace(order, seconds=order.seconds / steps))
    if isinstance(result, Failure):
        return _response(order.mount.face.write_error(result, request))
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await response.prepare(http)
    for index in range(request.partials):
        coarse = await _coarse(box, result.artifacts[0], (index + 1) / steps)
        await response.write(face.write_event(Partial(coarse, index), request))
        await box.sleep(order.seconds / steps)
    last = face.write_event(result, request)
    if order.meets(Kind.TRUNCATE):
        await response.write(last[: len(last) // 2])
        _close(http)
        return response
    await response.write(last)
    await response.write_eof()
    return response


async def _coarse(box: Sandbox, artifact: Artifact, share: float) -> Artifact:
    """The picture as it looked at that share of the way; one that has no bytes stays without."""
    if not artifact.media.data:
        return artifact
    data = await in_thread(box, develop, artifact.media.data, share)
    return replace(artifact, media=Media(data=data, mime=artifact.media.mime))


async def _poll(box: Sandbox, mount: Mount, call: ClientCall, http: web.Request) -> web.StreamResponse:
    return await _look(box, mount, call, http, box.jobs.get)


async def _cancel(box: Sandbox, mount: Mount, call: ClientCall, http: web.Request) -> web.StreamResponse:
    return await _look(box, mount, call, http, box.jobs.cancel)


async def _look(
    box: Sandbox, mount: Mount, call: ClientCall, http: web.Request, find: Callable[[str, str], Job | None]
) -> web.StreamResponse:
    assert mount.wire.jobs is not None
    id = mount.wire.jobs.read_id(call)
    known = box.jobs.get(mount.provider, id)
    rule = box.faults.of(mount.provider, known.model if known else "")
    fault = _fault_of(call) or rule.pick_poll(box.rng)
    if stopped := await _stopped(mount, fault, http, None):
        return stopped
    if fault and fault.kind is Kind.ERROR:
        return _response(mount.face.write_error(failure_of(fault), None))
    job = find(mount.provider, id)
    if job is None:
        failure = Failure(Cause.EXPIRED, "there is no such job", id=id)
        return _response(mount.face.write_error(failure, None))
    reply = mount.wire.jobs.write_job(_answering(call, job))
    return await _cut(http, reply) if fault and fault.kind is Kind.TRUNCATE else _response(reply)


async def _upload(box: Sandbox, mount: Mount, call: ClientCall, http: web.Request) -> web.StreamResponse:
    assert mount.wire.files is not None
    rule = box.faults.of(mount.provider, "")
    if stopped := await _stopped(mount, _fault_of(call) or rule.pick_poll(box.rng), http, None):
        return stopped
    media, name = mount.wire.files.read_upload(call)
    id = box.files.put(media)
    upload = Upload(id, f"{call.base_url}/files/{id}", media, name, box.clock())
    return _response(mount.wire.files.write_upload_reply(upload))


async def _download(box: Sandbox, mount: Mount, call: ClientCall, http: web.Request) -> web.StreamResponse:
    rule = box.faults.of(mount.provider, "")
    if stopped := await _stopped(mount, _fault_of(call) or rule.pick_poll(box.rng), http, None):
        return stopped
    media = box.files.get(call.params["id"])
    if media is None:
        return web.Response(status=404, text="there is no such file, or its time is over")
    return web.Response(body=media.data, content_type=media.mime or "application/octet-stream")


async def _describe(box: Sandbox, mount: Mount, call: ClientCall, http: web.Request) -> web.StreamResponse:
    assert mount.wire.described is not None
    return _response(mount.wire.described.describe(call))


async def _pass(box: Sandbox, mount: Mount, call: ClientCall, http: web.Request) -> web.StreamResponse:
    """What makes no media is not played: the answer says so, and what was asked."""
    told = {"sandbox": mount.provider, "method": call.method, "path": http.path}
    return web.Response(body=orjson.dumps(told), content_type="application/json")


ACTIONS: Mapping[Action, Callable[[Sandbox, Mount, ClientCall, web.Request], Awaitable[web.StreamResponse]]] = {
    Action.CREATE: _create,
    Action.SUBMIT: _create,
    Action.POLL: _poll,
    Action.CANCEL: _cancel,
    Action.UPLOAD: _upload,
    Action.DOWNLOAD: _download,
    Action.DESCRIBE: _describe,
    Action.PASS: _pass,
}


# --------------------------------------------------------------------------------------------------------------- faults


def _fault_of(call: ClientCall) -> Fault | None:
    """The fault asked for by header. Raises InvalidRequest."""
    if not (value := call.headers.get("x-sandbox-fault", "")):
        return None
    try:
        return read_fault_header(value)
    except FaultError as error:
        raise InvalidRequest("x-sandbox-fault", str(error)) from None


async def _stopped(
    mount: Mount, fault: Fault | None, http: web.Request, request: MediaRequest | None
) -> web.StreamResponse | None:
    """The answer where a fault leaves no room for another; None: go on."""
    match fault:
        case Fault(kind=Kind.DOWN | Kind.DENIED | Kind.THROTTLE):
            return _response(mount.face.write_error(failure_of(fault), request))
        case Fault(kind=Kind.RESET):
            _abort(http)
            return web.Response()
        case Fault(kind=Kind.HANG):
            await asyncio.Event().wait()  # the caller gives up first: its hanging up cancels this
    return None


def _abort(http: web.Request) -> None:
    if http.transport is not None:
        http.transport.abort()


def _close(http: web.Request) -> None:
    """Unlike an abort, what was written still goes out."""
    if http.transport is not None:
        http.transport.close()


async def _cut(http: web.Request, reply: ClientReply) -> web.StreamResponse:
    """The announced length, half of the body, and the end of the connection."""
    response = web.StreamResponse(status=reply.status, headers={**reply.headers, "Content-Type": reply.content_type})
    response.content_length = len(reply.body)
    await response.prepare(http)
    await response.write(reply.body[: len(reply.body) // 2])
    _close(http)
    return response


def _response(reply: ClientReply) -> web.Response:
    return web.Response(
        status=reply.status, body=reply.body, headers={**reply.headers, "Content-Type": reply.content_type}
    )


def _logged(action: Action, path: str, call: ClientCall) -> dict[str, Any]:
    """What the request log keeps of a call."""
    return {
        "action": action.value,
        "method": call.method,
        "path": path,
        "headers": {name: value for name, value in call.headers.items() if name not in _SECRET},
        "bytes": len(call.body),
        "fields": sorted(read_answer(call.body)),
    }
