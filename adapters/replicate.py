"""Replicate predictions: one envelope, and inside it an ``input`` whose fields differ from model to model. Both faces.

Knows the HTTP API of api.replicate.com (OpenAPI of April 2026) and what its SDKs need (1.0.7 and 2.0.0b4, read and run
2026-11-20). Called through the registry. Must not wait, fetch, or know a model by its name.

A caller's ``input`` is read by the names that models commonly use; what is not canonical stays in ``extras``. Towards a
provider the names are said by the options of a deployment:

    inputs    canonical field -> name in ``input``; without it prompt, aspect_ratio, seed, output_format, num_outputs.
              ``image_input[]`` is a list, ``width,height`` two numbers, any other name for ``size`` the text 1024x768;
              null takes a name away, and so does ``fixed``
    values    canonical field -> {canonical value: theirs}; without it {format: {jpeg: jpg}}. The resolutions ("512",
              "1K", "2K", "4K") named here are all that the model has
    aspects   the aspects the model takes, of which the nearest is sent; without it the exact one
    multiple  what width and height must be multiples of
    fixed     constant inputs, such as {go_fast: true}
    wait      seconds the submit may block (``Prefer: wait=5``), which saves polls with fast models; without it, none

``output`` is always a list of strings in our answers, also for models whose own is one string: a caller that cannot
know which model will answer can rely on one shape.
"""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from math import ceil
from typing import Any
from urllib.parse import quote

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
    Delivery,
    Done,
    Failed,
    Failure,
    InvalidRequest,
    Job,
    JobState,
    Media,
    MediaRequest,
    MediaResult,
    Operation,
    Pending,
    Route,
    Step,
    Target,
    Upload,
    UpstreamCall,
    UpstreamReply,
)

NAME = "replicate"
PREFIX = "/replicate"
VERSIONS: tuple[str, ...] = ("/v1", "")
ALIASES: tuple[str, ...] = ()
ROUTES: tuple[Route, ...] = (
    Route("POST", "/predictions", Action.CREATE, "version"),
    Route("POST", "/models/{owner}/{name}/predictions", Action.CREATE, "model"),
    Route("POST", "/deployments/{owner}/{name}/predictions", Action.CREATE, "deployment"),
    Route("GET", "/predictions/{id}", Action.POLL, "get"),
    Route("POST", "/predictions/{id}/cancel", Action.CANCEL, "cancel"),
    Route("POST", "/files", Action.UPLOAD, "upload"),
    Route("GET", "/files/{id}", Action.DOWNLOAD, "file"),
    Route("GET", "/models/{owner}/{name}/versions/{id}", Action.DESCRIBE, "describe"),
)
CLIENT_OPERATIONS = frozenset({Operation.GENERATE, Operation.EDIT, Operation.INPAINT})
PROVIDER_OPERATIONS = CLIENT_OPERATIONS
AUTH = Auth("Authorization", "Bearer")
TAKES_URLS = True
OPTIONS = frozenset({"inputs", "values", "aspects", "multiple", "fixed", "wait"})
UPLOAD_ABOVE = 256_000  # bytes; the documentation recommends data URIs only below that

POLL_AFTER = 0.5  # seconds, as the SDK has it
MAX_WAIT = 60.0  # seconds, the longest ``Prefer: wait``
MAX_OUTPUTS = 10

# --------------------------------------------------------------------------------------------------------- client face

_NOT_SERVED = {
    "webhook": "there are no webhooks, poll urls.get",
    "webhook_completed": "there are no webhooks, poll urls.get",
    "stream": "output is not streamed, poll urls.get",
}
_NAMES = {  # the first that is present is read
    "prompt": ("prompt",),
    "negative_prompt": ("negative_prompt",),
    "n": ("num_outputs", "number_of_images", "num_images"),
    "seed": ("seed",),
    "steps": ("num_inference_steps", "steps"),
    "guidance": ("guidance", "guidance_scale"),
    "strength": ("prompt_strength", "strength"),
    "compression": ("output_quality", "output_compression"),
    "mask": ("mask",),
}
_PICTURES = ("image", "input_image", "image_prompt", "image_input", "input_images", "images", "reference_images")
_WORDS = {  # input -> canonical field, and its values; any other value is the model's own and stays in the extras
    "output_format": ("format", {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "webp": "webp"}),
    "quality": ("quality", {"low": "low", "medium": "medium", "high": "high"}),
    "background": ("background", {"transparent": "transparent", "opaque": "opaque"}),
}
_RESOLUTIONS = {
    "size": {name: name for name in RESOLUTIONS},
    "resolution": {name: name for name in RESOLUTIONS} | {"0.25 MP": "512", "1 MP": "1K", "4 MP": "2K"},
    "megapixels": {"0.25": "512", "1": "1K", "4": "2K"},
}
_SIZE = re.compile(r"\d+[x*]\d+", re.ASCII)
_ASPECT = re.compile(r"\d+:\d+", re.ASCII)
_WAIT = re.compile(r"\s*wait\s*(?:=\s*(\d{1,4})\s*)?", re.ASCII | re.IGNORECASE)


