"""The Recraft wire beyond its golden cases: any bytes, and what is sent held to the published field tables.

Where OpenAI's SDK is no oracle, because it knows nothing of Recraft's fields, stands ``TABLE``: the parameters of each
endpoint on www.recraft.ai/docs/api-reference/endpoints as copied in October 2026, with ``image_format`` from Recraft's
OpenAPI document.
"""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import forms, imaging, recraft
from adapters.ir import (
    RESOLUTIONS,
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
    Target,
    UpstreamReply,
)

BASE = "https://external.api.recraft.ai/v1"
OUT = {"response_format", "image_format"}
MODEL = OUT | {"prompt", "model", "n", "style", "style_id", "negative_prompt", "random_seed", "text_layout", "controls"}
SIDES = {"expand_left", "expand_right", "expand_top", "expand_bottom"}
TABLE = {
    "generations": MODEL | {"size", "style_reference_urls"},
    "imageToImage": MODEL | {"image", "strength"},
    "inpaint": MODEL | {"image", "mask"},
    "outpaint": MODEL | SIDES | {"image", "size", "zoom_out_percentage"},
    "replaceBackground": MODEL | {"image"},
    "generateBackground": MODEL | {"image", "mask"},
    "eraseRegion": OUT | {"image", "mask"},
    "vectorize": OUT | {"file"},
    "removeBackground": OUT | {"file"},
    "crispUpscale": OUT | {"file"},
    "creativeUpscale": OUT | {"file"},
}
REQUIRED = {"imageToImage": {"image", "prompt", "strength"}, "generations": {"prompt"}}
SIZES = ["1:1", "2:1", "1:2", "3:2", "2:3", "4:3", "3:4", "5:4", "4:5", "6:10", "14:10", "10:14", "16:9", "9:16"]
CALLS = {
    Operation.GENERATE: "recraftv4_1",
    Operation.EDIT: "recraftv4_1",
    Operation.INPAINT: "recraftv3",
    Operation.OUTPAINT: "recraftv3",
    Operation.REPLACE_BACKGROUND: "recraftv3",
    Operation.ERASE: "eraseRegion",
    Operation.VECTORIZE: "vectorize",
    Operation.REMOVE_BACKGROUND: "removeBackground",
    Operation.UPSCALE: "crispUpscale",
}
ROUTES = [route.name for route in recraft.ROUTES if route.action is Action.CREATE]

# ---------------------------------------------------------------------------------------------------------- strategies

