"""The AUTOMATIC1111 wire beyond its golden cases: any bytes, and what is sent read back."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from adapters import imaging
from adapters.a1111 import client, provider
from adapters.ir import (
    ClientCall,
    Done,
    Failed,
    InvalidRequest,
    Lora,
    Media,
    MediaRequest,
    Operation,
    PassThrough,
    Target,
    UpstreamReply,
)

BASE = "http://sd.internal:7860/sdapi/v1"
PIXEL = imaging.mask_from_grey(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU\x00\x00\x00\nIDATx"
    b"\x9cc`\x00\x00\x00\x02\x00\x01H\xaf\xa4q\x00\x00\x00\x00IEND\xaeB`\x82",
    "mask",
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
ROUTES = ["txt2img", "img2img", "extra-single-image"]
NAMES = [
    *("prompt", "negative_prompt", "seed", "steps", "cfg_scale", "width", "height", "batch_size", "n_iter"),
    *("init_images", "mask", "inpainting_mask_invert", "denoising_strength", "override_settings", "alwayson_scripts"),
    *("send_images", "script_name", "distilled_cfg_scale", "image", "resize_mode", "upscaler_1", "upscaling_resize"),
    *("upscaling_resize_w", "gfpgan_visibility", ""),
]
values = json_values | st.sampled_from(
    ["aGVsbG8=", "<lora:a:0.5>", "<lora:b>", 1, {"sd_model_checkpoint": "x"}, ["aGk="]]
)


def call(route: str, body: bytes) -> ClientCall:
    return ClientCall("POST", route, {}, {}, {}, body)


@given(st.sampled_from(ROUTES), st.binary() | st.dictionaries(st.sampled_from(NAMES), values).map(orjson.dumps))
def test_any_bytes_are_a_request_or_refused_or_passed_on(route: str, body: bytes) -> None:
    try:
        request = client.read_request(call(route, body))
    except (InvalidRequest, PassThrough):
        return
    assert request.operation in client.CLIENT_OPERATIONS


infos = st.text(max_size=8) | st.dictionaries(st.sampled_from(["index_of_first_image", "all_seeds"]), json_values).map(
    lambda info: orjson.dumps(info).decode()
)
answers = st.fixed_dictionaries(
    {},
    optional={
        "images": json_values | st.lists(values, max_size=3),
        "image": values,
        "info": infos | json_values,
        "detail": json_values | st.lists(st.dictionaries(st.sampled_from(["loc", "msg"]), json_values), max_size=2),
        "error": json_values,
        "errors": json_values,
    },
)


@given(
    st.integers(100, 599),
    st.dictionaries(st.just("retry-after"), st.text(max_size=5)),
    st.binary() | (answers | json_values).map(orjson.dumps),
)
def test_any_answer_is_a_step(status: int, headers: dict[str, str], body: bytes) -> None:
    match provider.read_reply(UpstreamReply(status, headers, body)):
        case Done(artifacts=artifacts):
            assert all(artifact.media.data for artifact in artifacts)
            assert 200 <= status < 300
        case Failed(message=message, code=code):
            assert message
            assert len(message) <= 300
            assert len(code) <= 60
        case step:
            raise AssertionError(step)


names = st.text(st.characters(codec="ascii", categories=["L", "N"], include_characters="_-."), min_size=1, max_size=8)
generations: Any = st.builds(
    MediaRequest,
    operation=st.just(Operation.GENERATE),
    prompt=st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20),
    negative_prompt=st.sampled_from(["", "blurry"]),
    model=st.just("sd_xl_base_1.0"),
    n=st.integers(1, 12),
    size=st.none() | st.tuples(st.integers(64, 2000), st.integers(64, 2000)),
    seed=st.none() | st.integers(0, 2**32 - 1),
    steps=st.none() | st.integers(1, 150),
    guidance=st.none() | st.integers(2, 30),
    loras=st.lists(st.builds(Lora, names, st.sampled_from([1.0, 0.8, -0.5, 1.25])), max_size=2).map(tuple),
    extras=st.just({"a1111": {"sampler_name": "Euler", "override_settings": {"CLIP_stop_at_last_layers": 2}}}),
)
TARGET = Target(BASE, "sd_xl_base_1.0", {"multiple": 1, "max_batch": 4})


@given(generations)
def test_a_generation_is_read_back_as_what_was_asked(request: MediaRequest) -> None:
    sent = provider.write_request(request, TARGET)
    assert sent.dropped == ()
    assert client.read_request(call("txt2img", sent.body)) == request


@given(st.sampled_from([Operation.EDIT, Operation.INPAINT]), st.none() | st.sampled_from([0.0, 0.5, 1.0]))
def test_an_edit_is_read_back_as_what_was_asked(operation: Operation, strength: float | None) -> None:
    request = MediaRequest(
        operation,
        prompt="snow",
        model="sd_xl_base_1.0",
        size=(64, 64),
        strength=strength,
        references=(Media(data=PIXEL.data, mime="image/png"),),
        mask=PIXEL if operation is Operation.INPAINT else None,
    )
    sent = provider.write_request(request, TARGET)
    assert sent.media == len(request.pictures)
    assert client.read_request(call("img2img", sent.body)) == request


def test_an_upscale_is_read_back_as_what_was_asked() -> None:
    references = (Media(data=PIXEL.data, mime="image/png"),)
    for more in ({"scale": 4}, {"size": (512, 256)}, {}):
        shape: dict[str, Any] = dict(more)
        request = MediaRequest(Operation.UPSCALE, model="4x", references=references, **shape)
        sent = provider.write_request(request, Target(BASE, "4x"))
        assert sent.media == 1
        assert client.read_request(call("extra-single-image", sent.body)) == request
