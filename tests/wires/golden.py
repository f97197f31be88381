"""Golden cases of the wires: one YAML file is one case, given keys and the keys expected from them.

A client case starts from a caller's HTTP request, a provider case from a canonical request and a deployment:

    call: {route, method, params, query, headers, json | text | multipart, base_url}
                            -> request: canonical, or error: {field, message, status}, or passed;
                               for a route that makes nothing, id or uploaded
    result: {artifacts: [{media: {data: {$bytes: ...}}}]}      -> reply
    partial: {artifact, index}                                 -> partial_reply
    failure: {cause: refused, message}                         -> error_reply; and error_events where the caller streams
    job: {id, state, base_url, route}                          -> job_reply, or status_event for a watching route
    webhook: {hook: {url}, secret, now}, with a job            -> webhook_call
    upload: {id, url, media, name}                             -> upload_reply

    target: {base_url, remote, options} with any of
    request: canonical                                         -> sends
    handle: {...}                                              -> poll_sends, cancel_sends
    file: {data: {$bytes: ...}, mime}                          -> upload_sends
    replies: [{status, headers, json | text}]                  -> step in each
    events: ["event: ...\\ndata: ..."]  one server-sent event  -> event_steps, one for each
    upload_replies: [{status, headers, json | text}]           -> answer in each

Canonical values are written as their dataclass, without the fields that have their default. Bytes are written
``{$bytes: "base64"}`` or ``{$bytes: {png: [width, height, "#rrggbb"]}}`` (also jpeg, webp, and grey for a mask, with a
grey value 0..255 for the colour; ``#rrggbbaa`` has alpha; ``box: [left, top, right, bottom, colour]`` paints a part);
in a JSON body they become base64, and ``{$data_uri: ...}`` a data URI. What comes out is shown by digest: of the pixels
where it is a picture, since two builds of Pillow compress the same pixels differently.
"""

import base64
import hashlib
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from io import BytesIO
from itertools import takewhile
from typing import Any, Union, get_args, get_origin, get_type_hints

import orjson
import yaml
from PIL import Image

from adapters.forms import read_multipart, write_multipart
from adapters.imaging import sniff_mime
from adapters.ir import (
    Action,
    Cause,
    ClientCall,
    ClientReply,
    Done,
    Failed,
    Failure,
    InvalidRequest,
    Job,
    Media,
    MediaRequest,
    MediaResult,
    Partial,
    PassThrough,
    Pending,
    Target,
    Upload,
    UpstreamCall,
    UpstreamReply,
    Webhook,
    WebhookCall,
)
from adapters.registry import Wire

Case = dict[str, Any]
LONG = 80  # base64 text from this length on, and every picture, is shown by digest

# ------------------------------------------------------------------------------------------------- from YAML to values


def read_value(value: Any) -> Any:
    """YAML data with ``$bytes`` and ``$data_uri`` made real."""
    match value:
        case {"$bytes": source}:
            return read_bytes(source)[0]
        case {"$data_uri": source}:
            data, mime = read_bytes(source)
            return f"data:{mime};base64,{base64.b64encode(data).decode()}"
        case dict():
            return {key: read_value(item) for key, item in value.items()}
        case list():
            return [read_value(item) for item in value]
        case _:
            return value


def read_bytes(source: str | dict[str, list[Any]]) -> tuple[bytes, str]:
    """The bytes a ``$bytes`` stands for, and their type."""
    if isinstance(source, str):
        return base64.b64decode(source, validate=True), "application/octet-stream"
    drawing = dict(source)
    box = drawing.pop("box", None)
    [(kind, (width, height, colour))] = drawing.items()
    mode = "L" if kind == "grey" else "RGBA" if len(colour) == 9 else "RGB"
    image = Image.new(mode, (width, height), colour)
    if box:
        image.paste(box[4], tuple(box[:4]))
    out = BytesIO()
    image.save(out, "png" if kind == "grey" else kind, lossless=True)  # WebP: the same pixels from every version of it
    return out.getvalue(), f"image/{'png' if kind == 'grey' else kind}"


