"""The provider face of Ideogram: one multipart call, answered with links that do not live long.

Knows the fields each endpoint of API v1 takes. Called through the registry. Must not know a model by its name: the
remote of a deployment is a family of endpoints, ``ideogram-v3`` or ``ideogram-v4``, to which the work that is asked for
is added; or ``edit``, the one by prompt alone that takes up to ten pictures. A background is removed and a picture
upscaled at one endpoint each, whatever the remote. The base URL has no version. Options, with the defaults of 3.0:

    prompt_field        prompt (default), or text_prompt for 4.0, which takes a JSON prompt too
    rendering_speed     always this one (TURBO, DEFAULT, QUALITY), whatever was asked: it makes the price
    sizes               the resolutions it takes (default: the 69 of 3.0); the nearest in shape is sent
    lacks               fields its endpoint has but its model does not take, canonical or Ideogram's own: for 4.0
                        [n, seed, aspect, negative_prompt, style_references, character_reference_images, style_type,
                        style_preset, style_codes, color_palette, magic_prompt]

A reframe is told the new size and finds the place of the picture itself, so margins are carried by their sum only and
named as dropped. A refusal is a 422, or a 200 with ``is_image_safe: false`` and no link.
"""

from collections.abc import Mapping, Set
from typing import Any

import orjson

from adapters import fields, forms, imaging, replies
from adapters.ideogram.terms import CHARACTERS, NAME, SPEEDS
from adapters.ir import (
    Artifact,
    Auth,
    Cause,
    Done,
    Failed,
    Media,
    MediaRequest,
    Operation,
    Step,
    Target,
    UpstreamCall,
    UpstreamReply,
)

AUTH = Auth("Api-Key")
TAKES_URLS = False  # one tool takes links, and only to pictures at Ideogram
OPTIONS = frozenset({"prompt_field", "rendering_speed", "sizes", "lacks"})

EDIT = "edit"
_TOOLS = {
    Operation.REMOVE_BACKGROUND: ("remove-background", "/v1/remove-background"),
    Operation.UPSCALE: ("upscale", "/upscale"),
}
_ACTIONS = {
    Operation.GENERATE: "generate",
    Operation.EDIT: "remix",
    Operation.INPAINT: "inpaint",
    Operation.OUTPAINT: "reframe",
    Operation.REPLACE_BACKGROUND: "replace-background",
}
PROVIDER_OPERATIONS = frozenset({*_ACTIONS, *_TOOLS})

_MADE = frozenset({"n", "seed", "quality"})
_SHAPED = frozenset({"size", "aspect", "resolution"})
_TAKEN = {  # canonical fields by action; the prompt and the references apart
    "generate": _MADE | _SHAPED | {"negative_prompt", "style_references"},
    "generate-transparent": _MADE | {"aspect", "negative_prompt", "background"},
    "remix": _MADE | _SHAPED | {"negative_prompt", "style_references", "strength"},
    "inpaint": _MADE | {"mask", "style_references"},
    "reframe": _MADE | _SHAPED | {"style_references"},
    "replace-background": _MADE | {"style_references"},
    EDIT: frozenset({"n", "seed", "background"}) | _SHAPED,
    "remove-background": frozenset[str](),
    "upscale": frozenset({"n", "seed"}),
}
_UNPROMPTED = frozenset({"reframe", "remove-background"})
_READ_HERE = frozenset({CHARACTERS, "json_prompt", "rendering_speed"})  # of the extras; the others are sent as they are
_ASPECTS = (
    "1x3", "3x1", "1x2", "2x1", "9x16", "16x9", "10x16", "16x10", "2x3", "3x2", "3x4", "4x3", "4x5", "5x4", "1x1",
)  # fmt: skip
_PORTRAITS = (
    "512x1536", "576x1408", "576x1472", "576x1536", "640x1344", "640x1408", "640x1472", "640x1536", "704x1152",
    "704x1216", "704x1280", "704x1344", "704x1408", "704x1472", "736x1312", "768x1088", "768x1216", "768x1280",
    "768x1344", "800x1280", "832x960", "832x1024", "832x1088", "832x1152", "832x1216", "832x1248", "864x1152",
    "896x960", "896x1024", "896x1088", "896x1120", "896x1152", "960x1024", "960x1088",
)  # fmt: skip
SIZES = ("1024x1024", *_PORTRAITS, *("x".join(reversed(size.split("x"))) for size in _PORTRAITS))

