"""What callers of Black Forest Labs are served: the client face.

The endpoint tells the operation of the tools, and the fields that of the models: a mask is an inpaint, pictures are an
edit. Videos are passed on.
"""

import hmac
from collections.abc import Mapping
from math import ceil
from typing import Any
from urllib.parse import quote

import orjson

from adapters import fields, imaging
from adapters.ir import (
    Action,
    Cause,
    ClientCall,
    ClientReply,
    Delivery,
    Failure,
    InvalidRequest,
    Job,
    JobState,
    Margins,
    Media,
    MediaRequest,
    MediaResult,
    Operation,
    PassThrough,
    Route,
    Webhook,
    WebhookCall,
)

NAME = "bfl"
PREFIX = "/bfl"
VERSIONS: tuple[str, ...] = ("/v1", "")
ALIASES: tuple[str, ...] = ()
ROUTES: tuple[Route, ...] = (
    Route("POST", "/flux-tools/{tool:(?:erase|outpainting|deblur)-v[0-9]+}", Action.SUBMIT, "submit"),
    Route("POST", "/flux-tools/{tool}", Action.PASS, "pass"),
    Route("POST", "/{model:flux-[a-z0-9.-]+}", Action.SUBMIT, "submit"),
    Route("GET", "/get_result", Action.POLL, "get_result"),
    Route("GET", "/credits", Action.PASS, "pass"),
)
CLIENT_OPERATIONS = frozenset(
    {
        Operation.GENERATE,
        Operation.EDIT,
        Operation.INPAINT,
        Operation.OUTPAINT,
        Operation.ERASE,
        Operation.RESTORE,
    }
)

_ENDPOINTS = {  # without their version
    "flux-tools/erase": Operation.ERASE,
    "flux-tools/outpainting": Operation.OUTPAINT,
    "flux-tools/deblur": Operation.RESTORE,
    "flux-pro-1.0-expand": Operation.OUTPAINT,
}
_PICTURES = ("input_image", *(f"input_image_{number}" for number in range(2, 9)), "image_prompt", "image")
_SIDES = ("left", "top", "right", "bottom")
_PLAIN = ("prompt", "seed", "steps", "guidance", "output_format", "mask", "webhook_url", "webhook_secret")
_CANONICAL = frozenset((*_PLAIN, *_PICTURES, *_SIDES))
_MAX_MARGIN = 2048
_NOT_SERVED = ("control_image", "preprocessed_image")


def read_request(call: ClientCall) -> MediaRequest:
    """A submit to a model or a tool."""
    body = {name: value for name, value in fields.read_object(call.body).items() if value is not None}
    model = f"flux-tools/{call.params['tool']}" if "tool" in call.params else call.params.get("model", "")
    if "video" in model:
        raise PassThrough
    for name in _NOT_SERVED:
        if body.get(name):
            raise InvalidRequest(name, f"{name} cannot be served: control pictures are not supported")
    references = tuple(imaging.read_picture(body[name], name) for name in _PICTURES if body.get(name))
    shape, told = _read_shape(body)
    margins, placed = _read_margins(body, references, shape.get("size"))
    operation = _ENDPOINTS.get(model.partition("-v")[0], Operation.OUTPAINT if margins else None)
    mask = None if operation in (Operation.OUTPAINT, Operation.RESTORE) else _read_mask(body, operation)
    if operation is None:
        operation = Operation.INPAINT if mask else Operation.EDIT if references else Operation.GENERATE
    elif not references:
        raise InvalidRequest("image", "image is required")
    extras = {name: value for name, value in body.items() if name not in _CANONICAL | told | placed}
    return MediaRequest(
        operation=operation,
        prompt=fields.read_text(body, "prompt", required=not references),
        model=model,
        seed=fields.read_integer(body, "seed", 0, 2**63 - 1),
        steps=fields.read_integer(body, "steps", 1, 1000),
        guidance=fields.read_number(body, "guidance", 0, 100),
        references=references,
        mask=mask,
        margins=margins,
        format=fields.read_choice(body, "output_format", ("jpeg", "png", "webp")),
        delivery=Delivery.URL,
        wait=0.0,
        webhook=_read_webhook(body),
        extras={NAME: extras} if extras else {},
        **shape,
        ask=call.ask,
    )


