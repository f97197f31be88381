"""The OpenAI Images dialect: ``/images/generations`` and ``/images/edits``, as JSON, multipart and event stream.

Knows both faces: what callers with an OpenAI SDK send us, and what OpenAI and the many servers that speak its dialect
(Recraft, vLLM-Omni, SGLang, Azure's v1 route) take. The registry mounts it, the proxy calls it. Must not know any
model: how one deployment differs from the next is said by its options in the catalog:

    quality            always this quality, whatever was asked: the price of a deployment is that of one quality
    sizes              the sizes it takes ("1536x1024", or "16:9" where it is told ratios); the nearest in shape is sent
    size_multiple, min_edge, max_edge, min_pixels, max_pixels
                       where it takes any size within limits; the size asked for is brought within them
    fields             canonical field -> the server's name of it ({seed: random_seed}); null: it has no such field
    response_format    sent as it is; only to servers that are not OpenAI's, whose GPT image models refuse the field
    streams            it can send partial pictures as events

Facts from openai-python 3.52.0 (read and captured 2026-11-20) and OpenAI's spec of 2026-08 unless a line says other.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

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

NAME = "openai_images"
PREFIX = "/openai"
VERSIONS: tuple[str, ...] = ("/v1", "")
ALIASES: tuple[str, ...] = ("/v1",)
ROUTES: tuple[Route, ...] = (
    Route("POST", "/images/generations", Action.CREATE, "generate"),
    Route("POST", "/images/edits", Action.CREATE, "edit"),
)
CLIENT_OPERATIONS = frozenset({Operation.GENERATE, Operation.EDIT, Operation.INPAINT})

AUTH = Auth("Authorization", "Bearer")
PROVIDER_OPERATIONS = CLIENT_OPERATIONS
TAKES_URLS = False  # OpenAI does, in JSON; servers that resemble it take multipart only, and a mask needs its bytes
OPTIONS = frozenset(
    {"quality", "sizes", "size_multiple", "min_edge", "max_edge", "min_pixels", "max_pixels", "fields"}
    | {"response_format", "streams"}
)

MAX_IMAGES = 16  # references of one edit
_QUALITIES = {"low": "low", "medium": "medium", "high": "high", "auto": "", "standard": "medium", "hd": "high"}
_FINER = {"xhigh": "high", "max": "high"}  # kept in the extras too: only this wire has them
_FORMATS = ("png", "jpeg", "webp")
_MOVING = ("gif", "svg")  # no canonical format
_READ = frozenset(
    {"prompt", "model", "n", "size", "quality", "background", "output_format", "output_compression", "stream"}
    | {"partial_images", "response_format", "user", "safety_identifier"}
)
_FIELDS = {
    "quality": "quality",
    "background": "background",
    "format": "output_format",
    "compression": "output_compression",
    "user": "user",
}

# -------------------------------------------------------------------------------------------------------- client face


def read_request(call: ClientCall) -> MediaRequest:
    """A generation or an edit, as JSON or multipart. Raises InvalidRequest.

    ``safety_identifier`` takes precedence over the older ``user``, as OpenAI has it. Beside WxH a size may be a ratio
    ("16:9"), as Recraft's callers send it.
    """
    images: tuple[Media, ...] = ()
    mask: Media | None = None
    if call.route != "edit":
        given = fields.read_object(call.body)
    elif call.headers.get("content-type", "").lower().startswith("multipart/"):
        given, images, mask = _read_multipart_edit(call)
    else:
        given, images, mask = _read_json_edit(call)
    size, aspect = _read_size(given)
    extras = {name: value for name, value in given.items() if name not in _READ and value is not None}
    return MediaRequest(
        operation=Operation.INPAINT if mask else Operation.EDIT if images else Operation.GENERATE,
        prompt=fields.read_text(given, "prompt", required=True),
        model=fields.read_text(given, "model"),
        n=fields.read_integer(given, "n", 1, 10) or 1,
        size=size,
        aspect=aspect,
        quality=_read_quality(given, extras),
        references=images,
        mask=mask,
        format=_read_format(given, extras),
        compression=fields.read_integer(given, "output_compression", 0, 100),
        background=fields.read_choice(given, "background", ("transparent", "opaque", "auto")).removeprefix("auto"),
        delivery=Delivery.URL
        if fields.read_choice(given, "response_format", ("url", "b64_json")) == "url"
        else Delivery.B64,
        stream=fields.read_flag(given, "stream") or False,
        partials=fields.read_integer(given, "partial_images", 0, 3) or 0,
        user=fields.read_text(given, "safety_identifier") or fields.read_text(given, "user"),
        extras={NAME: extras} if extras else {},
        ask=call.ask,
    )


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
    name = fields.read_choice(given, "output_format", (*_FORMATS, *_MOVING))
    if name in _MOVING:
        extras["output_format"] = name
        return ""
    return name


def _read_json_edit(call: ClientCall) -> tuple[dict[str, Any], tuple[Media, ...], Media | None]:
    given = fields.read_object(call.body)
    images, mask = given.pop("images", None), given.pop("mask", None)
    if not isinstance(images, list) or not 1 <= len(images) <= MAX_IMAGES:
        raise InvalidRequest("images", f"images must be a list of 1 to {MAX_IMAGES} objects with an image_url")
    pictures = tuple(_read_image_object(item, f"images[{index}]") for index, item in enumerate(images))
    if mask is None:
        return given, pictures, None
    picture = _read_image_object(mask, "mask")
    if picture.url:
        raise InvalidRequest("mask", "mask.image_url must be a data URI: a mask is not fetched from a URL")
    return given, pictures, fields.mask_from_alpha(picture.data, "mask")


def _read_image_object(value: object, name: str) -> Media:
    match value:
        case {"image_url": str(url)}:
            return fields.read_picture(url, f"{name}.image_url")
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
    for name, filename, mime, value in fields.read_multipart(call.body, call.headers.get("content-type", "")):
        if name in ("image", "image[]"):
            images.append(_read_file(name, mime, value))
        elif name == "mask":
            mask = fields.mask_from_alpha(value, "mask")
        else:
            item = _read_file(name, mime, value) if filename else _read_part_text(name, value)
            given[name] = [*given.get(name, ()), item] if name.endswith("[]") else item
    if not 1 <= len(images) <= MAX_IMAGES:
        raise InvalidRequest("image", f"image must be given 1 to {MAX_IMAGES} times; got {len(images)}")
    return given, tuple(images), mask


def _read_file(name: str, mime: str, value: bytes) -> Media:
    if not value:
        raise InvalidRequest(name, f"{name} is empty")
    return Media(data=value, mime=fields.sniff_mime(value) or mime)


def _read_part_text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise InvalidRequest(name, f"{name} must be text in UTF-8") from None


def write_reply(result: MediaResult, request: MediaRequest) -> ClientReply:
    """The whole answer. ``size`` is that of the first picture as it is, not as it was asked for."""
    first = result.artifacts[0]
    body = {
        "created": int(result.created),
        "data": [_picture_fields(artifact, request) for artifact in result.artifacts],
        "size": f"{first.width}x{first.height}",
        "output_format": _format_of(first.media),
        **{name: value for name, value in _asked(request).items() if value != "auto"},
        "usage": _usage_fields(result.usage),
    }
    return ClientReply(200, orjson.dumps(body))


def _picture_fields(artifact: Artifact, request: MediaRequest) -> dict[str, str]:
    key = "url" if request.delivery is Delivery.URL else "b64_json"
    picture = {key: fields.deliver(artifact.media, request.delivery)}
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
        "b64_json": fields.encode_base64(artifact.media.data),
        "created_at": int(created),
        "size": f"{artifact.width}x{artifact.height}",
        "output_format": _format_of(artifact.media),
        **_asked(request),
    }


def _event(kind: str, body: Mapping[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), orjson.dumps({"type": kind, **body}))


_TYPES = {Cause.REFUSED: "image_generation_user_error", Cause.THROTTLED: "rate_limit_error"}
_CODES = {
    Cause.REFUSED: "moderation_blocked",
    Cause.THROTTLED: "rate_limit_exceeded",
    Cause.INVALID: None,
    Cause.UNSUPPORTED: None,
}


def write_error(failure: Failure, request: MediaRequest | None) -> ClientReply:
    """OpenAI's error object. ``x-should-retry: false`` keeps the SDK from buying the picture again by itself."""
    headers = {} if failure.cause.caller_may_retry else {"x-should-retry": "false"}
    if failure.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(failure.retry_after))
    return ClientReply(failure.http_status, orjson.dumps(_error_fields(failure)), headers=headers)


