"""The official google-genai SDK is the oracle: our provider face sends what it sends, and it reads our client face.

What differs, and why: the SDK's own headers (``user-agent``, ``x-goog-api-client``) say who it is; it writes the keys
inside a part in snake_case and base64 in the URL-safe alphabet, we the documented camelCase and standard base64, and
Google takes both. The version in the path is part of a deployment's base URL.
"""

import asyncio
from collections.abc import Callable
from io import BytesIO
from typing import Any

import orjson
import pytest
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials
from PIL import Image

from adapters.gemini import client as face
from adapters.gemini import provider
from adapters.gemini.shapes import camel
from adapters.ir import (
    Artifact,
    Cause,
    ClientCall,
    Failure,
    Margins,
    Media,
    MediaRequest,
    MediaResult,
    Operation,
    Target,
    Usage,
)
from adapters.registry import WIRES
from tests.wires.capture import Captured, capture
from tests.wires.serve import served

pytestmark = [
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning"),  # the SDK's own
    pytest.mark.filterwarnings("ignore:The (generate_images|edit_image|upscale_image) method is deprecated"),
]

MODEL = "gemini-3-pro-image"
REPLY = {"candidates": [{"content": {"parts": [{"text": "hello"}]}, "finishReason": "STOP"}]}
AWKWARD = bytes(range(256))  # has both characters in which the base64 alphabets differ


def client(url: str) -> genai.Client:
    return genai.Client(api_key="key", http_options={"base_url": url})


async def sent_by_sdk(
    contents: Any, config: types.GenerateContentConfig, make: Callable[[str], genai.Client] = client
) -> Captured:
    async with capture(REPLY) as (url, captured):
        sdk = make(url)
        try:
            await sdk.aio.models.generate_content(model=MODEL, contents=contents, config=config)
        finally:
            await sdk.aio.aclose()
        return captured[0]


def normal(value: Any, key: str = "") -> Any:
    """JSON with camelCase keys and the standard base64 alphabet."""
    match value:
        case dict():
            return {camel(name): normal(item, name) for name, item in value.items()}
        case list():
            return [normal(item) for item in value]
        case str() if key == "data":
            return value.replace("-", "+").replace("_", "/")
        case _:
            return value


def assert_same(sdk: Captured, request: MediaRequest, base: str = "/v1", **options: Any) -> None:
    ours = provider.write_request(request, Target(f"http://host{base}", MODEL, options))
    assert (ours.method, ours.url.removeprefix("http://host")) == (sdk.method, sdk.path)
    assert ours.headers["Content-Type"] == sdk.headers["content-type"]
    assert normal(orjson.loads(ours.body)) == normal(sdk.json())


def with_express_key(url: str) -> genai.Client:
    return genai.Client(vertexai=True, api_key="key", http_options={"base_url": url})


CREDENTIALS = Credentials("token")  # type: ignore[no-untyped-call]


def with_project(url: str) -> genai.Client:
    return genai.Client(
        vertexai=True, project="p", location="global", credentials=CREDENTIALS, http_options={"base_url": url}
    )


def with_base_url_alone(url: str) -> genai.Client:
    return genai.Client(vertexai=True, http_options={"base_url": url, "headers": {"Authorization": "Bearer token"}})


def of_a_collection(url: str) -> genai.Client:
    scope = types.ResourceScope.COLLECTION
    return genai.Client(vertexai=True, api_key="key", http_options={"base_url": url, "base_url_resource_scope": scope})


VERTEX = [with_express_key, with_project, of_a_collection, with_base_url_alone]
EVERY = [client, *VERTEX]


async def test_a_minimal_generation_is_the_sdks() -> None:
    sdk = await sent_by_sdk("a red kite", types.GenerateContentConfig(response_modalities=["IMAGE"]))
    assert_same(sdk, MediaRequest(Operation.GENERATE, prompt="a red kite"))
    assert sdk.headers[provider.AUTH.header] == "key"


