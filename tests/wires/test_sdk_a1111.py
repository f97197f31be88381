"""``webuiapi`` 0.9.17, a client many programs use, as the oracle: AUTOMATIC1111 has no official SDK.

It sends every field it knows, with its own defaults. So what the provider face sends is compared as a part of what it
sends for the same call: what we set must be set so by it too, up to these differences:

* pictures: it sends data URIs of its own PNG encoding, we send the bytes as they are; the server reads both;
* ``override_settings``: it names a checkpoint only where the call does.

And the client face is called by it, unchanged: its requests are read, and it is answered with our replies. It is
blocking, and has an async way to post as well.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

import orjson
import pytest
from PIL import Image
from webuiapi import WebUIApi

from adapters.a1111 import client, provider
from adapters.imaging import encode_base64, picture_size, read_base64
from adapters.ir import (
    Artifact,
    Cause,
    ClientCall,
    ClientReply,
    Failure,
    Lora,
    Media,
    MediaRequest,
    MediaResult,
    Operation,
    PassThrough,
    Target,
)
from tests.wires.capture import Captured, capture

PICTURE = Image.new("RGB", (64, 48), "#ff0000")
MASK = Image.new("L", (64, 48), 0)
MASK.paste(255, (8, 8, 16, 16))


def png(image: Image.Image) -> bytes:
    out = BytesIO()
    image.save(out, "PNG")
    return out.getvalue()


@asynccontextmanager
async def sdk_at(*replies: ClientReply) -> AsyncIterator[tuple[WebUIApi, str, Sequence[Captured]]]:
    """It begins by asking for the server's scripts: that call comes first, and is answered by none."""
    async with capture({"txt2img": [], "img2img": []}, *replies) as (url, captured):
        sdk = await asyncio.to_thread(WebUIApi, baseurl=f"{url}/sdapi/v1")
        yield sdk, url, captured
        sdk.session.close()


def reply(request: MediaRequest, *, count: int = 1, seed: int | None = None) -> ClientReply:
    artifacts = tuple(
        Artifact(Media(data=png(PICTURE), mime="image/png"), 64, 48, None if seed is None else seed + index)
        for index in range(count)
    )
    return client.write_reply(MediaResult(artifacts, model="sdxl"), request)


GENERATED = reply(MediaRequest(Operation.GENERATE, prompt="a red fox"))
UPSCALED = reply(MediaRequest(Operation.UPSCALE))


def pixels(text: str) -> tuple[tuple[int, int], bytes]:
    with Image.open(BytesIO(read_base64(text, "picture").data)) as image:
        return image.size, image.convert("L").tobytes()


def assert_part(request: MediaRequest, target: Target, theirs: Captured, url: str) -> None:
    """All but the differences listed above."""
    ours = provider.write_request(request, target)
    assert (ours.method, ours.url) == (theirs.method, url + theirs.path)
    assert ours.dropped == ()
    sent = theirs.json()
    for name, value in orjson.loads(ours.body).items():
        if name in ("image", "mask"):
            assert pixels(value) == pixels(sent[name])
        elif name == "init_images":
            assert list(map(pixels, value)) == list(map(pixels, sent[name]))
        else:
            assert value == sent[name], name


# ------------------------------------------------------------------------------------------------------- what we send


async def test_a_picture_is_asked_for_as_the_client_does() -> None:
    async with sdk_at(GENERATED) as (sdk, url, captured):
        await asyncio.to_thread(
            sdk.txt2img,
            prompt="a red fox <lora:watercolour:0.8>",
            negative_prompt="blurry",
            seed=42,
            steps=28,
            cfg_scale=6.5,
            width=768,
            height=512,
            batch_size=2,
            n_iter=2,
            override_settings={"sd_model_checkpoint": "sd_xl_base_1.0"},
        )
    request = MediaRequest(
        Operation.GENERATE,
        prompt="a red fox",
        negative_prompt="blurry",
        seed=42,
        steps=28,
        guidance=6.5,
        size=(768, 512),
        n=4,
        loras=(Lora("watercolour", 0.8),),
    )
    assert_part(request, Target(f"{url}/sdapi/v1", "sd_xl_base_1.0", {"max_batch": 2}), captured[1], url)


async def test_a_picture_is_edited_behind_a_mask_as_the_client_does() -> None:
    async with sdk_at(GENERATED) as (sdk, url, captured):
        await asyncio.to_thread(
            sdk.img2img,
            images=[PICTURE],
            mask_image=MASK,
            prompt="a window",
            denoising_strength=0.6,
            width=64,
            height=64,
            override_settings={"sd_model_checkpoint": "sd_xl_base_1.0"},
        )
    request = MediaRequest(
        Operation.INPAINT,
        prompt="a window",
        size=(64, 64),
        strength=0.6,
        references=(Media(data=png(PICTURE)),),
        mask=Media(data=png(MASK)),
    )
    assert_part(request, Target(f"{url}/sdapi/v1", "sd_xl_base_1.0"), captured[1], url)


@pytest.mark.parametrize(
    ("named", "request_"),
    [
        ({"upscaling_resize": 4}, {"scale": 4}),
        ({"resize_mode": 1, "upscaling_resize_w": 256, "upscaling_resize_h": 192}, {"size": (256, 192)}),
    ],
)
async def test_a_picture_is_made_larger_as_the_client_does(named: dict[str, Any], request_: dict[str, Any]) -> None:
    async with sdk_at(UPSCALED) as (sdk, url, captured):
        await asyncio.to_thread(sdk.extra_single_image, PICTURE, upscaler_1="R-ESRGAN 4x+", **named)
    request = MediaRequest(Operation.UPSCALE, references=(Media(data=png(PICTURE)),), **request_)
    assert_part(request, Target(f"{url}/sdapi/v1", "R-ESRGAN 4x+"), captured[1], url)


