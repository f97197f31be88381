"""What a change of configuration does, as lines for a person and as the JSON of ``muxel diff --json``.

Called by ``verbs.diff``; ``markdown`` uses the words for figures. Tells of a request no more than its ``Example`` has.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from proxy.replay.compare import Comparison, Example, Move, Moved
from proxy.replay.guard import Verdict
from proxy.replay.paired import Estimate, Paired


@dataclass(frozen=True, slots=True)
class Compared:
    """What is told of: the traffic, and the two sides by path and hash."""

    traffic: str
    old: str
    new: str
    old_hash: str
    new_hash: str


# ---------------------------------------------------------------------------------------------------- words for figures


def interval(estimate: Estimate | None, form: str, unit: str = "") -> str:
    """``-8.6% (-9.1% .. -8.0%)``, in a format of Python's; "unknown" where there is nothing to compare."""
    if estimate is None:
        return "unknown"
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:{form}}{unit}"
    return f"{estimate.value:{form}}{unit} ({estimate.low:{form}}{unit} .. {estimate.high:{form}}{unit})"


def dollars(usd: float, digits: int = 2) -> str:
    """With its sign: ``-$1.03``, ``+$0.20``."""
    rounded = round(usd, digits)
    sign = "-" if rounded < 0 else "+" if rounded > 0 else ""
    return f"{sign}${abs(rounded):,.{digits}f}"


def money(estimate: Estimate | None, digits: int = 2) -> str:
    """As ``interval``, in dollars."""
    if estimate is None:
        return "unknown"
    if estimate.low is None or estimate.high is None:
        return dollars(estimate.value, digits)
    low, high = dollars(estimate.low, digits), dollars(estimate.high, digits)
    return f"{dollars(estimate.value, digits)} ({low} .. {high})"


def per_thousand(cost: Paired) -> tuple[float, float, Estimate | None]:
    """Dollars for a thousand requests: before, after, and the change."""
    each = cost.each()
    if each is None:
        return 0.0, 0.0, None
    return cost.old / cost.weight * 1000, cost.new / cost.weight * 1000, each.times(1000)


def whole(cost: Paired) -> Estimate | None:
    """The change of all requests together."""
    each = cost.each()
    return each.times(cost.weight) if each else None


def means(values: Paired) -> tuple[float, float]:
    """Of a request, before and after; 0 where there is none."""
    return (values.old / values.weight, values.new / values.weight) if values.weight else (0.0, 0.0)


def counted(counts: Mapping[str, int]) -> str:
    """``quality 12, cost 3``, the most first."""
    return ", ".join(f"{name} {count:,}" for name, count in most_first(counts))


def most_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda one: (-one[1], one[0]))


def ruled(moved: Moved) -> dict[str, int]:
    """Where another rule applies than before, by ``a -> b``."""
    named = {
        f"{old or 'no rule'} -> {new or 'no rule'}": count for (old, new), count in moved.rules.items() if old != new
    }
    return dict(most_first(named))


# ------------------------------------------------------------------------------------------------------------- as lines

TOLD = 15  # moves


