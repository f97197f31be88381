"""The client face of Ideogram: the endpoints of 3.0 and 4.0, the tools, and the asynchronous ones with their webhooks.

Knows what callers of API v1 send and expect. Mounted by the registry; the proxy calls it. Must not know a model: which
one was meant is told by the path. What does no work on pictures (describing, prompts, training), the legacy endpoints
and API v2 are handed on to Ideogram as they are.

A character reference is a reference like any other to the canon, after the picture that is worked on; how many there
are is kept for Ideogram itself. A JSON prompt is the prompt, word for word.
"""

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b, sha256
from math import ceil
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from adapters import fields, forms, imaging
from adapters.ideogram.terms import CHARACTERS, FASTEST, NAME, SPEEDS
from adapters.ir import (
    Action,
    Artifact,
    Cause,
    ClientCall,
    ClientReply,
    Delivery,
    Failure,
    InvalidRequest,
    Job,
    JobState,
    Media,
    MediaRequest,
    MediaResult,
    Operation,
    Route,
    Webhook,
    WebhookCall,
)

PREFIX = "/ideogram"
VERSIONS: tuple[str, ...] = ("",)  # the version is part of each path, and not all have one
ALIASES: tuple[str, ...] = ()
_OPERATIONS = {
    "generate": Operation.GENERATE,
    "generate-transparent": Operation.GENERATE,
    "remix": Operation.EDIT,
    "inpaint": Operation.INPAINT,
    "reframe": Operation.OUTPAINT,
    "replace-background": Operation.REPLACE_BACKGROUND,
    "edit": Operation.EDIT,
    "remove-background": Operation.REMOVE_BACKGROUND,
    "upscale": Operation.UPSCALE,
}
_FAMILY = "/v1/{model:ideogram-v[0-9]+}"
_FAMILY_ACTIONS = ("generate", "generate-transparent", "remix", "inpaint", "reframe", "replace-background")
_ASYNC, _ASYNC_ACTIONS = "async/", ("generate", "generate-transparent")
_NOT_OURS = (
    *(("POST", path) for path in ("/generate", "/edit", "/remix", "/reframe", "/describe")),  # legacy
    *(("POST", f"{_FAMILY}/{name}") for name in ("describe", "magic-prompt", "layerize-text", "train-model")),
    *((method, path) for path in ("/datasets", "/datasets/{rest:.+}") for method in ("GET", "POST")),
    *(("GET", path) for path in ("/models", "/models/{id}")),
    *((method, "/v2/{rest:.+}") for method in ("GET", "POST")),
)
ROUTES: tuple[Route, ...] = (
    *(Route("POST", f"{_FAMILY}/{name}", Action.CREATE, name) for name in _FAMILY_ACTIONS),
    Route("POST", f"{_FAMILY}/edit", Action.CREATE, "inpaint"),  # its name until April 2026
    Route("POST", "/v1/edit", Action.CREATE, "edit"),
    Route("POST", "/v1/remove-background", Action.CREATE, "remove-background"),
    Route("POST", "/upscale", Action.CREATE, "upscale"),
    *(Route("POST", f"{_FAMILY}/{_ASYNC}{name}", Action.SUBMIT, f"{_ASYNC}{name}") for name in _ASYNC_ACTIONS),
    Route("GET", "/v1/generations/{id}", Action.POLL, "generation"),
    Route("GET", "/v1/.well-known/jwks.json", Action.SECRET, "keys"),
    *(Route(method, path, Action.PASS) for method, path in _NOT_OURS),
)
CLIENT_OPERATIONS = frozenset(_OPERATIONS.values())

ACCOUNT = "muxel"  # in webhooks, where Ideogram names the account
_PICTURES = {
    **dict.fromkeys(("remix", "inpaint", "reframe", "replace-background", "remove-background"), "image"),
    "upscale": "image_file",
}
_PROMPT_OPTIONAL = frozenset({"reframe", "remove-background", "upscale"})
_QUALITIES = {FASTEST: "low", **{speed: quality for quality, speed in SPEEDS.items()}}
_READ = frozenset(
    {"prompt", "text_prompt", "negative_prompt", "num_images", "seed", "resolution", "aspect_ratio", "rendering_speed"}
    | {"image_weight", "image_urls", "image_urls[]", "transparent_background", "webhook_url"}
)
_READ_FILES = frozenset({"image", "image_file", "images", "mask", "style_reference_images", CHARACTERS})

# ------------------------------------------------------------------------------------------------------------- requests


