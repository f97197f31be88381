"""The official SDKs, unchanged but for their base URL, in the ways that the pairs do not cover."""

import asyncio
from io import BytesIO

import google.genai
import openai
import pytest
import replicate
from google.genai import errors, types
from PIL import Image

from tests.proxy.conftest import World

pytestmark = pytest.mark.filterwarnings(  # google-genai subclasses aiohttp's session, which aiohttp discourages
    "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"
)
REFUSED = "a portrait of a forbidden-sandbox-word"


def google_client(world: World) -> google.genai.Client:
    options = types.HttpOptions(base_url=f"{world.muxel.url}/gemini")
    return google.genai.Client(api_key="app", http_options=options)


def replicate_client(world: World) -> replicate.Client:
    return replicate.Client(api_token="r8_app", base_url=f"{world.muxel.url}/replicate")


async def test_the_synchronous_openai_client_works_as_well(world: World) -> None:
    def generate() -> openai.types.ImagesResponse:
        with openai.OpenAI(base_url=f"{world.muxel.url}/openai/v1", api_key="app") as client:
            return client.images.generate(model="gpt-image-2", prompt="a fox", size="1536x1024", output_format="webp")

    made = await asyncio.to_thread(generate)
    assert (made.size, made.output_format) == ("1536x1024", "webp")


async def test_a_google_stream_is_one_chunk_with_the_picture(world: World) -> None:
    client = google_client(world)
    config = types.GenerateContentConfig(response_modalities=["IMAGE"])
    stream = await client.aio.models.generate_content_stream(
        model="gemini-3-pro-image", contents="a fox", config=config
    )
    chunks = [chunk async for chunk in stream]
    await client.aio.aclose()
    assert len(chunks) == 1
    assert chunks[0].parts
    assert chunks[0].parts[0].inline_data
    with Image.open(BytesIO(chunks[0].parts[0].inline_data.data or b"")) as image:
        assert image.size[0] > 0


async def test_a_refusal_reaches_google_callers_inside_a_200(world: World) -> None:
    client = google_client(world)
    answer = await client.aio.models.generate_content(model="gemini-3-pro-image", contents=REFUSED)
    await client.aio.aclose()
    assert not answer.candidates
    assert answer.prompt_feedback
    assert answer.prompt_feedback.block_reason


async def test_google_callers_are_told_which_field_is_wrong(world: World) -> None:
    client = google_client(world)
    config = types.GenerateContentConfig(image_config=types.ImageConfig(aspect_ratio="wide"))
    with pytest.raises(errors.ClientError, match="aspectRatio"):
        await client.aio.models.generate_content(model="gemini-3-pro-image", contents="a fox", config=config)
    await client.aio.aclose()


async def test_replicate_runs_a_version_and_asks_about_it(world: World) -> None:
    client = replicate_client(world)
    output = await client.async_run(
        "stability-ai/sdxl:7762fd07cf82c948538e41f63f77d685e02b063e", input={"prompt": "a fox"}
    )
    with Image.open(BytesIO(await output[0].aread())) as image:
        assert image.size[0] > 0
    await client._async_client.aclose()  # the SDK has no way of its own to close it


async def test_replicate_polls_a_prediction_it_did_not_wait_for(world: World) -> None:
    world.faults.put({"provider": "*", "latency": {"p50": 2.5, "p95": 2.5}})
    client = replicate_client(world)
    prediction = await client.models.predictions.async_create(
        model=("black-forest-labs", "flux-schnell"), input={"prompt": "a fox"}, wait=False
    )
    assert prediction.status == "starting"
    await prediction.async_wait()
    assert prediction.status == "succeeded"
    assert prediction.output[0].startswith("data:image/")
    await client._async_client.aclose()


async def test_a_refusal_reaches_replicate_callers_as_a_failed_prediction(world: World) -> None:
    client = replicate_client(world)
    with pytest.raises(replicate.exceptions.ModelError, match="E005"):
        await client.async_run("black-forest-labs/flux-schnell", input={"prompt": REFUSED})
    assert sum((await world.purchases()).values()) == 1
    await client._async_client.aclose()


async def test_a_file_stored_with_us_can_be_looked_up(world: World) -> None:
    client = replicate_client(world)
    stored = await client.files.async_create(BytesIO(b"\x89PNG\r\n\x1a\n"), filename="a.png")
    found = await client.files.async_get(stored.id)
    assert found.id == stored.id
    assert found.urls["get"].startswith(world.muxel.url)
    await client._async_client.aclose()
