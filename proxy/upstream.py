"""One chain of attempts: from a decision to the pictures, or to the reason there are none.

``exchange`` makes a ``Chain`` and runs it; ``attempts`` says what comes next and ``calls`` makes the calls; this module
ties them together: admit, write, send, poll, record, book, cancel. Where an upstream makes fewer pictures a call than
were asked for, an attempt is several calls at once, and what they brought is kept while the rest is tried again. Must
not know callers' wires, and decides nothing about models.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import Any

from opentelemetry.trace import Span

from adapters.ir import (
    Artifact,
    Cause,
    Done,
    Failed,
    InvalidRequest,
    MediaRequest,
    Partial,
    Pending,
    Step,
    UpstreamCall,
    Usage,
)
from policies.catalog import Deployment
from policies.decide import Candidate
from proxy import attempts, calls
from proxy.attempts import Finish, Limits, Send, Wait
from proxy.services import Services
from proxy.tasks import spawn
from proxy.tracing import describe_failure
from proxy.transport import EventStream


@dataclass(frozen=True, slots=True)
class Driven:
    """How a chain ended. ``candidate`` made the pictures, or was the last one tried; ``sent`` counts attempts;
    ``cost`` is dollars, None where any part of it is not known; ``missing`` is how many of the pictures asked for
    could not be had."""

    outcome: Done | Failed
    candidate: Candidate
    sent: int
    dropped: tuple[str, ...] = ()
    cost: float | None = None
    missing: int = 0


@dataclass(slots=True)
class _Attempt:
    """What one attempt leaves behind, for the record and for a cancellation."""

    span: Span
    accepted: bool = False  # a job was bought
    under_way: list[Mapping[str, Any]] = field(default_factory=list)  # the handles of those that have not ended
    dropped: tuple[str, ...] = ()


@dataclass(slots=True)
class _Basket:
    """What a chain has brought home so far."""

    done: list[Done] = field(default_factory=list)
    costs: list[float | None] = field(default_factory=list)
    maker: Candidate | None = None  # who made the latest of it

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        return tuple(artifact for done in self.done for artifact in done.artifacts)

    def total(self) -> Done:
        tokens_in = [done.usage.input_tokens for done in self.done if done.usage.input_tokens is not None]
        tokens_out = [done.usage.output_tokens for done in self.done if done.usage.output_tokens is not None]
        usage = Usage(self.cost(), sum(tokens_in) if tokens_in else None, sum(tokens_out) if tokens_out else None)
        return Done(self.artifacts, usage, "\n".join(done.text for done in self.done if done.text))

    def cost(self) -> float | None:
        known = [cost for cost in self.costs if cost is not None]
        return sum(known) if len(known) == len(self.costs) and known else None


def _nobody_accepts(deployment: Deployment, handle: Mapping[str, Any]) -> None: ...


def _nobody_watches(partial: Partial) -> None: ...


@dataclass(frozen=True, slots=True)
class Chain:
    """A request with the candidates to try. ``on_accepted`` hears of a job an upstream took on, ``on_partial`` of
    pictures on their way."""

    services: Services
    request: MediaRequest
    candidates: tuple[Candidate, ...]
    limits: Limits
    span: Span
    on_accepted: Callable[[Deployment, Mapping[str, Any]], None] = _nobody_accepts
    on_partial: Callable[[Partial], None] = _nobody_watches

    async def run(self) -> Driven:
        """Tries the candidates in order until all pictures are there, the budget is spent, or a cause forbids going
        on. Some pictures are better than none: a failure after the first of them ends in fewer, not in an error."""
        basket = _Basket()
        dropped: tuple[str, ...] = ()
        state, move = attempts.begin(self.limits)
        while True:
            match move:
                case Finish(outcome):
                    missing = self.request.n - len(basket.artifacts) if basket.done else 0
                    outcome = basket.total() if basket.done else outcome
                    candidate = basket.maker or self.candidates[state.candidate]
                    return Driven(outcome, candidate, state.sent, dropped, basket.cost(), max(missing, 0))
                case Wait(seconds):
                    await asyncio.sleep(seconds)
                    state, move = attempts.resume(state)
                case Send(index, resend):
                    step, attempt = await self._attempt(self.candidates[index], resend, basket)
                    now = self.services.monotonic()
                    if attempt is None:
                        assert isinstance(step, Failed)
                        state, move = attempts.skip(state, step, now)
                    else:
                        dropped = attempt.dropped
                        state, move = attempts.after(state, step, now, job=attempt.accepted)

    async def _attempt(
        self, candidate: Candidate, resend: int, basket: _Basket
    ) -> tuple[Done | Failed, _Attempt | None]:
        """What is still missing, bought at one deployment; no attempt if the breaker does not admit it."""
        services, deployment = self.services, candidate.deployment
        started = services.monotonic()
        ticket = services.breakers.admit(deployment.id, deployment.provider.name, started)
        if isinstance(ticket, str):
            return Failed(Cause.UNAVAILABLE, f"{deployment.id}: {ticket}"), None
        attempt = _Attempt(services.tracing.attempt(self.span, self.request, candidate, resend))
        cause: Cause | None = Cause.CANCELED
        retry_after = None
        try:
            step = await self._purchase(candidate, attempt, basket)
            cause = None
            if isinstance(step, Failed):
                cause, retry_after = step.cause, step.retry_after
                describe_failure(attempt.span, step)
                if cause is Cause.AMBIGUOUS and attempt.accepted:
                    services.book(candidate, None)
            return step, attempt
        except asyncio.CancelledError:
            for handle in attempt.under_way:
                cancel = calls.cancel(services, deployment, handle, attempt.span)
                spawn(cancel, name=f"cancel at {deployment.id}", among=services.work)
            if attempt.under_way:
                services.book(candidate, None)
            raise
        finally:
            now = services.monotonic()
            services.breakers.record(ticket, cause, now, seconds=now - started, retry_after=retry_after)
            services.health.record(deployment.id, cause, now - started, now)
            labels = (deployment.provider.name, deployment.model.id)
            services.metrics.attempts.labels(*labels, cause.label if cause else "ok").inc()
            services.metrics.attempt_seconds.labels(*labels).observe(now - started)
            attempt.span.end()

    async def _purchase(self, candidate: Candidate, attempt: _Attempt, basket: _Basket) -> Done | Failed:
        """As many calls at once as the missing pictures need; the first failure, if any, stands for them all."""
        request, deployment = self.request, candidate.deployment
        if request.seed is None and calls.wire_of(deployment).needs_seed:
            request = replace(request, seed=secrets.randbelow(2**31))
        if deployment.loras:
            request = replace(request, loras=(*request.loras, *deployment.loras))
        ready = await calls.inputs(self.services, deployment, request, self.limits.deadline, attempt.span)
        if isinstance(ready, Failed):
            return ready
        parts = _split(ready, len(basket.artifacts), deployment.limits.max_images)
        if len(parts) == 1:
            steps = [await self._buy(parts[0], candidate, attempt, basket)]
        else:
            steps = await asyncio.gather(*(self._buy(part, candidate, attempt, basket) for part in parts))
        for step in steps:
            if isinstance(step, Done):
                basket.done.append(step)
                basket.maker = candidate
        failures = [step for step in steps if isinstance(step, Failed)]
        return failures[0] if failures else steps[-1]

    async def _buy(
        self, request: MediaRequest, candidate: Candidate, attempt: _Attempt, basket: _Basket
    ) -> Done | Failed:
        """One call, polled to its end and paid for, whether or not its pictures can then be had."""
        services, deployment = self.services, candidate.deployment
        face = calls.wire_of(deployment).provider
        assert face is not None
        try:
            call = face.write_request(request, calls.target_of(deployment))
        except InvalidRequest as error:
            return Failed(Cause.UNSUPPORTED, f"{error.field}: {error.message}")
        attempt.dropped = call.dropped
        if call.media != len(request.pictures):
            return Failed(Cause.UNSUPPORTED, f"{deployment.id} would lose input pictures")
        step = await self._submit(deployment, call, attempt.span)
        if isinstance(step, Pending):
            handle = step.handle
            attempt.accepted = True
            attempt.under_way.append(handle)
            self.on_accepted(deployment, handle)
            step = await calls.poll(services, deployment, step, self.limits.deadline, attempt.span)
            attempt.under_way.remove(handle)
        if isinstance(step, Failed):
            return step
        share = _share(candidate, request.n / self.request.n)
        basket.costs.append(services.book(share, step.usage.cost_usd))
        return await calls.collect(services, deployment, step)

    async def _submit(self, deployment: Deployment, call: UpstreamCall, span: Span) -> Step:
        wire = calls.wire_of(deployment)
        reply = await calls.call(self.services, deployment, call, self.limits.deadline, span)
        if isinstance(reply, Failed):
            return reply
        if isinstance(reply, EventStream):
            return await self._listen(deployment, reply)
        span.set_attribute("http.response.status_code", reply.status)
        assert wire.provider is not None
        return wire.provider.read_reply(reply)

    async def _listen(self, deployment: Deployment, stream: EventStream) -> Done | Failed:
        """Hands partial pictures on until the stream says how it ends."""
        face = calls.wire_of(deployment).stream
        assert face is not None
        async with aclosing(stream.events) as events:
            async for event in events:
                match event if isinstance(event, Failed) else face.read_event(event):
                    case Partial() as partial:
                        self.on_partial(partial)
                    case Done() | Failed() as step:
                        return step
                    case None:
                        pass
        return Failed(Cause.MALFORMED, "the stream ended without a picture")


def _split(request: MediaRequest, have: int, most: int) -> list[MediaRequest]:
    """What is still missing of the request, in parts of at most ``most`` pictures. A seed counts up, so that the
    pictures differ and each can be made again."""
    if not have and request.n <= most:
        return [request]
    return [
        replace(request, n=min(most, request.n - start), seed=None if request.seed is None else request.seed + start)
        for start in range(have, request.n, most)
    ]


def _share(candidate: Candidate, share: float) -> Candidate:
    """The candidate with the price of a share of the pictures."""
    if share == 1 or candidate.price_usd is None:
        return candidate
    return candidate._replace(price_usd=candidate.price_usd * share)