def _read_margins(
    body: Mapping[str, Any], references: tuple[Media, ...], size: tuple[int, int] | None
) -> tuple[Margins | None, set[str]]:
    """What each side grows by, and the fields beside ``_SIDES`` that told it: the place of the picture on a canvas of
    ``size``. Of a picture given by URL the place says nothing."""
    sides = [fields.read_integer(body, side, 0, _MAX_MARGIN) or 0 for side in _SIDES]
    if any(sides):
        return Margins(*sides), set()
    offsets = [
        fields.read_integer(body, f"reference_offset_{axis}", -fields.MAX_EDGE, fields.MAX_EDGE) for axis in "xy"
    ]
    inner = imaging.picture_size(references[0].data) if references else (0, 0)
    if size is None or not all(inner) or offsets == [None, None]:
        return None, set()
    spare = [outer - inside for outer, inside in zip(size, inner, strict=True)]
    left, top = (room // 2 if offset is None else offset for offset, room in zip(offsets, spare, strict=True))
    margins = Margins(left, top, spare[0] - left, spare[1] - top)
    if min(margins.left, margins.top, margins.right, margins.bottom) < 0:  # the picture is cropped
        return None, set()
    return margins, {"reference_offset_x", "reference_offset_y"}


def _read_mask(body: Mapping[str, Any], operation: Operation | None) -> Media | None:
    """White = change here as in the canon. Without a mask, the transparency of ``image`` is one."""
    image = body.get("image")
    if not body.get("mask"):
        if operation is Operation.ERASE:
            raise InvalidRequest("mask", "mask is required")
        if not image:
            return None
        picture = imaging.read_picture(image, "image")
        if picture.url:
            raise InvalidRequest("mask", "mask is required with an image given by URL")
        return imaging.mask_from_alpha(picture.data, "image")
    if not image:
        raise InvalidRequest("image", "image is required with a mask")
    mask = imaging.read_picture(body["mask"], "mask")
    return mask if mask.url else imaging.mask_from_grey(mask.data, "mask")


def _read_shape(body: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """The size, else the aspect, and the fields that told it. Zero is "choose for me"; half a size says nothing."""
    edges = {name: fields.read_integer(body, name, 0, fields.MAX_EDGE) for name in ("width", "height")}
    if all(edges.values()):
        return {"size": tuple(edges.values())}, set(edges)
    told = {name for name, edge in edges.items() if edge == 0}
    if aspect := fields.read_text(body, "aspect_ratio"):
        return {"aspect": fields.read_aspect(aspect, "aspect_ratio")}, told | {"aspect_ratio"}
    return {}, told


def _read_webhook(body: Mapping[str, Any]) -> Webhook | None:
    url = fields.read_text(body, "webhook_url")
    if not url:
        return None
    if not url.startswith(("https://", "http://")):
        raise InvalidRequest("webhook_url", "webhook_url must be an http(s) URL")
    return Webhook(url, secret=fields.read_text(body, "webhook_secret"))


def read_id(call: ClientCall) -> str:
    """Raises InvalidRequest."""
    return fields.read_text(call.query, "id", required=True)


def write_reply(result: MediaResult, request: MediaRequest) -> ClientReply:
    """The answer to a poll of a finished job: this wire has no other way to hand over a picture."""
    return _poll_answer(result.id, "Ready", result=_result(result, request.prompt))


def write_job(job: Job) -> ClientReply:
    """A submit with a webhook is not told a polling URL, as by the API itself; the id can be polled all the same."""
    if job.route == "submit":
        if hook := job.input.get("webhook_url"):
            return _json(200, {"id": job.id, "status": "Pending", "webhook_url": hook})
        polling_url = f"{job.base_url}/get_result?id={quote(job.id, safe='')}"
        return _json(200, {"id": job.id, "polling_url": polling_url})
    match job:
        case Job(state=JobState.QUEUED | JobState.RUNNING):
            return _poll_answer(job.id, "Pending")
        case Job(state=JobState.SUCCEEDED, result=MediaResult() as result):
            return _poll_answer(job.id, "Ready", result=_result(result, str(job.input.get("prompt", ""))))
        case Job(failure=Failure(cause=Cause.EXPIRED, message=message)):
            return _poll_answer(job.id, "Task not found", message, http_status=404)
        case Job(failure=Failure(cause=cause, message=message)):
            return _poll_answer(job.id, "Content Moderated" if cause is Cause.REFUSED else "Error", message)
        case _:
            return _poll_answer(job.id, "Error", f"the job was {job.state}")


def _result(result: MediaResult, prompt: str) -> dict[str, Any]:
    artifact = result.artifacts[0]  # one picture a job: the wire has no n
    seed = {} if artifact.seed is None else {"seed": artifact.seed}
    sample = imaging.deliver(artifact.media, Delivery.URL)
    return {"sample": sample, "prompt": artifact.revised_prompt or prompt, **seed}


def _poll_answer(
    id: str, status: str, message: str = "", *, result: Mapping[str, Any] | None = None, http_status: int = 200
) -> ClientReply:
    details = {"message": message} if message else None
    return _json(http_status, {"id": id, "status": status, "result": result, "progress": None, "details": details})


def write_error(failure: Failure, request: MediaRequest | None) -> ClientReply:
    """``detail`` as the API has it: a list naming the field, else a sentence. An unknown id has the shape of a poll."""
    if failure.cause is Cause.EXPIRED:
        return _poll_answer(failure.id, "Task not found", failure.message, http_status=failure.http_status)
    located = {"loc": ["body", failure.field], "msg": failure.message, "type": failure.code or failure.cause.label}
    body: dict[str, Any] = {"detail": [located] if failure.field else failure.message}
    if failure.cause is Cause.REFUSED:
        body["status"] = "Request Moderated"
    if failure.code:
        body["error"] = failure.code
    if failure.retry_after is None:
        return _json(failure.http_status, body)
    return _json(failure.http_status, body, {"Retry-After": str(ceil(failure.retry_after))})


def _json(status: int, value: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> ClientReply:
    return ClientReply(status, orjson.dumps(value), headers=headers or {})


def write_webhook(job: Job, hook: Webhook, secret: bytes, now: float) -> WebhookCall | None:
    """The answer to a poll of the job once it has ended, signed with the secret the caller gave, if it did."""
    if job.state in (JobState.QUEUED, JobState.RUNNING):
        return None
    body = write_job(job).body
    headers = {"Content-Type": "application/json"}
    if hook.secret:
        headers["X-BFL-Signature"] = f"sha256={hmac.digest(hook.secret.encode(), body, 'sha256').hex()}"
    return WebhookCall(body, headers)


def write_secret(secret: bytes) -> ClientReply:
    """There is none to ask for: the caller brings its own."""
    return _json(404, {"detail": "webhooks are signed with the webhook_secret of their request"})
