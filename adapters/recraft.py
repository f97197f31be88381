"""Recraft: an endpoint for each kind of work, generations of which OpenAI's SDK can call; raster pictures and SVG.

Knows the endpoints of external.api.recraft.ai (www.recraft.ai/docs/api-reference, copies of October 2026, and Recraft's
OpenAPI document where the pages are silent: ``image_format``, the answers). Called through the registry. There is no
SDK of Recraft's own: its documentation uses OpenAI's with another base URL. Must not know a model by its name: the
remote of a deployment is the ``model`` that is sent, or the endpoint where that is all there is: vectorize,
removeBackground, eraseRegion, crispUpscale or creativeUpscale. What else differs is said by its options:

    sizes       the sizes it takes ("1024x1024", or "16:9" where it is told ratios); the nearest in shape is sent
    lacks       fields its endpoint has but its model does not take, canonical or Recraft's own: for V4
                [negative_prompt, style, style_id, substyle, text_layout]

Pictures are asked for as base64, which saves a fetch. An edit must say how far it may go from the picture: half way
where the caller does not say. The shape of errors is not published; users of the API have met ``code`` and ``message``.
"""

from collections.abc import Mapping, Set
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import orjson

from adapters import fields, forms, imaging, replies
from adapters.ir import (
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
    Margins,
    Media,
    MediaRequest,
    MediaResult,
    Operation,
    Route,
    Step,
    Target,
    UpstreamCall,
    UpstreamReply,
    Usage,
)

NAME = "recraft"
PREFIX = "/recraft"
VERSIONS: tuple[str, ...] = ("/v1", "")
ALIASES: tuple[str, ...] = ()
_ENDPOINTS = {
    "generations": Operation.GENERATE,
    "imageToImage": Operation.EDIT,
    "inpaint": Operation.INPAINT,
    "outpaint": Operation.OUTPAINT,
    "replaceBackground": Operation.REPLACE_BACKGROUND,
    "generateBackground": Operation.REPLACE_BACKGROUND,  # the same with a mask that says where the background is
    "eraseRegion": Operation.ERASE,
    "vectorize": Operation.VECTORIZE,
    "removeBackground": Operation.REMOVE_BACKGROUND,
    "crispUpscale": Operation.UPSCALE,
    "creativeUpscale": Operation.UPSCALE,
}
_VARIANTS = {"generations/raster": "generations", "generations/vector": "generations"}
_NOT_OURS = (  # explore and its kin work on pictures that only Recraft has
    ("POST", "/images/explore"),
    ("POST", "/images/explore/similar"),
    ("POST", "/images/variateImage"),
    ("POST", "/prompts/enhance"),
    ("GET", "/styles"),
    ("POST", "/styles"),
    ("GET", "/styles/basic"),
    ("GET", "/styles/{id}"),
    ("DELETE", "/styles/{id}"),
    ("GET", "/users/me"),
)
ROUTES: tuple[Route, ...] = (
    *(Route("POST", f"/images/{name}", Action.CREATE, name) for name in (*_ENDPOINTS, *_VARIANTS)),
    *(Route(method, path, Action.PASS) for method, path in _NOT_OURS),
)
CLIENT_OPERATIONS = frozenset(_ENDPOINTS.values())
PROVIDER_OPERATIONS = CLIENT_OPERATIONS
AUTH = Auth("Authorization", "Bearer")
TAKES_URLS = True
OPTIONS = frozenset({"sizes", "lacks"})

CREDIT = 0.001  # dollars
HALF_WAY = 0.5
_TOOLS = frozenset({Operation.ERASE, Operation.VECTORIZE, Operation.REMOVE_BACKGROUND, Operation.UPSCALE})  # no model
_FILES = frozenset({"vectorize", "removeBackground", "crispUpscale", "creativeUpscale"})  # call the picture ``file``
_MASKED = frozenset({"inpaint", "generateBackground", "eraseRegion"})
_VECTOR_STYLES = frozenset({"vector_illustration", "icon", "vector art"})
_SIDES = ("left", "top", "right", "bottom")
_READ = frozenset(
    {"prompt", "model", "n", "size", "negative_prompt", "random_seed", "strength", "response_format", "image_format"}
    | {"image_url", "mask_url", "style_reference_urls", *(f"expand_{side}" for side in _SIDES)}
)