def read_request(call: ClientCall) -> MediaRequest:
    """Any endpoint, as multipart or, where there is no file, as JSON. Raises InvalidRequest."""
    action = call.route.removeprefix(_ASYNC)
    given, files = forms.read_form(call.body, call.headers.get("content-type", ""))
    if action == "upscale":
        given, files = _read_object(given, "image_request"), {"image_file": files.get("image_file", [])}
    subject, characters = _read_subject(action, given, files), tuple(files.get(CHARACTERS, ()))
    size, aspect = _read_shape(given, required=action == "reframe")
    transparent = action == "generate-transparent" or fields.read_flag(given, "transparent_background")
    weight = fields.read_integer(given, "image_weight", 1, 100)
    return MediaRequest(
        operation=_operation(action, (*subject, *characters)),
        prompt=_read_prompt(given, required=action not in _PROMPT_OPTIONAL),
        negative_prompt=fields.read_text(given, "negative_prompt"),
        model=call.params.get("model", ""),
        n=fields.read_integer(given, "num_images", 1, 8) or 1,
        size=size,
        aspect=aspect,
        quality=_QUALITIES.get(fields.read_choice(given, "rendering_speed", _QUALITIES), ""),
        seed=fields.read_integer(given, "seed", 0, 2**31 - 1),
        strength=None if weight is None else round(1 - weight / 100, 2),
        references=(*subject, *characters),
        style_references=tuple(files.get("style_reference_images", ())),
        mask=_read_mask(files) if action == "inpaint" else None,
        background="transparent" if transparent else "",
        delivery=Delivery.URL,
        wait=0.0 if call.route.startswith(_ASYNC) else None,
        webhook=_read_webhook(call, given),
        extras=_extras(given, files, len(characters)),
        ask=call.ask,
    )


def _operation(action: str, references: tuple[Media, ...]) -> Operation:
    """A picture of a person makes a generation an edit, and without a picture there is nothing to edit."""
    if action in ("generate", "edit"):
        return Operation.EDIT if references else Operation.GENERATE
    return _OPERATIONS[action]


def _read_prompt(given: Mapping[str, Any], *, required: bool) -> str:
    """``text_prompt`` of 4.0 or ``prompt``; or 4.0's JSON prompt, as it is."""
    structured = given.get("json_prompt")
    if structured and given.get("text_prompt"):
        raise InvalidRequest("json_prompt", "give one of text_prompt and json_prompt, not both")
    if isinstance(structured, dict):
        return orjson.dumps(structured).decode()
    name = next((name for name in ("json_prompt", "text_prompt") if given.get(name)), "prompt")
    return fields.read_text(given, name, required=required)


def _read_subject(action: str, given: Mapping[str, Any], files: Mapping[str, list[Media]]) -> tuple[Media, ...]:
    """The pictures that are worked on."""
    if action == "edit":
        urls = given.get("image_urls") or given.get("image_urls[]") or []
        named = (imaging.read_picture(url, "image_urls") for url in (urls if isinstance(urls, list) else [urls]))
        return (*files.get("images", ()), *named)
    name = _PICTURES.get(action)
    if name is None:
        return ()
    if not files.get(name):
        raise InvalidRequest(name, f"{name} is required, as a file")
    return (files[name][0],)


def _read_mask(files: Mapping[str, list[Media]]) -> Media:
    """Black = change here."""
    if "mask" not in files:
        raise InvalidRequest("mask", "mask is required, as a file")
    return imaging.mask_from_grey(files["mask"][0].data, "mask", white_is_change=False)


def _read_shape(given: Mapping[str, Any], *, required: bool) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Size or aspect; AUTO is neither."""
    resolution = fields.read_text(given, "resolution", required=required)
    aspect = fields.read_text(given, "aspect_ratio")
    if resolution and aspect:
        raise InvalidRequest("aspect_ratio", "give one of resolution and aspect_ratio, not both")
    return (
        fields.read_size(resolution, "resolution") if resolution and resolution.upper() != "AUTO" else None,
        fields.read_aspect(aspect, "aspect_ratio", "x") if aspect and aspect.upper() != "AUTO" else None,
    )


def _read_object(given: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A JSON object, also as the text of a part; empty where there is none."""
    value = given.get(name) or {}
    try:
        value = orjson.loads(value) if isinstance(value, str) else value
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise InvalidRequest(name, f"{name} must be a JSON object")
    return {key: item for key, item in value.items() if item is not None}


def _read_webhook(call: ClientCall, given: Mapping[str, Any]) -> Webhook | None:
    url = call.query.get("webhook_url") or fields.read_text(given, "webhook_url")
    if url and not url.startswith(("https://", "http://")):
        raise InvalidRequest("webhook_url", "webhook_url must be an http(s) URL")
    return Webhook(url) if url else None


def _extras(given: Mapping[str, Any], files: Mapping[str, list[Media]], characters: int) -> dict[str, dict[str, Any]]:
    """What only this wire has. FLASH is low quality to the canon, and less than that to Ideogram."""
    if CHARACTERS in given:
        raise InvalidRequest(CHARACTERS, f"{CHARACTERS} must be files")
    extras: dict[str, Any] = {name: value for name, value in given.items() if name not in _READ}
    extras |= {name: pictures for name, pictures in files.items() if name not in _READ_FILES}
    if given.get("rendering_speed") == FASTEST:
        extras["rendering_speed"] = FASTEST
    if characters:
        extras[CHARACTERS] = characters
    return {NAME: extras} if extras else {}


