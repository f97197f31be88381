"""The client face: at once, as a stream, or through the queue with its statuses, results and webhooks.

``inputs`` reads what a call asks for, and what it does not understand is passed on. Endpoints answer with ``images``,
and some of them with one ``image``; ours answer with both, so that a caller finds the one its endpoint has.

Both SDKs send a failed POST again: the Python one up to ten times, on 408, 409, 429 and a 5xx of what is no server of
fal's; the JavaScript one three times, on 429, 502, 503 and 504. So each answer has the ``x-fal-request-id`` of a server
of fal's, none has the status 502, and a 504 says that the deadline was the user's own.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from adapters import fields, imaging
from adapters.fal import apps
from adapters.fal.inputs import check_app, read_input
from adapters.ir import (
    Action,
    Cause,
    ClientCall,
    ClientReply,
    Failure,
    InvalidRequest,
    Job,
    JobState,
    MediaRequest,
    MediaResult,
    Partial,
    PassThrough,
    Route,
    Webhook,
    WebhookCall,
)

NAME = apps.NAME
PREFIX = apps.PREFIX
VERSIONS: tuple[str, ...] = ("/queue", "")  # the queue has a host of its own; the other one is mounted at /run
ALIASES: tuple[str, ...] = ()
ROUTES: tuple[Route, ...] = (
    Route("POST", "/run/{app:.+}/stream", Action.CREATE, "stream"),
    Route("POST", "/run/{app:.+/.+}", Action.CREATE, "run"),
    Route("*", "/run/{path:.+}", Action.PASS, "run_other"),
    Route("GET", "/.well-known/jwks.json", Action.SECRET, "keys"),
    Route("GET", "/{app:.+/.+}/requests/{id:[A-Za-z0-9_-]+}/status/stream", Action.WATCH, "watch"),
    Route("GET", "/{app:.+/.+}/requests/{id:[A-Za-z0-9_-]+}/status", Action.POLL, "status"),
    Route("GET", "/{app:.+/.+}/requests/{id:[A-Za-z0-9_-]+}", Action.POLL, "result"),
    Route("PUT", "/{app:.+/.+}/requests/{id:[A-Za-z0-9_-]+}/cancel", Action.CANCEL, "cancel"),
    Route("POST", "/{app:.+/.+}", Action.SUBMIT, "submit"),
    Route("*", "/{path:.+}", Action.PASS, "queue_other"),
)
CLIENT_OPERATIONS = apps.OPERATIONS
PROXY_HEADER = "x-fal-target-url"
proxy_path = apps.proxy_path
pass_url = apps.pass_url

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def read_request(call: ClientCall) -> MediaRequest:
    """A run, a stream or a submit. Raises InvalidRequest, or PassThrough for a call that is not understood."""
    app = call.params["app"].removesuffix("/stream")
    check_app(app)
    return MediaRequest(
        model=app,
        stream=call.route == "stream",
        wait=0.0 if call.route == "submit" else None,
        webhook=_read_webhook(call),
        **read_input(app, fields.read_object(call.body)),
        ask=call.ask,
    )


def _read_webhook(call: ClientCall) -> Webhook | None:
    url = call.query.get("fal_webhook", "") if call.route == "submit" else ""
    if url and not url.startswith(("https://", "http://")):
        raise InvalidRequest("fal_webhook", "fal_webhook must be an http or https URL")
    return Webhook(url) if url else None


def read_id(call: ClientCall) -> str:
    """Raises PassThrough for an id of fal's own: that of a submit that was passed on."""
    if _UUID.fullmatch(call.params["id"]):
        raise PassThrough
    return call.params["id"]


# -------------------------------------------------------------------------------------------------------------- results


def write_reply(result: MediaResult, request: MediaRequest) -> ClientReply:
    return _json(200, _output(result, request.prompt, request.seed), result.id)


