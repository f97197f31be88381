"""What a trace tells of a request, what it never tells, and that nobody waits for it."""

import asyncio
import base64
import logging
import os
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Span, SpanKind, StatusCode

from adapters.ir import Cause, Failed
from proxy import calls, tracing
from proxy.tasks import spawn
from proxy.tracing import Tracing, describe_failure, end_server, from_environment, traceparent
from tests.proxy.conftest import Build, World
from tests.proxy.test_exchange import GENERATE, PRODUCT, QUICK_RETRY

FLUX = "flux-2-pro@bfl"  # is polled
GPT = "gpt-image-2-medium@openai"  # answers in one call
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

# A collector that is not there is what some of these tests are about; its exporter need not say so in their output.
logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
logging.getLogger("opentelemetry.sdk").setLevel(logging.CRITICAL)


class Spans(InMemorySpanExporter):
    """The spans that have ended, found by what they are."""

    def of(self, kind: SpanKind, name: str = "") -> list[ReadableSpan]:
        spans: Sequence[ReadableSpan] = self.get_finished_spans()
        return [span for span in spans if span.kind is kind and span.name.startswith(name)]

    @property
    def server(self) -> ReadableSpan:
        (span,) = self.of(SpanKind.SERVER)
        return span

    @property
    def attempts(self) -> list[ReadableSpan]:
        return self.of(SpanKind.CLIENT, "generate_content ")

    @property
    def polls(self) -> list[ReadableSpan]:
        return self.of(SpanKind.CLIENT, "muxel.poll")


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture
async def world(build: Build, spans: Spans) -> World:
    return await build(QUICK_RETRY, SimpleSpanProcessor(spans))


def told(span: ReadableSpan) -> Mapping[str, Any]:
    assert span.attributes is not None
    return span.attributes


def ids(span: ReadableSpan) -> tuple[str, str]:
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


def parent_of(span: ReadableSpan) -> tuple[str, str]:
    assert span.parent is not None
    return f"{span.parent.trace_id:032x}", f"{span.parent.span_id:016x}"


def request_span(tracer: Tracing, **headers: str) -> Span:
    return tracer.server(GENERATE, "POST", GENERATE, headers)


# ------------------------------------------------------------------------------------------------------ one request


async def test_a_request_is_one_trace_of_three_spans(world: World, spans: Spans) -> None:
    reply = await world.post(GENERATE, PRODUCT, x_muxel_model=GPT)
    assert reply.status == 200
    server, (attempt,), (decision,) = spans.server, spans.attempts, spans.of(SpanKind.INTERNAL)
    assert len(spans.get_finished_spans()) == 3
    assert server.parent is None
    assert parent_of(decision) == parent_of(attempt) == ids(server)
    assert server.name == f"POST {GENERATE}"
    assert told(server) == {
        "http.request.method": "POST",
        "http.route": GENERATE,
        "url.path": GENERATE,
        "url.scheme": "http",
        "http.response.status_code": 200,
        "muxel.decision": reply.headers["x-muxel-decision"],
        "muxel.outcome": "ok",
        "muxel.deployment": GPT,
        "gen_ai.usage.cost.amount": pytest.approx(float(reply.headers["x-muxel-cost-usd"])),
    }
    assert attempt.name == "generate_content gpt-image-2-medium"
    assert told(attempt)["gen_ai.provider.name"] == "openai"
    assert told(attempt)["gen_ai.output.type"] == "image"
    assert told(attempt)["muxel.deployment"] == GPT
    assert told(attempt)["http.response.status_code"] == 200
    assert attempt.status.status_code is StatusCode.UNSET


async def test_the_span_of_a_decision_says_what_a_dry_run_says(world: World, spans: Spans) -> None:
    dry = await (await world.post(GENERATE, PRODUCT, x_muxel_dry_run="true")).json()
    (span,) = spans.of(SpanKind.INTERNAL)
    decision = told(span)
    assert span.name == "muxel.decide"
    assert decision["muxel.task"] == dry["traits"]["task"] == "product_photo"
    assert decision["muxel.task.confidence"] == pytest.approx(dry["traits"]["confidence"], abs=0.001)
    assert decision["muxel.tier"] == dry["tier"]
    assert decision["muxel.policy.hash"] == dry["policy_hash"]
    candidates = [row["deployment"] for row in (dry["chosen"], *dry["fallbacks"])]
    assert decision["muxel.candidates"].split(",") == candidates
    rejected = [f"{row['deployment']}:{row['code']}" for row in dry["rejected"]]
    assert decision["muxel.rejected"].split(",") == rejected
    assert rejected
    assert spans.attempts == []


