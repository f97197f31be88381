"""What callers of Replicate are served: the client face.

A caller's ``input`` is read by the names that models commonly use; what is not canonical stays in ``extras``. What is
to be done follows from the fields, and where they do not say it from words in the model's name: ``rembg``, ``upscale``.
A call that makes no picture is known by its inputs or by such a word, and passed on.

``output`` is always a list of strings in our answers, also for models whose own is one string: a caller that cannot
know which model will answer can rely on one shape.
"""

import re
from collections.abc import Mapping
from typing import Any

from adapters import fields, forms, imaging
from adapters.ir import (
    RESOLUTIONS,
    Action,
    ClientCall,
    Delivery,
    InvalidRequest,
    Lora,
    Margins,
    Media,
    MediaRequest,
    Operation,
    PassThrough,
    Route,
    Webhook,
)
from adapters.replicate.answers import (
    describe,
    write_error,
    write_job,
    write_reply,
    write_secret,
    write_upload_reply,
    write_webhook,
)

__all__ = [
    "ALIASES", "CLIENT_OPERATIONS", "PREFIX", "ROUTES", "VERSIONS", "describe", "read_id", "read_request",
    "read_upload", "write_error", "write_job", "write_reply", "write_secret", "write_upload_reply", "write_webhook",
]  # fmt: skip