def build(kind: Any, value: Any) -> Any:
    """``value`` as the type ``kind`` of the canonical model; a key that is no field of it is an error."""
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return kind(**{name: build(hints[name], item) for name, item in value.items()})
    if kind is Cause:
        return Cause[value.upper()]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return kind(value)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else build(arguments[0], value)
    if origin is tuple:
        return tuple(build(arguments[0], item) for item in value)
    return value


def body_of(given: Mapping[str, Any]) -> tuple[bytes, str]:
    """The body a call or reply of a case has, and its content type."""
    match read_value(dict(given)):
        case {"json": value}:
            return orjson.dumps(value, default=lambda data: base64.b64encode(data).decode()), "application/json"
        case {"text": str(text)}:
            return text.encode(), "text/plain"
        case {"multipart": parts}:
            kind, body = write_multipart([_part(part) for part in parts])
            return body, kind
        case _:
            return b"", ""


def _part(part: Mapping[str, Any]) -> tuple[str, str, str, bytes]:
    value = part["value"]
    return (
        part["name"],
        part.get("filename", ""),
        part.get("mime", ""),
        value if isinstance(value, bytes) else value.encode(),
    )


def client_call(given: Mapping[str, Any]) -> ClientCall:
    _check(given, {"method", "route", "params", "query", "headers", "base_url", "json", "text", "multipart"})
    body, kind = body_of(given)
    headers = ({"content-type": kind} if kind else {}) | given.get("headers", {})
    return ClientCall(
        method=given.get("method", "POST"),
        route=given["route"],
        params=given.get("params", {}),
        query=given.get("query", {}),
        headers=headers,
        body=body,
        base_url=given.get("base_url", ""),
    )


def upstream_reply(given: Mapping[str, Any]) -> UpstreamReply:
    _check(given, {"status", "headers", "json", "text", "step", "answer"})
    return UpstreamReply(given["status"], given.get("headers", {}), body_of(given)[0])


# ------------------------------------------------------------------------------------------------- from values to YAML


def plain(value: Any) -> Any:
    """A value of the canonical model as YAML data: no default fields, long bytes by digest."""
    match value:
        case Enum():
            return value.name.lower() if isinstance(value, Cause) else value.value
        case bytes():
            return _digest(value)
        case str():
            return _text(value)
        case Mapping():
            return {str(key): plain(item) for key, item in value.items()}
        case list() | tuple() | frozenset():
            return [plain(item) for item in value]
        case _ if is_dataclass(value):
            shown = ((entry.name, getattr(value, entry.name)) for entry in fields(value) if _told(value, entry))
            return {name: plain(item) for name, item in shown}
        case _:
            return value


def _told(value: Any, entry: Field[Any]) -> bool:
    default = entry.default_factory() if entry.default_factory is not MISSING else entry.default
    return bool(getattr(value, entry.name) != default)


def _digest(data: bytes) -> dict[str, Any]:
    try:
        with Image.open(BytesIO(data)) as image:
            pixels = hashlib.sha256(image.tobytes()).hexdigest()
            return {"$picture": f"{image.format} {image.width}x{image.height} {image.mode}", "$sha256": pixels[:12]}
    except OSError:
        return {"$sha256": hashlib.sha256(data).hexdigest()[:12], "length": len(data)}


def _text(text: str) -> Any:
    head, comma, encoded = text.partition(";base64,") if text.startswith("data:") else ("", "", text)
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError:
        return text
    if len(encoded) < LONG and not sniff_mime(data):
        return text
    return {**_digest(data), "as": head if comma else "base64"}


def shown_body(body: bytes, content_type: str) -> dict[str, Any]:
    """The body of a message under the key of what it is."""
    if not body:
        return {}
    if content_type.startswith("multipart/form-data"):
        parts = read_multipart(body, content_type)
        return {"multipart": [_shown_part(*part) for part in parts]}
    if content_type.startswith("text/event-stream"):
        return {"events": shown_events(body)}
    if "json" in content_type:
        return {"json": plain(orjson.loads(body))}
    return {"body": plain(body)}


def _shown_part(name: str, filename: str, mime: str, value: bytes) -> dict[str, Any]:
    part = {"name": name, "filename": filename, "mime": mime, "value": plain(value) if mime else value.decode()}
    return {key: item for key, item in part.items() if item != ""}