def lines(found: Comparison, told: Compared, verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Without the table of moves, which is ``rows``."""
    yield _line("traffic", f"{told.traffic}: {found.requests:,} requests in {found.lines:,} lines")
    yield _line("old", f"{told.old}, hash {told.old_hash}")
    yield _line("new", f"{told.new}, hash {told.new_hash}")
    hosts = f"; {found.rehosted:,} keep their model at another provider" if found.rehosted else ""
    yield _line("changed", f"{found.changed:,} requests change model, {found.changed_share:.1%}{hosts}")
    yield from _cost(found)
    yield from _latency(found)
    lowered, below, unserved = found.lowered, found.below, found.unserved
    told_risk = (
        f"{lowered.total():,} lowered, {below.total():,} below the old floor, {unserved.total():,} not served now"
    )
    yield _line("floors", told_risk)
    yield from (_line("", f"lowered: {how}: {count:,}") for how, count in most_first(lowered))
    yield from (_line("", f"below: {model}: {count:,}") for model, count in most_first(below))
    yield from (_line("", f"not served: {reason}: {count:,}") for reason, count in most_first(unserved))
    yield _line("refusals", f"{found.refused.total():,} new, {found.admitted.total():,} gone")
    yield from (_line("", f"new: {rule}: {count:,}") for rule, count in most_first(found.refused))
    yield from (_line("", f"gone: {rule}: {count:,}") for rule, count in most_first(found.admitted))
    for index, verdict in enumerate(verdicts):
        state = "ok" if verdict.ok else "EXCEEDED"
        yield _line("" if index else "limits", f"{verdict.name} {verdict.limit}: {verdict.found}, {state}")


def _line(name: str, text: str) -> str:
    return f"{name:<10} {text}"


def _cost(found: Comparison) -> Iterator[str]:
    cost = found.cost
    unpriced = f"; {found.unpriced:,} of unknown price not compared" if found.unpriced else ""
    yield _line("cost", f"${cost.old:,.2f} -> ${cost.new:,.2f}, {interval(cost.share(), '+.1%')}{unpriced}")
    before, after, change = per_thousand(cost)
    yield _line("", f"per 1,000 requests ${before:,.2f} -> ${after:,.2f}, {money(change)}")


def _latency(found: Comparison) -> Iterator[str]:
    for name, values in (("p50", found.p50), ("p95", found.p95)):
        before, after = means(values)
        text = f"{name} {before:.1f} -> {after:.1f} s on average, {interval(values.share(), '+.1%')}"
        yield _line("latency" if name == "p50" else "", text)


def rows(found: Comparison) -> Iterator[tuple[str, ...]]:
    """The biggest moves as cells: task, from, to, requests, cost per 1,000, why."""
    for move, moved in found.biggest()[:TOLD]:
        _, _, change = per_thousand(moved.cost)
        cost = dollars(change.value) if change else "-"
        why = counted(moved.why)
        if rules := ruled(moved):
            why += f"; {counted(rules)}"
        yield move.task, move.old, move.new, f"{moved.requests:,}", cost, why


def examples(found: Comparison) -> Iterator[str]:
    """One request of each of the biggest moves, in lines."""
    for move, moved in found.biggest()[:TOLD]:
        one = moved.example
        yield f"request {one.request}: {move.task}, {one.shape}"
        yield f"    old  {one.old}"
        yield f"    new  {one.new}"
        if one.prompt:
            yield f"    asked {one.prompt}"


# -------------------------------------------------------------------------------------------------------------- as JSON


def as_dict(found: Comparison, told: Compared, verdicts: Sequence[Verdict]) -> dict[str, Any]:
    """The stable shape; keys are only ever added. Intervals are of 95 %, null where there is one line alone."""
    return {
        "ok": all(verdict.ok for verdict in verdicts),
        "traffic": told.traffic,
        "old": {"path": told.old, "hash": told.old_hash, "served": found.old.served.requests},
        "new": {"path": told.new, "hash": told.new_hash, "served": found.new.served.requests},
        "lines": found.lines,
        "requests": found.requests,
        "changed": found.changed,
        "changed_share": found.changed_share,
        "rehosted": found.rehosted,
        "cost": {**_cost_row(found.cost), "unpriced": found.unpriced},
        "latency": {
            "p50": _latency_row(found.p50),
            "p95": _latency_row(found.p95),
            "forecast": {"old": _forecast(found.old.latency()), "new": _forecast(found.new.latency())},
        },
        "floors": {
            "at_risk": found.at_risk,
            "lowered": dict(most_first(found.lowered)),
            "below": dict(most_first(found.below)),
            "unserved": dict(most_first(found.unserved)),
        },
        "refusals": {"new": dict(most_first(found.refused)), "gone": dict(most_first(found.admitted))},
        "moves": [_move_row(move, moved, found) for move, moved in found.biggest()],
        "limits": [asdict(verdict) for verdict in verdicts],
    }


def _cost_row(cost: Paired) -> dict[str, Any]:
    return {
        "requests": cost.weight,
        "old_usd": cost.old,
        "new_usd": cost.new,
        "total_usd": _estimate(whole(cost)),
        "per_1000_usd": _estimate(per_thousand(cost)[2]),
        "share": _estimate(cost.share()),
    }


def _latency_row(values: Paired) -> dict[str, Any]:
    before, after = means(values)
    return {"old": before, "new": after, "change": _estimate(values.each()), "share": _estimate(values.share())}


def _forecast(latency: tuple[float, float] | None) -> dict[str, float] | None:
    return {"p50": latency[0], "p95": latency[1]} if latency else None


def _estimate(estimate: Estimate | None) -> dict[str, float | None] | None:
    return asdict(estimate) if estimate else None


def _move_row(move: Move, moved: Moved, found: Comparison) -> dict[str, Any]:
    return {
        "task": move.task,
        "old": move.old,
        "new": move.new,
        "requests": moved.requests,
        "share": moved.requests / found.requests,
        "cost": _cost_row(moved.cost),
        "why": dict(most_first(moved.why)),
        "rules": ruled(moved),
        "example": _example_row(moved.example),
    }


def _example_row(one: Example) -> dict[str, Any]:
    row = asdict(one)
    return row if one.prompt else {key: value for key, value in row.items() if key != "prompt"}
