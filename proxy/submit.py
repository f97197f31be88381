"""Callers that submit and poll: a job is an exchange in the background, and its id is enough to find it again.

``app`` calls it for wires with jobs. A poll is answered from this process where the job runs here, and otherwise from
the provider's own handle in the sealed id, so that any replica can. Must not know what a wire's answers look like.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import orjson

from adapters.ir import (
    Cause,
    ClientReply,
    Delivery,
    Done,
    Failed,
    Failure,
    InvalidRequest,
    Job,
    JobState,
    MediaRequest,
    MediaResult,
    Operation,
    PassThrough,
    Pending,
)
from adapters.replies import read_answer
from policies.catalog import Deployment
from proxy import calls, webhooks
from proxy.ask import caller_of
from proxy.exchange import Exchange
from proxy.jobs import SHORTEST, Running, Sealed
from proxy.tasks import spawn
from proxy.tracing import link, traceparent
from proxy.upstream import Chain

_ACCEPT_SECONDS = 2.0  # how long a submit waits to learn the provider's handle, which goes into the job's id
_LOOK_SECONDS = 20.0
_WATCH_SECONDS = 1.0  # between looks at a watched job
_ENDED = frozenset((JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED))
_ECHO_BYTES = 4096  # longer input fields are pictures, and are not echoed


async def submit(exchange: Exchange) -> ClientReply:
    """Starts a job and answers at once, or after the wait the caller asked for."""
    chain = await exchange.prepare()
    if isinstance(chain, ClientReply):
        return chain
    request = chain.request
    sealed, running = await _start(exchange, request, chain)
    if request.wait:
        await _within(request.wait, running.ended)
    name = exchange.services.sealer.seal(sealed, request.ask.caller)
    if request.webhook and exchange.wire.webhooks:
        caller = "" if exchange.wire.signs_publicly else request.ask.caller
        secret = exchange.services.sealer.secret(caller)
        follow = webhooks.follow(
            exchange.services, exchange.wire.webhooks, request.webhook, secret, running,
            lambda: _job(exchange, name, sealed, running),
        )  # fmt: skip
        spawn(follow, name=f"webhook of {sealed.key}", among=exchange.services.work)
    return _write(exchange, _job(exchange, name, sealed, running), exchange.headers())


async def poll(exchange: Exchange) -> ClientReply:
    """How a job is doing."""
    found = _find(exchange)
    if isinstance(found, ClientReply):
        return found
    name, sealed = found
    running = exchange.services.jobs.get(sealed.key, exchange.services.wall())
    job = _job(exchange, name, sealed, running) if running else await _look(exchange, name, sealed)
    return _write(exchange, job, {**(running.told if running else {}), "x-muxel-decision": exchange.id})


@dataclass(frozen=True, slots=True)
class Watching:
    """An answer that tells how a job is doing until it ends, each time that changes."""

    exchange: Exchange
    name: str
    sealed: Sealed

    async def events(self) -> AsyncGenerator[bytes]:
        exchange, face = self.exchange, self.exchange.wire.watched
        assert face is not None
        running = exchange.services.jobs.get(self.sealed.key, exchange.services.wall())
        told: JobState | None = None
        while told not in _ENDED:
            job = (
                _job(exchange, self.name, self.sealed, running)
                if running
                else await _look(exchange, self.name, self.sealed)
            )
            if job.state is not told:
                yield face.write_status(replace(job, route=exchange.call.route, params=exchange.call.params))
                told = job.state
            elif running:
                await _within(_WATCH_SECONDS, running.ended)
            else:
                await asyncio.sleep(_WATCH_SECONDS)


async def watch(exchange: Exchange) -> ClientReply | Watching:
    """A poll that goes on until the job has ended."""
    found = _find(exchange)
    return found if isinstance(found, ClientReply) else Watching(exchange, *found)


async def cancel(exchange: Exchange) -> ClientReply:
    """Stops a job, here and at the provider where it can be."""
    found = _find(exchange)
    if isinstance(found, ClientReply):
        return found
    name, sealed = found
    services = exchange.services
    running = services.jobs.get(sealed.key, services.wall())
    if running is not None:
        if running.task and running.outcome is None:
            running.task.cancel()
            await running.ended.wait()
        job = _job(exchange, name, sealed, running)
    else:
        if deployment := _deployment(exchange, sealed):
            await calls.cancel(services, deployment, sealed.handle, exchange.span)
        job = Job(name, JobState.CANCELED, exchange.call.base_url, sealed.model, sealed.created)
    return _write(exchange, job, {"x-muxel-decision": exchange.id})


# -------------------------------------------------------------------------------------------------------- one's own job


async def _start(exchange: Exchange, request: MediaRequest, chain: Chain) -> tuple[Sealed, Running]:
    services, first = exchange.services, chain.candidates[0].deployment
    created = services.wall()
    key, running = services.jobs.add(created)
    running.input = _echo(exchange.call.body)

    def accepted(deployment: Deployment, handle: Mapping[str, Any]) -> None:
        if request.n <= deployment.limits.max_images:
            running.deployment, running.handle = deployment.id, handle
        running.accepted.set()

    async def work() -> None:
        outcome: MediaResult | Failure = Failure(Cause.CANCELED, "the job was cancelled", id=exchange.id)
        try:
            outcome = await exchange.run(replace(chain, on_accepted=accepted))
        except Exception as error:
            outcome = Failure(Cause.MALFORMED, "Muxel failed while working on the job", status=500, id=exchange.id)
            raise error
        finally:
            running.told = exchange.headers()
            services.jobs.end(running, outcome, services.wall())
            exchange.note("ok" if isinstance(outcome, MediaResult) else outcome.cause.label, 200)

    exchange.job = running.task = spawn(work(), name=f"job {key}")
    if calls.wire_of(first).polling:
        await _within(_ACCEPT_SECONDS, running.accepted)
    form = {"size": request.size, "format": request.format, "delivery": request.delivery, "exact": exchange.exact}
    parent = traceparent(exchange.span).get("traceparent", "")
    sealed = Sealed(key, exchange.wire.name, request.model, created, running.deployment, running.handle, form, parent)
    return sealed, running


def _job(exchange: Exchange, name: str, sealed: Sealed, running: Running) -> Job:
    """A job that runs here, as its caller sees it."""
    job = Job(
        name, JobState.QUEUED, exchange.call.base_url, sealed.model, sealed.created, running.finished, running.input
    )
    match running.outcome:
        case None:
            return replace(job, state=JobState.RUNNING) if running.accepted.is_set() else job
        case Failure() as failure:
            return _failed(job, failure)
        case MediaResult() as result:
            return replace(job, state=JobState.SUCCEEDED, result=result)


def _failed(job: Job, failure: Failure) -> Job:
    state = JobState.CANCELED if failure.cause is Cause.CANCELED else JobState.FAILED
    return replace(job, state=state, failure=failure)


# ------------------------------------------------------------------------------------------------ another replica's job


async def _look(exchange: Exchange, name: str, sealed: Sealed) -> Job:
    """A job that another replica started, asked of the provider itself."""
    services = exchange.services
    job = Job(name, JobState.RUNNING, exchange.call.base_url, sealed.model, sealed.created)
    deployment = _deployment(exchange, sealed)
    if deployment is None:
        gone = "the replica that ran this job is gone, and its provider cannot be asked"
        return _failed(job, Failure(Cause.EXPIRED, gone, id=name))
    deadline = services.monotonic() + _LOOK_SECONDS
    step = await calls.look(services, deployment, sealed.handle, deadline, exchange.span)
    if isinstance(step, Done):
        step = await calls.collect(services, deployment, step)
    match step:
        case Done():
            form = sealed.form
            request = MediaRequest(
                Operation.GENERATE,
                model=sealed.model,
                size=tuple(form["size"]) if form["size"] else None,
                format=form["format"],
                delivery=Delivery(form["delivery"]),
            )
            outcome = await exchange.finish(step, request, exact=form.get("exact", True))
            if isinstance(outcome, Failure):
                return _failed(job, outcome)
            return replace(job, state=JobState.SUCCEEDED, result=outcome, finished=services.wall())
        case Failed(over=True):
            return _failed(job, Failure(step.cause, step.message, retry_after=step.retry_after, id=name))
        case Failed() | Pending():
            return job


def _deployment(exchange: Exchange, sealed: Sealed) -> Deployment | None:
    found = exchange.config.catalog.by_name.get(sealed.deployment, ()) if sealed.handle else ()
    return found[0] if found else None


# --------------------------------------------------------------------------------------------------------------- shared


def _find(exchange: Exchange) -> tuple[str, Sealed] | ClientReply:
    """The job the caller names; one of another caller is answered as unknown. Raises PassThrough."""
    jobs = exchange.wire.jobs
    assert jobs is not None
    try:
        name = jobs.read_id(exchange.call)
    except InvalidRequest as error:
        return exchange.refuse(error)
    sealed = exchange.services.sealer.open(name, caller_of(exchange.call.headers))
    if sealed is None and len(name) < SHORTEST:
        raise PassThrough  # an id of the provider's own, for a call that was handed on to it
    if sealed is None or sealed.wire != exchange.wire.name:
        return exchange.answer(Failure(Cause.EXPIRED, "there is no such job", field="id", id=name))
    link(exchange.span, sealed.trace)
    return name, sealed


def _write(exchange: Exchange, job: Job, headers: Mapping[str, str]) -> ClientReply:
    assert exchange.wire.jobs is not None
    call = exchange.call
    job = replace(job, route=call.route, params=call.params, accept=call.headers.get("accept", ""))
    reply = exchange.wire.jobs.write_job(job)
    return replace(reply, headers={**reply.headers, **headers})


async def _within(seconds: float, event: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _echo(body: bytes) -> Mapping[str, Any]:
    """What the caller wrote, for wires that echo it: the body's ``input`` where it has one, without the pictures."""
    fields = read_answer(body)
    given = fields.get("input")
    fields = given if isinstance(given, dict) else fields
    return {
        name: value
        for name, value in fields.items()
        if name != "webhook_secret" and len(orjson.dumps(value)) < _ECHO_BYTES
    }
