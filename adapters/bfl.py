"""Black Forest Labs: submit to a path per model, then poll the URL the answer names. Both faces.

Knows the fields of api.bfl.ai (its OpenAPI as copied in May 2026, docs.bfl.ai seen 2026-11-20). Called through the
registry. Must not wait, fetch, or know a model by its name: what differs between models is said by the options of a
deployment, whose defaults are those of FLUX.2:

    dims            how a size is told: width_height (default), aspect_ratio, or none
    multiple, min_edge, max_edge, max_pixels
                    what width and height are brought to: 16, 64, 16384 and 4194304
    image_field     where given pictures go: input_image (default; the next in input_image_2 and so on), image_prompt,
                    or image, which has the mask beside it
    steering        true for the models that take steps and guidance
    defaults        fields sent unless the caller set them, such as {safety_tolerance: 2}

An answer to the submit has no status and an answer to a poll no polling URL, so ``read_reply`` tells them apart by
that, and the handle of a poll's ``Pending`` is empty. The price in credits stands in the answer to the submit.
"""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any
from urllib.parse import quote

import orjson

from adapters import fields
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
    Operation,
    Pending,
    Route,
    Step,
    Target,
    UpstreamCall,
    UpstreamReply,
    Usage,
)

NAME = "bfl"
PREFIX = "/bfl"
VERSIONS: tuple[str, ...] = ("/v1", "")
ALIASES: tuple[str, ...] = ()
ROUTES: tuple[Route, ...] = (
    Route("POST", "/{model:flux-[a-z0-9.-]+}", Action.CREATE, "submit"),
    Route("GET", "/get_result", Action.POLL, "get_result"),
)
CLIENT_OPERATIONS = frozenset({Operation.GENERATE, Operation.EDIT, Operation.INPAINT})
PROVIDER_OPERATIONS = CLIENT_OPERATIONS
AUTH = Auth("x-key")
TAKES_URLS = True
OPTIONS = frozenset({"dims", "multiple", "min_edge", "max_edge", "max_pixels", "image_field", "steering", "defaults"})

CREDIT = 0.01  # dollars
POLL_AFTER = 0.5  # seconds; the documentation asks for 0.5 to 1.5

_INPUT_IMAGES = ("input_image", *(f"input_image_{number}" for number in range(2, 9)))
_PICTURES = (*_INPUT_IMAGES, "image_prompt", "image")
_CANONICAL = frozenset({"prompt", "seed", "steps", "guidance", "output_format", "mask", *_PICTURES})
_NOT_SERVED = {
    **dict.fromkeys(("webhook_url", "webhook_secret"), "there are no webhooks, poll the polling_url"),
    **dict.fromkeys(("top", "bottom", "left", "right"), "outpainting is not supported"),
    **dict.fromkeys(("control_image", "preprocessed_image"), "control pictures are not supported"),
}

# --------------------------------------------------------------------------------------------------------- client face


def read_request(call: ClientCall) -> MediaRequest:
    """A submit. The operation follows from the fields: a mask is an inpaint, pictures are an edit."""
    body = {name: value for name, value in fields.read_object(call.body).items() if value is not None}
    for name, why in _NOT_SERVED.items():
        if body.get(name):
            raise InvalidRequest(name, f"{name} cannot be served: {why}")
    references = tuple(fields.read_picture(body[name], name) for name in _PICTURES if body.get(name))
    mask = _read_mask(body)
    shape, told = _read_shape(body)
    extras = {name: value for name, value in body.items() if name not in _CANONICAL | told}
    return MediaRequest(
        operation=Operation.INPAINT if mask else Operation.EDIT if references else Operation.GENERATE,
        prompt=fields.read_text(body, "prompt", required=not references),
        model=call.params.get("model", ""),
        seed=fields.read_integer(body, "seed", 0, 2**63 - 1),
        steps=fields.read_integer(body, "steps", 1, 1000),
        guidance=fields.read_number(body, "guidance", 0, 100),
        references=references,
        mask=mask,
        format=fields.read_choice(body, "output_format", ("jpeg", "png", "webp")),
        delivery=Delivery.URL,
        wait=0.0,
        extras={NAME: extras} if extras else {},
        **shape,
        ask=call.ask,
    )


