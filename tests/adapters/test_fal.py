"""The fal wire beyond its golden cases: what ids and addresses say, any bytes, both faces against each other, and the
signature of a webhook as an app verifies it."""

import base64
import hashlib
from dataclasses import replace
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from adapters import fields
from adapters.fal import apps, client, inputs, provider
from adapters.ir import (
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
    Margins,
    Media,
    MediaRequest,
    Operation,
    PassThrough,
    Pending,
    Target,
    UpstreamReply,
    Webhook,
)

BASE = "https://queue.fal.run"
PICTURE = Media(data=b"\xff\xd8\xff..", mime="image/jpeg")
REMOTE = Media(url="https://pictures.example/a.png")
EVERY_INPUT = {
    "negative_prompt": "negative_prompt",
    "steps": "num_inference_steps",
    "guidance": "guidance_scale",
    "strength": "strength",
    "quality": "quality",
    "background": "background",
    "loras": "loras",
    "references": "image_urls[]",
    "style_references": "style_image_url",
    "mask": "mask_url",
    "margins": "expand_left,expand_top,expand_right,expand_bottom",
    "scale": "upscale_factor",
}

# ---------------------------------------------------------------------------------------------------------- strategies

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
INPUT_NAMES = [
    "prompt", "instruction", "negative_prompt", "image_size", "aspect_ratio", "resolution", "num_images", "seed",
    "num_inference_steps", "guidance_scale", "strength", "image_url", "image_urls", "mask_url", "loras",
    "upscale_factor", "output_format", "quality", "background", "sync_mode", "expand_left", "style_image_url", "fps",
    "acceleration", "",
]  # fmt: skip
said_values = st.sampled_from(
    ["a fox", "1024x768", "9999999x1", "16:9", "0:0", "2K", "square_hd", "https://pictures.example/a.png", "aGVsbG8="]
) | st.fixed_dictionaries({"width": st.integers(0, 99999), "height": st.integers(0, 99999)})
some_apps = st.sampled_from(
    [
        "fal-ai/flux/dev",
        "fal-ai/esrgan",
        "fal-ai/flux-pro/v1/fill",
        "fal-ai/image-apps-v2/outpaint",
        "fal-ai/veo3",
        "a/b",
    ]
)
REPLY_NAMES = [
    "status", "request_id", "response_url", "images", "image", "seed", "has_nsfw_concepts", "detail", "error_type",
    "error",
]  # fmt: skip
pictured = st.lists(
    st.fixed_dictionaries({"url": json_values | st.just(REMOTE.url)}, optional={"content_type": json_values}),
    max_size=3,
)
asked = st.builds(
    MediaRequest,
    operation=st.just(Operation.GENERATE),
    prompt=st.text(min_size=1, max_size=20),
    negative_prompt=st.sampled_from(["", "blurry"]),
    model=st.just("acme/painter"),
    n=st.integers(1, 10),
    size=st.none() | st.tuples(st.integers(1, 4096), st.integers(1, 4096)),
    quality=st.sampled_from(["", "low", "medium", "high"]),
    seed=st.none() | st.integers(0, 2**63 - 1),
    steps=st.none() | st.integers(1, 50),
    guidance=st.none() | st.floats(0, 100),
    strength=st.none() | st.floats(0, 1),
    loras=st.lists(st.builds(Lora, st.text(min_size=1, max_size=8), st.floats(-4, 4)), max_size=2).map(tuple),
    format=st.sampled_from(["", "png", "jpeg", "webp"]),
    background=st.sampled_from(["", "transparent", "opaque"]),
    delivery=st.just(Delivery.URL),
    wait=st.just(0.0),
    extras=st.sampled_from([{}, {"fal": {"acceleration": "regular"}}]),
)


def submit(app: str, body: bytes) -> ClientCall:
    return ClientCall("POST", "submit", {"app": app}, {}, {}, body)


# ------------------------------------------------------------------------------------------------------ what an id says


