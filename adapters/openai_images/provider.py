"""What OpenAI, Azure OpenAI and the servers that speak OpenAI's dialect take, and what their answers mean.

Called by the proxy through the registry. Must not know any model: how one deployment differs from the next is said by
its options in the catalog:

    quality            always this quality, whatever was asked: the price of a deployment is that of one quality
    sizes              the sizes it takes ("1536x1024", or "16:9" where it is told ratios); the nearest in shape is sent
    size_multiple, min_edge, max_edge, min_pixels, max_pixels
                       where it takes any size within limits; the size asked for is brought within them
    fields             canonical field -> the server's name of it ({seed: random_seed}); null: it has no such field.
                       ``references`` names a JSON field of the generation that lists them as base64, for servers
                       without an edit of their own; ``loras`` one that takes a single {name, path, scale}
    negative_after     the sign behind which the prompt carries the negative prompt
    mask               white: the server's mask is grey and white where to change, not transparent there
    edit_path          the path of an edit, where it is not /images/edits
    response_format    sent as it is; only to servers that are not OpenAI's, whose GPT image models refuse the field
    streams            it can send partial pictures as events
    api_version        Azure's paths by deployment, /deployments/{remote}/images/..., with this api-version, below a
                       base URL that ends in /openai. Without it Azure is as OpenAI, below /openai/v1. That its key
                       goes in the header api-key is said by the Provider

How that tells of the servers people run themselves (their sources, seen 2026-11-21):

    vLLM-Omni 0.30     fields {seed: seed, negative_prompt: negative_prompt, steps: num_inference_steps,
                       guidance: guidance_scale or true_cfg_scale, strength: strength, mask: mask_image, loras: lora,
                       quality: null}, mask white. An edit is multipart only. Few of its pipelines look at the mask
    SGLang 0.5.23      the same fields but strength, mask and loras: an edit takes the part ``mask`` and ignores it.
                       response_format b64_json, since it answers with paths of its own otherwise
    LocalAI            fields {steps: step, references: files or ref_images, quality: null, background: null,
                       format: null, compression: null, user: null}, negative_after "|", response_format b64_json.
                       An inpaint is a deployment beside it: edit_path /images/inpainting, mask white, fields
                       {steps: steps, n: null, size: null, ...}; it answers with a URL of its own
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import quote

import orjson

from adapters import fields, forms, imaging, replies
from adapters.ir import (
    Artifact,
    Auth,
    Cause,
    Done,
    Failed,
    InvalidRequest,
    Media,
    MediaRequest,
    Partial,
    Step,
    Target,
    UpstreamCall,
    UpstreamReply,
    Usage,
)
from adapters.openai_images.dialect import NAME, OPERATIONS, REFUSED

AUTH = Auth("Authorization", "Bearer")
PROVIDER_OPERATIONS = OPERATIONS
TAKES_URLS = False  # OpenAI does, in JSON; servers that resemble it take multipart only, and a mask needs its bytes
OPTIONS = frozenset(
    {"quality", "sizes", "size_multiple", "min_edge", "max_edge", "min_pixels", "max_pixels", "fields"}
    | {"negative_after", "mask", "edit_path", "response_format", "streams", "api_version"}
)

_FIELDS: Mapping[str, str | None] = {
    "n": "n",
    "size": "size",
    "quality": "quality",
    "background": "background",
    "format": "output_format",
    "compression": "output_compression",
    "user": "user",
    "mask": "mask",
}
_PICTURES = frozenset({"references", "mask"})  # no plain fields of the body

# -------------------------------------------------------------------------------------------------- writing the request


def write_request(request: MediaRequest, target: Target) -> UpstreamCall:
    """A generation, or an edit where there are references: multipart as the SDK sends it, or JSON where a reference is
    behind a URL. A mask whose bytes are not known cannot be given the server's polarity, so it is not carried. Raises
    InvalidRequest for a mask that is no picture."""
    options, references, mask = target.options, request.references, None
    names = {**_FIELDS, **options.get("fields", {})}
    body, carried = _body(request, target, names)
    streams = bool(request.stream and request.partials and options.get("streams"))
    if streams:
        body |= {"stream": True, "partial_images": request.partials}
        carried.add("partials")
    if references:
        carried.add("references")
    if references and not names.get("references"):
        path = options.get("edit_path", "/images/edits")
        if mask := _mask(request, names, options):
            carried.add("mask")
        kind, encoded = _write_edit(body, references, mask)
    else:
        path = "/images/generations"
        kind, encoded = _write_json(body | _listed(references, names))
    untold = (f"{NAME}.{name}" for name in request.extras.get(NAME, {}) if name not in body)
    return UpstreamCall(
        "POST",
        _url(target, path),
        headers={"Content-Type": kind},
        body=encoded,
        dropped=(*fields.dropped_fields(request, NAME, carried), *untold),
        media=len(references) + (mask is not None),
        stream=streams,
    )


def _url(target: Target, path: str) -> str:
    version = target.options.get("api_version")
    if not version:
        return f"{target.base_url}{path}"
    query = f"api-version={quote(str(version))}"  # YAML reads a bare 2024-10-21 as a date
    return f"{target.base_url}/deployments/{quote(target.remote, safe='')}{path}?{query}"


def _body(request: MediaRequest, target: Target, names: Mapping[str, str | None]) -> tuple[dict[str, Any], set[str]]:
    """Every field but the pictures, and the names of the canonical ones among them."""
    options = target.options
    body: dict[str, Any] = {"prompt": _prompt(request, options), "model": target.remote}
    carried = {"prompt", *(("negative_prompt",) if options.get("negative_after") else ())}
    shaped = {"n": request.n if request.n > 1 else None, "size": _size(request, options), "loras": _lora(request)}
    for canonical, name in names.items():
        if not name or canonical in _PICTURES:
            continue
        value = shaped[canonical] if canonical in shaped else getattr(request, canonical)
        if value not in (None, ""):
            body[name] = value
            carried |= {"size", "aspect", "resolution"} if canonical == "size" else {canonical}
    unknown = {name for canonical, name in _FIELDS.items() if not names[canonical]}
    body |= {name: value for name, value in request.extras.get(NAME, {}).items() if name not in unknown}
    fixed = options.get("quality")
    if fixed and request.quality:
        carried.discard("quality")
        carried |= {"quality"} if body.get("quality") == fixed else set()
    body |= {name: options[name] for name in ("quality", "response_format") if options.get(name)}
    return body, carried


def _prompt(request: MediaRequest, options: Mapping[str, Any]) -> str:
    """The sign before the negative prompt may stand nowhere else: the server splits at each."""
    sign = options.get("negative_after")
    if not sign:
        return request.prompt
    parts = (request.prompt, request.negative_prompt)
    return str(sign.join(part.replace(sign, ",") for part in parts if part))


def _lora(request: MediaRequest) -> Any:
    """An object, or in the multipart of an edit the text of it. Its name has to be there and may be anything."""
    if len(request.loras) != 1:
        return None
    [lora] = request.loras
    value = {"name": lora.path, "path": lora.path, "scale": lora.scale}
    return orjson.dumps(value).decode() if request.references else value


def _listed(references: tuple[Media, ...], names: Mapping[str, str | None]) -> dict[str, list[str]]:
    """The references as a field of a generation."""
    field = names.get("references")
    if not field or not references:
        return {}
    return {field: [media.url or imaging.encode_base64(media.data) for media in references]}


def _mask(
    request: MediaRequest, names: Mapping[str, str | None], options: Mapping[str, Any]
) -> tuple[str, Media] | None:
    """The part's name, and the mask in the server's polarity."""
    name, mask = names["mask"], request.mask
    if not name or not mask or not mask.data:
        return None
    return name, mask if options.get("mask") == "white" else imaging.mask_to_alpha(mask.data)


def _size(request: MediaRequest, options: Mapping[str, Any]) -> str:
    asked = request.dimensions()
    if asked is None:
        return ""
    if sizes := options.get("sizes"):
        return _nearest_size(asked, sizes)
    width, height = fields.snap(
        asked,
        options.get("size_multiple", 1),
        options.get("min_edge", 1),
        options.get("max_edge", fields.MAX_EDGE),
        options.get("max_pixels", imaging.MAX_PIXELS),
        options.get("min_pixels", 1),
    )
    return f"{width}x{height}"


def _nearest_size(asked: tuple[int, int], sizes: Iterable[str]) -> str:
    """The nearest in shape; of those, the smallest with at least the pixels asked for, else the largest."""

    def rank(size: str) -> tuple[float, bool, int]:
        width, height = (int(edge) for edge in size.replace(":", "x").split("x"))
        ratio = asked[0] * height / (asked[1] * width)
        missing = asked[0] * asked[1] - width * height
        return round(max(ratio, 1 / ratio), 3), missing > 0, abs(missing)

    return min(sizes, key=rank)


def _write_json(body: Mapping[str, Any]) -> tuple[str, bytes]:
    return "application/json", orjson.dumps({name: _as_json(value) for name, value in body.items()})


def _as_json(value: Any) -> Any:
    match value:
        case Media():
            return {"image_url": imaging.data_uri(value)}
        case list() | tuple():
            return [_as_json(item) for item in value]
        case _:
            return value


def _write_edit(
    body: Mapping[str, Any], references: tuple[Media, ...], mask: tuple[str, Media] | None
) -> tuple[str, bytes]:
    if any(media.url for media in references):
        return _write_json({**body, "images": references, **dict([mask] if mask else [])})
    parts = [part for name, value in body.items() for part in _parts(name, value)]
    parts += [_file_part("image" if len(references) == 1 else "image[]", media) for media in references]
    if mask:
        parts.append(_file_part(*mask))
    return forms.write_multipart(parts)


def _parts(name: str, value: Any) -> Iterator[tuple[str, str, str, bytes]]:
    """A field as the SDK spells it in multipart: nested objects as name[key], lists as name[]."""
    match value:
        case Media():
            yield _file_part(name, value)
        case Mapping():
            for key, item in value.items():
                yield from _parts(f"{name}[{key}]", item)
        case list() | tuple():
            for item in value:
                yield from _parts(f"{name.removesuffix('[]')}[]", item)
        case bool():
            yield name, "", "", b"true" if value else b"false"
        case None:
            pass
        case _:
            yield name, "", "", str(value).encode()


def _file_part(name: str, media: Media) -> tuple[str, str, str, bytes]:
    mime = imaging.sniff_mime(media.data) or media.mime or "image/png"
    return name, f"image.{mime.partition('/')[2]}", mime, media.data


# --------------------------------------------------------------------------------------------------- reading the answer

_REFUSALS = frozenset(
    {REFUSED, "content_policy_violation", "content_filter"}
    | {"contentFilter", "ResponsibleAIPolicyViolation"}  # Azure's, of older models
)
_BALANCE = frozenset({"insufficient_quota", "billing_hard_limit_reached"})  # 429 and 400, but waiting does not help
_REFUSAL_WORDS = ("moderation", "nsfw", "content policy", "safety system")  # servers without a code for it: Recraft
_STATUSES = {"invalid_request_error": 400, "image_generation_user_error": 400, "rate_limit_error": 429}  # by type
_CALLERS = ("prompt", "image", "images", "mask")  # parameters that are the caller's, not our translation of them


def read_reply(reply: UpstreamReply) -> Step:
    """Pictures, or why not. The pictures of a server that answers with URLs are left behind them."""
    answer = replies.read_answer(reply.body)
    if not 200 <= reply.status < 300:
        return _read_failure(reply.status, answer, replies.retry_after(reply.headers))
    if answer.get("error"):
        return _read_late_failure(answer)
    artifacts = tuple(_read_artifacts(answer.get("data")))
    if not artifacts:
        return Failed(Cause.MALFORMED, "the answer has no picture")
    return Done(artifacts, _read_usage(answer))


def _read_artifacts(data: object) -> Iterator[Artifact]:
    for item in data if isinstance(data, list) else ():
        if not isinstance(item, dict):
            continue
        media = _read_media(item)
        revised = item.get("revised_prompt")
        if media:
            yield Artifact(media, revised_prompt=revised if isinstance(revised, str) else "")


def _read_media(item: Mapping[str, Any]) -> Media | None:
    value = item.get("b64_json") or item.get("url")
    try:
        return imaging.read_picture(value, "data")
    except InvalidRequest:
        return None


def _read_usage(answer: Mapping[str, Any]) -> Usage:
    usage = answer.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    tokens_in, tokens_out = counts.get("input_tokens"), counts.get("output_tokens")
    return Usage(
        input_tokens=tokens_in if isinstance(tokens_in, int) else None,
        output_tokens=tokens_out if isinstance(tokens_out, int) else None,
    )


def _read_late_failure(answer: Mapping[str, Any]) -> Failed:
    """An error that came after a status of 200, and so has none of its own."""
    error = answer["error"]
    return _read_failure(_STATUSES.get(str(error.get("type")), 500) if isinstance(error, dict) else 500, answer)


def _read_failure(status: int, answer: Mapping[str, Any], retry_after: float | None = None) -> Failed:
    """Also reads the shapes of servers that only resemble OpenAI: FastAPI's ``detail``, a bare ``message``."""
    found = answer.get("error") or answer.get("detail") or answer
    error = found if isinstance(found, dict) else {"message": found}
    message = error.get("message") or ""
    message = message if isinstance(message, str) else orjson.dumps(message).decode()
    code = str(error.get("code") or error.get("type") or "")
    return Failed(
        _read_cause(status, error, message),
        replies.excerpt(message) or f"HTTP {status} without a message",
        retry_after=retry_after,
        code=replies.excerpt(code, 80),
    )