PIXEL = imaging.mask_to_binary(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU\x00\x00\x00\nIDATx"
    b"\x9cc`\x00\x00\x00\x02\x00\x01H\xaf\xa4q\x00\x00\x00\x00IEND\xaeB`\x82"
)
pictures = st.sampled_from(
    [PIXEL, Media(url="https://pictures.example/a.png"), Media(b"\xff\xd8\xff..", "", "image/jpeg")]
)
edges = st.integers(1, 4096)
requests = st.builds(
    MediaRequest,
    operation=st.sampled_from(sorted(CALLS)),
    prompt=st.text(min_size=1, max_size=20),
    negative_prompt=st.sampled_from(["", "blurry"]),
    n=st.integers(1, 6),
    size=st.none() | st.tuples(edges, edges),
    aspect=st.none() | st.tuples(st.integers(1, 21), st.integers(1, 21)),
    resolution=st.sampled_from(["", *RESOLUTIONS]),
    quality=st.sampled_from(["", "low", "high"]),
    seed=st.none() | st.integers(0, 2**32 - 1),
    strength=st.none() | st.floats(0, 1, width=16),
    style_references=st.lists(pictures, max_size=2).map(tuple),
    margins=st.none() | st.builds(Margins, st.integers(1, 9), st.integers(0, 9)),
    format=st.sampled_from(["", "png", "jpeg", "webp"]),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = sorted(set().union(*TABLE.values()) | {"image_url", "mask_url", "style", ""})
parts = st.tuples(
    st.sampled_from(NAMES), st.sampled_from(["", "a.png"]), st.just(""), st.binary(max_size=9) | st.just(PIXEL.data)
)


def complete(request: MediaRequest, picture: Media, mask: Media) -> MediaRequest:
    """The request with the pictures its operation works on, and none that it does not take."""
    masked = request.operation in (Operation.INPAINT, Operation.ERASE)
    return replace(
        request,
        references=() if request.operation is Operation.GENERATE else (picture,),
        style_references=request.style_references if request.operation is Operation.GENERATE else (),
        mask=mask if masked else None,
    )


def sent_fields(body: bytes, kind: str) -> set[str]:
    """By the names of the multipart form, whichever of the two forms it is."""
    if kind != "application/json":
        return {name for name, *_ in forms.read_multipart(body, kind)}
    told = set(orjson.loads(body))
    return {name.removesuffix("_url") if name in ("image_url", "mask_url") else name for name in told}


# --------------------------------------------------------------------------------------------------------------- claims


@pytest.mark.parametrize("route", ROUTES)
@given(
    st.binary() | st.dictionaries(st.sampled_from(NAMES), json_values).map(orjson.dumps) | st.lists(parts, max_size=6)
)
def test_any_bytes_are_a_request_or_an_invalid_request(route: str, given: Any) -> None:
    kind, body = ("", given) if isinstance(given, bytes) else forms.write_multipart(given)
    try:
        request = recraft.read_request(ClientCall("POST", route, {}, {}, {"content-type": kind}, body))
    except InvalidRequest:
        return
    recraft.write_request(request, Target(BASE, CALLS[request.operation]))


@given(
    st.integers(100, 599),
    st.binary()
    | st.dictionaries(st.sampled_from(["data", "image", "credits", "error", "code", "message"]), json_values).map(
        orjson.dumps
    )
    | st.lists(st.dictionaries(st.sampled_from(["url", "b64_json", "revised_prompt"]), json_values), max_size=2).map(
        lambda items: orjson.dumps({"data": items})
    ),
)
def test_any_answer_is_a_step(status: int, body: bytes) -> None:
    match recraft.read_reply(UpstreamReply(status, {}, body)):
        case Failed(message=message, code=code):
            assert message
            assert len(message) <= 300
            assert len(code) <= 80
        case Done(artifacts=artifacts):
            assert artifacts


@given(requests, pictures, pictures)
def test_only_published_fields_are_sent(request: MediaRequest, picture: Media, mask: Media) -> None:
    mask = mask if mask.url else PIXEL
    request = complete(request, picture, mask)
    call = recraft.write_request(request, Target(BASE, CALLS[request.operation], {"sizes": SIZES}))
    endpoint = call.url.removeprefix(f"{BASE}/images/")
    told = sent_fields(call.body, call.headers["Content-Type"])
    assert told <= {"image" if name == "file" and "file" not in told else name for name in TABLE[endpoint]}
    assert told >= REQUIRED.get(endpoint, set())
    assert call.media == len(request.pictures)
    assert not told & SIDES or "size" not in told


@given(requests, pictures)
def test_what_is_not_sent_is_named(request: MediaRequest, picture: Media) -> None:
    """Leaving out a field that is named as dropped changes nothing of what is sent; leaving out any other does."""
    request = complete(request, picture, PIXEL)
    target = Target(BASE, CALLS[request.operation], {"lacks": ["negative_prompt"]})
    call = recraft.write_request(request, target)
    for name in ("negative_prompt", "quality", "seed", "strength", "margins", "format"):
        if (value := getattr(request, name)) not in ("", None):
            without = replace(request, **{name: "" if isinstance(value, str) else None})
            same = recraft.write_request(without, target).body == call.body
            assert same == (name in call.dropped) or (name, value) == ("strength", recraft.HALF_WAY)


@given(requests, pictures)
def test_what_we_send_is_read_back_as_what_was_asked(request: MediaRequest, picture: Media) -> None:
    asked = complete(request, picture, PIXEL)
    target = Target(BASE, CALLS[asked.operation])
    call = recraft.write_request(asked, target)
    told = set(call.dropped)
    endpoint = call.url.removeprefix(f"{BASE}/images/")
    read = recraft.read_request(
        ClientCall("POST", endpoint, {}, {}, {"content-type": call.headers["Content-Type"]}, call.body)
    )
    assert read.operation is asked.operation
    assert read.delivery is Delivery.B64
    assert read.references == asked.references
    assert read.style_references == asked.style_references
    assert read.mask == asked.mask
    for name in ("prompt", "negative_prompt", "seed", "margins", "n"):
        assert name in told or getattr(read, name) == getattr(asked, name)