# --------------------------------------------------------------------------------------------------------- client face


def read_request(call: ClientCall) -> MediaRequest:
    """Any of the endpoints, as JSON with the pictures by URL or data URL, or as multipart. Raises InvalidRequest."""
    endpoint = _VARIANTS.get(call.route, call.route)
    operation = _ENDPOINTS[endpoint]
    given, files = forms.read_form(call.body, call.headers.get("content-type", ""))
    size, aspect = _read_size(given)
    extras = {name: value for name, value in given.items() if name not in _READ}
    wants_url = fields.read_choice(given, "response_format", ("url", "b64_json")) != "b64_json"
    return MediaRequest(
        operation=operation,
        prompt=fields.read_text(given, "prompt", required=operation not in _TOOLS),
        negative_prompt=fields.read_text(given, "negative_prompt"),
        model=fields.read_text(given, "model"),
        n=1 if operation in _TOOLS else fields.read_integer(given, "n", 1, 6) or 1,
        size=size,
        aspect=aspect,
        seed=fields.read_integer(given, "random_seed", 0, 2**32 - 1),
        strength=fields.read_number(given, "strength", 0, 1),
        references=() if endpoint == "generations" else (_read_picture(given, files, ("image", "file")),),
        style_references=_read_style_references(given),
        mask=_read_mask(given, files) if endpoint in _MASKED else None,
        margins=_read_margins(given),
        format="svg" if _is_vector(call.route, given) else fields.read_choice(given, "image_format", ("png", "webp")),
        delivery=Delivery.URL if wants_url else Delivery.B64,
        extras={NAME: extras} if extras else {},
        ask=call.ask,
    )


def _read_size(given: Mapping[str, Any]) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    size = fields.read_text(given, "size")
    if ":" in size:
        return None, fields.read_aspect(size, "size")
    return fields.read_size(size, "size") if size and size != "auto" else None, None


def _read_picture(given: Mapping[str, Any], files: Mapping[str, list[Media]], names: tuple[str, ...]) -> Media:
    """The picture of the first of ``names``, each a file or, as ``name_url``, a text."""
    for name in names:
        if found := files.get(name):
            return found[0]
        if url := given.get(f"{name}_url"):
            return imaging.read_picture(url, f"{name}_url")
    raise InvalidRequest(names[0], f"{names[0]} is required, as a file or as {names[0]}_url")


def _read_mask(given: Mapping[str, Any], files: Mapping[str, list[Media]]) -> Media:
    """White = change here as in the canon."""
    mask = _read_picture(given, files, ("mask",))
    return mask if mask.url else imaging.mask_from_grey(mask.data, "mask")


def _read_style_references(given: Mapping[str, Any]) -> tuple[Media, ...]:
    urls = given.get("style_reference_urls", [])
    named = urls if isinstance(urls, list) else [urls]
    return tuple(imaging.read_picture(url, "style_reference_urls") for url in named)


def _read_margins(given: Mapping[str, Any]) -> Margins | None:
    edges = {side: fields.read_integer(given, f"expand_{side}", 0, 4096) or 0 for side in _SIDES}
    return Margins(**edges) if any(edges.values()) else None


def _is_vector(route: str, given: Mapping[str, Any]) -> bool:
    """SVG follows from the endpoint, from the model, whose name then ends so, or from the style."""
    style = fields.read_text(given, "style").partition("/")[0].lower()
    asked = route == "generations/vector" or fields.read_text(given, "model").endswith("_vector")
    return asked or style in _VECTOR_STYLES or route == "vectorize"


