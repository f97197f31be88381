"""ComfyUI: a workflow is queued as a graph of nodes, its history is polled, its pictures are fetched from the server.

Knows the HTTP API of ComfyUI (server.py and execution.py of Comfy-Org/ComfyUI, read 2026-11-21). Provider face only:
the workflow is the schema, so that callers have no common way to speak it. Called through the registry. Must not wait,
fetch, or know a workflow; the remote of a deployment is nothing but its name. Its options are

    workflow  the graph in API format ("Export (API)")
    inputs    canonical field -> the input of a node as ``6.text``, or a list of those that all get the value: prompt,
              negative_prompt, seed, steps, guidance, strength, scale, quality, n, mask (``LoadImageMask`` with the
              channel red). ``size`` is two of them as ``5.width,5.height``, ``margins`` four in the order
              left,top,right,bottom. references, style_references and loras are lists with one for each that the
              workflow takes: the file of a ``LoadImage`` as ``10.image``, the name and strength of a LoRA as
              ``12.lora_name,12.strength_model``
    values    canonical field -> {canonical value: theirs}, such as {quality: {low: 8, high: 30}} for steps
    multiple  what width and height must be multiples of; without it 8
    output    the node whose pictures are the result; without it all that is saved, else all that is previewed

Nodes read only files of the server, so every picture is uploaded first, below ``muxel/`` of its input folder and named
by its content. A node whose inputs are the same as before is not run again: the same graph is answered with the same
picture, so that the wire is registered as one that needs a seed.

``read_reply`` learns the base URL and the output node from ``extra_data``, which the history echoes.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from adapters import fields, forms, replies
from adapters.ir import (
    Artifact,
    Auth,
    Cause,
    Done,
    Failed,
    Media,
    MediaRequest,
    Operation,
    Pending,
    Step,
    Target,
    UpstreamCall,
    UpstreamReply,
)

NAME = "comfyui"
PROVIDER_OPERATIONS = frozenset(operation for operation in Operation if operation.value.startswith("image."))
AUTH = Auth("Authorization", "Bearer")  # ComfyUI has none; for a proxy before it
TAKES_URLS = False
OPTIONS = frozenset({"workflow", "inputs", "values", "multiple", "output"})
UPLOAD_ABOVE = 0

POLL_AFTER = 0.5  # seconds

_PLAIN = ("prompt", "negative_prompt", "seed", "steps", "guidance", "strength", "scale", "quality", "n")
_SUFFIXES = {"image/jpeg": ".jpg", "image/webp": ".webp", "image/gif": ".gif", "image/avif": ".avif"}

Setting = tuple[str, Any]  # the input of a node, and what it is set to
Told = tuple[tuple[str, ...], list[Setting]]  # the canonical fields that some settings tell


def write_request(request: MediaRequest, target: Target) -> UpstreamCall:
    """POST the workflow with the request's values in the inputs of its nodes."""
    options = target.options
    values = [*_values(request, options), *_sizes(request, options)]
    pictures = [*_pictures(request, options.get("inputs", {}))]
    told = [(names, found) for names, found in (*values, *pictures) if found]
    settings = [setting for _, found in told for setting in found]
    body = {
        "prompt": _graph(options.get("workflow", {}), settings),
        "extra_data": {"muxel": {"url": target.base_url, "output": str(options.get("output", ""))}},
    }
    return UpstreamCall(
        "POST",
        f"{target.base_url}/prompt",
        {"Content-Type": "application/json"},
        orjson.dumps(body),
        dropped=fields.dropped_fields(request, NAME, {name for names, _ in told for name in names}),
        media=sum(bool(found) if names == ("mask",) else len(found) for names, found in pictures),
    )


