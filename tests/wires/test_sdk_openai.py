"""The official OpenAI SDK is the oracle: for the same request our provider face sends what the SDK sends, to Azure too.

What differs, and why: the SDK's own headers (``x-stainless-*``, ``user-agent``) say who it is; its file names say where
a file came from; ``n`` of 1 is the default, and only sent by a caller who spells it out.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from io import BytesIO
from typing import Any

import orjson
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI
from PIL import Image

from adapters import imaging
from adapters.ir import (
    Artifact,
    Cause,
    ClientCall,
    Failure,
    Media,
    MediaRequest,
    MediaResult,
    Operation,
    Partial,
    Target,
)
from adapters.openai_images import client, provider
from tests.wires.capture import Captured, capture, multipart_parts

MODEL = "gpt-image-2"
VERSION = "2025-04-01-preview"
REPLY = {"created": 1, "data": [{"b64_json": "aGVsbG8="}]}


def picture(mode: str, colour: Any, kind: str = "PNG") -> bytes:
    out = BytesIO()
    Image.new(mode, (4, 4), colour).save(out, kind)
    return out.getvalue()


PNG = picture("RGB", "#cc2200")
JPEG = picture("RGB", "#0022cc", "JPEG")
MASK = picture("L", 255)  # canonical: change everything
ALPHA = imaging.mask_to_alpha(MASK).data  # the same for OpenAI
ASKED: dict[str, Any] = {
    "prompt": "a red kite", "model": MODEL, "n": 2, "size": "1536x1024", "quality": "high", "background": "transparent",
    "output_format": "webp", "output_compression": 80, "user": "user-17",
}  # fmt: skip
CANONICAL: dict[str, Any] = {
    "prompt": "a red kite", "n": 2, "size": (1536, 1024), "quality": "high", "background": "transparent",
    "format": "webp", "compression": 80, "user": "user-17",
}  # fmt: skip


def openai_at(url: str) -> AsyncOpenAI:
    return AsyncOpenAI(api_key="key", base_url=f"{url}/v1", max_retries=0)


def azure_at(url: str) -> AsyncOpenAI:
    return AsyncAzureOpenAI(api_key="key", azure_endpoint=url, api_version=VERSION, max_retries=0)


async def sent_by_sdk(method: str, sdk_at: Callable[[str], AsyncOpenAI] = openai_at, **asked: Any) -> Captured:
    kind = "text/event-stream" if asked.get("stream") else "application/json"
    async with capture(REPLY, content_type=kind) as (url, captured), sdk_at(url) as sdk:
        await getattr(sdk.images, method)(**asked)
        return captured[0]


def assert_same(
    sdk: Captured, request: MediaRequest, options: Mapping[str, Any] | None = None, base: str = "/v1"
) -> None:
    """All but the credential, which the proxy adds."""
    ours = provider.write_request(request, Target(f"http://host{base}", MODEL, options or {}))
    kind = ours.headers["Content-Type"]
    assert (ours.method, ours.url.removeprefix("http://host")) == (sdk.method, sdk.path)
    assert kind.partition(";")[0] == sdk.headers["content-type"].partition(";")[0]
    if kind == "application/json":
        assert orjson.loads(ours.body) == sdk.json()
    else:
        assert multipart_parts(ours.body, kind) == sdk.parts()


async def test_the_key_is_where_the_sdk_puts_it() -> None:
    sdk = await sent_by_sdk("generate", prompt="a red kite", model=MODEL)
    scheme, key = sdk.headers[provider.AUTH.header.lower()].split(" ")
    assert (scheme, key) == (provider.AUTH.scheme, "key")


async def test_a_minimal_generation_is_the_sdks() -> None:
    sdk = await sent_by_sdk("generate", prompt="a red kite", model=MODEL)
    assert_same(sdk, MediaRequest(Operation.GENERATE, prompt="a red kite"))


async def test_a_generation_with_every_field_is_the_sdks() -> None:
    extras = {"moderation": "low", "complexity": "high", "svg": {"model": "gpt-6", "reasoning": {"effort": "low"}}}
    sdk = await sent_by_sdk("generate", **ASKED, **extras)
    assert_same(sdk, MediaRequest(Operation.GENERATE, **CANONICAL, extras={"openai_images": extras}))


async def test_a_streamed_generation_is_the_sdks() -> None:
    sdk = await sent_by_sdk("generate", prompt="a red kite", model=MODEL, stream=True, partial_images=2)
    request = MediaRequest(Operation.GENERATE, prompt="a red kite", stream=True, partials=2)
    assert_same(sdk, request, {"streams": True})


async def test_an_edit_of_one_image_is_the_sdks() -> None:
    sdk = await sent_by_sdk("edit", image=("kite.png", PNG, "image/png"), **ASKED)
    assert_same(sdk, MediaRequest(Operation.EDIT, references=(Media(PNG, mime="image/png"),), **CANONICAL))


async def test_an_edit_of_several_images_is_the_sdks() -> None:
    extras = {"input_fidelity": "high", "svg": {"model": "gpt-6", "reasoning": {"effort": "low"}}}
    images = [("a.png", PNG, "image/png"), ("b.jpg", JPEG, "image/jpeg")]
    sdk = await sent_by_sdk("edit", image=images, **ASKED, **extras)
    references = (Media(PNG, mime="image/png"), Media(JPEG, mime="image/jpeg"))
    request = MediaRequest(Operation.EDIT, references=references, extras={"openai_images": extras}, **CANONICAL)
    assert_same(sdk, request)


async def test_an_edit_with_a_mask_is_the_sdks() -> None:
    sdk = await sent_by_sdk("edit", image=("a.png", PNG, "image/png"), mask=("m.png", ALPHA, "image/png"), **ASKED)
    references, mask = (Media(PNG, mime="image/png"),), Media(MASK, mime="image/png")
    assert_same(sdk, MediaRequest(Operation.INPAINT, references=references, mask=mask, **CANONICAL))


async def test_a_markup_overlay_is_sent_on_as_the_sdk_sends_it() -> None:
    markup = ("o.png", ALPHA, "image/png")
    sdk = await sent_by_sdk("edit", image=("a.png", PNG, "image/png"), markup=markup, prompt="a red kite", model=MODEL)
    request = MediaRequest(
        Operation.EDIT,
        prompt="a red kite",
        references=(Media(PNG, mime="image/png"),),
        extras={"openai_images": {"markup": Media(ALPHA, mime="image/png")}},
    )
    assert_same(sdk, request)


async def test_a_streamed_edit_is_the_sdks() -> None:
    asked = {"prompt": "a red kite", "model": MODEL, "stream": True, "partial_images": 1}
    sdk = await sent_by_sdk("edit", image=("a.png", PNG, "image/png"), **asked)
    references = (Media(PNG, mime="image/png"),)
    request = MediaRequest(Operation.EDIT, prompt="a red kite", references=references, stream=True, partials=1)
    assert_same(sdk, request, {"streams": True})


AZURE = {"api_version": VERSION}


async def test_a_generation_at_azure_is_its_sdks() -> None:
    sdk = await sent_by_sdk("generate", azure_at, **ASKED)
    assert_same(sdk, MediaRequest(Operation.GENERATE, **CANONICAL), AZURE, "/openai")


async def test_an_edit_with_a_mask_at_azure_is_its_sdks() -> None:
    sdk = await sent_by_sdk(
        "edit", azure_at, image=("a.png", PNG, "image/png"), mask=("m.png", ALPHA, "image/png"), **ASKED
    )
    references, mask = (Media(PNG, mime="image/png"),), Media(MASK, mime="image/png")
    assert_same(sdk, MediaRequest(Operation.INPAINT, references=references, mask=mask, **CANONICAL), AZURE, "/openai")


async def test_a_streamed_generation_at_azure_is_its_sdks() -> None:
    asked = {"prompt": "a red kite", "model": MODEL, "stream": True, "partial_images": 2}
    sdk = await sent_by_sdk("generate", azure_at, **asked)
    request = MediaRequest(Operation.GENERATE, prompt="a red kite", stream=True, partials=2)
    assert_same(sdk, request, {**AZURE, "streams": True}, "/openai")


# --------------------------------------------------------------------------- the other way: the SDK reads what we write


async def test_our_client_face_reads_all_that_the_sdk_sends() -> None:
    images = [("a.png", PNG, "image/png"), ("b.jpg", JPEG, "image/jpeg")]
    sdk = await sent_by_sdk("edit", image=images, mask=ALPHA, **ASKED)
    request = client.read_request(ClientCall(sdk.method, "edit", {}, {}, sdk.headers, sdk.body))
    assert request == MediaRequest(
        Operation.INPAINT,
        model=MODEL,
        references=(Media(PNG, mime="image/png"), Media(JPEG, mime="image/jpeg")),
        mask=imaging.mask_from_alpha(ALPHA, "mask"),
        **CANONICAL,
    )


RESULT = MediaResult((Artifact(Media(PNG, mime="image/png"), 4, 4, revised_prompt="a kite"),), created=1793145600.5)
STREAMED = MediaRequest(Operation.GENERATE, prompt="a red kite", stream=True, partials=1)


async def test_the_sdk_reads_our_reply_and_finds_its_usage() -> None:
    reply = client.write_reply(RESULT, MediaRequest(Operation.GENERATE, prompt="a red kite"))
    async with capture(reply.body) as (url, _), AsyncOpenAI(api_key="key", base_url=f"{url}/v1") as sdk:
        read = await sdk.images.generate(prompt="a red kite", model=MODEL)
    assert read.model_dump(exclude_unset=True) == orjson.loads(reply.body)
    assert read.usage
    assert read.usage.total_tokens == 0


async def read_by_sdk(stream: bytes) -> AsyncIterator[Any]:
    async with (
        capture(stream, content_type="text/event-stream") as (url, _),
        AsyncOpenAI(api_key="key", base_url=f"{url}/v1", _strict_response_validation=True) as sdk,
    ):
        async for event in await sdk.images.generate(prompt="a red kite", model=MODEL, stream=True, partial_images=1):
            yield event


async def test_the_sdk_reads_our_events_even_when_it_validates_them() -> None:
    partial = client.write_event(Partial(RESULT.artifacts[0], 0), STREAMED)
    events = [event async for event in read_by_sdk(partial + client.write_event(RESULT, STREAMED))]
    assert [event.type for event in events] == ["image_generation.partial_image", "image_generation.completed"]
    assert [event.size for event in events] == ["4x4", "4x4"]
    assert events[-1].usage.total_tokens == 0


async def test_the_sdk_raises_our_failure_out_of_a_stream() -> None:
    from openai import APIError

    failure = client.write_event(Failure(Cause.REFUSED, "not this"), STREAMED)
    with pytest.raises(APIError, match="not this") as caught:
        [event async for event in read_by_sdk(failure)]
    assert caught.value.code == "moderation_blocked"