@pytest.mark.parametrize(
    ("app", "operation"),
    [
        ("fal-ai/flux/dev", None),
        ("fal-ai/bytedance/seedream/v4/edit", None),
        ("fal-ai/imageutils/rembg", Operation.REMOVE_BACKGROUND),
        ("fal-ai/birefnet/v2", Operation.REMOVE_BACKGROUND),
        ("pixelcut/background-removal", Operation.REMOVE_BACKGROUND),
        ("fal-ai/bria/background/replace", Operation.REPLACE_BACKGROUND),
        ("fal-ai/ideogram/v3/replace-background", Operation.REPLACE_BACKGROUND),
        ("fal-ai/esrgan", Operation.UPSCALE),
        ("fal-ai/aura-sr", Operation.UPSCALE),
        ("fal-ai/recraft/upscale/crisp", Operation.UPSCALE),
        ("fal-ai/recraft/vectorize", Operation.VECTORIZE),
        ("fal-ai/bria/eraser", Operation.ERASE),
        ("fal-ai/object-removal/mask", Operation.ERASE),
        ("fal-ai/flux-lora-fill", Operation.INPAINT),
        ("fal-ai/fast-sdxl/inpainting", Operation.INPAINT),
        ("fal-ai/flux-2-pro/outpaint", Operation.OUTPAINT),
        ("fal-ai/iclight-v2", Operation.RELIGHT),
        ("fal-ai/codeformer", Operation.RESTORE),
    ],
)
def test_the_words_of_an_id_say_what_its_endpoint_does(app: str, operation: Operation | None) -> None:
    assert apps.makes_images(app)
    assert apps.operation_of(apps.words_of(app)) is operation


@pytest.mark.parametrize(
    "app",
    [
        "fal-ai/veo3.1/fast", "fal-ai/kling-video/v2.1/master/text-to-video", "fal-ai/wan-vace-14b/inpainting",
        "fal-ai/seedvr/upscale/video", "fal-ai/luma-dream-machine/ray-2", "fal-ai/ltxv-13b-098-distilled",
        "fal-ai/elevenlabs/tts/turbo-v2.5", "fal-ai/kokoro/french", "openrouter/router", "fal-ai/moondream2",
        "fal-ai/florence-2-large/ocr", "fal-ai/sam2/image", "fal-ai/hunyuan3d/v2", "fal-ai/flux-lora-portrait-trainer",
        "fal-ai/flux-lora-canny", "workflows/acme/cards",
    ],
)  # fmt: skip
def test_an_endpoint_of_another_kind_is_told_by_its_id(app: str) -> None:
    assert not apps.makes_images(app)


@pytest.mark.parametrize(
    "app", ["fal-ai/wan/v2.2-a14b/text-to-image", "fal-ai/luma-photon", "fal-ai/bytedance/seedream/v3/text-to-image"]
)
def test_a_family_that_makes_films_too_may_make_pictures(app: str) -> None:
    assert apps.makes_images(app)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("https://fal.run/fal-ai/flux/dev", "/fal/run/fal-ai/flux/dev"),
        ("https://fal.run/fal-ai/flux/dev/stream", "/fal/run/fal-ai/flux/dev/stream"),
        ("https://queue.fal.run/fal-ai/flux/dev", "/fal/queue/fal-ai/flux/dev"),
        ("https://queue.fal.run/a/b?fal_webhook=https%3A%2F%2Fa.b", "/fal/queue/a/b?fal_webhook=https%3A%2F%2Fa.b"),
        ("https://queue.fal.run/a/b/requests/1/status?logs=1", "/fal/queue/a/b/requests/1/status?logs=1"),
        ("https://queue.fal.run:443/a/b", "/fal/queue/a/b"),
        ("https://falrun.com/a/b", "/fal/run/a/b"),
        ("https://queue.falrun.com/a/b", "/fal/queue/a/b"),
        ("https://rest.fal.ai/.well-known/jwks.json", "/fal/.well-known/jwks.json"),
        ("https://rest.fal.ai/storage/upload/initiate", None),
        ("https://fal.run.example/a/b", None),
        ("https://fal.run/../admin", None),
        ("https://[fal.run/a", None),
        ("fal.run/a/b", None),
        ("", None),
    ],
)
def test_a_url_of_fals_is_a_path_of_ours(url: str, path: str | None) -> None:
    assert client.proxy_path(url) == path


@given(st.text())
def test_any_text_is_a_path_of_ours_or_none(url: str) -> None:
    path = client.proxy_path(url)
    assert path is None or path.startswith("/fal/")


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/run/fal-ai/veo3", "https://fal.run/fal-ai/veo3"),
        ("/fal-ai/veo3?logs=1", "https://queue.fal.run/fal-ai/veo3?logs=1"),
    ],
)
def test_a_call_is_passed_on_to_the_host_it_was_meant_for(path: str, url: str) -> None:
    assert client.pass_url(BASE, path) == url