def _values(request: MediaRequest, options: Mapping[str, Any]) -> Iterator[Told]:
    inputs = options.get("inputs", {})
    for name in _PLAIN:
        value = getattr(request, name)
        value = options.get("values", {}).get(name, {}).get(value, value)
        if value not in ("", None):
            yield (name,), [(place, value) for place in _places(inputs, name)]
    slots = _places(inputs, "loras")
    if len(request.loras) <= len(slots):
        pairs = zip(slots, request.loras, strict=False)
        yield ("loras",), [one for slot, lora in pairs for one in _spread([slot], (lora.path, lora.scale))]


def _sizes(request: MediaRequest, options: Mapping[str, Any]) -> Iterator[Told]:
    inputs = options.get("inputs", {})
    if pixels := request.dimensions():
        size = fields.snap(pixels, options.get("multiple", 8), 1, fields.MAX_EDGE)
        yield ("size", "aspect", "resolution"), _spread(_places(inputs, "size"), size)
    if margins := request.margins:
        sides = (margins.left, margins.top, margins.right, margins.bottom)
        yield ("margins",), _spread(_places(inputs, "margins"), sides)


def _pictures(request: MediaRequest, inputs: Mapping[str, Any]) -> Iterator[Told]:
    """By the names of their files, where they have been uploaded."""
    if request.mask and request.mask.url:
        yield ("mask",), [(place, request.mask.url) for place in _places(inputs, "mask")]
    for name, pictures in (("references", request.references), ("style_references", request.style_references)):
        files = [media.url for media in pictures if media.url]
        yield (name,), list(zip(_places(inputs, name), files, strict=False))


def _places(inputs: Mapping[str, Any], name: str) -> Sequence[str]:
    found = inputs.get(name) or ()
    return (found,) if isinstance(found, str) else found


def _spread(places: Sequence[str], values: Sequence[Any]) -> list[Setting]:
    """``5.width,5.height`` and a size -> a setting for each."""
    return [setting for place in places for setting in zip(place.split(","), values, strict=False)]


def _graph(workflow: Mapping[str, Any], settings: Sequence[Setting]) -> dict[str, Any]:
    """A copy of the workflow with its inputs set. A node that it does not have is added without a class, which the
    server names in its refusal."""
    nodes = {name: node for name, node in workflow.items() if isinstance(node, dict)}
    graph = {name: {**node, "inputs": dict(node.get("inputs", {}))} for name, node in nodes.items()}
    for place, value in settings:
        node, _, name = place.partition(".")
        graph.setdefault(node, {"inputs": {}})["inputs"][name] = value
    return graph


def write_upload(media: Media, target: Target) -> UpstreamCall:
    """POST the picture. The same one is stored only once: the server compares what has the same name."""
    name = hashlib.blake2b(media.data, digest_size=16).hexdigest() + _SUFFIXES.get(media.mime, ".png")
    kind, body = forms.write_multipart(
        [
            ("image", name, media.mime or "image/png", media.data),
            ("type", "", "", b"input"),
            ("subfolder", "", "", b"muxel"),
        ]
    )
    return UpstreamCall("POST", f"{target.base_url}/upload/image", {"Content-Type": kind}, body)


def read_upload_reply(reply: UpstreamReply) -> str | Failed:
    """The file as nodes name it."""
    body = replies.read_answer(reply.body)
    match body:
        case {"name": str(name)} if reply.status == 200 and name:
            folder = body.get("subfolder")
            return f"{folder}/{name}" if isinstance(folder, str) and folder else name
        case _ if reply.status == 200:
            return Failed(Cause.MALFORMED, "the picture was stored without a name")
        case _:
            return _read_error(reply, body)


def poll(handle: Mapping[str, Any], target: Target) -> UpstreamCall:
    return UpstreamCall("GET", f"{target.base_url}/history/{_id(handle)}")


def cancel(handle: Mapping[str, Any], target: Target) -> UpstreamCall | None:
    """Stops this job whether it runs or waits. Servers from before June 2026 do not know the path and go on working:
    what they have instead can hit the job of another."""
    return UpstreamCall("POST", f"{target.base_url}/api/jobs/{_id(handle)}/cancel")


