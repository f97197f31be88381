"""Amazon Bedrock's InvokeModel, for the models that make pictures: one route, and a JSON body per model. Both faces.

Knows the ids under which Bedrock sells Stability AI's services, whose fields are those of ``stability_fields`` with the
pictures in base64 (AWS's pages seen 2026-11-21), and, towards callers only, the tasks of Nova Canvas and Titan Image
Generator, which AWS has shut down this year. The errors are those of botocore 1.44.5's own service model. Called
through the registry. Must not wait, fetch, or sign: the proxy does, with SigV4 or with a bearer key. Calls of any other
model are handed through. Options of a deployment:

    service   which of Stability's services the remote model is, by its path there ("edit/inpaint"): an application
              inference profile does not tell. Without it, generate/core
    defaults  fields sent unless the caller set them, such as {strength: 0.7}

A filtered picture comes with the status 200 and a ``finish_reasons`` that is not null. The SDK repeats a call that was
answered 429, 500, 502, 503 or 504 by itself, so what must not be bought twice has none of these.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import ceil
from typing import Any
from urllib.parse import quote

import orjson

from adapters import fields, imaging, replies, stability_fields
from adapters.ir import (
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
    PassThrough,
    Route,
    Step,
    Target,
    UpstreamCall,
    UpstreamReply,
)

NAME = "bedrock"
PREFIX = "/bedrock"
VERSIONS: tuple[str, ...] = ("",)
ALIASES: tuple[str, ...] = ()
ROUTES: tuple[Route, ...] = (
    Route("POST", "/model/{model}/invoke", Action.CREATE, "invoke"),
    Route("POST", "/model/{model}/{verb:[a-z-]+}", Action.PASS, "model"),  # converse, and everything as a stream
    Route("POST", "/guardrail/{path:.+}", Action.PASS, "guardrail"),
    Route("POST", "/guardrail-checks/invoke", Action.PASS, "guardrail_checks"),
    Route("POST", "/async-invoke", Action.PASS, "start_async"),
    Route("GET", "/async-invoke", Action.PASS, "list_async"),
    Route("GET", "/async-invoke/{arn}", Action.PASS, "get_async"),
)
AUTH = Auth("Authorization", "Bearer")
TAKES_URLS = False
OPTIONS = frozenset({"service", "defaults"})

_SOLD_AS = {  # their model -> Stability's service
    "stable-image-core": "generate/core",
    "stable-image-ultra": "generate/ultra",
    "sd3-large": "generate/sd3",
    "sd3-5-large": "generate/sd3",
    "stable-image-erase-object": "edit/erase",
    "stable-image-inpaint": "edit/inpaint",
    "stable-outpaint": "edit/outpaint",
    "stable-image-search-replace": "edit/search-and-replace",
    "stable-image-search-recolor": "edit/search-and-recolor",
    "stable-image-remove-background": "edit/remove-background",
    "stable-image-control-sketch": "control/sketch",
    "stable-image-control-structure": "control/structure",
    "stable-image-style-guide": "control/style",
    "stable-style-transfer": "control/style-transfer",
    "stable-fast-upscale": "upscale/fast",
    "stable-conservative-upscale": "upscale/conservative",
    "stable-creative-upscale": "upscale/creative",
}
_SERVICES = {name: stability_fields.SERVICES[name] for name in _SOLD_AS.values()}
_SERVICES["generate/sd3"] = replace(_SERVICES["generate/sd3"], fields=_SERVICES["generate/sd3"].fields - {"cfg_scale"})
PROVIDER_OPERATIONS = frozenset(service.operation for service in _SERVICES.values())
CLIENT_OPERATIONS = PROVIDER_OPERATIONS | {Operation.REPLACE_BACKGROUND}

_MODEL = re.compile(r"(?:^|[./])(stability|amazon)\.([a-z0-9-]+?)-v\d")
_PAINTERS = ("nova-canvas", "titan-image-generator")  # Amazon's own

# --------------------------------------------------------------------------------------------------------- client face


def _model(id: str) -> tuple[str, str]:
    """(maker, name) from a model id, with or without the region of a profile and the rest of an ARN."""
    found = _MODEL.search(id)
    return (found[1], found[2]) if found else ("", "")


def read_request(call: ClientCall) -> MediaRequest:
    """The body of whichever model is called; the SDK sends it without a content type. Raises PassThrough for a model
    that makes no pictures, or that an ARN does not tell."""
    id = call.params.get("model", "")
    match _model(id):
        case ("stability", name) if name in _SOLD_AS:
            request = _read_service(_SOLD_AS[name], fields.read_object(call.body))
        case ("amazon", name) if name in _PAINTERS:
            request = _read_task(fields.read_object(call.body))
        case _:
            raise PassThrough
    return replace(request, model=id, ask=call.ask)


def _read_service(name: str, body: Mapping[str, Any]) -> MediaRequest:
    names = stability_fields.SERVICES[name].pictures
    pictures = {field: imaging.read_base64(body[field], field) for field in names if body.get(field)}
    given = {field: value for field, value in body.items() if field not in names}
    return stability_fields.read_request(name, given, pictures)


# ------------------------------------------------------------------------------- client face: the tasks of Amazon's own

_TASKS = {
    "TEXT_IMAGE": "textToImageParams",
    "COLOR_GUIDED_GENERATION": "colorGuidedGenerationParams",
    "IMAGE_VARIATION": "imageVariationParams",
    "INPAINTING": "inPaintingParams",
    "OUTPAINTING": "outPaintingParams",
    "BACKGROUND_REMOVAL": "backgroundRemovalParams",
    "VIRTUAL_TRY_ON": "virtualTryOnParams",
}
_TOLD = frozenset(  # what the canonical request says; the rest of the parameters goes to the extras
    {"text", "negativeText", "colors", "similarityStrength", "image", "images", "maskImage", "conditionImage"}
    | {"maskPrompt", "referenceImage", "sourceImage"}
)
_QUALITIES = {"standard": "medium", "premium": "high"}
_TRY_ON = "Put what the second picture shows onto the first picture, in its place there, and change nothing else."
MAX_TEXT = 1024  # characters


def _read_task(body: Mapping[str, Any]) -> MediaRequest:
    task = fields.read_choice(body, "taskType", _TASKS)
    if not task:
        raise InvalidRequest("taskType", "taskType is required")
    given, config = _section(body, _TASKS[task]), _section(body, "imageGenerationConfig")
    edges = [fields.read_integer(config, name, 1, fields.MAX_EDGE) for name in ("width", "height")]
    rest = {name: value for name, value in given.items() if name not in _TOLD}
    parameters = _read_parameters(task, given)
    extras = parameters.pop("extras", {}) | ({NAME: rest} if rest else {})
    read = {
        "prompt": _text(given),
        "negative_prompt": fields.read_text(given, "negativeText", limit=MAX_TEXT),
        "n": fields.read_integer(config, "numberOfImages", 1, 5) or 1,
        "size": tuple(edges) if all(edges) else None,
        "quality": _QUALITIES.get(fields.read_choice(config, "quality", _QUALITIES), ""),
        "guidance": fields.read_number(config, "cfgScale", 1, 10),
        "seed": fields.read_integer(config, "seed", 0, 2_147_483_646),
        "extras": extras,
    }
    return MediaRequest(**{**read, **parameters})


def _read_parameters(task: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What a task means, as canonical fields."""
    match task:
        case "TEXT_IMAGE":
            layout = _pictures(given, "conditionImage")
            operation = Operation.EDIT if layout else Operation.GENERATE
            return {"operation": operation, "prompt": _text(given, required=True), "references": layout}
        case "COLOR_GUIDED_GENERATION":
            return _read_colours(given)
        case "IMAGE_VARIATION":
            return _read_variation(given)
        case "INPAINTING":
            return _read_inpainting(given)
        case "OUTPAINTING":
            return _read_outpainting(given)
        case "BACKGROUND_REMOVAL":
            return {"operation": Operation.REMOVE_BACKGROUND, "references": _pictures(given, "image", required=True)}
        case _:
            pictures = [_pictures(given, name, required=True) for name in ("sourceImage", "referenceImage")]
            return {"operation": Operation.EDIT, "prompt": _TRY_ON, "references": (*pictures[0], *pictures[1])}


