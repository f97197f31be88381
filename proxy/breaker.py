"""Who may be called now: circuit breakers around deployments and credentials.

pybreaker is the state machine. Alone under asyncio it admits everybody in half-open, counts a caller's hang-up as a
failure and lets late results vote, so it stands behind ``admit`` and ``record``: trial slots, a neutral vote, an epoch
that silences stragglers, and a sliding failure rate kept in its storage. ``exchange`` calls it around every attempt;
``health`` reads ``availability`` for decisions. Time is an argument, in seconds on a monotonic clock.
"""

from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pybreaker

from adapters.ir import Cause, Vote
from policies.match import Breaker as BreakerSettings

CREDENTIAL_SETTINGS = BreakerSettings(
    failure_rate=0.0, min_calls=1, window_seconds=1.0, open_seconds=60.0, half_open_trials=1, slow_seconds=None
)


class _Failure(Exception):
    """What a failing vote raises inside pybreaker; it never leaves this module."""


def _vote_success() -> None:
    return None


def _vote_failure() -> None:
    raise _Failure


class _RateWindow(pybreaker.CircuitMemoryStorage):
    """pybreaker's storage with a failure rate over time where it keeps a count: ``counter`` is 1 once the rate is
    reached, so the breaker runs with ``fail_max=1``."""

    def __init__(self, settings: BreakerSettings) -> None:
        self._settings = settings
        self._votes: deque[tuple[float, bool]] = deque()
        self.now = 0.0
        super().__init__(pybreaker.STATE_CLOSED)

    @property
    def state(self) -> str:
        return str(self._state)

    @state.setter
    def state(self, state: str) -> None:
        self._state = state
        self._votes.clear()

    def increment_counter(self) -> None:
        self._votes.append((self.now, True))

    def reset_counter(self) -> None:
        self._votes.append((self.now, False))

    @property
    def counter(self) -> int:
        votes, settings = self._votes, self._settings
        while votes and votes[0][0] < self.now - settings.window_seconds:
            votes.popleft()
        failed = sum(vote[1] for vote in votes)
        return int(len(votes) >= settings.min_calls and failed > 0 and failed / len(votes) >= settings.failure_rate)


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to one call, to be handed back to ``record`` whatever happens."""

    deployment: "_Gate"
    credential: "_Gate"
    epochs: tuple[int, int]


class _Gate:
    """One breaker: closed, open until a time, or half open with a number of trial slots."""

    def __init__(self, settings: BreakerSettings) -> None:
        self.settings = settings
        self._window = _RateWindow(settings)
        self._breaker: Any = pybreaker.CircuitBreaker(
            fail_max=1,
            success_threshold=settings.half_open_trials,
            state_storage=self._window,
            throw_new_error_on_trip=False,
        )
        self.epoch = 0  # counts state changes; a vote of an earlier epoch is void
        self.cool_until = 0.0
        self._open_until = 0.0
        self._trials = 0

    @property
    def state(self) -> str:
        return self._window.state

    def blocked(self, now: float) -> str:
        """Why no call may start now; "" if one may. Changes nothing."""
        if now < self.cool_until:
            return f"cooling down for {self.cool_until - now:.0f} s more"
        if self.state == pybreaker.STATE_OPEN and now < self._open_until:
            return f"open for {self._open_until - now:.0f} s more"
        if self.state == pybreaker.STATE_HALF_OPEN and self._trials >= self.settings.half_open_trials:
            return "half open, trials under way"
        return ""

    def enter(self, now: float) -> int:
        """Takes a place for a call that ``blocked`` let through; the epoch to leave with."""
        if self.state == pybreaker.STATE_OPEN:
            self._breaker.half_open()
            self._change()
        if self.state == pybreaker.STATE_HALF_OPEN:
            self._trials += 1
        return self.epoch

    def leave(self, epoch: int, vote: bool | None, now: float) -> None:
        """Gives the place back with a vote: True for success, False for failure, None for neither."""
        if epoch != self.epoch:
            return
        before = self.state
        if before == pybreaker.STATE_HALF_OPEN:
            self._trials -= 1
        if vote is None:
            return
        self._window.now = now
        with suppress(_Failure):
            self._breaker.call(_vote_success if vote else _vote_failure)
        if self.state != before:
            self._change()
            if self.state == pybreaker.STATE_OPEN:
                self._open_until = now + self.settings.open_seconds

    def _change(self) -> None:
        self.epoch += 1
        self._trials = 0


class Breakers:
    """The breakers of a process: one for each deployment, one for each provider's credential."""

    def __init__(self, settings: BreakerSettings) -> None:
        self.settings = settings
        self._deployments: dict[str, _Gate] = {}
        self._credentials: dict[str, _Gate] = {}
        self.version = 0  # grows whenever an availability may have changed

    def configure(self, settings: BreakerSettings) -> None:
        """Takes over settings of a new policy; breakers start closed again if they differ."""
        if settings != self.settings:
            self.settings = settings
            self._deployments.clear()
            self.version += 1

    def admit(self, deployment: str, provider: str, now: float) -> Ticket | str:
        """A ticket for one call, or why there is none."""
        gate = self._gate(self._deployments, deployment, self.settings)
        credential = self._gate(self._credentials, provider, CREDENTIAL_SETTINGS)
        if reason := credential.blocked(now):
            return f"the credential of {provider} was denied: {reason}"
        if reason := gate.blocked(now):
            return f"the breaker is {reason}"
        return Ticket(gate, credential, (gate.enter(now), credential.enter(now)))

    def record(
        self, ticket: Ticket, cause: Cause | None, now: float, *, seconds: float = 0.0, retry_after: float | None = None
    ) -> None:
        """The outcome of the call; ``cause`` None for success. A caller that hung up is CANCELED, which is neutral."""
        gate, credential = ticket.deployment, ticket.credential
        slow = gate.settings.slow_seconds is not None and seconds > gate.settings.slow_seconds
        vote = not slow if cause is None else (False if cause.vote is Vote.FAILURE else None)
        before = gate.epoch, credential.epoch, gate.cool_until
        gate.leave(ticket.epochs[0], vote, now)
        denied = cause is not None and cause.vote is Vote.CREDENTIAL
        credential.leave(ticket.epochs[1], False if denied else (True if cause is None else None), now)
        if cause is not None and cause.vote is Vote.COOL_DOWN:
            gate.cool_until = max(gate.cool_until, now + (1.0 if retry_after is None else retry_after))
        if before != (gate.epoch, credential.epoch, gate.cool_until):
            self.version += 1

    def blocked(self, deployment: str, provider: str, now: float) -> str:
        """Why a call could not start now; "" if it could. For decisions and dashboards; changes nothing."""
        credential, gate = self._credentials.get(provider), self._deployments.get(deployment)
        if credential is not None and (reason := credential.blocked(now)):
            return f"credential denied, {reason}"
        return gate.blocked(now) if gate is not None else ""

    def states(self) -> dict[str, str]:
        """State by deployment, for metrics."""
        return {name: gate.state for name, gate in self._deployments.items()}

    @staticmethod
    def _gate(gates: dict[str, _Gate], name: str, settings: BreakerSettings) -> _Gate:
        gate = gates.get(name)
        if gate is None:
            gate = gates[name] = _Gate(settings)
        return gate
