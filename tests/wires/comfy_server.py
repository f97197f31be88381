"""A small ComfyUI: the HTTP API of the real one, and nodes enough to draw flat pictures from a workflow.

True to server.py and execution.py of Comfy-Org/ComfyUI (read 2026-11-21) in what a client can tell: the checks of a
prompt and their error bodies, one job at a time, a history that is empty until the job has ended and echoes the prompt,
cached nodes, uploads compared by content, the three ways to cancel. Used by tests of the wire and of the whole proxy.

A job runs as soon as it is queued, unless ``hold`` was called; then until ``go``. ``ended`` waits for a job.
"""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any

import orjson
from aiohttp import web
from PIL import Image

Graph = dict[str, dict[str, Any]]
Reason = dict[str, Any]


@dataclass(frozen=True)
class Node:
    """What the server knows of a class of nodes: its inputs, each with its kind and limits, and whether it saves."""

    inputs: Mapping[str, Any]
    saves: str = ""  # output | temp


LINK = object()
SEED = (int, 0, 2**64 - 1)
NODES = {
    "CheckpointLoaderSimple": Node({"ckpt_name": ["flux.safetensors", "sdxl.safetensors"]}),
    "CLIPTextEncode": Node({"text": str, "clip": LINK}),
    "EmptyLatentImage": Node({"width": (int, 16, 16384), "height": (int, 16, 16384), "batch_size": (int, 1, 4096)}),
    "LoadImage": Node({"image": "file"}),
    "LoadImageMask": Node({"image": "file", "channel": ["alpha", "red", "green", "blue"]}),
    "LoraLoaderModelOnly": Node(
        {"model": LINK, "lora_name": ["foxes.safetensors"], "strength_model": (float, -100, 100)}
    ),
    "VAEEncode": Node({"pixels": LINK}),
    "KSampler": Node(
        {
            "model": LINK,
            "positive": LINK,
            "negative": LINK,
            "latent_image": LINK,
            "seed": SEED,
            "steps": (int, 1, 10000),
            "cfg": (float, 0, 100),
            "denoise": (float, 0, 1),
        }
    ),
    "ImageScaleBy": Node({"image": LINK, "scale_by": (float, 0.01, 8)}),
    "ImagePadForOutpaint": Node({"image": LINK, **dict.fromkeys(("left", "top", "right", "bottom"), (int, 0, 16384))}),
    "VAEDecode": Node({"samples": LINK}),
    "SaveImage": Node({"images": LINK, "filename_prefix": str}, "output"),
    "PreviewImage": Node({"images": LINK}, "temp"),
}