@pytest.mark.parametrize(
    ("make", "base"),
    [
        (with_express_key, "/v1beta1/publishers/google"),
        (with_project, "/v1beta1/projects/p/locations/global/publishers/google"),
    ],
)
async def test_a_generation_on_vertex_ai_is_the_sdks(make: Callable[[str], genai.Client], base: str) -> None:
    config = types.GenerateContentConfig(
        response_modalities=["IMAGE"],
        image_config=types.ImageConfig(
            aspect_ratio="16:9",
            person_generation="ALLOW_ADULT",
            image_output_options=types.ImageConfigImageOutputOptions(mime_type="image/jpeg", compression_quality=70),
        ),
        labels={"team": "shop"},
    )
    extras = {"labels": {"team": "shop"}, "generationConfig.imageConfig.personGeneration": "ALLOW_ADULT"}
    request = MediaRequest(
        Operation.GENERATE,
        prompt="a red kite",
        aspect=(16, 9),
        format="jpeg",
        compression=70,
        extras={"gemini": extras},
    )
    assert_same(await sent_by_sdk("a red kite", config, make), request, base, vertex=True)


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
    request = face.read_request(ClientCall(sdk.method, "generateContent", {"model": MODEL}, {}, sdk.headers, sdk.body))
    assert request == MediaRequest(
        Operation.EDIT,
        prompt="make it blue",
        model=MODEL,
        n=2,
        aspect=(16, 9),
        resolution="2K",
        seed=7,
        references=(Media(AWKWARD, mime="image/png"),),
        route="generateContent",
    )


def result() -> MediaResult:
    out = BytesIO()
    Image.new("RGB", (4, 4), "#cc2200").save(out, "PNG")
    artifact = Artifact(Media(out.getvalue(), mime="image/png"), 4, 4)
    return MediaResult((artifact,), id="req-1", model=MODEL, usage=Usage(None, 3, 1290), text="A kite.")


async def test_the_sdk_reads_our_reply() -> None:
    made = result()
    async with capture(face.write_reply(made, MediaRequest(Operation.GENERATE)).body) as (url, _):
        sdk = client(url)
        read = await sdk.aio.models.generate_content(model=MODEL, contents="a red kite")
        await sdk.aio.aclose()
    assert read.text == "A kite."
    assert [part.inline_data.data for part in read.parts or () if part.inline_data] == [made.artifacts[0].media.data]
    assert read.usage_metadata
    assert (read.usage_metadata.total_token_count, read.model_version, read.response_id) == (1293, MODEL, "req-1")


async def test_the_sdk_reads_a_refusal_as_a_blocked_prompt() -> None:
    reply = face.write_error(Failure(Cause.REFUSED, "not this"), None)
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
    body = face.write_event(made, MediaRequest(Operation.GENERATE, stream=True))
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
    body = face.write_event(Failure(Cause.UNAVAILABLE, "all failed"), MediaRequest(Operation.GENERATE, stream=True))
    async with capture(body, content_type="text/event-stream") as (url, _):
        sdk = client(url)
        stream = await sdk.aio.models.generate_content_stream(model=MODEL, contents="a red kite")
        with pytest.raises(errors.ServerError, match="all failed"):
            [chunk async for chunk in stream]
        await sdk.aio.aclose()


# ------------------------------------------------------------------------------------- every client against our routes

WIRE = WIRES["gemini"]
CONFIG = types.GenerateContentConfig(response_modalities=["IMAGE"])


def picture(response: types.GenerateContentResponse) -> bytes | None:
    return next((part.inline_data.data for part in response.parts or () if part.inline_data), None)


@pytest.mark.parametrize("make", EVERY)
async def test_every_client_is_served(make: Callable[[str], genai.Client]) -> None:
    made = result()
    async with served(WIRE, made) as muxel:
        sdk = make(muxel.url)
        answer = await sdk.aio.models.generate_content(model=MODEL, contents="a red kite", config=CONFIG)
        stream = await sdk.aio.models.generate_content_stream(model=MODEL, contents="a red kite", config=CONFIG)
        streamed = [picture(chunk) async for chunk in stream]
        waited = await asyncio.to_thread(sdk.models.generate_content, model=MODEL, contents="a red kite", config=CONFIG)
        listed = await asyncio.to_thread(
            lambda: [*sdk.models.generate_content_stream(model=MODEL, contents="a red kite", config=CONFIG)]
        )
        await sdk.aio.aclose()
    assert [picture(answer), *streamed, picture(waited), *map(picture, listed)] == [made.artifacts[0].media.data] * 4
    assert {request.model for request in muxel.requests} == {"" if make is with_base_url_alone else MODEL}


