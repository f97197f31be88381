"""The official google-genai SDK is the oracle: our provider face sends what it sends, and it reads our client face.

What differs: we ask that nothing be kept (``store``), as nobody is told the id of what is kept.
"""

import asyncio
from collections.abc import Callable
from io import BytesIO
from typing import Any

import orjson
import pytest
from google import genai
from google.genai import interactions, types
from google.oauth2.credentials import Credentials
from PIL import Image

from adapters.imaging import encode_base64
from adapters.interactions import provider
from adapters.ir import Artifact, Cause, Delivery, Failure, Media, MediaRequest, MediaResult, Operation, Target, Usage
from adapters.registry import WIRES
from tests.wires.capture import Captured, capture
from tests.wires.serve import served

pytestmark = pytest.mark.filterwarnings(
    "ignore:Inheritance class AiohttpClientSession:DeprecationWarning"  # the SDK's own subclass of an aiohttp session
)

WIRE = WIRES["interactions"]
MODEL = "gemini-3-pro-image"
REPLY = {"id": "v1_abc", "status": "completed", "steps": []}
CREDENTIALS = Credentials("token")  # type: ignore[no-untyped-call]


def client(url: str, **options: Any) -> Any:  # by the types of the SDK an answer may always be a stream
    once = types.HttpRetryOptions(attempts=1)  # what the SDK sends again is not what these tests wait for
    return genai.Client(http_options=types.HttpOptions(base_url=url, retry_options=once), **options)


def with_key(url: str) -> Any:
    return client(url, api_key="key")


def with_express_key(url: str) -> Any:
    return client(url, vertexai=True, api_key="key")


def with_project(url: str) -> Any:
    return client(url, vertexai=True, project="p", location="global", credentials=CREDENTIALS)


async def sent_by_sdk(**asked: Any) -> Captured:
    async with capture(REPLY) as (url, captured):
        sdk = with_key(url)
        await sdk.aio.interactions.create(model=MODEL, **asked)
        await sdk.aio.aclose()
    return captured[0]


def assert_same(sdk: Captured, request: MediaRequest, **options: Any) -> None:
    ours = provider.write_request(request, Target("http://host/v1", MODEL, options))
    assert (ours.method, ours.url.removeprefix("http://host")) == (sdk.method, sdk.path)
    assert ours.headers["Content-Type"] == sdk.headers["content-type"]
    assert orjson.loads(ours.body) == {**sdk.json(), "store": False}
    assert sdk.headers[provider.AUTH.header] == "key"


async def test_a_minimal_generation_is_the_sdks() -> None:
    sdk = await sent_by_sdk(input="a red kite", response_format={"type": "image"})
    assert_same(sdk, MediaRequest(Operation.GENERATE, prompt="a red kite"))


async def test_an_edit_with_every_field_is_the_sdks() -> None:
    sdk = await sent_by_sdk(
        input=[
            {"type": "text", "text": "make it blue"},
            {"type": "image", "data": encode_base64(b"bytes"), "mime_type": "image/png"},
        ],
        response_format={"type": "image", "aspect_ratio": "16:9", "image_size": "2K", "mime_type": "image/jpeg"},
        generation_config={"seed": 7, "thinking_level": "high"},
        system_instruction="be brief",
    )
    request = MediaRequest(
        Operation.EDIT,
        prompt="make it blue",
        aspect=(16, 9),
        resolution="2K",
        seed=7,
        format="jpeg",
        references=(Media(b"bytes", mime="image/png"),),
        extras={
            "interactions": {"system_instruction": "be brief", "generation_config": {"thinking_level": "high"}},
        },
    )
    assert_same(sdk, request, resolutions=["1K", "2K"])


# --------------------------------------------------------------------------- the other way: the SDK reads what we write


def result(url: str = "") -> MediaResult:
    out = BytesIO()
    Image.new("RGB", (4, 4), "#cc2200").save(out, "PNG")
    artifact = Artifact(Media(out.getvalue(), url=url, mime="image/png"), 4, 4)
    return MediaResult((artifact,), id="req-1", model=MODEL, created=1.0, usage=Usage(None, 3, 1290), text="A kite.")


@pytest.mark.parametrize("make", [with_key, with_express_key, with_project])
async def test_every_client_is_served(make: Callable[[str], Any]) -> None:
    made = result()
    async with served(WIRE, made) as muxel:
        sdk = make(muxel.url)
        answer = await sdk.aio.interactions.create(model=MODEL, input="a red kite")
        waited = await asyncio.to_thread(sdk.interactions.create, model=MODEL, input="a red kite")
        await sdk.aio.aclose()
    for interaction in (answer, waited):
        assert (interaction.status, interaction.model, interaction.output_text) == ("completed", MODEL, "A kite.")
        assert interaction.output_image
        assert interaction.output_image.data == encode_base64(made.artifacts[0].media.data)
        assert interaction.usage
        assert interaction.usage.total_tokens == 1293
    assert muxel.requests == [MediaRequest(Operation.GENERATE, prompt="a red kite", model=MODEL)] * 2


