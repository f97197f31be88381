"""OpenAI's SDK in front of a ComfyUI: a workflow written into the catalog is called, cached, fed with pictures, refused
and stopped, by a Muxel that has no other provider and no key."""

import asyncio
import base64
from collections.abc import AsyncIterator, Mapping
from datetime import date
from io import BytesIO
from typing import Any

import openai
import pytest
import yaml
from PIL import Image

from proxy.tasks import spawn
from tests.proxy.conftest import Build, World
from tests.proxy.test_exchange import until
from tests.wires.comfy_server import Comfy, comfy_server
from tests.wires.test_comfy_server import DRAW, EDIT, node

# A checkpoint that this server does not have.
BROKEN = {**DRAW, "workflow": {**DRAW["workflow"], "4": node("CheckpointLoaderSimple", ckpt_name="gone.safetensors")}}


@pytest.fixture
async def comfy() -> AsyncIterator[Comfy]:
    async with comfy_server() as comfy:
        yield comfy


def policy(comfy: Comfy, **workflows: Mapping[str, Any]) -> str:
    """The server as the one provider, and a model for each workflow. The first is the cheapest, and so tried first."""
    spec = {"wire": "comfyui", "baseUrl": comfy.url, "credential": "none"}
    models = [model(name, options, 0.001 * rank) for rank, (name, options) in enumerate(workflows.items(), 1)]
    documents = [
        document("Provider", "gpu", spec),
        document("ModelCatalog", "workflows", {"models": models}),
        document("RoutingPolicy", "default", {"objective": "cheapest"}),
    ]
    return yaml.safe_dump_all(documents)


def document(kind: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "muxel.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def model(name: str, options: Mapping[str, Any], usd: float) -> dict[str, Any]:
    slots, found = len(options["inputs"].get("references", ())), {"source": "test", "asOf": date(2026, 11, 21)}
    price = {"formula": {"unit": "image", "usd": usd}, **found}
    return {
        "id": name,
        "vendor": "test",
        "operations": ["image.edit" if slots else "image.generate"],
        "limits": {"maxReferences": slots},
        "quality": {"general": {"score": 0.9, "p25": 0.9, **found}},
        "deployments": [{"provider": "gpu", "remote": name, "options": options, "price": price}],
    }


def sdk(world: World) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{world.muxel.url}/v1", api_key="app", max_retries=0)


async def drawn(world: World, **asked: Any) -> list[Image.Image]:
    async with sdk(world) as client:
        made = await client.images.generate(model="gpt-image-2", prompt="a red fox", size="512x512", **asked)
    return pictures(made)


def pictures(made: openai.types.ImagesResponse) -> list[Image.Image]:
    return [Image.open(BytesIO(base64.b64decode(found.b64_json or ""))) for found in made.data or ()]


def colour(image: Image.Image) -> object:
    return image.convert("RGB").getpixel((0, 0))


def seeds(comfy: Comfy) -> list[int]:
    return [body["prompt"]["3"]["inputs"]["seed"] for body in comfy.prompts]


async def test_a_seed_gives_the_same_picture_again_out_of_the_cache(build: Build, comfy: Comfy) -> None:
    world = await build(policy(comfy, fox=DRAW), sandbox="never")
    [first], [again] = [await drawn(world, extra_body={"seed": 7}) for _ in range(2)]
    assert first.size == (512, 512)
    assert colour(first) == colour(again)
    assert (seeds(comfy), comfy.drawn) == ([7, 7], 1)


async def test_without_a_seed_every_picture_is_another(build: Build, comfy: Comfy) -> None:
    world = await build(policy(comfy, fox=DRAW), sandbox="never")
    found = [*await drawn(world, n=2), *await drawn(world)]
    assert len({colour(image) for image in found}) == 3
    assert len(set(seeds(comfy))) == comfy.drawn == 3


async def test_a_picture_to_work_on_is_uploaded_first(build: Build, comfy: Comfy) -> None:
    world, out = await build(policy(comfy, refox=EDIT), sandbox="never"), BytesIO()
    Image.new("RGB", (320, 192), "#00ff00").save(out, "PNG")
    async with sdk(world) as client:
        [edited] = pictures(await client.images.edit(image=("a.png", out.getvalue()), prompt="in winter"))
    assert edited.size == (320, 192)
    [body] = comfy.prompts
    folder, _, file = body["prompt"]["10"]["inputs"]["image"].rpartition("/")
    assert comfy.files["input", folder, file] == out.getvalue()


async def test_a_workflow_that_the_server_refuses_gives_way_to_another(build: Build, comfy: Comfy) -> None:
    world = await build(policy(comfy, broken=BROKEN, fox=DRAW), sandbox="never")
    async with sdk(world) as client:
        made = await client.images.with_raw_response.generate(model="gpt-image-2", prompt="a red fox")
    assert (made.headers["x-muxel-model"], made.headers["x-muxel-attempts"]) == ("fox", "2")
    assert len(comfy.prompts) == 2
    assert comfy.drawn == 1


async def test_why_the_server_refuses_a_workflow_is_told_where_there_is_no_other(build: Build, comfy: Comfy) -> None:
    world = await build(policy(comfy, broken=BROKEN), sandbox="never")
    with pytest.raises(openai.APIStatusError, match=r"Value not in list \(ckpt_name: 'gone.safetensors' not in"):
        await drawn(world)
    assert len(comfy.prompts) == 1


async def test_a_caller_that_hangs_up_stops_the_job_on_the_server(build: Build, comfy: Comfy) -> None:
    world = await build(policy(comfy, fox=DRAW), sandbox="never")
    comfy.hold()
    caller = spawn(drawn(world), name="caller")

    async def runs() -> bool:
        return comfy.running is not None

    await until(runs)
    assert comfy.running
    name = comfy.running[1]
    caller.cancel()
    async with asyncio.timeout(30):
        await comfy.ended(name)
    assert comfy.history[name]["status"]["messages"][-1][0] == "execution_interrupted"
    assert comfy.drawn == 0
