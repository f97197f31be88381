"""The official ``replicate`` SDK 1.0.7 as the oracle, both ways.

What the provider face sends is compared field by field with what the SDK sends for the same call. All that may differ:

* headers: we set Content-Type and Prefer. The credential is added by the proxy, which signs every call; User-Agent,
  Accept, Host and the connection's own are the HTTP client's.
* the file name of an uploaded part: we know none, and it means nothing to the API.

And the client face is called by the SDK, unchanged: its requests are read, and it is answered with our predictions.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

import httpx
import orjson
import pytest
from replicate import Client
from replicate.exceptions import ModelError
from replicate.helpers import FileOutput
from replicate.webhook import InvalidSignatureError, Webhooks, WebhookSigningSecret

from adapters.ir import (
    Artifact,
    Cause,
    ClientCall,
    Failure,
    Job,
    JobState,
    Media,
    MediaRequest,
    MediaResult,
    Operation,
    Target,
    Upload,
    UpstreamCall,
    Webhook,
)
from adapters.replicate import client, provider
from tests.wires.capture import Captured, capture, multipart_parts

MODEL = "black-forest-labs/flux-schnell"
PREDICTION = {"id": "p1", "model": MODEL, "version": "hidden", "status": "succeeded", "output": []}
PNG = b"\x89PNG\r\n\x1a\n..."


class NamedFile(BytesIO):
    name = "fox.png"


@asynccontextmanager
async def sdk_at(*replies: bytes | Mapping[str, Any]) -> AsyncIterator[tuple[Client, str, Sequence[Captured]]]:
    """The SDK pointed at a server that answers with ``replies``; with the server's URL and what it captured."""
    async with capture(*replies) as (url, captured), httpx.AsyncHTTPTransport() as transport:
        sdk = Client(api_token="r8_test", base_url=url, transport=transport)
        sdk.poll_interval = 0.001
        yield sdk, url, captured


def assert_same(ours: UpstreamCall, theirs: Captured, url: str) -> None:
    """All but the differences listed above."""
    assert (ours.method, ours.url) == (theirs.method, url + theirs.path)
    headers = {name.lower(): value for name, value in ours.headers.items()}
    assert headers.get("prefer") == theirs.headers.get("prefer")
    kind = headers.get("content-type", "")
    assert kind.partition(";")[0] == theirs.headers.get("content-type", "").partition(";")[0]
    if kind.startswith("multipart/"):
        assert multipart_parts(ours.body, kind) == theirs.parts()
    elif ours.body or theirs.body:
        assert orjson.loads(ours.body) == theirs.json()


# ------------------------------------------------------------------------------------------------------- what we send

PROMPT = MediaRequest(Operation.GENERATE, prompt="a red fox")
RICH = MediaRequest(
    Operation.GENERATE,
    prompt="a red fox",
    aspect=(16, 9),
    n=2,
    seed=7,
    format="jpeg",
    compression=80,
    steps=4,
    extras={"replicate": {"go_fast": True}},
)
RICH_INPUT = {
    "prompt": "a red fox",
    "aspect_ratio": "16:9",
    "num_outputs": 2,
    "seed": 7,
    "output_format": "jpg",
    "output_quality": 80,
    "num_inference_steps": 4,
    "go_fast": True,
}
RICH_OPTIONS = {"inputs": {"compression": "output_quality", "steps": "num_inference_steps"}}


@pytest.mark.parametrize(
    ("request_", "options", "given", "params"),
    [
        pytest.param(PROMPT, {}, {"prompt": "a red fox"}, {}, id="prompt"),
        pytest.param(PROMPT, {"wait": 5}, {"prompt": "a red fox"}, {"wait": 5}, id="wait"),
        pytest.param(RICH, RICH_OPTIONS, RICH_INPUT, {}, id="rich"),
    ],
)
async def test_a_prediction_is_created_as_the_sdk_does(
    request_: MediaRequest, options: Mapping[str, Any], given: dict[str, Any], params: dict[str, Any]
) -> None:
    async with sdk_at(PREDICTION) as (sdk, url, captured):
        await sdk.models.predictions.async_create(MODEL, given, **params)
        assert_same(provider.write_request(request_, Target(f"{url}/v1", MODEL, options)), captured[0], url)


