"""What Stability AI's services take, whoever sells them: no wire, but the words that two wires share.

Knows the fields of each service (Stability's OpenAPI of v2beta as copied in June 2025; AWS's page on the Stability AI
Image Services; both seen 2026-11-21) and what they are in the canonical model. Called by the wires ``stability`` and
``bedrock``, which know how the fields travel; a service is named by its path at Stability, such as ``edit/erase``.
Must not know a URL, a header or a model id.

What has no canonical field is kept in the extras of ``NAME``, whichever of the two wires it came in on, so that either
one passes on what the other has read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters import fields, imaging
from adapters.ir import InvalidRequest, Margins, Media, MediaRequest, Operation

NAME = "stability"
ASPECTS = ("21:9", "16:9", "3:2", "5:4", "1:1", "4:5", "2:3", "9:16", "9:21")
MAX_PROMPT = 10_000  # characters
MAX_SEED = 4_294_967_294  # and 0 is "choose for me"
MAX_MARGIN = 2_000  # pixels

# ------------------------------------------------------------------------------------------------------- the services


@dataclass(frozen=True, slots=True)
class Service:
    """One service. ``fields`` are those with a canonical meaning, beside the prompt, the pictures and the format;
    of ``a|b`` among its needs either will do.

    Some draw no mask but name an object: ``searched`` is the field that names it. ``told`` is the one sentence that
    says both, for a provider that is told in words alone; ``{0}`` is the object and ``{1}`` the prompt.
    """

    operation: Operation
    needs: tuple[str, ...]
    references: tuple[str, ...] = ()  # picture fields, in the canonical order
    style: str = ""  # the picture field of which only the look is wanted
    masked: bool = False
    prompt: str = "prompt"
    fields: frozenset[str] = frozenset()
    formats: tuple[str, ...] = ("png", "jpeg", "webp")
    scale: float | None = None  # how many times longer it makes each edge, whatever is asked for
    modal: bool = False  # is told whether it starts from a picture; if so it has no aspect
    searched: str = ""
    told: str = ""

    @property
    def pictures(self) -> tuple[str, ...]:
        """Every field that holds a picture."""
        style = (self.style,) if self.style else ()
        return (*self.references, *style, *(("mask",) if self.masked else ()))


_SEED = frozenset({"seed"})
_STEERED = _SEED | {"negative_prompt"}
_SHAPED = _STEERED | {"aspect_ratio"}
_MARGINS = {"left": "left", "up": "top", "right": "right", "down": "bottom"}  # theirs -> canonical
_IMAGE = ("image",)
_GUIDED = ("image", "prompt")

SERVICES: Mapping[str, Service] = {
    "generate/core": Service(Operation.GENERATE, ("prompt",), fields=_SHAPED),
    "generate/ultra": Service(Operation.GENERATE, ("prompt",), _IMAGE, fields=_SHAPED | {"strength"}),
    "generate/sd3": Service(
        Operation.GENERATE, ("prompt",), _IMAGE, fields=_SHAPED | {"strength", "cfg_scale"}, modal=True
    ),
    "edit/erase": Service(Operation.ERASE, _IMAGE, _IMAGE, masked=True, prompt="", fields=_SEED),
    "edit/inpaint": Service(Operation.INPAINT, _GUIDED, _IMAGE, masked=True, fields=_STEERED),
    "edit/outpaint": Service(Operation.OUTPAINT, _IMAGE, _IMAGE, fields=_SEED | set(_MARGINS)),
    "edit/search-and-replace": Service(
        Operation.EDIT,
        (*_GUIDED, "search_prompt"),
        _IMAGE,
        fields=_STEERED,
        searched="search_prompt",
        told="Replace this: {0}. With this: {1}",
    ),
    "edit/search-and-recolor": Service(
        Operation.EDIT,
        (*_GUIDED, "select_prompt"),
        _IMAGE,
        fields=_STEERED,
        searched="select_prompt",
        told="Change only the colour of this: {0}. It becomes: {1}",
    ),
    "edit/remove-background": Service(Operation.REMOVE_BACKGROUND, _IMAGE, _IMAGE, prompt="", formats=("png", "webp")),
    "edit/replace-background-and-relight": Service(
        Operation.REPLACE_BACKGROUND,
        ("subject_image", "background_prompt|background_reference"),
        ("subject_image", "background_reference"),
        style="light_reference",
        prompt="background_prompt",
        fields=_STEERED,
    ),
    "control/sketch": Service(Operation.EDIT, _GUIDED, _IMAGE, fields=_STEERED),
    "control/structure": Service(Operation.EDIT, _GUIDED, _IMAGE, fields=_STEERED),
    "control/style": Service(Operation.GENERATE, _GUIDED, style="image", fields=_SHAPED),
    "control/style-transfer": Service(
        Operation.EDIT, ("init_image", "style_image"), ("init_image",), style="style_image", fields=_STEERED
    ),
    "upscale/fast": Service(Operation.UPSCALE, _IMAGE, _IMAGE, prompt="", scale=4.0),
    "upscale/conservative": Service(Operation.UPSCALE, _GUIDED, _IMAGE, fields=_STEERED),
    "upscale/creative": Service(Operation.UPSCALE, _GUIDED, _IMAGE, fields=_STEERED),
}

# ------------------------------------------------------------------------------------------------------------- reading

_NUMBERS = {  # extras, and the most that any service takes of each; a multipart part spells them as text
    "grow_mask": 100,
    **dict.fromkeys(("creativity", "control_strength", "fidelity"), 1),
    **dict.fromkeys(("style_strength", "composition_fidelity", "change_strength"), 1),
    **dict.fromkeys(("preserve_original_subject", "original_background_depth", "light_source_strength"), 1),
}
_FLAGS = frozenset({"keep_original_background"})
_READ = frozenset({"prompt", "output_format", "model", "mode"})


def read_request(name: str, given: Mapping[str, Any], pictures: Mapping[str, Media]) -> MediaRequest:
    """A call of the service ``name``: its fields, and apart from them those that hold a picture. Raises InvalidRequest.

    How the answer travels, and who asks, is for the wire to add.
    """
    service = SERVICES[name]
    given = {field: value for field, value in given.items() if value not in (None, "")}
    _check_needs(service, given, pictures)
    references = tuple(pictures[field] for field in service.references if field in pictures)
    style = pictures.get(service.style)
    prompt, extras = _read_prompt(service, given), _read_extras(service, given)
    own = {field: given[field] for field in given.keys() & service.fields}
    from_picture = service.operation is Operation.GENERATE and references
    return MediaRequest(
        operation=Operation.EDIT if from_picture else service.operation,
        prompt=prompt,
        negative_prompt=fields.read_text(own, "negative_prompt", limit=MAX_PROMPT),
        model=fields.read_text(given, "model") or name,
        aspect=_read_aspect(own),
        seed=fields.read_integer(own, "seed", 0, MAX_SEED) or None,
        guidance=fields.read_number(own, "cfg_scale", 1, 10),
        strength=fields.read_number(own, "strength", 0, 1),
        references=references,
        style_references=(style,) if style else (),
        mask=_read_mask(pictures) if service.masked else None,
        margins=_read_margins(own) if service.operation is Operation.OUTPAINT else None,
        scale=service.scale,
        format=fields.read_choice(given, "output_format", service.formats),
        extras={NAME: extras} if extras else {},
    )


def _check_needs(service: Service, given: Mapping[str, Any], pictures: Mapping[str, Media]) -> None:
    needs = service.needs
    if service.modal and fields.read_choice(given, "mode", ("text-to-image", "image-to-image")) == "image-to-image":
        needs = (*needs, "image")
    for need in needs:
        names = need.split("|")
        if not any(name in given or name in pictures for name in names):
            raise InvalidRequest(names[0], f"{' or '.join(names)} is required")


def _read_prompt(service: Service, given: Mapping[str, Any]) -> str:
    if not service.prompt:
        return ""
    prompt = fields.read_text(given, service.prompt, limit=MAX_PROMPT)
    if not service.searched:
        return prompt
    return service.told.format(fields.read_text(given, service.searched, limit=MAX_PROMPT), prompt)


def _read_extras(service: Service, given: Mapping[str, Any]) -> dict[str, Any]:
    known = _READ | service.fields | {service.prompt}
    extras = {field: _read_extra(given, field) for field in given if field not in known}
    return {**extras, "prompt": given["prompt"]} if service.searched else extras


def _read_extra(given: Mapping[str, Any], field: str) -> Any:
    if field in _FLAGS:
        return fields.read_flag(given, field)
    if field not in _NUMBERS:
        return given[field]
    number = fields.read_number(given, field, 0, _NUMBERS[field])
    return int(number) if number is not None and number == int(number) else number


def _read_aspect(given: Mapping[str, Any]) -> tuple[int, int] | None:
    aspect = fields.read_text(given, "aspect_ratio")
    return fields.read_aspect(aspect, "aspect_ratio") if aspect else None


def _read_mask(pictures: Mapping[str, Media]) -> Media:
    """White is what changes, here as in the canon. Without a mask, the transparency of ``image`` is one."""
    if mask := pictures.get("mask"):
        return imaging.mask_from_grey(mask.data, "mask")
    return imaging.mask_from_alpha(pictures["image"].data, "image")


def _read_margins(given: Mapping[str, Any]) -> Margins:
    edges = {ours: fields.read_integer(given, theirs, 0, MAX_MARGIN) or 0 for theirs, ours in _MARGINS.items()}
    if not any(edges.values()):
        raise InvalidRequest("left", f"one of {', '.join(_MARGINS)} must be more than 0")
    return Margins(**edges)


# ------------------------------------------------------------------------------------------------------------- writing

_CARRIES = {  # their field -> the canonical fields it tells
    "negative_prompt": ("negative_prompt",),
    "seed": ("seed",),
    "aspect_ratio": ("size", "aspect"),
    "strength": ("strength",),
    "cfg_scale": ("guidance",),
    "output_format": ("format",),
    **dict.fromkeys(_MARGINS, ("margins",)),
}
_SEARCHED = frozenset(service.searched for service in SERVICES.values() if service.searched)


def write_request(
    request: MediaRequest, service: Service, defaults: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Media], set[str]]:
    """The fields, the pictures by their fields, and the canonical fields that are told by either.

    ``defaults`` are sent unless the caller has set them.
    """
    extras = dict(request.extras.get(NAME, {}))
    prompt = _write_prompt(request.prompt, service, extras)
    pictures = _write_pictures(request, service)
    told = {
        "negative_prompt": request.negative_prompt,
        "seed": request.seed if 1 <= (request.seed or 0) <= MAX_SEED else None,
        "aspect_ratio": _write_aspect(request),
        "strength": request.strength if pictures else None,
        "cfg_scale": request.guidance,
        **{theirs: getattr(request.margins, ours, 0) or None for theirs, ours in _MARGINS.items()},
    }
    own = {field: value for field, value in told.items() if field in service.fields and value not in ("", None)}
    if request.format in service.formats:
        own["output_format"] = request.format
    if service.modal and pictures:
        own["mode"] = "image-to-image"
        own.pop("aspect_ratio", None)
    carried = {canonical for field in own for canonical in _CARRIES.get(field, ())} | ({"prompt"} if prompt else set())
    room = {
        "references": len(request.references) <= len(service.references),
        "style_references": len(request.style_references) <= bool(service.style),
        "mask": service.masked,
        "scale": request.scale == service.scale,
    }
    return {**defaults, **extras, **prompt, **own}, pictures, carried | {field for field, fits in room.items() if fits}


def _write_prompt(prompt: str, service: Service, extras: dict[str, Any]) -> dict[str, str]:
    """The prompt under its field. Where an object is named apart from it, the sentence that says both is taken out of
    the prompt again; what was said around it, such as by a rule, stays. ``extras`` keep what this service knows."""
    words = extras.pop("prompt", "")
    for field in _SEARCHED & extras.keys():
        if field != service.searched:
            del extras[field]
        else:
            prompt = prompt.replace(service.told.format(extras[field], words), words)
    return {service.prompt: prompt} if service.prompt and prompt else {}


def _write_pictures(request: MediaRequest, service: Service) -> dict[str, Media]:
    pictures = dict(zip(service.references, request.references, strict=False))
    if service.style and request.style_references:
        pictures[service.style] = request.style_references[0]
    if service.masked and request.mask:
        pictures["mask"] = request.mask
    return pictures


def _write_aspect(request: MediaRequest) -> str:
    aspect = fields.aspect_of(request)
    return fields.nearest_aspect(aspect, ASPECTS) if aspect else ""


# ------------------------------------------------------------------------------------------ reading a provider's answer

_BLAMES = re.compile(r"(?:^|#/)(?:negative_)?prompt: (?!.*(?:required|character|Length))")


def blames_caller(error: str) -> bool:
    """Whether an error is about the words the caller wrote, and not about a limit that another provider may not have.
    Stability writes ``prompt: ...``, Bedrock ``... #/prompt: ...``."""
    return bool(_BLAMES.search(error))