NAME = "replicate"
PREFIX = "/replicate"
VERSIONS: tuple[str, ...] = ("/v1", "")
ALIASES: tuple[str, ...] = ()
_PASSED = (
    ("*", "/models"),  # also QUERY, which searches
    ("*", "/models/{owner}/{name}"),
    ("GET", "/models/{owner}/{name}/{about:readme|examples|versions}"),
    ("DELETE", "/models/{owner}/{name}/versions/{id}"),
    ("POST", "/models/{owner}/{name}/versions/{id}/trainings"),
    ("GET", "/trainings"),
    ("GET", "/trainings/{id}"),
    ("POST", "/trainings/{id}/cancel"),
    ("*", "/deployments"),
    ("*", "/deployments/{owner}/{name}"),
    ("GET", "/collections"),
    ("GET", "/collections/{slug}"),
    ("GET", "/hardware"),
    ("GET", "/account"),
    ("GET", "/search"),
)
ROUTES: tuple[Route, ...] = (
    Route("POST", "/predictions", Action.SUBMIT, "version"),
    Route("POST", "/models/{owner}/{name}/predictions", Action.SUBMIT, "model"),
    Route("POST", "/deployments/{owner}/{name}/predictions", Action.SUBMIT, "deployment"),
    Route("GET", "/predictions/{id}", Action.POLL, "get"),
    Route("POST", "/predictions/{id}/cancel", Action.CANCEL, "cancel"),
    Route("POST", "/files", Action.UPLOAD, "upload"),
    Route("GET", "/files/{id}", Action.DOWNLOAD, "file"),
    Route("GET", "/models/{owner}/{name}/versions/{id}", Action.DESCRIBE, "describe"),
    Route("GET", "/webhooks/default/secret", Action.SECRET, "secret"),
    *(Route(method, path, Action.PASS, "pass") for method, path in _PASSED),
)
CLIENT_OPERATIONS = frozenset(
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

MAX_WAIT = 60.0  # seconds, the longest ``Prefer: wait``
MAX_OUTPUTS = 10

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
_PICTURES = (
    "image", "input_image", "image_prompt", "image_input", "input_images", "images", "reference_images", "img",
)  # fmt: skip
_STYLES = ("style_reference_images",)
_LORAS = {"lora_weights": "lora_scale", "extra_lora": "extra_lora_scale"}
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
_MARGINS = (  # left, top, right, bottom
    ("left", "up", "right", "down"),
    ("left", "top", "right", "bottom"),
    ("expand_left", "expand_top", "expand_right", "expand_bottom"),
)
_SCALES = ("scale", "scale_factor", "upscale_factor", "upscale")
_FACTOR = re.compile(r"x?(\d{1,2}(?:\.\d{1,2})?)x?", re.ASCII | re.IGNORECASE)
_SIZE = re.compile(r"\d+[x*]\d+", re.ASCII)
_ASPECT = re.compile(r"\d+:\d+", re.ASCII)
_WAIT = re.compile(r"\s*wait\s*(?:=\s*(\d{1,4})\s*)?", re.ASCII | re.IGNORECASE)

_ERASERS = re.compile(r"eras|object-remov|remove-object|(?<![a-z])lama")
_WORKERS = (  # words in the names of models that work on one picture in one way
    (Operation.REMOVE_BACKGROUND, re.compile(r"rembg|rmbg|remove-?(?:bg|background)|background-remov|birefnet")),
    (Operation.VECTORIZE, re.compile(r"vectori[sz]e")),
    (Operation.UPSCALE, re.compile(r"upscal|esrgan|super-?resolution")),
    (Operation.RESTORE, re.compile(r"restor|codeformer|gfpgan|old-photos")),
    (Operation.OUTPAINT, re.compile(r"outpaint|expand|uncrop")),
)
_NO_PICTURE = re.compile(r"(?<![a-z0-9])(?:video|t2v|i2v|v2v|audio|music|speech|voice|tts)(?![a-z0-9])")
_NO_PICTURE_INPUTS = frozenset(
    {
        "video", "input_video", "video_url", "start_image", "first_frame_image", "last_frame_image", "last_frame",
        "end_image", "num_frames", "fps", "frames_per_second", "duration",
        "audio", "audio_file", "audio_url", "input_audio", "voice", "voice_id", "speaker", "lyrics",
        "messages", "system_prompt", "max_tokens", "max_new_tokens", "max_completion_tokens",
    }
)  # fmt: skip


def read_request(call: ClientCall) -> MediaRequest:
    """A prediction to create, by model, by deployment or by version. Fields are named as ``input.width``."""
    body = fields.read_object(call.body)
    if "owner" in call.params:
        model = f"{call.params['owner']}/{call.params['name']}"
    else:
        model = fields.read_text(body, "version", required=True)
    webhook = _read_webhook(body)
    given = body.get("input")
    if not isinstance(given, dict):
        raise InvalidRequest("input", "input is required and must be an object")
    given = {name: value for name, value in given.items() if value is not None}
    # Only text is streamed, whatever model writes it.
    if body.get("stream") or _NO_PICTURE_INPUTS & given.keys() or _NO_PICTURE.search(_name(model)):
        raise PassThrough
    try:
        return _read_input(given, model, webhook, call)
    except InvalidRequest as error:
        raise InvalidRequest(f"input.{error.field}", error.message, status=error.status) from None


def _name(model: str) -> str:
    """ "Owner/Name_of_it:version" -> "name-of-it"; of a version alone nothing is known."""
    return model.partition(":")[0].partition("/")[2].lower().replace("_", "-")


def _read_input(given: Mapping[str, Any], model: str, webhook: Webhook | None, call: ClientCall) -> MediaRequest:
    named = {field: next((name for name in names if name in given), names[0]) for field, names in _NAMES.items()}
    references = tuple(media for name in _PICTURES for media in _read_pictures(given, name))
    mask = _read_mask(given, references)
    operation = _read_operation(given, _name(model), references, mask)
    shape, told = _read_shape(given, operation)
    words, spoken = _read_words(given)
    loras, laid = _read_loras(given)
    seed = fields.read_integer(given, named["seed"], -1, 2**63 - 1)  # models take -1 for none
    known = {*named.values(), *_PICTURES, *_STYLES, *told, *spoken, *laid}
    extras = {name: value for name, value in given.items() if name not in known}
    return MediaRequest(
        operation=operation,
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
        style_references=tuple(media for name in _STYLES for media in _read_pictures(given, name)),
        mask=mask,
        loras=loras,
        delivery=Delivery.DATA_URI,
        wait=_read_wait(call.headers.get("prefer", "")),
        webhook=webhook,
        extras={NAME: extras} if extras else {},
        **shape,
        **words,
        ask=call.ask,
    )


def _read_operation(
    given: Mapping[str, Any], name: str, references: tuple[Media, ...], mask: Media | None
) -> Operation:
    """By the fields, then by the words of the model's name; those mean nothing without a picture to work on."""
    if mask:
        return Operation.ERASE if _ERASERS.search(name) else Operation.INPAINT
    if not references:
        return Operation.GENERATE
    if given.get("outpaint") not in (None, "", "None") or "canvas_size" in given:
        return Operation.OUTPAINT
    return next((operation for operation, words in _WORKERS if words.search(name)), Operation.EDIT)


def _read_pictures(given: Mapping[str, Any], name: str) -> list[Media]:
    """One picture or a list of them."""
    value = given.get(name)
    values = value if isinstance(value, list) else [value] if value else []
    return [imaging.read_picture(item, name) for item in values]


def _read_mask(given: Mapping[str, Any], references: tuple[Media, ...]) -> Media | None:
    if not given.get("mask"):
        return None
    if not references:
        raise InvalidRequest("image", "image is required with a mask")
    mask = imaging.read_picture(given["mask"], "mask")
    return mask if mask.url else imaging.mask_from_grey(mask.data, "mask")


def _read_shape(given: Mapping[str, Any], operation: Operation) -> tuple[dict[str, Any], set[str]]:
    """The factor of an upscale; else the size, else aspect and resolution; and the inputs that told it.
    "match_input_image", "custom" and half a size say nothing canonical."""
    if operation in (Operation.UPSCALE, Operation.RESTORE):
        return _read_scale(given)
    if operation is Operation.OUTPAINT and (found := _read_margins(given)):
        return found
    width = fields.read_integer(given, "width", 0, fields.MAX_EDGE)
    height = fields.read_integer(given, "height", 0, fields.MAX_EDGE)
    if width and height:
        return {"size": (width, height)}, {"width", "height"}
    match given:
        case {"canvas_size": [int(width), int(height)]} if (
            0 < min(width, height) <= max(width, height) <= fields.MAX_EDGE
        ):
            return {"size": (width, height)}, {"canvas_size"}
        case {"size": str(size)} if _SIZE.fullmatch(size):
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


def _read_margins(given: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]] | None:
    """The sides as models name them; None where no such name is there."""
    for names in _MARGINS:
        if not any(name in given for name in names):
            continue
        sides = [fields.read_integer(given, name, 0, fields.MAX_EDGE) or 0 for name in names]
        return ({"margins": Margins(*sides)} if any(sides) else {}), set(names)
    return None