# ------------------------------------------------------------------------------------------------- any bytes, any reply


@given(
    some_apps,
    st.binary()
    | json_values.map(orjson.dumps)
    | st.dictionaries(st.sampled_from(INPUT_NAMES), json_values | said_values).map(orjson.dumps),
)
def test_any_bytes_are_a_request_an_invalid_request_or_passed_on(app: str, body: bytes) -> None:
    try:
        request = client.read_request(submit(app, body))
    except (InvalidRequest, PassThrough):
        return
    assert request.operation in client.CLIENT_OPERATIONS
    assert request.prompt or request.references


@given(
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(["retry-after", "x-fal-retryable", "x-fal-error-type"]), st.text(max_size=5)),
    st.binary()
    | st.dictionaries(st.sampled_from(REPLY_NAMES), json_values).map(orjson.dumps)
    | st.builds(
        lambda status, rest: orjson.dumps({**rest, "status": status}),
        st.sampled_from(["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "DREAMING"]),
        st.fixed_dictionaries({}, optional={"request_id": json_values, "response_url": json_values}),
    )
    | st.fixed_dictionaries({"images": pictured}, optional={"has_nsfw_concepts": json_values}).map(orjson.dumps)
    | st.fixed_dictionaries(
        {"detail": st.lists(st.dictionaries(st.sampled_from(["loc", "msg", "type"]), json_values))}
    ).map(orjson.dumps),
)
def test_any_answer_is_a_step(status: int, headers: dict[str, str], body: bytes) -> None:
    match provider.read_reply(UpstreamReply(status, headers, body)):
        case Failed(message=message, code=code):
            assert message
            assert len(message) <= 300
            assert len(code) <= 40
        case Pending(handle=handle):
            target = Target(BASE, "fal-ai/flux/dev")
            assert not handle or provider.poll(handle, target).url.startswith(f"{BASE}/fal-ai/flux/requests/")
        case Done(artifacts=artifacts):
            assert artifacts


# -------------------------------------------------------------------------------------------- the faces and each other


def sent_and_read(request: MediaRequest) -> MediaRequest:
    call = provider.write_request(request, Target(BASE, request.model, {"inputs": EVERY_INPUT}))
    assert call.dropped == ()
    assert call.media == len(request.pictures)
    return client.read_request(submit(request.model, call.body))


@given(asked, st.lists(st.sampled_from([PICTURE, REMOTE]), max_size=3))
def test_what_we_send_is_read_back_as_what_was_asked(request: MediaRequest, references: list[Media]) -> None:
    operation = Operation.EDIT if references else Operation.GENERATE
    request = replace(request, operation=operation, references=tuple(references))
    assert sent_and_read(request) == request


@pytest.mark.parametrize(
    "request_",
    [
        MediaRequest(Operation.INPAINT, prompt="a window", model="a/b", references=(PICTURE,), mask=REMOTE),
        MediaRequest(Operation.ERASE, model="fal-ai/bria/eraser", references=(PICTURE,), mask=REMOTE),
        MediaRequest(Operation.OUTPAINT, model="a/b/outpaint", references=(REMOTE,), margins=Margins(left=1, bottom=2)),
        MediaRequest(Operation.UPSCALE, model="fal-ai/clarity-upscaler", references=(REMOTE,), scale=2),
        MediaRequest(Operation.EDIT, prompt="so", model="a/b", references=(REMOTE,), style_references=(PICTURE,)),
    ],
    ids=lambda request: request.operation,
)
def test_every_kind_of_work_is_read_back_as_what_was_asked(request_: MediaRequest) -> None:
    request = replace(request_, delivery=Delivery.URL, wait=0.0)
    assert sent_and_read(request) == request


@pytest.mark.parametrize("aspect", ["16:9", "2:3"])
def test_an_aspect_is_read_back_where_the_endpoint_takes_one(aspect: str) -> None:
    request = MediaRequest(
        Operation.GENERATE, prompt="a fox", aspect=fields.read_aspect(aspect, ""), resolution="2K", model="a/b"
    )
    options = {"inputs": {"size": None, "aspect": "aspect_ratio", "resolution": "resolution"}}
    call = provider.write_request(request, Target(BASE, "a/b", options))
    assert (orjson.loads(call.body)["aspect_ratio"], call.dropped) == (aspect, ())
    read = client.read_request(submit("a/b", call.body))
    assert (read.aspect, read.resolution) == (request.aspect, "2K")


@pytest.mark.parametrize("state", JobState)
def test_a_status_of_ours_is_read_as_the_state_it_is_in(state: JobState) -> None:
    failure = Failure(Cause.REFUSED, "no foxes") if state is JobState.FAILED else None
    job = Job("sealed", state, BASE, "fal-ai/flux/dev", failure=failure, route="status")
    reply = client.write_job(job)
    ended = state not in (JobState.QUEUED, JobState.RUNNING)
    assert reply.status == (200 if ended else 202)
    handle = {"id": "sealed", "completed": True} if ended else {"id": "sealed"}
    step = provider.read_reply(UpstreamReply(reply.status, {}, reply.body))
    assert step == Pending(handle, 0.0 if ended else 0.5)
    assert client.write_status(job) == b"data: " + reply.body + b"\n\n"


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (Failure(Cause.REFUSED, "no foxes"), Cause.REFUSED),
        (Failure(Cause.CANCELED, "stopped"), Cause.CANCELED),
        (Failure(Cause.THROTTLED, "busy"), Cause.UNAVAILABLE),
        (Failure(Cause.INVALID, "too many", "num_images"), Cause.UNSUPPORTED),
    ],
    ids=lambda value: value.label if isinstance(value, Cause) else "",
)
def test_a_failed_result_of_ours_ends_the_job(failure: Failure, cause: Cause) -> None:
    job = Job("sealed", JobState.FAILED, BASE, "fal-ai/flux/dev", failure=failure, route="result")
    reply = client.write_job(job)
    step = provider.read_reply(UpstreamReply(reply.status, {}, reply.body))
    assert isinstance(step, Failed)
    assert step.over
    assert step.cause is cause
    assert failure.message in step.message


