"""Answers, theirs and ours: what a provider's status and words mean, and the error object that many wires share.

Called by the wires. Pure: values in, values out. Must not know any provider.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

import orjson

from adapters import imaging
from adapters.ir import Artifact, Cause, ClientReply, Delivery, Failed, Failure, InvalidRequest, UpstreamReply


def json_reply(status: int, value: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> ClientReply:
    return ClientReply(status, orjson.dumps(value), headers=headers or {})


_CAUSES = {
    401: Cause.DENIED,
    402: Cause.DENIED,
    403: Cause.DENIED,
    408: Cause.UNAVAILABLE,
    429: Cause.THROTTLED,
    504: Cause.AMBIGUOUS,
}

_ENCODED = re.compile(r"[A-Za-z0-9+/_-]{64,}={0,2}")  # base64, or a key


def read_answer(body: bytes) -> dict[str, Any]:
    """The JSON object a provider answered with; empty where it is none."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def cause_of(status: int) -> Cause:
    """What an HTTP status alone says of a failed call. A wire that knows better from the body asks that first."""
    if status in _CAUSES:
        return _CAUSES[status]
    if 400 <= status < 500:
        return Cause.UNSUPPORTED
    return Cause.UNAVAILABLE if 500 <= status < 600 else Cause.MALFORMED


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by ``retry-after-ms`` or ``retry-after``; None where there is neither, or a date."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit
        except ValueError:
            continue
        if 0 <= seconds < 1e6:  # NaN is outside too
            return seconds
    return None


def excerpt(text: str, limit: int = 300) -> str:
    """A provider's own words, short enough for a message, on one line and without base64."""
    line = " ".join(_ENCODED.sub("...", text).split())
    return line if len(line) <= limit else line[: limit - 3] + "..."


@dataclass(frozen=True, slots=True)
class ErrorObject:
    """What OpenAI's error object says; "" for what it leaves out."""

    message: str
    type: str
    code: str
    param: str


def read_error_object(answer: Mapping[str, Any]) -> ErrorObject:
    """The error object, or what stands in its place: a sentence with its code beside it, FastAPI's ``detail``, a bare
    ``message``."""
    found = answer.get("error") or answer.get("detail") or answer
    error = found if isinstance(found, dict) else {"message": found, "code": answer.get("code")}
    message = error.get("message") or ""
    message = message if isinstance(message, str) else orjson.dumps(message).decode()
    return ErrorObject(message, *(str(error.get(name) or "") for name in ("type", "code", "param")))


_ERROR_TYPES = {Cause.REFUSED: "image_generation_user_error", Cause.THROTTLED: "rate_limit_error"}

_ERROR_CODES = {Cause.THROTTLED: "rate_limit_exceeded", Cause.INVALID: None, Cause.UNSUPPORTED: None}


def write_error_object(failure: Failure, refused: str = "moderation_blocked") -> dict[str, Any]:
    """The body of an error answer. ``refused`` is the code that apps look for, whichever provider has refused."""
    kind = _ERROR_TYPES.get(failure.cause, "invalid_request_error" if failure.http_status < 500 else "server_error")
    code = failure.code or _ERROR_CODES.get(failure.cause, failure.cause.label)
    code = refused if failure.cause is Cause.REFUSED else code
    return {"error": {"message": failure.message, "type": kind, "param": failure.field or None, "code": code}}


def retry_headers(failure: Failure) -> dict[str, str]:
    """What OpenAI's SDK, and those made from it, obey: ``x-should-retry: false`` keeps them from buying a picture again
    by themselves."""
    headers = {} if failure.cause.caller_may_retry else {"x-should-retry": "false"}
    if failure.retry_after is not None:
        headers["Retry-After"] = str(ceil(failure.retry_after))
    return headers


def failed(cause: Cause, error: ErrorObject, reply: UpstreamReply) -> Failed:
    """The step that a reply with this error is."""
    return Failed(
        cause,
        excerpt(error.message) or f"HTTP {reply.status} without a message",
        retry_after=retry_after(reply.headers),
        code=excerpt(error.code or error.type, 80),
    )


def read_pictures(data: object) -> Iterator[Artifact]:
    """The pictures in a reply's ``data``. An item without one, such as an error in its place, is passed over."""
    for item in data if isinstance(data, list) else ():
        if not isinstance(item, dict):
            continue
        try:
            media = imaging.read_picture(item.get("b64_json") or item.get("url"), "data")
        except InvalidRequest:
            continue
        revised = item.get("revised_prompt")
        yield Artifact(media, revised_prompt=revised if isinstance(revised, str) else "")


def write_picture(artifact: Artifact, delivery: Delivery) -> dict[str, str]:
    """The item of a reply's ``data`` that names one picture."""
    return {"url" if delivery is Delivery.URL else "b64_json": imaging.deliver(artifact.media, delivery)}
