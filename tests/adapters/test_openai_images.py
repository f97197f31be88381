"""The OpenAI dialect where single cases cannot say it: whatever bytes come, and there and back again."""

from dataclasses import replace
from io import BytesIO
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from adapters.forms import write_multipart
from adapters.ir import (
    ClientCall,
    Done,
    Failed,
    InvalidRequest,
    Media,
    MediaRequest,
    Operation,
    Partial,
    Target,
    UpstreamCall,
    UpstreamReply,
)
from adapters.openai_images import client, provider

TARGET = Target("https://api.openai.com/v1", "gpt-image-2")
DIFFUSION = {
    "fields": {
        "negative_prompt": "negative_prompt", "seed": "seed", "steps": "num_inference_steps",
        "guidance": "guidance_scale", "strength": "strength",
    },
}  # fmt: skip

json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FIELDS = [
    "prompt", "model", "n", "size", "quality", "background", "output_format", "output_compression", "stream",
    "partial_images", "response_format", "user", "safety_identifier", "images", "mask", "markup", "moderation",
    "negative_prompt", "seed", "num_inference_steps", "guidance_scale", "strength",
]  # fmt: skip


def call(route: str, body: bytes, kind: str = "application/json") -> ClientCall:
    return ClientCall("POST", route, {}, {}, {"content-type": kind}, body)


def picture(mode: str, colour: Any, kind: str = "PNG") -> bytes:
    out = BytesIO()
    Image.new(mode, (4, 4), colour).save(out, kind)
    return out.getvalue()


def read_back(sent: UpstreamCall) -> MediaRequest:
    route = "edit" if sent.url.endswith("/edits") else "generate"
    return client.read_request(call(route, sent.body, sent.headers["Content-Type"]))


def is_read_or_refused(asked: ClientCall) -> bool:
    try:
        return bool(client.read_request(asked).prompt)
    except InvalidRequest as error:
        return bool(error.field and error.message)


@given(route=st.sampled_from(["generate", "edit"]), body=st.binary(max_size=200), multipart=st.booleans())
def test_any_bytes_are_a_request_or_a_named_error(route: str, body: bytes, multipart: bool) -> None:
    assert is_read_or_refused(call(route, body, "multipart/form-data; boundary=b" if multipart else "application/json"))


@given(
    route=st.sampled_from(["generate", "edit"]),
    body=st.fixed_dictionaries({}, optional={name: json for name in FIELDS}) | json,
)
def test_any_json_is_a_request_or_a_named_error(route: str, body: Any) -> None:
    assert is_read_or_refused(call(route, orjson.dumps(body, option=orjson.OPT_NON_STR_KEYS)))


@given(
    parts=st.lists(
        st.tuples(
            st.sampled_from([*FIELDS, "image", "image[]", "x[]"]),
            st.sampled_from(["", "a.png"]),
            st.just("image/png"),
            st.binary(max_size=16) | st.sampled_from([b"a kite", b"1", b"true", picture("RGBA", "#00000000")]),
        ),
        max_size=6,
    )
)
def test_any_parts_are_a_request_or_a_named_error(parts: list[tuple[str, str, str, bytes]]) -> None:
    kind, body = write_multipart(parts)
    assert is_read_or_refused(call("edit", body, kind))


@given(
    status=st.integers(100, 599),
    body=st.binary(max_size=100)
    | st.dictionaries(st.sampled_from(["data", "error", "usage", "message", "detail"]), json).map(orjson.dumps)
    | st.lists(st.dictionaries(st.sampled_from(["b64_json", "url", "revised_prompt"]), json)).map(
        lambda data: orjson.dumps({"data": data, "usage": {"input_tokens": data}})
    )
    | st.dictionaries(st.sampled_from(["code", "type", "message", "param", "innererror", "inner_error"]), json).map(
        lambda error: orjson.dumps({"error": error})
    ),
    headers=st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms"]), st.text(max_size=6)),
)
def test_any_reply_is_a_step(status: int, body: bytes, headers: dict[str, str]) -> None:
    step = provider.read_reply(UpstreamReply(status, headers, body))
    assert isinstance(step, Done | Failed)
    if isinstance(step, Done):
        assert step.artifacts
        assert 200 <= status < 300
    else:
        assert step.message
        assert len(step.message) <= 300


