"""The provider face: a deployment's endpoint is its ``remote``, called through the queue or, where so chosen, at once.

Schemas differ from endpoint to endpoint, so the names of inputs are said by the options of a deployment:

    inputs    canonical field -> name of the input; without it prompt, image_size (size), seed, output_format (format),
              num_images (n). ``image_urls[]`` is a list, ``width,height`` two numbers, four names for ``margins`` are
              left, top, right, bottom; null takes a name away, and so does ``fixed``
    values    canonical field -> {canonical value: theirs}. The resolutions named here are all that the endpoint has
    sizes     the sizes it takes, as text ("1024x1536"); the nearest in shape is sent. Without it {width, height}
    aspects   the aspects it takes, of which the nearest is sent; without it the exact one
    multiple  what width and height must be multiples of
    fixed     constant inputs, such as {enable_safety_checker: true}
    sync      true: the call waits for the result at fal.run, and is never retried by fal

The base URL is that of the queue, ``https://queue.fal.run``; a provider with ``sync`` deployments trusts the host
``fal.run`` too. A job is looked at twice: at its status until that is COMPLETED, which does not say how it ended, then
at its result. fal bills nothing that ends with a 5xx.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

from adapters import fields, imaging, replies
from adapters.fal.apps import NAME, OPERATIONS, requests_path, sync_base
from adapters.ir import (
    RESOLUTIONS,
    Artifact,
    Auth,
    Cause,
    Done,
    Failed,
    InvalidRequest,
    Media,
    MediaRequest,
    Pending,
    Step,
    Target,
    UpstreamCall,
    UpstreamReply,
)

AUTH = Auth("Authorization", "Key")
PROVIDER_OPERATIONS = OPERATIONS
TAKES_URLS = True
OPTIONS = frozenset({"inputs", "values", "sizes", "aspects", "multiple", "fixed", "sync"})

POLL_AFTER = 0.5  # seconds, as the JavaScript SDK has it

_INPUTS = {"prompt": "prompt", "size": "image_size", "seed": "seed", "format": "output_format", "n": "num_images"}
_PLAIN = (
    "prompt", "negative_prompt", "quality", "seed", "steps", "guidance", "strength", "scale", "format", "compression",
    "background", "user",
)  # fmt: skip
_SIDES = ("left", "top", "right", "bottom")

# ------------------------------------------------------------------------------------------------------------- requests


def write_request(request: MediaRequest, target: Target) -> UpstreamCall:
    """POST the inputs to the endpoint. See the options above."""
    options = target.options
    fixed = options.get("fixed", {})
    named = {**_INPUTS, **options.get("inputs", {})}
    names: Mapping[str, str] = {field: name for field, name in named.items() if name and name not in fixed}
    values: Mapping[str, Mapping[str, Any]] = options.get("values", {})
    plain = {names[field]: _theirs(request, field, values) for field in _PLAIN if field in names}
    shape, told = _shape(request, names, values, options)
    pictures, media = _pictures(request, names)
    inputs = {
        **request.extras.get(NAME, {}),
        **{name: value for name, value in plain.items() if value not in ("", None)},
        **shape,
        **pictures,
        **_more(request, names),
        **fixed,
    }
    base = sync_base(target.base_url) if options.get("sync") else target.base_url
    return UpstreamCall(
        "POST",
        f"{base}/{quote(target.remote)}",
        {"Content-Type": "application/json"},
        orjson.dumps(inputs),
        dropped=fields.dropped_fields(request, NAME, names.keys() - {"size", "aspect", "resolution"} | told),
        media=media,
    )


def _theirs(request: MediaRequest, field: str, values: Mapping[str, Mapping[str, Any]]) -> Any:
    value = getattr(request, field)
    return values.get(field, {}).get(value, value)


def _shape(
    request: MediaRequest, names: Mapping[str, str], values: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any]
) -> tuple[dict[str, Any], set[str]]:
    """The inputs that tell size, aspect and resolution, and the canonical fields told by them."""
    if "size" in names and (pixels := request.dimensions()):
        return _size(pixels, names["size"], options), {"size", "aspect", "resolution"}
    shape: dict[str, Any] = {}
    told = set()
    if "aspect" in names and (aspect := fields.aspect_of(request)):
        choices = options.get("aspects")
        shape[names["aspect"]] = fields.nearest_aspect(aspect, choices) if choices else f"{aspect[0]}:{aspect[1]}"
        told |= {"size", "aspect"}
    resolutions = values.get("resolution") or {name: name for name in RESOLUTIONS}
    if "resolution" in names and (resolution := fields.nearest_resolution(request, resolutions)):
        shape[names["resolution"]] = resolutions[resolution]
        told.add("resolution")
    return shape, told


def _size(pixels: tuple[int, int], name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    if choices := options.get("sizes"):
        return {name: fields.nearest_aspect(pixels, choices, "x")}
    width, height = fields.snap(pixels, options.get("multiple", 1), 1, fields.MAX_EDGE)
    edges = {"width": width, "height": height}
    return dict(zip(name.split(","), edges.values(), strict=True)) if "," in name else {name: edges}


def _pictures(request: MediaRequest, names: Mapping[str, str]) -> tuple[dict[str, Any], int]:
    """The inputs that hold pictures, and how many these are."""
    inputs: dict[str, Any] = {}
    media = 0
    mask = (request.mask,) if request.mask else ()
    for field, given in (
        ("references", request.references), ("style_references", request.style_references), ("mask", mask)
    ):  # fmt: skip
        if given and (name := names.get(field)):
            uris = [imaging.data_uri(picture) for picture in given]
            listed = name.endswith("[]")
            inputs[name.removesuffix("[]")] = uris if listed else uris[0]
            media += len(uris) if listed else 1
    return inputs, media


def _more(request: MediaRequest, names: Mapping[str, str]) -> dict[str, Any]:
    """The number of pictures, the fine-tunes and the margins, where there are any."""
    inputs: dict[str, Any] = {}
    if "n" in names and request.n > 1:
        inputs[names["n"]] = request.n
    if "loras" in names and request.loras:
        inputs[names["loras"]] = [{"path": lora.path, "scale": lora.scale} for lora in request.loras]
    if "margins" in names and request.margins:
        sides = (getattr(request.margins, side) for side in _SIDES)
        inputs |= dict(zip(names["margins"].split(","), sides, strict=True))
    return inputs


def poll(handle: Mapping[str, Any], target: Target) -> UpstreamCall:
    """The status, and once that was COMPLETED the result."""
    url = _request_url(handle, target)
    return UpstreamCall("GET", url if handle.get("completed") else f"{url}/status")


def cancel(handle: Mapping[str, Any], target: Target) -> UpstreamCall | None:
    return UpstreamCall("PUT", f"{_request_url(handle, target)}/cancel")


def _request_url(handle: Mapping[str, Any], target: Target) -> str:
    """By id, as the JavaScript SDK does, and not by the URLs of the answer."""
    return f"{target.base_url}{requests_path(target.remote)}/{quote(str(handle['id']), safe='')}"


# -------------------------------------------------------------------------------------------------------------- replies

_REFUSALS = frozenset({"content_policy_violation", "no_media_generated"})
# The caller's own picture is at fault. Any other complaint about an input is about the limits of this endpoint.
_INVALID = frozenset({"image_load_error", "file_download_error", "unsupported_image_format", "face_detection_error"})
_CANCELED = frozenset({"client_cancelled", "client_disconnected"})


def read_reply(reply: UpstreamReply) -> Step:
    body = replies.read_answer(reply.body)
    return _read_body(body) if 200 <= reply.status < 300 else _read_error(reply, body)


def _read_body(body: Mapping[str, Any]) -> Step:
    """An answer to a submit, a status, or a result."""
    if not body:
        return Failed(Cause.MALFORMED, "the answer is no JSON object", over=False)
    id = body.get("request_id")
    handle = {"id": id} if isinstance(id, str) and id else {}
    match body.get("status"):
        case "IN_QUEUE" | "IN_PROGRESS":
            return Pending(handle, POLL_AFTER)
        case "COMPLETED" if handle:
            return Pending({**handle, "completed": True}, 0.0)
        case "COMPLETED":
            return Failed(Cause.MALFORMED, "the completed request has no id", over=False)
        case str(status) if "response_url" in body:
            return Failed(Cause.MALFORMED, f"unknown status {status[:40]!r}")
        case _:
            return _read_output(body)


def _read_output(body: Mapping[str, Any]) -> Step:
    """The pictures of an endpoint; one that was found unsafe comes black, and is not taken."""
    images, flags = body.get("images"), body.get("has_nsfw_concepts")
    listed = images if isinstance(images, list) and images else [body.get("image")]
    unsafe = [flag is True for flag in flags] if isinstance(flags, list) else []
    unsafe += [False] * (len(listed) - len(unsafe))
    seed = body.get("seed")
    artifacts = tuple(
        Artifact(media, seed=seed if isinstance(seed, int) and not isinstance(seed, bool) else None)
        for image, flagged in zip(listed, unsafe, strict=False)
        if not flagged and (media := _read_picture(image))
    )
    if artifacts:
        return Done(artifacts)
    if any(unsafe):
        return Failed(Cause.REFUSED, "every picture was found unsafe", code="has_nsfw_concepts")
    return Failed(Cause.MALFORMED, "the result has no picture")


def _read_picture(image: object) -> Media | None:
    match image:
        case {"url": str(url), **rest} if url.startswith(("https://", "http://", "data:")):
            mime = rest.get("content_type")
            try:
                media = imaging.read_picture(url, "url")
            except InvalidRequest:
                return None
            return Media(media.data, media.url, media.mime or (mime if isinstance(mime, str) else ""))
        case _:
            return None


def _read_error(reply: UpstreamReply, body: Mapping[str, Any]) -> Failed:
    """What names its type is the end of the job; anything else is about this look at it."""
    detail = body.get("detail")
    entries = [entry for entry in detail if isinstance(entry, dict)] if isinstance(detail, list) else []
    types = [kind for entry in entries if isinstance(kind := entry.get("type"), str)]
    named = body.get("error_type") or reply.headers.get("x-fal-error-type")
    if not types and isinstance(named, str) and named:
        types = [named]
    words = "; ".join(filter(None, map(_words, entries))) or (detail if isinstance(detail, str) else "")
    return Failed(
        _cause(reply, frozenset(types)),
        replies.excerpt(words or f"HTTP {reply.status}"),
        retry_after=replies.retry_after(reply.headers),
        code=replies.excerpt(types[0], 40) if types else "",
        over=bool(types),
    )


def _words(entry: Mapping[str, Any]) -> str:
    """{"loc": ["body", "image_url"], "msg": "too large"} -> "image_url: too large"."""
    loc, text = entry.get("loc"), entry.get("msg")
    field = ".".join(str(step) for step in loc if step != "body") if isinstance(loc, list) else ""
    return ": ".join(part for part in (field, text if isinstance(text, str) else "") if part)


def _cause(reply: UpstreamReply, types: frozenset[str]) -> Cause:
    if types & _REFUSALS:
        return Cause.REFUSED
    if types & _CANCELED:
        return Cause.CANCELED
    if types & _INVALID and reply.status == 422:
        return Cause.INVALID
    cause = replies.cause_of(reply.status)
    if cause is Cause.AMBIGUOUS and types:  # a timeout of fal's own, which is not billed
        cause = Cause.UNAVAILABLE
    match cause, reply.headers.get("x-fal-retryable", "").lower():
        case Cause.UNSUPPORTED, "true":
            return Cause.UNAVAILABLE
        case Cause.UNAVAILABLE, "false":
            return Cause.UNSUPPORTED
    return cause
