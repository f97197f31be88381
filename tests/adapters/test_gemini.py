"""The Gemini dialect where single cases cannot say it: whatever bytes come, and there and back again."""

from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from adapters import gemini
from adapters.ir import (
    Artifact,
    ClientCall,
    Done,
    Failed,
    InvalidRequest,
    Media,
    MediaRequest,
    Operation,
    Partial,
    Target,
    UpstreamReply,
)

TARGET = Target("https://generativelanguage.googleapis.com/v1beta", "gemini-3-pro-image", {"resolutions": ["1K", "2K"]})

json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def objects(*names: str, of: st.SearchStrategy[Any] = json) -> st.SearchStrategy[Any]:
    return json | st.dictionaries(st.sampled_from(names), of, max_size=4)


blobs = objects(
    "data", "mimeType", "mime_type", "fileUri", of=json | st.sampled_from(["aGk=", "image/png", "http://x"])
)
parts = objects("text", "inlineData", "inline_data", "fileData", "thought", "thoughtSignature", of=json | blobs)
contents = st.lists(objects("parts", "role", of=st.lists(parts, max_size=3) | json), max_size=3)
configs = objects("imageConfig", "seed", "candidateCount", "responseModalities", "response_modalities", of=json)
images = objects("aspectRatio", "imageSize", "image_size", of=json | st.sampled_from(["16:9", "2K"]))


def call(body: bytes, route: str = "generateContent") -> ClientCall:
    return ClientCall("POST", route, {"model": TARGET.remote}, {"alt": "sse"}, {}, body)


def is_read_or_refused(asked: ClientCall) -> bool:
    try:
        return bool(gemini.read_request(asked).prompt)
    except InvalidRequest as error:
        return bool(error.field and error.message)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_named_error(body: bytes) -> None:
    assert is_read_or_refused(call(body))


@given(
    contents=contents | st.just([{"parts": [{"text": "a kite"}]}]),
    config=configs | images.map(lambda image: {"imageConfig": image}),
    rest=json,
    name=st.sampled_from(
        ["systemInstruction", "generationConfig.seed", "contents.parts", "generation_config", "model"]
    ),
)
def test_any_json_is_a_request_or_a_named_error(contents: Any, config: Any, rest: Any, name: str) -> None:
    body = orjson.dumps({"contents": contents, "generationConfig": config, name: rest})
    assert is_read_or_refused(call(body))


@given(
    extras=st.dictionaries(
        st.text(max_size=8)
        | st.sampled_from(["contents.x", "generationConfig.a.b", "generationConfig.imageConfig.c", "generationConfig"]),
        json,
    )
)
def test_any_field_of_a_caller_can_be_sent_on(extras: dict[str, Any]) -> None:
    request = MediaRequest(Operation.GENERATE, prompt="a kite", extras={gemini.NAME: extras})
    assert isinstance(orjson.loads(gemini.write_request(request, TARGET).body), dict)


candidates = objects("content", "finishReason", "finishMessage", of=objects("parts", of=st.lists(parts, max_size=2)))
details = objects(
    "violations", "fieldViolations", "retryDelay", "reason", of=json | st.lists(objects("field", "quotaId"))
)


@given(
    status=st.integers(100, 599),
    body=st.binary(max_size=100)
    | objects("candidates", "promptFeedback", "usageMetadata", "error").map(orjson.dumps)
    | st.lists(candidates, max_size=2).map(lambda items: orjson.dumps({"candidates": items}))
    | st.fixed_dictionaries({"code": json, "message": json, "status": json, "details": st.lists(details)}).map(
        lambda error: orjson.dumps({"error": error})
    ),
)
def test_any_reply_is_a_step(status: int, body: bytes) -> None:
    step = gemini.read_reply(UpstreamReply(status, {}, body))
    assert isinstance(step, Done | Failed)
    if isinstance(step, Done):
        assert step.artifacts
        assert 200 <= status < 300
    else:
        assert step.message
        assert len(step.message) <= 300


@given(
    st.builds(
        MediaRequest,
        st.sampled_from([Operation.GENERATE]),
        prompt=st.text(min_size=1, max_size=20),
        model=st.just(TARGET.remote),
        aspect=st.sampled_from([None, (1, 1), (16, 9), (2, 3), (21, 9)]),
        resolution=st.sampled_from(["", "1K", "2K"]),
        seed=st.none() | st.integers(-(2**31), 2**31 - 1),
        extras=st.sampled_from(
            [
                {},
                {
                    "gemini": {
                        "safetySettings": [{"category": "C", "threshold": "T"}],
                        "generationConfig.temperature": 0.5,
                        "generationConfig.responseModalities": ["TEXT", "IMAGE"],
                        "generationConfig.imageConfig.personGeneration": "ALLOW_ALL",
                    }
                },
            ]
        ),
    )
)
def test_a_generation_is_read_as_it_was_sent(request: MediaRequest) -> None:
    sent = gemini.write_request(request, TARGET)
    assert gemini.read_request(call(sent.body)) == request
    assert sent.dropped == ()


@given(
    st.lists(
        st.sampled_from(
            [Media(b"bytes", mime="image/png"), Media(url="https://example.com/a.webp", mime="image/webp")]
        ),
        min_size=1,
        max_size=4,
    )
)
def test_an_edit_is_read_as_it_was_sent(references: list[Media]) -> None:
    request = MediaRequest(Operation.EDIT, prompt="a kite", model=TARGET.remote, references=tuple(references))
    sent = gemini.write_request(request, TARGET)
    assert gemini.read_request(call(sent.body)) == request
    assert sent.media == len(references)


def test_the_body_of_the_caller_is_left_as_it_is() -> None:
    config = {"seed": 1, "imageConfig": {"aspectRatio": "16:9"}}
    body = orjson.dumps({"contents": [{"parts": [{"text": "a kite"}]}], "generationConfig": config})
    assert gemini.read_request(call(body)) == gemini.read_request(call(body))


def test_a_partial_picture_says_nothing_to_a_gemini_caller() -> None:
    request = MediaRequest(Operation.GENERATE, prompt="a kite", stream=True)
    assert gemini.write_event(Partial(Artifact(Media(b"bytes"))), request) == b""


@pytest.mark.parametrize("model", ["gemini-3-pro-image", "gemini-2.5-flash-image", "gemini-nano-banana-2.1", "auto"])
@pytest.mark.parametrize("route", gemini.ROUTES, ids=lambda route: route.name)
async def test_the_path_pattern_takes_the_model_out_of_the_path(route: Any, model: str) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        return web.Response(text=request.match_info["model"])

    app = web.Application()
    for version in gemini.VERSIONS:
        for mounted in gemini.ROUTES:
            app.router.add_route(mounted.method, gemini.PREFIX + version + mounted.path, handler, name=None)
    path = f"/gemini/v1beta/models/{model}:{route.name}?alt=sse"
    match = await app.router.resolve(make_mocked_request("POST", path))
    assert match["model"] == model
    assert match.route.resource
    assert match.route.resource.canonical.endswith(route.path)