def _id(handle: Mapping[str, Any]) -> str:
    return quote(str(handle["id"]), safe="")


def read_reply(reply: UpstreamReply) -> Step:
    """The answer to the submit, or the history of one job, which is empty until the job has ended."""
    body = replies.read_answer(reply.body)
    if reply.status != 200:
        return _read_error(reply, body)
    match body:
        case {"prompt_id": str(id)} if id:
            return Pending({"id": id}, POLL_AFTER)
        case _ if not body and reply.body.strip() == b"{}":
            return Pending({}, POLL_AFTER)
    entry = next(iter(body.values()), None)
    if not isinstance(entry, dict) or "outputs" not in entry:
        return Failed(Cause.MALFORMED, "the answer is neither a job nor its history", over=False)
    return _read_failure(entry.get("status")) or _read_outputs(entry)


def _read_failure(status: object) -> Failed | None:
    """Why the job failed; None where it did not. Servers of 2023 write no status."""
    match status:
        case None | {"status_str": "success"}:
            return None
        case {"status_str": "error", "messages": list(found)}:
            messages = dict(_messages(found))
        case _:
            return Failed(Cause.MALFORMED, "the history has an unknown status")
    if "execution_interrupted" in messages:
        return Failed(Cause.CANCELED, "the workflow was interrupted")
    error = messages.get("execution_error", {})
    kind, node = str(error.get("exception_type") or ""), str(error.get("node_type") or "the workflow")
    text = replies.excerpt(f"{node} failed: {error.get('exception_message') or kind or 'no reason given'}")
    return Failed(Cause.UNAVAILABLE, text, code=replies.excerpt(kind, 40))


def _messages(messages: Sequence[object]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for message in messages:
        match message:
            case [str(event), dict(data)]:
                yield event, data


def _read_outputs(entry: Mapping[str, Any]) -> Done | Failed:
    match entry:
        case {"prompt": [_, _, _, {"muxel": {"url": str(base_url), "output": str(output)}}, *_]}:
            pass
        case _:
            return Failed(Cause.MALFORMED, "the history does not echo what was sent")
    outputs = entry["outputs"] if isinstance(entry["outputs"], dict) else {}
    nodes = [outputs.get(output)] if output else list(outputs.values())
    files = [file for node in nodes for file in _files(node)]
    kept = [file for file in files if file["type"] == "output"] or files
    artifacts = tuple(Artifact(Media(url=f"{base_url}/view?{urlencode(file)}")) for file in kept)
    return Done(artifacts) if artifacts else Failed(Cause.MALFORMED, "the workflow ended without a picture")


def _files(node: object) -> Iterator[dict[str, str]]:
    """The pictures among what a node put out, by the query that fetches them."""
    images = node.get("images") if isinstance(node, dict) else None
    for image in images if isinstance(images, list) else ():
        if isinstance(image, dict) and isinstance(image.get("filename"), str):
            yield {name: str(image.get(name) or "") for name in ("filename", "subfolder", "type")}


def _read_error(reply: UpstreamReply, body: Mapping[str, Any]) -> Failed:
    """A graph that is refused is the deployment's: whose value a node complains of is not told."""
    nodes = body.get("node_errors")
    complaints = [text for entry in (nodes.values() if isinstance(nodes, dict) else ()) for text in _complaints(entry)]
    match body.get("error"):
        case {"message": str(message)}:
            words = message
        case str(message):
            words = message
        case _:
            words = f"HTTP {reply.status}"
    text = replies.excerpt(": ".join(filter(None, (words, "; ".join(complaints)))))
    return Failed(replies.cause_of(reply.status), text, retry_after=replies.retry_after(reply.headers), over=False)


def _complaints(entry: object) -> Iterator[str]:
    match entry:
        case {"class_type": str(node), "errors": list(errors)}:
            for error in errors:
                if isinstance(error, dict):
                    yield f"{node}: {error.get('message')} ({error.get('details')})"