def read_request(call: ClientCall) -> MediaRequest:
    """A prediction to create, by model, by deployment or by version. Fields are named as ``input.width``."""
    body = fields.read_object(call.body)
    for name, why in _NOT_SERVED.items():
        if body.get(name):
            raise InvalidRequest(name, f"{name} cannot be served: {why}")
    if "owner" in call.params:
        model = f"{call.params['owner']}/{call.params['name']}"
    else:
        model = fields.read_text(body, "version", required=True)
    given = body.get("input")
    if not isinstance(given, dict):
        raise InvalidRequest("input", "input is required and must be an object")
    try:
        return _read_input({name: value for name, value in given.items() if value is not None}, model, call)
    except InvalidRequest as error:
        raise InvalidRequest(f"input.{error.field}", error.message, status=error.status) from None


def _read_input(given: Mapping[str, Any], model: str, call: ClientCall) -> MediaRequest:
    named = {field: next((name for name in names if name in given), names[0]) for field, names in _NAMES.items()}
    references = tuple(media for name in _PICTURES for media in _read_pictures(given, name))
    mask = _read_mask(given, references)
    shape, told = _read_shape(given)
    words, spoken = _read_words(given)
    seed = fields.read_integer(given, named["seed"], -1, 2**63 - 1)  # models take -1 for none
    known = {*named.values(), *_PICTURES, *told, *spoken}
    extras = {name: value for name, value in given.items() if name not in known}
    return MediaRequest(
        operation=Operation.INPAINT if mask else Operation.EDIT if references else Operation.GENERATE,
        prompt=fields.read_text(given, "prompt", required=not references),
        negative_prompt=fields.read_text(given, "negative_prompt"),
        model=model,
        n=fields.read_integer(given, named["n"], 1, MAX_OUTPUTS) or 1,
        seed=None if seed == -1 else seed,
        steps=fields.read_integer(given, named["steps"], 1, 1000),
        guidance=fields.read_number(given, named["guidance"], 0, 100),
        strength=fields.read_number(given, named["strength"], 0, 1),
        compression=fields.read_integer(given, named["compression"], 0, 100),
        references=references,
        mask=mask,
        delivery=Delivery.DATA_URI,
        wait=_read_wait(call.headers.get("prefer", "")),
        extras={NAME: extras} if extras else {},
        **shape,
        **words,
        ask=call.ask,
    )


def _read_pictures(given: Mapping[str, Any], name: str) -> list[Media]:
    """One picture or a list of them."""
    value = given.get(name)
    values = value if isinstance(value, list) else [value] if value else []
    return [fields.read_picture(item, name) for item in values]


def _read_mask(given: Mapping[str, Any], references: tuple[Media, ...]) -> Media | None:
    if not given.get("mask"):
        return None
    if not references:
        raise InvalidRequest("image", "image is required with a mask")
    mask = fields.read_picture(given["mask"], "mask")
    return mask if mask.url else fields.mask_from_grey(mask.data, "mask")


