"""The official google-genai SDK is the oracle: for the same request our provider face sends what the SDK sends.

What differs, and why: the SDK's own headers (``user-agent``, ``x-goog-api-client``) say who it is; it writes the keys
inside a part in snake_case and base64 in the URL-safe alphabet, we the documented camelCase and standard base64, and
Google takes both. The version in the path is part of a deployment's base URL.
"""

from io import BytesIO
from typing import Any

import orjson
import pytest
from google import genai
from google.genai import errors, types
from PIL import Image

from adapters import gemini
from adapters.ir import Artifact, Cause, ClientCall, Failure, Media, MediaRequest, MediaResult, Operation, Target, Usage
from tests.wires.capture import Captured, capture

pytestmark = pytest.mark.filterwarnings(
    "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"  # the SDK's own subclass of an aiohttp session
)

MODEL = "gemini-3-pro-image"
REPLY = {"candidates": [{"content": {"parts": [{"text": "hello"}]}, "finishReason": "STOP"}]}
AWKWARD = bytes(range(256))  # has both characters in which the base64 alphabets differ


def client(url: str) -> genai.Client:
    return genai.Client(api_key="key", http_options={"base_url": url})


async def sent_by_sdk(contents: Any, config: types.GenerateContentConfig) -> Captured:
    async with capture(REPLY) as (url, captured):
        sdk = client(url)
        try:
            await sdk.aio.models.generate_content(model=MODEL, contents=contents, config=config)
        finally:
            await sdk.aio.aclose()
        return captured[0]


def normal(value: Any, key: str = "") -> Any:
    """JSON with camelCase keys and the standard base64 alphabet."""
    match value:
        case dict():
            return {gemini._camel(name): normal(item, name) for name, item in value.items()}
        case list():
            return [normal(item) for item in value]
        case str() if key == "data":
            return value.replace("-", "+").replace("_", "/")
        case _:
            return value


def assert_same(sdk: Captured, request: MediaRequest, **options: Any) -> None:
    ours = gemini.write_request(request, Target("http://host/v1", MODEL, options))
    assert (ours.method, ours.url.removeprefix("http://host")) == (sdk.method, sdk.path)
    assert ours.headers["Content-Type"] == sdk.headers["content-type"]
    assert normal(orjson.loads(ours.body)) == normal(sdk.json())
    assert sdk.headers[gemini.AUTH.header] == "key"


async def test_a_minimal_generation_is_the_sdks() -> None:
    sdk = await sent_by_sdk("a red kite", types.GenerateContentConfig(response_modalities=["IMAGE"]))
    assert_same(sdk, MediaRequest(Operation.GENERATE, prompt="a red kite"))


async def test_a_generation_with_every_field_is_the_sdks() -> None:
    config = types.GenerateContentConfig(
        response_modalities=["TEXT", "IMAGE"],
        seed=7,
        temperature=0.5,
        image_config=types.ImageConfig(aspect_ratio="16:9", image_size="2K"),
        system_instruction="be brief",
        safety_settings=[
            types.SafetySetting(
                category=types.HarmCategory.HARM_CATEGORY_HARASSMENT, threshold=types.HarmBlockThreshold.BLOCK_ONLY_HIGH
            )
        ],
        thinking_config=types.ThinkingConfig(include_thoughts=True),
    )
    request = MediaRequest(
        Operation.GENERATE,
        prompt="a red kite",
        aspect=(16, 9),
        resolution="2K",
        seed=7,
        extras={
            "gemini": {
                "systemInstruction": {"parts": [{"text": "be brief"}], "role": "user"},
                "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_ONLY_HIGH"}],
                "generationConfig.temperature": 0.5,
                "generationConfig.responseModalities": ["TEXT", "IMAGE"],
                "generationConfig.thinkingConfig": {"includeThoughts": True},
            }
        },
    )
    assert_same(await sent_by_sdk("a red kite", config), request, resolutions=["1K", "2K", "4K"])


