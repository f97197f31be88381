"""The Replicate wire beyond its golden cases: any bytes, any answer, and both faces against each other."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.ir import (
    RESOLUTIONS,
    Cause,
    ClientCall,
    Delivery,
    Done,
    Failed,
    Failure,
    InvalidRequest,
    Job,
    JobState,
    Lora,
    Media,
    MediaRequest,
    Operation,
    PassThrough,
    Pending,
    Target,
    UpstreamReply,
    Webhook,
)
from adapters.replicate import client, provider

BASE = "https://api.replicate.com/v1"
PICTURE = Media(data=b"\xff\xd8\xff..", mime="image/jpeg")
EVERY_INPUT = {
    "negative_prompt": "negative_prompt",
    "quality": "quality",
    "steps": "num_inference_steps",
    "guidance": "guidance",
    "strength": "prompt_strength",
    "compression": "output_quality",
    "background": "background",
    "references": "image_input[]",
    "style_references": "style_reference_images[]",
    "resolution": "resolution",
}
LORAS = [["lora_weights", "lora_scale"], ["extra_lora", "extra_lora_scale"]]

# ---------------------------------------------------------------------------------------------------------- strategies

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
INPUT_NAMES = [
    "prompt", "negative_prompt", "width", "height", "size", "aspect_ratio", "resolution", "megapixels", "num_outputs",
    "seed", "output_format", "output_quality", "quality", "background", "guidance", "guidance_scale", "steps",
    "prompt_strength", "image", "image_input", "mask", "go_fast", "", "canvas_size", "upscale_factor", "outpaint",
    "lora_weights", "lora_scale", "style_reference_images", "duration",
]  # fmt: skip
PREDICTION_NAMES = ["id", "status", "output", "error", "urls", "detail", "title", "invalid_fields"]
prediction_statuses = st.sampled_from(
    ["starting", "processing", "succeeded", "failed", "canceled", "aborted", "dreaming"]
)
bodies = (
    st.binary()
    | st.dictionaries(
        st.sampled_from(["input", "version", "webhook", "webhook_events_filter", "stream"]), json_values
    ).map(orjson.dumps)
    | st.dictionaries(
        st.sampled_from(INPUT_NAMES),
        json_values | st.sampled_from(["1024x768", "9999999x1", "16:9", "0:0", "2K", "https://pictures.example/a.png"]),
    ).map(lambda given: orjson.dumps({"version": "v", "input": given}))
)
asked = st.builds(
    MediaRequest,
    operation=st.just(Operation.GENERATE),
    prompt=st.text(min_size=1, max_size=20),
    negative_prompt=st.sampled_from(["", "blurry"]),
    model=st.just("acme/painter"),
    n=st.integers(1, 10),
    aspect=st.sampled_from([None, (1, 1), (16, 9), (2, 3)]),
    resolution=st.sampled_from(["", *RESOLUTIONS]),
    quality=st.sampled_from(["", "low", "medium", "high"]),
    seed=st.none() | st.integers(0, 2**63 - 1),
    steps=st.none() | st.integers(1, 50),
    guidance=st.none() | st.floats(0, 100),
    strength=st.none() | st.floats(0, 1),
    format=st.sampled_from(["", "png", "jpeg", "webp"]),
    compression=st.none() | st.integers(0, 100),
    background=st.sampled_from(["", "transparent", "opaque"]),
    style_references=st.lists(st.just(Media(url="https://pictures.example/s.png")), max_size=2).map(tuple),
    loras=st.lists(st.builds(Lora, st.just("acme/foxes"), st.floats(-1, 2)), max_size=2).map(tuple),
    delivery=st.just(Delivery.DATA_URI),
    wait=st.just(0.0),
    extras=st.sampled_from([{}, {"replicate": {"go_fast": True}}]),
)


def create(body: bytes, **headers: str) -> ClientCall:
    return ClientCall("POST", "model", {"owner": "acme", "name": "painter"}, {}, headers, body)


# --------------------------------------------------------------------------------------------------------------- claims


@given(
    bodies,
    st.sampled_from([{}, {"owner": "acme", "name": "painter"}, {"owner": "acme", "name": "upscaler"}]),
    st.text(max_size=12),
)
def test_any_bytes_are_a_request_or_an_invalid_request(body: bytes, params: dict[str, str], prefer: str) -> None:
    try:
        request = client.read_request(ClientCall("POST", "version", params, {}, {"prefer": prefer}, body))
    except (InvalidRequest, PassThrough):
        return
    assert request.operation in client.CLIENT_OPERATIONS
    assert request.wait is not None
    assert 0 <= request.wait <= 60


@given(st.binary(), st.sampled_from(["", "multipart/form-data; boundary=b", "application/json"]))
def test_any_upload_is_a_file_or_an_invalid_request(body: bytes, content_type: str) -> None:
    call = ClientCall("POST", "upload", {}, {}, {"content-type": content_type}, body)
    with pytest.raises(InvalidRequest):
        client.read_upload(call)


@given(
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms"]), st.text(max_size=5)),
    st.binary()
    | st.dictionaries(st.sampled_from(PREDICTION_NAMES), json_values).map(orjson.dumps)
    | st.builds(
        lambda status, rest: orjson.dumps({**rest, "status": status}),
        prediction_statuses,
        st.fixed_dictionaries({}, optional={"id": json_values, "output": json_values, "error": json_values}),
    ),
)
def test_any_answer_is_a_step(status: int, headers: dict[str, str], body: bytes) -> None:
    reply = UpstreamReply(status, headers, body)
    match provider.read_reply(reply):
        case Failed(message=message):
            assert message
            assert len(message) <= 300
        case Pending(handle=handle):
            assert provider.poll(handle, Target(BASE, "acme/painter")).url.startswith(f"{BASE}/predictions/")
        case Done(artifacts=artifacts):
            assert artifacts
    stored = provider.read_upload_reply(reply)
    assert isinstance(stored, Failed) or stored.startswith(("https://", "http://"))


@given(asked, st.lists(st.sampled_from([PICTURE, Media(url="https://pictures.example/a.png")]), max_size=3))
def test_what_we_send_is_read_back_as_what_was_asked(request: MediaRequest, references: list[Media]) -> None:
    operation = Operation.EDIT if references else Operation.GENERATE
    request = replace(request, operation=operation, references=tuple(references))
    options = {"inputs": EVERY_INPUT, "loras": LORAS}
    call = provider.write_request(request, Target(BASE, "acme/painter", options))
    assert call.dropped == ()
    assert call.media == len(request.pictures)
    assert client.read_request(create(call.body)) == request


@given(st.tuples(st.integers(1, 2048), st.integers(1, 2048)), st.sampled_from(["size", "width,height"]))
def test_a_size_is_read_back_as_it_was_asked(size: tuple[int, int], name: str) -> None:
    request = MediaRequest(Operation.GENERATE, prompt="a fox", size=size)
    call = provider.write_request(request, Target(BASE, "acme/painter", {"inputs": {"size": name}}))
    assert call.dropped == ()
    assert client.read_request(create(call.body)).size == size


@pytest.mark.parametrize(
    ("prefer", "seconds"),
    [
        ("", 0), ("wait", 60), ("wait=5", 5), ("Wait = 7", 7), ("respond-async, wait=3", 3), ("wait=0", 0),
        ("wait=61", 60), ("wait=soon", 0), ("respond-async", 0), ("waiting", 0),
    ],
)  # fmt: skip
def test_a_caller_waits_as_long_as_it_prefers(prefer: str, seconds: float) -> None:
    assert client.read_request(create(b'{"input": {"prompt": "a fox"}}', prefer=prefer)).wait == seconds


@pytest.mark.parametrize("state", JobState)
@pytest.mark.parametrize("fresh", [True, False])
def test_a_prediction_of_ours_is_read_as_the_state_it_is_in(state: JobState, fresh: bool) -> None:
    failure = Failure(Cause.REFUSED, "no foxes") if state is JobState.FAILED else None
    reply = client.write_job(
        Job("sealed", state, BASE, "acme/painter", failure=failure, route="model" if fresh else "get")
    )
    assert (reply.status == 200) == (not fresh)
    step = provider.read_reply(UpstreamReply(reply.status, {}, reply.body))
    expected: dict[JobState, Any] = {
        JobState.QUEUED: Pending({"id": "sealed"}, 0.5),
        JobState.RUNNING: Pending({"id": "sealed"}, 0.5),
        JobState.SUCCEEDED: Failed(Cause.MALFORMED, "the prediction succeeded without a picture"),
        JobState.FAILED: Failed(Cause.REFUSED, "no foxes (E005)"),
        JobState.CANCELED: Failed(Cause.CANCELED, "the prediction was canceled"),
    }
    assert step == expected[state]


def test_a_submit_that_waited_in_vain_is_never_said_to_be_processing() -> None:
    """The SDKs take any status but "starting" for the end of a blocking create, and would return no output."""
    job = Job("sealed", JobState.RUNNING, BASE, "acme/painter", route="model")
    assert orjson.loads(client.write_job(job).body)["status"] == "starting"


@pytest.mark.parametrize("status", [400, 401, 402, 404, 408, 409, 422, 429, 500, 502, 503, 504])
def test_an_http_error_never_ends_the_job(status: int) -> None:
    step = provider.read_reply(UpstreamReply(status, {}, b'{"detail": "no"}'))
    assert isinstance(step, Failed)
    assert not step.over


@given(st.integers(1, 16), st.sampled_from([{}, {2: "2x", 4: "x4"}]))
def test_a_factor_is_read_back_as_it_was_asked(factor: int, words: dict[int, str]) -> None:
    request = MediaRequest(Operation.UPSCALE, scale=float(factor), references=(PICTURE,))
    options = {"inputs": {"references": "image", "scale": "upscale_factor"}, "values": {"scale": words}}
    call = provider.write_request(request, Target(BASE, "acme/upscaler", options))
    assert call.dropped == ()
    read = client.read_request(ClientCall("POST", "model", {"owner": "acme", "name": "upscaler"}, {}, {}, call.body))
    assert (read.operation, read.scale) == (Operation.UPSCALE, factor)


@pytest.mark.parametrize(
    ("name", "operation"),
    [
        ("rembg", Operation.REMOVE_BACKGROUND), ("remove-bg", Operation.REMOVE_BACKGROUND),
        ("remove_background", Operation.REMOVE_BACKGROUND), ("dis-background-removal", Operation.REMOVE_BACKGROUND),
        ("background-remover", Operation.REMOVE_BACKGROUND), ("birefnet", Operation.REMOVE_BACKGROUND),
        ("recraft-crisp-upscale", Operation.UPSCALE), ("real-esrgan", Operation.UPSCALE),
        ("Upscaler", Operation.UPSCALE), ("recraft-vectorize", Operation.VECTORIZE),
        ("codeformer", Operation.RESTORE), ("restore-image", Operation.RESTORE),
        ("bringing-old-photos-back-to-life", Operation.RESTORE), ("outpaint", Operation.OUTPAINT),
        ("flux-kontext-pro", Operation.EDIT), ("llama-draws", Operation.EDIT),
    ],
)  # fmt: skip
def test_a_word_in_the_name_tells_what_is_done_with_a_picture_alone(name: str, operation: Operation) -> None:
    body = b'{"input": {"image": "https://pictures.example/a.png"}}'
    assert (
        client.read_request(ClientCall("POST", "model", {"owner": "a", "name": name}, {}, {}, body)).operation
        == operation
    )


@pytest.mark.parametrize("name", ["rembg", "upscaler", "prompt-expander"])
def test_a_word_in_the_name_means_nothing_without_a_picture(name: str) -> None:
    body = b'{"input": {"prompt": "a fox"}}'
    request = client.read_request(ClientCall("POST", "model", {"owner": "a", "name": name}, {}, {}, body))
    assert request.operation == Operation.GENERATE


def test_a_message_sent_again_keeps_its_id_and_another_state_has_another() -> None:
    hook = Webhook("https://app.example/done", ("start", "completed"))

    def name(state: JobState, now: float) -> str:
        call = client.write_webhook(Job("sealed", state, BASE, "acme/painter"), hook, bytes(32), now)
        assert call is not None
        return call.headers["webhook-id"]

    assert name(JobState.RUNNING, 1.0) == name(JobState.RUNNING, 31.0) != name(JobState.FAILED, 31.0)


def test_a_version_is_described_so_that_every_sdk_takes_the_output_as_it_comes() -> None:
    reply = client.describe(ClientCall("GET", "describe", {"owner": "a", "name": "b", "id": "v"}, {}, {}, b""))
    assert orjson.loads(reply.body)["openapi_schema"] == {"components": {"schemas": {}}}