async def test_every_attempt_has_a_span_and_a_failed_one_names_its_cause(world: World, spans: Spans) -> None:
    first = (await world.post(GENERATE, PRODUCT)).headers["x-muxel-provider"]
    spans.clear()
    world.faults.put({"provider": first, "down": 1})
    assert (await world.post(GENERATE, PRODUCT)).status == 200
    failed, succeeded = sorted(spans.attempts, key=lambda span: span.start_time or 0)
    assert told(failed)["gen_ai.provider.name"] == first
    assert told(failed)["error.type"] == "unavailable"
    assert told(failed)["http.response.status_code"] == 503
    assert failed.status.status_code is StatusCode.ERROR
    assert "http.request.resend_count" not in told(failed)
    assert told(succeeded)["http.request.resend_count"] == 1
    assert "error.type" not in told(succeeded)
    assert spans.server.status.status_code is StatusCode.UNSET


async def test_polls_are_below_their_attempt_and_linked_to_it(world: World, spans: Spans) -> None:
    await world.post(GENERATE, PRODUCT, x_muxel_model=FLUX)
    (attempt,) = spans.attempts
    assert spans.polls, "the provider answered at once"
    for poll in spans.polls:
        assert parent_of(poll) == ids(attempt)
        assert [link.context.span_id for link in poll.links] == [attempt.context.span_id]
        assert "error.type" not in told(poll)


async def test_a_poll_that_fails_says_so(world: World, spans: Spans, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "_POLL_MAX", 0.0)
    world.faults.put({"provider": "bfl", "poll_error": 1})
    await world.post(GENERATE, PRODUCT, x_muxel_model=FLUX)
    assert {told(span)["error.type"] for span in (*spans.polls, *spans.attempts)} == {"unavailable"}


async def test_only_our_own_failure_is_an_error_of_the_server(world: World, spans: Spans) -> None:
    await world.post(GENERATE, {"prompt": 1})
    assert told(spans.server)["http.response.status_code"] == 400
    assert spans.server.status.status_code is StatusCode.UNSET
    spans.clear()
    world.faults.put({"provider": "*", "down": 1})
    await world.post(GENERATE, PRODUCT, x_muxel_model=GPT)
    assert told(spans.server)["error.type"] == "503"
    assert told(spans.server)["muxel.outcome"] == "unavailable"
    assert spans.server.status.status_code is StatusCode.ERROR


# ------------------------------------------------------------------------------------------- from caller to provider


async def test_the_callers_trace_goes_on_through_us_to_the_provider(world: World, spans: Spans) -> None:
    await world.post(GENERATE, PRODUCT, x_muxel_model=FLUX, traceparent=f"00-{TRACE}-{PARENT}-01")
    assert parent_of(spans.server) == (TRACE, PARENT)
    assert {span.context.trace_id for span in spans.get_finished_spans()} == {int(TRACE, 16)}
    sent = {request["action"]: request["headers"]["traceparent"] for request in await world.upstream_requests("bfl")}
    assert sent["submit"] == f"00-{TRACE}-{ids(spans.attempts[0])[1]}-01"
    assert sent["poll"] == f"00-{TRACE}-{ids(spans.polls[-1])[1]}-01"


async def test_a_caller_that_is_not_sampled_leaves_no_spans_and_its_wish_is_handed_on(
    world: World, spans: Spans
) -> None:
    await world.post(GENERATE, PRODUCT, x_muxel_model=GPT, traceparent=f"00-{TRACE}-{PARENT}-00")
    assert spans.get_finished_spans() == ()
    (sent,) = await world.upstream_requests("openai")
    version, trace_id, _, flags = sent["headers"]["traceparent"].split("-")
    assert (version, trace_id, flags) == ("00", TRACE, "00")


async def test_a_poll_is_linked_to_the_trace_that_bought_the_job(world: World, spans: Spans) -> None:
    body = {"prompt": "a lighthouse", "width": 256, "height": 256}
    submitted = await world.post("/bfl/v1/flux-2-pro", body, x_key="app", x_muxel_model=FLUX)
    (job,) = world.muxel.services.jobs._jobs.values()
    await job.ended.wait()
    bought = spans.server
    assert {span.context.trace_id for span in (*spans.attempts, *spans.polls)} == {bought.context.trace_id}
    spans.clear()
    async with world.http.get((await submitted.json())["polling_url"], headers={"x-key": "app"}) as polled:
        assert (await polled.json())["status"] == "Ready"
    assert spans.server.context.trace_id != bought.context.trace_id
    assert [link.context.span_id for link in spans.server.links] == [bought.context.span_id]


async def test_without_configuration_nothing_is_recorded_and_the_callers_trace_passes_through(build: Build) -> None:
    world = await build()
    header = f"00-{TRACE}-{PARENT}-01"
    span = request_span(world.muxel.services.tracing, traceparent=header)
    assert not span.is_recording()
    assert traceparent(request_span(world.muxel.services.tracing)) == {}
    await world.post(GENERATE, PRODUCT, x_muxel_model=GPT, traceparent=header)
    (sent,) = await world.upstream_requests("openai")
    assert sent["headers"]["traceparent"] == header


# ------------------------------------------------------------------------------------------------- what is never told

SECRETS = ("quuxly", "turquoise", "sk-very-secret")
PICTURE = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"a picture of the caller" * 20).decode()