def _read_colours(given: Mapping[str, Any]) -> dict[str, Any]:
    """No provider is told a palette apart from the prompt, so the prompt says it."""
    colours = given.get("colors")
    if not isinstance(colours, list) or not colours or not all(isinstance(colour, str) for colour in colours):
        raise InvalidRequest("colors", "colors must be a list of colours such as #ff8000")
    return {
        "operation": Operation.GENERATE,
        "prompt": f"{_text(given, required=True)}\nIn these colours: {', '.join(colours)}",
        "style_references": _pictures(given, "referenceImage"),
    }


def _read_variation(given: Mapping[str, Any]) -> dict[str, Any]:
    images, similarity = given.get("images"), fields.read_number(given, "similarityStrength", 0.2, 1)
    if not isinstance(images, list) or not 1 <= len(images) <= 5:
        raise InvalidRequest("images", "images must be a list of 1 to 5 base64 strings")
    return {
        "operation": Operation.EDIT,
        "references": tuple(imaging.read_base64(image, f"images[{index}]") for index, image in enumerate(images)),
        "strength": None if similarity is None else round(1 - similarity, 4),
    }


def _read_inpainting(given: Mapping[str, Any]) -> dict[str, Any]:
    """Black is what changes. Without a text, what is there is to go."""
    image, text, mask = _pictures(given, "image", required=True), _text(given), _mask(given, white_is_change=False)
    if mask:
        return {"operation": Operation.INPAINT if text else Operation.ERASE, "references": image, "mask": mask}
    sought = fields.read_text(given, "maskPrompt", required=True, limit=MAX_TEXT)
    if not text:
        return {"operation": Operation.EDIT, "prompt": f"Remove this: {sought}", "references": image}
    words = {"prompt": text, "search_prompt": sought}
    found = stability_fields.read_request("edit/search-and-replace", words, {"image": image[0]})
    return {"operation": found.operation, "prompt": found.prompt, "references": image, "extras": found.extras}


