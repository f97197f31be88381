"""The Gemini dialect: ``models/{model}:generateContent`` and its streaming twin; pictures are parts of an answer.

Knows both faces. The registry mounts it, the proxy calls it. Must not know any model: how one deployment differs from
the next is said by its options in the catalog:

    aspects        the aspect ratios it takes; the nearest is sent. Those of every Gemini image model where not set
    resolutions    the classes of size it takes ("512", "1K", "2K", "4K"); where not set it makes 1K and is not told

A conversation is flattened on the way in: its texts become the prompt, its pictures the references. What only this wire
has is kept in the extras under its dotted path ("generationConfig.temperature"). A negative prompt and a mask cannot be
said here, and the number of pictures is not: ``candidateCount`` above 1 is not documented for pictures.

Facts from google-genai 3.4.0 (read and captured 2026-11-20) unless a line says other. That SDK sends camelCase and
snake_case in one body, and the URL-safe base64 alphabet.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from adapters import fields
from adapters.ir import (
    RESOLUTIONS,
    Action,
    Artifact,
    Auth,
    Cause,
    ClientCall,
    ClientReply,
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

NAME = "gemini"
PREFIX = "/gemini"
VERSIONS: tuple[str, ...] = (
    "/v1beta",
    "/v1",
    "/v1alpha",
)  # Node's default, Python's default, and what both can be set to
ALIASES: tuple[str, ...] = ()
ROUTES: tuple[Route, ...] = (
    Route("POST", "/models/{model}:generateContent", Action.CREATE, "generateContent"),
    Route("POST", "/models/{model}:streamGenerateContent", Action.CREATE, "streamGenerateContent"),
)
CLIENT_OPERATIONS = frozenset({Operation.GENERATE, Operation.EDIT})

AUTH = Auth("x-goog-api-key")
PROVIDER_OPERATIONS = CLIENT_OPERATIONS
TAKES_URLS = False  # documented for reading files; nowhere for the models that make pictures
OPTIONS = frozenset({"aspects", "resolutions"})

_ASPECTS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_INT32 = 2**31
_CONFIG = "generationConfig."  # what the path of an extra begins with
_IMAGE = "generationConfig.imageConfig."

# -------------------------------------------------------------------------------------------------------- client face


def read_request(call: ClientCall) -> MediaRequest:
    """A generation, or an edit where ``contents`` holds pictures. Raises InvalidRequest."""
    stream = call.route == "streamGenerateContent"
    if stream and call.query.get("alt") != "sse":
        raise InvalidRequest("alt", "alt must be sse: a stream is served as server-sent events only")
    given = _spelled(fields.read_object(call.body), "body")
    given.pop("model", None)  # the path says it
    texts, references = _read_contents(given.pop("contents", None))
    config = _spelled(given.pop("generationConfig", None), "generationConfig")
    image = _spelled(config.pop("imageConfig", None), "generationConfig.imageConfig")
    aspect, resolution = _read_image_config(image)
    seed = _read_integer(config, "seed", -_INT32, _INT32 - 1)
    n = _read_integer(config, "candidateCount", 1, 8) or 1
    _read_modalities(config)
    extras = {
        **given,
        **{_CONFIG + name: value for name, value in config.items()},
        **{_IMAGE + name: value for name, value in image.items()},
    }
    return MediaRequest(
        operation=Operation.EDIT if references else Operation.GENERATE,
        prompt="\n".join(texts),
        model=call.params.get("model", ""),
        n=n,
        aspect=aspect,
        resolution=resolution,
        seed=seed,
        references=references,
        stream=stream,
        extras={NAME: extras} if extras else {},
        ask=call.ask,
    )


def _spelled(value: object, name: str) -> dict[str, Any]:
    """An object with its keys in camelCase and its nulls left out; empty for null."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(name, f"{name} must be an object")
    return {_camel(key): item for key, item in value.items() if item is not None}


def _camel(name: str) -> str:
    return re.sub(r"_([a-z])", lambda match: match[1].upper(), name)


