"""A chain against one provider that is scripted: what polls, deadlines, costs and inputs come to."""

import time
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from opentelemetry.trace import INVALID_SPAN

from adapters.bfl import provider as bfl
from adapters.ir import Cause, Done, Failed, Lora, Media, MediaRequest, Operation
from adapters.replicate import provider as replicate
from policies.catalog import Credential, Deployment, Limits, Model, Price, Provider
from policies.decision import Candidate
from policies.load import Config
from policies.match import Breaker
from proxy import attempts, calls, transport
from proxy.auth import Keyring
from proxy.breaker import Breakers
from proxy.health import HealthBook
from proxy.jobs import JobBook, Sealer
from proxy.media import MediaStore
from proxy.metrics import Metrics
from proxy.services import Services
from proxy.settings import Settings
from proxy.state import State
from proxy.tracing import Tracing
from proxy.transport import Transport
from proxy.upstream import Chain, Driven
from tests.wires.capture import Captured, capture

BREAKER = Breaker(
    failure_rate=0.5, min_calls=9, window_seconds=60.0, open_seconds=30.0, half_open_trials=1, slow_seconds=None
)
FOX = MediaRequest(Operation.GENERATE, prompt="a fox", size=(1024, 1024))
PNG = b"\x89PNG\r\n\x1a\n"
DOT = b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
)  # a picture of one pixel
PICTURE = f"data:image/png;base64,{b64encode(DOT).decode()}"
SUCCEEDED = {"status": "succeeded", "output": PICTURE}
B64 = {"data": [{"b64_json": PICTURE.partition(",")[2]}]}