@dataclass
class Comfy:
    """The server's state, for tests to look at and to steer."""

    url: str = ""
    prompts: list[dict[str, Any]] = field(default_factory=list)  # every body of POST /prompt
    files: dict[tuple[str, str, str], bytes] = field(default_factory=dict)  # (type, subfolder, name)
    pending: list[tuple[Any, ...]] = field(default_factory=list)
    running: tuple[Any, ...] | None = None
    history: dict[str, dict[str, Any]] = field(default_factory=dict)
    drawn: int = 0  # how many pictures were made, and not taken from the cache
    breaks: tuple[str, str] | None = None  # type and message of the exception with which the next job ends
    _cache: dict[str, Any] = field(default_factory=dict)
    _going: asyncio.Event = field(default_factory=asyncio.Event)
    _interrupted: bool = False
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    def hold(self) -> None:
        self._going.clear()

    def go(self) -> None:
        self._going.set()

    async def ended(self, prompt_id: str) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: prompt_id in self.history)

    async def started(self, prompt_id: str) -> None:
        async with self._changed:
            await self._changed.wait_for(lambda: self.running is not None and self.running[1] == prompt_id)

    # ------------------------------------------------------------------------------------------------------- the queue

    async def put(self, item: tuple[Any, ...]) -> None:
        async with self._changed:
            self.pending.append(item)
            self._changed.notify_all()

    async def work(self) -> None:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self.pending)
                self.running, self._interrupted = self.pending.pop(0), False
                self._changed.notify_all()
            await self._going.wait()
            async with self._changed:
                self.history[self.running[1]] = self._run(self.running)
                self.running = None
                self._changed.notify_all()

    def _run(self, item: tuple[Any, ...]) -> dict[str, Any]:
        _, prompt_id, graph, _, targets = item
        told: list[tuple[str, dict[str, Any]]] = [("execution_start", {"prompt_id": prompt_id})]
        outputs: dict[str, Any] = {}
        if self._interrupted:
            told.append(("execution_interrupted", {"prompt_id": prompt_id, "node_id": targets[0], "executed": []}))
        elif self.breaks:
            kind, message = self.breaks
            self.breaks = None
            error = {"exception_type": kind, "exception_message": message, "traceback": [], "executed": []}
            told.append(("execution_error", {"prompt_id": prompt_id, "node_id": "3", "node_type": "KSampler", **error}))
        else:
            outputs = {node: self._save(graph, node) for node in targets}
            told.append(("execution_success", {"prompt_id": prompt_id}))
        status = {"status_str": "success" if outputs else "error", "completed": bool(outputs), "messages": told}
        return {"prompt": list(item), "outputs": outputs, "status": status, "meta": {}}

    def interrupt(self) -> None:
        """As in the real one only the flag is set; the job sees it when it next looks."""
        if self.running is not None:
            self._interrupted = True
            self.go()

    def delete(self, prompt_id: str) -> bool:
        kept = [item for item in self.pending if item[1] != prompt_id]
        found = len(kept) < len(self.pending)
        self.pending[:] = kept
        return found

    # ------------------------------------------------------------------------------------------------------- the nodes

    def _save(self, graph: Graph, node: str) -> dict[str, Any]:
        """The files of a node; those it made before if nothing that leads to it has changed."""
        key = orjson.dumps(self._signature(graph, node)).decode()
        if key not in self._cache:
            place = NODES[graph[node]["class_type"]].saves
            prefix = graph[node]["inputs"].get("filename_prefix", "ComfyUI_temp")
            images = []
            for picture in self._pictures(graph, graph[node]["inputs"]["images"][0]):
                self.drawn += 1
                name = f"{prefix}_{self.drawn:05}_.png"
                out = BytesIO()
                picture.save(out, "PNG")
                self.files[place, "", name] = out.getvalue()
                images.append({"filename": name, "subfolder": "", "type": place})
            self._cache[key] = {"images": images}
        return dict(self._cache[key])

    def _signature(self, graph: Graph, node: str) -> Any:
        """Everything that leads to a node."""
        inputs = graph[node]["inputs"]
        return [graph[node]["class_type"], {name: self._followed(graph, inputs[name]) for name in sorted(inputs)}]

    def _followed(self, graph: Graph, value: Any) -> Any:
        return self._signature(graph, value[0]) if isinstance(value, list) else value

    def _pictures(self, graph: Graph, node: str) -> list[Image.Image]:
        """What comes out of a node: sizes as the real one has them, and a colour for all that led to it."""
        inputs = graph[node]["inputs"]
        match graph[node]["class_type"]:
            case "EmptyLatentImage":
                return [Image.new("RGB", (inputs["width"], inputs["height"]))] * inputs["batch_size"]
            case "LoadImage":
                return [Image.open(BytesIO(self.files[_place(inputs["image"])])).convert("RGB")]
            case "ImageScaleBy":
                found = self._pictures(graph, inputs["image"][0])
                return [
                    one.resize((round(one.width * inputs["scale_by"]), round(one.height * inputs["scale_by"])))
                    for one in found
                ]
            case "ImagePadForOutpaint":
                return [_padded(one, inputs) for one in self._pictures(graph, inputs["image"][0])]
            case "KSampler":
                digest = hashlib.sha256(orjson.dumps(self._signature(graph, node))).hexdigest()
                found = self._pictures(graph, inputs["latent_image"][0])
                return [Image.new("RGB", one.size, f"#{digest[index : index + 6]}") for index, one in enumerate(found)]
            case _:  # VAEDecode and VAEEncode
                [(source, _)] = [value for value in inputs.values() if isinstance(value, list)][:1]
                return self._pictures(graph, source)

    # ------------------------------------------------------------------------------------------------------ the checks

    def check(self, graph: Graph) -> tuple[Reason | None, list[str], dict[str, Any]]:
        """(error, nodes to run, errors by node), as ``validate_prompt`` has it."""
        for name, node in graph.items():
            kind = node.get("class_type")
            if kind not in NODES:
                said = f"Node '{kind}' not found" if kind else f"Node 'ID #{name}' has no class_type"
                extra = {"node_id": name, "class_type": kind}
                return _reason("missing_node_type", said, f"Node ID '#{name}'", extra), [], {}
        targets = [name for name, node in graph.items() if NODES[node["class_type"]].saves]
        if not targets:
            return _reason("prompt_no_outputs", "Prompt has no outputs", ""), [], {}
        reasons = {name: found for name, node in graph.items() if (found := self._complaints(node))}
        if not reasons:
            return None, targets, {}
        errors = {
            name: {"errors": found, "dependent_outputs": targets, "class_type": graph[name]["class_type"]}
            for name, found in reasons.items()
        }
        details = "\n".join(f"{one['message']}: {one['details']}" for found in reasons.values() for one in found)
        return _reason("prompt_outputs_failed_validation", "Prompt outputs failed validation", details), [], errors

    def _complaints(self, node: Mapping[str, Any]) -> list[Reason]:
        given = node["inputs"]
        found = []
        for name, kind in NODES[node["class_type"]].inputs.items():
            if name not in given:
                found.append(_reason("required_input_missing", "Required input is missing", name, {"input_name": name}))
            elif reason := self._complaint(name, kind, given[name]):
                found.append(reason)
        return found

    def _complaint(self, name: str, kind: Any, value: Any) -> Reason | None:
        extra = {"input_name": name, "received_value": value}
        match kind:
            case list() if value not in kind:
                return _reason("value_not_in_list", "Value not in list", f"{name}: {value!r} not in {kind}", extra)
            case (_, low, _) if value < low:
                return _reason("value_smaller_than_min", f"Value {value} smaller than min of {low}", name, extra)
            case (_, _, high) if value > high:
                return _reason("value_bigger_than_max", f"Value {value} bigger than max of {high}", name, extra)
            case "file" if _place(value) not in self.files:
                details = f"{name} - Invalid image file: {value}"
                return _reason("custom_validation_failed", "Custom validation failed for node", details, extra)
            case _:
                return None


