"""What callers see: the paths of the Gemini API and of Vertex AI, answers, events and Google's error object.

The registry mounts it, the proxy calls it. What a body says is read by ``content`` and ``predict``. Must not know any
provider's account.

Paths from google-genai 3.4.0 (read and captured 2026-11-21). On Vertex AI they begin with ``publishers/google``, and
with the project before it unless the caller has an express key. A client that has only a base URL sends every call to
that URL alone, without a path: the model is then nowhere and a stream looks like a call, so only what surely asks for
pictures is served, by a model the policy chooses, and as plain JSON, which the SDK reads as a stream too. All paths are
also served without a version, for an ``HttpOptions.base_url_resource_scope`` of COLLECTION.
"""

import math
from collections.abc import Iterator
from typing import Any

import orjson

from adapters.fields import read_object
from adapters.gemini import content, predict
from adapters.gemini.shapes import spelled
from adapters.ir import (
    Action,
    Cause,
    ClientCall,
    ClientReply,
    Failure,
    InvalidRequest,
    MediaRequest,
    MediaResult,
    Partial,
    PassThrough,
    Route,
)

PREFIX = "/gemini"
# Node's default, Python's default, what both can be set to, and the default of both for Vertex AI; where files go.
VERSIONS: tuple[str, ...] = ("/v1beta", "/v1", "/v1alpha", "/v1beta1", "", "/upload/v1beta", "/upload/v1")
ALIASES: tuple[str, ...] = ()

_PROJECT = "/projects/{project}/locations/{location}"
_PUBLISHERS = ("", "/publishers/google", f"{_PROJECT}/publishers/google")
_METHODS = ("generateContent", content.STREAM, predict.ROUTE)
_BARE = "bare"  # the route of a client that has only a base URL
_PASSED = (
    "models|publishers|endpoints|files|cachedContents|batches|batchPredictionJobs|operations|tunedModels|tuningJobs|"
    "fileSearchStores|corpora|agents|environments|triggers|voices|credentials|decisions|webhooks|auth_tokens"
)
ROUTES: tuple[Route, ...] = (
    *(
        Route("POST", f"{publisher}/models/{{model}}:{method}", Action.CREATE, method)
        for publisher in _PUBLISHERS
        for method in _METHODS
    ),
    Route("POST", "", Action.CREATE, _BARE),
    *(
        Route("*", f"{project}/{{collection:(?:{_PASSED})}}{{rest:.*}}", Action.PASS, "collection")
        for project in ("", _PROJECT)
    ),
)
CLIENT_OPERATIONS = content.OPERATIONS | predict.OPERATIONS


def read_request(call: ClientCall) -> MediaRequest:
    """Raises InvalidRequest, and PassThrough for a call that makes no picture."""
    given = spelled(read_object(call.body), "body")
    predicts = call.route == predict.ROUTE or (call.route == _BARE and "instances" in given)
    try:
        return predict.read_body(call, given) if predicts else content.read_body(call, given)
    except PassThrough:
        if call.route != _BARE:
            raise
        raise InvalidRequest("model", _NOWHERE) from None


_NOWHERE = (
    "this does not ask for a picture, and the path names no model to pass it on to: let the base URL end in "
    "/models/MODEL:generateContent, or give the client an API key or a project and location"
)


def write_reply(result: MediaResult, request: MediaRequest) -> ClientReply:
    """One candidate, or one prediction, a picture."""
    body = predict.answer(result) if request.route == predict.ROUTE else content.answer(result)
    return ClientReply(200, orjson.dumps([body] if _is_array(request) else body))


def _is_array(request: MediaRequest | None) -> bool:
    """Google streams a JSON array to callers that do not ask for ``alt=sse``; ours has one element."""
    return request is not None and request.route == content.STREAM and not request.stream


def write_event(event: Partial | MediaResult | Failure, request: MediaRequest) -> bytes:
    """The whole answer in one event. There are no partial pictures on this wire, so one says nothing."""
    match event:
        case Partial():
            return b""
        case MediaResult():
            body = content.answer(event)
        case Failure():
            _, body = _failure(event, request)
    return b"data: " + orjson.dumps(body) + b"\n\n"


_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_RPC = "type.googleapis.com/google.rpc."


def write_error(failure: Failure, request: MediaRequest | None) -> ClientReply:
    """Google's error object; a refusal is an HTTP 200 without a picture."""
    status, body = _failure(failure, request)
    headers = {} if failure.retry_after is None else {"Retry-After": str(math.ceil(failure.retry_after))}
    return ClientReply(status, orjson.dumps([body] if _is_array(request) else body), headers=headers)


def _failure(failure: Failure, request: MediaRequest | None) -> tuple[int, dict[str, Any]]:
    if failure.cause is Cause.REFUSED:
        predicts = request is not None and request.route == predict.ROUTE
        return 200, predict.refusal(failure) if predicts else content.refusal(failure)
    status = failure.http_status
    name = _STATUSES.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")
    error = {"code": status, "message": failure.message, "status": name}
    details = list(_details(failure))
    return status, {"error": error | ({"details": details} if details else {})}


def _details(failure: Failure) -> Iterator[dict[str, Any]]:
    if failure.field:
        violation = {"field": failure.field, "description": failure.message}
        yield {"@type": f"{_RPC}BadRequest", "fieldViolations": [violation]}
    if failure.retry_after is not None:
        yield {"@type": f"{_RPC}RetryInfo", "retryDelay": f"{round(failure.retry_after, 3)}s"}
    if failure.code:
        yield {"@type": f"{_RPC}ErrorInfo", "reason": failure.code.upper(), "domain": "muxel.dev"}
