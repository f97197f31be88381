"""What we send to Replicate: the provider face.

The names in ``input`` are said by the options of a deployment:

    inputs    canonical field -> name in ``input``; without it prompt, aspect_ratio, seed, output_format, num_outputs.
              ``image_input[]`` is a list; a size is two numbers as ``width,height``, a list of two as
              ``canvas_size[]``, and under any other name the text 1024x768; ``margins`` are four names in the order
              left,top,right,bottom; null takes a name away, and so does ``fixed``
    values    canonical field -> {canonical value: theirs}; without it {format: {jpeg: jpg}}. The resolutions ("512",
              "1K", "2K", "4K") named here are all that the model has; scales are numbers, such as {scale: {2: 2x}}
    loras     a pair of names, of the weights and of their scale, for each LoRA that the model takes
    aspects   the aspects the model takes, of which the nearest is sent; without it the exact one
    multiple  what width and height must be multiples of
    fixed     constant inputs, such as {go_fast: true}
    wait      seconds the submit may block (``Prefer: wait=5``), which saves polls with fast models; without it, none
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from adapters import fields, forms, imaging, replies
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
    Operation,
    Pending,
    Step,
    Target,
    UpstreamCall,
    UpstreamReply,
)

NAME = "replicate"
PROVIDER_OPERATIONS = frozenset(
    {
        Operation.GENERATE,
        Operation.EDIT,
        Operation.INPAINT,
        Operation.OUTPAINT,
        Operation.ERASE,
        Operation.REMOVE_BACKGROUND,
        Operation.UPSCALE,
        Operation.RESTORE,
        Operation.VECTORIZE,
    }
)
AUTH = Auth("Authorization", "Bearer")
TAKES_URLS = True
OPTIONS = frozenset({"inputs", "values", "loras", "aspects", "multiple", "fixed", "wait"})
UPLOAD_ABOVE = 256_000  # bytes; the documentation recommends data URIs only below that

POLL_AFTER = 0.5  # seconds, as the SDK has it

_INPUTS = {"prompt": "prompt", "aspect": "aspect_ratio", "seed": "seed", "format": "output_format", "n": "num_outputs"}
_VALUES: Mapping[str, Mapping[str, Any]] = {"format": {"jpeg": "jpg"}}
_PLAIN = (
    "prompt", "negative_prompt", "quality", "seed", "steps", "guidance", "strength", "format", "compression",
    "background", "user", "scale",
)  # fmt: skip


def write_request(request: MediaRequest, target: Target) -> UpstreamCall:
    """POST a prediction of the remote: ``owner/name``, ``owner/name:version`` or a version. See the options above."""
    options = target.options
    fixed = options.get("fixed", {})
    named = {**_INPUTS, **options.get("inputs", {})}
    names: Mapping[str, str] = {field: name for field, name in named.items() if name and name not in fixed}
    values = {**_VALUES, **options.get("values", {})}
    plain = {names[field]: _theirs(request, field, values) for field in _PLAIN if field in names}
    shape, told = _shape(request, names, values, options)
    pictures, shown = _pictures(request, names)
    loras = _loras(request, options.get("loras", ()))
    count = {names["n"]: request.n} if "n" in names and request.n > 1 else {}
    inputs = {
        **request.extras.get(NAME, {}),
        **{name: value for name, value in plain.items() if value not in ("", None)},
        **shape,
        **pictures,
        **loras,
        **count,
        **fixed,
    }
    path, version = _path(target.remote)
    prefer = {"Prefer": f"wait={options['wait']}"} if options.get("wait") else {}
    carried = names.keys() - {"size", "aspect", "resolution", "margins"} | told | ({"loras"} if loras else set())
    return UpstreamCall(
        "POST",
        f"{target.base_url}{path}",
        {"Content-Type": "application/json", **prefer},
        orjson.dumps({"input": inputs, **version}),
        dropped=fields.dropped_fields(request, NAME, carried),
        media=shown,
    )


def _theirs(request: MediaRequest, field: str, values: Mapping[str, Mapping[str, Any]]) -> Any:
    value = getattr(request, field)
    return values.get(field, {}).get(value, value)


def _path(remote: str) -> tuple[str, dict[str, str]]:
    """The path, and for a version what the body says of it; the API takes a version by its bare id."""
    model, _, version = remote.partition(":") if "/" in remote else ("", "", remote)
    return ("/predictions", {"version": version}) if version else (f"/models/{quote(model)}/predictions", {})


def _shape(
    request: MediaRequest, names: Mapping[str, str], values: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any]
) -> tuple[dict[str, Any], set[str]]:
    """The inputs that tell margins, size, aspect and resolution, and the canonical fields told by them."""
    if "margins" in names and (margins := request.margins):
        sides = (margins.left, margins.top, margins.right, margins.bottom)
        return dict(zip(names["margins"].split(","), sides, strict=True)), {"margins"}
    if "size" in names and (pixels := request.dimensions()):
        size = fields.snap(pixels, options.get("multiple", 1), 1, fields.MAX_EDGE)
        return _size(names["size"], size), {"size", "aspect", "resolution"}
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


def _size(name: str, size: tuple[int, int]) -> dict[str, Any]:
    if name.endswith("[]"):
        return {name.removesuffix("[]"): list(size)}
    two = name.split(",")
    return dict(zip(two, size, strict=True)) if len(two) == 2 else {name: f"{size[0]}x{size[1]}"}


def _pictures(request: MediaRequest, names: Mapping[str, str]) -> tuple[dict[str, Any], int]:
    """The inputs that hold pictures, and how many these are."""
    pictures: dict[str, Any] = {}
    shown = 0
    masks = (request.mask,) if request.mask else ()
    for field, given in (
        ("references", request.references),
        ("style_references", request.style_references),
        ("mask", masks),
    ):
        uris = [imaging.data_uri(media) for media in given]
        if uris and (name := names.get(field)):
            listed = name.endswith("[]")
            pictures[name.removesuffix("[]")] = uris if listed else uris[0]
            shown += len(uris) if listed else 1
    return pictures, shown


def _loras(request: MediaRequest, pairs: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Nothing where the model does not take them all."""
    if len(request.loras) > len(pairs):
        return {}
    inputs: dict[str, Any] = {}
    for (path, scale), lora in zip(pairs, request.loras, strict=False):
        inputs |= {path: lora.path, scale: lora.scale}
    return inputs