def write_reply(result: MediaResult, request: MediaRequest) -> ClientReply:
    """One ``image`` from the endpoints that work on a picture without a model, a list from the others."""
    images = [
        _image(artifact, f"{result.id}/{number}", request.delivery) for number, artifact in enumerate(result.artifacts)
    ]
    found = {"image": images[0]} if request.operation in _TOOLS else {"data": images}
    spent = round((result.usage.cost_usd or 0) / CREDIT)  # required, so 0 where no upstream named a cost
    return ClientReply(200, orjson.dumps({"created": int(result.created), "credits": spent, **found}))


def _image(artifact: Artifact, name: str, delivery: Delivery) -> dict[str, str]:
    image = {"image_id": str(uuid5(NAMESPACE_URL, name)), **replies.write_picture(artifact, delivery)}
    return image | ({"revised_prompt": artifact.revised_prompt} if artifact.revised_prompt else {})


def write_error(failure: Failure, request: MediaRequest | None) -> ClientReply:
    """``code`` and ``message``, which OpenAI's SDK reads too. A refusal has one code, whoever it was that refused."""
    code = "moderation_blocked" if failure.cause is Cause.REFUSED else failure.code or failure.cause.label
    body = {"code": code, "message": failure.message} | ({"param": failure.field} if failure.field else {})
    return ClientReply(failure.http_status, orjson.dumps(body), headers=replies.retry_headers(failure))


# ------------------------------------------------------------------------------------------------------- provider face

_PROMPTED = frozenset({"n", "seed", "negative_prompt", "format"})
_SIZES = frozenset({"size", "aspect", "resolution"})
_CALLS = {  # the endpoint, and the canonical fields it takes
    Operation.GENERATE: ("generations", _PROMPTED | _SIZES | {"style_references"}),
    Operation.EDIT: ("imageToImage", _PROMPTED | {"references", "strength"}),
    Operation.INPAINT: ("inpaint", _PROMPTED | {"references", "mask"}),
    Operation.OUTPAINT: ("outpaint", _PROMPTED | _SIZES | {"references", "margins"}),
    Operation.REPLACE_BACKGROUND: ("replaceBackground", _PROMPTED | {"references", "mask"}),
}
_TOOL_FIELDS = frozenset({"format", "references", "mask"})


def write_request(request: MediaRequest, target: Target) -> UpstreamCall:
    """JSON where there is no picture or one is behind a URL, else multipart. Raises InvalidRequest for a mask that is
    no picture."""
    is_tool = request.operation in _TOOLS
    endpoint, taken = (target.remote, _TOOL_FIELDS) if is_tool else _CALLS[request.operation]
    if request.operation is Operation.REPLACE_BACKGROUND and request.mask:
        endpoint = "generateBackground"
    lacks = frozenset(target.options.get("lacks", ()))
    taken = _told(request, taken - lacks)
    extras = request.extras.get(NAME, {})
    pictures = _pictures(request, endpoint) if "references" in taken and request.references else {}
    styles = [imaging.data_uri(media) for media in request.style_references] if "style_references" in taken else []
    body = {
        **{name: value for name, value in extras.items() if name not in lacks},
        **({} if is_tool else {"prompt": request.prompt, "model": target.remote}),
        **_plain(request, target, taken),
        **({"style_reference_urls": styles} if styles else {}),
        "response_format": "b64_json",
    }
    kind, encoded = _encode(body, pictures)
    dropped = list(fields.dropped_fields(request, NAME, taken if is_tool else {"prompt", *taken}))
    return UpstreamCall(
        "POST",
        f"{target.base_url}/images/{endpoint}",
        {"Content-Type": kind},
        encoded,
        dropped=(*dropped, *(f"{NAME}.{name}" for name in extras if name in lacks)),
        media=len(pictures) + len(styles),
    )


