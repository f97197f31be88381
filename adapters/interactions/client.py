"""What callers see of the Interactions API: its calls, answers, events and errors.

The registry mounts it, the proxy calls it. It is mounted below the prefix of the gemini wire, as one client of the SDK
has one base URL for both. Must not know any provider's account. Facts from google-genai 3.4.0 (types read and calls
captured 2026-11-21); error codes from ai.google.dev/gemini-api/docs/api-errors (seen 2026-11-21).

An interaction that makes pictures is answered when it is done, also where ``background`` asks to be answered sooner,
and is not kept: its id, which begins with "muxel-", can be neither fetched nor continued, and the SDK needs neither. A
conversation goes on by sending it whole; its texts become the prompt and its pictures the references. Everything else
is passed through: words, sound, video, agents, and what continues a conversation that Google keeps.

An interaction that has failed and may have been paid for, and a refusal, is an HTTP 200 with the status ``failed``:
this part of the SDK sends every HTTP 5xx again, four times, whatever the headers say.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from math import ceil
from typing import Any

import orjson

from adapters import fields, imaging
from adapters.interactions.shapes import FORMAT, NAME, image_content
from adapters.ir import (
    RESOLUTIONS,
    Action,
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
    PassThrough,
    Route,
)

PREFIX = "/gemini"
VERSIONS: tuple[str, ...] = ("/v1beta", "/v1", "/v1alpha", "/v1beta1", "")
ALIASES: tuple[str, ...] = ()

_OURS = "muxel-"  # what our ids begin with; Google's with "v1_"
_PARENTS = ("", "/projects/{project}/locations/{location}")  # the latter on Vertex AI, unless with an express key
ROUTES: tuple[Route, ...] = tuple(
    route
    for parent in _PARENTS
    for route in (
        Route("POST", f"{parent}/interactions", Action.CREATE, "create"),
        Route("*", f"{parent}/interactions/{{id:{_OURS}[^/]+}}{{rest:.*}}", Action.DESCRIBE, "ours"),
        Route("*", f"{parent}/interactions/{{id}}{{rest:.*}}", Action.PASS, "google's"),
    )
)
CLIENT_OPERATIONS = frozenset({Operation.GENERATE, Operation.EDIT})

_FORMATS = {"image/png": "png", "image/jpeg": "jpeg", "image/webp": "webp"}
_INT32 = 2**31
_SPEAKS = re.compile(r"(?:gemini|gemma|learnlm|lyria|veo)-(?!.*(?:image|banana))")  # models that draw say so by name
_AT_GOOGLE = re.compile(r"gs://|https://generativelanguage\.googleapis\.com/")
_STEPS = ("user_input", "model_output")


def read_request(call: ClientCall) -> MediaRequest:
    """A generation, or an edit where ``input`` holds pictures. Raises InvalidRequest and PassThrough."""
    given = _known(fields.read_object(call.body), "body")
    picture, formats = _read_response_format(given)
    if not _makes_picture(given, picture, formats):
        raise PassThrough
    _check_continued(given)
    texts, references = _read_input(given.pop("input", None))
    config = _known(given.pop("generation_config", None), "generation_config")
    older = _known(config.pop("image_config", None), "generation_config.image_config")
    told = {FORMAT + name: value for name, value in {**older, **(picture or {})}.items() if name != "type"}
    shape = _read_shape(told)
    seed = "generation_config.seed"
    return MediaRequest(
        operation=Operation.EDIT if references else Operation.GENERATE,
        prompt="\n".join(texts),
        model=fields.read_text(given, "model", required=True),
        **shape,
        seed=fields.read_integer({seed: config.pop("seed", None)}, seed, -_INT32, _INT32 - 1),
        references=references,
        stream=fields.read_flag(given, "stream") or False,
        extras=_extras(given | told, config, formats),
        ask=call.ask,
    )


def _known(value: object, name: str) -> dict[str, Any]:
    """An object without its nulls; empty for null."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(name, f"{name} must be an object")
    return {key: item for key, item in value.items() if item is not None}


