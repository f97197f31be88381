"""Volcengine Ark and BytePlus ModelArk: Seedream's ``/images/generations``, which edits too. Both faces.

Knows the fields of volcenginesdkarkruntime 5.0.54 and its twin byteplussdkarkruntime 3.0.63 (read and captured
2026-11-21), and the error codes of volcengine.com/docs/82379/1299023 and .../1099476 (copies seen the same day). Called
through the registry. Must not know a model by its name: what differs between models is said by the options of a
deployment, whose defaults are those of Seedream 4.0:

    min_pixels, max_pixels
                   the area a size is brought within: 921600 and 16777216
    resolutions    the labels it takes in place of a size: [1K, 2K, 4K]
    takes          which of seed, guidance and format it takes: none. The first two are of Seedream 3, the last of 5

The SDKs send an explicit null for every field that is not set. A label that is not canonical (3K, adaptive) stays with
this wire, and so does a sequence of pictures (``sequential_image_generation``): how many it makes is the model's choice
by what the prompt says, so it is not ``n``, which the API has not.

Callers can stream; upstream it is not asked for: each event has one finished picture, no sooner than the whole answer
of a call that makes one. A watermark is Ark's default, and drawn only where the caller asked for it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from adapters import fields, imaging, replies
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
    Media,
    MediaRequest,
    MediaResult,
    Operation,
    Partial,
    Route,
    Step,
    Target,
    UpstreamCall,
    UpstreamReply,
    Usage,
)

NAME = "ark"
PREFIX = "/ark"
VERSIONS: tuple[str, ...] = ("/api/v3", "")
ALIASES: tuple[str, ...] = ()
ROUTES: tuple[Route, ...] = (
    Route("POST", "/images/generations", Action.CREATE, "generate"),
    *(
        Route("POST", path, Action.PASS)
        for path in (
            "/chat/completions",
            "/bots/chat/completions",
            "/batch/chat/completions",
            "/embeddings",
            "/embeddings/multimodal",
            "/tokenization",
            "/context/create",
            "/context/chat/completions",
            "/responses",
            "/contents/generations/tasks",
            "/files",
        )
    ),
    *(
        Route("GET", path, Action.PASS)
        for path in (
            "/models",
            "/responses/{id}",
            "/responses/{id}/input_items",
            "/contents/generations/tasks",
            "/contents/generations/tasks/{id}",
            "/files",
            "/files/{id}",
        )
    ),
    *(
        Route("DELETE", path, Action.PASS)
        for path in ("/responses/{id}", "/contents/generations/tasks/{id}", "/files/{id}")
    ),
)
CLIENT_OPERATIONS = frozenset({Operation.GENERATE, Operation.EDIT})

AUTH = Auth("Authorization", "Bearer")
PROVIDER_OPERATIONS = CLIENT_OPERATIONS
TAKES_URLS = True
OPTIONS = frozenset({"min_pixels", "max_pixels", "resolutions", "takes"})

MAX_IMAGES = 14  # references of one call
TOKEN_PIXELS = 256  # of a finished picture, by which the API counts its tokens
_LABELS = {"1K": "1K", "2K": "2K", "3K": "2K", "4K": "4K"}
_OPTIONAL = {"seed": "seed", "guidance": "guidance_scale", "format": "output_format"}
_FORMATS = ("png", "jpeg")
_READ = frozenset(
    {"model", "prompt", "image", "size", "seed", "guidance_scale", "output_format", "response_format", "stream"}
)

# --------------------------------------------------------------------------------------------------------- client face


def read_request(call: ClientCall) -> MediaRequest:
    """A generation, or an edit where there are pictures."""
    given = {name: value for name, value in fields.read_object(call.body).items() if value is not None}
    references = _read_images(given.get("image"))
    extras = {name: value for name, value in given.items() if name not in _READ}
    wanted = fields.read_choice(given, "response_format", ("url", "b64_json"))
    seed = fields.read_integer(given, "seed", -1, 2**31 - 1)
    return MediaRequest(
        operation=Operation.EDIT if references else Operation.GENERATE,
        prompt=fields.read_text(given, "prompt", required=True),
        model=fields.read_text(given, "model"),
        **_read_shape(given, extras),
        seed=None if seed == -1 else seed,  # "any"
        guidance=fields.read_number(given, "guidance_scale", 0, 100),
        references=references,
        format=fields.read_choice(given, "output_format", _FORMATS),
        delivery=Delivery.B64 if wanted == "b64_json" else Delivery.URL,
        stream=fields.read_flag(given, "stream") or False,
        extras={NAME: extras} if extras else {},
        ask=call.ask,
    )


def _read_images(value: object) -> tuple[Media, ...]:
    """One string or a list of them."""
    if value is None or isinstance(value, str):
        return (imaging.read_picture(value, "image"),) if value else ()
    if not isinstance(value, list) or len(value) > MAX_IMAGES:
        raise InvalidRequest("image", f"image must be a string, or a list of up to {MAX_IMAGES}")
    return tuple(imaging.read_picture(item, f"image[{index}]") for index, item in enumerate(value))


def _read_shape(given: Mapping[str, Any], extras: dict[str, Any]) -> dict[str, Any]:
    """Pixels, or the label of a class of size. One that is not canonical is kept in the extras."""
    size = fields.read_text(given, "size")
    label = size.upper()
    if label != "ADAPTIVE" and label not in _LABELS:
        return {"size": fields.read_size(size.lower(), "size")} if size else {}
    resolution = _LABELS.get(label, "")
    if resolution != label:
        extras["size"] = size
    return {"resolution": resolution}


def write_reply(result: MediaResult, request: MediaRequest) -> ClientReply:
    body = {
        "model": result.model,
        "created": int(result.created),
        "data": [_write_picture(artifact, request) for artifact in result.artifacts],
        "usage": _write_usage(result),
    }
    return replies.json_reply(200, body)


def _write_picture(artifact: Artifact, request: MediaRequest) -> dict[str, str]:
    return {**replies.write_picture(artifact, request.delivery), "size": f"{artifact.width}x{artifact.height}"}


def _write_usage(result: MediaResult) -> dict[str, int]:
    """Counted as the API counts, by the area of what was made."""
    tokens = sum(artifact.width * artifact.height for artifact in result.artifacts) // TOKEN_PIXELS
    return {"generated_images": len(result.artifacts), "output_tokens": tokens, "total_tokens": tokens}


def write_event(event: Partial | MediaResult | Failure, request: MediaRequest) -> bytes:
    """A picture on its way; the finished ones, one event for each and one for all; or the failure."""
    match event:
        case Partial(artifact, index):
            body = {"partial_image_index": index, "b64_json": imaging.encode_base64(artifact.media.data)}
            return _event("image_generation.partial_image", body)
        case MediaResult():
            return b"".join((*_write_result(event, request), b"data: [DONE]\n\n"))
        case Failure():
            return _event("error", _write_failure(event))


def _write_result(result: MediaResult, request: MediaRequest) -> Iterator[bytes]:
    told = {"model": result.model, "created": int(result.created)}
    for index, artifact in enumerate(result.artifacts):
        picture = _write_picture(artifact, request)
        yield _event("image_generation.partial_succeeded", {**told, "image_index": index, **picture})
    yield _event("image_generation.completed", {**told, "usage": _write_usage(result)})


def _event(kind: str, body: Mapping[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps({"type": kind, **body}))


_CODES = {Cause.INVALID: "InvalidParameter", Cause.UNSUPPORTED: "InvalidParameter"}
_OWN_CODES = {  # what apps look for, whatever another provider calls it
    Cause.REFUSED: "OutputImageSensitiveContentDetected",
    Cause.THROTTLED: "RateLimitExceeded",
    Cause.UNAVAILABLE: "ServerOverloaded",
}
_TYPES = {404: "NotFound", 429: "TooManyRequests"}


def write_error(failure: Failure, request: MediaRequest | None) -> ClientReply:
    return replies.json_reply(failure.http_status, _write_failure(failure), replies.retry_headers(failure))


def _write_failure(failure: Failure) -> dict[str, Any]:
    status = failure.http_status
    kind = _TYPES.get(status, "BadRequest" if status < 500 else "InternalServerError")
    code = _OWN_CODES.get(failure.cause) or failure.code or _CODES.get(failure.cause, "InternalServiceError")
    return {"error": {"code": code, "message": failure.message, "param": failure.field, "type": kind}}


# ------------------------------------------------------------------------------------------------------- provider face


def write_request(request: MediaRequest, target: Target) -> UpstreamCall:
    """The pictures come back as URLs, which is Ark's default: they have up to 16 megapixels."""
    options = target.options
    size = _size(request, options)
    taken = {name: getattr(request, name) for name in _OPTIONAL if name in options.get("takes", ())}
    if request.format not in _FORMATS:
        taken.pop("format", None)
    images = [imaging.data_uri(media) for media in request.references]
    plain: dict[str, Any] = {
        "model": target.remote,
        "prompt": request.prompt,
        "size": size,
        "image": images[0] if len(images) == 1 else images,
        **{_OPTIONAL[name]: value for name, value in taken.items()},
    }
    carried = {"prompt", "references", *taken, *(("size", "aspect", "resolution") if size else ())}
    body = {
        "watermark": False,
        **{name: value for name, value in plain.items() if value not in ("", None, [])},
        **request.extras.get(NAME, {}),
    }
    return UpstreamCall(
        "POST",
        f"{target.base_url}/images/generations",
        {"Content-Type": "application/json"},
        orjson.dumps(body),
        dropped=fields.dropped_fields(request, NAME, carried),
        media=len(images),
    )


