"""What we send to AUTOMATIC1111 and Forge, and how their answers are read.

Called through the registry. Must not wait, fetch, or know a model by its name. ``remote`` is the checkpoint; for an
upscale the name of the upscaler, for a restore "GFPGAN" or "CodeFormer". The options of a deployment:

    multiple, max_pixels   what width and height are brought to: 8 and 4194304
    max_batch              pictures made at once (default 1); more are made in turns
    guidance_field         cfg_scale (default), or distilled_cfg_scale for FLUX on Forge
    defaults               fields sent unless the caller set them, such as {steps: 20, sampler_name: Euler}; its
                           override_settings are merged with ours
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from adapters import fields, imaging, replies
from adapters.a1111.dialect import NAME, OPERATIONS, PICTURES, PLAIN, POLISHES, UPSCALED, write_loras
from adapters.ir import (
    Artifact,
    Auth,
    Cause,
    Done,
    Failed,
    InvalidRequest,
    MediaRequest,
    Operation,
    Step,
    Target,
    UpstreamCall,
    UpstreamReply,
)

PROVIDER_OPERATIONS = OPERATIONS
AUTH = Auth("Authorization", "Basic")
TAKES_URLS = False  # its owner can forbid it to fetch, and it fetches nothing from its own network
OPTIONS = frozenset({"multiple", "max_pixels", "max_batch", "guidance_field", "defaults"})

# ------------------------------------------------------------------------------------------------------------- asking


def write_request(request: MediaRequest, target: Target) -> UpstreamCall:
    """POST to the route of the operation, see the options above."""
    route, asked, carried = _upscale(request, target) if request.operation in POLISHES else _generate(request, target)
    body = {**target.options.get("defaults", {}), **request.extras.get(NAME, {}), **asked}
    return UpstreamCall(
        "POST",
        f"{target.base_url}/{route}",
        {"Content-Type": "application/json"},
        orjson.dumps(body),
        dropped=fields.dropped_fields(request, NAME, carried),
        media=len({"init_images", "mask", "image"} & asked.keys()),
    )


def _generate(request: MediaRequest, target: Target) -> tuple[str, dict[str, Any], set[str]]:
    """The route, the fields, and the canonical fields they carry."""
    options = target.options
    loras = tuple(lora for lora in request.loras if _is_name(lora.path))
    plain = {
        "prompt": write_loras(request.prompt, loras),
        "negative_prompt": request.negative_prompt,
        "seed": request.seed,
        "steps": request.steps,
        options.get("guidance_field", "cfg_scale"): request.guidance,
    }
    asked: dict[str, Any] = {name: value for name, value in plain.items() if value not in ("", None)}
    asked |= _size(request, options) | _batches(request.n, options.get("max_batch", 1))
    if settings := _settings(request, target):
        asked["override_settings"] = settings
    carried = {"prompt", "negative_prompt", "seed", "steps", "guidance", "size", "aspect", "resolution", "n"}
    carried |= {"loras"} if len(loras) == len(request.loras) else set()
    if not request.references:
        return "txt2img", asked, carried
    asked["init_images"] = [imaging.encode_base64(request.references[0].data)]
    if request.strength is not None:
        asked["denoising_strength"] = request.strength
    if request.mask:
        asked["mask"] = imaging.encode_base64(request.mask.data)
    return "img2img", asked, carried | {"references", "strength", "mask"}


def _is_name(path: str) -> bool:
    """A LoRA is one of the server's own files; what lies elsewhere it does not fetch."""
    return not re.search(r"[/:<>]", path)


def _size(request: MediaRequest, options: Mapping[str, Any]) -> dict[str, int]:
    """An edit without a size has that of its picture: the server would squeeze it into 512 x 512."""
    pixels = request.dimensions()
    if pixels is None and request.references:
        pixels = imaging.picture_size(request.references[0].data)
    if pixels is None or not all(pixels):
        return {}
    limits = options.get("multiple", 8), 64, fields.MAX_EDGE, options.get("max_pixels", 2048 * 2048)
    width, height = fields.snap(pixels, *limits)
    return {"width": width, "height": height}


