"""What callers with an OpenAI or Azure OpenAI SDK send us, and what they are answered.

Knows the routes of OpenAI's API: the images are served here, all else is handed on untouched. ``responses`` is handed
on whole, with its image tool and its streams: a picture made there is one step of a conversation that only OpenAI can
carry on. Azure's paths name the model as a deployment, ``/openai/deployments/{deployment}/images/...``; its newer ones
are OpenAI's below ``/openai/v1``. Its refusals of GPT image models are OpenAI's, and so are ours on either path.

Beside OpenAI's fields, those that vLLM-Omni and SGLang add for diffusion models are read, as callers of those servers
send them with ``extra_body``. Called by the proxy through the registry. Must not know any model.
"""

import math
from collections.abc import Mapping
from typing import Any

import orjson

from adapters import fields, forms, imaging
from adapters.ir import (
    Action,
    Artifact,
    Cause,
    ClientCall,
    ClientReply,
    Delivery,
    Failure,
    InvalidRequest,
    Media,
    MediaRequest,
    MediaResult,
    Operation,
    Partial,
    Route,
    Usage,
)
from adapters.openai_images.dialect import NAME, OPERATIONS, REFUSED

# All of the API but the images and what takes an administrator's key (organization, projects).
_PASSED = (
    "agents|assistants|audio|batches|chat|chatkit|completions|containers|content_provenance_checks|conversations|"
    "decisions|embeddings|evals|files|fine_tuning|live|models|moderations|realtime|responses|safety|skills|threads|"
    "uploads|vaults|vector_stores|videos|webhook_endpoints|webhook_event_types"
)

PREFIX = "/openai"
VERSIONS: tuple[str, ...] = ("/v1", "")
ALIASES: tuple[str, ...] = ("/v1",)
ROUTES: tuple[Route, ...] = (
    Route("POST", "/images/generations", Action.CREATE, "generate"),
    Route("POST", "/images/edits", Action.CREATE, "edit"),
    Route("POST", "/images/variations", Action.CREATE, "variation"),
    Route("POST", "/deployments/{deployment}/images/generations", Action.CREATE, "generate"),
    Route("POST", "/deployments/{deployment}/images/edits", Action.CREATE, "edit"),
    Route("*", f"/{{path:(?:{_PASSED})(?:/.*)?}}", Action.PASS, "pass"),
    Route("*", "/deployments/{deployment}/{path:(?:audio|chat|completions|embeddings)(?:/.*)?}", Action.PASS, "pass"),
)
CLIENT_OPERATIONS = OPERATIONS

MAX_IMAGES = 16  # references of one edit
_QUALITIES = {"low": "low", "medium": "medium", "high": "high", "auto": "", "standard": "medium", "hd": "high"}
_FINER = {"xhigh": "high", "max": "high"}  # kept in the extras too: only this wire has them
_READ = frozenset(
    {"prompt", "model", "n", "size", "quality", "background", "output_format", "output_compression", "stream"}
    | {"partial_images", "response_format", "user", "safety_identifier"}
    | {"negative_prompt", "seed", "num_inference_steps", "guidance_scale", "strength"}
)

# ------------------------------------------------------------------------------------------------- reading the request


def read_request(call: ClientCall) -> MediaRequest:
    """A generation or an edit, as JSON or multipart. Raises InvalidRequest.

    The deployment in a path of Azure's is the model, whatever the body says. ``safety_identifier`` takes precedence
    over the older ``user``, as OpenAI has it. Beside WxH a size may be a ratio ("16:9"), as Recraft's callers send it.
    """
    given, images, mask = _read_body(call)
    size, aspect = _read_size(given)
    extras = {name: value for name, value in given.items() if name not in _READ and value is not None}
    asks_url = fields.read_choice(given, "response_format", ("url", "b64_json")) == "url"
    return MediaRequest(
        operation=Operation.INPAINT if mask else Operation.EDIT if images else Operation.GENERATE,
        prompt=fields.read_text(given, "prompt", required=True),
        negative_prompt=fields.read_text(given, "negative_prompt"),
        model=call.params.get("deployment") or fields.read_text(given, "model"),
        n=fields.read_integer(given, "n", 1, 10) or 1,
        size=size,
        aspect=aspect,
        quality=_read_quality(given, extras),
        seed=fields.read_integer(given, "seed", 0, 2**63 - 1),
        steps=fields.read_integer(given, "num_inference_steps", 1, 1000),
        guidance=fields.read_number(given, "guidance_scale", 0, 100),
        strength=fields.read_number(given, "strength", 0, 1),
        references=images,
        mask=mask,
        format=_read_format(given, extras),
        compression=fields.read_integer(given, "output_compression", 0, 100),
        background=fields.read_choice(given, "background", ("transparent", "opaque", "auto")).removeprefix("auto"),
        delivery=Delivery.URL if asks_url else Delivery.B64,
        stream=fields.read_flag(given, "stream") or False,
        partials=fields.read_integer(given, "partial_images", 0, 3) or 0,
        user=fields.read_text(given, "safety_identifier") or fields.read_text(given, "user"),
        extras={NAME: extras} if extras else {},
        ask=call.ask,
    )