async def test_faces_are_restored_as_the_client_does() -> None:
    async with sdk_at(UPSCALED) as (sdk, url, captured):
        await asyncio.to_thread(sdk.extra_single_image, PICTURE, codeformer_visibility=1)
    request = MediaRequest(Operation.RESTORE, references=(Media(data=png(PICTURE)),))
    assert_part(request, Target(f"{url}/sdapi/v1", "CodeFormer"), captured[1], url)


# --------------------------------------------------------------------------------------------------- what callers send


def read(theirs: Captured) -> MediaRequest:
    route = theirs.path.removeprefix("/sdapi/v1/")
    return client.read_request(ClientCall("POST", route, {}, {}, theirs.headers, theirs.body))


async def test_a_generation_is_read_and_answered_with_pictures_and_seeds() -> None:
    asked = MediaRequest(Operation.GENERATE, prompt="a red fox", n=2)
    async with sdk_at(reply(asked, count=2, seed=42)) as (sdk, _, captured):
        answer = await asyncio.to_thread(sdk.txt2img, prompt="a red fox <lora:a:0.5>", batch_size=2, width=768)
    assert [image.size for image in answer.images] == [(64, 48), (64, 48)]
    assert answer.info["all_seeds"] == [42, 43]
    assert answer.parameters["prompt"] == "a red fox"
    request = read(captured[1])
    assert (request.operation, request.prompt, request.n) == (Operation.GENERATE, "a red fox", 2)
    assert (request.size, request.seed, request.loras) == ((768, 512), None, (Lora("a", 0.5),))


async def test_an_edit_behind_a_mask_is_read() -> None:
    async with sdk_at(GENERATED) as (sdk, _, captured):
        await asyncio.to_thread(sdk.img2img, images=[PICTURE], mask_image=MASK, prompt="a window")
    request = read(captured[1])
    assert request.operation is Operation.INPAINT
    assert picture_size(request.references[0].data) == PICTURE.size
    assert request.mask is not None
    assert pixels(encode_base64(request.mask.data)) == (MASK.size, MASK.tobytes())


async def test_an_inverted_mask_is_read_the_other_way_round() -> None:
    async with sdk_at(GENERATED) as (sdk, _, captured):
        inverted = MASK.point(range(255, -1, -1))
        await asyncio.to_thread(sdk.img2img, images=[PICTURE], mask_image=inverted, inpainting_mask_invert=1)
    request = read(captured[1])
    assert request.mask is not None
    assert pixels(encode_base64(request.mask.data)) == (MASK.size, MASK.tobytes())


async def test_an_upscale_is_read_and_answered_with_one_picture() -> None:
    async with sdk_at(UPSCALED) as (sdk, _, captured):
        answer = await asyncio.to_thread(sdk.extra_single_image, PICTURE, upscaler_1="R-ESRGAN 4x+")
    assert answer.image.size == (64, 48)
    request = read(captured[1])
    assert (request.operation, request.model, request.scale) == (Operation.UPSCALE, "R-ESRGAN 4x+", 2)


async def test_its_async_way_is_served_too() -> None:
    async with sdk_at(GENERATED) as (sdk, _, captured):
        answer = await sdk.txt2img(prompt="a red fox", use_async=True)
    assert answer.image.size == (64, 48)
    assert read(captured[1]).prompt == "a red fox"


async def test_a_controlnet_is_left_to_its_own_server() -> None:
    from webuiapi import ControlNetUnit

    async with sdk_at(GENERATED) as (sdk, _, captured):
        unit = ControlNetUnit(image=PICTURE, module="canny", model="control_canny")
        await asyncio.to_thread(sdk.txt2img, prompt="a red fox", controlnet_units=[unit])
    with pytest.raises(PassThrough):
        read(captured[1])


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("field", ["", "steps"])
async def test_every_failure_is_raised_with_its_status_and_message(cause: Cause, field: str) -> None:
    error = client.write_error(Failure(cause, "no foxes here", field=field), None)
    async with sdk_at(error) as (sdk, _, _):
        with pytest.raises(RuntimeError, match="no foxes here") as raised:
            await asyncio.to_thread(sdk.txt2img, prompt="a red fox")
    assert raised.value.args[0] == cause.status


ASKED: list[tuple[str, Callable[[WebUIApi], Any]]] = [
    ("samplers", lambda sdk: sdk.get_samplers()),
    ("sd-models", lambda sdk: sdk.get_sd_models()),
    ("loras", lambda sdk: sdk.get_loras()),
    ("options", lambda sdk: sdk.get_options()),
    ("progress", lambda sdk: sdk.get_progress()),
    ("upscalers", lambda sdk: sdk.get_upscalers()),
]


@pytest.mark.parametrize(("name", "ask"), ASKED)
async def test_what_it_asks_about_the_server_is_a_route_of_ours(name: str, ask: Callable[[WebUIApi], Any]) -> None:
    async with sdk_at(ClientReply(200, b"[]")) as (sdk, _, captured):
        await asyncio.to_thread(ask, sdk)
    assert (captured[1].method, captured[1].path) == ("GET", f"/sdapi/v1/{name}")
    [lists] = [route.path for route in client.ROUTES if route.method == "GET"]
    assert name in lists.removeprefix("/{list:").removesuffix("}").split("|")