def never() -> Config:
    raise AssertionError("a chain needs no configuration")


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    breakers = Breakers(BREAKER)
    services = Services(
        settings=Settings(),
        state=State(never),
        keyring=Keyring({"KEY": "secret"}, None),
        transport=Transport(),
        breakers=breakers,
        health=HealthBook(breakers),
        media=MediaStore(1),
        jobs=JobBook(1),
        sealer=Sealer(bytes(32)),
        metrics=Metrics(),
        tracing=Tracing(),
    )
    yield services
    await services.transport.close()


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are looked at again at once."""
    monkeypatch.setattr(bfl, "POLL_AFTER", 0.0)
    monkeypatch.setattr(replicate, "POLL_AFTER", 0.0)
    monkeypatch.setattr(calls, "_POLL_MAX", 0.0)


async def run(
    services: Services,
    wire: str,
    base_url: str,
    request: MediaRequest = FOX,
    *,
    options: Mapping[str, Any] | None = None,
    loras: tuple[Lora, ...] = (),
    seconds: float = 60.0,
    most: int = 1,
) -> Driven:
    """One attempt at one deployment, which has ``seconds`` and costs a dollar by the catalog."""
    model = Model("flux", "bfl", frozenset(), frozenset({request.operation}), {}, None, None)
    provider = Provider("host", wire, base_url, Credential(env="KEY"), None, None, (), 5.0, 60.0)
    price = Price("image", (("image", 0, 1.0),))
    deployment = Deployment(
        "flux@host", model, provider, "acme/flux", model.operations, price=price, edit_price=None, p50=5.0, p95=9.0,
        limits=Limits(max_images=most), options=options or {}, loras=loras,
    )  # fmt: skip
    candidate = Candidate(deployment, 1.0, False, None, None, 5.0, 9.0, "the only one")
    deadline = services.monotonic() + seconds
    limits = attempts.Limits(1, attempts=1, per_deployment=1, deadline=deadline, backoff=0.0, max_retry_after=0.0)
    return await Chain(services, request, (candidate,), limits, INVALID_SPAN).run()


def paths(captured: Sequence[Captured]) -> list[str]:
    return [f"{call.method} {call.path}" for call in captured]


async def test_the_weights_of_a_deployment_are_laid_over_its_model_beside_the_callers_own(services: Services) -> None:
    request = replace(FOX, loras=(Lora("https://weights.test/mine", 0.5),))
    made = {"data": [{"b64_json": b64encode(DOT).decode()}]}
    async with capture(made) as (base, captured):
        driven = await run(services, "together", base, request, loras=(Lora("https://weights.test/house"),))
    assert isinstance(driven.outcome, Done)
    assert captured[0].json()["image_loras"] == [
        {"path": "https://weights.test/mine", "scale": 0.5},
        {"path": "https://weights.test/house", "scale": 1.0},
    ]


# --------------------------------------------------------------------------------------------------------------- polls


async def test_a_poll_url_on_a_foreign_host_is_never_called(services: Services) -> None:
    accepted: dict[str, Any] = {"id": "1"}
    async with capture({"status": "Ready"}) as (foreign, stolen), capture(accepted) as (base, captured):
        accepted["polling_url"] = f"{foreign}/poll"
        driven = await run(services, "bfl", base)
    assert isinstance(driven.outcome, Failed)
    assert driven.outcome.cause is Cause.MALFORMED
    assert "host" in driven.outcome.message
    assert captured[0].headers["x-key"] == "secret"
    assert stolen == []


async def test_a_pending_answer_without_a_handle_keeps_the_last_one(services: Services) -> None:
    accepted: dict[str, Any] = {"id": "1"}
    ready: dict[str, Any] = {"status": "Ready", "result": {}}
    async with capture(accepted, {"id": "1", "status": "Pending"}, ready, DOT) as (base, captured):
        accepted["polling_url"] = f"{base}/poll?id=1"
        ready["result"]["sample"] = f"{base}/fox.png"
        driven = await run(services, "bfl", base)
    assert isinstance(driven.outcome, Done)
    assert driven.outcome.artifacts[0].media.data == DOT
    assert paths(captured)[1:] == ["GET /poll?id=1", "GET /poll?id=1", "GET /fox.png"]
    assert {call.headers["x-key"] for call in captured[:3]} == {"secret"}
    assert "x-key" not in captured[3].headers


@pytest.mark.parametrize(("told_at_the_end", "cost"), [({}, 0.05), ({"cost": 7}, 0.07)])
async def test_the_cost_told_at_the_submit_stands_until_the_end_says_more(
    services: Services, told_at_the_end: dict[str, int], cost: float
) -> None:
    accepted: dict[str, Any] = {"id": "1", "cost": 5}  # credits, of a cent each
    ready: dict[str, Any] = {"status": "Ready", "result": {}, **told_at_the_end}
    async with capture(accepted, {"id": "1", "status": "Pending"}, ready, DOT) as (base, _):
        accepted["polling_url"] = f"{base}/poll"
        ready["result"]["sample"] = f"{base}/fox.png"
        driven = await run(services, "bfl", base)
    assert driven.cost == pytest.approx(cost)
    booked = services.metrics.exposition().decode()
    assert f'muxel_cost_usd_total{{kind="reported",model="flux",provider="host"}} {driven.cost}' in booked


async def test_looks_that_keep_failing_end_the_attempt(services: Services) -> None:
    started = {"id": "p1", "status": "starting"}
    async with capture(started, b"<html>", b"<html>", started, b"<html>") as (base, captured):
        driven = await run(services, "replicate", base)
    assert isinstance(driven.outcome, Failed)
    assert driven.outcome.cause is Cause.MALFORMED
    good_look = 3  # after which the count begins again
    assert len(captured) == 1 + good_look + calls._POLL_FAILURES + 1
    assert paths(captured).count("GET /predictions/p1") == len(captured) - 1


async def test_a_job_that_failed_is_not_looked_at_again(services: Services) -> None:
    failed = {"id": "p1", "status": "failed", "error": "out of memory"}
    async with capture({"id": "p1", "status": "starting"}, failed) as (base, captured):
        driven = await run(services, "replicate", base)
    assert driven.outcome == Failed(Cause.UNAVAILABLE, "out of memory")
    assert len(captured) == 2


async def test_a_job_that_outlasts_the_deadline_is_cancelled_and_its_end_unknown(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicate, "POLL_AFTER", 90.0)  # the next look would be too late
    async with capture({"id": "p1", "status": "starting"}) as (base, captured):
        begun = time.monotonic()
        driven = await run(services, "replicate", base)
        assert time.monotonic() - begun < 30.0
    assert isinstance(driven.outcome, Failed)
    assert driven.outcome.cause is Cause.AMBIGUOUS
    assert paths(captured) == ["POST /models/acme/flux/predictions", "POST /predictions/p1/cancel"]
    assert captured[-1].headers["authorization"] == "Bearer secret"


async def test_nothing_is_sent_after_the_deadline(services: Services) -> None:
    async with capture(SUCCEEDED) as (base, captured):
        driven = await run(services, "replicate", base, seconds=-1.0)
    assert isinstance(driven.outcome, Failed)
    assert driven.outcome.cause is Cause.UNAVAILABLE
    assert captured == []


# -------------------------------------------------------------------------------------------------------------- inputs


def edit(*references: Media, mask: Media | None = None) -> MediaRequest:
    return MediaRequest(Operation.EDIT, prompt="a fox", references=references, mask=mask)


async def test_an_input_behind_a_private_address_is_the_callers_mistake_and_says_why(services: Services) -> None:
    async with capture(PNG, content_type="image/png") as (inside, fetched), capture(B64) as (base, bought):
        driven = await run(services, "openai_images", base, edit(Media(url=f"{inside}/fox.png")))
    message = "an input picture could not be fetched: its address is not public"
    assert driven.outcome == Failed(Cause.INVALID, message)
    assert fetched == []
    assert bought == []


async def test_an_input_by_url_is_fetched_without_a_key_where_the_wire_takes_bytes_only(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "is_public", lambda address: True)
    picture = PNG + b"the caller's fox"
    async with capture(picture, content_type="image/png") as (outside, fetched), capture(B64) as (base, bought):
        driven = await run(services, "openai_images", base, edit(Media(url=f"{outside}/fox.png")))
    assert isinstance(driven.outcome, Done)
    assert paths(fetched) == ["GET /fox.png"]
    assert "authorization" not in fetched[0].headers
    assert picture in [value for _, _, value in bought[0].parts()]


async def test_an_input_by_url_is_handed_on_where_the_wire_takes_urls(services: Services) -> None:
    options = {"inputs": {"references": "image"}}
    async with capture(SUCCEEDED) as (base, captured):
        await run(services, "replicate", base, edit(Media(url="https://app.test/fox.png")), options=options)
    assert paths(captured) == ["POST /models/acme/flux/predictions"]
    assert captured[0].json()["input"]["image"] == "https://app.test/fox.png"


async def test_large_inputs_are_uploaded_first_and_small_ones_go_inline(services: Services) -> None:
    large, small = PNG + bytes(replicate.UPLOAD_ABOVE), PNG + b"small"
    options = {"inputs": {"references": "image_input[]", "mask": "mask"}}
    stored = {"urls": {"get": "https://files.test/large"}}
    request = edit(Media(data=small, mime="image/png"), Media(data=large, mime="image/png"), mask=Media(data=small))
    async with capture(stored, SUCCEEDED) as (base, captured):
        driven = await run(services, "replicate", base, request, options=options)
    assert isinstance(driven.outcome, Done)
    assert paths(captured) == ["POST /files", "POST /models/acme/flux/predictions"]
    assert captured[0].parts() == [("content", "image/png", large)]
    sent = captured[1].json()["input"]
    assert sent["image_input"][0].startswith("data:image/png;base64,")
    assert sent["image_input"][1] == "https://files.test/large"
    assert sent["mask"].startswith("data:")
    assert {call.headers["authorization"] for call in captured} == {"Bearer secret"}


async def test_an_upload_that_fails_buys_nothing(services: Services) -> None:
    request = edit(Media(data=PNG + bytes(replicate.UPLOAD_ABOVE)))
    async with capture({"id": "f1"}) as (base, captured):
        driven = await run(services, "replicate", base, request, options={"inputs": {"references": "image"}})
    assert driven.outcome == Failed(Cause.MALFORMED, "the file was stored without a URL")
    assert paths(captured) == ["POST /files"]


@pytest.mark.parametrize(
    ("references", "mask"), [(2, None), (1, Media(data=PNG))], ids=["a second reference", "a mask"]
)
async def test_a_deployment_that_would_lose_an_input_is_not_asked(
    services: Services, references: int, mask: Media | None
) -> None:
    request = edit(*[Media(data=PNG)] * references, mask=mask)
    async with capture(SUCCEEDED) as (base, captured):
        driven = await run(services, "replicate", base, request, options={"inputs": {"references": "image"}})
    assert driven.outcome == Failed(Cause.UNSUPPORTED, "flux@host would lose input pictures")
    assert captured == []


# ------------------------------------------------------------------------------------------------------------ pictures

NO_PICTURE = {"data": [{"b64_json": b64encode(b"<html>busy</html>").decode()}]}


async def test_what_is_no_picture_is_a_failed_purchase_that_is_still_paid_for(services: Services) -> None:
    async with capture(NO_PICTURE) as (base, _):
        driven = await run(services, "openai_images", base)
    assert isinstance(driven.outcome, Failed)
    assert driven.outcome.cause is Cause.MALFORMED
    assert driven.cost == 1.0
    assert 'muxel_attempts_total{model="flux",outcome="malformed",provider="host"} 1.0' in exposition(services)


async def test_one_picture_of_several_that_cannot_be_had_leaves_the_others(services: Services) -> None:
    both = {"data": [*B64["data"], *NO_PICTURE["data"]]}
    async with capture(both) as (base, _):
        driven = await run(services, "openai_images", base, replace(FOX, n=2), most=2)
    assert isinstance(driven.outcome, Done)
    assert [artifact.media.data for artifact in driven.outcome.artifacts] == [DOT]
    assert driven.missing == 1


def exposition(services: Services) -> str:
    return services.metrics.exposition().decode()
