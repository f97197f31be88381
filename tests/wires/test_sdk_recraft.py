"""OpenAI's SDK 3.52.0 with Recraft's base URL, which is what Recraft's own documentation uses, as the oracle both ways.

What the provider face sends is compared with what the SDK sends for the same call. What differs, and why: the SDK's own
headers (``x-stainless-*``, ``user-agent``) say who it is, its file names say where a file came from, and nested objects
are JSON in our multipart where the SDK spells them in brackets. The pictures are always asked for as base64, so the
calls here ask for the same.
"""

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest
from openai import AsyncOpenAI, BadRequestError, OpenAI, RateLimitError

from adapters import recraft
from adapters.ir import (
    Artifact,
    Cause,
    Delivery,
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
from tests.wires.capture import Captured, capture, multipart_parts
from tests.wires.serve import served

MODEL = "recraftv3"
WIRE = WIRES["recraft"]
PNG = b"\x89PNG\r\n\x1a\n..."
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"/>'
PICTURE = Media(PNG, mime="image/png")
RESULT = MediaResult(
    (Artifact(Media(PNG, "http://ours/media/1", "image/png"), 8, 6, revised_prompt="a very red fox"),),
    id="r1",
    usage=Usage(cost_usd=0.04),
)
DRAWING = MediaResult((Artifact(Media(SVG, "http://ours/media/2", "image/svg+xml")),), id="r2")
MULTIPART: dict[str, Any] = {"headers": {"Content-Type": "multipart/form-data"}}  # as the documentation has it
OWN = {"style": "digital_illustration", "controls": {"colors": [{"rgb": [0, 255, 0]}]}}
FILE = ("fox.png", PNG, "image/png")

# ------------------------------------------------------------------------------------------------------- what we send


def assert_same(theirs: Captured, request: MediaRequest, remote: str = MODEL) -> None:
    ours = recraft.write_request(request, Target("http://host/v1", remote))
    kind = ours.headers["Content-Type"]
    assert (ours.method, ours.url) == (theirs.method, f"http://host{theirs.path}")
    assert theirs.headers[recraft.AUTH.header.lower()] == f"{recraft.AUTH.scheme} key"
    assert kind.partition(";")[0] == theirs.headers["content-type"].partition(";")[0]
    if kind == "application/json":
        assert orjson.loads(ours.body) == theirs.json()
    else:
        assert multipart_parts(ours.body, kind) == theirs.parts()
    assert ours.dropped == ()


async def test_a_generation_is_the_sdks() -> None:
    async with capture({"data": []}) as (url, captured), AsyncOpenAI(api_key="key", base_url=f"{url}/v1") as sdk:
        await sdk.images.generate(
            model=MODEL,
            prompt="a red fox",
            n=2,
            size="1024x1024",
            response_format="b64_json",
            extra_body={"random_seed": 7, "negative_prompt": "blur", "image_format": "webp", **OWN},
        )
    request = MediaRequest(
        Operation.GENERATE,
        prompt="a red fox",
        negative_prompt="blur",
        n=2,
        size=(1024, 1024),
        seed=7,
        format="webp",
        extras={"recraft": OWN},
    )
    assert_same(captured[0], request)


ILLUSTRATION = {"style": "Illustration"}


@pytest.mark.parametrize(
    ("endpoint", "body", "request_"),
    [
        (
            "imageToImage",
            {"prompt": "winter", "strength": 0.2, **ILLUSTRATION},
            MediaRequest(Operation.EDIT, "winter", strength=0.2, extras={"recraft": ILLUSTRATION}),
        ),
        (
            "outpaint",
            {"prompt": "hills", "expand_left": 256, "expand_right": 256, "expand_top": 128, "expand_bottom": 0},
            MediaRequest(Operation.OUTPAINT, "hills", margins=Margins(256, 128, 256)),
        ),
        ("replaceBackground", {"prompt": "hills"}, MediaRequest(Operation.REPLACE_BACKGROUND, "hills")),
    ],
)
async def test_work_on_a_picture_is_the_sdks_upload(
    endpoint: str, body: dict[str, Any], request_: MediaRequest
) -> None:
    body = {**body, "model": MODEL, "response_format": "b64_json"}
    async with capture({"data": []}) as (url, captured), AsyncOpenAI(api_key="key", base_url=f"{url}/v1") as sdk:
        await sdk.post(f"/images/{endpoint}", cast_to=object, body=body, files={"image": FILE}, options=MULTIPART)
    assert_same(captured[0], replace(request_, references=(PICTURE,)))


@pytest.mark.parametrize(
    ("endpoint", "operation"),
    [
        ("vectorize", Operation.VECTORIZE),
        ("removeBackground", Operation.REMOVE_BACKGROUND),
        ("crispUpscale", Operation.UPSCALE),
        ("creativeUpscale", Operation.UPSCALE),
    ],
)
async def test_a_tool_is_sent_what_the_sdk_uploads(endpoint: str, operation: Operation) -> None:
    body = {"response_format": "b64_json"}
    async with capture({"data": []}) as (url, captured), AsyncOpenAI(api_key="key", base_url=f"{url}/v1") as sdk:
        await sdk.post(f"/images/{endpoint}", cast_to=object, body=body, files={"file": FILE}, options=MULTIPART)
    assert_same(captured[0], MediaRequest(operation, references=(PICTURE,)), endpoint)


# --------------------------------------------------------------------------------------------------- what callers send


async def test_the_async_sdk_generates_with_fields_of_recrafts_own() -> None:
    async with served(WIRE, RESULT) as face, AsyncOpenAI(api_key="key", base_url=f"{face.url}/v1") as sdk:
        found = await sdk.images.generate(prompt="a red fox", model="recraftv3", size="1024x1024", extra_body=OWN)
    assert found.data is not None
    assert [(image.url, image.revised_prompt) for image in found.data] == [("http://ours/media/1", "a very red fox")]
    assert face.requests == [
        MediaRequest(
            Operation.GENERATE,
            prompt="a red fox",
            model="recraftv3",
            size=(1024, 1024),
            delivery=Delivery.URL,
            extras={"recraft": OWN},
        )
    ]


async def test_the_sync_sdk_generates_and_uploads() -> None:
    def call(url: str) -> tuple[Any, Any]:
        with OpenAI(api_key="key", base_url=url) as sdk:
            made = sdk.images.generate(prompt="a red fox", response_format="b64_json")
            body = {"prompt": "winter", "strength": 0.2}
            edited: Any = sdk.post(
                "/images/imageToImage", cast_to=object, options=MULTIPART, files={"image": FILE}, body=body
            )
        return made, edited

    async with served(WIRE, RESULT) as face:
        made, edited = await asyncio.to_thread(call, face.url)
    assert made.data[0].b64_json == "iVBORw0KGgouLi4="
    assert edited["data"][0]["url"] == "http://ours/media/1"
    assert edited["credits"] == 40
    assert [request.operation for request in face.requests] == [Operation.GENERATE, Operation.EDIT]
    assert (face.requests[1].strength, face.requests[1].references) == (0.2, (PICTURE,))


async def test_a_picture_by_url_is_vectorized_into_one_image() -> None:
    body = {"image_url": "https://pictures.example/a.png", "response_format": "b64_json"}
    async with served(WIRE, DRAWING) as face, AsyncOpenAI(api_key="key", base_url=f"{face.url}/v1") as sdk:
        found: Any = await sdk.post("/images/vectorize", cast_to=object, body=body)
    assert found["image"]["b64_json"] == "PHN2ZyB4bWxucz0iaHR0cDovL3d3dy53My5vcmcvMjAwMC9zdmciLz4="
    assert face.requests == [
        MediaRequest(Operation.VECTORIZE, references=(Media(url="https://pictures.example/a.png"),), format="svg")
    ]


async def test_a_refusal_is_raised_and_not_tried_again() -> None:
    refusal = Failure(Cause.REFUSED, "no foxes here")
    async with served(WIRE, refusal) as face, AsyncOpenAI(api_key="key", base_url=f"{face.url}/v1") as sdk:
        with pytest.raises(BadRequestError, match="no foxes here") as raised:
            await sdk.images.generate(prompt="a red fox")
    assert raised.value.code == "moderation_blocked"
    assert len(face.requests) == 1


async def test_a_rate_limit_is_raised_as_one() -> None:
    limit = Failure(Cause.THROTTLED, "later", retry_after=0.001)
    async with (
        served(WIRE, limit) as face,
        AsyncOpenAI(api_key="key", base_url=f"{face.url}/v1", max_retries=0) as sdk,
    ):
        with pytest.raises(RateLimitError, match="later") as raised:
            await sdk.images.generate(prompt="a red fox")
    assert raised.value.response.headers["retry-after"] == "1"


async def test_a_wrong_field_is_named() -> None:
    async with served(WIRE, RESULT) as face, AsyncOpenAI(api_key="key", base_url=f"{face.url}/v1") as sdk:
        with pytest.raises(BadRequestError, match="n must be between 1 and 6") as raised:
            await sdk.images.generate(prompt="a red fox", n=7)
    assert raised.value.param == "n"


async def test_styles_and_the_account_are_passed_on() -> None:
    async with (
        served(WIRE, RESULT, {"id": "s1"}) as face,
        AsyncOpenAI(api_key="key", base_url=f"{face.url}/v1") as sdk,
    ):
        style = {"style": "digital_illustration"}
        made: Any = await sdk.post("/styles", cast_to=object, options=MULTIPART, body=style, files={"file1": FILE})
        await sdk.get("/users/me", cast_to=object)
        await sdk.delete("/styles/s1", cast_to=object)
    assert made == {"id": "s1"}
    assert face.passed == ["POST /recraft/v1/styles", "GET /recraft/v1/users/me", "DELETE /recraft/v1/styles/s1"]