def read_id(call: ClientCall) -> str:
    return call.params["id"]


# -------------------------------------------------------------------------------------------------------------- answers


def write_reply(result: MediaResult, request: MediaRequest) -> ClientReply:
    return _json(200, _finished(result, request.prompt))


def _finished(result: MediaResult, prompt: str) -> dict[str, Any]:
    items = [_item(artifact, prompt) for artifact in result.artifacts]
    return {"created": _timestamp(result.created), "response_type": "url", "data": items}


def _item(artifact: Artifact, prompt: str) -> dict[str, Any]:
    """Every field is required, so a seed that nobody named is 0."""
    return {
        "url": imaging.deliver(artifact.media, Delivery.URL),
        "prompt": artifact.revised_prompt or prompt,
        "resolution": f"{artifact.width}x{artifact.height}",
        "is_image_safe": True,
        "seed": artifact.seed or 0,
    }


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def write_job(job: Job) -> ClientReply:
    if job.route.startswith(_ASYNC):
        return _json(200, {"generation_id": job.id})
    answer = {"generation_id": job.id, "status": "pending", "created": _timestamp(job.created)}
    match job:
        case Job(state=JobState.QUEUED | JobState.RUNNING):
            return _json(200, answer)
        case Job(state=JobState.SUCCEEDED, result=MediaResult() as result):
            return _json(200, {**_finished(result, _prompt(job)), **answer, "status": "completed"})
        case Job(failure=Failure(cause=Cause.EXPIRED) as failure):
            return write_error(failure, None)
        case Job(failure=Failure(cause=cause, message=message)):
            reason = {"failure_reason": "content_policy_violation"} if cause is Cause.REFUSED else {}
            return _json(200, {**answer, "status": "failed", **reason, "error": message})
        case _:
            return _json(200, {**answer, "status": "failed", "error": f"the job was {job.state}"})


def _prompt(job: Job) -> str:
    return str(job.input.get("text_prompt") or job.input.get("prompt") or "")


def write_webhook(job: Job, hook: Webhook, secret: bytes, now: float) -> WebhookCall | None:
    """Signed with Ed25519 over four lines: id, account, time, and the digest of the body. Ideogram tells of pictures
    and of those it withholds; of any other failure its callers learn when they poll."""
    match job:
        case Job(state=JobState.SUCCEEDED, result=MediaResult() as result):
            items = [_item(artifact, _prompt(job)) for artifact in result.artifacts]
        case Job(failure=Failure(cause=Cause.REFUSED)):
            items = [{"url": None, "prompt": _prompt(job), "is_image_safe": False}]
        case _:
            return None
    body = orjson.dumps({"generation_id": job.id, "created": _timestamp(job.created), "data": items})
    message = "\n".join((job.id, ACCOUNT, str(int(now)), sha256(body).hexdigest()))
    key = Ed25519PrivateKey.from_private_bytes(secret)
    headers = {
        "Content-Type": "application/json",
        "X-Ideogram-Webhook-Generation-Id": job.id,
        "X-Ideogram-Webhook-User-Id": ACCOUNT,
        "X-Ideogram-Webhook-Timestamp": str(int(now)),
        "X-Ideogram-Webhook-Key-Id": _key_id(key),
        "X-Ideogram-Webhook-Signature": key.sign(message.encode()).hex(),
    }
    return WebhookCall(body, headers)


def write_secret(secret: bytes) -> ClientReply:
    """The public half, as the key set that Ideogram publishes."""
    key = Ed25519PrivateKey.from_private_bytes(secret)
    public = urlsafe_b64encode(key.public_key().public_bytes_raw()).rstrip(b"=").decode()
    described = {"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": _key_id(key), "x": public}
    return _json(200, {"keys": [described]})


def _key_id(key: Ed25519PrivateKey) -> str:
    return blake2b(key.public_key().public_bytes_raw(), digest_size=8).hexdigest()


def write_error(failure: Failure, request: MediaRequest | None) -> ClientReply:
    """``error`` is a sentence; a refusal is a 422."""
    status = failure.status or (422 if failure.cause is Cause.REFUSED else failure.http_status)
    named = {"field": failure.field, "code": failure.code}
    body = {"error": failure.message, **{name: value for name, value in named.items() if value}}
    return _json(status, body, {} if failure.retry_after is None else {"Retry-After": str(ceil(failure.retry_after))})


def _json(status: int, value: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> ClientReply:
    return ClientReply(status, orjson.dumps(value), headers=headers or {})
