"""The Ideogram wire beyond its golden cases: any bytes, signatures, what is sent held to the published field tables.

Ideogram has no official SDK to be the oracle. In its stead stands ``TABLE``: the fields of each endpoint in its
reference of API v1 (developer.ideogram.ai, as copied from July to October 2026), and how many pictures each one takes.
"""

import base64
import hashlib
from dataclasses import replace
from typing import Any

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from adapters import forms, imaging
from adapters.ideogram import client, provider
from adapters.ir import (
    RESOLUTIONS,
    Action,
    Artifact,
    ClientCall,
    Delivery,
    Done,
    Failed,
    InvalidRequest,
    Job,
    JobState,
    Margins,
    Media,
    MediaRequest,
    MediaResult,
    Operation,
    Target,
    UpstreamReply,
    Webhook,
)

BASE = "https://api.ideogram.ai"
STYLE = {"style_preset", "color_palette", "style_codes", "style_reference_images"}
CHARACTER = {"character_reference_images", "character_reference_images_mask"}
MADE = {"seed", "rendering_speed", "num_images"}
SHAPE = {"resolution", "aspect_ratio"}
V4 = {"resolution", "rendering_speed", "enable_copyright_detection"}
TABLE = {
    "/v1/ideogram-v3/generate": {"prompt", "magic_prompt", "negative_prompt", "style_type", "custom_model_uri"}
    | MADE | SHAPE | STYLE | CHARACTER,
    "/v1/ideogram-v3/generate-transparent": {"prompt", "magic_prompt", "negative_prompt", "aspect_ratio"}
    | {"upscale_factor"} | MADE,
    "/v1/ideogram-v3/remix": {"prompt", "magic_prompt", "negative_prompt", "style_type", "image", "image_weight"}
    | MADE | SHAPE | STYLE | CHARACTER,
    "/v1/ideogram-v3/inpaint": {"prompt", "magic_prompt", "style_type", "image", "mask"} | MADE | STYLE | CHARACTER,
    "/v1/ideogram-v3/reframe": {"image", "resolution"} | MADE | STYLE,
    "/v1/ideogram-v3/replace-background": {"prompt", "magic_prompt", "image"} | MADE | STYLE,
    "/v1/ideogram-v4/generate": {"text_prompt", "json_prompt"} | V4,
    "/v1/ideogram-v4/remix": {"text_prompt", "image", "image_weight"} | V4,
    "/v1/edit": {"prompt", "magic_prompt", "images", "image_urls", "seed", "num_images", "transparent_background"}
    | SHAPE,
    "/v1/remove-background": {"image"},
    "/upscale": {"image_file", "image_request"},
}  # fmt: skip
V4_OPTIONS = {
    "prompt_field": "text_prompt",
    "rendering_speed": "TURBO",
    "lacks": ["n", "seed", "aspect", "negative_prompt", "style_references", "character_reference_images"],
    "sizes": ["2048x2048", "2560x1440", "1440x2560", "3072x1024"],
}
TARGETS = {
    "ideogram-v3": Target(BASE, "ideogram-v3"),
    "ideogram-v4": Target(BASE, "ideogram-v4", V4_OPTIONS),
    "edit": Target(BASE, "edit"),
    "remove-background": Target(BASE, "remove-background"),
    "upscale": Target(BASE, "upscale"),
}
V3 = (Operation.GENERATE, Operation.EDIT, Operation.INPAINT, Operation.OUTPAINT, Operation.REPLACE_BACKGROUND)
DEPLOYED = [
    *(("ideogram-v3", operation) for operation in V3),
    ("ideogram-v4", Operation.GENERATE),
    ("ideogram-v4", Operation.EDIT),
    ("edit", Operation.EDIT),
    ("remove-background", Operation.REMOVE_BACKGROUND),
    ("upscale", Operation.UPSCALE),
]
ROUTES = [route.name for route in client.ROUTES if route.action in (Action.CREATE, Action.SUBMIT)]

# ---------------------------------------------------------------------------------------------------------- strategies