def _read_scale(given: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """2, "2", "2x" or "x2"; anything else, such as "None", is the model's own word."""
    for name in _SCALES:
        if (found := _FACTOR.fullmatch(str(given.get(name, "")))) and float(found[1]) > 0:
            return {"scale": float(found[1])}, {name}
    return {}, set()


def _read_words(given: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    words, spoken = {}, set()
    for name, (field, values) in _WORDS.items():
        value = given.get(name)
        if isinstance(value, str) and value in values:
            words[field] = values[value]
            spoken.add(name)
    return words, spoken


def _read_loras(given: Mapping[str, Any]) -> tuple[tuple[Lora, ...], set[str]]:
    loras, laid = [], set()
    for name, scale in _LORAS.items():
        if path := fields.read_text(given, name):
            strength = fields.read_number(given, scale, -100, 100)
            loras.append(Lora(path) if strength is None else Lora(path, strength))
            laid |= {name, scale}
    return tuple(loras), laid


def _read_wait(prefer: str) -> float:
    """Seconds by ``Prefer: wait`` (a minute) or ``wait=5``; 0 without it, which is "answer at once"."""
    for preference in re.split("[,;]", prefer):
        if found := _WAIT.fullmatch(preference):
            return min(float(found[1] or MAX_WAIT), MAX_WAIT)
    return 0.0


_EVENTS = ("start", "output", "logs", "completed")


def _read_webhook(body: Mapping[str, Any]) -> Webhook | None:
    """``webhook_completed`` is the older way to ask for that event alone."""
    for name, events in (("webhook", body.get("webhook_events_filter")), ("webhook_completed", ["completed"])):
        url = fields.read_text(body, name)
        if not url:
            continue
        if not url.startswith(("https://", "http://")):
            raise InvalidRequest(name, f"{name} must be an http(s) URL")
        if events is not None and not (isinstance(events, list) and all(event in _EVENTS for event in events)):
            raise InvalidRequest("webhook_events_filter", f"each event must be one of {', '.join(_EVENTS)}")
        return Webhook(url, tuple(events or ()))
    return None


def read_id(call: ClientCall) -> str:
    return call.params["id"]


def read_upload(call: ClientCall) -> tuple[Media, str]:
    """The part ``content`` and its file name. Raises InvalidRequest."""
    for name, filename, mime, data in forms.read_multipart(call.body, call.headers.get("content-type", "")):
        if name == "content" and data:
            return Media(data=data, mime=imaging.sniff_mime(data) or mime), filename
    raise InvalidRequest("content", "the part content is required and must not be empty")
