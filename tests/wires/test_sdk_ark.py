"""Ark's official SDKs as the oracle, both ways: ``volcenginesdkarkruntime`` 5.0.54 and, where it is installed,
``byteplussdkarkruntime`` 3.0.63, which is the same code for BytePlus.

What the provider face sends is what the SDK sends for the same call. What differs, and why: the SDK sends a null for
every field that is not set, and the headers of the HTTP client. That no watermark is drawn is always said, so the calls
here say so too.

And the client face is called by the SDKs, sync and async, with and without streaming.
"""

import asyncio
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import orjson
import pytest

from adapters import ark
from adapters.ir import Artifact, Cause, Failure, Media, MediaRequest, MediaResult, Operation, Target
from adapters.registry import WIRES
from tests.wires.capture import Captured, capture
from tests.wires.serve import served

MODEL = "seedream-4-5-251128"
JPEG = b"\xff\xd8\xff..."
JPEG_URI = "data:image/jpeg;base64,/9j/Li4u"
WIRE = WIRES["ark"]
RESULT = MediaResult(
    (
        Artifact(Media(JPEG, "http://ours/media/1", "image/jpeg"), 1760, 2368),
        Artifact(Media(JPEG, "http://ours/media/2", "image/jpeg"), 1760, 2368),
    ),
    model="seedream-4.5",
    created=1795000000.5,
)


@pytest.fixture(params=filter(find_spec, ("volcenginesdkarkruntime", "byteplussdkarkruntime")))
def sdk(request: pytest.FixtureRequest) -> ModuleType:
    return import_module(request.param)


# ------------------------------------------------------------------------------------------------------- what we send


async def sent(sdk: ModuleType, **asked: Any) -> Captured:
    async with (
        capture({"model": MODEL, "data": []}) as (url, captured),
        sdk.AsyncArk(api_key="key", base_url=f"{url}/api/v3") as client,
    ):
        await client.images.generate(model=MODEL, watermark=False, **asked)
        return captured[0]


EVERY: dict[str, Any] = {
    "prompt": "a red fox", "size": "2048x1152", "seed": 7, "guidance_scale": 5.5, "output_format": "png",
    "sequential_image_generation": "disabled",
}  # fmt: skip
EVERY_REQUEST = MediaRequest(
    Operation.GENERATE,
    prompt="a red fox",
    size=(2048, 1152),
    seed=7,
    guidance=5.5,
    format="png",
    extras={"ark": {"sequential_image_generation": "disabled"}},
)
PICTURE, HAT = Media(JPEG, mime="image/jpeg"), Media(url="https://pictures.example/hat.png")


@pytest.mark.parametrize(
    ("asked", "request_"),
    [
        pytest.param({"prompt": "a fox"}, MediaRequest(Operation.GENERATE, prompt="a fox"), id="prompt"),
        pytest.param(
            {"prompt": "a fox", "size": "2K"},
            MediaRequest(Operation.GENERATE, prompt="a fox", resolution="2K"),
            id="label",
        ),
        pytest.param(EVERY, EVERY_REQUEST, id="every field"),
        pytest.param(
            {"prompt": "with a hat", "image": JPEG_URI},
            MediaRequest(Operation.EDIT, prompt="with a hat", references=(PICTURE,)),
            id="one picture",
        ),
        pytest.param(
            {"prompt": "with a hat", "image": [JPEG_URI, HAT.url]},
            MediaRequest(Operation.EDIT, prompt="with a hat", references=(PICTURE, HAT)),
            id="two pictures",
        ),
    ],
)
async def test_a_call_is_the_sdks(sdk: ModuleType, asked: dict[str, Any], request_: MediaRequest) -> None:
    theirs = await sent(sdk, **asked)
    options = {"takes": ["seed", "guidance", "format"]}
    ours = ark.write_request(request_, Target("http://host/api/v3", MODEL, options))
    assert (ours.method, ours.url) == (theirs.method, f"http://host{theirs.path}")
    assert ours.headers["Content-Type"] == theirs.headers["content-type"]
    assert theirs.headers[ark.AUTH.header.lower()] == f"{ark.AUTH.scheme} key"
    assert orjson.loads(ours.body) == {name: value for name, value in theirs.json().items() if value is not None}
    assert ours.dropped == ()


# --------------------------------------------------------------------------------------------------- what callers send


