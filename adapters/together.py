"""Together AI: ``/images/generations``, for pictures from a prompt and for edits of given ones. Both faces.

Knows the fields of together-python 3.1.1 (read and captured 2026-11-21) and of docs.together.ai (copies of 2025-11 to
2026-10). Called through the registry. Must not know a model by its name: what differs between models is said by the
options of a deployment:

    aspects        the ratios it takes, where it is told a ratio and not width and height; the nearest is sent
    multiple, min_edge, max_edge, max_pixels
                   what width and height are brought to: 8, 64, 16384 and 80 million
    image_field    where given pictures go: reference_images (default), or image_url, which holds one
    takes          which of steps, guidance and negative_prompt it takes; all of them where not set

The Python SDK's base URL is without the ``/v1`` that the one for Node has: both are mounted. The routes that are passed
on are those that run models; the administration of an account (compute, secrets, fine-tuning) is not for callers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from adapters import fields, imaging, replies
from adapters.ir import (
    Action,
    Auth,
    Cause,
    ClientCall,
    ClientReply,
    Delivery,
    Done,
    Failed,
    Failure,
    InvalidRequest,
    Lora,
    Media,
    MediaRequest,
    MediaResult,
    Operation,
    Route,
    Step,
    Target,
    UpstreamCall,
    UpstreamReply,
)

NAME = "together"
PREFIX = "/together"
VERSIONS: tuple[str, ...] = ("/v1", "/v2", "")
ALIASES: tuple[str, ...] = ()
ROUTES: tuple[Route, ...] = (
    Route("POST", "/images/generations", Action.CREATE, "generate"),
    *(Route("GET", path, Action.PASS) for path in ("/models", "/supported-models", "/videos/{id}")),
    *(
        Route("POST", path, Action.PASS)
        for path in (
            "/chat/completions",
            "/completions",
            "/embeddings",
            "/rerank",
            "/audio/speech",
            "/audio/transcriptions",
            "/audio/translations",
            "/videos",
        )
    ),
)
CLIENT_OPERATIONS = frozenset({Operation.GENERATE, Operation.EDIT})

AUTH = Auth("Authorization", "Bearer")
PROVIDER_OPERATIONS = CLIENT_OPERATIONS
TAKES_URLS = True
OPTIONS = frozenset({"aspects", "multiple", "min_edge", "max_edge", "max_pixels", "image_field", "takes"})

EDGE = 1024  # what the edge that is not given of width and height is
_STEERING = {"steps": "steps", "guidance": "guidance_scale", "negative_prompt": "negative_prompt"}
_FORMATS = ("jpeg", "png")
_DELIVERIES = {"": Delivery.URL, "url": Delivery.URL, "base64": Delivery.B64, "b64_json": Delivery.B64}
_READ = frozenset(
    {"prompt", "model", "n", "width", "height", "aspect_ratio", "seed", "image_url", "reference_images", "image_loras"}
    | {"output_format", "response_format", *_STEERING.values()}
)

# --------------------------------------------------------------------------------------------------------- client face


def read_request(call: ClientCall) -> MediaRequest:
    """A generation, or an edit where pictures are given. ``b64_json`` is what older versions of the API called the
    ``base64`` of today."""
    given = {name: value for name, value in fields.read_object(call.body).items() if value is not None}
    references = _read_references(given)
    extras = {name: value for name, value in given.items() if name not in _READ}
    return MediaRequest(
        operation=Operation.EDIT if references else Operation.GENERATE,
        prompt=fields.read_text(given, "prompt", required=True),
        negative_prompt=fields.read_text(given, "negative_prompt"),
        model=fields.read_text(given, "model"),
        n=fields.read_integer(given, "n", 1, 4) or 1,
        seed=fields.read_integer(given, "seed", 0, 2**63 - 1),
        steps=fields.read_integer(given, "steps", 1, 1000),
        guidance=fields.read_number(given, "guidance_scale", 0, 100),
        references=references,
        loras=_read_loras(given),
        format=fields.read_choice(given, "output_format", _FORMATS),
        delivery=_DELIVERIES[fields.read_choice(given, "response_format", filter(None, _DELIVERIES))],
        extras={NAME: extras} if extras else {},
        **_read_shape(given),
        ask=call.ask,
    )


def _read_shape(given: Mapping[str, Any]) -> dict[str, Any]:
    """The size, else the aspect."""
    width = fields.read_integer(given, "width", 1, fields.MAX_EDGE)
    height = fields.read_integer(given, "height", 1, fields.MAX_EDGE)
    if width or height:
        return {"size": (width or EDGE, height or EDGE)}
    aspect = fields.read_text(given, "aspect_ratio")
    return {"aspect": fields.read_aspect(aspect, "aspect_ratio")} if aspect else {}


def _read_references(given: Mapping[str, Any]) -> tuple[Media, ...]:
    """``image_url`` is what is worked on, so it comes first."""
    others = given.get("reference_images") or []
    if not isinstance(others, list):
        raise InvalidRequest("reference_images", "reference_images must be an array of strings")
    named = {f"reference_images[{index}]": value for index, value in enumerate(others)}
    if given.get("image_url"):
        named = {"image_url": given["image_url"], **named}
    return tuple(imaging.read_picture(value, name) for name, value in named.items())


def _read_loras(given: Mapping[str, Any]) -> tuple[Lora, ...]:
    items = given.get("image_loras") or []
    if not isinstance(items, list):
        raise InvalidRequest("image_loras", "image_loras must be an array of objects with a path and a scale")
    return tuple(_read_lora(item, f"image_loras[{index}]") for index, item in enumerate(items))


def _read_lora(item: object, name: str) -> Lora:
    if not isinstance(item, dict) or not isinstance(item.get("path"), str) or not item["path"]:
        raise InvalidRequest(name, f"{name} must be an object with a path and a scale")
    scale = fields.read_number(item, "scale", -100, 100)
    return Lora(item["path"], 1.0 if scale is None else scale)


def write_reply(result: MediaResult, request: MediaRequest) -> ClientReply:
    """``model`` is the one that made the pictures: callers are told to look whether it is the one they asked for."""
    data = []
    for index, artifact in enumerate(result.artifacts):
        picture = replies.write_picture(artifact, request.delivery)
        data.append({"index": index, "type": next(iter(picture)), **picture})
    return replies.json_reply(200, {"id": result.id, "model": result.model, "object": "list", "data": data})


def write_error(failure: Failure, request: MediaRequest | None) -> ClientReply:
    """OpenAI's error object; a refusal has the status that the API's safety checker answers with."""
    status = 422 if failure.cause is Cause.REFUSED and not failure.status else failure.http_status
    return replies.json_reply(status, replies.write_error_object(failure), replies.retry_headers(failure))


# ------------------------------------------------------------------------------------------------------- provider face


def write_request(request: MediaRequest, target: Target) -> UpstreamCall:
    """The pictures are asked for inline: their URLs would only be fetched one by one."""
    options = target.options
    shape, told = _shape(request, options)
    pictures = _pictures(request.references, options)
    steering = {name: _STEERING[name] for name in _STEERING if name in options.get("takes", _STEERING)}
    plain: dict[str, Any] = {
        "model": target.remote,
        "prompt": request.prompt,
        "seed": request.seed,
        "n": request.n if request.n > 1 else None,
        "output_format": request.format if request.format in _FORMATS else "",
        "image_loras": [{"path": lora.path, "scale": lora.scale} for lora in request.loras] or None,
        **{name: getattr(request, canonical) for canonical, name in steering.items()},
    }
    carried = {
        "prompt",
        "seed",
        "n",
        "loras",
        "references",
        *told,
        *steering,
        *(("format",) if plain["output_format"] else ()),
    }
    body = {
        **request.extras.get(NAME, {}),
        **{name: value for name, value in plain.items() if value not in ("", None)},
        **shape,
        **pictures,
        "response_format": "base64",
    }
    return UpstreamCall(
        "POST",
        f"{target.base_url}/images/generations",
        {"Content-Type": "application/json"},
        orjson.dumps(body),
        dropped=fields.dropped_fields(request, NAME, carried),
        media=1 if "image_url" in pictures else len(request.references),
    )


def _shape(request: MediaRequest, options: Mapping[str, Any]) -> tuple[dict[str, Any], Sequence[str]]:
    """The fields that tell the size, and the canonical fields told by them."""
    if aspects := options.get("aspects"):
        pair = fields.aspect_of(request)
        return ({"aspect_ratio": fields.nearest_aspect(pair, aspects)}, ("size", "aspect")) if pair else ({}, ())
    pixels = request.dimensions()
    if pixels is None:
        return {}, ()
    width, height = fields.snap(
        pixels,
        options.get("multiple", 8),
        options.get("min_edge", 64),
        options.get("max_edge", fields.MAX_EDGE),
        options.get("max_pixels", imaging.MAX_PIXELS),
    )
    return {"width": width, "height": height}, ("size", "aspect", "resolution")


def _pictures(references: tuple[Media, ...], options: Mapping[str, Any]) -> dict[str, Any]:
    if not references:
        return {}
    pictures = [imaging.data_uri(media) for media in references]
    field = options.get("image_field", "reference_images")
    return {field: pictures[0] if field == "image_url" else pictures}


_REFUSAL_WORDS = ("nsfw", "safety", "moderation", "content policy")
_CALLERS = ("prompt", "image_url", "reference_images")  # fields that are the caller's, not our translation of them


def read_reply(reply: UpstreamReply) -> Step:
    answer = replies.read_answer(reply.body)
    status = reply.status
    if 200 <= status < 300:
        if artifacts := tuple(replies.read_pictures(answer.get("data"))):
            return Done(artifacts)
        if not answer.get("error"):
            return Failed(Cause.MALFORMED, "the answer has no picture")
        status = 500  # an error that comes with a status of 200 has none of its own
    error = replies.read_error_object(answer)
    return replies.failed(_read_cause(status, error), error, reply)


def _read_cause(status: int, error: replies.ErrorObject) -> Cause:
    """422 is the safety checker's answer, unless it names a field; 403 says that the prompt is too long, and nothing of
    the key (docs.together.ai/docs/error-codes and its page on the safety checker, seen 2026-11-21)."""
    if status not in (400, 422):
        return Cause.UNSUPPORTED if status == 403 else replies.cause_of(status)
    if any(word in error.message.lower() for word in _REFUSAL_WORDS):
        return Cause.REFUSED
    if error.param:
        return Cause.INVALID if error.param.partition("[")[0] in _CALLERS else Cause.UNSUPPORTED
    return Cause.REFUSED if status == 422 else Cause.UNSUPPORTED