PIXEL = imaging.mask_to_binary(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU\x00\x00\x00\nIDATx"
    b"\x9cc`\x00\x00\x00\x02\x00\x01H\xaf\xa4q\x00\x00\x00\x00IEND\xaeB`\x82"
)
pictures = st.sampled_from([PIXEL, Media(b"\xff\xd8\xff..", mime="image/jpeg")])
edges = st.integers(1, 4096)
requests = st.builds(
    MediaRequest,
    operation=st.just(Operation.GENERATE),
    prompt=st.text(min_size=1, max_size=20),
    negative_prompt=st.sampled_from(["", "blurry"]),
    n=st.integers(1, 8),
    size=st.none() | st.tuples(edges, edges),
    aspect=st.none() | st.tuples(st.integers(1, 21), st.integers(1, 21)),
    resolution=st.sampled_from(["", *RESOLUTIONS]),
    quality=st.sampled_from(["", "low", "medium", "high"]),
    seed=st.none() | st.integers(0, 2**31 - 1),
    strength=st.none() | st.floats(0, 1, width=16),
    margins=st.none() | st.builds(Margins, st.integers(1, 9), st.integers(0, 9)),
    style_references=st.lists(pictures, max_size=2).map(tuple),
    background=st.sampled_from(["", "opaque", "transparent"]),
    format=st.sampled_from(["", "png"]),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = sorted(set().union(*TABLE.values()) | {"image_urls[]", "character_reference_images[]", "webhook_url", ""})
values = st.binary(max_size=9) | st.sampled_from([PIXEL.data, b"16x9", b"1024x1024", b"7", b"{}", b'{"seed": 7}'])
parts = st.tuples(st.sampled_from(NAMES), st.sampled_from(["", "a.png"]), st.just(""), values)


def complete(request: MediaRequest, remote: str, operation: Operation, picture: Media) -> MediaRequest:
    """The request with the pictures its operation works on; the decision sees to it that no others are given."""
    styled = remote == "ideogram-v3" and request.background != "transparent"
    return replace(
        request,
        operation=operation,
        references=() if operation is Operation.GENERATE else (picture,),
        style_references=request.style_references if styled else (),
        mask=PIXEL if operation is Operation.INPAINT else None,
    )


def parts_of(body: bytes, kind: str) -> dict[str, bytes]:
    return {name: value for name, _, _, value in forms.read_multipart(body, kind)}


# --------------------------------------------------------------------------------------------------------------- claims


@pytest.mark.parametrize("route", ROUTES)
@given(
    st.binary() | st.dictionaries(st.sampled_from(NAMES), json_values).map(orjson.dumps) | st.lists(parts, max_size=6)
)
def test_any_bytes_are_a_request_or_an_invalid_request(route: str, given: Any) -> None:
    kind, body = ("", given) if isinstance(given, bytes) else forms.write_multipart(given)
    try:
        request = client.read_request(ClientCall("POST", route, {}, {}, {"content-type": kind}, body))
    except InvalidRequest:
        return
    for remote, operation in DEPLOYED:
        if operation is request.operation and not any(picture.url for picture in request.pictures):
            provider.write_request(request, TARGETS[remote])


@given(
    st.integers(100, 599),
    st.binary()
    | st.dictionaries(st.sampled_from(["data", "error", "reject_reason", "detail"]), json_values).map(orjson.dumps)
    | st.lists(
        st.dictionaries(
            st.sampled_from(["url", "is_image_safe", "seed", "prompt"]), json_values | st.just("https://a")
        ),
        max_size=2,
    ).map(lambda items: orjson.dumps({"data": items})),
)
def test_any_answer_is_a_step(status: int, body: bytes) -> None:
    match provider.read_reply(UpstreamReply(status, {}, body)):
        case Failed(message=message, code=code):
            assert message
            assert len(message) <= 300
            assert len(code) <= 80
        case Done(artifacts=artifacts):
            assert [artifact.media.url for artifact in artifacts]


@pytest.mark.parametrize(("remote", "operation"), DEPLOYED)
@given(request=requests, picture=pictures)
def test_only_published_fields_are_sent(
    remote: str, operation: Operation, request: MediaRequest, picture: Media
) -> None:
    if remote == "ideogram-v4":
        request = replace(request, background="")
    request = complete(request, remote, operation, picture)
    call = provider.write_request(request, TARGETS[remote])
    told = parts_of(call.body, call.headers["Content-Type"])
    assert told.keys() <= TABLE[call.url.removeprefix(BASE)]
    assert call.media == len(request.pictures)
    assert not told.keys() >= SHAPE


def test_a_prompt_that_happens_to_be_json_stays_a_text() -> None:
    for prompt in ("null", "{}"):
        call = provider.write_request(MediaRequest(Operation.GENERATE, prompt), TARGETS["ideogram-v4"])
        assert parts_of(call.body, call.headers["Content-Type"])["text_prompt"] == prompt.encode()


def test_the_resolutions_are_the_69_published() -> None:
    edges = [tuple(map(int, size.split("x"))) for size in provider.SIZES]
    assert len(set(edges)) == 69
    assert {(height, width) for width, height in edges} == set(edges)
    assert all(width % 32 == height % 32 == 0 and 786_432 <= width * height <= 1_100_000 for width, height in edges)


@pytest.mark.parametrize(("remote", "operation"), DEPLOYED)
@given(request=requests, picture=pictures)
def test_what_is_not_sent_is_named(remote: str, operation: Operation, request: MediaRequest, picture: Media) -> None:
    """Leaving out a field that is named as dropped changes nothing of what is sent; leaving out any other does."""
    request = complete(replace(request, margins=None), remote, operation, picture)
    call = provider.write_request(request, TARGETS[remote])
    for name in ("negative_prompt", "seed", "strength", "format", "prompt"):
        if (value := getattr(request, name)) not in ("", None):
            without = replace(request, **{name: "" if isinstance(value, str) else None})
            same = provider.write_request(without, TARGETS[remote]).body == call.body
            assert same == (name in call.dropped)


@given(requests, pictures, st.sampled_from(V3))
def test_what_we_send_is_read_back_as_what_was_asked(
    request: MediaRequest, picture: Media, operation: Operation
) -> None:
    asked = complete(request, "ideogram-v3", operation, picture)
    call = provider.write_request(asked, TARGETS["ideogram-v3"])
    if operation is Operation.OUTPAINT and b"resolution" not in call.body:
        return  # nothing says how large it is to become
    route = call.url.rpartition("/")[2]
    read = client.read_request(
        ClientCall("POST", route, {}, {}, {"content-type": call.headers["Content-Type"]}, call.body)
    )
    assert (read.operation, read.delivery) == (asked.operation, Delivery.URL)
    assert read.references == asked.references
    assert read.style_references == asked.style_references
    assert read.mask == asked.mask
    for name in ("prompt", "negative_prompt", "seed", "quality", "n", "background"):
        assert name in call.dropped or getattr(read, name) == getattr(asked, name)
    if asked.strength is not None and "strength" not in call.dropped:
        assert read.strength == pytest.approx(asked.strength, abs=0.011)


def test_a_webhook_is_verified_as_the_guide_says_with_the_key_set_we_publish() -> None:
    secret = bytes(range(32))
    job = Job("sealed-1", JobState.SUCCEEDED, BASE, result=MediaResult((Artifact(Media(url="http://ours/1")),)))
    call = client.write_webhook(job, Webhook("https://app.example/hook"), secret, 1_795_000_003.9)
    assert call is not None
    [key] = orjson.loads(client.write_secret(secret).body)["keys"]
    head = {name.removeprefix("X-Ideogram-Webhook-"): value for name, value in call.headers.items()}
    assert (key["kty"], key["crv"], key["kid"]) == ("OKP", "Ed25519", head["Key-Id"])
    message = "\n".join(
        (head["Generation-Id"], head["User-Id"], head["Timestamp"], hashlib.sha256(call.body).hexdigest())
    )
    public = base64.urlsafe_b64decode(key["x"] + "=")
    Ed25519PublicKey.from_public_bytes(public).verify(bytes.fromhex(head["Signature"]), message.encode())
    assert orjson.loads(call.body)["generation_id"] == head["Generation-Id"] == "sealed-1"
