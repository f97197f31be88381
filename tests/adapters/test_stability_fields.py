"""Stability's services beyond their golden cases, on both wires that have them: any bytes, and there and back again.

Stability AI has no official SDK of this API to be the oracle: the golden cases and ``test_http_stability`` stand in its
stead. Bedrock's is asked in ``test_sdk_bedrock``.
"""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adapters import bedrock, forms, imaging, stability
from adapters.ir import (
    Action,
    ClientCall,
    Delivery,
    Done,
    Failed,
    InvalidRequest,
    Margins,
    Media,
    MediaRequest,
    Operation,
    Pending,
    Target,
    UpstreamReply,
)
from adapters.stability_fields import ASPECTS, MAX_SEED, SERVICES, Service

PIXEL = imaging.mask_from_grey(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU\x00\x00\x00\nIDATx"
    b"\x9cc`\x00\x00\x00\x02\x00\x01H\xaf\xa4q\x00\x00\x00\x00IEND\xaeB`\x82",
    "mask",
)
MODELS = {name: f"us.stability.{model}-v1:0" for model, name in bedrock._SOLD_AS.items()}
AMAZON = ("amazon.nova-canvas-v1:0", "amazon.titan-image-generator-v2:0")

# ---------------------------------------------------------------------------------------------------------- strategies

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20)
ratios = st.sampled_from([tuple(map(int, aspect.split(":"))) for aspect in ASPECTS])
pictures = st.sampled_from([PIXEL, Media(b"\xff\xd8\xff..", mime="image/jpeg")])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = sorted(
    {"", "style_preset", "mode", "output_format", "grow_mask", "creativity", "keep_original_background", "taskType"}
    | {field for service in SERVICES.values() for field in (*service.needs, *service.fields, *service.pictures)}
)
TASKS = {
    "taskType": st.sampled_from(sorted(bedrock._TASKS)),
    "imageGenerationConfig": st.dictionaries(st.sampled_from(["width", "height", "seed", "quality"]), json_values),
}
SECTION = st.dictionaries(st.sampled_from(sorted(bedrock._TOLD)), json_values | st.just("aGVsbG8=") | words)


@st.composite
def asked_of(draw: st.DrawFn, name: str) -> MediaRequest:
    """Everything the service takes, and nothing else."""
    service = SERVICES[name]
    own = service.fields
    references = tuple(draw(pictures) for _ in service.references)
    if service.operation is Operation.GENERATE and not draw(st.booleans()):
        references = ()

    def maybe(field: str, strategy: st.SearchStrategy[Any], otherwise: Any) -> Any:
        return draw(strategy) if field in own and draw(st.booleans()) else otherwise

    text = draw(words) if service.prompt else ""
    sought = draw(words) if service.searched else ""
    extras = {service.searched: sought, "prompt": text} if service.searched else {}
    return MediaRequest(
        operation=Operation.EDIT if service.operation is Operation.GENERATE and references else service.operation,
        prompt=service.told.format(sought, text) if service.searched else text,
        negative_prompt=maybe("negative_prompt", words, ""),
        aspect=None if service.modal and references else maybe("aspect_ratio", ratios, None),
        seed=maybe("seed", st.integers(1, MAX_SEED), None),
        strength=maybe("strength", st.floats(0, 1, width=16), None) if references else None,
        references=references,
        style_references=(draw(pictures),) if service.style else (),
        mask=PIXEL if service.masked else None,
        margins=Margins(draw(st.integers(1, 2000)), 0, draw(st.integers(0, 2000)), 9) if "left" in own else None,
        scale=service.scale,
        format=draw(st.sampled_from(["", *service.formats])),
        extras={"stability": {**extras, "style_preset": "anime", "grow_mask": 3}},
    )


def at_stability(name: str, body: bytes, kind: str = "") -> ClientCall:
    return ClientCall("POST", name, {}, {}, {"content-type": kind, "accept": "application/json"}, body)


def at_bedrock(model: str, body: bytes) -> ClientCall:
    return ClientCall("POST", "invoke", {"model": model}, {}, {}, body)


# --------------------------------------------------------------------------------------------------------------- claims


@pytest.mark.parametrize("name", SERVICES)
@given(data=st.data())
def test_what_we_send_to_stability_is_read_back_as_what_was_asked(name: str, data: st.DataObject) -> None:
    asked = data.draw(asked_of(name))
    call = stability.write_request(asked, Target("https://host/v2beta/stable-image", name))
    assert (call.dropped, call.media) == ((), len(asked.pictures))
    wait = 0.0 if name in stability._SUBMITS else None
    read = stability.read_request(at_stability(name, call.body, call.headers["Content-Type"]))
    assert read == replace(asked, model=name, delivery=Delivery.B64, wait=wait)


@pytest.mark.parametrize("name", MODELS)
@given(data=st.data())
def test_what_we_send_to_bedrock_is_read_back_as_what_was_asked(name: str, data: st.DataObject) -> None:
    asked = data.draw(asked_of(name))
    call = bedrock.write_request(asked, Target("https://host", MODELS[name], {"service": name}))
    assert (call.dropped, call.media) == ((), len(asked.pictures))
    assert bedrock.read_request(at_bedrock(MODELS[name], call.body)) == replace(asked, model=MODELS[name])


