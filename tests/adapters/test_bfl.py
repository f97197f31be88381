"""The BFL wire beyond its golden cases: any bytes, and what is sent held to the published field table.

Black Forest Labs has no official SDK to be the oracle. In its stead stands ``TABLE``: the fields of each endpoint in
the OpenAPI document of api.bfl.ai as it was copied in May 2026, and the tools' as docs.bfl.ai had it in November.
"""

from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from adapters import fields, imaging
from adapters.bfl import client, provider
from adapters.ir import (
    Action,
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
    Operation,
    PassThrough,
    Pending,
    Target,
    UpstreamReply,
    Webhook,
)

BASE = "https://api.bfl.ai/v1"


@dataclass(frozen=True)
class Endpoint:
    """What the OpenAPI document says of one model's path, and the options a deployment of it has in the catalog."""

    fields: frozenset[str]
    options: dict[str, Any] = field(default_factory=dict)
    operation: Operation = Operation.GENERATE
    pictures: int = 0
    mask: bool = False
    multiple: int = 16
    edges: tuple[int, int] = (64, 16_384)
    pixels: int = 4_194_304


def inputs(count: int) -> set[str]:
    return {"input_image", *(f"input_image_{number}" for number in range(2, count + 1))}


ALL = {"prompt", "seed", "safety_tolerance", "output_format", "webhook_url", "webhook_secret"}
SIZE = {"width", "height"}
TOOL = {"seed", "safety_tolerance", "output_format"}
STEERED = {"steps", "guidance", "prompt_upsampling"}
TABLE = {
    "flux-2-pro": Endpoint(frozenset(ALL | SIZE | inputs(8) | {"disable_pup"}), pictures=8),
    "flux-2-max": Endpoint(frozenset(ALL | SIZE | inputs(8) | {"disable_pup"}), pictures=8),
    "flux-2-flex": Endpoint(frozenset(ALL | SIZE | STEERED | inputs(8)), {"steering": True}, pictures=8),
    "flux-2-klein-4b": Endpoint(frozenset(ALL | SIZE | inputs(4)), pictures=4),
    "flux-pro-1.1": Endpoint(
        frozenset(ALL | SIZE | {"image_prompt", "prompt_upsampling"}),
        {"multiple": 32, "min_edge": 256, "max_edge": 1440, "image_field": "image_prompt"},
        pictures=1,
        multiple=32,
        edges=(256, 1440),
    ),
    "flux-pro-1.1-ultra": Endpoint(
        frozenset(ALL | {"aspect_ratio", "image_prompt", "image_prompt_strength", "raw", "prompt_upsampling"}),
        {"dims": "aspect_ratio", "image_field": "image_prompt"},
        pictures=1,
    ),
    "flux-kontext-pro": Endpoint(
        frozenset(ALL | {"aspect_ratio", "prompt_upsampling"} | inputs(4)), {"dims": "aspect_ratio"}, pictures=4
    ),
    "flux-pro-1.0-fill": Endpoint(
        frozenset(ALL | STEERED | {"image", "mask"}),
        {"dims": "none", "image_field": "image", "steering": True},
        pictures=1,
        mask=True,
    ),
    "flux-pro-1.0-expand": Endpoint(
        frozenset(ALL | STEERED | {"image", "top", "bottom", "left", "right"}),
        {"dims": "margins", "image_field": "image", "steering": True},
        Operation.OUTPAINT,
        pictures=1,
    ),
    "flux-tools/outpainting-v1": Endpoint(
        frozenset(
            TOOL | SIZE | {"prompt", "input_image", "reference_offset_x", "reference_offset_y", "auto_crop", "mode"}
        ),
        {"dims": "canvas"},
        Operation.OUTPAINT,
        pictures=1,
        multiple=1,
        edges=(1, 40_000),
        pixels=40_000**2,
    ),
    "flux-tools/erase-v1": Endpoint(
        frozenset(TOOL | {"image", "mask", "dilate_pixels"}),
        {"dims": "none", "image_field": "image"},
        Operation.ERASE,
        pictures=1,
        mask=True,
    ),
    "flux-tools/deblur-v1": Endpoint(
        frozenset(TOOL | {"image"}), {"dims": "none", "image_field": "image"}, Operation.RESTORE, pictures=1
    ),
}

# ---------------------------------------------------------------------------------------------------------- strategies