def _read_shape(given: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """The size, else aspect and resolution, and the inputs that told it. "match_input_image", "custom" and half a size
    say nothing canonical."""
    width = fields.read_integer(given, "width", 0, fields.MAX_EDGE)
    height = fields.read_integer(given, "height", 0, fields.MAX_EDGE)
    if width and height:
        return {"size": (width, height)}, {"width", "height"}
    size = given.get("size")
    if isinstance(size, str) and _SIZE.fullmatch(size):
        return {"size": fields.read_size(size.replace("*", "x"), "size")}, {"size"}
    shape: dict[str, Any] = {}
    told = set()
    aspect = given.get("aspect_ratio")
    if isinstance(aspect, str) and _ASPECT.fullmatch(aspect):
        shape["aspect"] = fields.read_aspect(aspect, "aspect_ratio")
        told.add("aspect_ratio")
    for name, values in _RESOLUTIONS.items():
        value = given.get(name)
        if "resolution" not in shape and isinstance(value, str) and value.strip().upper() in values:
            shape["resolution"] = values[value.strip().upper()]
            told.add(name)
    return shape, told


def _read_words(given: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    words, spoken = {}, set()
    for name, (field, values) in _WORDS.items():
        value = given.get(name)
        if isinstance(value, str) and value in values:
            words[field] = values[value]
            spoken.add(name)
    return words, spoken


def _read_wait(prefer: str) -> float:
    """Seconds by ``Prefer: wait`` (a minute) or ``wait=5``; 0 without it, which is "answer at once"."""
    for preference in re.split("[,;]", prefer):
        if found := _WAIT.fullmatch(preference):
            return min(float(found[1] or MAX_WAIT), MAX_WAIT)
    return 0.0


def read_id(call: ClientCall) -> str:
    return call.params["id"]


def read_upload(call: ClientCall) -> tuple[Media, str]:
    """The part ``content`` and its file name. Raises InvalidRequest."""
    for name, filename, mime, data in fields.read_multipart(call.body, call.headers.get("content-type", "")):
        if name == "content" and data:
            return Media(data=data, mime=fields.sniff_mime(data) or mime), filename
    raise InvalidRequest("content", "the part content is required and must not be empty")


def write_reply(result: MediaResult, request: MediaRequest) -> ClientReply:
    """A prediction that succeeded, without URLs to poll: there is nothing left to wait for."""
    job = Job(result.id, JobState.SUCCEEDED, "", request.model, result.created, result.created, result=result)
    return _json(201, {**_prediction(job, request.delivery), "urls": {}})


def write_job(job: Job) -> ClientReply:
    """The prediction. 202 to a submit that has nothing to show yet, 201 to one that has.

    A submit that waited in vain is "starting" even while the job runs: the SDKs take any other status for the end.
    """
    prediction = _prediction(job, Delivery.DATA_URI)
    if not job.fresh:
        return _json(200, prediction)
    if job.state in (JobState.QUEUED, JobState.RUNNING):
        return _json(202, {**prediction, "status": "starting"})
    return _json(201, prediction)


_STATUS = {
    JobState.QUEUED: "starting",
    JobState.RUNNING: "processing",
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
    JobState.CANCELED: "canceled",
}


def _prediction(job: Job, delivery: Delivery) -> dict[str, Any]:
    """Every field SDK 1.0.7 requires, and those 2.x types as required."""
    model, _, version = job.model.partition(":") if "/" in job.model else ("", "", job.model)
    seconds = {"predict_time": job.finished - job.created, "total_time": job.finished - job.created}
    url = f"{job.base_url}/predictions/{quote(job.id, safe='')}"
    return {
        "id": job.id,
        "model": model,
        "version": version or "hidden",  # what the API says of its official models
        "status": _STATUS[job.state],
        "input": dict(job.input),
        "output": [fields.deliver(artifact.media, delivery) for artifact in job.result.artifacts]
        if job.result
        else None,
        "error": _error(job.failure) if job.failure and job.state is JobState.FAILED else None,
        "logs": "",
        "metrics": seconds if job.finished else {},
        "created_at": _iso(job.created),
        "started_at": None if job.state is JobState.QUEUED else _iso(job.created),
        "completed_at": _iso(job.finished) if job.finished else None,
        "data_removed": False,
        "source": "api",
        "urls": {"get": url, "cancel": f"{url}/cancel"},
    }


def _error(failure: Failure) -> str:
    """Callers know a refusal by its E005: the wire has no other code."""
    return f"{failure.message} (E005)" if failure.cause is Cause.REFUSED else failure.message


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write_upload_reply(upload: Upload) -> ClientReply:
    digest = hashlib.sha256(upload.media.data).hexdigest()
    file = {
        "id": upload.id,
        "name": upload.name or "file",
        "content_type": upload.media.mime or "application/octet-stream",
        "size": len(upload.media.data),
        "etag": digest[:32],
        "checksums": {"sha256": digest},
        "metadata": {},
        "created_at": _iso(upload.created),
        "expires_at": None,
        "urls": {"get": upload.url},
    }
    return _json(201, file)


def write_error(failure: Failure, request: MediaRequest | None) -> ClientReply:
    """Problem JSON. The header is for SDK 2.x, which would send a POST again on 408, 409, 429 and 5xx."""
    headers = {} if failure.cause.caller_may_retry else {"x-should-retry": "false"}
    if failure.retry_after is not None:
        headers["Retry-After"] = str(ceil(failure.retry_after))
    detail = f"- {failure.field}: {_error(failure)}" if failure.field else _error(failure)
    code = {"code": failure.code} if failure.code else {}
    problem = {"title": failure.cause.label.capitalize(), "detail": detail, "status": failure.http_status, **code}
    return ClientReply(failure.http_status, orjson.dumps(problem), "application/problem+json", headers)


def _json(status: int, value: Mapping[str, Any]) -> ClientReply:
    return ClientReply(status, orjson.dumps(value))


def describe(call: ClientCall) -> ClientReply:
    """A version, which ``replicate.run("owner/name:version")`` of 1.0.7 asks about once the prediction is made. The
    schema is empty, so that the SDK takes the output as it comes."""
    told = {"id": call.params["id"], "created_at": _iso(0.0), "cog_version": "0.9.0", "openapi_schema": {}}
    return _json(200, told)


# ------------------------------------------------------------------------------------------------------- provider face

_INPUTS = {"prompt": "prompt", "aspect": "aspect_ratio", "seed": "seed", "format": "output_format", "n": "num_outputs"}
_VALUES: Mapping[str, Mapping[str, Any]] = {"format": {"jpeg": "jpg"}}
_PLAIN = (
    "prompt", "negative_prompt", "quality", "seed", "steps", "guidance", "strength", "format", "compression",
    "background", "user",
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
    pictures, media = _pictures(request, names)
    count = {names["n"]: request.n} if "n" in names and request.n > 1 else {}
    inputs = {
        **request.extras.get(NAME, {}),
        **{name: value for name, value in plain.items() if value not in ("", None)},
        **shape,
        **pictures,
        **count,
        **fixed,
    }
    path, version = _path(target.remote)
    prefer = {"Prefer": f"wait={options['wait']}"} if options.get("wait") else {}
    carried = names.keys() - {"size", "aspect", "resolution"} | told
    return UpstreamCall(
        "POST",
        f"{target.base_url}{path}",
        {"Content-Type": "application/json", **prefer},
        orjson.dumps({"input": inputs, **version}),
        dropped=fields.dropped_fields(request, NAME, carried),
        media=media,
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
    """The inputs that tell size, aspect and resolution, and the canonical fields told by them."""
    if "size" in names and (pixels := request.dimensions()):
        size = fields.snap(pixels, options.get("multiple", 1), 1, fields.MAX_EDGE)
        two = names["size"].split(",")
        inputs = dict(zip(two, size, strict=True)) if len(two) == 2 else {names["size"]: f"{size[0]}x{size[1]}"}
        return inputs, {"size", "aspect", "resolution"}
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


def _pictures(request: MediaRequest, names: Mapping[str, str]) -> tuple[dict[str, Any], int]:
    """The inputs that hold pictures, and how many these are."""
    pictures: dict[str, Any] = {}
    uris = [fields.data_uri(media) for media in request.references]
    media = 0
    if uris and (name := names.get("references")):
        listed = name.endswith("[]")
        pictures[name.removesuffix("[]")] = uris if listed else uris[0]
        media = len(uris) if listed else 1
    if request.mask and "mask" in names:
        pictures[names["mask"]] = fields.data_uri(request.mask)
        media += 1
    return pictures, media


def write_upload(media: Media, target: Target) -> UpstreamCall:
    """POST the file as the part ``content``."""
    part = ("content", "image", media.mime or "application/octet-stream", media.data)
    content_type, body = fields.write_multipart([part])
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
    body = fields.read_answer(reply.body)
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
            return Failed(Cause.REFUSED if _REFUSED.search(text) else Cause.UNAVAILABLE, fields.excerpt(text))
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
        return fields.read_picture(value, "output")
    except InvalidRequest:
        return None


def _read_error(reply: UpstreamReply, body: Mapping[str, Any]) -> Failed:
    """An HTTP error is about this call and not about the job: ``over`` is never set."""
    detail, title = body.get("detail"), body.get("title")
    words = next((text for text in (detail, title) if isinstance(text, str) and text), f"HTTP {reply.status}")
    names_input = "- input" in words or "invalid_fields" in body
    wait = fields.retry_after(reply.headers)
    if wait is None and (resets := _RESETS.search(words)):
        wait = float(resets[1])
    cause = Cause.INVALID if reply.status == 422 and names_input else fields.cause_of(reply.status)
    return Failed(cause, fields.excerpt(words), retry_after=wait, over=False)


def read_upload_reply(reply: UpstreamReply) -> str | Failed:
    body = fields.read_answer(reply.body)
    match body:
        case {"urls": {"get": str(url)}} if 200 <= reply.status < 300 and url.startswith(("https://", "http://")):
            return url
        case _ if 200 <= reply.status < 300:
            return Failed(Cause.MALFORMED, "the file was stored without a URL")
        case _:
            return _read_error(reply, body)
