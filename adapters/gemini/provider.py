"""What we send to the Gemini API and to Vertex AI, and what they answer.

The proxy calls it through the registry. Must not know any model: how one deployment differs from the next is said by
its options in the catalog:

    aspects        the aspect ratios it takes; the nearest is sent. Those of every Gemini image model where not set
    resolutions    the classes of size it takes ("512", "1K", "2K", "4K"); where not set it makes 1K and is not told
    vertex         true on Vertex AI, which alone takes the format of the picture and who may be on it

The base URL ends where the models begin: ``https://generativelanguage.googleapis.com/v1beta``, or on Vertex AI
``https://aiplatform.googleapis.com/v1/projects/P/locations/global/publishers/google``.

A negative prompt and a mask cannot be said here, and the number of pictures is not: ``candidateCount`` above 1 is not
documented for pictures. Facts from google-genai 3.4.0 (read and captured 2026-11-21) unless a line says other.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from adapters import fields, imaging, replies
from adapters.gemini.shapes import CONFIG, FORMATS, IMAGE, NAME, blob_part, objects
from adapters.ir import (
    Artifact,
    Auth,
    Cause,
    Done,
    Failed,
    InvalidRequest,
    Media,
    MediaRequest,
    Operation,
    Step,
    Target,
    UpstreamCall,
    UpstreamReply,
    Usage,
)

AUTH = Auth("x-goog-api-key")
PROVIDER_OPERATIONS = frozenset({Operation.GENERATE, Operation.EDIT})
TAKES_URLS = False  # documented for reading files; nowhere for the models that make pictures
OPTIONS = frozenset({"aspects", "resolutions", "vertex"})

_ASPECTS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
_MIMES = {name: mime for mime, name in FORMATS.items() if name in ("png", "jpeg")}
# Extras the Gemini API does not know: the SDK refuses to send them there.
_VERTEX_ONLY = frozenset(
    {"modelArmorConfig", f"{CONFIG}routingConfig", f"{CONFIG}modelConfig"}
    | {f"{IMAGE}personGeneration", f"{IMAGE}prominentPeople"}
)


def write_request(request: MediaRequest, target: Target) -> UpstreamCall:
    """One user turn: the prompt, then the references. The size asked for becomes the nearest ratio and resolution."""
    image, carried = _image_config(request, target.options)
    config: dict[str, Any] = {"responseModalities": ["IMAGE"]}
    if request.seed is not None:
        config["seed"] = request.seed
    words = [{"text": request.prompt}] if request.prompt else []
    body: dict[str, Any] = {
        "contents": [{"parts": [*words, *map(_part, request.references)], "role": "user"}],
        "generationConfig": config,
    }
    extras = request.extras.get(NAME, {})
    unknown = () if target.options.get("vertex") else tuple(path for path in extras if path in _VERTEX_ONLY)
    for path, value in extras.items():
        if path in unknown:
            continue
        if path.startswith(IMAGE):
            image[path.removeprefix(IMAGE)] = value
        elif path.startswith(CONFIG):
            config[path.removeprefix(CONFIG)] = value
        else:
            body[path] = value
    if image:
        config["imageConfig"] = image
    return UpstreamCall(
        "POST",
        f"{target.base_url}/models/{target.remote}:generateContent",
        headers={"Content-Type": "application/json"},
        body=orjson.dumps(body),
        dropped=(
            *fields.dropped_fields(request, NAME, {"prompt", "references", "seed", *carried}),
            *(f"{NAME}.{path}" for path in unknown),
        ),
        media=len(request.references),
    )


def _image_config(request: MediaRequest, options: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """``imageConfig``, and the canonical fields it carries."""
    image: dict[str, Any] = {}
    if pair := fields.aspect_of(request):
        image["aspectRatio"] = fields.nearest_aspect(pair, options.get("aspects", _ASPECTS))
    if resolution := fields.nearest_resolution(request, options.get("resolutions", ())):
        image["imageSize"] = resolution
    carried = ({"size", "aspect"} if image else set()) | ({"resolution"} if resolution else set())
    if options.get("vertex") and request.format in _MIMES:
        image["imageOutputOptions"] = {"mimeType": _MIMES[request.format]}
        carried.add("format")
        if request.compression is not None:
            image["imageOutputOptions"]["compressionQuality"] = request.compression
            carried.add("compression")
    return image, carried


def _part(media: Media) -> dict[str, Any]:
    if not media.url:
        return blob_part(media)
    return {"fileData": {"fileUri": media.url, **({"mimeType": media.mime} if media.mime else {})}}


_REFUSALS = frozenset(
    {"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT"}
    | {"IMAGE_RECITATION", "ESCALATION", "MODEL_ARMOR", "PUP_LIMITED_DISABLED"}
)  # finish reasons; every other one without a picture is a model that did not do its work


def read_reply(reply: UpstreamReply) -> Step:
    """Pictures, or why not. A refusal is an HTTP 200, and so is an answer in words only."""
    answer = replies.read_answer(reply.body)
    if not 200 <= reply.status < 300 or answer.get("error"):
        return _read_failure(reply, answer)
    candidates = list(objects(answer.get("candidates")))
    parts = [part for candidate in candidates for part in _answer_parts(candidate)]
    artifacts = tuple(Artifact(media) for part in parts if (media := _read_part(part)))
    text = " ".join(part["text"] for part in parts if isinstance(part.get("text"), str))
    if artifacts:
        return Done(artifacts, _read_usage(answer), text)
    return _read_refusal(answer, candidates, text)


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _answer_parts(candidate: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The parts that are not thoughts: a thinking model sends its drafts as thought pictures."""
    parts = objects(_object(candidate.get("content")).get("parts"))
    return (part for part in parts if not part.get("thought"))


