"""What a caller's input asks for, by the names that fal's endpoints commonly use.

Called by ``client``. An input that is not canonical stays in the extras. What is not understood is no error: fal has
hundreds of endpoints, and a call of which we cannot tell what it wants is passed on to it as it came.
"""

import re
from collections.abc import Mapping
from typing import Any

from adapters import fields, imaging
from adapters.fal.apps import NAME, makes_images, operation_of, words_of
from adapters.ir import RESOLUTIONS, Delivery, InvalidRequest, Lora, Margins, Media, Operation, PassThrough

MAX_IMAGES = 10

_NAMES = {  # the first that is present is read
    "prompt": ("prompt", "instruction"),
    "steps": ("num_inference_steps", "steps"),
    "scale": ("upscale_factor", "scale"),
    "mask": ("mask_url", "mask_image_url"),
}
_ONE_NAME = ("negative_prompt", "num_images", "seed", "guidance_scale", "strength", "loras", "sync_mode")
_PICTURES = ("image_url", "image_urls", "input_image_urls", "ref_image_url")
_STYLES = ("style_image_url", "style_reference_image_url")
_IDEOGRAM = ("image_url",), ("image_urls",)  # one picture to work on, and a list of them for style
_MARGINS = {"left": "expand_left", "top": "expand_top", "right": "expand_right", "bottom": "expand_bottom"}
_FORMATS = {"jpg": "jpeg", "jpeg": "jpeg", "png": "png", "webp": "webp"}
_WORDS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    # input -> canonical field, and its values; any other value is the endpoint's own and stays in the extras
    "image_format": ("format", _FORMATS),
    "format": ("format", _FORMATS),
    "output_format": ("format", _FORMATS),
    "quality": ("quality", {"low": "low", "medium": "medium", "high": "high"}),
    "background": ("background", {"transparent": "transparent", "opaque": "opaque"}),
    "resolution": (
        "resolution",
        {name: name for name in RESOLUTIONS} | {"0.5K": "512", "1k": "1K", "2k": "2K", "1MP": "1K", "4MP": "2K"},
    ),
}
_SIZES = {  # as fal's own toolkit has them
    "square_hd": (1024, 1024),
    "square": (512, 512),
    "portrait_4_3": (768, 1024),
    "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768),
    "landscape_16_9": (1024, 576),
}
_PIXELS = re.compile(r"\d+x\d+", re.ASCII)
_ASPECT = re.compile(r"\d+:\d+", re.ASCII)

_OF_OTHER_KINDS = frozenset(
    {"duration", "fps", "num_frames", "frames_per_second", "generate_audio", "messages", "text"}
)
_STEERING = frozenset(
    {"controlnets", "controlnet_unions", "ip_adapters", "easycontrols", "control_loras", "embeddings"}
)
_PROMPTED = frozenset(
    {Operation.GENERATE, Operation.EDIT, Operation.INPAINT, Operation.REPLACE_BACKGROUND, Operation.RELIGHT}
)
_MASKED = frozenset({Operation.INPAINT, Operation.ERASE})


def check_app(app: str) -> None:
    """Raises PassThrough for an endpoint that makes no pictures."""
    if not makes_images(app):
        raise PassThrough