async def test_our_client_face_reads_all_that_the_sdk_sends() -> None:
    async with served(WIRE, result("http://127.0.0.1/media/abc")) as muxel:
        sdk = with_key(muxel.url)
        answer = await sdk.aio.interactions.create(
            model=MODEL,
            input=[{"type": "text", "text": "make it blue"}, {"type": "image", "data": encode_base64(b"bytes")}],
            response_format=[{"type": "image", "aspect_ratio": "16:9", "image_size": "2K", "delivery": "uri"}],
            generation_config={"seed": 7},
            store=True,
            background=True,
        )
        await sdk.aio.aclose()
    assert answer.output_image
    assert answer.output_image.uri == "http://127.0.0.1/media/abc"
    assert muxel.requests == [
        MediaRequest(
            Operation.EDIT,
            prompt="make it blue",
            model=MODEL,
            aspect=(16, 9),
            resolution="2K",
            seed=7,
            references=(Media(b"bytes"),),
            delivery=Delivery.URL,
        )
    ]


def check_stream(events: list[Any]) -> None:
    assert [event.event_type for event in events] == [
        "interaction.created", "step.start", "step.delta", "step.delta", "step.stop", "interaction.completed",
    ]  # fmt: skip
    assert isinstance(events[3].delta, interactions.ImageDelta)
    assert events[3].delta.data == encode_base64(result().artifacts[0].media.data)
    assert (events[-1].interaction.status, events[-1].interaction.usage.total_tokens) == ("completed", 1293)


async def test_the_sdk_reads_our_stream() -> None:
    async with served(WIRE, result()) as muxel:
        sdk = with_key(muxel.url)
        check_stream([event async for event in await sdk.aio.interactions.create(model=MODEL, input="a", stream=True)])
        check_stream(await asyncio.to_thread(lambda: [*sdk.interactions.create(model=MODEL, input="a", stream=True)]))
        await sdk.aio.aclose()


async def test_words_agents_and_what_google_keeps_are_passed_on() -> None:
    async with served(WIRE, result(), REPLY) as muxel:
        sdk = with_key(muxel.url)
        await sdk.aio.interactions.create(model="gemini-3.8-flash", input="hello")
        await sdk.aio.interactions.create(agent="deep-research-preview-04-2026", input="kites", background=True)
        await sdk.aio.interactions.create(model=MODEL, input="make it blue", previous_interaction_id="v1_abc")
        await sdk.aio.interactions.get("v1_abc")
        await sdk.aio.interactions.cancel("v1_abc")
        await sdk.aio.interactions.delete("v1_abc")
        await sdk.aio.aclose()
    assert muxel.requests == []
    assert muxel.passed == ["POST /gemini/v1/interactions"] * 3 + [
        "GET /gemini/v1/interactions/v1_abc",
        "POST /gemini/v1/interactions/v1_abc/cancel",
        "DELETE /gemini/v1/interactions/v1_abc",
    ]


async def test_an_interaction_of_ours_is_not_kept() -> None:
    async with served(WIRE, result()) as muxel:
        sdk = with_key(muxel.url)
        made = await sdk.aio.interactions.create(model=MODEL, input="a red kite")
        with pytest.raises(Exception, match="not kept") as raised:
            await sdk.aio.interactions.get(made.id)
        with pytest.raises(Exception, match="previous_interaction_id cannot be served"):
            await sdk.aio.interactions.create(model=MODEL, input="blue", previous_interaction_id=made.id)
        await sdk.aio.aclose()
    assert type(raised.value).__name__ == "NotFoundError"


@pytest.mark.parametrize(
    ("cause", "error"),
    [
        (Cause.INVALID, "BadRequestError"),
        (Cause.UNSUPPORTED, "BadRequestError"),
        (Cause.THROTTLED, "RateLimitError"),
        (Cause.UNAVAILABLE, "InternalServerError"),
        (Cause.DENIED, "InternalServerError"),
        (Cause.EXPIRED, "NotFoundError"),
        (Cause.CANCELED, "APIStatusError"),
    ],
)
async def test_a_failure_is_raised_with_its_message(cause: Cause, error: str) -> None:
    async with served(WIRE, Failure(cause, "no foxes here")) as muxel:
        sdk = with_key(muxel.url)
        with pytest.raises(Exception, match="no foxes here") as raised:
            await sdk.aio.interactions.create(model=MODEL, input="a fox")
        with pytest.raises(Exception, match="no foxes here"):
            await asyncio.to_thread(sdk.interactions.create, model=MODEL, input="a fox")
        await sdk.aio.aclose()
    assert type(raised.value).__name__ == error


@pytest.mark.parametrize("cause", [Cause.REFUSED, Cause.AMBIGUOUS, Cause.MALFORMED])
async def test_what_may_have_been_paid_for_is_never_sent_again(cause: Cause) -> None:
    async with served(WIRE, Failure(cause, "no foxes here", id="req-1")) as muxel:
        sdk: Any = genai.Client(api_key="key", http_options={"base_url": muxel.url})  # it has its retries by default
        answer = await sdk.aio.interactions.create(model=MODEL, input="a fox")
        await sdk.aio.aclose()
    assert answer.status == "failed"
    assert [error.message for error in answer.errors or ()] == ["no foxes here"]
    assert answer.output_image is None
    assert len(muxel.requests) == 1
