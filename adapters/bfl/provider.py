"""What we send to Black Forest Labs: the provider face.

What differs between endpoints is said by the options of a deployment, whose defaults are those of FLUX.2:

    dims            how a size is told: width_height (default), aspect_ratio, or none; margins for an outpaint told by
                    what each side grows by, canvas for one told by the whole and the place of the picture in it, which
                    can be worked out where we have the picture's bytes
    multiple, min_edge, max_edge, max_pixels
                    what width and height are brought to: 16, 64, 16384 and 4194304
    image_field     where given pictures go: input_image (default; the next in input_image_2 and so on), image_prompt,
                    or image, which has the mask beside it
    steering        true for the models that take steps and guidance
    defaults        fields sent unless the caller set them, such as {safety_tolerance: 2}

An answer to the submit has no status and an answer to a poll no polling URL, so ``read_reply`` tells them apart by
that, and the handle of a poll's ``Pending`` is empty. The price in credits stands in the answer to the submit.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from adapters import fields, imaging, replies
from adapters.ir import (
    Artifact,
    Auth,
    Cause,
    Done,
    Failed,
    Margins,
    Media,
    MediaRequest,
    Operation,
    Pending,
    Step,
    Target,
    UpstreamCall,
    UpstreamReply,
    Usage,
)

NAME = "bfl"
PROVIDER_OPERATIONS = frozenset(
    {
        Operation.GENERATE,
        Operation.EDIT,
        Operation.INPAINT,
        Operation.OUTPAINT,
        Operation.ERASE,
        Operation.RESTORE,
    }
)
AUTH = Auth("x-key")
TAKES_URLS = True
OPTIONS = frozenset({"dims", "multiple", "min_edge", "max_edge", "max_pixels", "image_field", "steering", "defaults"})

CREDIT = 0.01  # dollars
POLL_AFTER = 0.5  # seconds; the documentation asks for 0.5 to 1.5

_INPUT_IMAGES = ("input_image", *(f"input_image_{number}" for number in range(2, 9)))
_WORDLESS = frozenset({Operation.ERASE, Operation.RESTORE})  # what the endpoints for these take no prompt for


def write_request(request: MediaRequest, target: Target) -> UpstreamCall:
    """POST to the model's path, see the options above."""
    options = target.options
    shape, told = _shape(request, options)
    pictures, shown = _pictures(request, options)
    prompt = "" if request.operation in _WORDLESS else request.prompt
    plain: dict[str, Any] = {"prompt": prompt, "seed": request.seed, "output_format": request.format}
    carried = {"seed", "format", *told, *shown, *(("prompt",) if prompt else ())}
    if options.get("steering"):
        plain |= {"steps": request.steps, "guidance": request.guidance}
        carried |= {"steps", "guidance"}
    body = {
        **options.get("defaults", {}),
        **request.extras.get(NAME, {}),
        **{name: value for name, value in plain.items() if value not in ("", None)},
        **shape,
        **pictures,
    }
    return UpstreamCall(
        "POST",
        f"{target.base_url}/{quote(target.remote)}",
        {"Content-Type": "application/json"},
        orjson.dumps(body),
        dropped=fields.dropped_fields(request, NAME, carried),
        media=len(pictures),
    )


def _shape(request: MediaRequest, options: Mapping[str, Any]) -> tuple[dict[str, Any], Sequence[str]]:
    """The fields that tell the size, and the canonical fields told by them."""
    match options.get("dims", "width_height"):
        case "width_height" if pixels := request.dimensions():
            width, height = fields.snap(
                pixels,
                options.get("multiple", 16),
                options.get("min_edge", 64),
                options.get("max_edge", fields.MAX_EDGE),
                options.get("max_pixels", 2048 * 2048),
            )
            return {"width": width, "height": height}, ("size", "aspect", "resolution")
        case "margins" if margins := _margins(request):
            sides = {"left": margins.left, "top": margins.top, "right": margins.right, "bottom": margins.bottom}
            return sides, ("margins", "size")
        case "canvas" if canvas := _canvas(request):
            return canvas, ("margins", "size")
        case "canvas" if size := request.size:
            return {"width": size[0], "height": size[1]}, ("size",)
        case "aspect_ratio" if aspect := fields.aspect_of(request):
            return {"aspect_ratio": f"{aspect[0]}:{aspect[1]}"}, ("size", "aspect")
        case _:
            return {}, ()