def read_input(app: str, body: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a ``MediaRequest`` that the input tells. Raises PassThrough, or InvalidRequest naming the input."""
    given = {name: value for name, value in body.items() if value is not None}
    words = words_of(app)
    pictures, styles = _IDEOGRAM if "ideogram" in words else (_PICTURES, _STYLES)
    named = {field: next((name for name in names if name in given), names[0]) for field, names in _NAMES.items()}
    pictured = {*pictures, *styles, named["mask"]}
    _check_media(given, pictured)
    operation = _operation(operation_of(words), given, named, pictures)
    shape, told = _read_shape(given)
    work, worked = _read_work(operation, given, named["scale"])
    spoken, said = _read_words(given)
    if "vector" in words and operation is Operation.GENERATE:
        spoken["format"] = "svg"
    known = {*_ONE_NAME, named["prompt"], named["steps"], *pictured, *told, *worked, *said}
    extras = {name: value for name, value in given.items() if name not in known}
    return {
        "operation": operation,
        "prompt": fields.read_text(given, named["prompt"]),
        "negative_prompt": fields.read_text(given, "negative_prompt"),
        "n": fields.read_integer(given, "num_images", 1, MAX_IMAGES) or 1,
        "seed": _read_seed(given),
        "steps": fields.read_integer(given, named["steps"], 1, 1000),
        "guidance": fields.read_number(given, "guidance_scale", 0, 100),
        "strength": fields.read_number(given, "strength", 0, 1),
        "references": tuple(media for name in pictures for media in _read_pictures(given, name)),
        "style_references": tuple(media for name in styles for media in _read_pictures(given, name)),
        "mask": _read_mask(given, named["mask"]),
        "loras": _read_loras(given),
        "delivery": Delivery.DATA_URI if fields.read_flag(given, "sync_mode") else Delivery.URL,
        "extras": {NAME: extras} if extras else {},
        **shape,
        **work,
        **spoken,
    }


def _check_media(given: Mapping[str, Any], known: set[str]) -> None:
    """A picture, a film or a control of a meaning we do not know would be lost on any other endpoint."""
    for name, value in given.items():
        steers = name.endswith(("_url", "_urls")) and name not in known
        if name in _OF_OTHER_KINDS or (value and (steers or name in _STEERING)):
            raise PassThrough


def _operation(
    said: Operation | None, given: Mapping[str, Any], named: Mapping[str, str], pictures: tuple[str, ...]
) -> Operation:
    """As the id says, else as the input looks. Raises PassThrough where the input lacks what that needs."""
    has_picture, has_mask = any(given.get(name) for name in pictures), bool(given.get(named["mask"]))
    operation = said or (Operation.INPAINT if has_mask else Operation.EDIT if has_picture else Operation.GENERATE)
    lacks_prompt = operation in _PROMPTED and not given.get(named["prompt"])
    lacks_picture = operation is not Operation.GENERATE and not has_picture
    lacks_mask = operation in _MASKED and not has_mask
    lacks_margins = operation is Operation.OUTPAINT and not any(given.get(name) for name in _MARGINS.values())
    if lacks_prompt or lacks_picture or lacks_mask or lacks_margins:
        raise PassThrough
    return operation


def _read_seed(given: Mapping[str, Any]) -> int | None:
    seed = fields.read_integer(given, "seed", -1, 2**63 - 1)
    return None if seed == -1 else seed  # endpoints take -1 for none


def _read_pictures(given: Mapping[str, Any], name: str) -> list[Media]:
    """One picture or a list of them."""
    value = given.get(name)
    values = value if isinstance(value, list) else [value] if value else []
    return [imaging.read_picture(item, name) for item in values]


def _read_mask(given: Mapping[str, Any], name: str) -> Media | None:
    if not given.get(name):
        return None
    mask = imaging.read_picture(given[name], name)
    return mask if mask.url else imaging.mask_from_grey(mask.data, name)


def _read_work(operation: Operation, given: Mapping[str, Any], scale: str) -> tuple[dict[str, Any], set[str]]:
    """How far an upscale or an outpaint goes, and the inputs that told it; elsewhere these names mean other things."""
    if operation is Operation.UPSCALE:
        return {"scale": fields.read_number(given, scale, 1, 16)}, {scale}
    if operation is Operation.OUTPAINT:
        sides = {side: fields.read_integer(given, name, 0, fields.MAX_EDGE) or 0 for side, name in _MARGINS.items()}
        return {"margins": Margins(**sides)}, set(_MARGINS.values())
    return {}, set()


def _read_loras(given: Mapping[str, Any]) -> tuple[Lora, ...]:
    entries = given.get("loras") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidRequest("loras", "loras must be a list of objects with a path")
    return tuple(_read_lora(entry, f"loras.{index}") for index, entry in enumerate(entries))


def _read_lora(entry: Mapping[str, Any], name: str) -> Lora:
    try:
        scale = fields.read_number(entry, "scale", -10, 10)
        return Lora(fields.read_text(entry, "path", required=True), 1.0 if scale is None else float(scale))
    except InvalidRequest as error:
        raise InvalidRequest(f"{name}.{error.field}", error.message) from None


def _read_shape(given: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """The size, else the aspect, and the inputs that told it; "auto" says nothing."""
    size, aspect = given.get("image_size"), given.get("aspect_ratio")
    match size:
        case dict():
            return {"size": _read_edges(size)}, {"image_size"}
        case str() if size in _SIZES:
            return {"size": _SIZES[size]}, {"image_size"}
        case str() if _PIXELS.fullmatch(size):
            return {"size": fields.read_size(size, "image_size")}, {"image_size"}
    if isinstance(aspect, str) and _ASPECT.fullmatch(aspect):
        return {"aspect": fields.read_aspect(aspect, "aspect_ratio")}, {"aspect_ratio"}
    return {}, set()


def _read_edges(size: Mapping[str, Any]) -> tuple[int, int]:
    try:
        width, height = (fields.read_integer(size, name, 1, fields.MAX_EDGE) for name in ("width", "height"))
    except InvalidRequest as error:
        raise InvalidRequest(f"image_size.{error.field}", error.message) from None
    if width is None or height is None:
        raise InvalidRequest("image_size", "image_size must have a width and a height")
    return width, height


def _read_words(given: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    words, spoken = {}, set()
    for name, (field, values) in _WORDS.items():
        value = given.get(name)
        if isinstance(value, str) and value in values:
            words[field] = values[value]
            spoken.add(name)
    return words, spoken