def _error_fields(failure: Failure) -> dict[str, Any]:
    kind = _TYPES.get(failure.cause, "invalid_request_error" if failure.http_status < 500 else "server_error")
    code = failure.code or _CODES.get(failure.cause, failure.cause.label)
    return {"error": {"message": failure.message, "type": kind, "param": failure.field or None, "code": code}}


# ------------------------------------------------------------------------------------------------------ provider face


def write_request(request: MediaRequest, target: Target) -> UpstreamCall:
    """A generation, or an edit where there are references: multipart as the SDK sends it, or JSON where a reference is
    behind a URL. A mask whose bytes are not known cannot be given OpenAI's polarity, so it is not carried. Raises
    InvalidRequest for a mask that is no picture."""
    body, carried = _body(request, target)
    streams = bool(request.stream and request.partials and target.options.get("streams"))
    if streams:
        body |= {"stream": True, "partial_images": request.partials}
        carried.add("partials")
    references, mask = request.references, None
    if references:
        carried.add("references")
        if request.mask and request.mask.data:
            carried.add("mask")
            mask = fields.mask_to_alpha(request.mask.data)
        kind, encoded = _write_edit(body, references, mask)
    else:
        kind, encoded = _write_json(body)
    return UpstreamCall(
        "POST",
        f"{target.base_url}/images/{'edits' if references else 'generations'}",
        headers={"Content-Type": kind},
        body=encoded,
        dropped=fields.dropped_fields(request, NAME, carried),
        media=len(references) + (mask is not None),
        stream=streams,
    )


