"""The official ``boto3`` SDK 1.44.5 as the oracle, both ways; its botocore has the service model of Bedrock.

What the provider face sends is what ``invoke_model`` sends for the same model and body. What differs, and why: the
signature and its headers are the proxy's to add, and ``user-agent`` and ``amz-sdk-*`` say who the SDK is.

And the client face is called by the SDK, which is synchronous: its exceptions are told by our errors.
"""

import asyncio
import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import boto3
import orjson
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from adapters import bedrock
from adapters.ir import Artifact, Cause, Failure, Margins, Media, MediaRequest, MediaResult, Operation, Target
from adapters.registry import WIRES
from tests.wires.capture import Captured, capture
from tests.wires.serve import served

CORE = "stability.stable-image-core-v1:1"
NOVA = "amazon.nova-canvas-v1:0"
PNG = b"\x89PNG\r\n\x1a\n..."
PNG_BASE64 = "iVBORw0KGgouLi4="
WIRE = WIRES["bedrock"]
RESULT = MediaResult((Artifact(Media(PNG, mime="image/png"), 8, 6, seed=7),), id="request-1")


@contextmanager
def sdk_at(url: str) -> Iterator[Any]:
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url=url,
        region_name="us-west-2",
        aws_access_key_id="id",
        aws_secret_access_key="secret",
        config=Config(proxies={}, retries={"total_max_attempts": 3, "mode": "standard"}),
    )
    try:
        yield client
    finally:
        client.close()


async def asked(url: str, ask: Callable[[Any], Any]) -> Any:
    """What the SDK makes of the answer; it blocks, so it has a thread of its own."""

    def run() -> Any:
        with sdk_at(url) as sdk:
            return ask(sdk)

    return await asyncio.to_thread(run)


def invoke(model: str, body: dict[str, Any]) -> Callable[[Any], Any]:
    return lambda sdk: orjson.loads(sdk.invoke_model(modelId=model, body=orjson.dumps(body))["body"].read())


# ------------------------------------------------------------------------------------------------------- what we send


async def sent_by_sdk(model: str, body: dict[str, Any]) -> Captured:
    kinds = {"contentType": "application/json", "accept": "application/json"}
    async with capture({}) as (url, captured):
        await asked(url, lambda sdk: sdk.invoke_model(modelId=model, body=orjson.dumps(body), **kinds))
    return captured[0]


GENERATE = MediaRequest(Operation.GENERATE, "a red fox", "blurry", aspect=(16, 9), seed=7, format="png")
GENERATE_BODY = {
    "prompt": "a red fox",
    "negative_prompt": "blurry",
    "aspect_ratio": "16:9",
    "seed": 7,
    "output_format": "png",
}
OUTPAINT = MediaRequest(Operation.OUTPAINT, references=(Media(PNG),), margins=Margins(left=512, top=200))
OUTPAINT_BODY = {"image": PNG_BASE64, "left": 512, "up": 200}
PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc"


@pytest.mark.parametrize(
    ("model", "body", "request_", "options"),
    [
        pytest.param(CORE, GENERATE_BODY, GENERATE, {}, id="generate"),
        pytest.param(
            "us.stability.stable-outpaint-v1:0", OUTPAINT_BODY, OUTPAINT, {"service": "edit/outpaint"}, id="picture"
        ),
        pytest.param(PROFILE, OUTPAINT_BODY, OUTPAINT, {"service": "edit/outpaint"}, id="profile"),
    ],
)
async def test_a_call_is_the_sdks(
    model: str, body: dict[str, Any], request_: MediaRequest, options: dict[str, Any]
) -> None:
    theirs = await sent_by_sdk(model, body)
    ours = bedrock.write_request(request_, Target("http://host", model, options))
    assert (ours.method, ours.url) == (theirs.method, f"http://host{theirs.path}")
    assert {name.lower(): value for name, value in ours.headers.items()}.items() <= theirs.headers.items()
    assert orjson.loads(ours.body) == theirs.json()
    assert ours.dropped == ()


# --------------------------------------------------------------------------------------------------- what callers send


