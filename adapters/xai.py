"""xAI: ``/images/generations`` and ``/images/edits``, both JSON. Both faces.

Knows xAI's REST specification (a copy of 2026-08) and what callers have met of its errors (seen 2026-11-21). Called
through the registry. Must not know a model by its name: what differs between models is said by the options of a
deployment:

    quality        always this quality, whatever was asked: the price of a deployment is that of one quality
    resolutions    the classes of size it takes, 1K and 2K where not set; the nearest is sent
    aspects        the ratios it takes; the nearest is sent. Those of the specification where not set

xAI's own SDK speaks gRPC. Who comes by REST has OpenAI's SDK, or writes its HTTP; an edit is never OpenAI's multipart.
The edit of a single picture keeps its aspect, and the API is not to be told another. The exact cost is in each answer.
"""

from collections.abc import Mapping
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
    Route,
    Step,
    Target,
    UpstreamCall,
    UpstreamReply,
    Usage,
)

NAME = "xai"
PREFIX = "/xai"
VERSIONS: tuple[str, ...] = ("/v1", "")
ALIASES: tuple[str, ...] = ()
ROUTES: tuple[Route, ...] = (
    Route("POST", "/images/generations", Action.CREATE, "generate"),
    Route("POST", "/images/edits", Action.CREATE, "edit"),
    *(
        Route("POST", path, Action.PASS)
        for path in (
            "/chat/completions",
            "/completions",
            "/complete",
            "/responses",
            "/messages",
            "/embeddings",
            "/tokenize-text",
            "/videos/generations",
            "/videos/edits",
        )
    ),
    *(
        Route("GET", path, Action.PASS)
        for path in (
            "/models",
            "/models/{id}",
            "/language-models",
            "/language-models/{id}",
            "/image-generation-models",
            "/image-generation-models/{id}",
            "/chat/deferred-completion/{id}",
            "/responses/{id}",
            "/videos/{id}",
        )
    ),
    Route("DELETE", "/responses/{id}", Action.PASS),
)
CLIENT_OPERATIONS = frozenset({Operation.GENERATE, Operation.EDIT})

AUTH = Auth("Authorization", "Bearer")
PROVIDER_OPERATIONS = CLIENT_OPERATIONS
TAKES_URLS = True
OPTIONS = frozenset({"quality", "resolutions", "aspects"})

MAX_IMAGES = 5  # of one edit
TICKS = 10_000_000_000  # of a dollar
_ASPECTS = (
    "1:1", "3:4", "4:3", "9:16", "16:9", "2:3", "3:2", "9:19.5", "19.5:9", "9:20", "20:9", "1:2", "2:1",
)  # fmt: skip
_FRACTIONAL = {"9:19.5": (18, 39), "19.5:9": (39, 18)}
_READ = frozenset(
    {"prompt", "model", "n", "aspect_ratio", "resolution", "quality", "response_format", "user", "image", "images"}
)

# --------------------------------------------------------------------------------------------------------- client face


def read_request(call: ClientCall) -> MediaRequest:
    """A generation, or an edit by its own route."""
    if call.headers.get("content-type", "").lower().startswith("multipart/"):
        raise InvalidRequest("body", "the body must be JSON: xAI does not take the multipart of OpenAI's edits")
    given = {name: value for name, value in fields.read_object(call.body).items() if value is not None}
    editing = call.route == "edit"
    wanted = fields.read_choice(given, "response_format", ("url", "b64_json"))
    extras = {name: value for name, value in given.items() if name not in _READ}
    return MediaRequest(
        operation=Operation.EDIT if editing else Operation.GENERATE,
        prompt=fields.read_text(given, "prompt", required=True),
        model=fields.read_text(given, "model"),
        n=fields.read_integer(given, "n", 1, 10) or 1,
        aspect=_read_aspect(given),
        resolution=fields.read_choice(given, "resolution", ("1k", "2k")).upper(),
        quality=fields.read_choice(given, "quality", ("low", "medium", "high")),
        references=_read_images(given) if editing else (),
        delivery=Delivery.B64 if wanted == "b64_json" else Delivery.URL,
        user=fields.read_text(given, "user"),
        extras={NAME: extras} if extras else {},
        ask=call.ask,
    )


def _read_aspect(given: Mapping[str, Any]) -> tuple[int, int] | None:
    aspect = fields.read_text(given, "aspect_ratio")
    if aspect in ("", "auto"):
        return None
    return _FRACTIONAL.get(aspect) or fields.read_aspect(aspect, "aspect_ratio")


def _read_images(given: Mapping[str, Any]) -> tuple[Media, ...]:
    """``image``, or the several of ``images``."""
    several = given.get("images") or []
    if not isinstance(several, list) or len(several) > MAX_IMAGES:
        raise InvalidRequest("images", f"images must be a list of 1 to {MAX_IMAGES} objects with a url")
    if "image" in given:
        if several:
            raise InvalidRequest("images", "images cannot be given beside image")
        return (_read_image(given["image"], "image"),)
    if not several:
        raise InvalidRequest("image", "image is required")
    return tuple(_read_image(item, f"images[{index}]") for index, item in enumerate(several))


