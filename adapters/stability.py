"""Stability AI's v2beta REST API: a path per service, multipart in, a picture or JSON out. Both faces.

Knows how the services of ``stability_fields`` travel (its OpenAPI as copied in June 2025, and what live callers of 2026
saw, read 2026-11-21). Called through the registry. Must not wait, fetch, or know what a service's fields mean. There is
no official SDK of this API. The remote id of a deployment is the path of a service ("edit/erase") below a base URL that
ends in ``/v2beta/stable-image``. Options of a deployment:

    defaults  fields sent unless the caller set them: {model: sd3.5-medium} for one of the models behind generate/sd3,
              {strength: 0.7} where the service needs one, {prompt: a sharp photo} for an upscaler that insists

Two services answer with an id, and their picture is fetched by it: such a job cannot be cancelled and is kept for a
day. A picture that the content filter has blurred comes with the status 200 and is a refusal all the same. Ids of jobs
that were handed through to the provider (sound, 3D) have 64 hexadecimal digits, as ours never have.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from typing import Any
from urllib.parse import quote

import orjson

from adapters import fields, forms, imaging, replies, stability_fields
from adapters.ir import (
    Action,
    Artifact,
    Auth,
    Cause,
    ClientCall,
    ClientReply,
    Delivery,
    Done,
    Failed,
    Failure,
    InvalidRequest,
    Job,
    JobState,
    Media,
    MediaRequest,
    MediaResult,
    Pending,
    Route,
    Step,
    Target,
    UpstreamCall,
    UpstreamReply,
)
from adapters.stability_fields import NAME, SERVICES

PREFIX = "/stability"
VERSIONS: tuple[str, ...] = ("/v2beta/stable-image", "/v2beta", "/v1")
ALIASES: tuple[str, ...] = ()
_SUBMITS = frozenset({"edit/replace-background-and-relight", "upscale/creative"})
ROUTES: tuple[Route, ...] = (
    *(Route("POST", f"/{name}", Action.SUBMIT if name in _SUBMITS else Action.CREATE, name) for name in SERVICES),
    Route("GET", "/results/{id:[0-9a-f]{64}}", Action.PASS, "their_result"),
    Route("GET", "/results/{id}", Action.POLL, "result"),
    Route("GET", "/upscale/creative/result/{id}", Action.POLL, "creative_result"),
    Route("POST", "/3d/{model}", Action.PASS, "3d"),
    Route("POST", "/audio/{model}/{task}", Action.PASS, "audio"),
    Route("GET", "/audio/results/{id}", Action.PASS, "audio_result"),
    Route("GET", "/user/{what:account|balance}", Action.PASS, "user"),
    Route("GET", "/engines/list", Action.PASS, "engines"),
    Route("POST", "/generation/{path:.+}", Action.PASS, "first_version"),
)
CLIENT_OPERATIONS = frozenset(service.operation for service in SERVICES.values())
PROVIDER_OPERATIONS = CLIENT_OPERATIONS
AUTH = Auth("Authorization", "Bearer")
TAKES_URLS = False
OPTIONS = frozenset({"defaults"})

POLL_AFTER = 10.0  # seconds, the least that the documentation asks for
MAX_USER = 256  # characters

# --------------------------------------------------------------------------------------------------------- client face


def read_request(call: ClientCall) -> MediaRequest:
    """A call of one service, always multipart. The Accept header says how the picture is handed over."""
    given, pictures = _read_parts(call)
    return replace(
        stability_fields.read_request(call.route, given, pictures),
        delivery=_delivery(call.headers.get("accept", "")),
        wait=0.0 if call.route in _SUBMITS else None,
        user=call.headers.get("stability-client-user-id", "")[:MAX_USER],
        ask=call.ask,
    )


def _delivery(accept: str) -> Delivery:
    return Delivery.B64 if "application/json" in accept.lower() else Delivery.BYTES


def _read_parts(call: ClientCall) -> tuple[dict[str, Any], dict[str, Media]]:
    """The fields and the pictures. An empty part is none: callers without a picture send an empty file to make the body
    multipart, as the examples of the documentation do."""
    given: dict[str, Any] = {}
    pictures: dict[str, Media] = {}
    names = SERVICES[call.route].pictures
    for name, filename, mime, value in forms.read_multipart(call.body, call.headers.get("content-type", "")):
        if not value:
            continue
        if name in names:
            pictures[name] = Media(data=value, mime=imaging.sniff_mime(value) or mime)
        elif filename:
            given[name] = Media(data=value, mime=imaging.sniff_mime(value) or mime)
        else:
            given[name] = _text(name, value)
    return given, pictures


def _text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(name, f"{name} must be text in UTF-8") from None


def read_id(call: ClientCall) -> str:
    """Raises InvalidRequest."""
    return fields.read_text(call.params, "id", required=True)


def write_reply(result: MediaResult, request: MediaRequest) -> ClientReply:
    """The one picture that a call is answered with: its bytes, or base64 in JSON."""
    return _picture(result, request.delivery)


def _picture(result: MediaResult, delivery: Delivery) -> ClientReply:
    artifact = result.artifacts[0]
    mime, seed = artifact.media.mime or "image/png", artifact.seed or 0
    headers = {"x-request-id": result.id} if result.id else {}
    if delivery is Delivery.BYTES:
        return ClientReply(200, artifact.media.data, mime, {"finish-reason": "SUCCESS", "seed": str(seed), **headers})
    body = {"image": imaging.encode_base64(artifact.media.data), "finish_reason": "SUCCESS", "seed": seed}
    return ClientReply(200, orjson.dumps(body), f"application/json; type={mime}", headers)


def write_job(job: Job) -> ClientReply:
    """A submit is answered with the id, unless it is known already that nothing will come of it."""
    if job.route in _SUBMITS and job.failure is None:
        return replies.json_reply(200, {"id": job.id})
    match job:
        case Job(state=JobState.QUEUED | JobState.RUNNING):
            return replies.json_reply(202, {"id": job.id, "status": "in-progress"})
        case Job(state=JobState.SUCCEEDED, result=MediaResult() as result):
            return _picture(result, _delivery(job.accept))
        case Job(failure=Failure() as failure):
            return write_error(failure, None)
        case _:
            return write_error(Failure(Cause.CANCELED, f"the job was {job.state}", id=job.id), None)


_ERROR_NAMES = {
    400: "bad_request",
    403: "content_moderation",
    404: "not_found",
    413: "payload_too_large",
    429: "rate_limit_exceeded",
    500: "internal_error",
}


def write_error(failure: Failure, request: MediaRequest | None) -> ClientReply:
    """A refusal is the one error with the status 403. A field stands before its message, as the API has it."""
    status = 403 if failure.cause is Cause.REFUSED else failure.http_status
    words = failure.message.removeprefix(f"{failure.field} ")
    body = {
        "id": failure.id,
        "name": _ERROR_NAMES.get(status) or failure.code or failure.cause.label,
        "errors": [f"{failure.field}: {words}" if failure.field else failure.message],
    }
    headers = {} if failure.retry_after is None else {"Retry-After": str(ceil(failure.retry_after))}
    return replies.json_reply(status, body, headers)


# ------------------------------------------------------------------------------------------------------- provider face


def write_request(request: MediaRequest, target: Target) -> UpstreamCall:
    """Multipart to the path of the service. The answer is asked for as JSON: a refusal shows in it."""
    service = SERVICES.get(target.remote, SERVICES["generate/core"])
    given, pictures, carried = stability_fields.write_request(request, service, target.options.get("defaults", {}))
    headers = {"Accept": "application/json"}
    if 0 < len(request.user) <= MAX_USER and request.user.isascii() and request.user.isprintable():
        headers["stability-client-user-id"] = request.user
        carried.add("user")
    kind, body = forms.write_multipart(forms.form_parts({**given, **pictures}))
    return UpstreamCall(
        "POST",
        f"{target.base_url}/{quote(target.remote)}",
        {"Content-Type": kind, **headers},
        body,
        dropped=fields.dropped_fields(request, NAME, carried),
        media=len(pictures),
    )


def poll(handle: Mapping[str, Any], target: Target) -> UpstreamCall:
    """Results of every service are beside the services, not below them."""
    root = target.base_url.removesuffix("/stable-image")
    return UpstreamCall("GET", f"{root}/results/{quote(str(handle['id']), safe='')}", {"Accept": "application/json"})


def cancel(handle: Mapping[str, Any], target: Target) -> UpstreamCall | None:
    """There is no way to."""
    return None


def read_reply(reply: UpstreamReply) -> Step:
    body = replies.read_answer(reply.body)
    if not 200 <= reply.status < 300:
        return _read_error(reply, body)
    match body:
        case {"finish_reason": "CONTENT_FILTERED"}:
            return Failed(Cause.REFUSED, "the picture was blurred by the content filter", code="CONTENT_FILTERED")
        case {"image": str(image), "finish_reason": "SUCCESS"} | {"result": str(image), "finish_reason": "SUCCESS"}:
            return _read_picture(image, body.get("seed"))
        case {"finish_reason": reason}:
            return Failed(Cause.MALFORMED, f"finished without a picture: {str(reason)[:40]!r}")
        case {"id": str(id), "status": "in-progress"} if id:
            return Pending({"id": id}, POLL_AFTER)
        case {"status": status}:
            return Failed(Cause.MALFORMED, f"unknown status {str(status)[:40]!r}")
        case {"id": str(id)} if id:
            return Pending({"id": id}, POLL_AFTER)
        case _:
            return Failed(Cause.MALFORMED, "the answer is neither a picture nor a job", over=False)


def _read_picture(image: str, seed: object) -> Step:
    try:
        media = imaging.read_base64(image, "image")
    except InvalidRequest as error:
        return Failed(Cause.MALFORMED, error.message)
    return Done((Artifact(media, seed=seed if isinstance(seed, int) else None),))


def _read_error(reply: UpstreamReply, body: Mapping[str, Any]) -> Failed:
    """Only a refusal and an unknown id are about the job and not about this call."""
    name, errors = body.get("name"), body.get("errors")
    lines = [error for error in errors if isinstance(error, str)] if isinstance(errors, list) else []
    cause = replies.cause_of(reply.status)
    if name == "content_moderation":
        cause = Cause.REFUSED
    elif reply.status == 404:
        cause = Cause.EXPIRED
    elif reply.status == 400 and any(map(stability_fields.blames_caller, lines)):
        cause = Cause.INVALID
    code = name if isinstance(name, str) else ""
    return Failed(
        cause,
        replies.excerpt("; ".join(lines)) or replies.excerpt(code, 40) or f"HTTP {reply.status}",
        retry_after=replies.retry_after(reply.headers),
        code=replies.excerpt(code, 40),
        over=cause in (Cause.REFUSED, Cause.EXPIRED),
    )