def _margins(request: MediaRequest) -> Margins | None:
    """Those asked for; else what a larger size leaves around the picture, evenly."""
    if request.margins or request.size is None:
        return request.margins
    inner = _inner(request)
    across, down = request.size[0] - inner[0], request.size[1] - inner[1]
    if not all(inner) or across < 0 or down < 0:
        return None
    return Margins(across // 2, down // 2, across - across // 2, down - down // 2)


def _canvas(request: MediaRequest) -> dict[str, int]:
    """The whole, and where the picture stands in it."""
    width, height = _inner(request)
    margins = request.margins
    if margins is None or not width:
        return {}
    return {
        "width": margins.left + width + margins.right,
        "height": margins.top + height + margins.bottom,
        "reference_offset_x": margins.left,
        "reference_offset_y": margins.top,
    }


def _inner(request: MediaRequest) -> tuple[int, int]:
    return imaging.picture_size(request.references[0].data) if request.references else (0, 0)


def _pictures(request: MediaRequest, options: Mapping[str, Any]) -> tuple[dict[str, str], Sequence[str]]:
    """The fields that hold pictures, and the canonical fields told by them."""
    field = options.get("image_field", "input_image")
    names = _INPUT_IMAGES if field == "input_image" else (field,)
    pictures = dict(zip(names, map(_picture, request.references), strict=False))
    if field != "image":
        return pictures, ("references",)
    if request.mask:
        pictures["mask"] = _picture(request.mask)
    return pictures, ("references", "mask")


def _picture(media: Media) -> str:
    return media.url or imaging.encode_base64(media.data)


def poll(handle: Mapping[str, Any], target: Target) -> UpstreamCall:
    """The URL as it was named: it may be on another host of the provider, and only there the job is known."""
    return UpstreamCall("GET", str(handle["polling_url"]))


def cancel(handle: Mapping[str, Any], target: Target) -> UpstreamCall | None:
    """There is no way to."""
    return None


_ENDED = {
    "Error": Cause.UNAVAILABLE,
    "Failed": Cause.UNAVAILABLE,  # not in the specification; other clients have met it
    "Request Moderated": Cause.REFUSED,
    "Content Moderated": Cause.REFUSED,
    "Task not found": Cause.EXPIRED,
}


def read_reply(reply: UpstreamReply) -> Step:
    body = replies.read_answer(reply.body)
    if 200 <= reply.status < 300 or body.get("status") == "Task not found":  # which may come with a 404
        return _read_job(body)
    return _read_error(reply, body)


def _read_job(body: Mapping[str, Any]) -> Step:
    usage = _usage(body)
    match body:
        case {"status": "Ready", "result": {"sample": str(url), **result}} if url.startswith(("https://", "http://")):
            prompt, seed = result.get("prompt"), result.get("seed")
            artifact = Artifact(
                Media(url=url),
                seed=seed if isinstance(seed, int) else None,
                revised_prompt=prompt if isinstance(prompt, str) else "",
            )
            return Done((artifact,), usage)
        case {"status": "Ready"}:
            return Failed(Cause.MALFORMED, "ready, but without a picture")
        case {"status": "Pending"}:
            return Pending(_handle(body), POLL_AFTER, usage)
        case {"status": str(status)} if status in _ENDED:
            message = f"{status}: {_words(body.get('details'))}".removesuffix(": ")
            return Failed(_ENDED[status], replies.excerpt(message), code=status)
        case {"status": str(status)}:
            return Failed(Cause.MALFORMED, f"unknown status {status[:40]!r}")
        case {"polling_url": str()}:
            return Pending(_handle(body), POLL_AFTER, usage)
        case _:
            return Failed(Cause.MALFORMED, "the answer is neither a job nor the state of one", over=False)


def _handle(body: Mapping[str, Any]) -> dict[str, Any]:
    url = body.get("polling_url")
    return {"polling_url": url, "id": str(body.get("id", ""))} if isinstance(url, str) else {}


def _usage(body: Mapping[str, Any]) -> Usage:
    cost = body.get("cost")
    return Usage(cost_usd=cost * CREDIT) if isinstance(cost, int | float) and cost >= 0 else Usage()


def _read_error(reply: UpstreamReply, body: Mapping[str, Any]) -> Failed:
    """An HTTP error is about this call and not about the job: ``over`` is never set. That a field is missing is not the
    caller's mistake: the endpoint needs what the request does not have."""
    detail = body.get("detail")
    wrong = reply.status == 422 and any(_field(entry) and entry.get("type") != "missing" for entry in _entries(detail))
    named = [f"{field}: {_words(entry.get('msg'))}" for entry in _entries(detail) if (field := _field(entry))]
    words = "; ".join(named) or _words(detail) or _words(body.get("message")) or _words(body.get("error"))
    wait = body.get("retry_after")
    return Failed(
        Cause.INVALID if wrong else replies.cause_of(reply.status),
        replies.excerpt(words or f"HTTP {reply.status}"),
        retry_after=float(wait) if isinstance(wait, int | float) and wait >= 0 else replies.retry_after(reply.headers),
        code=replies.excerpt(_words(body.get("error")), 40),
        over=False,
    )


def _entries(detail: object) -> list[Mapping[str, Any]]:
    return [entry for entry in detail if isinstance(entry, dict)] if isinstance(detail, list) else []


def _field(entry: Mapping[str, Any]) -> str:
    """{"loc": ["body", "width"]} -> "width"."""
    loc = entry.get("loc")
    return ".".join(str(step) for step in loc if step != "body") if isinstance(loc, list) else ""


def _words(value: object) -> str:
    if isinstance(value, str):
        return value
    return orjson.dumps(value).decode() if value else ""