def _read_body(call: ClientCall) -> tuple[dict[str, Any], tuple[Media, ...], Media | None]:
    """The plain fields, the pictures and the mask."""
    if call.route == "variation":
        message = "images/variations was retired by OpenAI together with dall-e-2: use images/edits with a prompt"
        raise InvalidRequest("path", message, status=404)
    if call.route != "edit":
        return fields.read_object(call.body), (), None
    if call.headers.get("content-type", "").lower().startswith("multipart/"):
        return _read_multipart_edit(call)
    return _read_json_edit(call)


def _read_size(given: Mapping[str, Any]) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    size = fields.read_text(given, "size")
    if not size or size == "auto":
        return None, None
    if ":" in size:
        return None, fields.read_aspect(size, "size")
    return fields.read_size(size, "size"), None


def _read_quality(given: Mapping[str, Any], extras: dict[str, Any]) -> str:
    quality = fields.read_choice(given, "quality", (*_QUALITIES, *_FINER))
    if quality in _FINER:
        extras["quality"] = quality
        return _FINER[quality]
    return _QUALITIES.get(quality, "")


def _read_format(given: Mapping[str, Any], extras: dict[str, Any]) -> str:
    name = fields.read_choice(given, "output_format", ("png", "jpeg", "webp", "gif", "svg"))
    if name == "gif":  # no canonical format
        extras["output_format"] = name
        return ""
    return name


def _read_json_edit(call: ClientCall) -> tuple[dict[str, Any], tuple[Media, ...], Media | None]:
    given = fields.read_object(call.body)
    images, mask = given.pop("images", None), given.pop("mask", None)
    if not isinstance(images, list) or not 1 <= len(images) <= MAX_IMAGES:
        raise InvalidRequest("images", f"images must be a list of 1 to {MAX_IMAGES} objects with an image_url")
    pictures = tuple(_read_image_object(item, f"images[{index}]") for index, item in enumerate(images))
    if given.get("markup") is not None:
        given["markup"] = _read_image_object(given["markup"], "markup")
    if mask is None:
        return given, pictures, None
    picture = _read_image_object(mask, "mask")
    if picture.url:
        raise InvalidRequest("mask", "mask.image_url must be a data URI: a mask is not fetched from a URL")
    return given, pictures, imaging.mask_from_alpha(picture.data, "mask")


def _read_image_object(value: object, name: str) -> Media:
    match value:
        case {"image_url": str(url)}:
            return imaging.read_picture(url, f"{name}.image_url")
        case {"file_id": str()}:
            raise InvalidRequest(
                f"{name}.file_id", f"{name}.file_id cannot be served: send the picture as an image_url"
            )
        case _:
            raise InvalidRequest(name, f"{name} must be an object with an image_url")


def _read_multipart_edit(call: ClientCall) -> tuple[dict[str, Any], tuple[Media, ...], Media | None]:
    given: dict[str, Any] = {}
    images: list[Media] = []
    mask: Media | None = None
    for name, filename, mime, value in forms.read_multipart(call.body, call.headers.get("content-type", "")):
        if name in ("image", "image[]"):
            images.append(_read_file(name, mime, value))
        elif name == "mask":
            mask = imaging.mask_from_alpha(value, "mask")
        else:
            item = _read_file(name, mime, value) if filename else _read_part_text(name, value)
            given[name] = [*given.get(name, ()), item] if name.endswith("[]") else item
    if not 1 <= len(images) <= MAX_IMAGES:
        raise InvalidRequest("image", f"image must be given 1 to {MAX_IMAGES} times; got {len(images)}")
    return given, tuple(images), mask


def _read_file(name: str, mime: str, value: bytes) -> Media:
    if not value:
        raise InvalidRequest(name, f"{name} is empty")
    return Media(data=value, mime=imaging.sniff_mime(value) or mime)


