"""Why: a Decision as lines a person reads, and as the JSON of ``muxel explain``.

The CLI, the audit, the dry run and the dashboard call it; ``decide`` takes the short form for its reason. Formats what
the decision holds and decides nothing. Never sees a prompt.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from policies.decision import Candidate, Code, Decision, Rejection

NEAREST = 3  # rejections shown for each code

_DOUBTS = {
    "everyPlausibleTask": "all of them",
    "saferTier": "the floor of the next tier up",
    "ignore": "taken for certain",
}
_CODES = {code: position for position, code in enumerate(Code)}


def share(value: float) -> str:
    """A share or a floor, as short as three digits allow: 0.35, 0.312."""
    return f"{value:.3g}"


def explain(decision: Decision) -> tuple[str, ...]:
    """Traits, tier, rule, the choice, the fallbacks, and the rejected by code with the nearest misses first."""
    lines = [_traits(decision), f"tier       {decision.tier.value}: {_floor(decision)}"]
    lines.append(f"policy     {decision.policy}, {_rule(decision)}, objective {decision.objective}")
    if decision.refusal:
        lines.append(f"refused    {decision.refusal}")
    elif decision.candidates:
        first, *others = decision.candidates
        lines.append(f"chosen     {_candidate(first)}: {first.why}")
        lines += [f"fallback   {_candidate(other)}: {_clears(other, decision.floor)}" for other in others]
    else:
        lines.append(f"chosen     none: {no_candidate_summary(decision)}")
    lines += [f"note       {note}" for note in decision.notes]
    lines += [] if decision.refusal else _rejected(decision.rejected)
    return tuple(lines)


def no_candidate_summary(decision: Decision) -> str:
    """For the error message of a request that nothing can serve."""
    if decision.unknown_model:
        return f"unknown model {decision.unknown_model[:60]!r}"
    return no_candidate(decision.rejected)


def no_candidate(rejected: Iterable[Rejection]) -> str:
    """``no deployment is eligible: 12 quality, 5 credential, 3 capability (mask)``, the largest group first.

    A detail is given where a whole group shares it. Deployments of other operations are only news where all are.
    """
    groups = _by_code(rejected)
    groups = [(code, group) for code, group in groups if code is not Code.OPERATION] or groups
    if not groups:
        return "no deployment is eligible: the catalog is empty"
    counts = []
    for code, group in sorted(groups, key=lambda item: (-len(item[1]), _CODES[item[0]])):
        alike = all(one.text == group[0].text and one.numbers == group[0].numbers for one in group)
        counts.append(f"{len(group)} {code.value}" + (f" ({group[0].detail})" if alike else ""))
    return "no deployment is eligible: " + ", ".join(counts)


def as_dict(decision: Decision, policy_hash: str, decide_us: float) -> dict[str, Any]:
    """The stable JSON shape of ``muxel explain --json``; keys are only ever added. ``decide_us`` in microseconds."""
    traits = decision.traits
    ordered = [_as_dict(candidate, decision.floor) for candidate in decision.candidates]
    return {
        "traits": {
            "task": traits.task,
            "confidence": traits.confidence,
            "runner_up": traits.runner_up,
            "tasks": dict(traits.tasks),
            "signals": list(traits.signals),
            "language": traits.language,
        },
        "tier": decision.tier.value,
        "floor": decision.floor,
        "floor_tasks": list(decision.tasks),
        "doubt": decision.doubt,
        "policy": decision.policy,
        "rule": decision.rule,
        "objective": decision.objective,
        "reason": decision.reason,
        "refusal": decision.refusal,
        "unknown_model": decision.unknown_model,
        "notes": list(decision.notes),
        "chosen": ordered[0] if ordered else None,
        "fallbacks": ordered[1:],
        "rejected": [
            {**_names(rejection), "code": rejection.code.value, "detail": rejection.detail}
            for rejection in decision.rejected
        ],
        "policy_hash": policy_hash,
        "decide_us": decide_us,
    }


def _names(one: Candidate | Rejection) -> dict[str, str]:
    deployment = one.deployment
    return {"model": deployment.model.id, "provider": deployment.provider.name, "deployment": deployment.id}


def _as_dict(candidate: Candidate, floor: float) -> Mapping[str, Any]:
    return {
        **_names(candidate),
        "price_usd": candidate.price_usd,
        "price_estimated": candidate.price_estimated,
        "score": candidate.score,
        "p25": candidate.p25,
        "p50": candidate.p50,
        "p95": candidate.p95,
        "why": candidate.why or _clears(candidate, floor),
    }


def _traits(decision: Decision) -> str:
    traits = decision.traits
    line = f"traits     {traits.task} {traits.confidence:.2f}"
    if traits.runner_up:
        line += f", then {traits.runner_up}"
    line += f"; language {traits.language}"
    return line + (f"; signals: {', '.join(traits.signals)}" if traits.signals else "")


def _floor(decision: Decision) -> str:
    if decision.floor <= 0:
        return "no floor"
    doubt = f" (in doubt: {_DOUBTS[decision.doubt]})" if decision.doubt else ""
    return f"p25 of at least {share(decision.floor)} for {' and '.join(decision.tasks)}{doubt}"


def _rule(decision: Decision) -> str:
    mark = f" (mark {decision.mark})" if decision.mark else ""
    return (f"rule {decision.rule}" if decision.rule else "no rule") + mark


def _candidate(candidate: Candidate) -> str:
    price = "unknown price" if candidate.price_usd is None else f"${candidate.price_usd:.3f}"
    about = "about " if candidate.price_estimated and candidate.price_usd is not None else ""
    return f"{candidate.deployment.id} at {about}{price}, p50 {candidate.p50:.1f} s"


def _clears(candidate: Candidate, floor: float) -> str:
    if floor <= 0 or candidate.p25 is None:
        return "no floor to clear"
    return f"p25 {share(candidate.p25)} clears {share(floor)} for {candidate.task}"


def _rejected(rejected: Iterable[Rejection]) -> list[str]:
    lines = []
    for code, group in _by_code(rejected):
        if code is Code.OPERATION:
            lines.append(f"rejected   {len(group)} operation: {group[0].detail}")
            continue
        nearest = sorted(group, key=lambda rejection: (rejection.excess, rejection.deployment.id))[:NEAREST]
        shown = ", ".join(f"{rejection.deployment.id} ({rejection.detail})" for rejection in nearest)
        more = f" and {len(group) - len(nearest)} more" if len(group) > len(nearest) else ""
        lines.append(f"rejected   {len(group)} {code.value}: {shown}{more}")
    return lines


def _by_code(rejected: Iterable[Rejection]) -> list[tuple[Code, list[Rejection]]]:
    """In the order of the codes. What does not do the operation, and what does but cannot be sent it, stand apart."""
    groups: dict[tuple[Code, str], list[Rejection]] = {}
    for rejection in rejected:
        apart = rejection.detail if rejection.code is Code.OPERATION else ""
        groups.setdefault((rejection.code, apart), []).append(rejection)
    return [(code, group) for (code, _), group in sorted(groups.items(), key=lambda item: _CODES[item[0][0]])]
