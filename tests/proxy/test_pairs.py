"""Every caller's wire against every provider's, with the official SDK where there is one: the picture comes back in the
caller's shape and size, and exactly one provider was asked."""

import base64
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Any

import google.genai
import openai
import pytest
import replicate
from google.genai import types
from PIL import Image

from tests.proxy.conftest import Build, World

PROVIDERS = {  # by provider: a deployment that makes pictures, and one that changes them
    "openai": ("gpt-image-2-medium@openai", "gpt-image-2-medium@openai"),
    "google": ("gemini-3.1-flash-image@google", "gemini-3.1-flash-image@google"),
    "bfl": ("flux-2-pro@bfl", "flux-2-pro@bfl"),
    "replicate": ("flux-2-pro@replicate", "flux-kontext-pro@replicate"),
}
pytestmark = pytest.mark.filterwarnings(  # google-genai subclasses aiohttp's session, which aiohttp discourages
    "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"
)

PROMPT = "a lighthouse above the sea at dusk"
Caller = Callable[[World, str, bytes | None], Awaitable[bytes]]


def opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data))
    image.load()
    return image


def drawing() -> bytes:
    out = BytesIO()
    Image.linear_gradient("L").resize((640, 640)).convert("RGB").save(out, "PNG")
    return out.getvalue()


async def by_openai(world: World, model: str, reference: bytes | None) -> bytes:
    async with openai.AsyncOpenAI(
        base_url=f"{world.muxel.url}/v1", api_key="app", max_retries=0, default_headers={"x-muxel-model": model}
    ) as client:
        fields: dict[str, Any] = {"model": "gpt-image-2", "prompt": PROMPT, "size": "1024x1024"}
        if reference is None:
            made = await client.images.generate(**fields)
        else:
            made = await client.images.edit(image=("a.png", reference, "image/png"), **fields)
    assert made.data
    assert made.size == "1024x1024"
    return base64.b64decode(made.data[0].b64_json or "")


async def by_google(world: World, model: str, reference: bytes | None) -> bytes:
    options = types.HttpOptions(base_url=f"{world.muxel.url}/gemini", headers={"x-muxel-model": model})
    client = google.genai.Client(api_key="app", http_options=options)
    contents: list[Any] = [PROMPT]
    if reference is not None:
        contents.append(types.Part.from_bytes(data=reference, mime_type="image/png"))
    config = types.GenerateContentConfig(
        response_modalities=["IMAGE"], image_config=types.ImageConfig(aspect_ratio="1:1", image_size="1K")
    )
    try:
        made = await client.aio.models.generate_content(model="gemini-3-pro-image", contents=contents, config=config)
    finally:
        await client.aio.aclose()
    assert made.candidates
    content = made.candidates[0].content
    assert content
    assert content.parts
    pictures = [part.inline_data.data for part in content.parts if part.inline_data]
    assert pictures[0]
    return pictures[0]


async def by_replicate(world: World, model: str, reference: bytes | None) -> bytes:
    client = replicate.Client(
        api_token="r8_app", base_url=f"{world.muxel.url}/replicate", headers={"x-muxel-model": model}
    )
    fields: dict[str, Any] = {"prompt": PROMPT, "aspect_ratio": "1:1", "output_format": "png"}
    if reference is not None:
        fields["input_image"] = BytesIO(reference)  # the SDK stores it with us first
    try:
        output = await client.async_run("black-forest-labs/flux-kontext-max", input=fields)
        return bytes(await output[0].aread())
    finally:
        await client._async_client.aclose()  # the SDK has no way of its own to close it


async def by_bfl(world: World, model: str, reference: bytes | None) -> bytes:
    fields: dict[str, Any] = {"prompt": PROMPT, "width": 1024, "height": 1024, "output_format": "png"}
    if reference is not None:
        fields["input_image"] = base64.b64encode(reference).decode()
    headers = {"x-key": "app", "x-muxel-model": model}
    async with world.http.post(f"{world.muxel.url}/bfl/v1/flux-2-max", json=fields, headers=headers) as reply:
        polling_url = (await reply.json())["polling_url"]
    await world.muxel.services.jobs.drain(30.0)
    async with world.http.get(polling_url, headers={"x-key": "app"}) as reply:
        answer = await reply.json()
    assert answer["status"] == "Ready", answer
    async with world.http.get(answer["result"]["sample"]) as reply:
        return await reply.read()


CALLERS: dict[str, Caller] = {
    "openai": by_openai, "google": by_google, "replicate": by_replicate, "bfl": by_bfl,
}  # fmt: skip


@pytest.mark.parametrize("edit", [False, True], ids=["generate", "edit"])
@pytest.mark.parametrize("provider", PROVIDERS)
@pytest.mark.parametrize("caller", CALLERS)
async def test_a_picture_crosses_from_any_provider_to_any_caller(
    build: Build, caller: str, provider: str, edit: bool
) -> None:
    world = await build()
    data = await CALLERS[caller](world, PROVIDERS[provider][edit], drawing() if edit else None)
    assert opened(data).size == (1024, 1024)
    assert set(await world.purchases()) == {provider}
