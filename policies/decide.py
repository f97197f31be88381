"""The one entry to a choice: ``decide(request, traits, policy, catalog, health, now) -> Decision``.

``exchange``, ``muxel explain`` and the dry run call it; the proxy then tries ``Decision.candidates`` in order. Pure:
the same inputs give the same answer. ``decision`` has the types (found here too), ``screen`` the filters that need
nothing live, ``rank`` the order. Must not know wires, and reads a prompt only where a rule searches it.

Each deployment is a candidate, or is rejected with the first ``Code`` that applies, in the order in which they stand.
"""

from collections.abc import Container, Iterable, Sequence
from typing import NamedTuple

from adapters.ir import MediaRequest, Tier
from policies.catalog import Catalog
from policies.classify import Traits
from policies.decision import (
    Candidate,
    Code,
    Decision,
    Health,
    HealthView,
    Rejection,
    Rewrite,
    Session,
    Trace,
    codes_of,
)
from policies.explain import no_candidate, share
from policies.match import NO_RULE, Policy, Rule, SessionTerms, first_match, trace
from policies.rank import Wish, rank
from policies.rewrite import prepared
from policies.screen import Admission, Sheet, Terms, days_left, screen, sheet
from policies.session import notes_on, rewrite_of
from policies.subject import Fault, Subject

__all__ = [
    "Candidate", "Code", "Decision", "Fault", "Health", "HealthView", "Rejection", "Rewrite", "Session", "Trace",
    "decide", "trace_rules",
]  # fmt: skip

ROUTED = frozenset(("", "auto", "muxel/auto"))  # model names that leave the choice to the policy
SAFER = {Tier.DRAFT: Tier.STANDARD, Tier.STANDARD: Tier.PREMIUM, Tier.PREMIUM: Tier.PREMIUM}
REASON_LENGTH = 200
DAY = 86_400  # seconds
ENDS_SOON = 30  # days before a model retires, from which it is told


