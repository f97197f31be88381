"""What we send to the Interactions API, and what it answers.

The proxy calls it through the registry. Must not know any model: how one deployment differs from the next is said by
its options in the catalog:

    aspects        the aspect ratios it takes; the nearest is sent. Those of every Gemini image model where not set
    resolutions    the classes of size it takes ("512", "1K", "2K", "4K"); where not set it makes 1K and is not told

The base URL is ``https://generativelanguage.googleapis.com/v1``. Facts from google-genai 3.4.0 (types read and calls
captured 2026-11-21); error codes from ai.google.dev/gemini-api/docs/api-errors (seen 2026-11-21).
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from adapters import fields, imaging, replies
from adapters.interactions.shapes import FORMAT, NAME, image_content
from adapters.ir import (
    Artifact,
    Auth,
    Cause,
    Delivery,
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
TAKES_URLS = False  # a uri is that of a file which the same account has uploaded
OPTIONS = frozenset({"aspects", "resolutions"})

_ASPECTS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")


def write_request(request: MediaRequest, target: Target) -> UpstreamCall:
    """A text, or one step of a text and the references. Nothing is to be kept: nobody is told the id to ask for it."""
    extras = dict(request.extras.get(NAME, {}))
    picture, carried = _response_format(request, target.options)
    picture |= {path.removeprefix(FORMAT): extras.pop(path) for path in tuple(extras) if path.startswith(FORMAT)}
    others = extras.pop("response_format", None)
    config = extras.pop("generation_config", None)
    config = dict(config) if isinstance(config, dict) else {}
    if request.seed is not None:
        config["seed"] = request.seed
    text = {"type": "text", "text": request.prompt}
    contents = [
        *([text] if request.prompt else []),
        *(image_content(media, Delivery.URL) for media in request.references),
    ]
    body = {
        **extras,
        "model": target.remote,
        "input": [{"type": "user_input", "content": contents}] if request.references else request.prompt,
        "response_format": [*others, picture] if isinstance(others, list) else picture,
        "store": False,
        **({"generation_config": config} if config else {}),
    }
    return UpstreamCall(
        "POST",
        f"{target.base_url}/interactions",
        headers={"Content-Type": "application/json"},
        body=orjson.dumps(body),
        dropped=fields.dropped_fields(request, NAME, {"prompt", "references", "seed", *carried}),
        media=len(request.references),
    )


def _response_format(request: MediaRequest, options: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """What the picture is to be, and the canonical fields that says. JPEG is the one format that can be named."""
    picture: dict[str, Any] = {"type": "image"}
    carried: set[str] = set()
    if pair := fields.aspect_of(request):
        picture["aspect_ratio"] = fields.nearest_aspect(pair, options.get("aspects", _ASPECTS))
        carried |= {"size", "aspect"}
    if resolution := fields.nearest_resolution(request, options.get("resolutions", ())):
        picture["image_size"] = resolution
        carried.add("resolution")
    if request.format == "jpeg":
        picture["mime_type"] = "image/jpeg"
        carried.add("format")
    return picture, carried


def read_reply(reply: UpstreamReply) -> Step:
    """Pictures, or why not. An interaction that has failed is an HTTP 200, and so is one of words only."""
    answer = replies.read_answer(reply.body)
    if not 200 <= reply.status < 300 or answer.get("error"):
        return _failed(reply, _object(answer.get("error")))
    steps = [step for step in _objects(answer.get("steps")) if step.get("type") == "model_output"]
    contents = [content for step in steps for content in _objects(step.get("content"))]
    artifacts = tuple(Artifact(media) for content in contents if (media := _read_output(content)))
    text = " ".join(content["text"] for content in contents if isinstance(content.get("text"), str))
    if artifacts:
        return Done(artifacts, _read_usage(answer), text)
    errors = [*_objects(answer.get("errors")), *(error for step in steps if (error := _object(step.get("error"))))]
    if errors:
        return _failed(reply, errors[0])
    said = text or f"the interaction is {answer.get('status') or 'of no status'}"
    return Failed(Cause.MALFORMED, replies.excerpt(f"no picture: {said}"))


def _objects(value: object) -> Iterator[dict[str, Any]]:
    yield from (item for item in (value if isinstance(value, list) else ()) if isinstance(item, dict))


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _read_output(content: Mapping[str, Any]) -> Media | None:
    if content.get("type") != "image":
        return None
    mime, uri = content.get("mime_type"), content.get("uri")
    mime = mime if isinstance(mime, str) else ""
    if isinstance(uri, str) and uri.startswith("https://"):
        return Media(url=uri, mime=mime)
    try:
        return imaging.read_base64(content.get("data"), "data", mime)
    except InvalidRequest:
        return None


def _read_usage(answer: Mapping[str, Any]) -> Usage:
    """Thinking is billed as output."""
    counts = _object(answer.get("usage"))
    tokens_in, tokens_out, thoughts = (
        count if isinstance(count := counts.get(f"total_{kind}_tokens"), int) else None
        for kind in ("input", "output", "thought")
    )
    return Usage(None, tokens_in, None if tokens_out is None else tokens_out + (thoughts or 0))


_CODES = {
    Cause.REFUSED: "safety recitation prohibited_content spii blocklist content_blocked image_safety "
    "image_prohibited_content image_recitation",
    Cause.DENIED: "authentication permission_denied failed_precondition payment_required quota_exceeded",
    Cause.THROTTLED: "rate_limit_exceeded too_many_requests",
    Cause.UNAVAILABLE: "api_error service_unavailable",
    Cause.UNSUPPORTED: "invalid_request parameter_unknown out_of_range model_not_found unimplemented language",
    Cause.AMBIGUOUS: "deadline_exceeded",
}
_CAUSES = {code: cause for cause, codes in _CODES.items() for code in codes.split()}


def _failed(reply: UpstreamReply, error: Mapping[str, Any]) -> Failed:
    """By the documented code. Vertex AI has a number there, and a name like it under ``status``."""
    names = (name for name in (error.get("code"), error.get("status")) if isinstance(name, str))
    code = next(names, "").rpartition("/")[2].lower()  # the SDK's type calls it a URI
    cause = _CAUSES.get(code) or replies.cause_of(reply.status)
    return Failed(
        cause,
        replies.excerpt(str(error.get("message") or "")) or f"HTTP {reply.status} without a message",
        retry_after=None if cause is Cause.DENIED else replies.retry_after(reply.headers),
        code=replies.excerpt(code, 80),
    )