def _told(request: MediaRequest, taken: frozenset[str]) -> frozenset[str]:
    """What of ``taken`` can be told: margins leave no room for a size, and there is no JPEG."""
    untold = _SIZES if request.margins and "margins" in taken else frozenset()
    return taken - untold - ({"format"} if request.format == "jpeg" else set())


def _pictures(request: MediaRequest, endpoint: str) -> dict[str, Media]:
    pictures = {"file" if endpoint in _FILES else "image": request.references[0]}
    if request.mask and endpoint in _MASKED:
        pictures["mask"] = request.mask if request.mask.url else imaging.mask_to_binary(request.mask.data)
    return pictures


def _plain(request: MediaRequest, target: Target, taken: Set[str]) -> dict[str, Any]:
    """The fields that are neither pictures nor the prompt; only those the caller set, but for the strength."""
    told: dict[str, Any] = {}
    if "n" in taken and request.n > 1:
        told["n"] = request.n
    if "negative_prompt" in taken and request.negative_prompt:
        told["negative_prompt"] = request.negative_prompt
    if "seed" in taken and request.seed is not None:
        told["random_seed"] = request.seed % 2**32
    if "strength" in taken:
        told["strength"] = HALF_WAY if request.strength is None else request.strength
    if "format" in taken and request.format in ("png", "webp"):  # SVG follows from the model
        told["image_format"] = request.format
    if "margins" in taken and request.margins:
        return told | {f"expand_{side}": getattr(request.margins, side) for side in _SIDES}
    if "size" in taken and (size := _size(request, target.options)):
        told["size"] = size
    return told


def _size(request: MediaRequest, options: Mapping[str, Any]) -> str:
    asked = request.dimensions()
    if asked is None:
        return ""
    if sizes := options.get("sizes"):
        return fields.nearest_size(asked, sizes)
    if request.size is None and request.aspect:
        return f"{request.aspect[0]}:{request.aspect[1]}"
    return f"{asked[0]}x{asked[1]}"


def _encode(body: Mapping[str, Any], pictures: Mapping[str, Media]) -> tuple[str, bytes]:
    if pictures and not any(media.url for media in pictures.values()):
        return forms.write_multipart(forms.form_parts({**body, **pictures}))
    names = {"image": "image_url", "file": "image_url", "mask": "mask_url"}
    urls = {names[name]: imaging.data_uri(media) for name, media in pictures.items()}
    return "application/json", orjson.dumps({**body, **urls})


_REFUSAL_WORDS = ("moderation", "nsfw", "content policy", "content_policy")
_BALANCE_WORDS = ("not_enough_credits", "not enough credits", "insufficient credits")


def read_reply(reply: UpstreamReply) -> Step:
    answer = replies.read_answer(reply.body)
    if not 200 <= reply.status < 300:
        return _read_failure(reply, answer)
    data = answer.get("data")
    artifacts = tuple(replies.read_pictures([*(data if isinstance(data, list) else ()), answer.get("image")]))
    if not artifacts:
        return Failed(Cause.MALFORMED, "the answer has no picture")
    spent = answer.get("credits")
    cost = spent * CREDIT if isinstance(spent, int | float) and spent >= 0 else None
    return Done(artifacts, Usage(cost_usd=cost))


def _read_failure(reply: UpstreamReply, answer: Mapping[str, Any]) -> Failed:
    error = replies.read_error_object(answer)
    return Failed(
        _read_cause(reply.status, f"{error.code} {error.message}".lower()),
        replies.excerpt(error.message or error.code) or f"HTTP {reply.status} without a message",
        retry_after=replies.retry_after(reply.headers),
        code=replies.excerpt(error.code, 80),
    )


def _read_cause(status: int, said: str) -> Cause:
    """Which field of a bad request is to blame is not said, so none is taken for the caller's own."""
    if 400 <= status < 500 and any(word in said for word in _REFUSAL_WORDS):
        return Cause.REFUSED
    if any(word in said for word in _BALANCE_WORDS):
        return Cause.DENIED
    return replies.cause_of(status)