def _read_response_format(given: dict[str, Any]) -> tuple[dict[str, Any] | None, list[Any]]:
    """What is said of the picture, None if nothing is, and the formats of all else; taken out of ``given``."""
    value = given.pop("response_format", None)
    formats = value if isinstance(value, list) else [] if value is None else [value]
    pictures = [item for item in formats if isinstance(item, dict) and item.get("type") == "image"]
    if len(pictures) > 1:
        raise InvalidRequest("response_format", "response_format must have one image at most")
    others = [item for item in formats if item not in pictures]
    return _known(pictures[0], "response_format") if pictures else None, others


def _makes_picture(given: Mapping[str, Any], picture: dict[str, Any] | None, formats: list[Any]) -> bool:
    """By the format, else by the modalities, else by the model: those of other names are the catalog's, and draw."""
    modalities: object = given.get("response_modalities")
    if "agent" in given:
        return False
    if picture is not None or (isinstance(modalities, list) and "image" in modalities):
        return True
    return not modalities and not formats and not _SPEAKS.match(str(given.get("model")))


def _check_continued(given: Mapping[str, Any]) -> None:
    """Raises PassThrough for what goes on from a conversation at Google, InvalidRequest from one that was ours."""
    before = fields.read_text(given, "previous_interaction_id")
    if before.startswith(_OURS):
        message = "previous_interaction_id cannot be served: pictures are not kept; send the conversation in input"
        raise InvalidRequest("previous_interaction_id", message)
    if before or given.get("continuation_token"):
        raise PassThrough
    if given.get("webhook_config"):
        raise InvalidRequest("webhook_config", "webhook_config cannot be served: the answer comes with the call")


def _read_input(value: object) -> tuple[list[str], tuple[Media, ...]]:
    """The texts and the pictures of a text, a content, or a list of contents or steps."""
    texts: list[str] = []
    references: list[Media] = []
    for name, content in _contents(value):
        match content:
            case {"text": str(text)}:
                texts += [text] if text else []
            case {"type": "image"}:
                references.append(_read_image(content, name))
            case _:
                raise InvalidRequest(name, f"{name} must be a text or an image")
    if not texts:
        raise InvalidRequest("input", "input must have a text: it is the prompt")
    return texts, tuple(references)


def _contents(value: object) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(value, str):
        yield "input", {"text": value}
        return
    if not isinstance(value, list):
        yield "input", _known(value, "input")
        return
    for index, item in enumerate(value):
        name = f"input[{index}]"
        entry = _known(item, name)
        if entry.get("type") == "thought":
            continue
        if entry.get("type") not in _STEPS and "content" not in entry:
            yield name, entry
            continue
        contents = entry.get("content", [])
        for number, content in enumerate(contents if isinstance(contents, list) else [contents]):
            place = f"{name}.content[{number}]"
            yield place, {"text": content} if isinstance(content, str) else _known(content, place)


def _read_image(content: Mapping[str, Any], name: str) -> Media:
    mime = fields.read_text({f"{name}.mime_type": content.get("mime_type")}, f"{name}.mime_type").lower()
    uri = fields.read_text({f"{name}.uri": content.get("uri")}, f"{name}.uri")
    if not uri:
        return imaging.read_base64(content.get("data"), f"{name}.data", mime)
    if _AT_GOOGLE.match(uri):
        raise PassThrough
    if not uri.startswith(("http://", "https://")):
        raise InvalidRequest(f"{name}.uri", f"{name}.uri must be an http or https URL")
    return Media(url=uri, mime=mime)


def _read_shape(told: dict[str, Any]) -> dict[str, Any]:
    """The canonical fields of the picture's format, taken out of ``told``."""
    aspect, size, mime, delivery = (FORMAT + name for name in ("aspect_ratio", "image_size", "mime_type", "delivery"))
    named = {name: told.pop(name, None) for name in (aspect, size, mime, delivery)}
    ratio = fields.read_text(named, aspect)
    resolution = fields.read_text(named, size).upper()
    return {
        "aspect": fields.read_aspect(ratio, aspect) if ratio else None,
        "resolution": fields.read_choice({size: resolution}, size, RESOLUTIONS),
        "format": _FORMATS.get(fields.read_choice(named, mime, _FORMATS), ""),
        "delivery": Delivery.URL if fields.read_choice(named, delivery, ("inline", "uri")) == "uri" else Delivery.B64,
    }