def _body(request: MediaRequest, target: Target) -> tuple[dict[str, Any], set[str]]:
    """Every field but the pictures, and the names of the canonical ones among them."""
    options = target.options
    body: dict[str, Any] = {"prompt": request.prompt, "model": target.remote}
    carried = set()
    if request.n > 1:
        body["n"] = request.n
        carried.add("n")
    if size := _size(request, options):
        body["size"] = size
        carried |= {"size", "aspect", "resolution"}
    for canonical, name in {**_FIELDS, **options.get("fields", {})}.items():
        value = getattr(request, canonical)
        if name and value not in (None, ""):
            body[name] = value
            carried.add(canonical)
    body |= request.extras.get(NAME, {})
    fixed = options.get("quality")
    if fixed and request.quality:
        carried.discard("quality")
        carried |= {"quality"} if body.get("quality") == fixed else set()
    body |= {name: options[name] for name in ("quality", "response_format") if options.get(name)}
    return body, carried


def _size(request: MediaRequest, options: Mapping[str, Any]) -> str:
    asked = request.dimensions()
    if asked is None:
        return ""
    if sizes := options.get("sizes"):
        return _nearest_size(asked, sizes)
    width, height = fields.snap(
        asked,
        options.get("size_multiple", 1),
        options.get("min_edge", 1),
        options.get("max_edge", fields.MAX_EDGE),
        options.get("max_pixels", fields.MAX_PIXELS),
        options.get("min_pixels", 1),
    )
    return f"{width}x{height}"


def _nearest_size(asked: tuple[int, int], sizes: Iterable[str]) -> str:
    """The nearest in shape; of those, the smallest with at least the pixels asked for, else the largest."""

    def rank(size: str) -> tuple[float, bool, int]:
        width, height = (int(edge) for edge in size.replace(":", "x").split("x"))
        ratio = asked[0] * height / (asked[1] * width)
        missing = asked[0] * asked[1] - width * height
        return round(max(ratio, 1 / ratio), 3), missing > 0, abs(missing)

    return min(sizes, key=rank)


def _write_json(body: Mapping[str, Any]) -> tuple[str, bytes]:
    return "application/json", orjson.dumps({name: _as_json(value) for name, value in body.items()})


def _as_json(value: Any) -> Any:
    match value:
        case Media():
            return {"image_url": fields.data_uri(value)}
        case list() | tuple():
            return [_as_json(item) for item in value]
        case _:
            return value


def _write_edit(body: Mapping[str, Any], references: tuple[Media, ...], mask: Media | None) -> tuple[str, bytes]:
    if any(media.url for media in references):
        return _write_json({**body, "images": references, **({"mask": mask} if mask else {})})
    parts = [part for name, value in body.items() for part in _parts(name, value)]
    parts += [_file_part("image" if len(references) == 1 else "image[]", media) for media in references]
    if mask:
        parts.append(_file_part("mask", mask))
    return fields.write_multipart(parts)


def _parts(name: str, value: Any) -> Iterator[tuple[str, str, str, bytes]]:
    """A field as the SDK spells it in multipart: nested objects as name[key], lists as name[]."""
    match value:
        case Media():
            yield _file_part(name, value)
        case Mapping():
            for key, item in value.items():
                yield from _parts(f"{name}[{key}]", item)
        case list() | tuple():
            for item in value:
                yield from _parts(f"{name.removesuffix('[]')}[]", item)
        case bool():
            yield name, "", "", b"true" if value else b"false"
        case None:
            pass
        case _:
            yield name, "", "", str(value).encode()


def _file_part(name: str, media: Media) -> tuple[str, str, str, bytes]:
    mime = fields.sniff_mime(media.data) or media.mime or "image/png"
    return name, f"image.{mime.partition('/')[2]}", mime, media.data


