"""What we serve to callers of DashScope: one call that is answered with pictures, three that are answered with a task.

Called through the registry. Must not wait or fetch. Handed on untouched, as calls only DashScope can answer: chats and
whatever else is below /services, words and pictures in turn (``enable_interleave``), series of pictures
(``enable_sequential``), functions of the editing model without a canonical form (an ``expand`` is told in parts of an
edge and not in pixels), and pictures in DashScope's own store (``oss://``). So are its own task ids, which are UUIDs;
ours are not.

The text-to-image route without ``X-DashScope-Async`` is answered with the finished task, as the SDK's ``sync_call``
expects; the other two refuse that, and the multimodal one refuses the header, in the words of the real API.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta, timezone
from math import ceil
from typing import Any

import orjson

from adapters import fields, imaging
from adapters.dashscope.dialect import FUNCTIONS, MAX_SEED, MAX_UPSCALE, NAME, OPERATIONS, PATHS
from adapters.ir import (
    RESOLUTIONS,
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
    PassThrough,
    Route,
)

PREFIX = "/dashscope"
VERSIONS: tuple[str, ...] = ("/api/v1", "")
ALIASES: tuple[str, ...] = ()
_SUBMITS = ("text2image", "image2image", "image-generation")
_THEIRS = "{id:[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}}"
_END = "{end:/?}"  # the SDK's asynchronous half ends these paths with a slash
ROUTES: tuple[Route, ...] = (
    Route("POST", PATHS["multimodal"], Action.CREATE, "multimodal"),
    *(Route("POST", PATHS[api], Action.SUBMIT, api) for api in _SUBMITS),
    Route("GET", f"/tasks/{_THEIRS}{_END}", Action.PASS),
    Route("POST", f"/tasks/{_THEIRS}/cancel{_END}", Action.PASS),
    Route("GET", f"/tasks/{{id:[^/]+}}{_END}", Action.POLL, "task"),
    Route("POST", f"/tasks/{{id:[^/]+}}/cancel{_END}", Action.CANCEL, "cancel"),
    Route("GET", "/tasks", Action.PASS),
    Route("GET", "/uploads", Action.PASS),
    Route("GET", "/models", Action.PASS),
    Route("POST", "/services/{path:.+}", Action.PASS),
)
CLIENT_OPERATIONS = OPERATIONS

MAX_IMAGES = 12  # the most any of its models makes in one call
_CHATS = re.compile(r"(?!.*image)(?:qwen|qwq|qvq|gui-|tongyi|kimi|glm|minimax|deepseek|llama|internvl)", re.IGNORECASE)
_MIXED = ("enable_interleave", "enable_sequential", "stream")
_BEIJING = timezone(timedelta(hours=8))
_Fields = dict[str, Any]

# ----------------------------------------------------------------------------------------------------------- reading


def read_request(call: ClientCall) -> MediaRequest:
    """Raises InvalidRequest, and PassThrough for what only DashScope can answer."""
    body = _present(fields.read_object(call.body))
    given, parameters = _read_part(body, "input"), _read_part(body, "parameters")
    model = fields.read_text(body, "model", required=True)
    if _CHATS.match(model) or any(parameters.get(name) for name in _MIXED):
        raise PassThrough
    shape, told = _READERS[call.route](given, parameters)
    return MediaRequest(
        model=model,
        negative_prompt=fields.read_text(parameters, "negative_prompt") or fields.read_text(given, "negative_prompt"),
        n=fields.read_integer(parameters, "n", 1, MAX_IMAGES) or 1,
        seed=fields.read_integer(parameters, "seed", 0, MAX_SEED),
        delivery=Delivery.URL,
        wait=_read_wait(call),
        extras=_extras(body, given, parameters, {"negative_prompt", "n", "seed", "size", *told}),
        **shape,
        **_read_size(parameters),
        ask=call.ask,
    )


def _present(value: Mapping[str, Any]) -> _Fields:
    return {name: item for name, item in value.items() if item is not None}


def _read_part(body: Mapping[str, Any], name: str) -> _Fields:
    value = body.get(name, {})
    if not isinstance(value, dict):
        raise InvalidRequest(name, f"{name} must be an object")
    return _present(value)


def _read_wait(call: ClientCall) -> float | None:
    """None where the caller waits for the pictures."""
    asks_for_task = call.headers.get("x-dashscope-async", "").lower() == "enable"
    if asks_for_task and call.route == "multimodal":
        raise InvalidRequest("X-DashScope-Async", "current user api does not support asynchronous calls.", status=403)
    if not asks_for_task and call.route in ("image2image", "image-generation"):
        raise InvalidRequest("X-DashScope-Async", "current user api does not support synchronous calls.", status=403)
    return 0.0 if asks_for_task else None


def _extras(body: _Fields, given: _Fields, parameters: _Fields, told: set[str]) -> dict[str, _Fields]:
    """What is not canonical: parameters by their name, fields of the input and of the body itself behind a prefix."""
    extras = {name: value for name, value in parameters.items() if name not in told}
    extras |= {f"input.{name}": value for name, value in given.items() if name not in told}
    extras |= {f"body.{name}": value for name, value in body.items() if name not in ("model", "input", "parameters")}
    return {NAME: extras} if extras else {}


def _read_size(parameters: _Fields) -> _Fields:
    size = fields.read_text(parameters, "size")
    if not size:
        return {}
    if size.upper() in RESOLUTIONS:
        return {"resolution": size.upper()}
    return {"size": fields.read_size(size, "size", "*")}


def _read_messages(given: _Fields, parameters: _Fields) -> tuple[_Fields, set[str]]:
    """One message of the user: its pictures and its words. Anything else is a chat."""
    messages = given.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("messages", "messages is required in input, as an array")
    match messages:
        case [{"role": "user", "content": str(text)}]:
            parts: list[Any] = [{"text": text}]
        case [{"role": "user", "content": list(parts)}] if all(map(_is_part, parts)):
            pass
        case _:
            raise PassThrough
    references = tuple(_read_picture(part["image"], "image") for part in parts if part.get("image"))
    prompt = "\n".join(fields.read_text(part, "text") for part in parts if part.get("text"))
    if not prompt and not references:
        raise InvalidRequest("text", "text is required in the content of the message")
    operation = Operation.EDIT if references else Operation.GENERATE
    return {"operation": operation, "prompt": prompt, "references": references}, {"messages"}


def _is_part(part: object) -> bool:
    return isinstance(part, dict) and part.keys() <= {"text", "image", "type"}


def _read_picture(value: object, name: str) -> Media:
    if isinstance(value, str) and value.startswith("oss://"):
        raise PassThrough
    return imaging.read_picture(value, name)


def _read_prompt(given: _Fields, parameters: _Fields) -> tuple[_Fields, set[str]]:
    if given.get("ref_img") or given.get("sketch_image_url"):  # models of 2023, in ways of their own
        raise PassThrough
    prompt = fields.read_text(given, "prompt", required=True)
    return {"operation": Operation.GENERATE, "prompt": prompt}, {"prompt"}


def _read_edit(given: _Fields, parameters: _Fields) -> tuple[_Fields, set[str]]:
    """Either pictures with a prompt (Wan 2.5), or a function with what it needs (Wan 2.1)."""
    function = fields.read_text(given, "function")
    prompt = fields.read_text(given, "prompt", required=True)
    if not function:
        references = tuple(_read_picture(image, "images") for image in _read_list(given, "images"))
        return {"operation": Operation.EDIT, "prompt": prompt, "references": references}, {"prompt", "images"}
    if function not in FUNCTIONS:
        raise PassThrough
    if not given.get("base_image_url"):
        raise InvalidRequest("base_image_url", "base_image_url is required")
    picture = _read_picture(given["base_image_url"], "base_image_url")
    more, told = _read_function(FUNCTIONS[function], picture, given, parameters)
    shape = {"operation": FUNCTIONS[function], "prompt": prompt, "references": (picture,), **more}
    return shape, {"function", "prompt", "base_image_url", *told}


def _read_list(given: _Fields, name: str) -> list[Any]:
    value = given.get(name)
    if not isinstance(value, list) or not value:
        raise InvalidRequest(name, f"{name} is required, as an array")
    return value


def _read_function(
    operation: Operation, picture: Media, given: _Fields, parameters: _Fields
) -> tuple[_Fields, Sequence[str]]:
    match operation:
        case Operation.EDIT:
            return {"strength": fields.read_number(parameters, "strength", 0, 1)}, ("strength",)
        case Operation.INPAINT:
            if not given.get("mask_image_url"):
                raise InvalidRequest("mask_image_url", "mask_image_url is required by description_edit_with_mask")
            mask = _read_picture(given["mask_image_url"], "mask_image_url")
            grey = mask if mask.url else imaging.mask_from_grey(mask.data, "mask_image_url")
            return {"mask": grey}, ("mask_image_url",)
        case _:
            return {"scale": fields.read_number(parameters, "upscale_factor", 1, MAX_UPSCALE)}, ("upscale_factor",)


_READERS = {
    "multimodal": _read_messages,
    "text2image": _read_prompt,
    "image2image": _read_edit,
    "image-generation": _read_messages,
}


def read_id(call: ClientCall) -> str:
    """Raises InvalidRequest."""
    return fields.read_text(call.params, "id", required=True)


# ----------------------------------------------------------------------------------------------------------- writing


def write_reply(result: MediaResult, request: MediaRequest) -> ClientReply:
    output = {"choices": _choices(result, apart=request.model.startswith("wan"))}
    return _json(200, {"output": output, "usage": _usage(result), "request_id": result.id})


def _choices(result: MediaResult, *, apart: bool) -> list[_Fields]:
    """Wan has a choice for each picture; Qwen has one choice, with all of them in its message."""
    pictures = [{"image": imaging.deliver(artifact.media, Delivery.URL)} for artifact in result.artifacts]
    messages = [[{**picture, "type": "image"}] for picture in pictures] if apart else [pictures]
    return [{"finish_reason": "stop", "message": {"role": "assistant", "content": content}} for content in messages]


def _usage(result: MediaResult) -> _Fields:
    first = result.artifacts[0]
    count = len(result.artifacts)
    return {
        "image_count": count,
        "width": first.width,
        "height": first.height,
        "size": f"{first.width}*{first.height}",
    }


def write_job(job: Job) -> ClientReply:
    """A task; one that failed before its submit was answered is that call's error, and one that is over cannot be
    cancelled."""
    match job:
        case Job(route=route, state=JobState.FAILED, failure=Failure() as failure) if route in _SUBMITS:
            return write_error(failure, None)
        case Job(route="cancel", state=JobState.SUCCEEDED | JobState.FAILED):
            message = "Failed to cancel the task, please confirm if the task is in PENDING status."
            return _json(400, {"code": "UnsupportedOperation", "message": message, "request_id": job.id})
        case Job(result=MediaResult() as result):
            output = _task(job, "SUCCEEDED") | _finished(result, str(job.input.get("prompt", "")))
            return _json(200, {"request_id": job.id, "output": output, "usage": _usage(result)})
        case Job(failure=Failure(cause=Cause.EXPIRED, message=message)):
            return _unknown(job.id, message)
        case Job(state=JobState.FAILED, failure=failure):
            why = {"code": _code(failure), "message": failure.message} if failure else {}
            return _json(200, {"request_id": job.id, "output": _task(job, "FAILED") | why})
        case _:
            return _json(200, {"request_id": job.id, "output": _task(job, _STATES[job.state])})


_STATES = {
    JobState.QUEUED: "PENDING",
    JobState.RUNNING: "RUNNING",
    JobState.SUCCEEDED: "SUCCEEDED",
    JobState.FAILED: "FAILED",
    JobState.CANCELED: "CANCELED",
}


def _task(job: Job, status: str) -> _Fields:
    times = {"submit_time": job.created, "end_time": job.finished}
    shown = {name: _time(seconds) for name, seconds in times.items() if seconds}
    return {"task_id": job.id, "task_status": status, **shown}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, _BEIJING).replace(tzinfo=None).isoformat(" ", "milliseconds")


def _finished(result: MediaResult, prompt: str) -> _Fields:
    """The pictures in both forms: as the results of text2image and image2image, and as the choices of
    image-generation. A poll does not say which of them the task was submitted to."""
    count = len(result.artifacts)
    return {
        "results": [_result(artifact, prompt) for artifact in result.artifacts],
        "task_metrics": {"TOTAL": count, "SUCCEEDED": count, "FAILED": 0},
        "finished": True,
        "choices": _choices(result, apart=True),
    }


def _result(artifact: Artifact, prompt: str) -> _Fields:
    words = {"orig_prompt": prompt, "actual_prompt": artifact.revised_prompt}
    return {
        "url": imaging.deliver(artifact.media, Delivery.URL),
        **{name: text for name, text in words.items() if text},
    }


_CODES = {
    Cause.INVALID: "InvalidParameter",
    Cause.UNSUPPORTED: "InvalidParameter",
    Cause.REFUSED: "DataInspectionFailed",
    Cause.DENIED: "InternalError",  # ours was denied, not the caller's key
    Cause.THROTTLED: "Throttling.RateQuota",
    Cause.UNAVAILABLE: "ModelUnavailable",
    Cause.AMBIGUOUS: "RequestTimeOut",
    Cause.MALFORMED: "InternalError.Algo",
    Cause.EXPIRED: "NotFound",
    Cause.CANCELED: "ClientDisconnect",
}
_STATUS_CODES = {403: "AccessDenied", 404: "ModelNotFound", 413: "BadRequest.TooLarge"}


def _code(failure: Failure) -> str:
    return _STATUS_CODES.get(failure.http_status) or _CODES[failure.cause]


def write_error(failure: Failure, request: MediaRequest | None) -> ClientReply:
    """Flat: code, message and request_id. A task that is not known is no error but has the status UNKNOWN."""
    if failure.cause is Cause.EXPIRED:
        return _unknown(failure.id, failure.message)
    named = f"{failure.field}: " if failure.field and failure.field not in failure.message else ""
    body = {"code": _code(failure), "message": f"{named}{failure.message}", "request_id": failure.id}
    if failure.code:
        body["error"] = failure.code
    wait = {} if failure.retry_after is None else {"Retry-After": str(ceil(failure.retry_after))}
    return _json(failure.http_status, body, wait)


def _unknown(id: str, message: str) -> ClientReply:
    return _json(200, {"request_id": id, "output": {"task_id": id, "task_status": "UNKNOWN", "message": message}})


def _json(status: int, value: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> ClientReply:
    return ClientReply(status, orjson.dumps(value), headers=headers or {})