def _read_image(value: object, name: str) -> Media:
    """``image_url`` is served beside ``url``, as the specification has it."""
    match value:
        case {"url": str(url)} | {"image_url": str(url)} | str(url):
            return imaging.read_picture(url, name)
        case {"file_id": str()}:
            raise InvalidRequest(f"{name}.file_id", f"{name}.file_id cannot be served: send the picture as a url")
        case _:
            raise InvalidRequest(name, f"{name} must be an object with a url")


def write_reply(result: MediaResult, request: MediaRequest) -> ClientReply:
    body: dict[str, Any] = {"data": [_write_picture(artifact, request) for artifact in result.artifacts]}
    if result.usage.cost_usd is not None:
        body["usage"] = {"cost_in_usd_ticks": round(result.usage.cost_usd * TICKS)}
    return replies.json_reply(200, body)


def _write_picture(artifact: Artifact, request: MediaRequest) -> dict[str, Any]:
    return {
        **replies.write_picture(artifact, request.delivery),
        "mime_type": artifact.media.mime,
        "revised_prompt": artifact.revised_prompt,
        "respect_moderation": True,
    }


def write_error(failure: Failure, request: MediaRequest | None) -> ClientReply:
    """OpenAI's error object. xAI itself mostly answers with a sentence under ``error``, which OpenAI's SDK 3.52.0 keeps
    from its caller; the AI SDK reads both."""
    body = replies.write_error_object(failure, refused="imagine:content-moderated")
    return replies.json_reply(failure.http_status, body, replies.retry_headers(failure))


# ------------------------------------------------------------------------------------------------------- provider face


def write_request(request: MediaRequest, target: Target) -> UpstreamCall:
    """The pictures are asked for inline: their URLs are short-lived, and would only be fetched one by one."""
    options, references = target.options, request.references
    aspect = fields.aspect_of(request) if len(references) != 1 else None
    ratio = fields.nearest_aspect(aspect, options.get("aspects", _ASPECTS)) if aspect else ""
    resolution = fields.nearest_resolution(request, options.get("resolutions", ("1K", "2K")))
    quality = options.get("quality", "")
    plain: dict[str, Any] = {
        "model": target.remote,
        "prompt": request.prompt,
        "n": request.n if request.n > 1 else None,
        "aspect_ratio": ratio,
        "resolution": resolution.lower(),
        "quality": quality,
        "user": request.user,
    }
    told = {"size": ratio, "aspect": ratio, "resolution": resolution, "quality": quality == request.quality}
    carried = ("prompt", "n", "user", "references", *(name for name in told if told[name]))
    body = {
        **request.extras.get(NAME, {}),
        **{name: value for name, value in plain.items() if value not in ("", None)},
        **_pictures(references),
        "response_format": "b64_json",
    }
    return UpstreamCall(
        "POST",
        f"{target.base_url}/images/{'edits' if references else 'generations'}",
        {"Content-Type": "application/json"},
        orjson.dumps(body),
        dropped=fields.dropped_fields(request, NAME, carried),
        media=len(references),
    )


def _pictures(references: tuple[Media, ...]) -> dict[str, Any]:
    images = [{"url": imaging.data_uri(media), "type": "image_url"} for media in references]
    match images:
        case []:
            return {}
        case [image]:
            return {"image": image}
        case _:
            return {"images": images}


_REFUSAL_WORDS = ("moderation", "moderated", "content policy", "usage guidelines")
_BALANCE_WORDS = ("credits", "spending limit")  # 403 and 429, and waiting does not help
_CALLERS = ("prompt", "image", "images")  # fields that are the caller's, not our translation of them


def read_reply(reply: UpstreamReply) -> Step:
    """Pictures, or why not. One that moderation has rejected comes with a status of 200, as a flag beside a
    placeholder."""
    answer = replies.read_answer(reply.body)
    status = reply.status
    if 200 <= status < 300:
        items = answer.get("data")
        items = [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
        kept = [item for item in items if item.get("respect_moderation") is not False]
        if artifacts := tuple(replies.read_pictures(kept)):
            return Done(artifacts, _read_usage(answer))
        if len(kept) < len(items) or answer.get("block_reason"):
            return Failed(Cause.REFUSED, _blocked(answer), code="content-moderated")
        if not answer.get("error"):
            return Failed(Cause.MALFORMED, "the answer has no picture")
        status = 500  # an error that comes with a status of 200 has none of its own
    error = replies.read_error_object(answer)
    return replies.failed(_read_cause(status, error), error, reply)


def _blocked(answer: Mapping[str, Any]) -> str:
    reason = answer.get("block_reason")
    words = f": {reason}" if isinstance(reason, str) and reason else ""
    return replies.excerpt(f"the picture was rejected by moderation{words}")


def _read_usage(answer: Mapping[str, Any]) -> Usage:
    match answer.get("usage"):
        case {"cost_in_usd_ticks": int(ticks)} if ticks >= 0:
            return Usage(cost_usd=ticks / TICKS)
        case _:
            return Usage()


def _read_cause(status: int, error: replies.ErrorObject) -> Cause:
    """A wrong key is answered 400, and spent credits 403 or 429."""
    message = error.message.lower()
    if status in (400, 403, 422) and any(word in f"{error.code} {message}" for word in _REFUSAL_WORDS):
        return Cause.REFUSED
    if status in (400, 403, 429) and any(word in message for word in (*_BALANCE_WORDS, "api key")):
        return Cause.DENIED
    if status in (400, 422) and error.param.partition("[")[0] in _CALLERS:
        return Cause.INVALID
    return replies.cause_of(status)