def _read_mask(body: Mapping[str, Any]) -> Media | None:
    """White = change here as in the canon. Without a mask, the transparency of ``image`` is one."""
    image = body.get("image")
    if not body.get("mask"):
        if not image:
            return None
        picture = fields.read_picture(image, "image")
        if picture.url:
            raise InvalidRequest("mask", "mask is required with an image given by URL")
        return fields.mask_from_alpha(picture.data, "image")
    if not image:
        raise InvalidRequest("image", "image is required with a mask")
    mask = fields.read_picture(body["mask"], "mask")
    return mask if mask.url else fields.mask_from_grey(mask.data, "mask")


def _read_shape(body: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """The size, else the aspect, and the fields that told it. Zero is "choose for me"; half a size says nothing."""
    edges = {name: fields.read_integer(body, name, 0, fields.MAX_EDGE) for name in ("width", "height")}
    if all(edges.values()):
        return {"size": tuple(edges.values())}, set(edges)
    told = {name for name, edge in edges.items() if edge == 0}
    if aspect := fields.read_text(body, "aspect_ratio"):
        return {"aspect": fields.read_aspect(aspect, "aspect_ratio")}, told | {"aspect_ratio"}
    return {}, told


def read_id(call: ClientCall) -> str:
    """Raises InvalidRequest."""
    return fields.read_text(call.query, "id", required=True)


def write_reply(result: MediaResult, request: MediaRequest) -> ClientReply:
    """The answer to a poll of a finished job: this wire has no other way to hand over a picture."""
    return _poll_answer(result.id, "Ready", result=_result(result, request.prompt))


def write_job(job: Job) -> ClientReply:
    if job.fresh:
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
    sample = fields.deliver(artifact.media, Delivery.URL)
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


# ------------------------------------------------------------------------------------------------------- provider face


def write_request(request: MediaRequest, target: Target) -> UpstreamCall:
    """POST to the model's path, see the options above."""
    options = target.options
    shape, told = _shape(request, options)
    pictures, shown = _pictures(request, options)
    plain: dict[str, Any] = {"prompt": request.prompt, "seed": request.seed, "output_format": request.format}
    carried = {"seed", "format", *told, *shown}
    if options.get("steering"):
        plain |= {"steps": request.steps, "guidance": request.guidance}
        carried |= {"steps", "guidance"}
    body = {
        **options.get("defaults", {}),
        **request.extras.get(NAME, {}),
        **{name: value for name, value in plain.items() if value not in ("", None)},
        **shape,
        **pictures,
    }
    return UpstreamCall(
        "POST",
        f"{target.base_url}/{quote(target.remote)}",
        {"Content-Type": "application/json"},
        orjson.dumps(body),
        dropped=fields.dropped_fields(request, NAME, carried),
        media=len(pictures),
    )


def _shape(request: MediaRequest, options: Mapping[str, Any]) -> tuple[dict[str, Any], Sequence[str]]:
    """The fields that tell the size, and the canonical fields told by them."""
    match options.get("dims", "width_height"):
        case "width_height" if pixels := request.dimensions():
            width, height = fields.snap(
                pixels,
                options.get("multiple", 16),
                options.get("min_edge", 64),
                options.get("max_edge", fields.MAX_EDGE),
                options.get("max_pixels", 2048 * 2048),
            )
            return {"width": width, "height": height}, ("size", "aspect", "resolution")
        case "aspect_ratio" if aspect := fields.aspect_of(request):
            return {"aspect_ratio": f"{aspect[0]}:{aspect[1]}"}, ("size", "aspect")
        case _:
            return {}, ()


def _pictures(request: MediaRequest, options: Mapping[str, Any]) -> tuple[dict[str, str], Sequence[str]]:
    """The fields that hold pictures, and the canonical fields told by them."""
    field = options.get("image_field", "input_image")
    names = _INPUT_IMAGES if field == "input_image" else (field,)
    pictures = dict(zip(names, map(_picture, request.references), strict=False))
    if field != "image":
        return pictures, ("references",)
    if request.mask:
        pictures["mask"] = _picture(request.mask)
    return pictures, ("references", "mask")


def _picture(media: Media) -> str:
    return media.url or fields.encode_base64(media.data)


def poll(handle: Mapping[str, Any], target: Target) -> UpstreamCall:
    """The URL as it was named: it may be on another host of the provider, and only there the job is known."""
    return UpstreamCall("GET", str(handle["polling_url"]))


def cancel(handle: Mapping[str, Any], target: Target) -> UpstreamCall | None:
    """There is no way to."""
    return None


_ENDED = {
    "Error": Cause.UNAVAILABLE,
    "Failed": Cause.UNAVAILABLE,  # not in the specification; other clients have met it
    "Request Moderated": Cause.REFUSED,
    "Content Moderated": Cause.REFUSED,
    "Task not found": Cause.EXPIRED,
}


def read_reply(reply: UpstreamReply) -> Step:
    body = fields.read_answer(reply.body)
    if 200 <= reply.status < 300 or body.get("status") == "Task not found":  # which may come with a 404
        return _read_job(body)
    return _read_error(reply, body)


def _read_job(body: Mapping[str, Any]) -> Step:
    usage = _usage(body)
    match body:
        case {"status": "Ready", "result": {"sample": str(url), **result}} if url.startswith(("https://", "http://")):
            prompt, seed = result.get("prompt"), result.get("seed")
            artifact = Artifact(
                Media(url=url),
                seed=seed if isinstance(seed, int) else None,
                revised_prompt=prompt if isinstance(prompt, str) else "",
            )
            return Done((artifact,), usage)
        case {"status": "Ready"}:
            return Failed(Cause.MALFORMED, "ready, but without a picture")
        case {"status": "Pending"}:
            return Pending(_handle(body), POLL_AFTER, usage)
        case {"status": str(status)} if status in _ENDED:
            message = f"{status}: {_words(body.get('details'))}".removesuffix(": ")
            return Failed(_ENDED[status], fields.excerpt(message), code=status)
        case {"status": str(status)}:
            return Failed(Cause.MALFORMED, f"unknown status {status[:40]!r}")
        case {"polling_url": str()}:
            return Pending(_handle(body), POLL_AFTER, usage)
        case _:
            return Failed(Cause.MALFORMED, "the answer is neither a job nor the state of one", over=False)


def _handle(body: Mapping[str, Any]) -> dict[str, Any]:
    url = body.get("polling_url")
    return {"polling_url": url, "id": str(body.get("id", ""))} if isinstance(url, str) else {}


def _usage(body: Mapping[str, Any]) -> Usage:
    cost = body.get("cost")
    return Usage(cost_usd=cost * CREDIT) if isinstance(cost, int | float) and cost >= 0 else Usage()


def _read_error(reply: UpstreamReply, body: Mapping[str, Any]) -> Failed:
    """An HTTP error is about this call and not about the job: ``over`` is never set."""
    detail = body.get("detail")
    named = [f"{field}: {_words(entry.get('msg'))}" for entry in _entries(detail) if (field := _field(entry))]
    words = "; ".join(named) or _words(detail) or _words(body.get("message")) or _words(body.get("error"))
    wait = body.get("retry_after")
    return Failed(
        Cause.INVALID if reply.status == 422 and named else fields.cause_of(reply.status),
        fields.excerpt(words or f"HTTP {reply.status}"),
        retry_after=float(wait) if isinstance(wait, int | float) and wait >= 0 else fields.retry_after(reply.headers),
        code=fields.excerpt(_words(body.get("error")), 40),
        over=False,
    )


def _entries(detail: object) -> list[Mapping[str, Any]]:
    return [entry for entry in detail if isinstance(entry, dict)] if isinstance(detail, list) else []


def _field(entry: Mapping[str, Any]) -> str:
    """{"loc": ["body", "width"]} -> "width"."""
    loc = entry.get("loc")
    return ".".join(str(step) for step in loc if step != "body") if isinstance(loc, list) else ""


def _words(value: object) -> str:
    if isinstance(value, str):
        return value
    return orjson.dumps(value).decode() if value else ""