REQUESTS: Sequence[tuple[str, Mapping[str, Any]]] = [
    (GENERATE, {"prompt": "a quuxly fox in a turquoise hat", "size": "512x512"}),
    (GENERATE, {"prompt": "a turquoise forbidden-sandbox-word", "size": "512x512"}),
    (GENERATE, {"prompt": "a quuxly fox", "size": "turquoise"}),
    (GENERATE, {"prompt": 'a sign that says "QUUXLY TURQUOISE"', "quality": "quuxly"}),
    (
        "/gemini/v1beta/models/gemini-3-pro-image:generateContent?key=sk-very-secret",
        {"contents": [{"parts": [{"text": "quuxly"}, {"inlineData": {"mimeType": "image/png", "data": PICTURE}}]}]},
    ),
    ("/replicate/v1/models/a/b/predictions", {"input": {"prompt": "quuxly", "image": PICTURE, "seed": "turquoise"}}),
    ("/bfl/v1/flux-2-pro", {"prompt": "quuxly", "input_image": PICTURE, "width": 256, "height": 256}),
]


@pytest.mark.parametrize("error", [0, 1], ids=["answered", "failed"])
async def test_prompts_pictures_and_keys_are_never_on_a_span(world: World, spans: Spans, error: int) -> None:
    world.faults.put({"provider": "*", "error": error})
    keys = {"authorization": "Bearer sk-very-secret", "x-key": "sk-very-secret", "x-goog-api-key": "sk-very-secret"}
    for path, body in REQUESTS:
        await world.post(path, body, **keys)
    for job in world.muxel.services.jobs._jobs.values():
        await job.ended.wait()
    assert len(spans.of(SpanKind.SERVER)) == len(REQUESTS)
    assert any("error.type" in told(span) for span in spans.attempts)
    for span in spans.get_finished_spans():
        text = span.to_json().lower()
        assert not [secret for secret in (*SECRETS, PICTURE[:32].lower()) if secret in text], text


def test_a_providers_words_stay_off_the_span_for_they_may_quote_the_prompt(spans: Spans) -> None:
    tracer = from_environment({}, "1.0", SimpleSpanProcessor(spans))
    span = request_span(tracer)
    describe_failure(span, Failed(Cause.REFUSED, "the prompt 'a quuxly fox' was flagged", code="moderation_blocked"))
    end_server(span, 400)
    assert told(spans.server)["error.type"] == "refused"
    assert told(spans.server)["muxel.provider.code"] == "moderation_blocked"
    assert "quuxly" not in spans.server.to_json()


# ------------------------------------------------------------------------------------------------------ the environment

COLLECTOR = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    ("environ", "on"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{COLLECTOR}/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": COLLECTOR}, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, False),
        ({"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, False),
        ({"OTEL_SDK_DISABLED": "True", "OTEL_TRACES_EXPORTER": "console"}, False),
        ({"OTEL_SDK_DISABLED": "false", "OTEL_EXPORTER_OTLP_ENDPOINT": COLLECTOR}, True),
    ],
)
async def test_the_standard_variables_switch_it_on_and_off(environ: dict[str, str], on: bool) -> None:
    tracer = from_environment(environ, "1.0")
    assert request_span(tracer).is_recording() is on
    await tracer.close()


async def test_an_exporter_we_do_not_have_is_told_and_not_just_ignored(caplog: pytest.LogCaptureFixture) -> None:
    tracer = from_environment({"OTEL_TRACES_EXPORTER": "zipkin"}, "1.0")
    assert not request_span(tracer).is_recording()
    assert "OTEL_TRACES_EXPORTER" in caplog.text


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, "muxel"),
        ({"OTEL_SERVICE_NAME": "pictures"}, "pictures"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=studio,team=art"}, "studio"),
    ],
)
def test_the_service_has_the_name_its_operator_gave_it(
    spans: Spans, environ: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable, value in environ.items():
        monkeypatch.setenv(variable, value)
    end_server(request_span(from_environment(os.environ, "1.0", SimpleSpanProcessor(spans))), 200)
    assert spans.server.resource.attributes["service.name"] == name
    assert spans.server.resource.attributes["service.version"] == "1.0"


@pytest.mark.parametrize("listens", [True, False], ids=["never answers", "is gone"])
async def test_a_dead_collector_holds_up_neither_a_request_nor_the_end(
    listens: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger="opentelemetry")
    monkeypatch.setattr(tracing, "_CLOSE_SECONDS", 0.5)
    with socket.socket() as collector:
        collector.bind(("127.0.0.1", 0))
        if listens:
            collector.listen()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.getsockname()[1]}")
        tracer = from_environment(os.environ, "1.0")
        begun = time.monotonic()
        for _ in range(3000):  # more than the exporter keeps waiting
            end_server(request_span(tracer), 200)
        assert time.monotonic() - begun < 3.0

        begun = time.monotonic()
        closing = spawn(tracer.close(), name="closing")
        await asyncio.sleep(0.05)
        assert not closing.done()
        assert time.monotonic() - begun < 0.4  # the event loop is free meanwhile
        await closing
        assert time.monotonic() - begun < 3.0
