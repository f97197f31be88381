"""The Interactions API where single cases cannot say it: whatever bytes come, and there and back again."""

from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from adapters.interactions import client, provider
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

TARGET = Target("https://generativelanguage.googleapis.com/v1", "gemini-3-pro-image", {"resolutions": ["1K", "2K"]})

json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def objects(*names: str, of: st.SearchStrategy[Any] = json) -> st.SearchStrategy[Any]:
    return json | st.dictionaries(st.sampled_from(names), of, max_size=4)


words = st.sampled_from(["text", "image", "user_input", "thought", "model_output", "aGk=", "http://x", "16:9", "2K"])
contents = objects("type", "text", "data", "uri", "mime_type", of=json | words)
steps = objects("type", "content", "error", of=json | words | st.lists(contents, max_size=3))
formats = objects("type", "aspect_ratio", "image_size", "mime_type", "delivery", of=json | words)


def call(body: bytes) -> ClientCall:
    return ClientCall("POST", "create", {}, {}, {}, body)


def is_read_or_refused(asked: ClientCall) -> bool:
    try:
        return bool(client.read_request(asked).prompt)
    except InvalidRequest as error:
        return bool(error.field and error.message)
    except PassThrough:
        return True


@given(st.binary(max_size=200))
def test_any_bytes_are_a_request_or_a_named_error(body: bytes) -> None:
    assert is_read_or_refused(call(body))


@given(
    input=json | st.lists(contents | steps, max_size=3),
    response_format=formats | st.lists(formats, max_size=2) | st.just({"type": "image"}),
    generation_config=objects("seed", "image_config", of=json | formats),
    rest=json,
    name=st.sampled_from(["model", "response_modalities", "previous_interaction_id", "stream", "agent", "tools"]),
)
def test_any_json_is_a_request_or_a_named_error(name: str, rest: Any, **body: Any) -> None:
    assert is_read_or_refused(call(orjson.dumps({"model": "m", **body, name: rest})))


@given(
    status=st.integers(100, 599),
    body=st.binary(max_size=100)
    | objects("steps", "errors", "status", "usage", "error", of=json | st.lists(steps, max_size=2)).map(orjson.dumps)
    | st.lists(steps, max_size=3).map(lambda items: orjson.dumps({"steps": items, "status": "completed"}))
    | objects("code", "message", "status").map(lambda error: orjson.dumps({"error": error, "errors": [error]})),
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


@given(extras=st.dictionaries(st.text(max_size=8) | st.sampled_from(["response_format", "generation_config"]), json))
def test_any_field_of_a_caller_can_be_sent_on(extras: dict[str, Any]) -> None:
    request = MediaRequest(Operation.GENERATE, prompt="a kite", extras={"interactions": extras})
    assert isinstance(orjson.loads(provider.write_request(request, TARGET).body), dict)


@given(
    st.builds(
        MediaRequest,
        st.just(Operation.EDIT),
        prompt=st.text(min_size=1, max_size=20),
        model=st.just(TARGET.remote),
        aspect=st.sampled_from([None, (1, 1), (16, 9), (2, 3), (21, 9)]),
        resolution=st.sampled_from(["", "1K", "2K"]),
        seed=st.none() | st.integers(-(2**31), 2**31 - 1),
        format=st.sampled_from(["", "jpeg"]),
        references=st.lists(
            st.sampled_from([Media(b"bytes", mime="image/png"), Media(b"more", mime="image/webp")]),
            min_size=1,
            max_size=3,
        ).map(tuple),
        extras=st.sampled_from(
            [
                {},
                {
                    "interactions": {
                        "system_instruction": "be brief",
                        "generation_config": {"thinking_level": "high"},
                        "response_format": [{"type": "text"}],
                        "response_format.shiny": True,
                    }
                },
            ]
        ),
    )
)
def test_an_edit_is_read_as_it_was_sent(request: MediaRequest) -> None:
    sent = provider.write_request(request, TARGET)
    assert client.read_request(call(sent.body)) == request
    assert (sent.dropped, sent.media) == ((), len(request.references))


def test_a_partial_picture_says_nothing_to_this_caller() -> None:
    request = MediaRequest(Operation.GENERATE, prompt="a kite", stream=True)
    assert client.write_event(Partial(Artifact(Media(b"bytes"))), request) == b""


@pytest.mark.parametrize(
    ("asked", "action"),
    [
        ("POST /gemini/v1/interactions", Action.CREATE),
        ("POST /gemini/v1beta1/projects/p/locations/global/interactions", Action.CREATE),
        ("GET /gemini/v1/interactions/v1_abc?stream=false", Action.PASS),
        ("POST /gemini/v1/interactions/v1_abc/cancel", Action.PASS),
        ("GET /gemini/v1/interactions/muxel-abc", Action.DESCRIBE),
        ("POST /gemini/v1/interactions/muxel-abc/cancel", Action.DESCRIBE),
        ("DELETE /gemini/v1beta1/projects/p/locations/global/interactions/muxel-abc", Action.DESCRIBE),
    ],
)
async def test_an_interaction_is_asked_for_where_it_is(asked: str, action: Action) -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        raise AssertionError

    app = web.Application()
    mounted = {
        app.router.add_route(route.method, client.PREFIX + version + route.path, handler): route
        for version in client.VERSIONS
        for route in client.ROUTES
    }
    method, path = asked.split()
    match = await app.router.resolve(make_mocked_request(method, path))
    assert mounted[match.route].action is action
