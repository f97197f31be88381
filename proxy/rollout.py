"""Rollouts under way: which policy decides a request, what the other one would have, how the candidates fare.

``exchange`` asks for a request's ``Part`` and tells how it ended; ``serve`` hands over each new configuration;
``admin`` shows ``report``. Who takes part is ``policies.rollout``, when a candidate is held is ``arms``. Everything is
in memory and of this replica alone: another one holds by its own figures, and a restart begins anew. Nothing but a
change of either policy ends a hold. Must not fail a request: a comparison that goes wrong is told of and forgotten.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from adapters.ir import Ask, Cause
from policies.decision import Candidate, Decision
from policies.match import Policy
from policies.rollout import Change, Comparison, Rollout, compare, takes_part
from proxy import arms
from proxy.arms import Arms, Outcome, Sample, Tally, Verdict
from proxy.metrics import Metrics

_log = logging.getLogger("muxel.rollout")
_MAYBE_THE_CALLERS = frozenset(cause.label for cause in (Cause.INVALID, Cause.UNSUPPORTED, Cause.REFUSED))
_FAILURES = frozenset(
    cause.label
    for cause in (Cause.DENIED, Cause.THROTTLED, Cause.UNAVAILABLE, Cause.AMBIGUOUS, Cause.MALFORMED)
)  # fmt: skip


class Stage(IntEnum):
    """As the state gauge has it."""

    OFF = 0  # nobody takes part
    SHADOW = 1
    CANARY = 2
    HELD = 3


@dataclass(slots=True)
class _Record:
    """One rollout, from the configuration that brought it to the one that changes either policy."""

    rollout: Rollout
    live: Policy
    candidate: Policy
    arms: Arms = field(default_factory=Arms)
    changes: Counter[str] = field(default_factory=Counter)
    held: Verdict | None = None
    held_at: float = 0.0  # seconds since the epoch
    figures: tuple[Tally, Tally] | None = None  # by which it was held

    @property
    def stage(self) -> Stage:
        if self.held:
            return Stage.HELD
        if self.rollout.paused:
            return Stage.OFF
        return Stage.CANARY if self.rollout.mode == "canary" else Stage.SHADOW

    @property
    def key(self) -> tuple[str, str]:
        return self.live.digest, self.candidate.digest


@dataclass(slots=True)
class Part:
    """What one request has to do with a rollout. ``policy`` decides it, ``beside`` is asked as well for comparison.
    ``arm`` is live or candidate, empty in a shadow."""

    record: _Record
    arm: str
    policy: Policy
    beside: Policy | None
    begun: float  # seconds, monotonic
    comparison: Comparison | None = None
    expected: Candidate | None = None  # what the live policy would try first
    ended: bool = False

    def told(self) -> dict[str, str | float]:
        """For the request's span and its line in the log."""
        told: dict[str, str | float] = {"rollout.arm": self.arm} if self.arm else {}
        if found := self.comparison:
            told["rollout.change"] = found.change.value
            told["rollout.floor_delta"] = round(found.floor_delta, 6)
            if found.cost_delta is not None:
                told["rollout.cost_delta_usd"] = round(found.cost_delta, 6)
            other = found.live if self.arm == "candidate" else found.candidate
            told["rollout.beside"] = other.deployment.id if other else ""
        return told