_OWN = frozenset({"model", "stream", "store", "background", "previous_interaction_id", "continuation_token"})


def _extras(given: Mapping[str, Any], config: Mapping[str, Any], formats: list[Any]) -> dict[str, dict[str, Any]]:
    extras = {name: value for name, value in given.items() if name not in _OWN}
    if extras.get("response_modalities") == ["image"]:
        del extras["response_modalities"]
    if config:
        extras["generation_config"] = dict(config)
    if formats:
        extras["response_format"] = formats
    return {NAME: extras} if extras else {}


def write_reply(result: MediaResult, request: MediaRequest) -> ClientReply:
    """The whole interaction, with one step that has the words and the pictures."""
    step = {"type": "model_output", "content": _output(result, request)}
    return _json(200, _interaction(result) | {"steps": [step]})


def _output(result: MediaResult, request: MediaRequest) -> list[dict[str, Any]]:
    words = [{"type": "text", "text": result.text}] if result.text else []
    return words + [image_content(artifact.media, request.delivery) for artifact in result.artifacts]


def _interaction(result: MediaResult) -> dict[str, Any]:
    tokens = {"total_input_tokens": result.usage.input_tokens, "total_output_tokens": result.usage.output_tokens}
    known = {name: count for name, count in tokens.items() if count is not None}
    created = datetime.fromtimestamp(result.created, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    return {
        "id": _OURS + result.id,
        "object": "interaction",
        "status": "completed",
        "model": result.model,
        "created": created,
        "updated": created,
        "usage": known | {"total_tokens": sum(known.values())},
    }


def write_event(event: Partial | MediaResult | Failure, request: MediaRequest) -> bytes:
    """The whole interaction at once, as the events it would have come in. This wire has no partial pictures."""
    match event:
        case Partial():
            return b""
        case Failure():
            return _event("error", error=_error(event)) + _END
        case MediaResult():
            begun = {"id": _OURS + event.id, "status": "in_progress", "model": event.model}
            deltas = (_event("step.delta", index=0, delta=content) for content in _output(event, request))
            return b"".join(
                (
                    _event("interaction.created", interaction=begun),
                    _event("step.start", index=0, step={"type": "model_output"}),
                    *deltas,
                    _event("step.stop", index=0),
                    _event("interaction.completed", interaction=_interaction(event)),
                    _END,
                )
            )


_END = b"data: [DONE]\n\n"


def _event(kind: str, **told: object) -> bytes:
    return f"event: {kind}\ndata: ".encode() + orjson.dumps({"event_type": kind, **told}) + b"\n\n"


_CODES = {
    401: "authentication",
    403: "permission_denied",
    404: "not_found",
    429: "rate_limit_exceeded",
    499: "cancelled",
    503: "service_unavailable",
    504: "deadline_exceeded",
}
_FAILED = (Cause.REFUSED, Cause.AMBIGUOUS, Cause.MALFORMED)  # not to be sent again: it may buy a second picture


def write_error(failure: Failure, request: MediaRequest | None) -> ClientReply:
    """The error object of this API, or an interaction that has failed, see above."""
    error = _error(failure)
    if failure.cause in _FAILED:
        return _json(200, {"id": _OURS + failure.id, "object": "interaction", "status": "failed", "errors": [error]})
    headers = {} if failure.retry_after is None else {"Retry-After": str(ceil(failure.retry_after))}
    return _json(failure.http_status, {"error": error}, headers)


def _error(failure: Failure) -> dict[str, Any]:
    """``param`` and ``reason`` are ours: the caller's field, and Muxel's own code."""
    status = failure.http_status
    code = _CODES.get(status, "invalid_request" if status < 500 else "api_error")
    if failure.cause is Cause.REFUSED:
        code = "content_blocked"
    own = {"param": failure.field, "reason": failure.code}
    return {"code": code, "message": failure.message, **{name: value for name, value in own.items() if value}}


def describe(call: ClientCall) -> ClientReply:
    """Every question about an interaction of ours: it is not kept."""
    message = "an interaction that made pictures is not kept: all there is was in the answer to its creation"
    return _json(404, {"error": {"code": "not_found", "message": message}})


def _json(status: int, value: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> ClientReply:
    return ClientReply(status, orjson.dumps(value), headers=headers or {})