def _batches(n: int, most: int) -> dict[str, int]:
    if n == 1:
        return {}
    size = max(size for size in range(1, most + 1) if n % size == 0)
    return {"batch_size": size, "n_iter": n // size}


def _settings(request: MediaRequest, target: Target) -> dict[str, Any]:
    given = (target.options.get("defaults", {}), request.extras.get(NAME, {}))
    merged = {name: value for part in given for name, value in part.get("override_settings", {}).items()}
    return merged | ({"sd_model_checkpoint": target.remote} if target.remote else {})


def _upscale(request: MediaRequest, target: Target) -> tuple[str, dict[str, Any], set[str]]:
    asked: dict[str, Any] = {}
    if request.references:
        asked["image"] = imaging.encode_base64(request.references[0].data)
    if request.operation is Operation.RESTORE:
        asked[f"{target.remote.lower()}_visibility"] = 1
        return "extra-single-image", asked, {"references"}
    asked["upscaler_1"] = target.remote
    if request.size:
        width, height = request.size
        asked |= {"resize_mode": 1, "upscaling_resize_w": width, "upscaling_resize_h": height}
    elif request.scale is not None:
        asked["upscaling_resize"] = request.scale
    return "extra-single-image", asked, {"references", "size", "scale"}


# ------------------------------------------------------------------------------------------------------------ reading


def read_reply(reply: UpstreamReply) -> Step:
    body = replies.read_answer(reply.body)
    if not 200 <= reply.status < 300:
        return _read_error(reply, body)
    match body:
        case {"images": list(images)}:
            return _read_images(images, _read_info(body.get("info")))
        case {"image": str(image)}:
            return _read_images([image], {})
        case _:
            return Failed(Cause.MALFORMED, "the answer has no pictures")


def _read_info(info: object) -> dict[str, Any]:
    return replies.read_answer(info.encode("utf-8", "replace")) if isinstance(info, str) else {}


def _read_images(images: Sequence[object], info: Mapping[str, Any]) -> Done | Failed:
    """As many as there are seeds, after a grid and before the maps of ControlNet, where there are such."""
    first, seeds = info.get("index_of_first_image"), info.get("all_seeds")
    start = first if isinstance(first, int) and first > 0 else 0
    told = seeds if isinstance(seeds, list) and seeds else [None] * len(images)
    found = zip(images[start:], told, strict=False)
    artifacts = tuple(artifact for image, seed in found if (artifact := _artifact(image, seed)))
    return Done(artifacts) if artifacts else Failed(Cause.MALFORMED, "the answer has no pictures")


def _artifact(image: object, seed: object) -> Artifact | None:
    try:
        media = imaging.read_base64(image, "image")
    except InvalidRequest:
        return None
    return Artifact(media, seed=seed if isinstance(seed, int) and seed >= 0 else None)


_OWN = PLAIN | PICTURES | UPSCALED
_UNABLE = re.compile(r"OutOfMemoryError|out of memory|not found", re.IGNORECASE)  # the same call would fail again
_BAD_PICTURE = re.compile(r"Invalid (?:encoded image|image url)")


def _read_error(reply: UpstreamReply, body: Mapping[str, Any]) -> Failed:
    """FastAPI's list of what is wrong with which field, or words under ``detail`` and, with a 500, ``errors``."""
    detail = body.get("detail")
    entries = [entry for entry in detail if isinstance(entry, dict)] if isinstance(detail, list) else []
    named = {_field(entry): str(entry.get("msg", "")) for entry in entries}
    words = "; ".join(f"{name}: {message}" for name, message in named.items())
    words = words or next((body[name] for name in ("detail", "errors", "error") if _is_words(body.get(name))), "")
    error = body.get("error") if _is_words(body.get("error")) else ""
    if named.keys() & _OWN or _BAD_PICTURE.search(words):
        cause = Cause.INVALID
    elif reply.status == 500 and _UNABLE.search(f"{error} {words}"):
        cause = Cause.UNSUPPORTED
    else:
        cause = replies.cause_of(reply.status)
    return Failed(
        cause,
        replies.excerpt(words or f"HTTP {reply.status}"),
        retry_after=replies.retry_after(reply.headers),
        code=replies.excerpt(str(error), 60),
    )


def _field(entry: Mapping[str, Any]) -> str:
    """{"loc": ["body", "width"]} -> "width"."""
    loc = entry.get("loc")
    return ".".join(str(step) for step in loc if step != "body") if isinstance(loc, list) else ""


def _is_words(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
