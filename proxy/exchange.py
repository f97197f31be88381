"""One request, top to bottom: read, classify, decide, attempt, finish, answer.

``app`` makes an ``Exchange`` for every client request that creates something; ``submit`` uses its steps for jobs.
The order of the steps is the order of the methods; what each step knows is elsewhere. The answer comes in the caller's
own shape, and ``x-muxel-*`` headers say what was chosen and why.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace
from time import perf_counter_ns
from urllib.parse import urlsplit

import orjson
from opentelemetry.trace import Span

from adapters.fields import both_ways
from adapters.ir import (
    Artifact,
    Cause,
    ClientCall,
    ClientReply,
    Delivery,
    Done,
    Failed,
    Failure,
    InvalidRequest,
    Media,
    MediaRequest,
    MediaResult,
    Partial,
)
from adapters.registry import Wire
from policies.classify import classify
from policies.decide import decide
from policies.decision import Code, Decision
from policies.explain import as_dict, no_candidate_summary
from policies.load import Config
from policies.match import Policy
from policies.session import resume
from proxy.attempts import Limits
from proxy.media import NotAPicture, finish
from proxy.services import Services
from proxy.sessions import HEADER, open_session, token
from proxy.tasks import spawn
from proxy.tracing import trace_ids
from proxy.upstream import Chain, Driven

_log = logging.getLogger("muxel.request")
_OFF_LOOP_BYTES = 256 * 1024  # larger bodies are parsed in a thread, so that others are not held up
_HONOURED = frozenset(("quality", "format"))  # not told to the provider, but the tier and ``finish`` see to them
_PASSING = frozenset((Code.BREAKER, Code.CREDENTIAL))  # rejections that are no fault of the request


@dataclass(slots=True)
class Exchange:
    """One request under way, and what is known of it so far."""

    services: Services
    wire: Wire
    call: ClientCall
    span: Span
    id: str
    started: float
    config: Config  # the snapshot this request keeps to its end
    request: MediaRequest | None = None
    decision: Decision | None = None
    driven: Driven | None = None
    changes: tuple[str, ...] = ()
    decide_us: float = 0.0
    job: asyncio.Task[None] | None = None  # the work on it, where the caller was answered before its end

    # -------------------------------------------------------------------------------------------------- read and decide

    async def read(self) -> MediaRequest:
        """The canonical request. Raises InvalidRequest."""
        assert self.wire.client is not None
        if len(self.call.body) > _OFF_LOOP_BYTES:
            request = await asyncio.to_thread(self.wire.client.read_request, self.call)
        else:
            request = self.wire.client.read_request(self.call)
        if pictures := request.pictures:
            request = both_ways(request.with_pictures([self._own(picture) for picture in pictures]))
        self.request = request
        return request

    def _own(self, media: Media) -> Media:
        """A picture the caller stored with us, by its bytes: no upstream could fetch it from here."""
        ours = f"{self.origin}/media/"
        if not media.url.startswith(ours):
            return media
        kept = self.services.media.get(media.url.removeprefix(ours), self.services.wall())
        if kept is None:
            raise InvalidRequest("image", "the picture of that URL is no longer here")
        return kept

    @property
    def origin(self) -> str:
        """Scheme and host as the caller sees us."""
        parts = urlsplit(self.call.base_url)
        return f"{parts.scheme}://{parts.netloc}"

    def choose(self, request: MediaRequest) -> Decision:
        """Traits and the decision. Raises InvalidRequest for a policy or a model that does not exist."""
        services, catalog = self.services, self.config.catalog
        policy = self.policy(request)
        now, health = services.wall(), services.health.view(catalog, services.monotonic())
        keys = services.keyring.usable(catalog.providers, now)
        session = open_session(request, services.sealer)
        begun = perf_counter_ns()
        traits = classify(request, self.config.lexicon())
        decision = decide(request, traits, policy, catalog, health, now, credentials=keys, session=session)
        self.decide_us = (perf_counter_ns() - begun) / 1000
        services.metrics.decide_seconds.observe(self.decide_us / 1e6)
        services.tracing.decided(self.span, now, decision, self.config.hash)
        self.decision = decision
        if services.recorder:
            services.recorder.note(self.id, resume(request, decision.session), traits, session, self.config)
        if decision.unknown_model:
            name = "x-muxel-model" if request.ask.model else "model"
            raise InvalidRequest(name, f"the catalog has no model {decision.unknown_model[:80]!r}", status=404)
        return decision

    def policy(self, request: MediaRequest) -> Policy:
        name = request.ask.policy or "default"
        policy = self.config.policies.get(name)
        if policy is None:
            known = ", ".join(sorted(self.config.policies))
            raise InvalidRequest("x-muxel-policy", f"there is no policy {name[:80]!r}; known are {known}")
        return policy

    # ---------------------------------------------------------------------------------------------------------- attempt

    def chain(self, request: MediaRequest, decision: Decision) -> Chain | Failure:
        """What is to be tried; or why nothing can be."""
        if decision.refusal:
            return Failure(Cause.REFUSED, decision.refusal, code="policy_refusal", id=self.id)
        metrics, traits = self.services.metrics, decision.traits
        if not decision.candidates:
            metrics.rejections.labels(traits.task).inc()
            passing = any(rejection.code in _PASSING for rejection in decision.rejected)
            summary = no_candidate_summary(decision)
            return Failure(Cause.UNSUPPORTED, summary, status=503 if passing else 422, code="no_deployment", id=self.id)
        chosen = decision.candidates[0].deployment
        metrics.decisions.labels(traits.task, decision.tier.value, chosen.model.id, chosen.provider.name).inc()
        policy = self.policy(request)
        budget, fall_back = policy.resilience.attempts, policy.resilience.fall_back
        limits = Limits(
            candidates=len(decision.candidates),
            attempts=budget.max,
            per_deployment=budget.per_deployment,
            deadline=self.started + budget.deadline_seconds,
            backoff=budget.backoff_seconds,
            max_retry_after=budget.max_retry_after_seconds,
            after_refusal=fall_back.refused,
            after_ambiguous=fall_back.ambiguous,
            after_failed_job=fall_back.failed_job,
        )
        return Chain(self.services, _rewritten(request, decision), decision.candidates, limits, self.span)

    async def run(self, chain: Chain) -> MediaResult | Failure:
        """Drives the chain to its end and brings the pictures into the caller's form."""
        driven = self.driven = await chain.run()
        if isinstance(driven.outcome, Failed):
            return _failure(driven.outcome, self.id)
        return await self.finish(driven.outcome, chain.request)

    # ----------------------------------------------------------------------------------------------------------- finish

    async def finish(self, done: Done, request: MediaRequest) -> MediaResult | Failure:
        """The pictures measured, converted and hosted, as the caller wants them."""
        exact = self.policy(request).output.fit == "exact"
        pictures: list[Artifact] = []
        for artifact in done.artifacts:
            try:
                finished = await finish(artifact, request, exact=exact)
            except NotAPicture as error:
                return Failure(Cause.MALFORMED, str(error), id=self.id)
            self.changes += finished.changes
            pictures.append(self._hosted(finished.artifact, request))
        model = self.driven.candidate.deployment.model.id if self.driven else request.model
        return MediaResult(tuple(pictures), self.id, model, self.services.wall(), done.usage, done.text)

    def _hosted(self, artifact: Artifact, request: MediaRequest) -> Artifact:
        """Kept for the caller to fetch, where it asked for a URL."""
        if request.delivery is not Delivery.URL:
            return artifact
        name = self.services.media.put(artifact.media, self.services.wall())
        return replace(artifact, media=replace(artifact.media, url=f"{self.origin}/media/{name}"))

    # ----------------------------------------------------------------------------------------------------------- answer

    async def create(self) -> "ClientReply | Streaming":
        """The whole of a request whose caller waits for the answer."""
        chain = await self.prepare()
        if isinstance(chain, ClientReply):
            return chain
        if chain.request.stream and self.wire.events:
            return await self._stream(chain, chain.request)
        return self.answer(await self.run(chain))

    async def prepare(self) -> Chain | ClientReply:
        """What is to be tried; or the answer, where nothing is."""
        try:
            request = await self.read()
            decision = self.choose(request)
        except InvalidRequest as error:
            return self.refuse(error)
        if request.ask.dry_run:
            return self.dry_run(decision)
        chain = self.chain(request, decision)
        return self.answer(chain) if isinstance(chain, Failure) else chain

    async def _stream(self, chain: Chain, request: MediaRequest) -> "ClientReply | Streaming":
        """Waits for the first event before anything is sent: a failure until then is an ordinary error answer."""
        queue: asyncio.Queue[Partial | MediaResult | Failure] = asyncio.Queue()
        chain = replace(chain, on_partial=queue.put_nowait)

        async def work() -> None:
            outcome: MediaResult | Failure = Failure(Cause.MALFORMED, "Muxel failed", status=500, id=self.id)
            try:
                outcome = await self.run(chain)
            finally:
                queue.put_nowait(outcome)  # whatever happens, somebody waits for it

        task = spawn(work(), name=f"stream {self.id}", among=self.services.work)
        try:
            first = await queue.get()
        except asyncio.CancelledError:
            task.cancel()
            raise
        if isinstance(first, Failure):
            return self.answer(first)
        return Streaming(self, request, first, queue, task)

    def refuse(self, error: InvalidRequest) -> ClientReply:
        """The answer to a request that is wrong."""
        return self.answer(Failure(Cause.INVALID, error.message, error.field, error.status, id=self.id))

    def dry_run(self, decision: Decision) -> ClientReply:
        """The decision and nothing else: no upstream is called and nothing is spent."""
        body = orjson.dumps(as_dict(decision, self.config.hash, self.decide_us))
        self.note("dry_run", 200)
        return ClientReply(200, body, headers=self.headers())

    def answer(self, outcome: MediaResult | Failure) -> ClientReply:
        assert self.wire.client is not None
        if isinstance(outcome, Failure):
            reply = self.wire.client.write_error(outcome, self.request)
            self.note(outcome.cause.label, reply.status)
        else:
            assert self.request is not None
            reply = self.wire.client.write_reply(outcome, self.request)
            self.note("ok", reply.status)
        return ClientReply(reply.status, reply.body, reply.content_type, {**reply.headers, **self.headers()})

    def headers(self) -> dict[str, str]:
        """What was chosen, why, and what it cost, for the caller to see."""
        headers = {"x-muxel-decision": self.id}
        if decision := self.decision:
            headers["x-muxel-task"] = decision.traits.task
            headers["x-muxel-reason"] = decision.reason
            headers["Server-Timing"] = f"decide;dur={self.decide_us / 1000:.3f}"
            if token := self._session(decision):
                headers[HEADER] = token
            if decision.candidates:
                _name(
                    headers, decision.candidates[0].deployment.model.id, decision.candidates[0].deployment.provider.name
                )
        if driven := self.driven:
            _name(headers, driven.candidate.deployment.model.id, driven.candidate.deployment.provider.name)
            headers["x-muxel-attempts"] = str(driven.sent)
            headers["x-muxel-cost-usd"] = _dollars(driven)
            if lost := self._lost(driven):
                headers["x-muxel-dropped"] = ", ".join(lost)
        return headers

    def _session(self, decision: Decision) -> str:
        """The token for the caller's next frame, where the policy gives one and a picture is made."""
        driven = self.driven
        if not (decision.token and decision.candidates and self.request):
            return ""
        if driven is None:
            return token(self.request, decision, decision.candidates[0], None, self.services.sealer)
        if isinstance(driven.outcome, Failed):
            return ""
        return token(self.request, decision, driven.candidate, driven.outcome, self.services.sealer)

    def _lost(self, driven: Driven) -> tuple[str, ...]:
        """Everything of the request that did not come through as it was asked for."""
        missing = (f"n ({driven.missing} missing)",) if driven.missing else ()
        return (*(name for name in driven.dropped if name not in _HONOURED), *missing, *self.changes)

    def note(self, outcome: str, status: int) -> None:
        """The request's one line in the log, its metrics, and what its span ends with."""
        services, request, driven = self.services, self.request, self.driven
        seconds = services.monotonic() - self.started
        operation = request.operation.value if request else ""
        services.metrics.requests.labels(self.wire.name, operation, outcome).inc()
        services.metrics.request_seconds.labels(self.wire.name, operation).observe(seconds)
        chosen = driven.candidate.deployment.id if driven else ""
        cost = driven.cost if driven else None
        if self.span.is_recording():
            told: dict[str, str | float] = {"muxel.decision": self.id, "muxel.outcome": outcome}
            if chosen:
                told["muxel.deployment"] = chosen
            if cost is not None:
                told["gen_ai.usage.cost.amount"] = cost
            self.span.set_attributes(told)
        if not _log.isEnabledFor(logging.INFO):
            return
        trace_id, span_id = trace_ids(self.span)
        decision = self.decision
        fields = {
            "decision": self.id, "wire": self.wire.name, "operation": operation, "outcome": outcome, "status": status,
            "task": decision.traits.task if decision else "", "tier": decision.tier if decision else "",
            "rule": decision.rule if decision else "", "deployment": chosen, "attempts": driven.sent if driven else 0,
            "cost_usd": cost, "seconds": round(seconds, 4), "decide_us": round(self.decide_us, 1),
            "policy_hash": self.config.hash, "trace_id": trace_id, "span_id": span_id,
        }  # fmt: skip
        _log.info("request", extra={"fields": fields})