@pytest.mark.parametrize("status", [400, 401, 402, 404, 408, 409, 422, 429, 500, 502, 503, 504])
def test_an_http_error_that_names_no_type_never_ends_the_job(status: int) -> None:
    step = provider.read_reply(UpstreamReply(status, {}, b'{"detail": "no"}'))
    assert isinstance(step, Failed)
    assert not step.over


@pytest.mark.parametrize("cause", Cause, ids=lambda cause: cause.label)
def test_every_error_has_an_id_and_no_sdk_sends_again_what_may_have_been_bought(cause: Cause) -> None:
    reply = client.write_error(Failure(cause, "no"), None)
    assert reply.headers["x-fal-request-id"]
    timed_out = reply.status == 504 and reply.headers["X-Fal-Request-Timeout-Type"] == "user"
    assert cause.caller_may_retry or timed_out or reply.status not in (408, 409, 429, 502, 503, 504)


@pytest.mark.parametrize("state", [JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED])
def test_a_webhook_is_verified_as_fals_documentation_tells(state: JobState) -> None:
    secret = bytes(range(32))
    failure = None if state is JobState.CANCELED else Failure(Cause.REFUSED, "no foxes")
    job = Job("sealed", state, BASE, "fal-ai/flux/dev", failure=failure)
    call = client.write_webhook(job, Webhook("https://app.example/hook"), secret, 1_795_000_000.9)
    assert call is not None
    [key] = orjson.loads(client.write_secret(secret).body)["keys"]
    public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "="))
    names = ("X-Fal-Webhook-Request-Id", "X-Fal-Webhook-User-Id", "X-Fal-Webhook-Timestamp")
    lines = [*(call.headers[name] for name in names), hashlib.sha256(call.body).hexdigest()]
    public.verify(bytes.fromhex(call.headers["X-Fal-Webhook-Signature"]), "\n".join(lines).encode())
    assert call.headers["X-Fal-Webhook-Timestamp"] == "1795000000"


def test_what_a_caller_gave_is_not_changed() -> None:
    body: dict[str, Any] = {"prompt": "a fox", "loras": [{"path": "a"}], "image_size": {"width": 8, "height": 8}}
    before = orjson.dumps(body)
    inputs.read_input("fal-ai/flux-lora", body)
    assert orjson.dumps(body) == before
