"""Limits to what a change of configuration may do: what ``muxel diff`` ends with status 1 for.

``verbs.diff`` builds the limits of its options; ``changes`` and ``markdown`` tell the verdicts. Limits are held against
the figure itself, not the ends of its interval.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from proxy.replay.compare import Comparison
from proxy.replay.paired import Estimate


@dataclass(frozen=True, slots=True)
class Guard:
    """Shares: 0.05 is 5 %. None and False: no such limit."""

    max_changed: float | None = None  # of all requests
    max_cost: float | None = None  # more than it was; negative: it has to fall by that much
    max_latency: float | None = None  # more than it was, of p50 and of p95
    no_floor_risk: bool = False
    no_new_refusals: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """``name`` is the option, ``limit`` what it allows and ``found`` what there is, in words."""

    name: str
    limit: str
    found: str
    ok: bool


def judge(found: Comparison, guard: Guard) -> tuple[Verdict, ...]:
    """One for each limit there is. What cannot be told is not within a limit."""
    return tuple(_verdicts(found, guard))


def _verdicts(found: Comparison, guard: Guard) -> Iterator[Verdict]:
    if guard.max_changed is not None:
        changed = found.changed_share
        yield Verdict("--max-changed", f"{guard.max_changed:.1%}", f"{changed:.1%}", changed <= guard.max_changed)
    if guard.max_cost is not None:
        yield _within("--max-cost", guard.max_cost, found.cost.share(), "no request has a price on both sides")
    if guard.max_latency is not None:
        shares = [share for one in (found.p50, found.p95) if (share := one.share())]
        worst = max(shares, key=lambda share: share.value, default=None)
        yield _within("--max-latency", guard.max_latency, worst, "no request is served on both sides")
    if guard.no_floor_risk:
        yield Verdict("--no-floor-risk", "0", f"{found.at_risk:,}", not found.at_risk)
    if guard.no_new_refusals:
        refused = found.refused.total()
        yield Verdict("--no-new-refusals", "0", f"{refused:,}", not refused)


def _within(name: str, most: float, share: Estimate | None, unknown: str) -> Verdict:
    if share is None:
        return Verdict(name, f"{most:+.1%}", unknown, False)
    return Verdict(name, f"{most:+.1%}", f"{share.value:+.1%}", share.value <= most)
