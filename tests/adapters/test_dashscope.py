"""The DashScope wire beyond its golden cases and its SDK: any bytes, and what is sent read back."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.dashscope import client, provider
from adapters.dashscope.dialect import FUNCTIONS, PATHS
from adapters.ir import (
    ClientCall,
    Delivery,
    Done,
    Failed,
    InvalidRequest,
    Media,
    MediaRequest,
    Operation,
    PassThrough,
    Pending,
    Target,
    UpstreamReply,
)

BASE = "https://dashscope-intl.aliyuncs.com/api/v1"
PICTURE = Media(url="https://pictures.example/a.png")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def some(*names: str, of: Any = json_values) -> Any:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, of))


content = st.lists(json_values | some("text", "image", "video", "type"), max_size=3)
messages = st.lists(json_values | st.fixed_dictionaries({"role": st.just("user"), "content": content}), max_size=2)
inputs = st.fixed_dictionaries(
    {},
    optional={
        "messages": messages | json_values,
        "function": st.sampled_from(sorted(FUNCTIONS)) | json_values,
        **dict.fromkeys(("prompt", "images", "base_image_url", "mask_image_url", "ref_img"), json_values),
    },
)
parameters = some("n", "size", "seed", "negative_prompt", "strength", "upscale_factor", "stream", "style")
bodies = st.fixed_dictionaries(
    {}, optional={"model": st.just("wan") | json_values, "input": inputs | json_values, "parameters": parameters}
)
outputs = st.fixed_dictionaries(
    {},
    optional={
        "task_id": json_values,
        "task_status": st.sampled_from(["PENDING", "SUCCEEDED", "FAILED", "CANCELED", "UNKNOWN", ""]) | json_values,
        "results": json_values | st.lists(some("url", "code", "message", "actual_prompt"), max_size=2),
        "choices": json_values | st.lists(some("message", of=json_values | some("content")), max_size=2),
        "code": json_values,
        "message": json_values,
    },
)
replies = st.fixed_dictionaries(
    {}, optional={"output": outputs | json_values, "code": json_values, "message": json_values, "error": json_values}
)


def call(route: str, body: bytes) -> ClientCall:
    headers = {} if route == "multimodal" else {"x-dashscope-async": "enable"}
    return ClientCall("POST", route, {}, {}, headers, body)


@given(st.sampled_from(sorted(PATHS)), st.binary() | bodies.map(orjson.dumps))
def test_any_bytes_are_a_request_or_refused_or_passed_on(route: str, body: bytes) -> None:
    try:
        request = client.read_request(call(route, body))
    except (InvalidRequest, PassThrough):
        return
    assert request.operation in client.CLIENT_OPERATIONS
    assert request.prompt or request.references


@given(
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms"]), st.text(max_size=5)),
    st.binary() | (replies | json_values).map(orjson.dumps),
)
def test_any_answer_is_a_step(status: int, headers: dict[str, str], body: bytes) -> None:
    match provider.read_reply(UpstreamReply(status, headers, body)):
        case Done(artifacts=artifacts):
            assert artifacts
            assert 200 <= status < 300
        case Pending(handle=handle):
            assert set(handle) <= {"task_id"}
        case Failed(message=message, code=code):
            assert message
            assert len(message) <= 300
            assert len(code) <= 60


operations = {
    "multimodal": {Operation.GENERATE, Operation.EDIT},
    "text2image": {Operation.GENERATE},
    "image2image": {Operation.EDIT},
    "image-generation": {Operation.GENERATE, Operation.EDIT},
}


@given(
    st.sampled_from([(api, operation) for api, able in operations.items() for operation in sorted(able)]),
    st.text(min_size=1, max_size=20),
    st.sampled_from(["", "blurry"]),
    st.integers(1, 4),
    st.none() | st.tuples(st.integers(1, 4096), st.integers(1, 4096)),
    st.none() | st.integers(0, 2**31 - 1),
)
def test_what_we_send_is_read_back_as_what_was_asked(
    asked: tuple[str, Operation], prompt: str, negative: str, n: int, size: tuple[int, int] | None, seed: int | None
) -> None:
    api, operation = asked
    request = MediaRequest(
        operation,
        prompt=prompt,
        negative_prompt=negative,
        model="wan",
        n=n,
        size=size,
        seed=seed,
        references=() if operation is Operation.GENERATE else (PICTURE, PICTURE),
        delivery=Delivery.URL,
        wait=None if api == "multimodal" else 0.0,
        extras={"dashscope": {"watermark": False, "input.tone": "warm", "body.resources": 1}},
    )
    options = {"api": api, "multiple": 1, "min_edge": 1, "max_pixels": 4096 * 4096}
    sent = provider.write_request(request, Target(BASE, "wan", options))
    assert sent.dropped == ()
    assert sent.media == len(request.pictures)
    assert client.read_request(call(api, sent.body)) == request


@pytest.mark.parametrize(
    ("operation", "more"),
    [
        (Operation.EDIT, {"strength": 0.5}),
        (Operation.INPAINT, {"mask": Media(url="https://pictures.example/mask.png")}),
        (Operation.UPSCALE, {"scale": 2}),
    ],
)
def test_a_function_of_the_editing_model_is_read_back(operation: Operation, more: dict[str, Any]) -> None:
    request = MediaRequest(
        operation, prompt="a fox", model="m", references=(PICTURE,), delivery=Delivery.URL, wait=0.0, **more
    )
    sent = provider.write_request(request, Target(BASE, "m", {"api": "image2image", "input": "function"}))
    assert sent.dropped == ()
    assert client.read_request(call("image2image", sent.body)) == request


@pytest.mark.parametrize(
    ("model", "is_chat"),
    [
        ("qwen-image", False),
        ("qwen-image-3.0-pro", False),
        ("wan2.7-image-pro", False),
        ("z-image-turbo", False),
        ("auto", False),
        ("flux-2-pro", False),
        ("qwen3-vl-plus", True),
        ("qwen-vl-max-latest", True),
        ("qwen3.5-plus", True),
        ("qvq-max", True),
        ("Kimi-K2.5", True),
    ],
)
def test_a_model_that_talks_is_left_to_its_provider(model: str, is_chat: bool) -> None:
    message = {"role": "user", "content": [{"text": "a fox"}]}
    body = orjson.dumps({"model": model, "input": {"messages": [message]}})
    try:
        client.read_request(call("multimodal", body))
    except PassThrough:
        assert is_chat
    else:
        assert not is_chat