def shown_events(stream: bytes) -> list[dict[str, Any]]:
    """A stream of server-sent events, each with its fields; every event must be closed by its blank line."""
    assert stream.endswith(b"\n\n"), "the last event has no blank line after it"
    return [_shown_event(event) for event in stream.decode().removesuffix("\n\n").split("\n\n")]


def _shown_event(event: str) -> dict[str, Any]:
    entries = dict(line.split(": ", 1) for line in event.split("\n"))
    if entries.get("data", "").startswith("{"):
        entries["data"] = plain(orjson.loads(entries["data"]))
    return entries


def shown_reply(reply: ClientReply) -> dict[str, Any]:
    kind = {} if reply.content_type == "application/json" else {"content_type": reply.content_type}
    headers = {"headers": dict(reply.headers)} if reply.headers else {}
    return {"status": reply.status, **kind, **headers, **shown_body(reply.body, reply.content_type)}


def shown_call(call: UpstreamCall | None) -> dict[str, Any] | None:
    if call is None:
        return None
    kind = next((value for name, value in call.headers.items() if name.lower() == "content-type"), "")
    shown = {"method": call.method, "url": call.url}
    if call.headers:  # the boundary is a digest of the parts
        shown["headers"] = {name: value.partition("; boundary=")[0] for name, value in call.headers.items()}
    rest = {"dropped": list(call.dropped), "media": call.media, "stream": call.stream}
    return {**shown, **shown_body(call.body, kind), **{name: value for name, value in rest.items() if value}}


def shown_step(step: Done | Pending | Failed | Partial | None) -> dict[str, Any] | None:
    return None if step is None else {type(step).__name__.lower(): plain(step)}


# ------------------------------------------------------------------------------------------------------ running a case

CLIENT_KEYS = {
    "call", "request", "error", "id", "uploaded", "result", "reply", "partial", "partial_reply", "failure",
    "error_reply", "error_events", "job", "job_reply", "upload", "upload_reply", "passed", "status_event", "webhook",
    "webhook_call",
}  # fmt: skip
PROVIDER_KEYS = {
    "target", "request", "sends", "handle", "poll_sends", "cancel_sends", "file", "upload_sends", "replies", "events",
    "event_steps", "upload_replies",
}  # fmt: skip
EXPECTED = {
    "error", "id", "uploaded", "reply", "partial_reply", "error_reply", "error_events", "job_reply", "upload_reply",
    "sends", "poll_sends", "cancel_sends", "upload_sends", "event_steps", "passed", "status_event", "webhook_call",
}  # fmt: skip


def run(wire: Wire, case: Case) -> Case:
    """The case as it comes out: its given keys, and beside them what the wire says."""
    is_provider = "target" in case
    _check(case, PROVIDER_KEYS if is_provider else CLIENT_KEYS)
    given = {key: value for key, value in case.items() if key not in EXPECTED and (is_provider or key != "request")}
    assert given, "a case needs a call, a target or something to write"
    return _run_provider(wire.provider, given) if is_provider else _run_client(wire.client, given)


def _check(given: Mapping[str, Any], known: set[str]) -> None:
    assert given.keys() <= known, f"unknown keys: {', '.join(sorted(given.keys() - known))}"


def _run_client(wire: Any, given: Case) -> Case:
    out: Case = {}
    request: MediaRequest | None = None
    if "call" in given:
        out["call"] = given["call"]
        read, request = _read_call(wire, client_call(given["call"]))
        out |= read
    for key in ("result", "partial", "failure", "job", "upload"):
        if key in given:
            assert request or key not in ("result", "partial"), f"{key} needs a call that can be read"
            out[key] = given[key]
            out |= _written(wire, key, read_value(given[key]), request)
    if "webhook" in given:
        out["webhook"] = given["webhook"]
        out["webhook_call"] = _notified(wire, build(Job, read_value(given["job"])), given["webhook"])
    return out


def _notified(wire: Any, job: Job, given: Case) -> Case | None:
    """What a webhook is sent, at a time (seconds since the epoch) and with a secret (base64) that the case names."""
    _check(given, {"hook", "secret", "now"})
    hook, secret = build(Webhook, given["hook"]), base64.b64decode(given["secret"], validate=True)
    call: WebhookCall | None = wire.write_webhook(job, hook, secret, given["now"])
    return None if call is None else {"headers": dict(call.headers), "json": plain(orjson.loads(call.body))}