async def test_an_edit_with_pictures_inline_and_by_url_is_the_sdks() -> None:
    contents = [
        "put them together",
        types.Part.from_bytes(data=AWKWARD, mime_type="image/png"),
        types.Part.from_uri(file_uri="https://example.com/kite.jpg", mime_type="image/jpeg"),
    ]
    references = (Media(AWKWARD, mime="image/png"), Media(url="https://example.com/kite.jpg", mime="image/jpeg"))
    sdk = await sent_by_sdk(contents, types.GenerateContentConfig(response_modalities=["IMAGE"]))
    assert_same(sdk, MediaRequest(Operation.EDIT, prompt="put them together", references=references))


# --------------------------------------------------------------------------- the other way: the SDK reads what we write


async def test_our_client_face_reads_all_that_the_sdk_sends() -> None:
    contents = ["make it blue", types.Part.from_bytes(data=AWKWARD, mime_type="image/png")]
    config = types.GenerateContentConfig(
        seed=7, candidate_count=2, image_config=types.ImageConfig(aspect_ratio="16:9", image_size="2K")
    )
    sdk = await sent_by_sdk(contents, config)
    request = gemini.read_request(
        ClientCall(sdk.method, "generateContent", {"model": MODEL}, {}, sdk.headers, sdk.body)
    )
    assert request == MediaRequest(
        Operation.EDIT,
        prompt="make it blue",
        model=MODEL,
        n=2,
        aspect=(16, 9),
        resolution="2K",
        seed=7,
        references=(Media(AWKWARD, mime="image/png"),),
    )


def result() -> MediaResult:
    out = BytesIO()
    Image.new("RGB", (4, 4), "#cc2200").save(out, "PNG")
    artifact = Artifact(Media(out.getvalue(), mime="image/png"), 4, 4)
    return MediaResult((artifact,), id="req-1", model=MODEL, usage=Usage(None, 3, 1290), text="A kite.")


async def test_the_sdk_reads_our_reply() -> None:
    made = result()
    async with capture(gemini.write_reply(made, MediaRequest(Operation.GENERATE)).body) as (url, _):
        sdk = client(url)
        read = await sdk.aio.models.generate_content(model=MODEL, contents="a red kite")
        await sdk.aio.aclose()
    assert read.text == "A kite."
    assert [part.inline_data.data for part in read.parts or () if part.inline_data] == [made.artifacts[0].media.data]
    assert read.usage_metadata
    assert (read.usage_metadata.total_token_count, read.model_version, read.response_id) == (1293, MODEL, "req-1")


async def test_the_sdk_reads_a_refusal_as_a_blocked_prompt() -> None:
    reply = gemini.write_error(Failure(Cause.REFUSED, "not this"), None)
    async with capture(reply.body) as (url, _):
        sdk = client(url)
        read = await sdk.aio.models.generate_content(model=MODEL, contents="a red kite")
        await sdk.aio.aclose()
    assert read.prompt_feedback
    assert read.prompt_feedback.block_reason is types.BlockedReason.PROHIBITED_CONTENT
    assert read.prompt_feedback.block_reason_message == "not this"
    assert read.candidates is None


async def test_the_sdk_reads_our_stream() -> None:
    made = result()
    body = gemini.write_event(made, MediaRequest(Operation.GENERATE, stream=True))
    async with capture(body, content_type="text/event-stream") as (url, captured):
        sdk = client(url)
        stream = await sdk.aio.models.generate_content_stream(model=MODEL, contents="a red kite")
        chunks = [chunk async for chunk in stream]
        await sdk.aio.aclose()
    assert captured[0].path == f"/v1/models/{MODEL}:streamGenerateContent?alt=sse"
    assert [part.inline_data.data for chunk in chunks for part in chunk.parts or () if part.inline_data] == [
        made.artifacts[0].media.data
    ]


async def test_the_sdk_raises_our_failure_out_of_a_stream() -> None:
    body = gemini.write_event(Failure(Cause.UNAVAILABLE, "all failed"), MediaRequest(Operation.GENERATE, stream=True))
    async with capture(body, content_type="text/event-stream") as (url, _):
        sdk = client(url)
        stream = await sdk.aio.models.generate_content_stream(model=MODEL, contents="a red kite")
        with pytest.raises(errors.ServerError, match="all failed"):
            [chunk async for chunk in stream]
        await sdk.aio.aclose()