# ------------------------------------------------------------------------------------------------------------- requests


def write_request(request: MediaRequest, target: Target) -> UpstreamCall:
    """Raises InvalidRequest for a mask that is no picture."""
    extras, lacks = request.extras.get(NAME, {}), frozenset(target.options.get("lacks", ()))
    subject, characters = _split(request, target.remote == EDIT or CHARACTERS in lacks)
    action, path = _endpoint(request, target, subject)
    taken = _TAKEN[action] - lacks
    pictures = _pictures(request, taken, action, subject, characters)
    prompt = _prompt(request, target, action)
    speed = _speed(request, target) if "quality" in taken else {}
    shape, told = _shape(request, taken, action, target)
    own = {name: value for name, value in extras.items() if name not in lacks | _READ_HERE}
    body = {**own, **prompt, **_plain(request, taken, action), **speed, **shape}
    named = {"image_request": body} if action == "upscale" else body
    kind, encoded = forms.write_multipart(forms.form_parts({**named, **pictures}))
    carried = {"references", *(taken - _SHAPED), *told, *(("prompt",) if prompt else ())}
    if speed.get("rendering_speed", "") != _asked_speed(request):
        carried -= {"quality"}
    return UpstreamCall(
        "POST",
        f"{target.base_url}{path}",
        {"Content-Type": kind},
        encoded,
        dropped=(
            *fields.dropped_fields(request, NAME, carried),
            *(f"{NAME}.{name}" for name in extras if name in lacks),
        ),
        media=sum(len(value) if isinstance(value, tuple) else 1 for value in pictures.values()),
    )


def _split(request: MediaRequest, alike: bool) -> tuple[tuple[Media, ...], tuple[Media, ...]]:
    """The pictures that are worked on, and those of a character; ``alike``: here the first is all there is."""
    first = len(request.references) - (0 if alike else request.extras.get(NAME, {}).get(CHARACTERS, 0))
    return request.references[:first], request.references[first:]


def _endpoint(request: MediaRequest, target: Target, subject: tuple[Media, ...]) -> tuple[str, str]:
    """What is to be done, and the path of it. With nothing but pictures of a character, an edit is a generation."""
    if request.operation in _TOOLS:
        return _TOOLS[request.operation]
    if target.remote == EDIT:
        return EDIT, "/v1/edit"
    action = _ACTIONS[request.operation]
    if action == "remix" and not subject:
        action = "generate"
    if action == "generate" and request.background == "transparent":
        action = "generate-transparent"
    return action, f"/v1/{target.remote}/{action}"


def _pictures(
    request: MediaRequest, taken: Set[str], action: str, subject: tuple[Media, ...], characters: tuple[Media, ...]
) -> dict[str, Media | tuple[Media, ...]]:
    """The files. Only the edit by prompt works on more than one picture."""
    files: dict[str, Media | tuple[Media, ...]] = {}
    if subject:
        name = {EDIT: "images", "upscale": "image_file"}.get(action, "image")
        files[name] = subject if action == EDIT else subject[0]
    if request.mask and "mask" in taken:
        files["mask"] = imaging.mask_to_binary(request.mask.data, white_is_change=False)
    if request.style_references and "style_references" in taken:
        files["style_reference_images"] = request.style_references
    return files | ({CHARACTERS: characters} if characters else {})


def _prompt(request: MediaRequest, target: Target, action: str) -> dict[str, str]:
    """A JSON prompt is sent as one where the model reads it and no rule has changed its text."""
    if not request.prompt or action in _UNPROMPTED:
        return {}
    field = target.options.get("prompt_field", "prompt")
    structured = request.extras.get(NAME, {}).get("json_prompt")
    text = orjson.dumps(structured).decode() if isinstance(structured, dict) else structured
    return {"json_prompt" if text == request.prompt and field == "text_prompt" else field: request.prompt}


def _speed(request: MediaRequest, target: Target) -> dict[str, str]:
    speed = target.options.get("rendering_speed") or _asked_speed(request)
    return {"rendering_speed": speed} if speed else {}