def write_upload(media: Media, target: Target) -> UpstreamCall:
    """POST the file as the part ``content``."""
    part = ("content", "image", media.mime or "application/octet-stream", media.data)
    content_type, body = forms.write_multipart([part])
    return UpstreamCall("POST", f"{target.base_url}/files", {"Content-Type": content_type}, body)


def poll(handle: Mapping[str, Any], target: Target) -> UpstreamCall:
    """By id, as the SDKs do, and not by ``urls.get``."""
    return UpstreamCall("GET", _prediction_url(handle, target))


def cancel(handle: Mapping[str, Any], target: Target) -> UpstreamCall | None:
    return UpstreamCall("POST", f"{_prediction_url(handle, target)}/cancel")


def _prediction_url(handle: Mapping[str, Any], target: Target) -> str:
    return f"{target.base_url}/predictions/{quote(str(handle['id']), safe='')}"


_REFUSED = re.compile(r"\(E005\)|\bflagged\b|\bnsfw\b|(?<!-)\bsensitive\b", re.IGNORECASE)
_RESETS = re.compile(r"resets in ~?(\d{1,6})s", re.ASCII)


def read_reply(reply: UpstreamReply) -> Step:
    body = replies.read_answer(reply.body)
    return _read_prediction(body) if 200 <= reply.status < 300 else _read_error(reply, body)


def _read_prediction(body: Mapping[str, Any]) -> Step:
    match body:
        case {"status": "starting" | "processing", "id": str(id)} if id:
            return Pending({"id": id}, POLL_AFTER)
        case {"status": "starting" | "processing"}:
            return Failed(Cause.MALFORMED, "the prediction has no id", over=False)
        case {"status": "succeeded"}:
            return _read_output(body.get("output"))
        case {"status": "failed"}:
            error = body.get("error")
            text = error if isinstance(error, str) and error else "the prediction failed"
            return Failed(Cause.REFUSED if _REFUSED.search(text) else Cause.UNAVAILABLE, replies.excerpt(text))
        case {"status": "canceled" | "aborted" as status}:
            return Failed(Cause.CANCELED, f"the prediction was {status}")
        case {"status": str(status)}:
            return Failed(Cause.MALFORMED, f"unknown prediction status {status[:40]!r}")
        case _:
            return Failed(Cause.MALFORMED, "the answer is not a prediction", over=False)


def _read_output(output: object) -> Step:
    """A string or a list of them, each a URL or a data URI. Models may say other things beside their pictures."""
    values = output if isinstance(output, list) else [output]
    artifacts = tuple(Artifact(media) for value in values if (media := _read_picture(value)))
    return Done(artifacts) if artifacts else Failed(Cause.MALFORMED, "the prediction succeeded without a picture")


def _read_picture(value: object) -> Media | None:
    if not isinstance(value, str) or not value.startswith(("https://", "http://", "data:")):
        return None
    try:
        return imaging.read_picture(value, "output")
    except InvalidRequest:
        return None


def _read_error(reply: UpstreamReply, body: Mapping[str, Any]) -> Failed:
    """An HTTP error is about this call and not about the job: ``over`` is never set."""
    detail, title = body.get("detail"), body.get("title")
    words = next((text for text in (detail, title) if isinstance(text, str) and text), f"HTTP {reply.status}")
    names_input = "- input" in words or "invalid_fields" in body
    wait = replies.retry_after(reply.headers)
    if wait is None and (resets := _RESETS.search(words)):
        wait = float(resets[1])
    cause = Cause.INVALID if reply.status == 422 and names_input else replies.cause_of(reply.status)
    return Failed(cause, replies.excerpt(words), retry_after=wait, over=False)


def read_upload_reply(reply: UpstreamReply) -> str | Failed:
    body = replies.read_answer(reply.body)
    match body:
        case {"urls": {"get": str(url)}} if 200 <= reply.status < 300 and url.startswith(("https://", "http://")):
            return url
        case _ if 200 <= reply.status < 300:
            return Failed(Cause.MALFORMED, "the file was stored without a URL")
        case _:
            return _read_error(reply, body)
