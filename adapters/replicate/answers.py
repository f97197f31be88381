"""What callers of Replicate are answered: predictions, also to their webhooks, files and problems.

``client`` hands these functions to the registry. Must not read a request.
"""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import orjson

from adapters import imaging, replies
from adapters.ir import (
    Cause,
    ClientCall,
    ClientReply,
    Delivery,
    Failure,
    Job,
    JobState,
    MediaRequest,
    MediaResult,
    Upload,
    Webhook,
    WebhookCall,
)

_SUBMITS = frozenset({"version", "model", "deployment"})  # routes that make a prediction


def write_reply(result: MediaResult, request: MediaRequest) -> ClientReply:
    """A prediction that succeeded, without URLs to poll: there is nothing left to wait for."""
    job = Job(result.id, JobState.SUCCEEDED, "", request.model, result.created, result.created, result=result)
    return _json(201, {**_prediction(job, request.delivery), "urls": {}})


def write_job(job: Job) -> ClientReply:
    """The prediction. 202 to a submit that has nothing to show yet, 201 to one that has.

    A submit that waited in vain is "starting" even while the job runs: the SDKs take any other status for the end.
    """
    prediction = _prediction(job, Delivery.DATA_URI)
    if job.route not in _SUBMITS:
        return _json(200, prediction)
    if job.state in (JobState.QUEUED, JobState.RUNNING):
        return _json(202, {**prediction, "status": "starting"})
    return _json(201, prediction)


_STATUS = {
    JobState.QUEUED: "starting",
    JobState.RUNNING: "processing",
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
    JobState.CANCELED: "canceled",
}


def _prediction(job: Job, delivery: Delivery) -> dict[str, Any]:
    """Every field SDK 1.0.7 requires, and those 2.x types as required."""
    model, _, version = job.model.partition(":") if "/" in job.model else ("", "", job.model)
    seconds = {"predict_time": job.finished - job.created, "total_time": job.finished - job.created}
    url = f"{job.base_url}/predictions/{quote(job.id, safe='')}"
    return {
        "id": job.id,
        "model": model,
        "version": version or "hidden",  # what the API says of its official models
        "status": _STATUS[job.state],
        "input": dict(job.input),
        "output": [imaging.deliver(artifact.media, delivery) for artifact in job.result.artifacts]
        if job.result
        else None,
        "error": _error(job.failure) if job.failure and job.state is JobState.FAILED else None,
        "logs": "",
        "metrics": seconds if job.finished else {},
        "created_at": _iso(job.created),
        "started_at": None if job.state is JobState.QUEUED else _iso(job.created),
        "completed_at": _iso(job.finished) if job.finished else None,
        "data_removed": False,
        "source": "api",
        "urls": {"get": url, "cancel": f"{url}/cancel", "web": url},
    }


def _error(failure: Failure) -> str:
    """Callers know a refusal by its E005: the wire has no other code."""
    return f"{failure.message} (E005)" if failure.cause is Cause.REFUSED else failure.message


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write_upload_reply(upload: Upload) -> ClientReply:
    digest = hashlib.sha256(upload.media.data).hexdigest()
    file = {
        "id": upload.id,
        "name": upload.name or "file",
        "content_type": upload.media.mime or "application/octet-stream",
        "size": len(upload.media.data),
        "etag": digest[:32],
        "checksums": {"sha256": digest},
        "metadata": {},
        "created_at": _iso(upload.created),
        "expires_at": None,
        "urls": {"get": upload.url},
    }
    return _json(201, file)


def write_error(failure: Failure, request: MediaRequest | None) -> ClientReply:
    """Problem JSON. ``x-should-retry`` is for SDK 2.x, which would send a POST again on 408, 409, 429 and 5xx."""
    detail = f"- {failure.field}: {_error(failure)}" if failure.field else _error(failure)
    code = {"code": failure.code} if failure.code else {}
    problem = {"title": failure.cause.label.capitalize(), "detail": detail, "status": failure.http_status, **code}
    return ClientReply(
        failure.http_status, orjson.dumps(problem), "application/problem+json", replies.retry_headers(failure)
    )


def _json(status: int, value: Mapping[str, Any]) -> ClientReply:
    return ClientReply(status, orjson.dumps(value))


def describe(call: ClientCall) -> ClientReply:
    """A version, which ``run("owner/name:version")`` of 1.0.7 and ``use`` of 2.x ask about once the prediction is made.
    The schema says nothing of the output, so that the SDKs take it as it comes."""
    schema: dict[str, Any] = {"components": {"schemas": {}}}
    told = {"id": call.params["id"], "created_at": _iso(0.0), "cog_version": "0.9.0", "openapi_schema": schema}
    return _json(200, told)


# ------------------------------------------------------------------------------------------------------------ webhooks

_UNLESS_ASKED = frozenset({"output", "logs", "completed"})  # what a caller that named no event is told
_EVENTS_OF = {
    JobState.QUEUED: frozenset[str](),
    JobState.RUNNING: frozenset({"start"}),
    JobState.SUCCEEDED: frozenset({"output", "completed"}),
    JobState.FAILED: frozenset({"completed"}),
    JobState.CANCELED: frozenset({"completed"}),
}


def write_webhook(job: Job, hook: Webhook, secret: bytes, now: float) -> WebhookCall | None:
    """The prediction, signed as Svix does. Sent again, a message keeps its id."""
    if not _EVENTS_OF[job.state] & (frozenset(hook.events) or _UNLESS_ASKED):
        return None
    body = orjson.dumps(_prediction(job, Delivery.DATA_URI))
    digest = hashlib.blake2b(f"{job.id} {job.state}".encode(), digest_size=16)
    name, when = f"msg_{digest.hexdigest()}", str(int(now))
    signature = hmac.digest(secret, f"{name}.{when}.".encode() + body, "sha256")
    signed = {
        "webhook-id": name,
        "webhook-timestamp": when,
        "webhook-signature": f"v1,{imaging.encode_base64(signature)}",
    }
    return WebhookCall(body, {"Content-Type": "application/json", **signed})


def write_secret(secret: bytes) -> ClientReply:
    return _json(200, {"key": f"whsec_{imaging.encode_base64(secret)}"})