PIXEL = imaging.mask_from_grey(
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x00\x00\x00\x00:~\x9bU\x00\x00\x00\nIDATx"
    b"\x9cc`\x00\x00\x00\x02\x00\x01H\xaf\xa4q\x00\x00\x00\x00IEND\xaeB`\x82",
    "mask",
)
pictures = st.sampled_from(
    [PIXEL, Media(url="https://pictures.example/a.png"), Media(data=b"\xff\xd8\xff..", mime="image/jpeg")]
)
edges = st.integers(1, 4096)
requests = st.builds(
    MediaRequest,
    operation=st.just(Operation.GENERATE),
    prompt=st.text(min_size=1, max_size=20),
    negative_prompt=st.sampled_from(["", "blurry"]),
    size=st.none() | st.tuples(edges, edges),
    aspect=st.none() | st.tuples(st.integers(1, 21), st.integers(1, 21)),
    resolution=st.sampled_from(["", *fields.RESOLUTIONS]),
    quality=st.sampled_from(["", "low", "high"]),
    seed=st.none() | st.integers(0, 2**63 - 1),
    steps=st.none() | st.integers(1, 50),
    guidance=st.none() | st.floats(1.5, 100, width=32),
    references=st.lists(pictures, max_size=8).map(tuple),
    mask=st.none() | pictures,
    margins=st.none() | st.builds(Margins, *[st.integers(0, 2048)] * 4),
    format=st.sampled_from(["", "png", "jpeg", "webp"]),
    compression=st.none() | st.integers(0, 100),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = sorted({name for endpoint in TABLE.values() for name in endpoint.fields} | {"control_image", ""})
REPLY_NAMES = ["id", "status", "polling_url", "result", "cost", "detail", "details", "error", "message", "retry_after"]
statuses = st.sampled_from(["Ready", "Pending", "Error", "Task not found", "Content Moderated", "Dreaming"])


def submit(body: bytes, model: str = "flux-2-pro") -> ClientCall:
    tool = model.removeprefix("flux-tools/")
    return ClientCall("POST", "submit", {"tool": tool} if tool != model else {"model": model}, {}, {}, body)


# --------------------------------------------------------------------------------------------------------------- claims


@given(
    st.binary() | st.dictionaries(st.sampled_from(NAMES), json_values | st.just("aGVsbG8=")).map(orjson.dumps),
    st.sampled_from([*TABLE, "flux-3-video"]),
)
def test_any_bytes_are_a_request_or_an_invalid_request(body: bytes, model: str) -> None:
    try:
        request = client.read_request(submit(body, model))
    except (InvalidRequest, PassThrough):
        return
    assert request.operation in client.CLIENT_OPERATIONS


@given(
    st.integers(100, 599),
    st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms"]), st.text(max_size=5)),
    st.binary()
    | st.dictionaries(st.sampled_from(REPLY_NAMES), json_values).map(orjson.dumps)
    | st.builds(
        lambda status, rest: orjson.dumps({**rest, "status": status}),
        statuses,
        st.fixed_dictionaries({}, optional={"result": json_values, "details": json_values, "cost": json_values}),
    ),
)
def test_any_answer_is_a_step(status: int, headers: dict[str, str], body: bytes) -> None:
    match provider.read_reply(UpstreamReply(status, headers, body)):
        case Failed(message=message, code=code):
            assert message
            assert len(message) <= 300
            assert len(code) <= 40
        case Pending(handle=handle):
            assert handle.keys() <= {"polling_url", "id"}
        case Done(artifacts=artifacts):
            assert [artifact.media.url for artifact in artifacts]


@pytest.mark.parametrize("model", TABLE)
@given(request=requests)
def test_only_published_fields_are_sent_within_published_limits(model: str, request: MediaRequest) -> None:
    endpoint = TABLE[model]
    request = replace(
        request,
        operation=endpoint.operation,
        references=request.references[: endpoint.pictures],
        mask=request.mask if endpoint.mask and request.references else None,
    )
    call = provider.write_request(request, Target(BASE, model, endpoint.options))
    body = orjson.loads(call.body)
    assert body.keys() <= endpoint.fields
    assert call.url == f"{BASE}/{model}"
    assert call.media == len(request.references) + (request.mask is not None)
    if "width" in body:
        width, height = body["width"], body["height"]
        assert width % endpoint.multiple == height % endpoint.multiple == 0
        assert endpoint.edges[0] <= min(width, height)
        assert max(width, height) <= endpoint.edges[1]
        assert width * height <= endpoint.pixels


@given(model=st.sampled_from(sorted(TABLE)), request=requests)
def test_what_is_not_sent_is_named(model: str, request: MediaRequest) -> None:
    """Leaving out a field that is named as dropped changes nothing of what is sent; leaving out any other does."""
    target = Target(BASE, model, TABLE[model].options)
    call = provider.write_request(request, target)
    for name in ("negative_prompt", "quality", "seed", "steps", "guidance", "mask", "margins", "format", "compression"):
        if (value := getattr(request, name)) not in ("", None):
            without = replace(request, **{name: "" if isinstance(value, str) else None})
            same = provider.write_request(without, target).body == call.body
            assert same == (name in call.dropped)


@given(requests, st.sampled_from(["flux-2-flex", "flux-kontext-pro", "flux-pro-1.0-fill"]))
def test_what_we_send_is_read_back_as_what_was_asked(request: MediaRequest, model: str) -> None:
    endpoint = TABLE[model]
    target = Target(BASE, model, endpoint.options | {"multiple": 1, "min_edge": 1, "max_pixels": imaging.MAX_PIXELS})
    references = request.references[: endpoint.pictures]
    mask = PIXEL if endpoint.mask and references else None
    sized = endpoint.options.get("dims", "width_height") == "width_height"
    steered = endpoint.options.get("steering", False)
    asked = MediaRequest(
        operation=Operation.INPAINT if mask else Operation.EDIT if references else Operation.GENERATE,
        prompt=request.prompt,
        model=model,
        size=request.size if sized else None,
        aspect=fields.aspect_of(replace(request, size=None))
        if endpoint.options.get("dims") == "aspect_ratio"
        else None,
        seed=request.seed,
        steps=request.steps if steered else None,
        guidance=request.guidance if steered else None,
        references=references,
        mask=mask,
        format=request.format,
        delivery=Delivery.URL,
        wait=0.0,
        extras={"bfl": {"prompt_upsampling": False}},
    )
    call = provider.write_request(asked, target)
    assert call.dropped == ()
    assert client.read_request(submit(call.body, model)) == asked


@pytest.mark.parametrize("status", ["Pending", "Ready", "Error", "Failed", "Task not found", "Dreaming"])
def test_a_poll_answer_never_names_another_polling_url(status: str) -> None:
    step = provider.read_reply(UpstreamReply(200, {}, orjson.dumps({"id": "1", "status": status})))
    assert not isinstance(step, Pending) or step.handle == {}


@pytest.mark.parametrize("status", [400, 401, 402, 404, 408, 409, 422, 429, 500, 502, 503, 504])
def test_an_http_error_never_ends_the_job(status: int) -> None:
    step = provider.read_reply(UpstreamReply(status, {}, b'{"detail": "no"}'))
    assert isinstance(step, Failed)
    assert not step.over


@pytest.mark.parametrize("state", JobState)
def test_a_submit_is_answered_with_a_polling_url_of_ours_that_leads_back_to_the_job(state: JobState) -> None:
    job = Job("sealed/+=&", state, "http://localhost:8080/bfl/v1", route="submit")
    step = provider.read_reply(UpstreamReply(200, {}, client.write_job(job).body))
    assert isinstance(step, Pending)
    path, _, query = step.handle["polling_url"].partition("?id=")
    assert path == "http://localhost:8080/bfl/v1/get_result"
    assert query == "sealed%2F%2B%3D%26"


@given(
    st.builds(Margins, *[st.integers(0, 100)] * 4).filter(lambda margins: margins != Margins()),
    st.sampled_from(["flux-pro-1.0-expand", "flux-tools/outpainting-v1"]),
)
def test_an_outpaint_is_read_back_as_it_was_asked(margins: Margins, model: str) -> None:
    request = MediaRequest(Operation.OUTPAINT, prompt="a forest", references=(PIXEL,), margins=margins)
    call = provider.write_request(request, Target(BASE, model, TABLE[model].options))
    assert call.dropped == ()
    read = client.read_request(submit(call.body, model))
    assert (read.operation, read.margins, read.references) == (Operation.OUTPAINT, margins, (PIXEL,))


async def test_the_paths_of_the_tools_are_mounted_and_other_tools_are_passed_on() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response()

    router = web.UrlDispatcher()
    actions = {router.add_route(route.method, f"/v1{route.path}", answer): route.action for route in client.ROUTES}
    found = {}
    for path in ("flux-tools/erase-v1", "flux-tools/outpainting-v12", "flux-tools/vto-v1", "flux-2-pro"):
        match = await router.resolve(make_mocked_request("POST", f"/v1/{path}"))
        found[path] = (actions[match.route], dict(match))
    assert found == {
        "flux-tools/erase-v1": (Action.SUBMIT, {"tool": "erase-v1"}),
        "flux-tools/outpainting-v12": (Action.SUBMIT, {"tool": "outpainting-v12"}),
        "flux-tools/vto-v1": (Action.PASS, {"tool": "vto-v1"}),
        "flux-2-pro": (Action.SUBMIT, {"model": "flux-2-pro"}),
    }


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING])
def test_a_webhook_is_told_only_of_the_end(state: JobState) -> None:
    assert client.write_webhook(Job("sealed", state, BASE), Webhook("https://app.example/done"), bytes(32), 0.0) is None
