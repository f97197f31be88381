"""What to do after each upstream answer: send, wait or finish. A pure machine; ``exchange`` drives it.

Knows the attempt budget, the deadline and what the causes say of retries and fallbacks. Must not know wires, sockets
or clocks: time is an argument, in seconds on any one clock.
"""

from dataclasses import dataclass, replace

from adapters.ir import Cause, Done, Failed, FallBack, Retry


@dataclass(frozen=True, slots=True)
class Limits:
    """One budget over the whole chain. ``candidates`` is how many deployments the decision lists."""

    candidates: int
    attempts: int
    per_deployment: int
    deadline: float  # absolute
    backoff: float  # seconds before the first retry of the same deployment; doubles
    max_retry_after: float  # a longer wait than this is not waited for
    after_refusal: bool = False  # may fall back after REFUSED
    after_ambiguous: bool = False
    after_failed_job: bool = True


@dataclass(frozen=True, slots=True)
class State:
    limits: Limits
    candidate: int = 0
    sent_here: int = 0  # to the current candidate
    sent: int = 0
    failures: tuple[Failed, ...] = ()


@dataclass(frozen=True, slots=True)
class Send:
    """One upstream call to the candidate of that index; ``resend`` counts earlier calls for this request."""

    candidate: int
    resend: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Then ``resume``."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Finish:
    outcome: Done | Failed


Move = Send | Wait | Finish


def begin(limits: Limits) -> tuple[State, Move]:
    if limits.candidates == 0:
        raise ValueError("a decision without candidates cannot be attempted")
    return _send(State(limits))


def resume(state: State) -> tuple[State, Move]:
    """After the wait: the same candidate again."""
    return _send(state)


def skip(state: State, reason: Failed, now: float) -> tuple[State, Move]:
    """The candidate was not called at all (its breaker is open): on to the next, at no cost to the budget."""
    state = replace(state, sent=state.sent - 1, failures=(*state.failures, reason))
    return _fall_back(state, now) or (state, Finish(_verdict(state)))


def after(state: State, step: Done | Failed, now: float, *, job: bool = False) -> tuple[State, Move]:
    """An attempt has ended. ``job``: it failed after the upstream had accepted it; another is a new purchase."""
    if isinstance(step, Done):
        return state, Finish(step)
    state = replace(state, failures=(*state.failures, step))
    if not _may_go_on(state.limits, step.cause, job):
        return state, Finish(step)
    if step.cause.retry is Retry.BUDGETED and not job and (waiting := _retry(state, step, now)):
        return waiting
    if moved_on := _fall_back(state, now):
        return moved_on
    if step.cause.retry is Retry.AFTER and (waiting := _retry(state, step, now)):
        return waiting
    return state, Finish(_verdict(state))


def _may_go_on(limits: Limits, cause: Cause, job: bool) -> bool:
    match cause.fall_back:
        case FallBack.NEVER:
            return False
        case FallBack.OPT_IN:
            return limits.after_refusal if cause is Cause.REFUSED else limits.after_ambiguous
        case FallBack.ALWAYS:
            return limits.after_failed_job or not job


def _retry(state: State, step: Failed, now: float) -> tuple[State, Move] | None:
    """The same candidate again, where budget, deadline and the time the upstream asked for allow it."""
    limits = state.limits
    delay = step.retry_after if step.retry_after is not None else limits.backoff * 2 ** (state.sent_here - 1)
    if state.sent >= limits.attempts or state.sent_here >= limits.per_deployment:
        return None
    if delay > limits.max_retry_after or now + delay >= limits.deadline:
        return None
    return state, Wait(delay)


def _fall_back(state: State, now: float) -> tuple[State, Move] | None:
    limits = state.limits
    last = state.candidate + 1 >= limits.candidates
    if last or state.sent >= limits.attempts or now >= limits.deadline:
        return None
    return _send(replace(state, candidate=state.candidate + 1, sent_here=0))


def _send(state: State) -> tuple[State, Move]:
    sent = replace(state, sent_here=state.sent_here + 1, sent=state.sent + 1)
    return sent, Send(state.candidate, state.sent)


def _verdict(state: State) -> Failed:
    """What the caller is told when nothing is left to try: the last failure, or that everything was throttled."""
    last = state.failures[-1]
    throttled = [failure for failure in state.failures if failure.cause is Cause.THROTTLED]
    if len(throttled) == len(state.failures):
        waits = [failure.retry_after for failure in throttled if failure.retry_after is not None]
        return replace(last, retry_after=min(waits, default=None))
    return last