async def test_the_environment_alone_leads_to_us(monkeypatch: pytest.MonkeyPatch) -> None:
    async with served(WIRE, result()) as muxel:
        monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", muxel.url)
        sdk = genai.Client(vertexai=True, api_key="key")
        assert picture(await sdk.aio.models.generate_content(model=MODEL, contents="a red kite"))
        await sdk.aio.aclose()


@pytest.mark.parametrize("make", [client, with_express_key, with_project])
async def test_what_makes_no_picture_is_passed_on(make: Callable[[str], genai.Client]) -> None:
    async with served(WIRE, result(), REPLY) as muxel:
        sdk = make(muxel.url)
        chat = await sdk.aio.models.generate_content(model="gemini-3.8-flash", contents="hello")
        await sdk.aio.models.count_tokens(model="gemini-3.8-flash", contents="hello")
        await sdk.aio.models.embed_content(model="gemini-embedding-001", contents="hello")
        await sdk.aio.caches.get(name="cachedContents/c")
        await sdk.aio.models.get(model=MODEL)
        if make is client:
            await sdk.aio.files.get(name="files/f")
        await sdk.aio.aclose()
    assert chat.text == "hello"
    assert muxel.requests == []
    assert len(muxel.passed) == (6 if make is client else 5)


async def test_a_chat_that_names_no_model_is_told_what_to_change() -> None:
    async with served(WIRE, result()) as muxel:
        sdk = with_base_url_alone(muxel.url)
        with pytest.raises(errors.ClientError, match="the path names no model"):
            await sdk.aio.models.generate_content(model="gemini-3.8-flash", contents="hello")
        await sdk.aio.aclose()


@pytest.mark.parametrize(
    ("make", "cause"),
    [
        *((client, cause) for cause in Cause if cause is not Cause.REFUSED),
        *((make, Cause.THROTTLED) for make in VERTEX),
    ],
)
async def test_a_failure_is_raised_with_its_status_and_never_sent_again(
    make: Callable[[str], genai.Client], cause: Cause
) -> None:
    async with served(WIRE, Failure(cause, "no foxes here", retry_after=1.5)) as muxel:
        sdk = make(muxel.url)
        with pytest.raises(errors.APIError, match="no foxes here") as raised:
            await sdk.aio.models.generate_content(model=MODEL, contents="a fox", config=CONFIG)
        with pytest.raises(errors.APIError, match="no foxes here"):
            await anext(await sdk.aio.models.generate_content_stream(model=MODEL, contents="a fox", config=CONFIG))
        await sdk.aio.aclose()
    assert raised.value.code == cause.status
    assert isinstance(raised.value, errors.ServerError if cause.status >= 500 else errors.ClientError)
    assert len(muxel.requests) == 2


# ---------------------------------------------------------------------------------------------------- what is Imagen's

IMAGEN = "imagen-3.0-capability-001"


def png(size: tuple[int, int], colour: Any, box: tuple[int, int, int, int] | None = None, paint: Any = None) -> bytes:
    image, out = Image.new("L" if isinstance(colour, int) else "RGB", size, colour), BytesIO()
    if box:
        image.paste(paint, box)
    image.save(out, "PNG")
    return out.getvalue()


RAW = png((8, 8), "#cc2200")
MASK = png((8, 8), 0, (2, 2, 6, 6), 255)


def raw(data: bytes = RAW) -> types.RawReferenceImage:
    return types.RawReferenceImage(reference_id=1, reference_image=types.Image(image_bytes=data, mime_type="image/png"))


def mask(data: bytes = MASK) -> types.MaskReferenceImage:
    config = types.MaskReferenceConfig(mask_mode=types.MaskReferenceMode.MASK_MODE_USER_PROVIDED)
    picture = types.Image(image_bytes=data, mime_type="image/png")
    return types.MaskReferenceImage(reference_id=2, reference_image=picture, config=config)