@pytest.mark.parametrize("remote", ["39ed52f2a78e", "stability-ai/sdxl:39ed52f2a78e"])
async def test_a_version_is_run_as_the_sdk_does(remote: str) -> None:
    async with sdk_at(PREDICTION) as (sdk, url, captured):
        await sdk.predictions.async_create(version="39ed52f2a78e", input={"prompt": "a red fox"})
        assert_same(provider.write_request(PROMPT, Target(f"{url}/v1", remote)), captured[0], url)


async def test_a_small_picture_goes_inline_as_the_sdk_sends_it() -> None:
    request = MediaRequest(Operation.EDIT, prompt="snow", references=(Media(data=PNG, mime="image/png"),))
    options = {"inputs": {"references": "image_input[]"}}
    async with sdk_at(PREDICTION) as (sdk, url, captured):
        given = {"prompt": "snow", "image_input": [NamedFile(PNG)]}
        await sdk.models.predictions.async_create(MODEL, given, file_encoding_strategy="base64")
        assert_same(provider.write_request(request, Target(f"{url}/v1", MODEL, options)), captured[0], url)


async def test_a_large_picture_is_stored_as_the_sdk_stores_it() -> None:
    stored = {
        "id": "f1",
        "name": "fox.png",
        "content_type": "image/png",
        "size": 1,
        "etag": "",
        "checksums": {},
        "metadata": {},
    }
    stored |= {"created_at": "", "urls": {"get": "https://api.replicate.com/v1/files/f1"}}
    async with sdk_at(stored) as (sdk, url, captured):
        await sdk.files.async_create(NamedFile(PNG))
        assert_same(
            provider.write_upload(Media(data=PNG, mime="image/png"), Target(f"{url}/v1", MODEL)), captured[0], url
        )


async def test_a_prediction_is_polled_and_canceled_as_the_sdk_does() -> None:
    async with sdk_at(PREDICTION) as (sdk, url, captured):
        await sdk.predictions.async_get("p1")
        await sdk.predictions.async_cancel("p1")
        target = Target(f"{url}/v1", MODEL)
        assert_same(provider.poll({"id": "p1"}, target), captured[0], url)
        cancel = provider.cancel({"id": "p1"}, target)
        assert cancel is not None
        assert_same(cancel, captured[1], url)


# --------------------------------------------------------------------------------------------------- what callers send


def read(theirs: Captured, owner: str, name: str) -> MediaRequest:
    params = {"owner": owner, "name": name}
    return client.read_request(ClientCall("POST", "model", params, {}, theirs.headers, theirs.body))


def job(state: JobState, **more: Any) -> bytes:
    return client.write_job(Job("sealed", state, "http://ours/v1", MODEL, 1_795_000_000.0, **more)).body


PICTURES = MediaResult(
    (Artifact(Media(data=PNG, mime="image/png")), Artifact(Media(data=b"\xff\xd8\xff", mime="image/jpeg")))
)


async def test_run_is_answered_in_one_call_where_the_picture_is_there_in_time() -> None:
    done = job(JobState.SUCCEEDED, result=PICTURES, finished=1_795_000_002.0, route="model")
    async with sdk_at(done) as (sdk, _, captured):
        output = await sdk.async_run(MODEL, {"prompt": "a red fox", "num_outputs": 2})
    assert [type(file) for file in output] == [FileOutput, FileOutput]
    assert [await file.aread() for file in output] == [PNG, b"\xff\xd8\xff"]
    assert len(captured) == 1
    request = read(captured[0], "black-forest-labs", "flux-schnell")
    assert (request.model, request.prompt, request.n, request.wait) == (MODEL, "a red fox", 2, 60.0)