async def test_the_sync_sdk_is_given_urls(sdk: ModuleType) -> None:
    def run(url: str) -> Any:
        with sdk.Ark(api_key="key", base_url=f"{url}/api/v3") as client:
            return client.images.generate(model=MODEL, prompt="a red fox", size="4K", image=[JPEG_URI, HAT.url])

    async with served(WIRE, RESULT) as face:
        answer = await asyncio.to_thread(run, face.url)
    assert [(picture.url, picture.size) for picture in answer.data] == [
        ("http://ours/media/1", "1760x2368"),
        ("http://ours/media/2", "1760x2368"),
    ]
    assert (answer.model, answer.usage.generated_images, answer.usage.total_tokens) == ("seedream-4.5", 2, 32560)
    [request] = face.requests
    assert (request.references, request.resolution, request.extras) == ((PICTURE, HAT), "4K", {})


async def test_the_async_sdk_is_given_base64(sdk: ModuleType) -> None:
    async with served(WIRE, RESULT) as face, sdk.AsyncArk(api_key="key", base_url=f"{face.url}/api/v3") as client:
        answer = await client.images.generate(model=MODEL, prompt="a red fox", response_format="b64_json")
    assert answer.data[0].b64_json == "/9j/Li4u"


KINDS = ["image_generation.partial_succeeded", "image_generation.partial_succeeded", "image_generation.completed"]


async def test_the_sync_sdk_is_streamed_each_picture_and_the_end(sdk: ModuleType) -> None:
    def run(url: str) -> list[Any]:
        with sdk.Ark(api_key="key", base_url=f"{url}/api/v3") as client:
            return list(client.images.generate(model=MODEL, prompt="a red fox", stream=True))

    async with served(WIRE, RESULT) as face:
        events = await asyncio.to_thread(run, face.url)
    assert [event.type for event in events] == KINDS
    assert [event.url for event in events[:2]] == ["http://ours/media/1", "http://ours/media/2"]
    assert [event.image_index for event in events[:2]] == [0, 1]
    assert events[-1].usage == {"generated_images": 2, "output_tokens": 32560, "total_tokens": 32560}


async def test_the_async_sdk_is_streamed_each_picture_and_the_end(sdk: ModuleType) -> None:
    async with served(WIRE, RESULT) as face, sdk.AsyncArk(api_key="key", base_url=f"{face.url}/api/v3") as client:
        stream = await client.images.generate(model=MODEL, prompt="a red fox", response_format="b64_json", stream=True)
        events = [event async for event in stream]
    assert [event.type for event in events] == KINDS
    assert events[0].b64_json == "/9j/Li4u"


async def test_a_failure_late_in_a_stream_is_raised(sdk: ModuleType) -> None:
    request = MediaRequest(Operation.GENERATE, prompt="a red fox", stream=True)
    late = ark.write_event(Failure(Cause.UNAVAILABLE, "gone"), request)
    async with (
        capture(late, content_type="text/event-stream") as (url, _),
        sdk.AsyncArk(api_key="key", base_url=f"{url}/api/v3") as client,
    ):
        stream = await client.images.generate(model=MODEL, prompt="a red fox", stream=True)
        with pytest.raises(sdk._exceptions.ArkAPIError, match="gone") as caught:
            [event async for event in stream]
    assert caught.value.code == "ServerOverloaded"


async def test_a_refusal_is_raised_and_not_asked_again(sdk: ModuleType) -> None:
    failure = Failure(Cause.REFUSED, "not this")
    async with served(WIRE, failure) as face, sdk.AsyncArk(api_key="key", base_url=f"{face.url}/api/v3") as client:
        with pytest.raises(sdk._exceptions.ArkBadRequestError, match="not this") as caught:
            await client.images.generate(model=MODEL, prompt="a red fox")
    assert caught.value.code == "OutputImageSensitiveContentDetected"
    assert len(face.requests) == 1


async def test_a_wrong_field_is_named(sdk: ModuleType) -> None:
    async with served(WIRE, RESULT) as face, sdk.AsyncArk(api_key="key", base_url=f"{face.url}/api/v3") as client:
        with pytest.raises(sdk._exceptions.ArkBadRequestError, match="size must be WIDTHxHEIGHT") as caught:
            await client.images.generate(model=MODEL, prompt="a red fox", size="huge")
    assert (caught.value.code, caught.value.param) == ("InvalidParameter", "size")


async def test_what_is_no_picture_is_passed_on(sdk: ModuleType) -> None:
    async with (
        served(WIRE, RESULT, passed_answer={}) as face,
        sdk.AsyncArk(api_key="key", base_url=f"{face.url}/api/v3") as client,
    ):
        await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        await client.content_generation.tasks.get(task_id="1")
    assert face.passed == [
        "POST /ark/api/v3/chat/completions",
        "GET /ark/api/v3/contents/generations/tasks/1",
    ]
