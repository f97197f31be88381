"""Every test of a configuration: its request decided as a sidecar would, and held against what it expects.

Called by ``verbs.policytest``. Sends nothing, does no IO and reads no clock but what it is handed.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydantic.alias_generators import to_camel

from adapters.ir import InvalidRequest
from policies.classify import classify
from policies.decide import decide
from policies.decision import Decision
from policies.load import Config
from policies.problems import ConfigError, Problem
from policies.suites import Placed
from policies.validate import spell
from policies.verify import Mismatch, health_of, rule_trace, verify
from proxy.traffic import Recorded, read_row


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one test. ``trace`` are the rules that were looked at; ``seconds`` is what deciding took."""

    test: Placed
    mismatches: tuple[Mismatch, ...]
    decision: Decision
    trace: tuple[tuple[str, bool], ...]
    seconds: float

    @property
    def passed(self) -> bool:
        return not self.mismatches

    @property
    def place(self) -> tuple[int, int]:
        """Line and column of the test's name."""
        return self.test.place("name")


def run(config: Config, now: float, clock: Callable[[], float]) -> tuple[Outcome, ...]:
    """The outcomes of ``config.tests``, in their order. ``now``, seconds since the epoch, is for tests that name no
    time; ``clock`` counts seconds from anywhere. Raises ConfigError for requests that cannot be made."""
    problems: list[Problem] = []
    outcomes = [_run(test, config, now, clock, problems) for test in config.tests]
    if problems:
        raise ConfigError(problems)
    return tuple(outcome for outcome in outcomes if outcome)


def _run(
    test: Placed, config: Config, now: float, clock: Callable[[], float], problems: list[Problem]
) -> Outcome | None:
    try:
        recorded = _recorded(test)
    except InvalidRequest as error:
        problems.append(_problem(test, error))
        return None
    case, policy, request = test.case, config.policies[test.policy], recorded.request
    moment = case.at.timestamp() if case.at else now
    health = health_of(case, config.catalog)
    begun = clock()
    traits = recorded.traits or classify(request, config.lexicon())
    decision = decide(request, traits, policy, config.catalog, health, moment, session=recorded.session)
    seconds = clock() - begun
    return Outcome(test, verify(case.expect, decision), decision, rule_trace(policy, request, traits), seconds)


def _recorded(test: Placed) -> Recorded:
    """The request as one of recorded traffic. Raises InvalidRequest."""
    row = test.case.request.model_dump(mode="json", exclude_unset=True)
    return read_row(row)


def _problem(test: Placed, error: InvalidRequest) -> Problem:
    """What the schema lets through and no wire would: an edge that is too long."""
    path = (*test.path, "request", to_camel(error.field))
    return test.document.problem(path, f"{spell(path[:-1])}: {error.message}")


def applied(outcome: Outcome) -> Iterator[str]:
    """The rules that were looked at, as words."""
    for name, holds in outcome.trace:
        yield f"{name} {'applies' if holds else 'does not apply'}"