def _read_call(wire: Any, call: ClientCall) -> tuple[Case, MediaRequest | None]:
    [action] = {route.action for route in wire.ROUTES if route.name == call.route}
    try:
        match action:
            case Action.CREATE | Action.SUBMIT:
                request = wire.read_request(call)
                return {"request": plain(request)}, request
            case Action.UPLOAD:
                media, name = wire.read_upload(call)
                return {"uploaded": {"media": plain(media), "name": name}}, None
            case _:
                return {"id": wire.read_id(call)}, None
    except PassThrough:
        return {"passed": True}, None
    except InvalidRequest as error:
        return {"error": {"field": error.field, "message": error.message, "status": error.status}}, None


def _written(wire: Any, key: str, value: Any, request: MediaRequest | None) -> Case:
    streams = request is not None and request.stream
    match key:
        case "result" if streams:
            return {"reply": {"events": shown_events(wire.write_event(build(MediaResult, value), request))}}
        case "result":
            return {"reply": shown_reply(wire.write_reply(build(MediaResult, value), request))}
        case "partial":
            return {"partial_reply": shown_events(wire.write_event(build(Partial, value), request))}
        case "failure":
            failure = build(Failure, value)
            events = {"error_events": shown_events(wire.write_event(failure, request))} if streams else {}
            return {"error_reply": shown_reply(wire.write_error(failure, request)), **events}
        case "job":
            job = build(Job, value)
            if any(route.action is Action.WATCH and route.name == job.route for route in wire.ROUTES):
                return {"status_event": shown_events(wire.write_status(job))}
            return {"job_reply": shown_reply(wire.write_job(job))}
        case _:
            return {"upload_reply": shown_reply(wire.write_upload_reply(build(Upload, value)))}


def _run_provider(wire: Any, given: Case) -> Case:
    target = build(Target, given["target"])
    out: Case = {"target": given["target"]}
    if "request" in given:
        out["request"] = given["request"]
        out["sends"] = shown_call(wire.write_request(build(MediaRequest, read_value(given["request"])), target))
    if "handle" in given:
        out["handle"] = given["handle"]
        out["poll_sends"] = shown_call(wire.poll(given["handle"], target))
        out["cancel_sends"] = shown_call(wire.cancel(given["handle"], target))
    if "file" in given:
        out["file"] = given["file"]
        out["upload_sends"] = shown_call(wire.write_upload(build(Media, read_value(given["file"])), target))
    if "replies" in given:
        out["replies"] = [
            {**reply, "step": shown_step(wire.read_reply(upstream_reply(reply)))} for reply in given["replies"]
        ]
    if "events" in given:
        out["events"] = given["events"]
        out["event_steps"] = [shown_step(wire.read_event(event.encode())) for event in given["events"]]
    if "upload_replies" in given:
        out["upload_replies"] = [
            {**reply, "answer": _shown_answer(wire.read_upload_reply(upstream_reply(reply)))}
            for reply in given["upload_replies"]
        ]
    return out


def _shown_answer(answer: str | Failed) -> Any:
    return answer if isinstance(answer, str) else shown_step(answer)


# --------------------------------------------------------------------------------------------------------------- files


def comparable(case: Case) -> Case:
    """Both sides of the comparison in one spelling: what was written by hand may use ``$bytes`` too."""
    shown: Case = plain(read_value(case))
    return shown


def dump(case: Case, source: str) -> str:
    """The file's text for ``case``, under the comment that ``source`` begins with."""
    lines = source.splitlines(keepends=True)
    comment = "".join(takewhile(lambda line: line.startswith("#") or not line.strip(), lines))
    style = {"sort_keys": False, "allow_unicode": True, "width": 120, "default_flow_style": None}
    return comment + yaml.dump(case, Dumper=_Dumper, **style)


class _Dumper(yaml.SafeDumper):
    """Text of several lines as a block, and no list of such texts on one line. What occurs twice is written twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        node = super().represent_sequence(tag, sequence, flow_style)
        if any(item.style == "|" for item in node.value if isinstance(item, yaml.ScalarNode)):
            node.flow_style = False
        return node


_Dumper.add_representer(str, _Dumper.represent_str)