@given(event=st.binary(max_size=100) | json.map(lambda data: b"data: " + orjson.dumps(data)))
def test_any_event_is_a_step_or_nothing(event: bytes) -> None:
    assert isinstance(provider.read_event(event), Partial | Done | Failed | None)


words = st.text(min_size=1, max_size=20)
sizes = st.tuples(st.integers(1, 4096), st.integers(1, 4096))
carried: dict[str, st.SearchStrategy[Any]] = {
    "n": st.integers(1, 10),
    "size": st.none() | sizes,
    "quality": st.sampled_from(["", "low", "medium", "high"]),
    "format": st.sampled_from(["", "png", "jpeg", "webp"]),
    "compression": st.none() | st.integers(0, 100),
    "background": st.sampled_from(["", "transparent", "opaque"]),
    "user": st.just("") | words,
    "extras": st.just({}) | words.map(lambda word: {"openai_images": {"moderation": "low", "x_word": word}}),
}
files = st.sampled_from(
    [
        Media(picture("RGB", "#cc2200"), mime="image/png"),
        Media(picture("RGB", "#22cc00", "JPEG"), mime="image/jpeg"),
        Media(picture("RGB", "#0022cc", "WEBP"), mime="image/webp"),
    ]
)
urls = st.just(Media(url="https://example.com/a.png"))


@given(
    st.builds(
        MediaRequest, st.just(Operation.GENERATE), prompt=words, model=st.just(TARGET.remote), **carried
    )  # what is sent is in words of this wire, so its own client face must read the same from it
)
def test_a_generation_is_read_as_it_was_sent(request: MediaRequest) -> None:
    assert read_back(provider.write_request(request, TARGET)) == request


@given(
    st.builds(
        MediaRequest,
        st.just(Operation.EDIT),
        prompt=words,
        model=st.just(TARGET.remote),
        references=st.lists(files | urls, min_size=1, max_size=4).map(tuple),
        **carried,
    )
)
def test_an_edit_is_read_as_it_was_sent(request: MediaRequest) -> None:
    sent = provider.write_request(request, TARGET)
    assert read_back(sent) == request
    assert sent.media == len(request.references)
    assert sent.dropped == ()


@given(
    st.builds(
        MediaRequest,
        st.just(Operation.GENERATE),
        prompt=words,
        model=st.just(TARGET.remote),
        negative_prompt=st.just("") | words,
        seed=st.none() | st.integers(0, 2**63 - 1),
        steps=st.none() | st.integers(1, 1000),
        guidance=st.none() | st.floats(0, 100),
        strength=st.none() | st.floats(0, 1),
        references=st.just(()) | files.map(lambda file: (file,)),
        **carried,
    ).map(lambda asked: replace(asked, operation=Operation.EDIT) if asked.references else asked)
)
def test_the_fields_of_diffusion_servers_are_read_as_they_were_sent(request: MediaRequest) -> None:
    sent = provider.write_request(request, replace(TARGET, options=DIFFUSION))
    assert read_back(sent) == request
    assert sent.dropped == ()


@pytest.mark.parametrize(
    "reference", [Media(picture("RGB", "#cc2200"), mime="image/png"), Media(url="https://e.com/a")]
)
def test_a_mask_is_read_as_it_was_sent(reference: Media) -> None:
    mask = Media(picture("L", 128), mime="image/png")
    request = MediaRequest(Operation.INPAINT, prompt="a kite", references=(reference,), mask=mask)
    back = read_back(provider.write_request(request, TARGET)).mask
    assert back
    with Image.open(BytesIO(back.data)) as grey:
        assert (grey.mode, grey.getextrema()) == ("L", (128, 128))