def _size(request: MediaRequest, options: Mapping[str, Any]) -> str:
    """Pixels where a shape was asked for; else the label, by which the model chooses the shape."""
    pixels = request.dimensions() if request.size or request.aspect else None
    if pixels is None:
        return fields.nearest_resolution(request, options.get("resolutions", ("1K", "2K", "4K")))
    most, least = options.get("max_pixels", 4096 * 4096), options.get("min_pixels", 1280 * 720)
    width, height = fields.snap(pixels, 1, 1, fields.MAX_EDGE, most, least)
    return f"{width}x{height}"


_CAUSES = {
    "AuthenticationError": Cause.DENIED,
    "AccountOverdueError": Cause.DENIED,
    "AccessDenied": Cause.DENIED,
    "OperationDenied": Cause.DENIED,  # .ServiceOverdue, .ServiceNotOpen
    "InvalidAccountStatus": Cause.DENIED,
    "QuotaExceeded": Cause.DENIED,  # 429, but the trial's allowance is spent: waiting does not help
    "SetLimitExceeded": Cause.DENIED,  # 429, but at the limit the account has set for itself
    "ModelNotOpen": Cause.UNSUPPORTED,
    "InvalidEndpoint": Cause.UNSUPPORTED,
    "InvalidEndpointOrModel": Cause.UNSUPPORTED,
    "UnsupportedModel": Cause.UNSUPPORTED,
    "NotFound": Cause.UNSUPPORTED,
    "InvalidParameter": Cause.UNSUPPORTED,
    "MissingParameter": Cause.UNSUPPORTED,
    "ServerOverloaded": Cause.THROTTLED,
    "RequestBurstTooFast": Cause.THROTTLED,
    "InflightBatchsizeExceeded": Cause.THROTTLED,
    "InternalServiceError": Cause.UNAVAILABLE,
}
_REFUSALS = ("SensitiveContent", "RiskDetection", "ContentSecurityDetection")
_CALLERS = ("prompt", "image")  # parameters that are the caller's, not our translation of them