@pytest.mark.parametrize("make", VERTEX)
async def test_generate_images_is_served(make: Callable[[str], genai.Client]) -> None:
    made = result()
    config = types.GenerateImagesConfig(
        number_of_images=2, aspect_ratio="16:9", image_size="2K", negative_prompt="clouds", output_mime_type="image/png"
    )
    async with served(WIRE, made) as muxel:
        sdk = make(muxel.url)
        answer = await sdk.aio.models.generate_images(model=IMAGEN, prompt="a red kite", config=config)
        await asyncio.to_thread(sdk.models.generate_images, model=IMAGEN, prompt="a red kite", config=config)
        await sdk.aio.aclose()
    assert [image.image.image_bytes for image in answer.generated_images or () if image.image] == [
        made.artifacts[0].media.data
    ]
    assert (
        muxel.requests
        == [
            MediaRequest(
                Operation.GENERATE,
                prompt="a red kite",
                negative_prompt="clouds",
                model="" if make is with_base_url_alone else IMAGEN,
                n=2,
                aspect=(16, 9),
                resolution="2K",
                format="png",
                route="predict",
            )
        ]
        * 2
    )


@pytest.mark.parametrize(
    ("mode", "references", "operation", "told"),
    [
        ("EDIT_MODE_INPAINT_INSERTION", [raw(), mask()], Operation.INPAINT, {}),
        ("EDIT_MODE_INPAINT_REMOVAL", [raw(), mask()], Operation.ERASE, {}),
        ("EDIT_MODE_BGSWAP", [raw()], Operation.REPLACE_BACKGROUND, {}),
        ("EDIT_MODE_DEFAULT", [raw()], Operation.EDIT, {}),
        (
            "EDIT_MODE_OUTPAINT",
            [raw(png((16, 9), "#000000", (3, 1, 11, 9), "#cc2200")), mask(png((16, 9), 255, (3, 1, 11, 9), 0))],
            Operation.OUTPAINT,
            {"margins": Margins(left=3, top=1, right=5)},
        ),
    ],
)
async def test_edit_image_is_served(mode: str, references: list[Any], operation: Operation, told: Any) -> None:
    config = types.EditImageConfig(edit_mode=types.EditMode(mode))
    async with served(WIRE, result()) as muxel:
        sdk = with_project(muxel.url)
        answer = await sdk.aio.models.edit_image(
            model=IMAGEN, prompt="a red door", reference_images=references, config=config
        )
        await sdk.aio.aclose()
    assert answer.generated_images
    [request] = muxel.requests
    assert (request.operation, request.prompt) == (operation, "a red door")
    assert Image.open(BytesIO(request.references[0].data)).tobytes() == Image.open(BytesIO(RAW)).tobytes()
    assert bool(request.mask) == (operation in (Operation.INPAINT, Operation.ERASE))
    assert request.margins == told.get("margins")


async def test_upscale_image_is_served() -> None:
    async with served(WIRE, result()) as muxel:
        sdk = with_express_key(muxel.url)
        answer = await sdk.aio.models.upscale_image(
            model=IMAGEN, image=types.Image(image_bytes=RAW, mime_type="image/png"), upscale_factor="x4"
        )
        await sdk.aio.aclose()
    assert answer.generated_images
    [request] = muxel.requests
    assert (request.operation, request.scale, request.references) == (
        Operation.UPSCALE, 4.0, (Media(RAW, mime="image/png"),),
    )  # fmt: skip


async def test_a_refusal_is_a_filtered_picture_and_a_failure_is_raised() -> None:
    async with served(WIRE, Failure(Cause.REFUSED, "not this")) as muxel:
        sdk = with_express_key(muxel.url)
        answer = await sdk.aio.models.generate_images(model=IMAGEN, prompt="a red kite")
        await sdk.aio.aclose()
    assert [image.rai_filtered_reason for image in answer.generated_images or ()] == ["not this"]
    async with served(WIRE, Failure(Cause.THROTTLED, "too many")) as muxel:
        sdk = with_express_key(muxel.url)
        with pytest.raises(errors.ClientError, match="too many") as raised:
            await sdk.aio.models.generate_images(model=IMAGEN, prompt="a red kite")
        await sdk.aio.aclose()
    assert raised.value.code == 429
