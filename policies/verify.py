"""What a test expects against what was decided: every expectation that does not hold, with what stands against it.

``muxel test`` calls it. Pure; decides nothing, and never sees a prompt.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.ir import MediaRequest
from policies import schema
from policies.cases import Case, Expect
from policies.catalog import Catalog
from policies.classify import Traits
from policies.decision import Candidate, Code, Decision, Health, HealthView, Rejection
from policies.explain import no_candidate_summary
from policies.match import Policy, Selector, compile_selector

NEAREST = 3  # deployments told of for one expectation
_CODES = {code: position for position, code in enumerate(Code)}


@dataclass(frozen=True, slots=True)
class Mismatch:
    """``field`` is the key of ``expect``; ``because`` are lines about what was expected: its rejection, its place."""

    field: str
    expected: str
    got: str
    because: tuple[str, ...] = ()


def health_of(case: Case, catalog: Catalog) -> HealthView:
    """What ``health`` and ``unavailable`` of a test come to. Where several names mean one deployment, the last counts,
    and ``unavailable`` above all."""
    view: dict[str, Health] = {}
    for glob, live in case.health.items():
        means = _meant((glob,))
        known = Health(live.available, "" if live.available else "as the test says", live.p50, live.p95, live.success)
        view.update((one.id, known) for one in catalog.deployments if means(one))
    if case.unavailable:
        means = _meant(case.unavailable)
        down = Health(available=False, detail="as the test says")
        view.update((one.id, down) for one in catalog.deployments if means(one))
    return view


def rule_trace(policy: Policy, request: MediaRequest, traits: Traits) -> tuple[tuple[str, bool], ...]:
    """Every rule up to the one that applies, and whether it holds."""
    tier = request.ask.tier or traits.tier or policy.default_tier
    looked: list[tuple[str, bool]] = []
    for rule in policy.rules:
        looked.append((rule.name, rule.holds(request, traits, tier)))
        if looked[-1][1]:
            break
    return tuple(looked)


def verify(expect: Expect, decision: Decision) -> tuple[Mismatch, ...]:
    """In the order in which the keys of ``expect`` are documented; empty where all holds."""
    return tuple(
        mismatch
        for field, check in _CHECKS.items()
        if (wanted := getattr(expect, field)) is not None
        for mismatch in check(wanted, decision)
    )


def outcome(decision: Decision) -> str:
    """The first choice with its price, or why there is none."""
    if decision.refusal:
        return f"refused by rule {decision.rule}: {decision.refusal}"
    return _priced(decision.candidates[0]) if decision.candidates else no_candidate_summary(decision)


# -------------------------------------------------------------------------------------------------------- the checks


def _task(names: tuple[str, ...], decision: Decision) -> Iterator[Mismatch]:
    traits = decision.traits
    if traits.task not in names:
        likely = ", ".join(f"{task} {share:.2f}" for task, share in traits.tasks) or traits.task
        signals = (f"signals: {', '.join(traits.signals)}",) if traits.signals else ()
        yield Mismatch(
            "task", _any_of(names), f"{traits.task} {traits.confidence:.2f}", (f"plausible: {likely}", *signals)
        )


def _model(names: tuple[str, ...], decision: Decision) -> Iterator[Mismatch]:
    means = _meant(names)
    if not decision.candidates or not means(decision.candidates[0].deployment):
        yield Mismatch("model", _any_of(names), outcome(decision), _standing(means, decision))


def _provider(names: tuple[str, ...], decision: Decision) -> Iterator[Mismatch]:
    means = _selector(schema.Selector(providers=names))
    if not decision.candidates or not means(decision.candidates[0].deployment):
        yield Mismatch("provider", _any_of(names), outcome(decision), _standing(means, decision))


def _tier(tier: str, decision: Decision) -> Iterator[Mismatch]:
    if decision.tier != tier:
        yield Mismatch("tier", str(tier), decision.tier.value)


def _rule(name: str, decision: Decision) -> Iterator[Mismatch]:
    if decision.rule != name:
        yield Mismatch("rule", name or "no rule", decision.rule or "no rule")


def _max_cost(most: float, decision: Decision) -> Iterator[Mismatch]:
    usd = decision.candidates[0].price_usd if decision.candidates else None
    if usd is None or usd > most:
        yield Mismatch("maxCostUsd", f"at most ${most:g}", outcome(decision))


def _min_cost(least: float, decision: Decision) -> Iterator[Mismatch]:
    usd = decision.candidates[0].price_usd if decision.candidates else None
    if usd is None or usd < least:
        yield Mismatch("minCostUsd", f"at least ${least:g}", outcome(decision))


def _refused(wanted: bool | str, decision: Decision) -> Iterator[Mismatch]:
    if isinstance(wanted, str):
        if decision.refusal != wanted:
            yield Mismatch("refused", f"refused: {wanted}", outcome(decision))
    elif bool(decision.refusal) is not wanted:
        yield Mismatch("refused", "refused by a rule" if wanted else "not refused", outcome(decision))


def _rejected(wanted: Mapping[str, Code], decision: Decision) -> Iterator[Mismatch]:
    """A host of a model that does other operations alone says nothing, unless there is no other or it is what is
    expected."""
    for glob, code in wanted.items():
        means = _meant((glob,))
        named = [one for one in decision.rejected if means(one.deployment)]
        able = [one for one in named if one.code is not Code.OPERATION]
        other = [one for one in (named if code is Code.OPERATION else able or named) if one.code is not code]
        eligible = [one for one in decision.candidates if means(one.deployment)]
        if other or eligible:
            got = f"{len(eligible)} eligible, {len(other)} rejected with another code"
            yield Mismatch("rejected", f"{glob}: {code.value}", got, _places(eligible, decision) + _causes(other))


def _candidates(wanted: Sequence[str], decision: Decision) -> Iterator[Mismatch]:
    """Told once, with the first place that differs."""
    for place, glob in enumerate(wanted):
        means = _meant((glob,))
        one = decision.candidates[place].deployment if place < len(decision.candidates) else None
        if one is None or not means(one):
            first = ", ".join(candidate.deployment.id for candidate in decision.candidates[: len(wanted)])
            standing = tuple(f"place {place + 1}: {line}" for line in _standing(means, decision))
            yield Mismatch("candidates", ", ".join(wanted), first or outcome(decision), standing)
            return


def _not_routed(wanted: bool | tuple[str, ...], decision: Decision) -> Iterator[Mismatch]:
    if isinstance(wanted, bool):
        nothing = not decision.candidates and not decision.refusal
        if nothing is not wanted:
            expected = "nothing is eligible" if wanted else "something is eligible"
            yield Mismatch("notRouted", expected, outcome(decision))
        return
    means = _meant(wanted)
    found = [one for one in decision.candidates if means(one.deployment)]
    if found:
        yield Mismatch("notRouted", f"never {_any_of(wanted)}", f"{len(found)} eligible", _places(found, decision))


_CHECKS: Mapping[str, Callable[[Any, Decision], Iterator[Mismatch]]] = {
    "task": _task,
    "model": _model,
    "provider": _provider,
    "tier": _tier,
    "rule": _rule,
    "max_cost_usd": _max_cost,
    "min_cost_usd": _min_cost,
    "refused": _refused,
    "rejected": _rejected,
    "candidates": _candidates,
    "not_routed": _not_routed,
}


# ---------------------------------------------------------------------------------------------- what stands against it


def _selector(selector: schema.Selector) -> Selector:
    compiled = compile_selector(selector)
    assert compiled is not None
    return compiled


def _meant(names: tuple[str, ...]) -> Selector:
    return _selector(schema.Selector(models=names))


def _any_of(names: Iterable[str]) -> str:
    return " or ".join(names)


def _standing(means: Selector, decision: Decision) -> tuple[str, ...]:
    """Where the deployments meant stand in the order, or else why they are not in it, the nearest misses first."""
    eligible = [one for one in decision.candidates if means(one.deployment)]
    return _places(eligible, decision) or _causes([one for one in decision.rejected if means(one.deployment)])


def _places(eligible: Sequence[Candidate], decision: Decision) -> tuple[str, ...]:
    places = {one.deployment.id: place for place, one in enumerate(decision.candidates, 1)}
    lines = [f"{_priced(one)} is number {places[one.deployment.id]} of {len(places)}" for one in eligible[:NEAREST]]
    return (*lines, *_more(eligible))


def _causes(rejected: Iterable[Rejection]) -> tuple[str, ...]:
    """What came furthest through the filters is nearest."""
    nearest = sorted(rejected, key=lambda one: (-_CODES[one.code], one.excess, one.deployment.id))
    lines = [f"{one.deployment.id} is rejected, {one.code.value}: {one.detail}" for one in nearest[:NEAREST]]
    return (*lines, *_more(nearest))


def _more(found: Sequence[object]) -> tuple[str, ...]:
    return (f"and {len(found) - NEAREST} more",) if len(found) > NEAREST else ()


def _priced(candidate: Candidate) -> str:
    price = "an unknown price" if candidate.price_usd is None else f"${candidate.price_usd:.3f}"
    return f"{candidate.deployment.id} at {price}"