def read_reply(reply: UpstreamReply) -> Step:
    """Pictures, or why not. An error may stand in the place of one picture, or of all of them, in a reply of status
    200."""
    answer = replies.read_answer(reply.body)
    status = reply.status
    if 200 <= status < 300:
        if artifacts := tuple(replies.read_pictures(answer.get("data"))):
            return Done(artifacts, _read_usage(answer))
        answer = next(_errors(answer), {})
        if not answer:
            return Failed(Cause.MALFORMED, "the answer has no picture")
        status = 500  # unless its code says otherwise
    error = replies.read_error_object(answer)
    return replies.failed(_read_cause(status, error), error, reply)


def _errors(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What has an error in an answer without pictures: the whole, else each item."""
    items = answer.get("data")
    for holder in (answer, *(items if isinstance(items, list) else ())):
        if isinstance(holder, dict) and holder.get("error"):
            yield holder


def _read_usage(answer: Mapping[str, Any]) -> Usage:
    match answer.get("usage"):
        case {"output_tokens": int(tokens)}:
            return Usage(output_tokens=tokens)
        case _:
            return Usage()


def _read_cause(status: int, error: replies.ErrorObject) -> Cause:
    """By the code, which has its cases after a dot; else by the status."""
    if any(word in error.code for word in _REFUSALS):
        return Cause.REFUSED
    if status == 400 and error.param.partition("[")[0] in _CALLERS:
        return Cause.INVALID
    if "RateLimitExceeded" in error.code:  # of an endpoint, a model, an account; by requests, tokens, images
        return Cause.THROTTLED
    return _CAUSES.get(error.code.partition(".")[0], replies.cause_of(status))