async def test_run_polls_on_where_the_picture_took_longer() -> None:
    answers = (
        job(JobState.RUNNING, route="model"),
        job(JobState.RUNNING),
        job(JobState.SUCCEEDED, result=PICTURES, finished=1_795_000_070.0),
    )
    async with sdk_at(*answers) as (sdk, _, captured):
        output = await sdk.async_run(MODEL, {"prompt": "a red fox"})
    assert [await file.aread() for file in output] == [PNG, b"\xff\xd8\xff"]
    assert [(call.method, call.path) for call in captured] == [
        ("POST", f"/v1/models/{MODEL}/predictions"),
        ("GET", "/v1/predictions/sealed"),
        ("GET", "/v1/predictions/sealed"),
    ]


async def test_run_raises_a_refusal_with_its_code() -> None:
    failed = job(JobState.FAILED, failure=Failure(Cause.REFUSED, "no foxes here"), route="model")
    async with sdk_at(failed) as (sdk, _, _):
        with pytest.raises(ModelError, match=r"no foxes here \(E005\)"):
            await sdk.async_run(MODEL, {"prompt": "a red fox"})


async def test_every_state_is_a_prediction_to_the_sdk() -> None:
    answers = [job(state) for state in JobState]
    async with sdk_at(*answers) as (sdk, _, _):
        statuses = [(await sdk.predictions.async_get("sealed")).status for _ in answers]
    assert statuses == ["starting", "processing", "succeeded", "failed", "canceled"]


async def test_a_file_given_to_run_is_stored_with_us_and_named_by_our_url() -> None:
    stored = Upload("sealed-file", "http://ours/v1/files/sealed-file", Media(data=PNG, mime="image/png"), "fox.png")
    answers = (
        client.write_upload_reply(stored).body,
        job(JobState.SUCCEEDED, result=PICTURES, route="model"),
    )
    async with sdk_at(*answers) as (sdk, _, captured):
        await sdk.async_run("black-forest-labs/flux-kontext-pro", {"prompt": "snow", "input_image": NamedFile(PNG)})
    upload = ClientCall("POST", "upload", {}, {}, captured[0].headers, captured[0].body)
    assert client.read_upload(upload) == (Media(data=PNG, mime="image/png"), "fox.png")
    request = read(captured[1], "black-forest-labs", "flux-kontext-pro")
    assert request.operation is Operation.EDIT
    assert request.references == (Media(url="http://ours/v1/files/sealed-file"),)


# ------------------------------------------------------------------------------------------------------------ webhooks


async def test_a_webhook_is_verified_by_the_sdk_with_the_secret_we_tell_it() -> None:
    message = client.write_webhook(
        Job("sealed", JobState.SUCCEEDED, "http://ours/v1", MODEL, 1_795_000_000.0, result=PICTURES),
        Webhook("https://app.example/done", ("completed",)),
        bytes(range(32)),
        1_795_000_002.5,
    )
    assert message is not None
    async with sdk_at(client.write_secret(bytes(range(32))).body) as (sdk, _, captured):
        secret = await sdk.webhooks.default.async_secret()
    assert captured[0].path == "/v1/webhooks/default/secret"
    headers, body = dict(message.headers), message.body.decode()
    Webhooks.validate(headers=headers, body=body, secret=secret)
    with pytest.raises(InvalidSignatureError):
        Webhooks.validate(headers=headers, body=body + " ", secret=secret)
    with pytest.raises(InvalidSignatureError):
        Webhooks.validate(headers=headers, body=body, secret=WebhookSigningSecret(key="whsec_AAAA"))


async def test_a_webhook_asked_for_through_the_sdk_is_read() -> None:
    async with sdk_at(job(JobState.QUEUED, route="model")) as (sdk, _, captured):
        await sdk.models.predictions.async_create(
            MODEL, {"prompt": "a red fox"}, webhook="https://app.example/done", webhook_events_filter=["completed"]
        )
    request = read(captured[0], "black-forest-labs", "flux-schnell")
    assert request.webhook == Webhook("https://app.example/done", ("completed",))