def write_event(event: Partial | MediaResult | Failure, request: MediaRequest) -> bytes:
    """Each event holds the pictures as they are so far; the SDKs take the last one for the result."""
    match event:
        case Partial(artifact=artifact):
            return _event(_output(MediaResult((artifact,)), request.prompt, request.seed))
        case MediaResult():
            return _event(_output(event, request.prompt, request.seed))
        case Failure():
            return b"event: error\n" + _event(_error(event))


def _output(result: MediaResult, prompt: object, seed: object) -> dict[str, Any]:
    """A picture is named by our URL for it, or is a data URI where we keep none."""
    first = result.artifacts[0]
    pictures = [
        {
            "url": imaging.data_uri(artifact.media),
            "width": artifact.width or None,
            "height": artifact.height or None,
            "content_type": artifact.media.mime,
        }
        for artifact in result.artifacts
    ]
    return {
        "images": pictures,
        "image": pictures[0],
        "seed": seed if first.seed is None else first.seed,
        "has_nsfw_concepts": [False] * len(pictures),
        "prompt": first.revised_prompt or prompt,
        "timings": {},
    }


# ----------------------------------------------------------------------------------------------------------------- jobs


def write_job(job: Job) -> ClientReply:
    """The answer to a submit, and to a look at the status or the result."""
    if job.failure and job.failure.cause is Cause.EXPIRED:
        return write_error(replace(job.failure, id=job.id), None)
    match job.route:
        case "submit":
            return _json(200, {**_urls(job), "status": "IN_QUEUE", "queue_position": 0}, job.id)
        case "status":
            return _json(202 if _is_pending(job) else 200, _status(job), job.id)
        case "cancel" if job.state is JobState.CANCELED or _is_pending(job):
            return _json(202, {"status": "CANCELLATION_REQUESTED"}, job.id)
        case "cancel":
            return _json(400, {"status": "ALREADY_COMPLETED"}, job.id)
        case _:
            return _result(job)


def write_status(job: Job) -> bytes:
    return _event(_status(job))


def _is_pending(job: Job) -> bool:
    return job.state in (JobState.QUEUED, JobState.RUNNING)


def _urls(job: Job) -> dict[str, str]:
    url = f"{job.base_url}{apps.requests_path(job.model)}/{job.id}"
    return {"request_id": job.id, "response_url": url, "status_url": f"{url}/status", "cancel_url": f"{url}/cancel"}


def _status(job: Job) -> dict[str, Any]:
    """There is no status for a failure: it is COMPLETED too, and the result tells the error."""
    match job.state:
        case JobState.QUEUED:
            return {**_urls(job), "status": "IN_QUEUE", "queue_position": 0}
        case JobState.RUNNING:
            return {**_urls(job), "status": "IN_PROGRESS", "logs": []}
    seconds = job.finished - job.created if job.finished else None
    failure = _failure(job)
    error = {"error": failure.message, "error_type": _error_type(failure)} if failure else {}
    return {**_urls(job), "status": "COMPLETED", "logs": [], "metrics": {"inference_time": seconds}, **error}


def _failure(job: Job) -> Failure | None:
    """Why the job has no result, in a form that no SDK asks for again: what has failed stays failed."""
    if job.state is JobState.CANCELED:
        return Failure(Cause.CANCELED, "the request was cancelled", id=job.id)
    if job.failure is None:
        return None
    again = job.failure.http_status in (408, 409, 429, 502, 503, 504)
    return replace(job.failure, id=job.id, retry_after=None, status=500 if again else job.failure.status)


def _result(job: Job) -> ClientReply:
    if failure := _failure(job):
        return write_error(failure, None)
    if job.result is None:
        return _json(400, {"detail": "Request is still in progress"}, job.id)
    return _json(200, _output(job.result, job.input.get("prompt", ""), job.input.get("seed")), job.id)


# ------------------------------------------------------------------------------------------------------------- webhooks