def _asked_speed(request: MediaRequest) -> str:
    return str(request.extras.get(NAME, {}).get("rendering_speed") or SPEEDS.get(request.quality, ""))


def _plain(request: MediaRequest, taken: Set[str], action: str) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if "n" in taken and request.n > 1:
        told["num_images"] = request.n
    if "seed" in taken and request.seed is not None:
        told["seed"] = request.seed % 2**31
    if "negative_prompt" in taken and request.negative_prompt:
        told["negative_prompt"] = request.negative_prompt
    if "strength" in taken and request.strength is not None:
        told["image_weight"] = min(max(round((1 - request.strength) * 100), 1), 100)
    if action == EDIT and request.background == "transparent":  # of a generation the endpoint says it
        told["transparent_background"] = True
    return told


def _shape(
    request: MediaRequest, taken: Set[str], action: str, target: Target
) -> tuple[dict[str, str], frozenset[str]]:
    """The field that tells the size, and the canonical fields told by it: a resolution, or the aspect where no size was
    asked for or none is taken."""
    aspect = fields.aspect_of(request)
    sized = "size" in taken and (request.size or "aspect" not in taken or action == "reframe")
    if aspect and "aspect" in taken and not sized:
        return {"aspect_ratio": fields.nearest_aspect(aspect, _ASPECTS, "x")}, frozenset({"size", "aspect"})
    asked = request.dimensions() or (_extended(request) if action == "reframe" else None)
    if "size" not in taken or asked is None:
        return {}, frozenset()
    return {"resolution": fields.nearest_size(asked, target.options.get("sizes", SIZES))}, _SHAPED


def _extended(request: MediaRequest) -> tuple[int, int] | None:
    """The size of the picture with its margins around it; None where either is unknown."""
    margins = request.margins
    width, height = imaging.picture_size(request.references[0].data) if request.references else (0, 0)
    if margins is None or not width:
        return None
    return width + margins.left + margins.right, height + margins.top + margins.bottom


# -------------------------------------------------------------------------------------------------------------- answers

_ACCOUNT_LIMITS = (
    "insufficient_funds", "subscription_required", "priority_credit_required", "daily_limit", "feature_limit",
)  # fmt: skip
_REASONS = {"inflight_limit": Cause.THROTTLED, **dict.fromkeys(_ACCOUNT_LIMITS, Cause.DENIED)}  # of 402 and 429 alike


def read_reply(reply: UpstreamReply) -> Step:
    """The pictures that are there; a 200 without any is a refusal or a fault."""
    answer = replies.read_answer(reply.body)
    if not 200 <= reply.status < 300:
        return _read_failure(reply, answer)
    data = answer.get("data")
    items = [item for item in data if isinstance(item, dict)] if isinstance(data, list) else []
    artifacts = tuple(artifact for item in items if (artifact := _read_item(item)))
    if artifacts:
        return Done(artifacts)
    if any(item.get("is_image_safe") is False for item in items):
        return Failed(Cause.REFUSED, "the picture was withheld: it did not pass the safety check")
    return Failed(Cause.MALFORMED, "the answer has no picture")


def _read_item(item: Mapping[str, Any]) -> Artifact | None:
    url, seed, prompt = item.get("url"), item.get("seed"), item.get("prompt")
    if item.get("is_image_safe") is False or not isinstance(url, str) or not url.startswith(("https://", "http://")):
        return None
    return Artifact(
        Media(url=url),
        seed=seed if isinstance(seed, int) else None,
        revised_prompt=prompt if isinstance(prompt, str) else "",
    )


def _read_failure(reply: UpstreamReply, answer: Mapping[str, Any]) -> Failed:
    error = replies.read_error_object(answer)
    reason = str(answer.get("reject_reason") or "")
    return Failed(
        _read_cause(reply.status, reason),
        replies.excerpt(error.message or reason) or f"HTTP {reply.status} without a message",
        retry_after=replies.retry_after(reply.headers),
        code=replies.excerpt(reason or error.code, 80),
    )


def _read_cause(status: int, reason: str) -> Cause:
    """Which limit was met counts for more than the status. A 400 never says in a form to rely on which field is to
    blame, so none is taken for the caller's own."""
    return _REASONS.get(reason) or (Cause.REFUSED if status == 422 else replies.cause_of(status))
