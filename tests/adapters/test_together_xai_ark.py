"""Together, xAI and Ark beyond their golden cases: any bytes, and what holds for every request.

The three answer in one call and have the same faces, so each claim is made of all of them that it can be made of.
"""

from dataclasses import replace
from types import ModuleType
from typing import Any

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from adapters import ark, fields, imaging, together, xai
from adapters.ir import (
    ClientCall,
    Delivery,
    Done,
    Failed,
    InvalidRequest,
    Lora,
    Media,
    MediaRequest,
    Operation,
    Target,
    UpstreamReply,
)

WIRES = [together, xai, ark]
TARGETS = {
    "together": Target("https://host/v1", "model", {"multiple": 1, "min_edge": 1}),
    "xai": Target("https://host/v1", "model"),
    "ark": Target(
        "https://host/v1",
        "model",
        {"takes": ["seed", "guidance", "format"], "min_pixels": 1, "max_pixels": imaging.MAX_PIXELS},
    ),
}
every_wire = pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.NAME)

# ---------------------------------------------------------------------------------------------------------- strategies

JPEG = Media(data=b"\xff\xd8\xff..", mime="image/jpeg")
pictures = st.sampled_from([JPEG, Media(url="https://pictures.example/a.png")])
edges = st.integers(1, 4096)
shapes = st.fixed_dictionaries({"size": st.tuples(edges, edges)}) | st.fixed_dictionaries(
    {"aspect": st.none() | st.tuples(st.integers(1, 16), st.integers(1, 16))}
)
requests = st.builds(
    lambda shape, **rest: MediaRequest(Operation.GENERATE, **shape, **rest),
    shapes,
    prompt=st.text(min_size=1, max_size=20),
    negative_prompt=st.sampled_from(["", "blurry"]),
    n=st.integers(1, 4),
    resolution=st.sampled_from(["", "1K", "2K", "4K"]),
    quality=st.sampled_from(["", "low", "high"]),
    seed=st.none() | st.integers(0, 2**31 - 1),
    steps=st.none() | st.integers(1, 50),
    guidance=st.none() | st.floats(1, 10, width=32),
    references=st.lists(pictures, max_size=5).map(tuple),
    loras=st.lists(st.just(Lora("https://weights.example/a", 0.5)), max_size=2).map(tuple),
    format=st.sampled_from(["", "png", "jpeg", "webp"]),
    user=st.sampled_from(["", "user-17"]),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = sorted({*together._READ, *xai._READ, *ark._READ, "watermark"})
bodies = st.binary() | st.builds(
    lambda rest, prompt: orjson.dumps({**rest, **prompt}),
    st.dictionaries(st.sampled_from(NAMES), json_values | st.just("aGVsbG8=")),
    st.sampled_from([{}, {"prompt": "a red fox"}]),
)
errors = st.dictionaries(st.sampled_from(["message", "code", "type", "param"]), json_values)
items = st.dictionaries(st.sampled_from(["url", "b64_json", "error", "respect_moderation"]), json_values | errors)
replies = st.binary() | st.fixed_dictionaries(
    {},
    optional={
        "data": json_values | st.lists(items, max_size=3),
        "error": json_values | errors,
        "usage": json_values | st.dictionaries(st.sampled_from(["output_tokens", "cost_in_usd_ticks"]), json_values),
        "detail": json_values,
        "message": json_values,
        "code": json_values,
        "block_reason": json_values,
    },
).map(orjson.dumps)

# --------------------------------------------------------------------------------------------------------------- claims


@every_wire
@given(body=bodies, route=st.sampled_from(["generate", "edit"]))
def test_any_bytes_are_a_request_or_an_invalid_request(wire: ModuleType, body: bytes, route: str) -> None:
    try:
        request = wire.read_request(ClientCall("POST", route, {}, {}, {}, body))
    except InvalidRequest:
        return
    assert request.operation in wire.CLIENT_OPERATIONS


@every_wire
@given(
    status=st.integers(100, 599),
    headers=st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms"]), st.text(max_size=5)),
    body=replies,
)
def test_any_answer_is_a_step(wire: ModuleType, status: int, headers: dict[str, str], body: bytes) -> None:
    match wire.read_reply(UpstreamReply(status, headers, body)):
        case Failed(message=message, code=code):
            assert message
            assert len(message) <= 300
            assert len(code) <= 80
        case Done(artifacts=artifacts):
            assert 200 <= status < 300
            assert all(artifact.media.url or artifact.media.data for artifact in artifacts)


@every_wire
@given(request=requests)
def test_what_is_not_sent_is_named(wire: ModuleType, request: MediaRequest) -> None:
    """Leaving out a field that is named as dropped changes nothing of what is sent; leaving out any other does."""
    call = wire.write_request(request, TARGETS[wire.NAME])
    assert call.media == len(request.references)
    for name in ("negative_prompt", "quality", "seed", "steps", "guidance", "loras", "format", "user"):
        value = getattr(request, name)
        if value not in ("", None, ()):
            without = replace(request, **{name: None if isinstance(value, int | float) else type(value)()})
            same = wire.write_request(without, TARGETS[wire.NAME]).body == call.body
            assert same == (name in call.dropped)


def read_back(wire: ModuleType, request: MediaRequest) -> MediaRequest:
    call = wire.write_request(request, TARGETS[wire.NAME])
    route = "edit" if call.url.endswith("/edits") else "generate"
    answer: MediaRequest = wire.read_request(ClientCall("POST", route, {}, {}, {}, call.body))
    return answer


@given(request=requests)
def test_what_together_is_sent_is_what_was_asked(request: MediaRequest) -> None:
    assert read_back(together, request) == replace(
        request,
        operation=Operation.EDIT if request.references else Operation.GENERATE,
        model="model",
        size=request.dimensions(),
        aspect=None,
        resolution="",
        quality="",
        format="" if request.format == "webp" else request.format,
        user="",
    )


@given(request=requests)
def test_what_xai_is_sent_is_what_was_asked_in_its_own_ratios(request: MediaRequest) -> None:
    body: dict[str, Any] = orjson.loads(xai.write_request(request, TARGETS["xai"]).body)
    assert body.get("aspect_ratio", "1:1") in xai._ASPECTS
    assert body.get("resolution", "1k") in ("1k", "2k")
    read = read_back(xai, request)
    assert (read.prompt, read.n, read.references, read.user) == (
        request.prompt, request.n, request.references, request.user,
    )  # fmt: skip


@given(request=requests)
def test_what_ark_is_sent_is_what_was_asked(request: MediaRequest) -> None:
    shaped = request.size or request.aspect
    assert read_back(ark, request) == replace(
        request,
        operation=Operation.EDIT if request.references else Operation.GENERATE,
        model="model",
        negative_prompt="",
        n=1,
        size=request.dimensions() if shaped else None,
        aspect=None,
        resolution="" if shaped else request.resolution,
        quality="",
        steps=None,
        loras=(),
        format="" if request.format == "webp" else request.format,
        user="",
        delivery=Delivery.URL,
        extras={"ark": {"watermark": False}},
    )


@given(st.integers(64, 8192), st.integers(64, 8192))
def test_a_size_sent_to_ark_is_within_the_area_of_the_deployment(width: int, height: int) -> None:
    assume(1 / 16 <= width / height <= 16)  # what the API takes, and the model's limits say
    least, most = 2560 * 1440, 4096 * 4096
    request = MediaRequest(Operation.GENERATE, prompt="a red fox", size=(width, height))
    call = ark.write_request(request, Target("https://host", "model", {"min_pixels": least, "max_pixels": most}))
    sent = fields.read_size(orjson.loads(call.body)["size"], "size")
    assert least <= sent[0] * sent[1] <= most
