"""Imagen's ``:predict`` as callers still send it, on the paths of the Gemini API and of Vertex AI, and its answers.

``client`` calls it; there is no provider face, as the models behind it are retired. Fields from google-genai 3.4.0
(``generate_images``, ``edit_image``, ``upscale_image``; read and captured 2026-11-21). What has no canonical field is
kept in the extras of ``imagen``, a dialect nothing is sent in, so that it is told as dropped.

The reference images decide with ``editMode``: a mask that is to be found by the model cannot be asked of others, save
that of the background, which makes it a replacement of the background. An outpaint comes as a picture padded to its
final size with a mask over the padding, and is made the unpadded picture and its margins.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

from adapters import fields, imaging
from adapters.gemini.shapes import mime_of, read_output, read_text, spelled
from adapters.ir import (
    RESOLUTIONS,
    ClientCall,
    Failure,
    InvalidRequest,
    Margins,
    Media,
    MediaRequest,
    MediaResult,
    Operation,
    PassThrough,
)

ROUTE = "predict"
OPERATIONS = frozenset(
    {Operation.GENERATE, Operation.EDIT, Operation.INPAINT, Operation.ERASE, Operation.OUTPAINT}
    | {Operation.REPLACE_BACKGROUND, Operation.UPSCALE}
)

_DIALECT = "imagen"
_MODES = {
    "EDIT_MODE_INPAINT_INSERTION": Operation.INPAINT,
    "EDIT_MODE_INPAINT_REMOVAL": Operation.ERASE,
    "EDIT_MODE_OUTPAINT": Operation.OUTPAINT,
    "EDIT_MODE_BGSWAP": Operation.REPLACE_BACKGROUND,
    "EDIT_MODE_PRODUCT_IMAGE": Operation.REPLACE_BACKGROUND,
    "EDIT_MODE_DEFAULT": Operation.EDIT,
    "EDIT_MODE_STYLE": Operation.EDIT,
    "EDIT_MODE_CONTROLLED_EDITING": Operation.EDIT,
}
_MASKED = (Operation.INPAINT, Operation.ERASE, Operation.OUTPAINT)
_FACTORS = {"x2": 2.0, "x3": 3.0, "x4": 4.0}
_REFERENCES = "instances[0].referenceImages"
_GIVEN = {"maskMode": "MASK_MODE_USER_PROVIDED"}  # says no more than the mask does


@dataclass(frozen=True, slots=True)
class _References:
    """The reference images by what they are for; ``raw`` is what is worked on."""

    raw: tuple[Media, ...] = ()
    subjects: tuple[Media, ...] = ()
    styles: tuple[Media, ...] = ()
    mask: Media | None = None
    masks_background: bool = False  # a mask is to be found, and it is that of the background
    rest: Mapping[str, Any] = field(default_factory=dict)  # what else was said of them, by path


def read_body(call: ClientCall, given: dict[str, Any]) -> MediaRequest:
    """Raises InvalidRequest, and PassThrough for an instance of another model, such as an embedding."""
    instances = given.pop("instances", None)
    if not isinstance(instances, list) or not instances:
        raise InvalidRequest("instances", "instances is required, a list of objects")
    instance = spelled(instances[0], "instances[0]")
    parameters = spelled(given.pop("parameters", None), "parameters")
    upscales = parameters.pop("mode", None) == "upscale"
    if not upscales and not instance.keys() <= {"prompt", "referenceImages"}:
        raise PassThrough
    if len(instances) > 1:
        raise InvalidRequest("instances", "instances must have one element")
    if parameters.get("storageUri"):
        raise InvalidRequest(
            "parameters.storageUri", "parameters.storageUri cannot be served: the answer has the bytes"
        )
    work = _read_upscale(instance, parameters) if upscales else _read_work(instance, parameters)
    shape = _read_parameters(parameters)
    extras = given | parameters
    return MediaRequest(
        **work,
        **shape,
        model=call.params.get("model", ""),
        route=ROUTE,
        extras={_DIALECT: extras} if extras else {},
        ask=call.ask,
    )


def _read_upscale(instance: Mapping[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    config = spelled(parameters.pop("upscaleConfig", None), "parameters.upscaleConfig")
    name = "parameters.upscaleConfig.upscaleFactor"
    factor = fields.read_choice({name: config.pop("upscaleFactor", None)}, name, _FACTORS)
    picture = _read_image(instance.get("image"), "instances[0].image")
    if picture is None:
        raise InvalidRequest("instances[0].image", "instances[0].image is required")
    if config:
        parameters["upscaleConfig"] = config
    return {
        "operation": Operation.UPSCALE,
        "prompt": read_text(instance, "instances[0]", "prompt"),
        "references": (picture,),
        "scale": _FACTORS.get(factor),
    }


def _read_work(instance: Mapping[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """The operation, its prompt and its pictures."""
    mode = fields.read_choice({"parameters.editMode": parameters.pop("editMode", None)}, "parameters.editMode", _MODES)
    given = _read_references(instance.get("referenceImages"))
    parameters |= given.rest
    operation = _operation(_MODES.get(mode, Operation.EDIT), given)
    prompt = read_text(instance, "instances[0]", "prompt")
    if not prompt and operation not in (Operation.ERASE, Operation.OUTPAINT):
        raise InvalidRequest("instances[0].prompt", "instances[0].prompt is required")
    work: dict[str, Any] = {
        "operation": operation,
        "prompt": prompt,
        "references": (*given.raw, *given.subjects),
        "style_references": given.styles,
        "mask": given.mask,
    }
    if operation is not Operation.OUTPAINT:
        return work
    assert given.mask is not None
    unpadded = _unpadded(given.raw[0], given.mask)
    if unpadded is None:  # the mask is more than a border: the picture is to be filled where it stands
        return work | {"operation": Operation.INPAINT}
    return work | {"references": (unpadded[0], *given.raw[1:], *given.subjects), "margins": unpadded[1], "mask": None}


def _operation(mode: Operation, given: _References) -> Operation:
    """What ``mode`` means with these pictures. Raises InvalidRequest where they do not do for it."""
    if mode in (*_MASKED, Operation.REPLACE_BACKGROUND) and not given.raw:
        raise InvalidRequest(_REFERENCES, f"{_REFERENCES} must have one of REFERENCE_TYPE_RAW for this editMode")
    if given.masks_background and mode in (Operation.INPAINT, Operation.REPLACE_BACKGROUND, Operation.EDIT):
        return Operation.REPLACE_BACKGROUND
    if mode in _MASKED and given.mask is None:
        raise InvalidRequest(_REFERENCES, f"{_REFERENCES} must have a mask with a picture for this editMode")
    if mode in (Operation.EDIT, Operation.REPLACE_BACKGROUND) and given.mask is not None:
        return Operation.INPAINT
    if mode is Operation.EDIT and not given.raw and not given.subjects:
        return Operation.GENERATE
    return mode


def _read_references(value: object) -> _References:
    if value is None:
        return _References()
    if not isinstance(value, list):
        raise InvalidRequest(_REFERENCES, f"{_REFERENCES} must be a list")
    pictures: dict[str, list[Media]] = {"RAW": [], "SUBJECT": [], "STYLE": [], "MASK": []}
    masks_background = False
    rest: dict[str, Any] = {}
    for index, item in enumerate(value):
        name = f"{_REFERENCES}[{index}]"
        reference = spelled(item, name)
        kind = _read_kind(reference, name)
        picture = _read_image(reference.pop("referenceImage", None), f"{name}.referenceImage")
        if picture is not None:
            pictures[kind].append(picture)
        elif kind == "MASK":
            masks_background = _read_found_mask(reference, name)
        else:
            raise InvalidRequest(f"{name}.referenceImage", f"{name}.referenceImage is required")
        rest |= {f"{name}.{key}": told for key, told in reference.items() if key != "referenceId" and told != _GIVEN}
    raw, subjects, styles, masks = (tuple(pictures[kind]) for kind in ("RAW", "SUBJECT", "STYLE", "MASK"))
    if len(masks) > 1:
        raise InvalidRequest(_REFERENCES, f"{_REFERENCES} must have one mask at most")
    mask = imaging.mask_from_grey(masks[0].data, _REFERENCES) if masks else None
    return _References(raw, subjects, styles, mask, masks_background, rest)


def _read_kind(reference: dict[str, Any], name: str) -> str:
    path = f"{name}.referenceType"
    kinds = [f"REFERENCE_TYPE_{kind}" for kind in ("RAW", "SUBJECT", "CONTENT", "STYLE", "MASK", "CONTROL")]
    kind = fields.read_choice({path: reference.pop("referenceType", None)}, path, kinds)
    match kind.removeprefix("REFERENCE_TYPE_"):
        case "CONTROL":
            raise InvalidRequest(path, f"{path} cannot be served: control pictures are not supported")
        case "CONTENT":
            return "SUBJECT"
        case other:
            return other or "RAW"


def _read_found_mask(reference: dict[str, Any], name: str) -> bool:
    """True: the mask to be found is that of the background. Raises InvalidRequest for any other."""
    path = f"{name}.maskImageConfig"
    mode = read_text(spelled(reference.pop("maskImageConfig", None), path), path, "maskMode")
    if mode != "MASK_MODE_BACKGROUND":
        raise InvalidRequest(f"{path}.maskMode", f"{path}.maskMode cannot be served: give the mask as a picture")
    return True


def _read_image(value: object, name: str) -> Media | None:
    image = spelled(value, name)
    if image.get("gcsUri"):
        raise InvalidRequest(f"{name}.gcsUri", f"{name}.gcsUri cannot be read from here: give the bytes")
    if not image:
        return None
    mime = read_text(image, name, "mimeType").lower()
    return imaging.read_base64(image.get("bytesBase64Encoded"), f"{name}.bytesBase64Encoded", mime)


def _unpadded(padded: Media, mask: Media) -> tuple[Media, Margins] | None:
    """The picture without its padding, and how wide that was; None where the mask is not just a border."""
    from PIL import Image

    if imaging.picture_size(padded.data) != imaging.picture_size(mask.data):
        raise InvalidRequest(_REFERENCES, f"{_REFERENCES}: the mask must be as large as the picture")
    with Image.open(BytesIO(mask.data), formats=("PNG",)) as grey:
        kept = grey.point([255] * 128 + [0] * 128)
    box = kept.getbbox()
    if box is None or box == (0, 0, *kept.size) or kept.crop(box).getextrema() != (255, 255):
        return None
    left, top, right, bottom = box
    margins = Margins(left, top, kept.width - right, kept.height - bottom)
    return imaging.crop(padded.data, box, _REFERENCES), margins


_NAMES = ("sampleCount", "aspectRatio", "sampleImageSize", "negativePrompt", "seed", "guidanceScale")


def _read_parameters(parameters: dict[str, Any]) -> dict[str, Any]:
    """The canonical fields, taken out of ``parameters``."""
    format_, compression = read_output(parameters.pop("outputOptions", None), "parameters.outputOptions")
    edit = spelled(parameters.pop("editConfig", None), "parameters.editConfig")
    named = {f"parameters.{name}": parameters.pop(name, None) for name in _NAMES}
    named["parameters.editConfig.baseSteps"] = edit.pop("baseSteps", None)
    if edit:
        parameters["editConfig"] = edit
    aspect = fields.read_text(named, "parameters.aspectRatio")
    return {
        "n": fields.read_integer(named, "parameters.sampleCount", 1, 8) or 1,
        "aspect": fields.read_aspect(aspect, "parameters.aspectRatio") if aspect else None,
        "resolution": fields.read_choice(named, "parameters.sampleImageSize", RESOLUTIONS),
        "negative_prompt": fields.read_text(named, "parameters.negativePrompt"),
        "seed": fields.read_integer(named, "parameters.seed", 0, 2**32 - 1),
        "guidance": fields.read_number(named, "parameters.guidanceScale", 0, 500),
        "steps": fields.read_integer(named, "parameters.editConfig.baseSteps", 1, 1000),
        "format": format_,
        "compression": compression,
    }


def answer(result: MediaResult) -> dict[str, Any]:
    """One prediction a picture."""
    return {"predictions": [_prediction(artifact.media, artifact.revised_prompt) for artifact in result.artifacts]}


def _prediction(media: Media, prompt: str) -> dict[str, Any]:
    told = {"prompt": prompt} if prompt else {}
    return {"mimeType": mime_of(media), "bytesBase64Encoded": imaging.encode_base64(media.data), **told}


def refusal(failure: Failure) -> dict[str, Any]:
    """A prediction that was filtered out, and why."""
    return {"predictions": [{"raiFilteredReason": failure.message}]}
