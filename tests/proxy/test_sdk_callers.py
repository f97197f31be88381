"""Every official SDK, changed in nothing but its base URL, at a whole Muxel: it gets its pictures and its refusals.

To add an SDK, write a function under ``@sdk``: it asks for one picture, of a picture where it is given one, and returns
the URL of what it got. The SDKs of OpenAI, Google and Replicate at their plain base URLs are in ``test_pairs``.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import boto3
import dashscope
import fal_client.client
import openai
import orjson
import pytest
import together
import volcenginesdkarkruntime as ark
from dashscope.aigc.image_synthesis import ImageSynthesis
from dashscope.aigc.multimodal_conversation import AioMultiModalConversation, MultiModalConversation
from dashscope.api_entities.aio_session import close_shared_aio_session
from dashscope.api_entities.http_request import close_shared_sync_session
from fal_client import AsyncClient, FalClientHTTPError
from google import genai
from google.genai import types
from PIL import Image
from volcenginesdkarkruntime._exceptions import ArkBadRequestError

from adapters.imaging import encode_base64
from tests.proxy.conftest import Build, World
from tests.proxy.test_reroute import certificate

pytestmark = [  # google-genai's own, and of what it is asked for
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The (generate_images|edit_image) method is deprecated"),
]

PROVIDER = "google"  # which answers at once, and has a word of its own for a refusal
PINNED = {"x-muxel-model": "gemini-3.1-flash-image@google"}
PROMPT = "a lighthouse above the sea at dusk"
REFUSED = "a portrait of a forbidden-sandbox-word"
SIZE = (1024, 1024)

Start = Callable[[], Awaitable[World]]
Use = Callable[[str, str, bytes | None], Awaitable[str] | str]  # (Muxel's URL, prompt, picture) -> the URL of a picture


class Refusal(Exception):
    """What an app makes of an answer that says so, where the SDK does not raise."""


@dataclass(frozen=True, slots=True)
class Sdk:
    use: Use
    error: type[Exception]
    says: str


SDKS: dict[str, Sdk] = {}


def sdk(error: type[Exception], says: str) -> Callable[[Use], Use]:
    """Adds an SDK, which tells a refusal by this error with this in it."""

    def add(use: Use) -> Use:
        SDKS[use.__name__] = Sdk(use, error, says)
        return use

    return add


def inline(data: bytes | str | None) -> str:
    """A picture, as it is or in base64, as a data URI."""
    assert data
    return f"data:image/png;base64,{data if isinstance(data, str) else encode_base64(data)}"


# ---------------------------------------------- the SDK of OpenAI, for Azure and for those who have no SDK of their own

OPENAI: dict[str, Any] = {"api_key": "app", "default_headers": PINNED}
AZURE: dict[str, Any] = {**OPENAI, "api_version": "2025-04-01-preview"}
GPT: dict[str, Any] = {"model": "my-gpt-image", "size": "1024x1024", "quality": "low"}


@sdk(openai.BadRequestError, "moderation_blocked")
def azure(url: str, prompt: str, picture: bytes | None) -> str:
    with openai.AzureOpenAI(azure_endpoint=url, **AZURE) as client:
        if picture:
            made = client.images.edit(image=("a.png", picture), prompt=prompt, **GPT)
        else:
            made = client.images.generate(prompt=prompt, **GPT)
    assert made.data
    return inline(made.data[0].b64_json)


@sdk(openai.BadRequestError, "moderation_blocked")
async def azure_async(url: str, prompt: str, picture: bytes | None) -> str:
    async with openai.AsyncAzureOpenAI(azure_endpoint=url, **AZURE) as client:
        if picture:
            made = await client.images.edit(image=("a.png", picture), prompt=prompt, **GPT)
        else:
            made = await client.images.generate(prompt=prompt, **GPT)
    assert made.data
    return inline(made.data[0].b64_json)


@sdk(openai.BadRequestError, "imagine:content-moderated")
async def xai(url: str, prompt: str, picture: bytes | None) -> str:
    shape = {"aspect_ratio": "1:1", "resolution": "1k"}
    asked: dict[str, Any] = {"model": "grok-imagine-image-2.0", "prompt": prompt}
    async with openai.AsyncOpenAI(base_url=f"{url}/xai/v1", **OPENAI) as client:
        if picture:  # the SDK's own edit is multipart, which xAI refuses
            body = {**asked, **shape, "image": {"url": inline(picture), "type": "image_url"}}
            made = await client.post("/images/edits", body=body, cast_to=openai.types.ImagesResponse)
        else:
            made = await client.images.generate(**asked, extra_body=shape)
    assert made.data
    return made.data[0].url or ""


@sdk(openai.BadRequestError, "moderation_blocked")
async def recraft(url: str, prompt: str, picture: bytes | None) -> str:
    async with openai.AsyncOpenAI(base_url=f"{url}/recraft/v1", **OPENAI) as client:
        if picture:
            made = await client.post(
                "/images/imageToImage",
                body={"prompt": prompt, "strength": 0.5},
                files={"image": ("a.png", picture)},
                options={"headers": {"Content-Type": "multipart/form-data"}},
                cast_to=openai.types.ImagesResponse,
            )
        else:
            made = await client.images.generate(prompt=prompt, model="recraftv3", size="1024x1024")
    assert made.data
    return made.data[0].url or ""


# ---------------------------------------------------------------------------------------------- Together and Volcengine

FLUX: dict[str, Any] = {"model": "black-forest-labs/FLUX.1-kontext-pro", "width": 1024, "height": 1024}
SEEDREAM: dict[str, Any] = {"model": "doubao-seedream-4-0-250828", "size": "1024x1024", "extra_headers": PINNED}


@sdk(together.UnprocessableEntityError, "refused by the content policy")
def together_sync(url: str, prompt: str, picture: bytes | None) -> str:
    given: dict[str, Any] = {"image_url": inline(picture)} if picture else {}
    with together.Together(api_key="app", base_url=f"{url}/together", default_headers=PINNED) as client:
        made = client.images.generate(prompt=prompt, **FLUX, **given)
    return str(made.data[0].url)


@sdk(together.UnprocessableEntityError, "refused by the content policy")
async def together_async(url: str, prompt: str, picture: bytes | None) -> str:
    given: dict[str, Any] = {"reference_images": [inline(picture)]} if picture else {}
    async with together.AsyncTogether(api_key="app", base_url=f"{url}/together", default_headers=PINNED) as client:
        made = await client.images.generate(prompt=prompt, response_format="base64", **FLUX, **given)
    return inline(made.data[0].b64_json)


@sdk(ArkBadRequestError, "OutputImageSensitiveContentDetected")
def ark_sync(url: str, prompt: str, picture: bytes | None) -> str:
    given: dict[str, Any] = {"image": inline(picture)} if picture else {}
    with ark.Ark(api_key="app", base_url=f"{url}/ark/api/v3") as client:
        made = client.images.generate(prompt=prompt, **SEEDREAM, **given)
    return str(made.data[0].url)


@sdk(ArkBadRequestError, "OutputImageSensitiveContentDetected")
async def ark_async(url: str, prompt: str, picture: bytes | None) -> str:
    given: dict[str, Any] = {"image": [inline(picture)]} if picture else {}
    async with ark.AsyncArk(api_key="app", base_url=f"{url}/ark/api/v3") as client:
        made = await client.images.generate(prompt=prompt, response_format="b64_json", **SEEDREAM, **given)
    return inline(made.data[0].b64_json)


# -------------------------------------------------------------------------------------------------------------- Bedrock


@sdk(Refusal, "Filter reason: prompt")
def bedrock(url: str, prompt: str, picture: bytes | None) -> str:
    def pin(request: Any, **_: Any) -> None:
        request.headers.add_header("x-muxel-model", PINNED["x-muxel-model"])

    given = {"mode": "image-to-image", "image": encode_base64(picture), "strength": 0.5} if picture else {}
    body = {"prompt": prompt, **(given or {"aspect_ratio": "1:1"})}
    keys = {"aws_access_key_id": "id", "aws_secret_access_key": "secret", "region_name": "us-west-2"}
    client = boto3.client("bedrock-runtime", endpoint_url=f"{url}/bedrock", **keys)
    client.meta.events.register("before-sign.bedrock-runtime.InvokeModel", pin)
    try:
        made = client.invoke_model(modelId="stability.sd3-5-large-v1:0", body=orjson.dumps(body))
        answer = orjson.loads(made["body"].read())
    finally:
        client.close()
    if reason := answer["finish_reasons"][0]:
        raise Refusal(reason)
    return inline(answer["images"][0])


# ------------------------------------------------------------------------------------------------------------ DashScope

QWEN: dict[str, Any] = {"api_key": "app", "headers": PINNED, "size": "1024*1024", "n": 1}


def messages(prompt: str, picture: bytes | None) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [*([{"image": inline(picture)}] if picture else []), {"text": prompt}]}]


def replied(answer: Any) -> str:
    if answer.status_code != 200:
        raise Refusal(answer.code)
    return str(answer.output.choices[0].message.content[0]["image"])


@sdk(Refusal, "DataInspectionFailed")
def dashscope_conversation(url: str, prompt: str, picture: bytes | None) -> str:
    return replied(MultiModalConversation.call("qwen-image-2.0", messages=messages(prompt, picture), **QWEN))


@sdk(Refusal, "DataInspectionFailed")
async def dashscope_conversation_async(url: str, prompt: str, picture: bytes | None) -> str:
    answer = await AioMultiModalConversation.call("qwen-image-2.0", messages=messages(prompt, picture), **QWEN)
    return replied(answer)


@sdk(Refusal, "DataInspectionFailed")
def dashscope_synthesis(url: str, prompt: str, picture: bytes | None) -> str:
    model, given = ("wan2.5-i2i-preview", {"images": [inline(picture)]}) if picture else ("wan2.5-t2i-preview", {})
    output = ImageSynthesis.call(model, prompt, **given, **QWEN).output
    if output.task_status == "FAILED":
        raise Refusal(output.code)
    return str(output.results[0].url)


# ------------------------------------------------------------------------------------------------------------------ fal


def arguments(prompt: str, picture: bytes | None) -> dict[str, Any]:
    given: dict[str, Any] = {"image_url": inline(picture)} if picture else {}
    return {"prompt": prompt, "image_size": "square_hd", "output_format": "png", **given}


async def from_fal(call: str, prompt: str, picture: bytes | None) -> str:
    app = "fal-ai/flux-pro/kontext" if picture else "fal-ai/flux/dev"
    client = AsyncClient(key="app")
    try:
        made = await getattr(client, call)(app, arguments(prompt, picture), headers=PINNED)
    finally:
        await (await client._client).aclose()  # the SDK has no way of its own to close it
    return str(made["images"][0]["url"])


@sdk(FalClientHTTPError, "content_policy_violation")
async def fal_run(url: str, prompt: str, picture: bytes | None) -> str:
    return await from_fal("run", prompt, picture)


@sdk(FalClientHTTPError, "content_policy_violation")
async def fal_subscribe(url: str, prompt: str, picture: bytes | None) -> str:
    return await from_fal("subscribe", prompt, picture)


# --------------------------------------------------------------------------------------------------------------- Google


def google(url: str, **options: Any) -> Any:  # by the types of the SDK an interaction may always be a stream
    return genai.Client(api_key="app", http_options={"base_url": f"{url}/gemini", "headers": PINNED}, **options)


@sdk(Refusal, "PROHIBITED_CONTENT")
async def vertex(url: str, prompt: str, picture: bytes | None) -> str:
    contents = [prompt, *([types.Part.from_bytes(data=picture, mime_type="image/png")] if picture else [])]
    image = types.ImageConfig(aspect_ratio="1:1", image_size="1K")
    config = types.GenerateContentConfig(response_modalities=["IMAGE"], image_config=image)
    client = google(url, vertexai=True)
    made = await client.aio.models.generate_content(model="gemini-3-pro-image", contents=contents, config=config)
    await client.aio.aclose()
    if made.prompt_feedback:
        raise Refusal(made.prompt_feedback.block_reason)
    return inline(next(part.inline_data.data for part in made.parts if part.inline_data))


@sdk(Refusal, "refused by the content policy")
def imagen(url: str, prompt: str, picture: bytes | None) -> str:
    with google(url, vertexai=True) as client:
        if picture:
            raw = types.RawReferenceImage(reference_id=1, reference_image=types.Image(image_bytes=picture))
            made = client.models.edit_image(model="imagen-3.0-capability-001", prompt=prompt, reference_images=[raw])
        else:
            config = types.GenerateImagesConfig(number_of_images=1, aspect_ratio="1:1", image_size="1K")
            made = client.models.generate_images(model="imagen-4.0-generate-001", prompt=prompt, config=config)
    [image] = made.generated_images
    if image.rai_filtered_reason:
        raise Refusal(image.rai_filtered_reason)
    return inline(image.image.image_bytes)


@sdk(Refusal, "refused by the content policy")
async def interactions(url: str, prompt: str, picture: bytes | None) -> str:
    given = [{"type": "image", "data": encode_base64(picture), "mime_type": "image/png"}] if picture else []
    client = google(url)
    made = await client.aio.interactions.create(
        model="gemini-3-pro-image",
        input=[{"type": "text", "text": prompt}, *given],
        response_format={"type": "image", "aspect_ratio": "1:1", "image_size": "1K"},
    )
    await client.aio.aclose()
    if made.status == "failed":
        raise Refusal(made.errors[0].message)
    return inline(made.output_image.data)


# ------------------------------------------------------------------------------------------------------------ the tests


@pytest.fixture
async def start(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    """Starts a Muxel with a TLS port, and tells its place to the SDKs that are not told it by an argument."""
    cert, key = certificate(tmp_path, "localhost")
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))

    async def started() -> World:
        world = await build(tls_listen="127.0.0.1:0", tls_cert=cert, tls_key=key)
        host = f"localhost:{world.muxel.tls_url.rpartition(':')[2]}"
        # fal's SDK makes these of FAL_RUN_HOST and FAL_QUEUE_RUN_HOST as it is imported
        monkeypatch.setattr(fal_client.client, "RUN_URL_FORMAT", f"https://{host}/fal/run/")
        monkeypatch.setattr(fal_client.client, "QUEUE_URL_FORMAT", f"https://{host}/fal/queue/")
        monkeypatch.setattr(dashscope, "base_http_api_url", f"{world.muxel.url}/dashscope/api/v1")
        return world

    yield started
    close_shared_sync_session()  # dashscope's
    await close_shared_aio_session()


async def used(sdk: Sdk, world: World, prompt: str, picture: bytes | None = None) -> Image.Image:
    """The picture that the SDK got."""
    if inspect.iscoroutinefunction(sdk.use):
        url = await sdk.use(world.muxel.url, prompt, picture)
    else:
        url = await asyncio.to_thread(sdk.use, world.muxel.url, prompt, picture)

    def fetched() -> Image.Image:
        with urlopen(url) as reply:
            image = Image.open(BytesIO(reply.read()))
        image.load()
        return image

    return await asyncio.to_thread(fetched)


def flat() -> bytes:
    out = BytesIO()
    Image.new("RGB", SIZE, "#2f6f8f").save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("name", SDKS)
async def test_an_sdk_makes_and_changes_pictures_and_is_refused_in_its_own_words(start: Start, name: str) -> None:
    world, sdk = await start(), SDKS[name]
    for bought, picture in enumerate((None, flat()), 1):
        assert (await used(sdk, world, PROMPT, picture)).size == SIZE
        assert await world.purchases() == {PROVIDER: bought}
    with pytest.raises(sdk.error) as caught:
        await used(sdk, world, REFUSED)
    assert sdk.says in f"{caught.value} {vars(caught.value)}"  # most of them keep the code beside the message
    assert await world.purchases() == {PROVIDER: 3}  # and it was not asked for again
