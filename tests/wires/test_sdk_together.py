"""The official ``together`` SDK 3.1.1 as the oracle, both ways.

What the provider face sends is what the SDK sends for the same call. What differs, and why: the SDK's own headers
(``x-stainless-*``, ``user-agent``) say who it is; ``response_format`` is always ours, so the calls here ask for it.

And the client face is called by the SDK, sync and async: its base URL is without the ``/v1`` that the one for Node has.
"""

import asyncio
from typing import Any

import orjson
import pytest
from aiohttp import ClientSession
from together import AsyncTogether, BadRequestError, RateLimitError, Together, UnprocessableEntityError

from adapters import together
from adapters.ir import Artifact, Cause, Failure, Lora, Media, MediaRequest, MediaResult, Operation, Target
from adapters.registry import WIRES
from tests.wires.capture import Captured, capture
from tests.wires.serve import served

MODEL = "black-forest-labs/FLUX.2-dev"
PNG = b"\x89PNG\r\n\x1a\n..."
PNG_URI = "data:image/png;base64,iVBORw0KGgouLi4="
ANSWER = {"id": "1", "model": MODEL, "object": "list", "data": [{"index": 0, "type": "b64_json", "b64_json": "aGk="}]}
WIRE = WIRES["together"]
RESULT = MediaResult(
    (
        Artifact(Media(PNG, "http://ours/media/1", "image/png"), 8, 6),
        Artifact(Media(PNG, "http://ours/media/2", "image/png"), 8, 6),
    ),
    id="request-1",
    model="flux-2-dev",
)

# ------------------------------------------------------------------------------------------------------- what we send


async def sent_by_sdk(**asked: Any) -> Captured:
    async with capture(ANSWER) as (url, captured), AsyncTogether(api_key="key", base_url=url, max_retries=0) as sdk:
        await sdk.images.generate(model=MODEL, response_format="base64", **asked)
        return captured[0]


GENERATE: dict[str, Any] = {"prompt": "a red fox"}
STEERED: dict[str, Any] = {
    "prompt": "a red fox", "negative_prompt": "blurry", "n": 2, "width": 1024, "height": 768, "seed": 7, "steps": 28,
    "guidance_scale": 3.5, "output_format": "png", "image_loras": [{"path": "https://weights.example/a", "scale": 0.8}],
    "disable_safety_checker": True,
}  # fmt: skip
STEERED_REQUEST = MediaRequest(
    Operation.GENERATE,
    prompt="a red fox",
    negative_prompt="blurry",
    n=2,
    size=(1024, 768),
    seed=7,
    steps=28,
    guidance=3.5,
    loras=(Lora("https://weights.example/a", 0.8),),
    format="png",
    extras={"together": {"disable_safety_checker": True}},
)
EDIT: dict[str, Any] = {"prompt": "with a hat", "reference_images": [PNG_URI, "https://pictures.example/hat.png"]}
EDIT_REQUEST = MediaRequest(
    Operation.EDIT,
    prompt="with a hat",
    references=(Media(PNG, mime="image/png"), Media(url="https://pictures.example/hat.png")),
)
KONTEXT: dict[str, Any] = {"prompt": "with a hat", "image_url": PNG_URI}
KONTEXT_REQUEST = MediaRequest(Operation.EDIT, prompt="with a hat", references=(Media(PNG, mime="image/png"),))


@pytest.mark.parametrize(
    ("asked", "request_", "options"),
    [
        pytest.param(GENERATE, MediaRequest(Operation.GENERATE, prompt="a red fox"), {}, id="prompt"),
        pytest.param(STEERED, STEERED_REQUEST, {}, id="every field"),
        pytest.param(EDIT, EDIT_REQUEST, {}, id="references"),
        pytest.param(KONTEXT, KONTEXT_REQUEST, {"image_field": "image_url"}, id="image_url"),
    ],
)
async def test_a_call_is_the_sdks(asked: dict[str, Any], request_: MediaRequest, options: dict[str, Any]) -> None:
    theirs = await sent_by_sdk(**asked)
    ours = together.write_request(request_, Target("http://host/v1", MODEL, options))
    assert (ours.method, ours.url) == (theirs.method, f"http://host{theirs.path}")
    assert ours.headers["Content-Type"] == theirs.headers["content-type"]
    assert theirs.headers[together.AUTH.header.lower()] == f"{together.AUTH.scheme} key"
    assert orjson.loads(ours.body) == theirs.json()
    assert ours.dropped == ()