def _reason(kind: str, message: str, details: str, extra: Mapping[str, Any] | None = None) -> Reason:
    return {"type": kind, "message": message, "details": details, "extra_info": dict(extra or {})}


def _place(name: str) -> tuple[str, str, str]:
    folder, _, file = name.rpartition("/")
    return "input", folder, file


def _padded(picture: Image.Image, inputs: Mapping[str, Any]) -> Image.Image:
    size = (picture.width + inputs["left"] + inputs["right"], picture.height + inputs["top"] + inputs["bottom"])
    padded = Image.new("RGB", size, "#808080")
    padded.paste(picture, (inputs["left"], inputs["top"]))
    return padded


# ---------------------------------------------------------------------------------------------------------- the routes


async def _prompt(comfy: Comfy, request: web.Request) -> web.Response:
    body = await request.json()
    comfy.prompts.append(body)
    if "prompt" not in body:
        error = _reason("no_prompt", "No prompt provided", "No prompt provided")
        return web.json_response({"error": error, "node_errors": {}}, status=400)
    graph = body["prompt"]
    error, targets, errors = comfy.check(graph)
    if error:
        return web.json_response({"error": error, "node_errors": errors}, status=400)
    name, number = str(uuid.uuid4()), len(comfy.prompts) - 1
    await comfy.put((number, name, graph, body.get("extra_data", {}), targets))
    return web.json_response({"prompt_id": name, "number": number, "node_errors": {}})


