"""OpenAI's SDK 3.52.0, which xAI's callers by REST have, as the oracle both ways: xAI's own SDK speaks gRPC.

What the provider face sends is what the SDK sends for the same call. What differs, and why: the SDK's own headers
(``x-stainless-*``, ``user-agent``) say who it is; ``response_format`` is always ours, so the calls here ask for it.
The SDK's own ``images.edit`` is multipart, which xAI refuses: an edit is posted as what it is, JSON.
"""

import asyncio
from typing import Any

import orjson
import pytest
from openai import AsyncOpenAI, BadRequestError, OpenAI, RateLimitError
from openai.types import ImagesResponse

from adapters import xai
from adapters.ir import Artifact, Cause, Failure, Media, MediaRequest, MediaResult, Operation, Target, Usage
from adapters.registry import WIRES
from tests.wires.capture import Captured, capture
from tests.wires.serve import served

MODEL = "grok-imagine-image-2.0"
PNG = b"\x89PNG\r\n\x1a\n..."
PNG_URI = "data:image/png;base64,iVBORw0KGgouLi4="
WIRE = WIRES["xai"]
RESULT = MediaResult(
    (Artifact(Media(PNG, "http://ours/media/1", "image/png"), 8, 6, revised_prompt="a fox"),),
    model="grok-imagine-image-2",
    usage=Usage(cost_usd=0.06),
)
ASKED: dict[str, Any] = {
    "model": MODEL, "prompt": "a red fox", "n": 2, "user": "user-17", "response_format": "b64_json",
    "extra_body": {"aspect_ratio": "16:9", "resolution": "2k"},
}  # fmt: skip
ASKED_REQUEST = MediaRequest(
    Operation.GENERATE, prompt="a red fox", n=2, aspect=(16, 9), resolution="2K", user="user-17"
)
IMAGE = {"url": PNG_URI, "type": "image_url"}
HAT = {"url": "https://pictures.example/hat.png", "type": "image_url"}
PICTURE, HAT_PICTURE = Media(PNG, mime="image/png"), Media(url="https://pictures.example/hat.png")

# ------------------------------------------------------------------------------------------------------- what we send


def assert_same(theirs: Captured, request: MediaRequest) -> None:
    ours = xai.write_request(request, Target("http://host/v1", MODEL))
    assert (ours.method, ours.url) == (theirs.method, f"http://host{theirs.path}")
    assert ours.headers["Content-Type"] == theirs.headers["content-type"]
    assert theirs.headers[xai.AUTH.header.lower()] == f"{xai.AUTH.scheme} key"
    assert orjson.loads(ours.body) == theirs.json()
    assert ours.dropped == ()


async def test_a_generation_is_the_sdks() -> None:
    async with capture({"data": []}) as (url, captured), AsyncOpenAI(api_key="key", base_url=f"{url}/v1") as sdk:
        await sdk.images.generate(**ASKED)
    assert_same(captured[0], ASKED_REQUEST)


@pytest.mark.parametrize(
    ("pictures", "references"),
    [
        pytest.param({"image": IMAGE}, (PICTURE,), id="one"),
        pytest.param({"images": [IMAGE, HAT]}, (PICTURE, HAT_PICTURE), id="two"),
    ],
)
async def test_an_edit_is_the_sdks(pictures: dict[str, Any], references: tuple[Media, ...]) -> None:
    body = {"model": MODEL, "prompt": "with a hat", "response_format": "b64_json", **pictures}
    async with capture({"data": []}) as (url, captured), AsyncOpenAI(api_key="key", base_url=f"{url}/v1") as sdk:
        await sdk.post("/images/edits", body=body, cast_to=ImagesResponse)
    assert_same(captured[0], MediaRequest(Operation.EDIT, prompt="with a hat", references=references))


# --------------------------------------------------------------------------------------------------- what callers send


async def test_the_sync_sdk_is_given_urls_and_the_cost() -> None:
    def run(url: str) -> ImagesResponse:
        with OpenAI(api_key="key", base_url=f"{url}/v1") as sdk:
            return sdk.images.generate(model=MODEL, prompt="a red fox", extra_body={"aspect_ratio": "19.5:9"})

    async with served(WIRE, RESULT) as face:
        answer = await asyncio.to_thread(run, face.url)
    assert answer.data
    assert (answer.data[0].url, answer.data[0].revised_prompt) == ("http://ours/media/1", "a fox")
    assert answer.to_dict()["usage"] == {"cost_in_usd_ticks": 600_000_000}
    assert face.requests[0].aspect == (39, 18)


async def test_the_async_sdk_is_given_base64() -> None:
    async with served(WIRE, RESULT) as face, AsyncOpenAI(api_key="key", base_url=f"{face.url}/v1") as sdk:
        answer = await sdk.images.generate(**ASKED)
    assert answer.data
    assert answer.data[0].b64_json == "iVBORw0KGgouLi4="
    [request] = face.requests
    assert (request.n, request.aspect, request.resolution, request.user) == (2, (16, 9), "2K", "user-17")


async def test_an_edit_posted_by_the_sdk_is_served() -> None:
    body = {"model": MODEL, "prompt": "the hat of the second", "images": [IMAGE, HAT]}
    async with served(WIRE, RESULT) as face, AsyncOpenAI(api_key="key", base_url=f"{face.url}/v1") as sdk:
        answer = await sdk.post("/images/edits", body=body, cast_to=ImagesResponse)
    assert answer.data
    assert answer.data[0].url == "http://ours/media/1"
    assert face.requests[0].references == (PICTURE, HAT_PICTURE)


async def test_the_sdks_own_edit_is_told_why_not() -> None:
    async with served(WIRE, RESULT) as face, AsyncOpenAI(api_key="key", base_url=f"{face.url}/v1") as sdk:
        with pytest.raises(BadRequestError, match="the body must be JSON"):
            await sdk.images.edit(model=MODEL, prompt="with a hat", image=("a.png", PNG, "image/png"))


async def test_a_refusal_is_raised_and_not_asked_again() -> None:
    failure = Failure(Cause.REFUSED, "not this")
    async with served(WIRE, failure) as face, AsyncOpenAI(api_key="key", base_url=f"{face.url}/v1") as sdk:
        with pytest.raises(BadRequestError, match="not this") as caught:
            await sdk.images.generate(model=MODEL, prompt="a red fox")
    assert caught.value.code == "imagine:content-moderated"
    assert len(face.requests) == 1


async def test_a_rate_limit_says_when_to_come_back() -> None:
    failure = Failure(Cause.THROTTLED, "later", retry_after=7)
    async with (
        served(WIRE, failure) as face,
        AsyncOpenAI(api_key="key", base_url=f"{face.url}/v1", max_retries=0) as sdk,
    ):
        with pytest.raises(RateLimitError, match="later") as caught:
            await sdk.images.generate(model=MODEL, prompt="a red fox")
    assert caught.value.response.headers["retry-after"] == "7"


async def test_what_is_no_picture_is_passed_on() -> None:
    async with (
        served(WIRE, RESULT, passed_answer={"data": []}) as face,
        AsyncOpenAI(api_key="key", base_url=f"{face.url}/v1") as sdk,
    ):
        await sdk.models.list()
        await sdk.chat.completions.create(model="grok-4", messages=[{"role": "user", "content": "hi"}])
        await sdk.responses.retrieve("1")
    assert face.passed == ["GET /xai/v1/models", "POST /xai/v1/chat/completions", "GET /xai/v1/responses/1"]