# --------------------------------------------------------------------------------------------------- what callers send


async def test_the_sync_sdk_is_given_urls() -> None:
    def run(url: str) -> Any:
        with Together(api_key="key", base_url=url) as sdk:
            return sdk.images.generate(model=MODEL, **STEERED)

    async with served(WIRE, RESULT) as face:
        answer = await asyncio.to_thread(run, face.url)
    assert [picture.url for picture in answer.data] == ["http://ours/media/1", "http://ours/media/2"]
    assert (answer.id, answer.model, answer.object) == ("request-1", "flux-2-dev", "list")
    [request] = face.requests
    assert (request.size, request.n, request.loras) == ((1024, 768), 2, STEERED_REQUEST.loras)


async def test_the_async_sdk_is_given_base64() -> None:
    async with served(WIRE, RESULT) as face, AsyncTogether(api_key="key", base_url=face.url) as sdk:
        answer = await sdk.images.generate(model=MODEL, response_format="base64", **EDIT)
    assert [(picture.index, picture.type) for picture in answer.data] == [(0, "b64_json"), (1, "b64_json")]
    assert answer.data[0].b64_json == "iVBORw0KGgouLi4="
    assert face.requests[0].references == EDIT_REQUEST.references


@pytest.mark.parametrize("base", ["", "/v1"])
async def test_a_base_url_may_have_the_version_or_not(base: str) -> None:
    async with served(WIRE, RESULT) as face, ClientSession() as session:
        answer = await session.post(f"{face.url}{base}/images/generations", json=GENERATE)
        assert answer.status == 200
    assert len(face.requests) == 1


async def test_a_refusal_is_raised_and_not_asked_again() -> None:
    async with (
        served(WIRE, Failure(Cause.REFUSED, "not this")) as face,
        AsyncTogether(base_url=face.url, api_key="k") as sdk,
    ):
        with pytest.raises(UnprocessableEntityError, match="not this"):
            await sdk.images.generate(model=MODEL, prompt="a red fox")
    assert len(face.requests) == 1


async def test_a_rate_limit_says_when_to_come_back() -> None:
    failure = Failure(Cause.THROTTLED, "later", retry_after=7)
    async with served(WIRE, failure) as face, AsyncTogether(api_key="key", base_url=face.url, max_retries=0) as sdk:
        with pytest.raises(RateLimitError, match="later") as caught:
            await sdk.images.generate(model=MODEL, prompt="a red fox")
    assert caught.value.response.headers["retry-after"] == "7"


async def test_a_wrong_field_is_named() -> None:
    async with served(WIRE, RESULT) as face, AsyncTogether(api_key="key", base_url=face.url) as sdk:
        with pytest.raises(BadRequestError, match="steps must be between 1 and 1000") as caught:
            await sdk.images.generate(model=MODEL, prompt="a red fox", steps=0)
    assert caught.value.body["error"]["param"] == "steps"  # type: ignore[index]


async def test_what_is_no_picture_is_passed_on() -> None:
    async with served(WIRE, RESULT, passed_answer={}) as face, AsyncTogether(api_key="key", base_url=face.url) as sdk:
        await sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "hi"}])
        await sdk.embeddings.create(model="m", input="hi")
        await sdk.videos.retrieve("1")
    assert face.passed == [
        "POST /together/v1/chat/completions",
        "POST /together/v1/embeddings",
        "GET /together/v2/videos/1",
    ]