async def test_a_picture_of_stability_is_answered_in_its_shape() -> None:
    async with served(WIRE, RESULT) as face:
        answer = await asked(face.url, invoke(CORE, GENERATE_BODY))
    assert answer == {"images": [PNG_BASE64], "seeds": [7], "finish_reasons": [None]}
    [request] = face.requests
    assert (request.model, request.prompt, request.aspect, request.seed) == (CORE, "a red fox", (16, 9), 7)


async def test_a_picture_of_amazons_own_is_answered_in_its_shape() -> None:
    body = {"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "a red fox"}}
    async with served(WIRE, RESULT) as face:
        answer = await asked(face.url, invoke(NOVA, body))
    assert answer == {"images": [PNG_BASE64], "error": None}
    assert base64.b64decode(answer["images"][0]) == PNG


async def test_the_request_has_an_id_for_the_sdk() -> None:
    async with served(WIRE, RESULT) as face:
        answer = await asked(face.url, lambda sdk: sdk.invoke_model(modelId=CORE, body=orjson.dumps(GENERATE_BODY)))
    assert answer["ResponseMetadata"]["RequestId"] == "request-1"


async def test_a_refusal_of_stability_is_no_exception() -> None:
    async with served(WIRE, Failure(Cause.REFUSED, "not this")) as face:
        answer = await asked(face.url, invoke(CORE, GENERATE_BODY))
    assert (answer["images"], answer["finish_reasons"]) == ([], ["Filter reason: prompt"])
    assert answer["message"] == "not this"


async def failed(failure: Failure, body: dict[str, Any] | None = None, model: str = CORE) -> tuple[ClientError, int]:
    """The exception of the SDK, and how many times it has asked."""
    async with served(WIRE, failure) as face:
        with pytest.raises(ClientError) as caught:
            await asked(face.url, invoke(model, body or GENERATE_BODY))
    return caught.value, len(face.requests)


async def test_a_refusal_of_amazons_own_is_known_by_its_words() -> None:
    body = {"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "a red fox"}}
    error, count = await failed(Failure(Cause.REFUSED, "not this"), body, NOVA)
    assert type(error).__name__ == "ValidationException"
    assert "blocked by our content filters" in str(error)
    assert "not this" in str(error)
    assert count == 1


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause is not Cause.REFUSED])
async def test_an_error_is_an_exception_of_the_service_model(cause: Cause) -> None:
    error, _ = await failed(Failure(cause, "no picture"))
    name, status = type(error).__name__, error.response["ResponseMetadata"]["HTTPStatusCode"]
    with sdk_at("http://localhost") as sdk:
        shape = sdk.meta.service_model.shape_for(name)
        assert name in {error.name for error in sdk.meta.service_model.operation_model("InvokeModel").error_shapes}
    assert shape.metadata["error"]["httpStatusCode"] == status
    assert "no picture" in str(error)


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause is not Cause.REFUSED])
async def test_the_sdk_asks_again_only_where_the_caller_may(cause: Cause) -> None:
    _, count = await failed(Failure(cause, "no picture"))
    assert (count > 1) == cause.caller_may_retry


async def test_a_wrong_field_is_named() -> None:
    async with served(WIRE, RESULT) as face:
        with pytest.raises(ClientError, match="seed must be between 0 and 4294967294"):
            await asked(face.url, invoke(CORE, {"prompt": "a red fox", "seed": -1}))


async def test_a_chat_is_passed_on() -> None:
    answer = {
        "output": {"message": {"role": "assistant", "content": [{"text": "hello"}]}},
        "stopReason": "end_turn",
        "usage": {"inputTokens": 1, "outputTokens": 1, "totalTokens": 2},
        "metrics": {"latencyMs": 1},
    }
    said = [{"role": "user", "content": [{"text": "hi"}]}]
    async with served(WIRE, RESULT, passed_answer=answer) as face:
        reply = await asked(face.url, lambda sdk: sdk.converse(modelId="amazon.nova-lite-v1:0", messages=said))
    assert reply["output"]["message"]["content"] == [{"text": "hello"}]
    assert face.passed == ["POST /bedrock/model/amazon.nova-lite-v1:0/converse"]
