"""The gate around pybreaker: what the bare state machine gets wrong under concurrency, and what causes mean to it."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from adapters.ir import Cause, Vote
from policies.match import Breaker
from proxy.breaker import Breakers, Ticket

SETTINGS = Breaker(
    failure_rate=0.5, min_calls=4, window_seconds=60.0, open_seconds=30.0, half_open_trials=2, slow_seconds=None
)
NAMES = ("flux@bfl", "bfl")


def admitted(breakers: Breakers, now: float = 0.0) -> Ticket:
    ticket = breakers.admit(*NAMES, now)
    assert isinstance(ticket, Ticket), ticket
    return ticket


def call(breakers: Breakers, cause: Cause | None, now: float = 0.0, **told: float) -> None:
    breakers.record(admitted(breakers, now), cause, now, **told)


def tripped() -> Breakers:
    breakers = Breakers(SETTINGS)
    for _ in range(4):
        call(breakers, Cause.UNAVAILABLE)
    return breakers


def test_it_opens_at_the_failure_rate_and_not_before_enough_calls() -> None:
    breakers = Breakers(SETTINGS)
    for cause in (Cause.UNAVAILABLE, Cause.MALFORMED, None):
        call(breakers, cause)
        assert breakers.blocked(*NAMES, 0.0) == ""
    call(breakers, None)
    assert breakers.states() == {"flux@bfl": "closed"}  # two of four failed, but a success never trips it
    call(breakers, Cause.AMBIGUOUS)
    assert breakers.states() == {"flux@bfl": "open"}
    assert breakers.admit(*NAMES, 1.0) == "the breaker is open for 29 s more"


def test_old_failures_are_forgotten() -> None:
    breakers = Breakers(SETTINGS)
    for now in (0.0, 1.0, 2.0, 70.0, 80.0):
        call(breakers, Cause.UNAVAILABLE, now)
    assert breakers.states() == {"flux@bfl": "closed"}


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause.vote in (Vote.NEUTRAL, Vote.COOL_DOWN)])
def test_what_is_no_fault_of_the_deployment_never_opens_it(cause: Cause) -> None:
    breakers = Breakers(SETTINGS)
    for now in range(20):
        call(breakers, cause, float(now * 2))
    assert breakers.states() == {"flux@bfl": "closed"}


def test_half_open_admits_only_its_trials_however_many_ask() -> None:
    breakers = tripped()
    answers = [breakers.admit(*NAMES, 31.0) for _ in range(50)]
    assert sum(isinstance(answer, Ticket) for answer in answers) == 2
    assert breakers.blocked(*NAMES, 31.0) == "half open, trials under way"


def test_enough_good_trials_close_it() -> None:
    breakers = tripped()
    first, second = admitted(breakers, 31.0), admitted(breakers, 31.0)
    breakers.record(first, None, 32.0)
    assert breakers.states() == {"flux@bfl": "half-open"}
    breakers.record(second, None, 33.0)
    assert breakers.states() == {"flux@bfl": "closed"}


def test_a_bad_trial_opens_it_again_and_a_late_good_one_does_not_close_it() -> None:
    breakers = tripped()
    bad, late = admitted(breakers, 31.0), admitted(breakers, 31.0)
    breakers.record(bad, Cause.UNAVAILABLE, 32.0)
    breakers.record(late, None, 33.0)
    assert breakers.states() == {"flux@bfl": "open"}
    assert breakers.blocked(*NAMES, 61.0) != ""
    assert breakers.blocked(*NAMES, 62.0) == ""


def test_stragglers_of_before_the_trip_do_not_hold_it_open_longer() -> None:
    breakers = Breakers(SETTINGS)
    stragglers = [admitted(breakers) for _ in range(10)]
    for ticket in stragglers[:4]:
        breakers.record(ticket, Cause.UNAVAILABLE, 1.0)
    for ticket in stragglers[4:]:
        breakers.record(ticket, Cause.UNAVAILABLE, 25.0)
    assert breakers.blocked(*NAMES, 31.0) == ""


def test_a_caller_who_hangs_up_in_half_open_gives_the_trial_back() -> None:
    breakers = tripped()
    tickets = [admitted(breakers, 31.0), admitted(breakers, 31.0)]
    breakers.record(tickets[0], Cause.CANCELED, 32.0)
    assert isinstance(breakers.admit(*NAMES, 33.0), Ticket)
    assert breakers.states() == {"flux@bfl": "half-open"}


def test_cooling_down_lasts_to_the_later_of_two_deadlines() -> None:
    breakers = Breakers(SETTINGS)
    long, short = admitted(breakers), admitted(breakers)
    breakers.record(long, Cause.THROTTLED, 0.0, retry_after=60.0)
    breakers.record(short, Cause.THROTTLED, 1.0, retry_after=1.0)
    assert breakers.blocked(*NAMES, 59.0) != ""
    assert breakers.blocked(*NAMES, 60.0) == ""


def test_a_denied_credential_shuts_every_deployment_behind_it_and_no_other() -> None:
    breakers = Breakers(SETTINGS)
    call(breakers, Cause.DENIED)
    assert "credential" in breakers.blocked("flux-max@bfl", "bfl", 1.0)
    assert breakers.blocked("flux@replicate", "replicate", 1.0) == ""
    call(breakers, None, 61.0)
    assert breakers.blocked("flux-max@bfl", "bfl", 62.0) == ""


def test_a_slow_success_votes_as_a_failure_where_policy_says_so() -> None:
    breakers = Breakers(Breaker(0.5, 1, 60.0, 30.0, 1, slow_seconds=10.0))
    call(breakers, None, seconds=9.0)
    call(breakers, None, seconds=11.0)
    assert breakers.states() == {"flux@bfl": "open"}


def test_new_settings_take_effect_and_equal_ones_change_nothing() -> None:
    breakers = tripped()
    breakers.configure(Breaker(0.5, 4, 60.0, 30.0, 2, None))
    assert breakers.states() == {"flux@bfl": "open"}
    breakers.configure(Breaker(0.9, 4, 60.0, 30.0, 2, None))
    assert breakers.blocked(*NAMES, 0.0) == ""


class Gate(RuleBasedStateMachine):
    """Any order of admissions, outcomes and pauses keeps the promises of a breaker."""

    tickets = Bundle("tickets")

    def __init__(self) -> None:
        super().__init__()
        self.breakers = Breakers(SETTINGS)
        self.now = 0.0
        self.opened: float | None = None

    @rule(target=tickets)
    def admit(self) -> Ticket | None:
        said, ticket = self.breakers.blocked(*NAMES, self.now), self.breakers.admit(*NAMES, self.now)
        assert bool(said) == isinstance(ticket, str)
        return ticket if isinstance(ticket, Ticket) else None

    @rule(ticket=consumes(tickets), cause=st.sampled_from([None, Cause.UNAVAILABLE, Cause.CANCELED, Cause.INVALID]))
    def record(self, ticket: Ticket | None, cause: Cause | None) -> None:
        if ticket is None:
            return
        before = self.breakers.states()
        self.breakers.record(ticket, cause, self.now)
        after = self.breakers.states()
        if before != after and after["flux@bfl"] == "open":
            assert cause is Cause.UNAVAILABLE
            self.opened = self.now
        if cause is not None and cause.vote is Vote.NEUTRAL:
            assert before == after

    @rule(seconds=st.floats(0.1, 40.0))
    def pause(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def open_means_shut_for_its_whole_time(self) -> None:
        if self.breakers.states().get("flux@bfl") == "open" and self.opened is not None:
            shut = bool(self.breakers.blocked(*NAMES, self.now))
            assert shut == (self.now < self.opened + SETTINGS.open_seconds)


Gate.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestGate = Gate.TestCase
