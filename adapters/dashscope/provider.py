"""What we send to DashScope, and how its answers are read.

Called through the registry. Must not wait, fetch, or know a model by its name: what differs between models is said by
the options of a deployment:

    api             multimodal (default; answers with the pictures), or text2image, image2image, image-generation,
                    which answer with a task
    input           what image2image is given: images (default), or function for the editing model of Wan 2.1
    without         parameters the model does not take, out of n, size, seed and negative_prompt
    sizes           the sizes it takes ("1664*928"); the nearest in shape is sent
    resolutions     the names of sizes it takes ("1K", "2K"), used where a resolution but no shape was asked for
    multiple, min_edge, max_edge, min_pixels, max_pixels
                    otherwise what a size is brought to: 16, 64, 16384, 1 and 4194304
    defaults        parameters sent unless the caller set them, such as {prompt_extend: false, watermark: false}

``n`` is always sent: without it the text-to-image models of Wan make four pictures, and bill them (API reference of
text-to-image V2, seen 2026-11-21). A failure may stand at the top of an answer, in the task, or in one of its results.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import orjson

from adapters import fields, imaging, replies
from adapters.dashscope.dialect import FUNCTIONS, MAX_UPSCALE, NAME, OPERATIONS, PATHS
from adapters.ir import (
    Artifact,
    Auth,
    Cause,
    Done,
    Failed,
    Media,
    MediaRequest,
    Operation,
    Pending,
    Step,
    Target,
    UpstreamCall,
    UpstreamReply,
)

PROVIDER_OPERATIONS = OPERATIONS
AUTH = Auth("Authorization", "Bearer")
TAKES_URLS = True
OPTIONS = frozenset(
    {"api", "input", "without", "sizes", "resolutions", "multiple", "min_edge", "max_edge", "min_pixels", "max_pixels"}
    | {"defaults"}
)

POLL_AFTER = 2.0  # seconds; the reference asks for 10, the SDK begins with 1
_FUNCTION_OF = {operation: function for function, operation in FUNCTIONS.items()}
_UPSCALE = "Image super resolution."  # every function requires a prompt

# ------------------------------------------------------------------------------------------------------------- asking


@dataclass(frozen=True, slots=True)
class _Input:
    """The ``input`` of a call, the parameters that belong to it, and what they carry."""

    given: Mapping[str, Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    carried: tuple[str, ...] = ()
    pictures: int = 0


def write_request(request: MediaRequest, target: Target) -> UpstreamCall:
    """POST to the path of the API, see the options above."""
    options = target.options
    api = options.get("api", "multimodal")
    asked = _input(request, options)
    parameters, carried = _parameters(request, options)
    extras = _own(request)
    body = {
        **extras["body"],
        "model": target.remote,
        "input": {**extras["input"], **asked.given},
        "parameters": {**options.get("defaults", {}), **extras["parameters"], **parameters, **asked.parameters},
    }
    if api in ("text2image", "image2image") and "negative_prompt" in parameters:
        body["input"]["negative_prompt"] = body["parameters"].pop("negative_prompt")
    waits = {} if api == "multimodal" else {"X-DashScope-Async": "enable"}
    return UpstreamCall(
        "POST",
        f"{target.base_url}{PATHS[api]}",
        {"Content-Type": "application/json", **waits},
        orjson.dumps(body),
        dropped=fields.dropped_fields(request, NAME, {"prompt", *carried, *asked.carried}),
        media=asked.pictures,
    )


def _own(request: MediaRequest) -> dict[str, dict[str, Any]]:
    """What a caller of this wire set beside the canonical fields, where it stood."""
    parts: dict[str, dict[str, Any]] = {"body": {}, "input": {}, "parameters": {}}
    for name, value in request.extras.get(NAME, {}).items():
        part, _, rest = name.partition(".")
        if rest and part in ("body", "input"):
            parts[part][rest] = value
        else:
            parts["parameters"][name] = value
    return parts


def _input(request: MediaRequest, options: Mapping[str, Any]) -> _Input:
    pictures = list(map(imaging.data_uri, request.references))
    match options.get("api"), options.get("input"):
        case "text2image", _:
            return _Input({"prompt": request.prompt})
        case "image2image", "function":
            return _function(request)
        case "image2image", _:
            return _Input({"prompt": request.prompt, "images": pictures}, {}, ("references",), len(pictures))
        case _:
            text = [{"text": request.prompt}] if request.prompt else []
            content = [*({"image": picture} for picture in pictures), *text]
            return _Input({"messages": [{"role": "user", "content": content}]}, {}, ("references",), len(pictures))


def _function(request: MediaRequest) -> _Input:
    function = _FUNCTION_OF.get(request.operation, "description_edit")
    pictures = {"base_image_url": imaging.data_uri(request.references[0])} if request.references else {}
    words = {"function": function, "prompt": request.prompt}
    match request.operation:
        case Operation.INPAINT if request.mask:
            pictures["mask_image_url"] = imaging.data_uri(request.mask)
            return _Input(words | pictures, {}, ("references", "mask"), len(pictures))
        case Operation.UPSCALE:
            factor = {} if request.scale is None else {"upscale_factor": min(max(round(request.scale), 1), MAX_UPSCALE)}
            return _Input(
                words | {"prompt": request.prompt or _UPSCALE} | pictures,
                factor,
                ("references", "scale"),
                len(pictures),
            )
        case _:
            strength = {} if request.strength is None else {"strength": request.strength}
            return _Input(words | pictures, strength, ("references", "strength"), len(pictures))


def _parameters(request: MediaRequest, options: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """What the model takes of the parameters all models share, and the canonical fields told by them."""
    size, shape = _size(request, options)
    told: dict[str, tuple[Any, Sequence[str]]] = {
        "n": (request.n, ("n",)),
        "size": (size, shape),
        "seed": (request.seed, ("seed",)),
        "negative_prompt": (request.negative_prompt, ("negative_prompt",)),
    }
    without = options.get("without", ())
    kept = {name: value for name, (value, _) in told.items() if value not in ("", None) and name not in without}
    return kept, {name for parameter in kept for name in told[parameter][1]}


def _size(request: MediaRequest, options: Mapping[str, Any]) -> tuple[str, Sequence[str]]:
    if not (request.size or request.aspect) and options.get("resolutions"):
        return fields.nearest_resolution(request, options["resolutions"]), ("resolution",)
    pixels = request.dimensions()
    if pixels is None:
        return "", ()
    if sizes := options.get("sizes"):
        return fields.nearest_aspect(pixels, sizes, "*"), ("size", "aspect", "resolution")
    width, height = fields.snap(
        pixels,
        options.get("multiple", 16),
        options.get("min_edge", 64),
        options.get("max_edge", fields.MAX_EDGE),
        options.get("max_pixels", 2048 * 2048),
        options.get("min_pixels", 1),
    )
    return f"{width}*{height}", ("size", "aspect", "resolution")


def poll(handle: Mapping[str, Any], target: Target) -> UpstreamCall:
    return UpstreamCall("GET", f"{target.base_url}/tasks/{quote(str(handle['task_id']), safe='')}")


def cancel(handle: Mapping[str, Any], target: Target) -> UpstreamCall | None:
    """Only a task that has not begun is stopped; there is no harm in asking for another."""
    return UpstreamCall("POST", f"{target.base_url}/tasks/{quote(str(handle['task_id']), safe='')}/cancel")


# ------------------------------------------------------------------------------------------------------------ reading


def read_reply(reply: UpstreamReply) -> Step:
    body = replies.read_answer(reply.body)
    if not 200 <= reply.status < 300:
        return _read_error(reply, body)
    output = body.get("output")
    if isinstance(output, dict):
        if status := _words(output.get("task_status")):
            return _read_task(status, output, body)
        if "choices" in output or "results" in output:
            return _read_pictures(output)
    if _words(body.get("code")):
        return _failed(body, Cause.MALFORMED)
    return Failed(Cause.MALFORMED, "the answer has neither a task nor pictures", over=False)


def _read_task(status: str, output: Mapping[str, Any], body: Mapping[str, Any]) -> Step:
    match status:
        case "PENDING" | "RUNNING" | "SUSPENDED":
            task = output.get("task_id")
            return Pending({"task_id": task} if isinstance(task, str) else {}, POLL_AFTER)
        case "SUCCEEDED":
            return _read_pictures(output)
        case "FAILED":
            return _failed(output if output.get("code") else body, Cause.UNAVAILABLE)
        case "CANCELED":
            return Failed(Cause.CANCELED, "the task was cancelled", code=status)
        case "UNKNOWN":
            return Failed(Cause.EXPIRED, "the task is not known, or no longer", code=status)
        case _:
            return Failed(Cause.MALFORMED, f"unknown status {status[:40]!r}")


def _read_pictures(output: Mapping[str, Any]) -> Done | Failed:
    """Those that are there; a task has succeeded if one of its pictures has."""
    entries = [*_entries(output.get("results")), *_contents(output.get("choices"))]
    artifacts = tuple(artifact for entry in entries if (artifact := _artifact(entry)))
    if artifacts:
        return Done(artifacts, text="".join(_words(entry.get("text")) for entry in entries))
    failed = next((entry for entry in entries if _words(entry.get("code"))), None)
    return _failed(failed, Cause.UNAVAILABLE) if failed else Failed(Cause.MALFORMED, "finished, but without a picture")


def _contents(choices: object) -> Iterator[Mapping[str, Any]]:
    for choice in _entries(choices):
        message = choice.get("message")
        yield from _entries(message.get("content") if isinstance(message, dict) else None)


def _entries(value: object) -> list[Mapping[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _artifact(entry: Mapping[str, Any]) -> Artifact | None:
    url = _words(entry.get("url")) or _words(entry.get("image"))
    if not url.startswith(("https://", "http://")):
        return None
    return Artifact(Media(url=url), revised_prompt=_words(entry.get("actual_prompt")))


def _words(value: object) -> str:
    return value if isinstance(value, str) else ""


# ----------------------------------------------------------------------------------------------------------- failures

# By the code or what stands before its dots, the longer ones first. Reference of error codes, seen 2026-11-21.
_CAUSES = {
    "DataInspectionFailed": Cause.REFUSED,
    "IPInfringementSuspect": Cause.REFUSED,
    "CustomRoleBlocked": Cause.REFUSED,
    "FaqRuleBlocked": Cause.REFUSED,
    "InvalidApiKey": Cause.DENIED,
    "AccessDenied": Cause.DENIED,
    "Workspace.AccessDenied": Cause.DENIED,
    "Model.AccessDenied": Cause.UNSUPPORTED,  # this model alone
    "Arrearage": Cause.DENIED,
    "AllocationQuota": Cause.DENIED,
    "Throttling.AllocationQuota": Cause.DENIED,
    "CommodityNotPurchased": Cause.DENIED,
    "PrepaidBillOverdue": Cause.DENIED,
    "PostpaidBillOverdue": Cause.DENIED,
    "Throttling": Cause.THROTTLED,
    "LimitRequests": Cause.THROTTLED,
    "InvalidParameter.DataInspection": Cause.INVALID,  # a picture that could not be downloaded
    "InvalidURL": Cause.INVALID,
}
_INPUT_CODES = ("InvalidParameter", "InvalidFile", "InvalidImage", "BadRequest")
_INPUT_NAMES = re.compile(r"\b(?:prompt|negative_prompt|size|seed|images?|image_url|mask_image_url)\b", re.IGNORECASE)


def _cause(code: str, message: str, otherwise: Cause) -> Cause:
    if code == "AccessDenied" and "does not support" in message:  # the model has another API than the deployment says
        return Cause.UNSUPPORTED
    for known, cause in _CAUSES.items():
        if code == known or code.startswith(f"{known}."):
            return cause
    if code.startswith(_INPUT_CODES):
        return Cause.INVALID if _INPUT_NAMES.search(message) else Cause.UNSUPPORTED
    return otherwise


def _failed(source: Mapping[str, Any], otherwise: Cause) -> Failed:
    code, message = _words(source.get("code")), _words(source.get("message"))
    cause = _cause(code, message, otherwise)
    return Failed(cause, replies.excerpt(message or code or "the task failed"), code=replies.excerpt(code, 60))


def _read_error(reply: UpstreamReply, body: Mapping[str, Any]) -> Failed:
    """Flat, or in an envelope as its gateways have it. What is wrong with the request stays wrong: then it is over for
    a job too, and else the error says nothing of it."""
    envelope = body.get("error")
    failed = _failed(envelope if isinstance(envelope, dict) else body, replies.cause_of(reply.status))
    return replace(
        failed,
        message=failed.message if failed.code else f"HTTP {reply.status}",
        retry_after=replies.retry_after(reply.headers),
        over=failed.cause in (Cause.INVALID, Cause.UNSUPPORTED, Cause.REFUSED),
    )