def write_webhook(job: Job, hook: Webhook, secret: bytes, now: float) -> WebhookCall | None:
    """Signed over the four lines of request, user, time and digest, as fal's documentation has it."""
    if _is_pending(job):
        return None
    told: dict[str, Any] = {"request_id": job.id, "gateway_request_id": job.id}
    reply = _result(job)
    if reply.status == 200:
        told |= {"status": "OK"}
    else:
        told |= {"status": "ERROR", "error": f"Invalid status code: {reply.status}"}
    body = orjson.dumps({**told, "payload": orjson.loads(reply.body)})
    time = str(int(now))
    message = "\n".join((job.id, NAME, time, hashlib.sha256(body).hexdigest()))
    headers = {
        "Content-Type": "application/json",
        "X-Fal-Webhook-Request-Id": job.id,
        "X-Fal-Webhook-User-Id": NAME,
        "X-Fal-Webhook-Timestamp": time,
        "X-Fal-Webhook-Signature": _key(secret).sign(message.encode()).hex(),
    }
    return WebhookCall(body, headers)


def write_secret(secret: bytes) -> ClientReply:
    """A key set, as at rest.fal.ai/.well-known/jwks.json."""
    public = base64.urlsafe_b64encode(_key(secret).public_key().public_bytes_raw()).decode().rstrip("=")
    key = {"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": public[:16], "x": public}
    return ClientReply(200, orjson.dumps({"keys": [key]}))


def _key(secret: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(secret)


# --------------------------------------------------------------------------------------------------------------- errors

_ERROR_TYPES = {
    Cause.INVALID: "value_error",
    Cause.UNSUPPORTED: "bad_request",
    Cause.AMBIGUOUS: "request_timeout",
    Cause.CANCELED: "client_cancelled",
    Cause.EXPIRED: "not_found",
    Cause.UNAVAILABLE: "runner_scheduling_failure",
    Cause.DENIED: "internal_error",
    Cause.MALFORMED: "internal_error",
}


def write_error(failure: Failure, request: MediaRequest | None) -> ClientReply:
    """The headers and shapes of fal's two kinds of errors, see above for the statuses."""
    status = _http_status(failure)
    headers = {
        "X-Fal-Error-Type": _error_type(failure),
        "X-Fal-Retryable": "true" if failure.cause.caller_may_retry else "false",
    }
    if status == 504:
        headers["X-Fal-Request-Timeout-Type"] = "user"
    if failure.retry_after is not None:
        headers["Retry-After"] = str(ceil(failure.retry_after))
    return _json(status, _error(failure), failure.id, headers)


def _http_status(failure: Failure) -> int:
    """422 where an input is to blame, as the JavaScript SDK reads the fields of no other status; never 502."""
    if failure.cause is Cause.REFUSED or (failure.cause is Cause.INVALID and failure.http_status == 400):
        return 422
    return 500 if failure.http_status == 502 else failure.http_status


def _error_type(failure: Failure) -> str:
    """A refusal has the wire's own word: the code may be that of another provider."""
    if failure.cause is Cause.REFUSED:
        return "content_policy_violation"
    return failure.code or _ERROR_TYPES.get(failure.cause, failure.cause.label)


def _error(failure: Failure) -> dict[str, Any]:
    """A model's error is a list of what is wrong where, any other a sentence and a type."""
    if failure.cause is Cause.EXPIRED or (failure.cause is not Cause.REFUSED and not failure.field):
        return {"detail": failure.message, "error_type": _error_type(failure)}
    kind = _error_type(failure)
    loc = ["body"] if failure.field == "body" else ["body", *(failure.field or "prompt").split(".")]
    return {"detail": [{"loc": loc, "msg": failure.message, "type": kind, "url": f"https://docs.fal.ai/errors#{kind}"}]}


def _json(
    status: int, value: Mapping[str, Any], request_id: str, headers: Mapping[str, str] | None = None
) -> ClientReply:
    named = {"x-fal-request-id": request_id or "unknown"}
    return ClientReply(status, orjson.dumps(value), headers={**named, **(headers or {})})


def _event(value: Mapping[str, Any]) -> bytes:
    return b"data: %s\n\n" % orjson.dumps(value)