def _read_part_text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(name, f"{name} must be text in UTF-8") from None


# -------------------------------------------------------------------------------------------------- writing the answer


def write_reply(result: MediaResult, request: MediaRequest) -> ClientReply:
    """The whole answer. ``size`` is that of the first picture as it is, not as it was asked for; a drawing in SVG has
    none."""
    first = result.artifacts[0]
    body = {
        "created": int(result.created),
        "data": [_picture_fields(artifact, request) for artifact in result.artifacts],
        **({"size": f"{first.width}x{first.height}"} if first.width else {}),
        "output_format": _format_of(first.media),
        **{name: value for name, value in _asked(request).items() if value != "auto"},
        "usage": _usage_fields(result.usage),
    }
    return ClientReply(200, orjson.dumps(body))


def _picture_fields(artifact: Artifact, request: MediaRequest) -> dict[str, str]:
    key = "url" if request.delivery is Delivery.URL else "b64_json"
    picture = {key: imaging.deliver(artifact.media, request.delivery)}
    return picture | ({"revised_prompt": artifact.revised_prompt} if artifact.revised_prompt else {})


def _asked(request: MediaRequest) -> dict[str, str]:
    quality = request.extras.get(NAME, {}).get("quality", request.quality)
    return {"quality": quality or "auto", "background": request.background or "auto"}


def _format_of(media: Media) -> str:
    return media.mime.removeprefix("image/").removesuffix("+xml")


def _usage_fields(usage: Usage) -> dict[str, Any]:
    """The SDK's type has every one of these fields required, so tokens that no upstream named are written as 0."""
    tokens_in, tokens_out = usage.input_tokens or 0, usage.output_tokens or 0
    return {
        "input_tokens": tokens_in,
        "input_tokens_details": {"text_tokens": tokens_in, "image_tokens": 0},
        "output_tokens": tokens_out,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": tokens_out},
        "total_tokens": tokens_in + tokens_out,
    }


def write_event(event: Partial | MediaResult | Failure, request: MediaRequest) -> bytes:
    """A picture on its way, the finished ones, or the failure. Where there are several finished pictures, the usage of
    all is told by the last event, so that a sum over the events is right."""
    kind = "image_edit" if request.references else "image_generation"
    match event:
        case Partial():
            numbered = {"partial_image_index": event.index}
            return _event(f"{kind}.partial_image", {**_event_fields(event.artifact, 0.0, request), **numbered})
        case MediaResult():
            usages = [Usage()] * (len(event.artifacts) - 1) + [event.usage]
            return b"".join(
                _event(
                    f"{kind}.completed",
                    {**_event_fields(artifact, event.created, request), "usage": _usage_fields(usage)},
                )
                for artifact, usage in zip(event.artifacts, usages, strict=True)
            )
        case Failure():
            return _event("error", _error_fields(event))


def _event_fields(artifact: Artifact, created: float, request: MediaRequest) -> dict[str, Any]:
    """``created_at`` is 0 in a partial picture: its time is not known here, and the SDK's type requires the field."""
    return {
        "b64_json": imaging.encode_base64(artifact.media.data),
        "created_at": int(created),
        "size": f"{artifact.width}x{artifact.height}",
        "output_format": _format_of(artifact.media),
        **_asked(request),
    }


def _event(kind: str, body: Mapping[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps({"type": kind, **body}))


_TYPES = {Cause.REFUSED: "image_generation_user_error", Cause.THROTTLED: "rate_limit_error"}
_CODES = {Cause.THROTTLED: "rate_limit_exceeded", Cause.INVALID: None, Cause.UNSUPPORTED: None}


def write_error(failure: Failure, request: MediaRequest | None) -> ClientReply:
    """OpenAI's error object. ``x-should-retry: false`` keeps the SDK from buying the picture again by itself."""
    headers = {} if failure.cause.caller_may_retry else {"x-should-retry": "false"}
    if failure.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(failure.retry_after))
    return ClientReply(failure.http_status, orjson.dumps(_error_fields(failure)), headers=headers)


def _error_fields(failure: Failure) -> dict[str, Any]:
    kind = _TYPES.get(failure.cause, "invalid_request_error" if failure.http_status < 500 else "server_error")
    code = failure.code or _CODES.get(failure.cause, failure.cause.label)
    if failure.cause is Cause.REFUSED:
        code = REFUSED  # what apps look for, whichever provider it was that refused
    return {"error": {"message": failure.message, "type": kind, "param": failure.field or None, "code": code}}