def _read_cause(status: int, error: Mapping[str, Any], message: str) -> Cause:
    """Servers differ in where they put the name of what is wrong; Azure has another error inside, in two spellings."""
    inner = error.get("innererror") or error.get("inner_error")
    names = {str(entry.get(key)) for entry in (error, inner) if isinstance(entry, dict) for key in ("code", "type")}
    if names & _REFUSALS:
        return Cause.REFUSED
    if names & _BALANCE:
        return Cause.DENIED
    if status in (400, 422):
        return _read_bad_request(error, message)
    return replies.cause_of(status)


def _read_bad_request(error: Mapping[str, Any], message: str) -> Cause:
    """The caller's fault only where the error names a field that is the caller's own and is not about a limit that
    another provider may not have."""
    parameter = str(error.get("param") or "").partition("[")[0]
    if parameter != "moderation" and any(word in message.lower() for word in _REFUSAL_WORDS):
        return Cause.REFUSED
    if parameter in _CALLERS and "max_length" not in str(error.get("code")):
        return Cause.INVALID
    return Cause.INVALID if error.get("type") == "image_generation_user_error" else Cause.UNSUPPORTED


def read_event(event: bytes) -> Partial | Done | Failed | None:
    """One event of a streamed generation or edit. A stream of several pictures has a Done for each of them."""
    lines = (line.removeprefix(b"data:").strip() for line in event.splitlines() if line.startswith(b"data:"))
    data = b"\n".join(lines)
    if not data or data == b"[DONE]":
        return None
    answer = replies.read_answer(data)
    if not answer:
        return Failed(Cause.MALFORMED, "an event of the stream is not JSON")
    if answer.get("error"):
        return _read_late_failure(answer)
    kind, media = str(answer.get("type")), _read_media(answer)
    if kind.endswith(".completed"):
        if media is None:
            return Failed(Cause.MALFORMED, "the finished event has no picture")
        return Done((Artifact(media),), _read_usage(answer))
    if kind.endswith(".partial_image") and media:
        index = answer.get("partial_image_index")
        return Partial(Artifact(media), index if isinstance(index, int) else 0)
    return None
