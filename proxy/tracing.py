"""Traces: one SERVER span a request, one span for the decision, one CLIENT span an attempt, all opened here by hand.

Switched on by the standard ``OTEL_*`` environment alone. Automatic instrumentation would cost four times as much and
could not say why a model was chosen. Attribute names are the released GenAI and HTTP conventions, in one place. No
prompt, picture or key is ever an attribute. ``exchange`` and ``app`` are the callers.
"""

import asyncio
import logging
from collections.abc import Mapping
from threading import Thread

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import Link, Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from adapters.ir import Failed, MediaRequest
from policies.decide import Candidate, Decision

_log = logging.getLogger("muxel.tracing")
_propagator = TraceContextTextMapPropagator()
_MODALITY = {"image": "image", "video": "video", "model3d": "3d"}
_CLOSE_SECONDS = 2.0


class Tracing:
    """A tracer, and whether anybody listens."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("muxel") if provider else trace.NoOpTracer()

    def server(self, route: str, method: str, path: str, headers: Mapping[str, str], scheme: str = "http") -> Span:
        """The span of a caller's request, continuing the trace its headers (lower case) name; for ``end_server``."""
        parent = _propagator.extract(headers) if "traceparent" in headers else Context()
        attributes = {
            "http.request.method": method,
            "http.route": route,
            "url.path": path,
            "url.scheme": scheme,
        }
        return self._tracer.start_span(f"{method} {route}", parent, SpanKind.SERVER, attributes)

    def decided(self, parent: Span, begun: float, decision: Decision, policy_hash: str) -> None:
        """The span of a decision that ``begun`` seconds since the epoch, written and ended in one go: the SDK's locks
        and checks are what a span costs."""
        if parent.is_recording():
            context = trace.set_span_in_context(parent, Context())
            attributes = _decision_attributes(decision, policy_hash)
            self._tracer.start_span("muxel.decide", context, attributes=attributes, start_time=int(begun * 1e9)).end()

    def attempt(self, parent: Span, request: MediaRequest, candidate: Candidate, resend: int) -> Span:
        """The span of one upstream attempt, its polls included."""
        deployment = candidate.deployment
        attributes: dict[str, str | int | float] = {
            "gen_ai.operation.name": "generate_content",
            "gen_ai.provider.name": deployment.provider.name,
            "gen_ai.request.model": deployment.remote,
            "gen_ai.output.type": _MODALITY[request.operation.partition(".")[0]],
            "muxel.deployment": deployment.id,
        }
        if request.n > 1:
            attributes["gen_ai.request.choice.count"] = request.n
        if resend:
            attributes["http.request.resend_count"] = resend
        context = trace.set_span_in_context(parent, Context())
        return self._tracer.start_span(f"generate_content {deployment.model.id}", context, SpanKind.CLIENT, attributes)

    def poll(self, attempt: Span) -> Span:
        """The span of one look at a job, below the span that asks and linked to it."""
        links = [Link(attempt.get_span_context())]
        context = trace.set_span_in_context(attempt, Context())
        return self._tracer.start_span("muxel.poll", context, SpanKind.CLIENT, links=links)

    async def close(self) -> None:
        """Sends what is waiting. The SDK tries for 30 s and longer; where the collector is gone, the end of the process
        waits only ``_CLOSE_SECONDS`` for it."""
        if self._provider:
            closing = Thread(target=self._provider.shutdown, daemon=True, name="tracing")
            closing.start()
            await asyncio.to_thread(closing.join, _CLOSE_SECONDS)


def from_environment(environ: Mapping[str, str], version: str, *processors: SpanProcessor) -> Tracing:
    """Tracing as the standard variables ask for it: on when an OTLP endpoint or an exporter is named. ``processors``
    are added whatever they say, for tests and measurements."""
    named = environ.get("OTEL_TRACES_EXPORTER", "")
    if named not in ("", "otlp", "console", "none"):
        _log.warning("OTEL_TRACES_EXPORTER is none of otlp, console and none: there will be no traces")
    endpoint = environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    disabled = environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or named == "none"
    export = not disabled and (named in ("otlp", "console") or (not named and bool(endpoint)))
    if not export and not processors:
        return Tracing()
    ours = {"service.name": "muxel", "service.version": version}
    named_by_operator = OTELResourceDetector().detect().attributes
    provider = TracerProvider(resource=Resource.create({**ours, **named_by_operator}), shutdown_on_exit=False)
    for processor in processors:
        provider.add_span_processor(processor)
    if export:
        provider.add_span_processor(_exporter(named))
    return Tracing(provider)


def _exporter(named: str) -> SpanProcessor:
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter, SimpleSpanProcessor

    if named == "console":
        return SimpleSpanProcessor(ConsoleSpanExporter())
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return BatchSpanProcessor(OTLPSpanExporter())


def trace_ids(span: Span) -> tuple[str, str]:
    """Trace and span id in hex; empty when nobody traces."""
    context = span.get_span_context()
    if not context.is_valid:
        return "", ""
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def traceparent(span: Span) -> dict[str, str]:
    """The headers that hand this span on; none when nobody traces."""
    trace_id, span_id = trace_ids(span)
    if not trace_id:
        return {}
    flags = span.get_span_context().trace_flags
    carrier = {"traceparent": f"00-{trace_id}-{span_id}-{flags:02x}"}
    if state := span.get_span_context().trace_state.to_header():
        carrier["tracestate"] = state
    return carrier


def link(span: Span, header: str) -> None:
    """Links ``span`` to the one a stored traceparent names: a poll to the request that bought the job."""
    if header and span.is_recording():
        stored = trace.get_current_span(_propagator.extract({"traceparent": header}))
        span.add_link(stored.get_span_context())


def _decision_attributes(decision: Decision, policy_hash: str) -> dict[str, str | float]:
    """Traits, candidates and every rejection code. Lists are one text with commas between, the rejected as
    ``deployment:code``: the SDK looks at every element of a list, which would be the dearest part of a request. Floor
    and objective are in the reason."""
    traits = decision.traits
    attributes: dict[str, str | float] = {
        "muxel.task": traits.task,
        "muxel.task.confidence": round(traits.confidence, 3),
        "muxel.signals": "; ".join(traits.signals),
        "muxel.tier": decision.tier,
        "muxel.policy": decision.policy,
        "muxel.policy.hash": policy_hash,
        "muxel.reason": decision.reason,
        "muxel.candidates": ",".join([row.deployment.id for row in decision.candidates]),
        "muxel.rejected": decision.codes,
    }
    told = (("muxel.task.runner_up", traits.runner_up), ("muxel.rule", decision.rule), ("muxel.mark", decision.mark))
    attributes.update((name, value) for name, value in told if value)
    return attributes


def describe_failure(span: Span, failed: Failed) -> None:
    """Marks the span of an attempt or a poll as failed, by cause. Not with the provider's words: they may quote the
    prompt."""
    if span.is_recording():
        span.set_attribute("error.type", failed.cause.label)
        if failed.code:
            span.set_attribute("muxel.provider.code", failed.code)
        span.set_status(Status(StatusCode.ERROR))


def end_server(span: Span, status: int) -> None:
    """Ends the span of a caller's request, answered with that HTTP status."""
    span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_attribute("error.type", str(status))
        span.set_status(Status(StatusCode.ERROR))
    span.end()
