"""The attempt machine, played through: what it is told on the left, what it does on the right."""

from dataclasses import replace

import pytest

from adapters.ir import Cause, Done, Failed
from proxy.attempts import Finish, Limits, Move, Send, State, Wait, after, begin, resume, skip

DONE = Done(())
LIMITS = Limits(candidates=3, attempts=4, per_deployment=2, deadline=100.0, backoff=0.5, max_retry_after=20.0)


def failed(cause: Cause, retry_after: float | None = None) -> Failed:
    return Failed(cause, cause.label, retry_after)


def play(limits: Limits, *steps: Done | Failed, job: bool = False, now: float = 0.0) -> list[Move]:
    """The moves of a chain that is answered with ``steps`` in turn; waits are waited."""
    state, move = begin(limits)
    moves = [move]
    for step in steps:
        if isinstance(moves[-1], Wait):
            state, move = resume(state)
            moves.append(move)
        assert isinstance(moves[-1], Send), f"nothing was sent that could be answered with {step}"
        state, move = after(state, step, now, job=job)
        moves.append(move)
    return moves


def test_a_first_success_ends_the_chain() -> None:
    assert play(LIMITS, DONE) == [Send(0, 0), Finish(DONE)]


@pytest.mark.parametrize("cause", [Cause.INVALID, Cause.REFUSED, Cause.AMBIGUOUS, Cause.EXPIRED, Cause.CANCELED])
def test_what_may_not_be_bought_again_ends_the_chain(cause: Cause) -> None:
    assert play(LIMITS, failed(cause)) == [Send(0, 0), Finish(failed(cause))]


@pytest.mark.parametrize("cause", [Cause.UNSUPPORTED, Cause.DENIED, Cause.MALFORMED, Cause.THROTTLED])
def test_what_only_this_upstream_cannot_do_goes_to_the_next(cause: Cause) -> None:
    assert play(LIMITS, failed(cause), DONE) == [Send(0, 0), Send(1, 1), Finish(DONE)]


def test_an_outage_is_retried_with_doubling_waits_and_then_left() -> None:
    down = failed(Cause.UNAVAILABLE)
    limits = replace(LIMITS, attempts=9, per_deployment=3)
    assert play(limits, down, down, down, DONE) == [
        Send(0, 0), Wait(0.5), Send(0, 1), Wait(1.0), Send(0, 2), Send(1, 3), Finish(DONE),
    ]  # fmt: skip


def test_one_budget_covers_retries_and_fallbacks() -> None:
    down = failed(Cause.UNAVAILABLE)
    moves = play(LIMITS, down, down, down, down)
    assert [move for move in moves if isinstance(move, Send)] == [Send(0, 0), Send(0, 1), Send(1, 2), Send(1, 3)]
    assert moves[-1] == Finish(down)


def test_a_throttled_last_candidate_is_waited_for_as_long_as_it_asks() -> None:
    limits = replace(LIMITS, candidates=1)
    assert play(limits, failed(Cause.THROTTLED, 7.0), DONE) == [Send(0, 0), Wait(7.0), Send(0, 1), Finish(DONE)]


@pytest.mark.parametrize(("retry_after", "now"), [(21.0, 0.0), (7.0, 95.0)])
def test_a_wait_beyond_limit_or_deadline_is_not_waited(retry_after: float, now: float) -> None:
    throttled = failed(Cause.THROTTLED, retry_after)
    assert play(replace(LIMITS, candidates=1), throttled, now=now)[-1] == Finish(throttled)


def test_when_all_are_throttled_the_caller_hears_the_shortest_wait() -> None:
    limits = replace(LIMITS, candidates=2, max_retry_after=0.0)
    finish = play(limits, failed(Cause.THROTTLED, 30.0), failed(Cause.THROTTLED, 60.0))[-1]
    assert finish == Finish(failed(Cause.THROTTLED, 30.0))


def test_nothing_new_is_bought_after_the_deadline() -> None:
    assert play(LIMITS, failed(Cause.UNAVAILABLE), now=100.0)[-1] == Finish(failed(Cause.UNAVAILABLE))


def test_a_failed_job_is_never_bought_again_at_the_same_place() -> None:
    assert play(LIMITS, failed(Cause.UNAVAILABLE), DONE, job=True) == [Send(0, 0), Send(1, 1), Finish(DONE)]


def test_a_failed_job_is_not_bought_elsewhere_where_policy_says_no() -> None:
    limits = replace(LIMITS, after_failed_job=False)
    assert play(limits, failed(Cause.UNAVAILABLE), job=True) == [Send(0, 0), Finish(failed(Cause.UNAVAILABLE))]


@pytest.mark.parametrize(("cause", "option"), [(Cause.REFUSED, "after_refusal"), (Cause.AMBIGUOUS, "after_ambiguous")])
def test_refusals_and_unanswered_calls_fall_back_only_where_policy_opts_in(cause: Cause, option: str) -> None:
    limits = replace(LIMITS, **{option: True})  # type: ignore[arg-type]
    assert play(limits, failed(cause), DONE) == [Send(0, 0), Send(1, 1), Finish(DONE)]


def test_a_skipped_candidate_costs_no_attempt() -> None:
    state, move = begin(LIMITS)
    for expected in (Send(1, 0), Send(2, 0)):
        state, move = skip(state, failed(Cause.UNAVAILABLE), 0.0)
        assert move == expected
    state, move = skip(state, failed(Cause.UNAVAILABLE), 0.0)
    assert move == Finish(failed(Cause.UNAVAILABLE))
    assert state.sent == 0


def test_every_chain_ends_within_its_budget_whatever_happens() -> None:
    for cause in Cause:
        for attempts in range(1, 6):
            limits = replace(LIMITS, attempts=attempts, after_refusal=True, after_ambiguous=True)
            state, move = begin(limits)
            sends = 0
            while not isinstance(move, Finish):
                state, move, sends = _step(state, move, failed(cause, 1.0), sends)
            assert sends <= attempts


def _step(state: State, move: Move, step: Failed, sends: int) -> tuple[State, Move, int]:
    if isinstance(move, Wait):
        return *resume(state), sends
    return *after(state, step, 0.0), sends + 1