@pytest.mark.parametrize("name", sorted(SERVICES.keys() & MODELS.keys()))
@given(data=st.data())
def test_either_wire_passes_on_what_the_other_has_read(name: str, data: st.DataObject) -> None:
    asked = data.draw(asked_of(name))
    first = bedrock.write_request(asked, Target("https://host", MODELS[name], {"service": name}))
    read = bedrock.read_request(at_bedrock(MODELS[name], first.body))
    assert stability.write_request(read, Target("https://host", name)).dropped == ()


@given(
    request=st.builds(
        MediaRequest,
        operation=st.just(Operation.EDIT),
        prompt=words,
        negative_prompt=st.sampled_from(["", "blurry"]),
        seed=st.none() | st.integers(0, 2**40),
        guidance=st.none() | st.floats(1, 20),
        strength=st.none() | st.floats(0, 1),
        references=st.lists(pictures, max_size=3).map(tuple),
        style_references=st.lists(pictures, max_size=2).map(tuple),
        mask=st.none() | st.just(PIXEL),
        margins=st.none() | st.just(Margins(1, 2, 3, 4)),
        scale=st.none() | st.sampled_from([2.0, 4.0]),
        format=st.sampled_from(["", "png", "jpeg", "svg"]),
    ),
    name=st.sampled_from(sorted(SERVICES)),
)
def test_what_is_not_sent_is_named(request: MediaRequest, name: str) -> None:
    """Leaving out a field that is named as dropped changes nothing of what is sent; leaving out any other does."""
    target = Target("https://host", name)
    call = stability.write_request(request, target)
    none = MediaRequest(Operation.EDIT)
    for field in ("negative_prompt", "seed", "guidance", "mask", "margins", "format"):
        if getattr(request, field) != getattr(none, field):
            without = stability.write_request(replace(request, **{field: getattr(none, field)}), target)
            assert (without.body == call.body) == (field in call.dropped)
    assert call.media == len(request.pictures) - _left_out(request, SERVICES[name])


def _left_out(request: MediaRequest, service: Service) -> int:
    references = max(0, len(request.references) - len(service.references))
    styles = max(0, len(request.style_references) - bool(service.style))
    return references + styles + (request.mask is not None and not service.masked)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(
    name=st.sampled_from(sorted(SERVICES)),
    parts=st.lists(
        st.tuples(st.sampled_from(NAMES), st.sampled_from(["", "a.png"]), st.just(""), st.binary(max_size=8)),
        max_size=6,
    ),
    noise=st.none() | st.binary(),
)
def test_any_multipart_is_a_request_or_an_invalid_request(
    name: str, parts: list[tuple[str, str, str, bytes]], noise: bytes | None
) -> None:
    kind, body = forms.write_multipart(parts)
    try:
        request = stability.read_request(at_stability(name, body if noise is None else noise, kind))
    except InvalidRequest:
        return
    assert request.operation in stability.CLIENT_OPERATIONS


@given(
    model=st.sampled_from([*MODELS.values(), *AMAZON]),
    body=st.binary()
    | st.dictionaries(st.sampled_from(NAMES), json_values | st.just("aGVsbG8=")).map(orjson.dumps)
    | st.fixed_dictionaries(TASKS, optional=dict.fromkeys(bedrock._TASKS.values(), SECTION)).map(orjson.dumps),
)
def test_any_body_of_a_painting_model_is_a_request_or_an_invalid_request(model: str, body: bytes) -> None:
    try:
        request = bedrock.read_request(at_bedrock(model, body))
    except InvalidRequest:
        return
    assert request.operation in bedrock.CLIENT_OPERATIONS


REPLY_NAMES = ["id", "name", "errors", "image", "result", "finish_reason", "status", "seed", "images", "seeds"]
REPLY_NAMES += ["finish_reasons", "message", "Message", "__type"]
REASONS = ["SUCCESS", "CONTENT_FILTERED", "in-progress", "Filter reason: prompt", "Inference error"]


@given(
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(["retry-after", "x-amzn-errortype"]), st.text(max_size=5)),
    st.binary()
    | st.dictionaries(
        st.sampled_from(REPLY_NAMES), json_values | st.sampled_from([*REASONS, "aGVsbG8="]) | st.just([None, "aGk="])
    ).map(orjson.dumps),
)
def test_any_answer_is_a_step(status: int, headers: dict[str, str], body: bytes) -> None:
    for wire in (stability, bedrock):
        match wire.read_reply(UpstreamReply(status, headers, body)):
            case Failed(message=message, code=code):
                assert message
                assert len(message) <= 300
                assert len(code) <= 40
            case Pending(handle=handle):
                assert handle["id"]
            case Done(artifacts=artifacts):
                assert all(artifact.media.data for artifact in artifacts)


def test_only_the_services_that_answer_with_an_id_are_submits() -> None:
    assert {route.name for route in stability.ROUTES if route.action is Action.SUBMIT} == stability._SUBMITS
    assert SERVICES.keys() > stability._SUBMITS


def test_a_file_that_no_field_is_known_for_is_sent_on_by_either_wire() -> None:
    request = MediaRequest(Operation.GENERATE, "a fox", extras={"stability": {"palette": PIXEL}})
    sent = stability.write_request(request, Target("https://host", "generate/core"))
    parts = forms.read_multipart(sent.body, sent.headers["Content-Type"])
    assert ("palette", "image.png", "image/png", PIXEL.data) in parts
    body = orjson.loads(bedrock.write_request(request, Target("https://host", MODELS["generate/core"])).body)
    assert body["palette"] == imaging.encode_base64(PIXEL.data)