def _read_contents(contents: object) -> tuple[list[str], tuple[Media, ...]]:
    if not isinstance(contents, list) or not contents:
        raise InvalidRequest("contents", "contents is required, a list of objects with parts")
    texts: list[str] = []
    references: list[Media] = []
    for name, part in _parts(contents):
        match part:
            case {"thought": True}:
                continue
            case {"text": str(text)}:
                texts += [text] if text else []
            case {"inlineData": blob}:
                references.append(_read_blob(blob, f"{name}.inlineData"))
            case {"fileData": file}:
                references.append(_read_file(file, f"{name}.fileData"))
            case {"thoughtSignature": _}:
                continue
            case _:
                raise InvalidRequest(name, f"{name} must have text, inlineData or fileData")
    if not texts:
        raise InvalidRequest("contents", "contents must have a text: it is the prompt")
    return texts, tuple(references)


def _parts(contents: list[Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part with its path, over all turns."""
    for turn, content in enumerate(contents):
        parts = _spelled(content, f"contents[{turn}]").get("parts", [])
        if not isinstance(parts, list):
            raise InvalidRequest(f"contents[{turn}].parts", f"contents[{turn}].parts must be a list")
        for index, part in enumerate(parts):
            yield (name := f"contents[{turn}].parts[{index}]"), _spelled(part, name)


def _read_blob(value: object, name: str) -> Media:
    blob = _spelled(value, name)
    mime = _read_text(blob, name, "mimeType").lower()
    if mime and not mime.startswith("image/"):
        raise InvalidRequest(f"{name}.mimeType", f"{name}.mimeType must be a picture's; got {mime[:40]!r}")
    return fields.read_base64(blob.get("data"), f"{name}.data", mime)


def _read_file(value: object, name: str) -> Media:
    file = _spelled(value, name)
    uri = _read_text(file, name, "fileUri")
    if not uri.startswith(("http://", "https://")):
        raise InvalidRequest(f"{name}.fileUri", f"{name}.fileUri must be an http or https URL")
    return Media(url=uri, mime=_read_text(file, name, "mimeType").lower())


def _read_text(owner: Mapping[str, Any], path: str, name: str) -> str:
    """A string field, its whole path named in an error."""
    return fields.read_text({f"{path}.{name}": owner.get(name)}, f"{path}.{name}")


def _read_image_config(image: dict[str, Any]) -> tuple[tuple[int, int] | None, str]:
    """The aspect and the class of size, taken out of ``image``."""
    aspect, resolution = (_read_text(image, _IMAGE[:-1], name) for name in ("aspectRatio", "imageSize"))
    for name in ("aspectRatio", "imageSize"):
        image.pop(name, None)
    size = f"{_IMAGE}imageSize"
    return (
        fields.read_aspect(aspect, f"{_IMAGE}aspectRatio") if aspect else None,
        fields.read_choice({size: resolution.upper()}, size, RESOLUTIONS),
    )


def _read_integer(config: dict[str, Any], name: str, low: int, high: int) -> int | None:
    path = _CONFIG + name
    return fields.read_integer({path: config.pop(name, None)}, path, low, high)


def _read_modalities(config: dict[str, Any]) -> None:
    """Pictures alone are what every deployment is asked for; a wish for words beside them stays in the extras."""
    name = "generationConfig.responseModalities"
    modalities = config.get("responseModalities", [])
    if not isinstance(modalities, list) or not all(isinstance(item, str) for item in modalities):
        raise InvalidRequest(name, f"{name} must be a list of strings")
    wanted = {item.upper() for item in modalities}
    if wanted and "IMAGE" not in wanted:
        raise InvalidRequest(name, f"{name} must include IMAGE: nothing but pictures is made here")
    if wanted <= {"IMAGE"}:
        config.pop("responseModalities", None)


def write_reply(result: MediaResult, request: MediaRequest) -> ClientReply:
    """One candidate a picture; the words beside them in the first."""
    return ClientReply(200, orjson.dumps(_answer(result)))


def _answer(result: MediaResult) -> dict[str, Any]:
    candidates = []
    for index, artifact in enumerate(result.artifacts):
        words = [{"text": result.text}] if result.text and index == 0 else []
        content = {"role": "model", "parts": [*words, _blob_part(artifact.media)]}
        candidates.append({"content": content, "finishReason": "STOP", "index": index})
    tokens = {"promptTokenCount": result.usage.input_tokens, "candidatesTokenCount": result.usage.output_tokens}
    known = {name: count for name, count in tokens.items() if count is not None}
    return {
        "candidates": candidates,
        "usageMetadata": known | {"totalTokenCount": sum(known.values())},
        "modelVersion": result.model,
        "responseId": result.id,
    }


def _blob_part(media: Media) -> dict[str, Any]:
    mime = media.mime or fields.sniff_mime(media.data) or "image/png"
    return {"inlineData": {"mimeType": mime, "data": fields.encode_base64(media.data)}}


def write_event(event: Partial | MediaResult | Failure, request: MediaRequest) -> bytes:
    """The whole answer in one event. There are no partial pictures on this wire, so one says nothing."""
    match event:
        case Partial():
            return b""
        case MediaResult():
            body = _answer(event)
        case Failure():
            _, body = _failure(event)
    return b"data: " + orjson.dumps(body) + b"\n\n"


_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_RPC = "type.googleapis.com/google.rpc."


def write_error(failure: Failure, request: MediaRequest | None) -> ClientReply:
    """Google's error object; a refusal is an HTTP 200 with ``promptFeedback`` and no candidates."""
    status, body = _failure(failure)
    headers = {} if failure.retry_after is None else {"Retry-After": str(math.ceil(failure.retry_after))}
    return ClientReply(status, orjson.dumps(body), headers=headers)


def _failure(failure: Failure) -> tuple[int, dict[str, Any]]:
    if failure.cause is Cause.REFUSED:
        feedback = {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": failure.message}
        return 200, {"promptFeedback": feedback, "usageMetadata": {"totalTokenCount": 0}, "responseId": failure.id}
    status = failure.http_status
    name = _STATUSES.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")
    error = {"code": status, "message": failure.message, "status": name}
    details = list(_details(failure))
    return status, {"error": error | ({"details": details} if details else {})}


def _details(failure: Failure) -> Iterator[dict[str, Any]]:
    if failure.field:
        violation = {"field": failure.field, "description": failure.message}
        yield {"@type": f"{_RPC}BadRequest", "fieldViolations": [violation]}
    if failure.retry_after is not None:
        yield {"@type": f"{_RPC}RetryInfo", "retryDelay": f"{round(failure.retry_after, 3)}s"}
    if failure.code:
        yield {"@type": f"{_RPC}ErrorInfo", "reason": failure.code.upper(), "domain": "muxel.dev"}


# ------------------------------------------------------------------------------------------------------ provider face


def write_request(request: MediaRequest, target: Target) -> UpstreamCall:
    """One user turn: the prompt, then the references. The size asked for becomes the nearest ratio and resolution."""
    image = _image_config(request, target.options)
    carried = {"references", "seed"}
    if image:
        carried |= {"size", "aspect"} | ({"resolution"} if "imageSize" in image else set())
    config: dict[str, Any] = {"responseModalities": ["IMAGE"]}
    if request.seed is not None:
        config["seed"] = request.seed
    words = [{"text": request.prompt}] if request.prompt else []
    body: dict[str, Any] = {
        "contents": [{"parts": [*words, *map(_part, request.references)], "role": "user"}],
        "generationConfig": config,
    }
    for path, value in request.extras.get(NAME, {}).items():
        if path.startswith(_IMAGE):
            image[path.removeprefix(_IMAGE)] = value
        elif path.startswith(_CONFIG):
            config[path.removeprefix(_CONFIG)] = value
        else:
            body[path] = value
    if image:
        config["imageConfig"] = image
    return UpstreamCall(
        "POST",
        f"{target.base_url}/models/{target.remote}:generateContent",
        headers={"Content-Type": "application/json"},
        body=orjson.dumps(body),
        dropped=fields.dropped_fields(request, NAME, carried),
        media=len(request.references),
    )


def _image_config(request: MediaRequest, options: Mapping[str, Any]) -> dict[str, Any]:
    image: dict[str, Any] = {}
    if pair := fields.aspect_of(request):
        image["aspectRatio"] = fields.nearest_aspect(pair, options.get("aspects", _ASPECTS))
    if resolution := fields.nearest_resolution(request, options.get("resolutions", ())):
        image["imageSize"] = resolution
    return image


def _part(media: Media) -> dict[str, Any]:
    if not media.url:
        return _blob_part(media)
    return {"fileData": {"fileUri": media.url, **({"mimeType": media.mime} if media.mime else {})}}


_REFUSALS = frozenset(
    {"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT"}
    | {"IMAGE_RECITATION", "ESCALATION", "MODEL_ARMOR", "PUP_LIMITED_DISABLED"}
)  # finish reasons; every other one without a picture is a model that did not do its work


def read_reply(reply: UpstreamReply) -> Step:
    """Pictures, or why not. A refusal is an HTTP 200, and so is an answer in words only."""
    answer = fields.read_answer(reply.body)
    if not 200 <= reply.status < 300 or answer.get("error"):
        return _read_failure(reply, answer)
    candidates = list(_objects(answer.get("candidates")))
    parts = [part for candidate in candidates for part in _answer_parts(candidate)]
    artifacts = tuple(Artifact(media) for part in parts if (media := _read_part(part)))
    text = " ".join(part["text"] for part in parts if isinstance(part.get("text"), str))
    if artifacts:
        return Done(artifacts, _read_usage(answer), text)
    return _read_refusal(answer, candidates, text)


def _objects(value: object) -> Iterator[dict[str, Any]]:
    yield from (item for item in (value if isinstance(value, list) else ()) if isinstance(item, dict))


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _answer_parts(candidate: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The parts that are not thoughts: a thinking model sends its drafts as thought pictures."""
    parts = _objects(_object(candidate.get("content")).get("parts"))
    return (part for part in parts if not part.get("thought"))


def _read_part(part: Mapping[str, Any]) -> Media | None:
    blob = _object(part.get("inlineData"))
    mime = blob.get("mimeType")
    try:
        return fields.read_base64(blob.get("data"), "data", mime if isinstance(mime, str) else "")
    except InvalidRequest:
        return None


def _read_usage(answer: Mapping[str, Any]) -> Usage:
    """Thinking is billed as output."""
    counts = _object(answer.get("usageMetadata"))
    tokens_in, tokens_out, thoughts = (
        count if isinstance(count := counts.get(name), int) else None
        for name in ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount")
    )
    return Usage(None, tokens_in, None if tokens_out is None else tokens_out + (thoughts or 0))


def _read_refusal(answer: Mapping[str, Any], candidates: list[dict[str, Any]], text: str) -> Failed:
    feedback = _object(answer.get("promptFeedback"))
    if blocked := str(feedback.get("blockReason") or ""):
        message = str(feedback.get("blockReasonMessage") or f"the prompt was blocked: {blocked}")
        return Failed(Cause.REFUSED, fields.excerpt(message), code=fields.excerpt(blocked, 80))
    for candidate in candidates:
        reason = str(candidate.get("finishReason") or "")
        message = str(candidate.get("finishMessage") or text or reason)
        if reason in _REFUSALS:
            return Failed(Cause.REFUSED, fields.excerpt(message), code=reason)
        return Failed(Cause.MALFORMED, fields.excerpt(f"no picture: {message}"), code=fields.excerpt(reason, 80))
    return Failed(Cause.MALFORMED, "the answer has neither a candidate nor a reason")


def _read_failure(reply: UpstreamReply, answer: Mapping[str, Any]) -> Failed:
    error = _object(answer.get("error"))
    code = error.get("code")
    status = code if 200 <= reply.status < 300 and isinstance(code, int) else reply.status
    details = list(_objects(error.get("details")))
    cause = _read_cause(status, str(error.get("status")), details)
    delay = _read_delay(details) or fields.retry_after(reply.headers)
    return Failed(
        cause,
        fields.excerpt(str(error.get("message") or "")) or f"HTTP {reply.status} without a message",
        retry_after=None if cause is Cause.DENIED else delay,  # seconds are no cure for a quota spent for the day
        code=fields.excerpt(str(error.get("status") or ""), 80),
    )


def _read_cause(status: int, name: str, details: list[dict[str, Any]]) -> Cause:
    """A wrong key and a missing payment come as 400, a quota spent for the day as 429 like a rate that is too high."""
    if name == "FAILED_PRECONDITION" or any(detail.get("reason") == "API_KEY_INVALID" for detail in details):
        return Cause.DENIED
    violations = [item for detail in details for item in _objects(detail.get("violations"))]
    if status == 429 and any("PerDay" in str(item.get("quotaId")) for item in violations):
        return Cause.DENIED
    blamed = [item for detail in details for item in _objects(detail.get("fieldViolations"))]
    if status == 400 and any(str(item.get("field")).startswith("contents") for item in blamed):
        return Cause.INVALID
    return fields.cause_of(status)


def _read_delay(details: list[dict[str, Any]]) -> float | None:
    """Seconds from RetryInfo ("34s", "1.5s"), where Google says them rather than in a header."""
    for detail in details:
        if re.fullmatch(r"\d{1,6}(\.\d{1,9})?s", delay := str(detail.get("retryDelay"))):
            return float(delay[:-1])
    return None