def _read_part(part: Mapping[str, Any]) -> Media | None:
    blob = _object(part.get("inlineData"))
    mime = blob.get("mimeType")
    try:
        return imaging.read_base64(blob.get("data"), "data", mime if isinstance(mime, str) else "")
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
        return Failed(Cause.REFUSED, replies.excerpt(message), code=replies.excerpt(blocked, 80))
    for candidate in candidates:
        reason = str(candidate.get("finishReason") or "")
        message = str(candidate.get("finishMessage") or text or reason)
        if reason in _REFUSALS:
            return Failed(Cause.REFUSED, replies.excerpt(message), code=reason)
        return Failed(Cause.MALFORMED, replies.excerpt(f"no picture: {message}"), code=replies.excerpt(reason, 80))
    return Failed(Cause.MALFORMED, "the answer has neither a candidate nor a reason")


def _read_failure(reply: UpstreamReply, answer: Mapping[str, Any]) -> Failed:
    error = _object(answer.get("error"))
    code = error.get("code")
    status = code if 200 <= reply.status < 300 and isinstance(code, int) else reply.status
    details = list(objects(error.get("details")))
    cause = _read_cause(status, str(error.get("status")), details)
    delay = _read_delay(details) or replies.retry_after(reply.headers)
    return Failed(
        cause,
        replies.excerpt(str(error.get("message") or "")) or f"HTTP {reply.status} without a message",
        retry_after=None if cause is Cause.DENIED else delay,  # seconds are no cure for a quota spent for the day
        code=replies.excerpt(str(error.get("status") or ""), 80),
    )


def _read_cause(status: int, name: str, details: list[dict[str, Any]]) -> Cause:
    """A wrong key and a missing payment come as 400, a quota spent for the day as 429 like a rate that is too high."""
    if name == "FAILED_PRECONDITION" or any(detail.get("reason") == "API_KEY_INVALID" for detail in details):
        return Cause.DENIED
    violations = [item for detail in details for item in objects(detail.get("violations"))]
    if status == 429 and any("PerDay" in str(item.get("quotaId")) for item in violations):
        return Cause.DENIED
    blamed = [item for detail in details for item in objects(detail.get("fieldViolations"))]
    if status == 400 and any(str(item.get("field")).startswith("contents") for item in blamed):
        return Cause.INVALID
    return replies.cause_of(status)


def _read_delay(details: list[dict[str, Any]]) -> float | None:
    """Seconds from RetryInfo ("34s", "1.5s"), where Google says them rather than in a header."""
    for detail in details:
        if re.fullmatch(r"\d{1,6}(\.\d{1,9})?s", delay := str(detail.get("retryDelay"))):
            return float(delay[:-1])
    return None