async def _history(comfy: Comfy, request: web.Request) -> web.Response:
    name = request.match_info["id"]
    return web.json_response({name: comfy.history[name]} if name in comfy.history else {})


async def _view(comfy: Comfy, request: web.Request) -> web.Response:
    query = request.query
    data = comfy.files.get((query.get("type", "output"), query.get("subfolder", ""), query.get("filename", "")))
    return web.Response(body=data, content_type="image/png") if data else web.Response(status=404)


async def _upload(comfy: Comfy, request: web.Request) -> web.Response:
    form = await request.post()
    image = form.get("image")
    if not isinstance(image, web.FileField) or not image.filename:
        return web.Response(status=400)
    kind, folder, name = str(form.get("type", "input")), str(form.get("subfolder", "")), image.filename
    data = image.file.read()
    stem, dot, suffix = name.rpartition(".")
    copies = 1
    while form.get("overwrite") not in ("true", "1") and comfy.files.get((kind, folder, name), data) != data:
        name = f"{stem} ({copies}){dot}{suffix}"
        copies += 1
    comfy.files[kind, folder, name] = data
    return web.json_response({"name": name, "subfolder": folder, "type": kind})


async def _queue(comfy: Comfy, request: web.Request) -> web.Response:
    body = await request.json()
    if body.get("clear"):
        comfy.pending.clear()
    for name in body.get("delete", ()):
        comfy.delete(name)
    return web.Response()


async def _queued(comfy: Comfy, request: web.Request) -> web.Response:
    running = [list(comfy.running)] if comfy.running else []
    return web.json_response({"queue_running": running, "queue_pending": [list(item) for item in comfy.pending]})


async def _interrupt(comfy: Comfy, request: web.Request) -> web.Response:
    """Whatever runs, unless a job is named."""
    body = orjson.loads(await request.read() or b"{}")
    name = body.get("prompt_id")
    if not name or (comfy.running and comfy.running[1] == name):
        comfy.interrupt()
    return web.Response()


async def _cancel(comfy: Comfy, request: web.Request) -> web.Response:
    name = request.match_info["id"]
    if comfy.running and comfy.running[1] == name:
        comfy.interrupt()
        return web.json_response({"cancelled": True})
    return web.json_response({"cancelled": comfy.delete(name)})


_ROUTES: tuple[tuple[str, str, Callable[[Comfy, web.Request], Any]], ...] = (
    ("POST", "/prompt", _prompt),
    ("GET", "/history/{id}", _history),
    ("GET", "/view", _view),
    ("POST", "/upload/image", _upload),
    ("GET", "/queue", _queued),
    ("POST", "/queue", _queue),
    ("POST", "/interrupt", _interrupt),
    ("POST", "/api/jobs/{id}/cancel", _cancel),
)


@asynccontextmanager
async def comfy_server() -> AsyncIterator[Comfy]:
    """The server on a free port of loopback."""
    comfy = Comfy()
    comfy.go()
    app = web.Application(client_max_size=100 * 2**20)

    def bound(answer: Callable[[Comfy, web.Request], Any]) -> Callable[[web.Request], Any]:
        async def handle(request: web.Request) -> web.Response:
            reply: web.Response = await answer(comfy, request)
            return reply

        return handle

    for method, path, answer in _ROUTES:
        app.router.add_route(method, path, bound(answer))
    runner = web.AppRunner(app)
    await runner.setup()
    async with asyncio.TaskGroup() as tasks:
        worker = tasks.create_task(comfy.work())
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            host, port = runner.addresses[0][:2]
            comfy.url = f"http://{host}:{port}"
            yield comfy
        finally:
            worker.cancel()
            await runner.cleanup()
