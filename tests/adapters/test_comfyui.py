"""The ComfyUI wire beyond its golden cases: any answer, any request, and nothing left out in silence."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import comfyui
from adapters.ir import (
    RESOLUTIONS,
    Done,
    Failed,
    Lora,
    Margins,
    Media,
    MediaRequest,
    Operation,
    Pending,
    Target,
    UpstreamReply,
)

BASE = "http://comfyui:8188"
INPUTS = {
    "prompt": "1.prompt",
    "negative_prompt": "1.negative",
    "seed": "1.seed",
    "steps": ["1.steps", "2.steps"],
    "guidance": "1.cfg",
    "strength": "1.denoise",
    "scale": "1.scale_by",
    "quality": "1.quality",
    "n": "1.batch_size",
    "size": "1.width,1.height",
    "margins": "1.left,1.top,1.right,1.bottom",
    "references": ["3.image", "4.image"],
    "style_references": "5.image",
    "mask": "6.image",
    "loras": ["7.lora_name,7.strength_model"],
}

# ---------------------------------------------------------------------------------------------------------- strategies

pictures = st.builds(Media, url=st.text("abcdef", min_size=1, max_size=4))
requests = st.builds(
    MediaRequest,
    operation=st.sampled_from(sorted(comfyui.PROVIDER_OPERATIONS)),
    prompt=st.text(max_size=20),
    negative_prompt=st.text(max_size=5),
    n=st.integers(1, 10),
    size=st.none() | st.tuples(st.integers(1, 4096), st.integers(1, 4096)),
    aspect=st.none() | st.tuples(st.integers(1, 21), st.integers(1, 21)),
    resolution=st.sampled_from(["", *RESOLUTIONS]),
    quality=st.sampled_from(["", "low", "medium", "high"]),
    seed=st.none() | st.integers(0, 2**63 - 1),
    steps=st.none() | st.integers(1, 50),
    guidance=st.none() | st.floats(0, 100),
    strength=st.none() | st.floats(0, 1),
    references=st.lists(pictures, max_size=2).map(tuple),
    style_references=st.lists(pictures, max_size=1).map(tuple),
    mask=st.none() | pictures,
    margins=st.none() | st.builds(Margins, *[st.integers(0, 2048)] * 4),
    scale=st.none() | st.floats(1, 8),
    loras=st.lists(st.builds(Lora, st.text("abc", min_size=1), st.floats(-2, 2)), max_size=1).map(tuple),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
histories = st.fixed_dictionaries(
    {"outputs": json_values | st.dictionaries(st.text(max_size=2), st.fixed_dictionaries({"images": json_values}))},
    optional={
        "status": json_values
        | st.fixed_dictionaries(
            {"status_str": st.sampled_from(["success", "error"])}, optional={"messages": json_values}
        ),
        "prompt": json_values | st.just([0, "id", {}, {"muxel": {"url": BASE, "output": ""}}, ["9"]]),
    },
)

# --------------------------------------------------------------------------------------------------------------- claims


@given(
    st.sampled_from([200, 200, 200, 302, 400, 401, 404, 413, 500, 503]),
    st.binary()
    | st.dictionaries(st.sampled_from(["prompt_id", "error", "node_errors", "id"]), json_values).map(orjson.dumps)
    | histories.map(lambda history: orjson.dumps({"id": history})),
)
def test_any_answer_is_a_step(status: int, body: bytes) -> None:
    reply = UpstreamReply(status, {}, body)
    match comfyui.read_reply(reply):
        case Failed(message=message, code=code):
            assert message
            assert len(message) <= 300
            assert len(code) <= 40
        case Pending(handle=handle):
            assert handle.keys() <= {"id"}
        case Done(artifacts=artifacts):
            assert all(artifact.media.url.startswith(f"{BASE}/view?filename=") for artifact in artifacts)
    stored = comfyui.read_upload_reply(reply)
    assert isinstance(stored, Failed) or stored


@given(requests)
def test_whatever_is_bound_is_carried(request: MediaRequest) -> None:
    call = comfyui.write_request(request, Target(BASE, "fox", {"inputs": INPUTS}))
    assert call.dropped == ()
    assert call.media == len(request.pictures)


@given(requests, st.sampled_from(sorted(INPUTS.keys() - {"prompt", "n", "references", "style_references", "mask"})))
def test_what_is_not_bound_is_named_and_changes_nothing(request: MediaRequest, name: str) -> None:
    target = Target(BASE, "fox", {"inputs": {field: place for field, place in INPUTS.items() if field != name}})
    call = comfyui.write_request(request, target)
    unset: dict[str, Any] = {"negative_prompt": "", "quality": "", "loras": ()}
    without = replace(request, **{name: unset.get(name)})
    if without != request:
        assert name in call.dropped
    if name != "size":  # an aspect would take its place
        assert comfyui.write_request(without, target).body == call.body


def test_a_picture_that_was_not_uploaded_is_not_carried() -> None:
    request = MediaRequest(Operation.EDIT, references=(Media(data=b"..."),), mask=Media(data=b"..."))
    call = comfyui.write_request(request, Target(BASE, "fox", {"inputs": INPUTS}))
    assert (call.media, call.dropped) == (0, ("references", "mask"))


@pytest.mark.parametrize(
    "inputs", [{"size": "1.width"}, {"margins": "1.left,1.top"}, {"loras": ["1.name"]}, {"prompt": "1"}]
)
def test_a_binding_that_is_too_short_is_no_exception(inputs: dict[str, Any]) -> None:
    request = MediaRequest(Operation.GENERATE, prompt="a fox", size=(8, 8), margins=Margins(1), loras=(Lora("a"),))
    assert comfyui.write_request(request, Target(BASE, "fox", {"inputs": inputs, "workflow": {"nodes": []}})).body