@dataclass(frozen=True, slots=True)
class Streaming:
    """An answer as events, the first of which is already there."""

    exchange: Exchange
    request: MediaRequest
    first: Partial | MediaResult
    queue: "asyncio.Queue[Partial | MediaResult | Failure]"
    task: "asyncio.Task[None]"

    async def events(self) -> AsyncGenerator[bytes]:
        """The bytes to send. Closing it before its end stops the work behind it."""
        face = self.exchange.wire.events
        assert face is not None
        event: Partial | MediaResult | Failure = self.first
        try:
            while isinstance(event, Partial):
                yield face.write_event(event, self.request)
                event = await self.queue.get()
            yield face.write_event(event, self.request)
            self.exchange.note(event.cause.label if isinstance(event, Failure) else "ok", 200)
        finally:
            self.task.cancel()


def _dollars(driven: Driven) -> str:
    """What the request cost. A failure that may have been billed is unknown, not free."""
    if driven.cost is not None:
        return f"{driven.cost:.6f}".rstrip("0").rstrip(".")
    free = isinstance(driven.outcome, Failed) and not driven.outcome.cause.may_be_billed
    return "0" if free else "unknown"


def _name(headers: dict[str, str], model: str, provider: str) -> None:
    headers["x-muxel-model"] = model
    headers["x-muxel-provider"] = provider


def _failure(failed: Failed, name: str) -> Failure:
    """An upstream's failure as the caller is told of it. What it says of our own key is not the caller's to read."""
    message = "the provider refused the credential it was given" if failed.cause is Cause.DENIED else failed.message
    return Failure(failed.cause, message, retry_after=failed.retry_after, code=failed.code, id=name)


def _rewritten(request: MediaRequest, decision: Decision) -> MediaRequest:
    """The request with what its session brings back, and what a rule adds to its prompt."""
    request = resume(request, decision.session)
    if decision.rewrite is None:
        return request
    rewrite = decision.rewrite
    prompt = f"{rewrite.prompt_prefix}{request.prompt}{rewrite.prompt_suffix}"
    return replace(request, prompt=prompt, negative_prompt=request.negative_prompt or rewrite.negative_prompt)
