"""The ComfyUI wire at HTTP level, against a server that behaves as ComfyUI does: every step of a job as the proxy takes
it, and what comes of it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from io import BytesIO
from typing import Any

import aiohttp
import pytest
from PIL import Image

from adapters import comfyui
from adapters.imaging import sniff_mime
from adapters.ir import (
    Cause,
    Done,
    Failed,
    Lora,
    Margins,
    Media,
    MediaRequest,
    Operation,
    Pending,
    Step,
    Target,
    UpstreamCall,
    UpstreamReply,
)
from tests.wires.comfy_server import Comfy, comfy_server


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


DRAW = {
    "workflow": {
        "3": node(
            "KSampler", model=["4", 0], positive=["6", 0], negative=["7", 0], latent_image=["5", 0], seed=0, steps=20,
            cfg=8.0, denoise=1.0,
        ),
        "4": node("CheckpointLoaderSimple", ckpt_name="flux.safetensors"),
        "5": node("EmptyLatentImage", width=512, height=512, batch_size=1),
        "6": node("CLIPTextEncode", text="", clip=["4", 1]),
        "7": node("CLIPTextEncode", text="", clip=["4", 1]),
        "8": node("VAEDecode", samples=["3", 0]),
        "9": node("SaveImage", images=["8", 0], filename_prefix="fox"),
    },
    "inputs": {
        "prompt": "6.text",
        "negative_prompt": "7.text",
        "seed": "3.seed",
        "steps": "3.steps",
        "guidance": "3.cfg",
        "size": "5.width,5.height",
        "n": "5.batch_size",
    },
}  # fmt: skip
EDIT = {
    "workflow": {
        **DRAW["workflow"],
        "3": node(
            "KSampler", model=["12", 0], positive=["6", 0], negative=["7", 0], latent_image=["11", 0], seed=0, steps=20,
            cfg=8.0, denoise=0.5,
        ),
        "10": node("LoadImage", image="example.png"),
        "11": node("VAEEncode", pixels=["10", 0]),
        "12": node("LoraLoaderModelOnly", model=["4", 0], lora_name="foxes.safetensors", strength_model=0.0),
        "13": node("PreviewImage", images=["10", 0]),
    },
    "inputs": {
        **DRAW["inputs"],
        "size": [],
        "references": ["10.image"],
        "strength": "3.denoise",
        "loras": ["12.lora_name,12.strength_model"],
    },
}  # fmt: skip
UPSCALE = {
    "workflow": {
        "1": node("LoadImage", image="example.png"),
        "2": node("ImageScaleBy", image=["1", 0], scale_by=1.0),
        "3": node("SaveImage", images=["2", 0], filename_prefix="large"),
    },
    "inputs": {"references": "1.image", "scale": "2.scale_by"},
}
PAD = {
    "workflow": {
        "1": node("LoadImage", image="example.png"),
        "2": node("ImagePadForOutpaint", image=["1", 0], left=0, top=0, right=0, bottom=0),
        "3": node("PreviewImage", images=["2", 0]),
    },
    "inputs": {"references": "1.image", "margins": "2.left,2.top,2.right,2.bottom"},
}
FOX = MediaRequest(Operation.GENERATE, prompt="a red fox", size=(640, 480), seed=7, steps=4, guidance=3.5)


def picture(width: int, height: int, colour: str = "#ff0000") -> Media:
    out = BytesIO()
    Image.new("RGB", (width, height), colour).save(out, "PNG")
    return Media(data=out.getvalue(), mime="image/png")


class Client:
    """What the proxy does with a wire, one step at a time."""

    def __init__(self, session: aiohttp.ClientSession, comfy: Comfy, options: Mapping[str, Any]) -> None:
        self.session = session
        self.comfy = comfy
        self.target = Target(comfy.url, "fox", options)

    async def call(self, call: UpstreamCall) -> UpstreamReply:
        async with self.session.request(call.method, call.url, headers=call.headers, data=call.body or None) as reply:
            return UpstreamReply(reply.status, {}, await reply.read())

    async def upload(self, media: Media) -> Media:
        name = comfyui.read_upload_reply(await self.call(comfyui.write_upload(media, self.target)))
        assert isinstance(name, str)
        return Media(url=name, mime=media.mime)

    async def submit(self, request: MediaRequest) -> Step:
        request = request.with_pictures([await self.upload(media) for media in request.pictures])
        call = comfyui.write_request(request, self.target)
        assert call.media == len(request.pictures)
        return comfyui.read_reply(await self.call(call))

    async def look(self, handle: Mapping[str, Any]) -> Step:
        return comfyui.read_reply(await self.call(comfyui.poll(handle, self.target)))

    async def run(self, request: MediaRequest) -> Step:
        step = await self.submit(request)
        if isinstance(step, Pending):
            await self.comfy.ended(step.handle["id"])
            return await self.look(step.handle)
        return step

    async def pictures(self, request: MediaRequest) -> list[Image.Image]:
        step = await self.run(request)
        assert isinstance(step, Done)
        found = [await self.call(UpstreamCall("GET", artifact.media.url)) for artifact in step.artifacts]
        assert {sniff_mime(reply.body) for reply in found} == {"image/png"}
        return [Image.open(BytesIO(reply.body)) for reply in found]


@asynccontextmanager
async def client(options: Mapping[str, Any]) -> AsyncIterator[Client]:
    async with comfy_server() as comfy, aiohttp.ClientSession() as session:
        yield Client(session, comfy, options)


async def test_a_workflow_draws_what_was_asked() -> None:
    async with client(DRAW) as comfy:
        pictures = await comfy.pictures(replace(FOX, n=2, negative_prompt="blurry"))
        graph = comfy.comfy.prompts[0]["prompt"]
    assert [found.size for found in pictures] == [(640, 480), (640, 480)]
    assert graph["3"]["inputs"] | {"seed": 7, "steps": 4, "cfg": 3.5} == graph["3"]["inputs"]
    assert (graph["6"]["inputs"]["text"], graph["7"]["inputs"]["text"]) == ("a red fox", "blurry")


async def test_a_picture_is_uploaded_and_worked_on_and_a_preview_is_not_the_result() -> None:
    request = replace(FOX, operation=Operation.EDIT, size=None, strength=0.8, references=(picture(32, 16),))
    request = replace(request, loras=(Lora("foxes.safetensors", 0.9),))
    async with client(EDIT) as comfy:
        pictures = await comfy.pictures(request)
        inputs = comfy.comfy.prompts[0]["prompt"]["12"]["inputs"]
    assert [found.size for found in pictures] == [(32, 16)]
    assert inputs == {"model": ["4", 0], "lora_name": "foxes.safetensors", "strength_model": 0.9}


async def test_the_output_node_is_the_result_where_one_is_named() -> None:
    request = replace(FOX, operation=Operation.EDIT, size=None, references=(picture(32, 16, "#00ff00"),))
    async with client({**EDIT, "output": 13}) as comfy:
        [found] = await comfy.pictures(request)
    assert found.getpixel((0, 0)) == (0, 255, 0)


async def test_a_factor_and_margins_reach_their_nodes() -> None:
    upscale = MediaRequest(Operation.UPSCALE, scale=4.0, references=(picture(8, 8),))
    async with client(UPSCALE) as comfy:
        assert [found.size for found in await comfy.pictures(upscale)] == [(32, 32)]
    outpaint = MediaRequest(Operation.OUTPAINT, margins=Margins(1, 2, 3, 4), references=(picture(8, 8),))
    async with client(PAD) as comfy:  # whose only output is a preview
        assert [found.size for found in await comfy.pictures(outpaint)] == [(12, 14)]


async def test_the_same_picture_is_stored_once_and_another_beside_it() -> None:
    async with client(UPSCALE) as comfy:
        names = [(await comfy.upload(media)).url for media in (picture(8, 8), picture(8, 8), picture(8, 9))]
        assert len(comfy.comfy.files) == 2
    assert names[0] == names[1] != names[2]
    assert all(name.startswith("muxel/") for name in names)


async def test_the_same_seed_is_answered_from_the_cache_and_another_is_not() -> None:
    async with client(DRAW) as comfy:
        first, same = await comfy.run(FOX), await comfy.run(FOX)
        assert comfy.comfy.drawn == 1
        other = await comfy.run(replace(FOX, seed=8))
        assert comfy.comfy.drawn == 2
    assert first == same != other


async def test_a_job_is_pending_until_it_has_ended() -> None:
    async with client(DRAW) as comfy:
        comfy.comfy.hold()
        step = await comfy.submit(FOX)
        assert isinstance(step, Pending)
        assert await comfy.look(step.handle) == Pending({}, comfyui.POLL_AFTER)
        comfy.comfy.go()
        await comfy.comfy.ended(step.handle["id"])
        assert isinstance(await comfy.look(step.handle), Done)


async def test_a_running_job_is_stopped_and_one_of_another_is_not() -> None:
    async with client(DRAW) as comfy:
        comfy.comfy.hold()
        steps = [await comfy.submit(replace(FOX, seed=seed)) for seed in (1, 2, 3)]
        running, waiting, other = (step.handle for step in steps if isinstance(step, Pending))
        await comfy.comfy.started(running["id"])
        for handle in (waiting, running):
            call = comfyui.cancel(handle, comfy.target)
            assert call is not None
            assert (await comfy.call(call)).status == 200
        await comfy.comfy.ended(other["id"])
        assert await comfy.look(running) == Failed(Cause.CANCELED, "the workflow was interrupted")
        assert isinstance(await comfy.look(other), Done)
        assert waiting["id"] not in comfy.comfy.history


async def test_a_card_without_memory_is_unavailable() -> None:
    async with client(DRAW) as comfy:
        comfy.comfy.breaks = ("torch.OutOfMemoryError", "Allocation on device 0 would exceed allowed memory.")
        step = await comfy.run(FOX)
        assert isinstance(await comfy.run(FOX), Done)
    message = "KSampler failed: Allocation on device 0 would exceed allowed memory."
    assert step == Failed(Cause.UNAVAILABLE, message, code="torch.OutOfMemoryError")


@pytest.mark.parametrize(
    ("change", "request_", "message"),
    [
        pytest.param(
            {}, replace(FOX, steps=20_000),
            "Prompt outputs failed validation: KSampler: Value 20000 bigger than max of 10000 (steps)", id="value",
        ),
        pytest.param(
            {"inputs": {"prompt": "99.text"}}, FOX, "Node 'ID #99' has no class_type", id="binding to no node",
        ),
        pytest.param({"workflow": {}, "inputs": {}}, FOX, "Prompt has no outputs", id="no workflow"),
        pytest.param(
            {"workflow": {"1": node("Nobody")}, "inputs": {}}, FOX, "Node 'Nobody' not found", id="custom node missing",
        ),
    ],
)  # fmt: skip
async def test_a_graph_that_is_refused_is_unsupported_and_says_why(
    change: Mapping[str, Any], request_: MediaRequest, message: str
) -> None:
    async with client({**DRAW, **change}) as comfy:
        assert await comfy.run(request_) == Failed(Cause.UNSUPPORTED, message, over=False)


def test_the_workflow_of_a_deployment_is_never_changed() -> None:
    before = repr(DRAW)
    comfyui.write_request(FOX, Target("http://comfy", "fox", DRAW))
    assert repr(DRAW) == before