def _read_outpainting(given: Mapping[str, Any]) -> dict[str, Any]:
    """All around an object is made anew; of the mask, white is what changes. The picture does not grow."""
    read = {"prompt": _text(given, required=True), "references": _pictures(given, "image", required=True)}
    if mask := _mask(given, white_is_change=True):
        return {**read, "operation": Operation.INPAINT, "mask": mask}
    kept = {"foreground_prompt": fields.read_text(given, "maskPrompt", required=True, limit=MAX_TEXT)}
    return {**read, "operation": Operation.REPLACE_BACKGROUND, "extras": {stability_fields.NAME: kept}}


def _section(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = body.get(name)
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise InvalidRequest(name, f"{name} must be an object")
    return {field: value for field, value in section.items() if value is not None}


def _text(given: Mapping[str, Any], *, required: bool = False) -> str:
    return fields.read_text(given, "text", required=required, limit=MAX_TEXT)


def _pictures(given: Mapping[str, Any], name: str, *, required: bool = False) -> tuple[Media, ...]:
    if given.get(name):
        return (imaging.read_base64(given[name], name),)
    if required:
        raise InvalidRequest(name, f"{name} is required")
    return ()


def _mask(given: Mapping[str, Any], *, white_is_change: bool) -> Media | None:
    for picture in _pictures(given, "maskImage"):
        return imaging.mask_from_grey(picture.data, "maskImage", white_is_change=white_is_change)
    return None


# ------------------------------------------------------------------------------------------------ client face: answers


def write_reply(result: MediaResult, request: MediaRequest) -> ClientReply:
    """In the shape of the model that was called. Amazon's own say in ``error`` that some pictures are missing."""
    images = [imaging.encode_base64(artifact.media.data) for artifact in result.artifacts]
    headers = {"x-amzn-requestid": result.id} if result.id else {}
    if _model(request.model)[0] == "amazon":
        missing = request.n - len(images)
        error = f"{missing} of {request.n} images could not be made" if missing > 0 else None
        return replies.json_reply(200, {"images": images, "error": error}, headers)
    seeds = [artifact.seed or 0 for artifact in result.artifacts]
    return replies.json_reply(200, {"seeds": seeds, "finish_reasons": [None] * len(images), "images": images}, headers)


_ERRORS = {
    Cause.INVALID: ("ValidationException", 400),
    Cause.UNSUPPORTED: ("ValidationException", 400),
    Cause.REFUSED: ("ValidationException", 400),
    Cause.DENIED: ("ModelErrorException", 424),
    Cause.THROTTLED: ("ThrottlingException", 429),
    Cause.UNAVAILABLE: ("ServiceUnavailableException", 503),
    Cause.AMBIGUOUS: ("ModelTimeoutException", 408),
    Cause.MALFORMED: ("ModelErrorException", 424),
    Cause.EXPIRED: ("ResourceNotFoundException", 404),
    Cause.CANCELED: ("ModelErrorException", 424),
}
_BY_STATUS = {
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}
_BLOCKED = "This request has been blocked by our content filters."  # by which callers of Amazon's own know a refusal


def write_error(failure: Failure, request: MediaRequest | None) -> ClientReply:
    """An exception of the service model, which the SDK knows by its header. Stability's models refuse in a 200."""
    headers = {"x-amzn-requestid": failure.id} if failure.id else {}
    refused = failure.cause is Cause.REFUSED
    if refused and request and _model(request.model)[0] == "stability":
        body = {"seeds": [], "finish_reasons": ["Filter reason: prompt"], "images": [], "message": failure.message}
        return replies.json_reply(200, body, headers)
    name, status = _ERRORS[failure.cause]
    if failure.status:
        name, status = _BY_STATUS.get(failure.status, name), failure.status
    if failure.retry_after is not None:
        headers["Retry-After"] = str(ceil(failure.retry_after))
    message = f"{_BLOCKED} {failure.message}" if refused else failure.message
    if failure.field and failure.field not in message:
        message = f"{failure.field}: {message}"
    return replies.json_reply(status, {"message": message}, {"x-amzn-errortype": name, **headers})


# ------------------------------------------------------------------------------------------------------- provider face


def write_request(request: MediaRequest, target: Target) -> UpstreamCall:
    """The service's fields as JSON, with every picture, also one that no field is known for, in base64."""
    service = _SERVICES.get(target.options.get("service", ""), _SERVICES["generate/core"])
    given, pictures, carried = stability_fields.write_request(request, service, target.options.get("defaults", {}))
    body = {
        field: imaging.encode_base64(value.data) if isinstance(value, Media) else value
        for field, value in {**given, **pictures}.items()
    }
    return UpstreamCall(
        "POST",
        f"{target.base_url}/model/{quote(target.remote, safe='')}/invoke",
        {"Content-Type": "application/json", "Accept": "application/json"},
        orjson.dumps(body),
        dropped=fields.dropped_fields(request, stability_fields.NAME, carried),
        media=len(pictures),
    )


def read_reply(reply: UpstreamReply) -> Step:
    """The pictures that are there; where there is none, why the first is missing."""
    body = replies.read_answer(reply.body)
    if not 200 <= reply.status < 300:
        return _read_error(reply, body)
    images, reasons, seeds = (_list(body.get(name)) for name in ("images", "finish_reasons", "seeds"))
    steps = [
        _read_item(_at(images, index), _at(reasons, index), _at(seeds, index))
        for index in range(max(len(images), len(reasons)))
    ]
    if artifacts := tuple(step for step in steps if isinstance(step, Artifact)):
        return Done(artifacts)
    failures = [step for step in steps if isinstance(step, Failed)]
    return failures[0] if failures else Failed(Cause.MALFORMED, "the answer has no picture")


def _read_item(image: object, reason: object, seed: object) -> Artifact | Failed:
    if reason is not None:
        words = replies.excerpt(str(reason)) or "no reason was given"
        if words.startswith("Filter reason"):
            return Failed(Cause.REFUSED, words)
        return Failed(Cause.UNAVAILABLE if words == "Inference error" else Cause.MALFORMED, words)
    try:
        return Artifact(imaging.read_base64(image, "images"), seed=seed if isinstance(seed, int) else None)
    except InvalidRequest as error:
        return Failed(Cause.MALFORMED, error.message)


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()


def _at(values: Sequence[object], index: int) -> object:
    return values[index] if index < len(values) else None


_CAUSES = {  # where the status alone would say something else
    "ThrottlingException": Cause.THROTTLED,
    "ServiceQuotaExceededException": Cause.DENIED,
    "ModelErrorException": Cause.UNAVAILABLE,
}


def _read_error(reply: UpstreamReply, body: Mapping[str, Any]) -> Failed:
    """The name of the exception stands in a header, with a URL behind it; gateways write it into the body."""
    kind = reply.headers.get("x-amzn-errortype") or str(body.get("__type", ""))
    name = kind.partition(":")[0].rpartition("#")[2]
    given = body.get("message") or body.get("Message")
    message = given if isinstance(given, str) else ""
    cause = _CAUSES.get(name) or replies.cause_of(reply.status)
    if "content filters" in message:
        cause = Cause.REFUSED
    elif reply.status == 400 and stability_fields.blames_caller(message):
        cause = Cause.INVALID
    return Failed(
        cause,
        replies.excerpt(message) or replies.excerpt(name, 40) or f"HTTP {reply.status}",
        retry_after=replies.retry_after(reply.headers),
        code=replies.excerpt(name, 40),
    )