def decide(
    request: MediaRequest,
    traits: Traits,
    policy: Policy,
    catalog: Catalog,
    health: HealthView,
    now: float,
    *,
    credentials: Container[str] | None = None,
    session: Session | None = None,
) -> Decision:
    """Which deployments to try, in order, and why not the others. Never raises.

    ``now`` is seconds since the epoch, for retirement dates and the hours of rules. ``credentials`` holds the names of
    the providers with a usable key, None for all of them; a provider that needs no key need not be in it. ``session``
    is what the caller's token says; without one, the session asked for is a mere name. The tier is the caller's, else
    the rule's, else the one the traits hint at, else the policy's; rules are matched with the tier known before them.
    """
    subject = subject_of(request, traits, policy, now)
    rule = first_match(policy, subject) or NO_RULE
    tier = request.ask.tier or rule.tier or subject.tier
    held = rule.session or policy.session
    session = _session(held, session, request.ask.session)
    rewrite = rule.rewrite or rewrite_of(session, policy)
    request = prepared(request, session, rewrite)
    named = _named(request, policy, catalog)
    doubt = policy.doubt.action if traits.confidence < policy.doubt.min_confidence else ""
    tasks = _tasks(traits, doubt)
    # Who names the model, be it a rule's ``use`` or a caller's pin, answers for its quality: then there is no floor.
    floor = 0.0 if rule.use or named.pinned is not None else _floor(policy, tier, doubt)
    day = int(now // DAY)
    likeness = session.model if session and held.consistency == "reference" else None
    admission = Admission(rule, named.pinned, likeness, _keyless(catalog, credentials), day)
    shown = _shown(request, policy, catalog, admission, tuple(sorted(tasks)), floor)
    candidates, rejected = _sift(shown, _latency_ceiling(request, policy, rule), health)
    wish = _wish(request, policy, rule, tier, shown.preferred, named.preferred, session)
    ordered = rank(candidates, wish)
    chosen = ordered[0] if ordered else None
    notes = (*notes_on(session, chosen, rejected), *_ending(chosen, day), *_passed_over(subject.faults))
    judged = _judged(traits, tier, tasks, floor)
    reason = "; ".join((f"{judged}: {chosen.why}", *notes)) if chosen else _nothing(rejected, named, rule)
    return Decision(
        candidates=ordered,
        rejected=rejected,
        codes=_codes(rejected, shown),
        traits=traits,
        tier=tier,
        floor=floor,
        objective=wish.objective,
        policy=policy.name,
        rule=rule.name,
        reason=reason.encode("ascii", "replace").decode()[:REASON_LENGTH],
        refusal=rule.refuse,
        mark=rule.mark,
        tasks=tasks,
        unknown_model=named.unknown,
        rewrite=rewrite,
        doubt=doubt,
        session=session,
        token=held.token and held.consistency != "none",
        notes=notes,
        faults=tuple(subject.faults),
    )


def subject_of(request: MediaRequest, traits: Traits, policy: Policy, now: float) -> Subject:
    """What this policy's rules are asked about the request."""
    return Subject(request, traits, request.ask.tier or traits.tier or policy.default_tier, now)


def trace_rules(request: MediaRequest, traits: Traits, policy: Policy, now: float) -> Trace:
    """How ``decide`` of the same arguments came to its rule. For explanations: ``decide`` does without it."""
    return trace(policy, subject_of(request, traits, policy, now))


# ------------------------------------------------------------------------------------------------------- what is asked


class _Named(NamedTuple):
    """What the caller's model name comes to, by deployment id."""

    pinned: frozenset[str] | None = None  # these and no others; None: no pin
    preferred: frozenset[str] = frozenset()
    unknown: str = ""


def _named(request: MediaRequest, policy: Policy, catalog: Catalog) -> _Named:
    """The model header pins whatever the policy says; the model field means what the policy says."""
    name = request.ask.model or request.model
    meaning = "pin" if request.ask.model else policy.model_field
    if name in ROUTED or meaning == "ignore":
        return _Named()
    found = frozenset(deployment.id for deployment in catalog.by_name.get(name, ()))
    if meaning == "pin":
        return _Named(pinned=found, unknown="" if found else name)
    return _Named(preferred=found)


def _session(held: SessionTerms, told: Session | None, name: str) -> Session | None:
    """What the token told, else the name asked for, unless sessions are ignored."""
    if held.consistency == "none":
        return None
    return told or (Session(name) if name else None)


def _tasks(traits: Traits, doubt: str) -> tuple[str, ...]:
    """Those whose quality has to do: every plausible one, where there is doubt and the policy says so."""
    if doubt != "everyPlausibleTask":
        return (traits.task,)
    plausible = [task for task, _ in traits.tasks] or [traits.runner_up or traits.task]
    return tuple(dict.fromkeys((traits.task, *plausible)))


def _floor(policy: Policy, tier: Tier, doubt: str) -> float:
    floor = policy.tiers[tier].floor
    return max(floor, policy.tiers[SAFER[tier]].floor) if doubt == "saferTier" else floor


def _wish(
    request: MediaRequest,
    policy: Policy,
    rule: Rule,
    tier: Tier,
    by_rule: frozenset[str],
    by_caller: frozenset[str],
    session: Session | None,
) -> Wish:
    """A rule's preference goes before the caller's, what both prefer before either."""
    ask = request.ask
    places: dict[str, int] = {}
    if by_rule or by_caller:
        places = dict.fromkeys(by_caller, 2) | dict.fromkeys(by_rule, 1) | dict.fromkeys(by_rule & by_caller, 0)
    objective = rule.objective or policy.tiers[tier].objective or policy.objective
    return Wish(
        objective="fastest" if ask.priority == "high" else objective,
        weights=policy.weights,
        max_extra=policy.max_extra,
        pictures=request.n,
        max_latency=None if ask.priority == "low" else ask.max_latency,
        session=session.name if session else "",
        model=session.model if session else "",
        tolerance=(rule.session or policy.session).tolerance,
        places=places,
    )


def _latency_ceiling(request: MediaRequest, policy: Policy, rule: Rule) -> float | None:
    """Seconds; a caller in no hurry has none."""
    if request.ask.priority == "low":
        return None
    return _tightest(request.ask.max_latency, rule.ceilings.latency_seconds, policy.ceilings.latency_seconds)


def _tightest(*ceilings: float | None) -> float | None:
    return min((ceiling for ceiling in ceilings if ceiling is not None), default=None)


def _keyless(catalog: Catalog, credentials: Container[str] | None) -> frozenset[str]:
    if credentials is None:
        return frozenset()
    return frozenset(
        name for name, provider in catalog.providers.items() if name not in credentials and provider.credential.needed
    )


# ------------------------------------------------------------------------------------------------------ who is eligible


def _shown(
    request: MediaRequest, policy: Policy, catalog: Catalog, admission: Admission, tasks: tuple[str, ...], floor: float
) -> Sheet:
    rule = admission.rule
    if rule.refuse:
        return _refused(catalog, rule)
    cost = _tightest(request.ask.max_cost, rule.ceilings.cost_usd, policy.ceilings.cost_usd)
    return sheet(screen(policy, catalog), request, Terms(admission, tasks, floor, cost))


def _refused(catalog: Catalog, rule: Rule) -> Sheet:
    detail = f"refused by rule {rule.name}"
    rejected = tuple(Rejection(deployment, Code.DENIED, detail) for deployment in catalog.deployments)
    return Sheet(sound=(), rejected=rejected, codes=codes_of(rejected), preferred=frozenset())


def _codes(rejected: Sequence[Rejection], shown: Sheet) -> str:
    """What the sheet rejects stands at the end."""
    halted = codes_of(rejected[: len(rejected) - len(shown.rejected)])
    return f"{halted},{shown.codes}" if halted and shown.codes else halted or shown.codes


def _sift(shown: Sheet, latency: float | None, health: HealthView) -> tuple[Sequence[Candidate], tuple[Rejection, ...]]:
    """Adds what is live. The latency ceiling is held against the expected time, p50; p95 is the speed premium's."""
    if latency is None and not health:
        return shown.sound, shown.rejected
    candidates: list[Candidate] = []
    halted: list[Rejection] = []
    for candidate in shown.sound:
        deployment = candidate.deployment
        known = health.get(deployment.id)
        p50 = candidate.p50
        if known:
            if not known.available:
                halted.append(Rejection(deployment, Code.BREAKER, known.detail or "breaker open"))
                continue
            p50, p95 = known.p50 or p50, known.p95 or candidate.p95
            candidate = Candidate._make((*candidate[:5], p50, p95, "", known.success, candidate.task))
        if latency is not None and p50 > latency:
            numbers = (p50, latency)
            halted.append(Rejection(deployment, Code.LATENCY, "p50 %.1f s > ceiling %.1f s", numbers, p50 - latency))
        else:
            candidates.append(candidate)
    return candidates, (*halted, *shown.rejected)


# --------------------------------------------------------------------------------- the reason, without a caller's words


def _judged(traits: Traits, tier: Tier, tasks: tuple[str, ...], floor: float) -> str:
    asked = f"floor {share(floor)}" if floor > 0 else "without a floor"
    return f"{' or '.join(tasks)} {traits.confidence:.2f}, {tier.value} {asked}"


def _ending(chosen: Candidate | None, day: int) -> tuple[str, ...]:
    left = days_left(chosen.deployment.model, day) if chosen else None
    if chosen is None or left is None or left > ENDS_SOON:
        return ()
    return (f"{chosen.deployment.model.id} retires on {chosen.deployment.model.retires}",)


def _passed_over(faults: Iterable[Fault]) -> tuple[str, ...]:
    return tuple(f"rule {fault.rule} was passed over: its when failed, {fault.text}" for fault in faults)


def _nothing(rejected: Iterable[Rejection], named: _Named, rule: Rule) -> str:
    if rule.refuse:
        return f"refused by rule {rule.name}"
    return "unknown model" if named.unknown else no_candidate(rejected)