_REFUSALS = frozenset({"moderation_blocked", "content_policy_violation", "content_filter"})
_BALANCE = frozenset({"insufficient_quota", "billing_hard_limit_reached"})  # 429 and 400, but waiting does not help
_REFUSAL_WORDS = ("moderation", "nsfw", "content policy", "safety system")  # servers without a code for it: Recraft
_STATUSES = {"invalid_request_error": 400, "image_generation_user_error": 400, "rate_limit_error": 429}  # by type
_CALLERS = ("prompt", "image", "images", "mask")  # parameters that are the caller's, not our translation of them


def read_reply(reply: UpstreamReply) -> Step:
    """Pictures, or why not. The pictures of a server that answers with URLs are left behind them."""
    answer = fields.read_answer(reply.body)
    if not 200 <= reply.status < 300:
        return _read_failure(reply.status, answer, fields.retry_after(reply.headers))
    if answer.get("error"):
        return _read_late_failure(answer)
    artifacts = tuple(_read_artifacts(answer.get("data")))
    if not artifacts:
        return Failed(Cause.MALFORMED, "the answer has no picture")
    return Done(artifacts, _read_usage(answer))


def _read_artifacts(data: object) -> Iterator[Artifact]:
    for item in data if isinstance(data, list) else ():
        if not isinstance(item, dict):
            continue
        media = _read_media(item)
        revised = item.get("revised_prompt")
        if media:
            yield Artifact(media, revised_prompt=revised if isinstance(revised, str) else "")


def _read_media(item: Mapping[str, Any]) -> Media | None:
    value = item.get("b64_json") or item.get("url")
    try:
        return fields.read_picture(value, "data")
    except InvalidRequest:
        return None


def _read_usage(answer: Mapping[str, Any]) -> Usage:
    usage = answer.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    tokens_in, tokens_out = counts.get("input_tokens"), counts.get("output_tokens")
    return Usage(
        input_tokens=tokens_in if isinstance(tokens_in, int) else None,
        output_tokens=tokens_out if isinstance(tokens_out, int) else None,
    )


def _read_late_failure(answer: Mapping[str, Any]) -> Failed:
    """An error that came after a status of 200, and so has none of its own."""
    error = answer["error"]
    return _read_failure(_STATUSES.get(str(error.get("type")), 500) if isinstance(error, dict) else 500, answer)


def _read_failure(status: int, answer: Mapping[str, Any], retry_after: float | None = None) -> Failed:
    """Also reads the shapes of servers that only resemble OpenAI: FastAPI's ``detail``, a bare ``message``."""
    found = answer.get("error") or answer.get("detail") or answer
    error = found if isinstance(found, dict) else {"message": found}
    message = error.get("message") or ""
    message = message if isinstance(message, str) else orjson.dumps(message).decode()
    code = str(error.get("code") or error.get("type") or "")
    return Failed(
        _read_cause(status, error, message),
        fields.excerpt(message) or f"HTTP {status} without a message",
        retry_after=retry_after,
        code=fields.excerpt(code, 80),
    )


def _read_cause(status: int, error: Mapping[str, Any], message: str) -> Cause:
    names = {str(error.get("code")), str(error.get("type"))}  # servers differ in which of the two they put it in
    if names & _REFUSALS:
        return Cause.REFUSED
    if names & _BALANCE:
        return Cause.DENIED
    if status in (400, 422):
        return _read_bad_request(error, message)
    return fields.cause_of(status)


def _read_bad_request(error: Mapping[str, Any], message: str) -> Cause:
    """The caller's fault only where the error names a field that is the caller's own and is not about a limit that
    another provider may not have."""
    if any(word in message.lower() for word in _REFUSAL_WORDS):
        return Cause.REFUSED
    parameter = str(error.get("param") or "").partition("[")[0]
    if parameter in _CALLERS and "max_length" not in str(error.get("code")):
        return Cause.INVALID
    return Cause.INVALID if error.get("type") == "image_generation_user_error" else Cause.UNSUPPORTED


def read_event(event: bytes) -> Partial | Done | Failed | None:
    """One event of a streamed generation or edit. A stream of several pictures has a Done for each of them."""
    lines = (line.removeprefix(b"data:").strip() for line in event.splitlines() if line.startswith(b"data:"))
    data = b"\n".join(lines)
    if not data or data == b"[DONE]":
        return None
    answer = fields.read_answer(data)
    if not answer:
        return Failed(Cause.MALFORMED, "an event of the stream is not JSON")
    if answer.get("error"):
        return _read_late_failure(answer)
    kind, media = str(answer.get("type")), _read_media(answer)
    if kind.endswith(".completed"):
        if media is None:
            return Failed(Cause.MALFORMED, "the finished event has no picture")
        return Done((Artifact(media),), _read_usage(answer))
    if kind.endswith(".partial_image") and media:
        index = answer.get("partial_image_index")
        return Partial(Artifact(media), index if isinstance(index, int) else 0)
    return None
