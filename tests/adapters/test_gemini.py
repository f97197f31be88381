"""The Gemini dialect where single cases cannot say it: whatever bytes come, and there and back again."""

from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from adapters.gemini import client, provider
from adapters.ir import (
    Action,
    Artifact,
    ClientCall,
    Done,
    Failed,
    InvalidRequest,
    Media,
    MediaRequest,
    Operation,
    Partial,
    PassThrough,
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
        request = client.read_request(asked)
    except InvalidRequest as error:
        return bool(error.field and error.message)
    except PassThrough:
        return asked.route != "bare"
    return bool(request.prompt or request.references)


routes = st.sampled_from(["generateContent", "streamGenerateContent", "predict", "bare"])


@given(st.binary(max_size=200), routes)
def test_any_bytes_are_a_request_or_a_named_error(body: bytes, route: str) -> None:
    assert is_read_or_refused(call(body, route))


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
    request = MediaRequest(Operation.GENERATE, prompt="a kite", extras={"gemini": extras})
    assert isinstance(orjson.loads(provider.write_request(request, TARGET).body), dict)


kinds = st.sampled_from([f"REFERENCE_TYPE_{kind}" for kind in ("RAW", "MASK", "STYLE", "SUBJECT", "CONTROL")])
pictures = objects("bytesBase64Encoded", "gcsUri", "mimeType", of=json | st.sampled_from(["aGk=", "iVBORw0KGgo="]))
given_images = st.lists(
    objects("referenceType", "referenceImage", "maskImageConfig", "referenceId", of=json | kinds | pictures), max_size=3
)
instances = st.lists(objects("prompt", "referenceImages", "image", of=json | given_images | pictures), max_size=2)
modes = st.sampled_from(["upscale", "EDIT_MODE_OUTPAINT", "EDIT_MODE_BGSWAP", "EDIT_MODE_INPAINT_REMOVAL", "x2"])
parameters = objects(
    "mode", "editMode", "sampleCount", "aspectRatio", "outputOptions", "editConfig", "upscaleConfig", of=json | modes
)


@given(instances | json, parameters, json)
def test_any_json_is_a_prediction_or_a_named_error(instances: Any, parameters: Any, rest: Any) -> None:
    body = orjson.dumps({"instances": instances, "parameters": parameters, "labels": rest})
    assert is_read_or_refused(call(body, "predict"))
    assert is_read_or_refused(call(body, "bare"))


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
    step = provider.read_reply(UpstreamReply(status, {}, body))
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
        route=st.just("generateContent"),
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
                        "generationConfig.imageConfig.shiny": True,
                    }
                },
            ]
        ),
    )
)
def test_a_generation_is_read_as_it_was_sent(request: MediaRequest) -> None:
    sent = provider.write_request(request, TARGET)
    assert client.read_request(call(sent.body)) == request
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
    request = MediaRequest(
        Operation.EDIT,
        prompt="a kite",
        model=TARGET.remote,
        references=tuple(references),
        route="generateContent",
    )
    sent = provider.write_request(request, TARGET)
    assert client.read_request(call(sent.body)) == request
    assert sent.media == len(references)


def test_the_body_of_the_caller_is_left_as_it_is() -> None:
    config = {"seed": 1, "imageConfig": {"aspectRatio": "16:9"}}
    body = orjson.dumps({"contents": [{"parts": [{"text": "a kite"}]}], "generationConfig": config})
    assert client.read_request(call(body)) == client.read_request(call(body))


def test_a_partial_picture_says_nothing_to_a_gemini_caller() -> None:
    request = MediaRequest(Operation.GENERATE, prompt="a kite", stream=True)
    assert client.write_event(Partial(Artifact(Media(b"bytes"))), request) == b""


async def resolved(method: str, path: str) -> tuple[Any, dict[str, str]]:
    """The route that a path leads to among all that are mounted, and what the path says."""

    async def handler(request: web.Request) -> web.StreamResponse:
        raise AssertionError

    app = web.Application()
    mounted = {
        app.router.add_route(route.method, client.PREFIX + version + route.path, handler): route
        for version in client.VERSIONS
        for route in client.ROUTES
    }
    match = await app.router.resolve(make_mocked_request(method, path))
    return mounted.get(match.route), dict(match)


@pytest.mark.parametrize("model", ["gemini-3-pro-image", "gemini-2.5-flash-image", "gemini-nano-banana-2.1", "auto"])
@pytest.mark.parametrize("method", ["generateContent", "streamGenerateContent", "predict"])
@pytest.mark.parametrize(
    "parent",
    [
        "/v1beta",
        "/v1",
        "/v1beta1/publishers/google",
        "/v1/publishers/google",
        "/v1beta1/projects/p/locations/global/publishers/google",
        "/publishers/google",
        "",
    ],
)
async def test_the_path_pattern_takes_the_model_out_of_the_path(parent: str, method: str, model: str) -> None:
    route, said = await resolved("POST", f"/gemini{parent}/models/{model}:{method}?alt=sse")
    assert (route.name, said["model"]) == (method, model)


@pytest.mark.parametrize(
    "asked",
    [
        "GET /gemini/v1beta/models",
        "GET /gemini/v1/models/gemini-3-pro-image",
        "POST /gemini/v1/models/gemini-3.8-flash:countTokens",
        "POST /gemini/v1/models/veo-3.1:predictLongRunning",
        "POST /gemini/v1beta1/publishers/google/models/gemini-embedding-001:embedContent",
        "POST /gemini/v1beta1/projects/p/locations/global/publishers/google/models/m:computeTokens",
        "GET /gemini/v1beta1/projects/p/locations/global/cachedContents/c",
        "PATCH /gemini/v1/cachedContents/c",
        "DELETE /gemini/v1/files/f",
        "POST /gemini/v1/files:register",
        "POST /gemini/upload/v1/files",
        "POST /gemini/v1/batches/b:cancel",
        "GET /gemini/v1/models/veo-3.1/operations/o",
    ],
)
async def test_what_else_the_api_has_is_passed_on(asked: str) -> None:
    route, _ = await resolved(*asked.split())
    assert route.action is Action.PASS


@pytest.mark.parametrize("asked", ["GET /gemini/v1/admin", "POST /gemini/v1/interactions", "GET /gemini"])
async def test_nothing_else_is_passed_on(asked: str) -> None:
    assert (await resolved(*asked.split()))[0] is None