class Rollouts:
    """The rollouts of a process, by the name of the policy that stands to be replaced."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._records: dict[str, _Record] = {}

    def configure(self, policies: Mapping[str, Policy]) -> None:
        """Takes over new policies. A rollout whose two policies are what they were goes on as it was, held or not."""
        before, self._records = self._records, {}
        for name, live in policies.items():
            if live.rollout is None:
                continue
            record, known = _Record(live.rollout, live, policies[live.rollout.candidate]), before.get(name)
            if known is not None and known.key == record.key:
                record = known  # the very one: requests under way are to count for it
            else:
                _log.info("rollout begins", extra={"fields": _names(record) | {"stage": record.stage.name.lower()}})
            self._records[name] = record
        self._metrics.rollout_state.clear()
        for record in self._records.values():
            self._tell_stage(record)
            self._expose(record)

    def part(
        self, policies: Mapping[str, Policy], policy: Policy, ask: Ask, session: str, request: str, now: float
    ) -> Part | None:
        """The part of a request to ``policy``; None where it has none, and ``policy`` decides alone. ``policies`` are
        those that the request keeps to, maybe no longer in force; ``session`` is a name, ``request`` an id."""
        record = self._records.get(policy.name)
        if record is None or policy.rollout is None or (ask.policy and not policy.rollout.named):
            return None
        candidate = policies[policy.rollout.candidate]
        if record.key != (policy.digest, candidate.digest) or record.stage in (Stage.OFF, Stage.HELD):
            return None
        chosen = takes_part(policy.rollout, policy.name, ask.caller, session, request)
        compared = chosen and not ask.dry_run
        if record.stage is Stage.SHADOW:
            return Part(record, "", policy, candidate, now) if compared else None
        if chosen:
            return Part(record, "candidate", candidate, policy if compared else None, now)
        return Part(record, "live", policy, None, now)

    def decided(self, part: Part, decision: Decision, again: Callable[[Policy], Decision]) -> None:
        """The request was decided. ``again`` decides it by another policy: that waits until the event loop has nothing
        better to do than to wait for the upstream, so that no caller does."""
        if part.arm != "candidate":
            part.expected = decision.candidates[0] if decision.candidates else None
        if part.beside is not None:
            asyncio.get_running_loop().call_soon(self._compare, part, part.beside, decision, again)

    def _compare(self, part: Part, beside: Policy, decision: Decision, again: Callable[[Policy], Decision]) -> None:
        metrics, name = self._metrics, part.record.live.name
        try:
            other = again(beside)
            found = compare(other, decision) if part.arm == "candidate" else compare(decision, other)
        except Exception:
            _log.exception("a comparison with policy %s failed", beside.name)
            metrics.rollout_comparisons.labels(name, "error").inc()
            return
        part.comparison, part.expected = found, found.live
        part.record.changes[found.change.value] += 1
        metrics.rollout_comparisons.labels(name, found.change.value).inc()
        if found.cost_delta is not None and found.live and found.candidate:
            metrics.rollout_compared.labels(name, "live").inc(found.live.price_usd or 0.0)
            metrics.rollout_compared.labels(name, "candidate").inc(found.candidate.price_usd or 0.0)

    # ------------------------------------------------------------------------------------------------------- outcomes

    def ended(
        self, part: Part, outcome: str, status: int, pictures: int, cost: float | None, now: float, wall: float
    ) -> None:
        """A request is over; ``outcome`` and ``status`` as ``exchange`` notes them, ``cost`` in dollars, None where it
        is not known. Counts once, for the arm that bought the pictures, and holds the candidate if that was one failure
        too many."""
        if part.ended or not part.arm:
            return
        part.ended = True
        sample = _sample(part, _outcome(outcome, status), pictures, cost, now - part.begun)
        self._count(part, sample)
        record = part.record
        if record.held:
            return  # its figures stay those that it was held by
        hold, candidate = record.rollout.hold, part.arm == "candidate"
        record.arms = arms.record(record.arms, candidate, sample, hold, now)
        if candidate and (verdict := arms.verdict(record.arms, hold, now)):
            record.held, record.held_at = verdict, wall
            record.figures = arms.figures(record.arms, hold, now)
            self._hold(record, verdict)

    def _count(self, part: Part, sample: Sample) -> None:
        metrics, labels = self._metrics, (part.record.live.name, part.arm)
        metrics.rollout_requests.labels(*labels, sample.outcome.value).inc()
        if sample.outcome is Outcome.OK and sample.seconds is not None:
            metrics.rollout_seconds.labels(*labels).observe(sample.seconds)
            if sample.cost is not None:
                metrics.rollout_cost.labels(*labels).inc(sample.cost)
                metrics.rollout_pictures.labels(*labels).inc(sample.pictures)

    def _hold(self, record: _Record, verdict: Verdict) -> None:
        """Said once, in the form of an Event, for whoever ships logs to where Events are read."""
        self._metrics.rollout_holds.labels(record.live.name, verdict.bound).inc()
        self._tell_stage(record)
        assert record.figures is not None
        live, candidate = record.figures
        message = f"policy {record.candidate.name} is held and {record.live.name} decides alone: {verdict.reason}"
        fields = _names(record) | {
            "type": "Warning", "reason": "RolloutHeld", "bound": verdict.bound, "message": message,
            "regarding": {"kind": "RoutingPolicy", "name": record.live.name},
            "arms": {"live": _figures(live), "candidate": _figures(candidate)},
        }  # fmt: skip
        _log.error("rollout held", extra={"fields": fields})

    def _tell_stage(self, record: _Record) -> None:
        self._metrics.rollout_state.labels(record.live.name, record.candidate.name).set(record.stage)

    def _expose(self, record: _Record) -> None:
        """Every counter at 0: what appears with its first increment has not increased, as Prometheus sees it."""
        metrics, name = self._metrics, record.live.name
        for change in ("error", *Change):
            metrics.rollout_comparisons.labels(name, str(change))
        if record.stage is Stage.CANARY:
            for bound in arms.BOUNDS:
                metrics.rollout_holds.labels(name, bound)
            for arm in ("live", "candidate"):
                for outcome in Outcome:
                    metrics.rollout_requests.labels(name, arm, outcome.value)

    # --------------------------------------------------------------------------------------------------------- status

    def report(self, now: float) -> list[dict[str, Any]]:
        """What the admin port shows; figures are of the window, or those that the candidate was held by."""
        return [_report(record, now) for _, record in sorted(self._records.items())]


def _outcome(label: str, status: int) -> Outcome:
    if label == "ok":
        return Outcome.OK
    if label in _FAILURES or (label in _MAYBE_THE_CALLERS and status >= 500):
        return Outcome.FAILED
    return Outcome.REFUSED if label in _MAYBE_THE_CALLERS else Outcome.OTHER


def _sample(part: Part, outcome: Outcome, pictures: int, cost: float | None, seconds: float) -> Sample:
    if outcome is not Outcome.OK:
        return Sample(outcome)
    expected = part.expected
    return Sample(
        outcome,
        pictures,
        cost,
        expected.price_usd if expected else None,
        seconds,
        expected.p50 if expected else None,
    )


def _names(record: _Record) -> dict[str, Any]:
    return {"policy": record.live.name, "candidate": record.candidate.name}


def _report(record: _Record, now: float) -> dict[str, Any]:
    rollout = record.rollout
    live, candidate = record.figures or arms.figures(record.arms, rollout.hold, now)
    return {
        **_names(record),
        "state": record.stage.name.lower(),
        "mode": rollout.mode,
        "percent": rollout.percent,
        "callers": list(rollout.callers),
        "sticky": rollout.sticky,
        "policy_digest": record.live.digest,
        "candidate_digest": record.candidate.digest,
        "bound": record.held.bound if record.held else "",
        "reason": record.held.reason if record.held else "",
        "held_at": record.held_at or None,
        "window_seconds": rollout.hold.window_seconds,
        "arms": {"live": _figures(live), "candidate": _figures(candidate)},
        "comparisons": dict(record.changes),
    }


def _figures(tally: Tally) -> dict[str, Any]:
    """``..._vs_live``: times what was expected of the live policy for the same requests."""
    return {
        "requests": tally.requests,
        "failed": tally.failed,
        "refused": tally.refused,
        "error_rate": round(tally.error_rate, 4),
        "cost_per_picture_usd": _rounded(tally.cost_per_picture),
        "cost_vs_live": _rounded(arms.ratio(tally.cost)[0] if tally.cost.n else None),
        "cost_unknown": tally.unpriced,
        "seconds": _rounded(tally.seconds.actual / tally.seconds.n if tally.seconds.n else None),
        "seconds_vs_live": _rounded(arms.ratio(tally.seconds)[0] if tally.seconds.n else None),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 6)
