"""The one entry to a choice: ``decide(request, traits, policy, catalog, health, now) -> Decision``.

``exchange``, ``muxel explain`` and the dry run call it; the proxy then tries ``Decision.candidates`` in order. Pure:
the same inputs give the same answer. ``decision`` has the types (found here too), ``screen`` the filters that need
nothing live, ``rank`` the order. Must not know wires, and reads a prompt only where a rule searches it.

Each deployment is a candidate, or is rejected with the first code that applies in this order: OPERATION, RETIRED,
DENIED, NOT_ASKED, CREDENTIAL, CAPABILITY, LIMIT, BREAKER, UNKNOWN_PRICE, COST, LATENCY, UNKNOWN_QUALITY, QUALITY.
"""

from collections.abc import Container, Iterable
from typing import NamedTuple

from adapters.ir import MediaRequest, Tier
from policies.catalog import Catalog, Deployment
from policies.classify import Traits
from policies.decision import Candidate, Code, Decision, Health, HealthView, Rejection, Rewrite
from policies.explain import no_candidate, share
from policies.match import NO_RULE, Policy, Rule, first_match
from policies.rank import Wish, rank
from policies.screen import Sheet, Terms, screen, sheet

__all__ = ["Candidate", "Code", "Decision", "Health", "HealthView", "Rejection", "Rewrite", "decide"]

ROUTED = frozenset(("", "auto", "muxel/auto"))  # model names that leave the choice to the policy
SAFER = {Tier.DRAFT: Tier.STANDARD, Tier.STANDARD: Tier.PREMIUM, Tier.PREMIUM: Tier.PREMIUM}
REASON_LENGTH = 200
DAY = 86_400  # seconds


def decide(
    request: MediaRequest,
    traits: Traits,
    policy: Policy,
    catalog: Catalog,
    health: HealthView,
    now: float,
    *,
    credentials: Container[str] | None = None,
) -> Decision:
    """Which deployments to try, in order, and why not the others. Never raises.

    ``now`` is seconds since the epoch, for retirement dates. ``credentials`` holds the names of the providers with a
    usable key, None for all of them; a provider that needs no key need not be in it. The tier is the caller's, else
    the rule's, else the one the traits hint at, else the policy's; rules are matched with the tier known before them.
    """
    hinted = traits.tier or policy.default_tier
    rule = first_match(policy, request, traits, request.ask.tier or hinted) or NO_RULE
    tier = request.ask.tier or rule.tier or hinted
    named = _named(request, policy, catalog)
    tasks, floor = _floor(traits, policy, rule, tier, named)
    if rule.refuse:
        shown = _refused(catalog, rule)
    else:
        cost = _tightest(request.ask.max_cost, rule.ceilings.cost_usd, policy.ceilings.cost_usd)
        keyless = _keyless(catalog, credentials)
        terms = Terms(rule, tasks, floor, cost, named.pinned, keyless, int(now // DAY))
        shown = sheet(screen(policy, catalog), request, terms)
    candidates, rejected = _sift(shown, _latency_ceiling(request, policy, rule), health)
    wish = _wish(request, policy, rule, tier, shown.preferred, named.preferred)
    ordered = rank(candidates, wish)
    judged = _judged(traits, tier, tasks, floor)
    reason = f"{judged}: {ordered[0].why}" if ordered else _nothing(rejected, named, rule)
    return Decision(
        candidates=ordered,
        rejected=tuple(rejected),
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
        rewrite=rule.rewrite,
    )


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


def _floor(traits: Traits, policy: Policy, rule: Rule, tier: Tier, named: _Named) -> tuple[tuple[str, ...], float]:
    """The tasks and the floor to clear: of every plausible task, or of the next tier up, where there is doubt.

    Who names the model, be it a rule's ``use`` or a caller's pin, answers for its quality: then there is no floor.
    """
    tasks: tuple[str, ...] = (traits.task,)
    floor = policy.tiers[tier].floor
    if traits.confidence < policy.doubt.min_confidence:
        if policy.doubt.action == "saferTier":
            floor = max(floor, policy.tiers[SAFER[tier]].floor)
        else:
            plausible = [task for task, _ in traits.tasks] or [traits.runner_up or traits.task]
            tasks = tuple(dict.fromkeys((traits.task, *plausible)))
    waived = rule.use is not None or named.pinned is not None
    return tasks, 0.0 if waived else floor


def _wish(
    request: MediaRequest,
    policy: Policy,
    rule: Rule,
    tier: Tier,
    by_rule: frozenset[str],
    by_caller: frozenset[str],
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
        session=ask.session,
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


def _refused(catalog: Catalog, rule: Rule) -> Sheet:
    detail = f"refused by rule {rule.name}"
    barred = tuple(Rejection(deployment, Code.DENIED, detail) for deployment in catalog.deployments)
    return Sheet(sound=(), poor=(), dear=(), barred=barred, preferred=frozenset())


def _sift(shown: Sheet, latency: float | None, health: HealthView) -> tuple[list[Candidate], list[Rejection]]:
    """Adds what is live. The latency ceiling is held against the expected time, p50; p95 is the speed premium's."""
    candidates: list[Candidate] = []
    rejected: list[Rejection] = []
    for candidate in shown.sound:
        known = health.get(candidate.deployment.id)
        if rejection := _halted(candidate.deployment, known, latency):
            rejected.append(rejection)
        else:
            candidates.append(_measured(candidate, known) if known else candidate)
    rejected += [_halted(one.deployment, health.get(one.deployment.id), latency) or one for one in shown.poor]
    rejected += [_halted(one.deployment, health.get(one.deployment.id), None) or one for one in shown.dear]
    return candidates, [*rejected, *shown.barred]


def _halted(deployment: Deployment, known: Health | None, latency: float | None) -> Rejection | None:
    if known and not known.available:
        return Rejection(deployment, Code.BREAKER, known.detail or "breaker open")
    p50 = (known and known.p50) or deployment.p50
    if latency is not None and p50 > latency:
        detail = f"p50 {p50:.1f} s > ceiling {latency:.1f} s"
        return Rejection(deployment, Code.LATENCY, detail, p50 - latency)
    return None


def _measured(candidate: Candidate, known: Health) -> Candidate:
    """With what live traffic says in place of the catalog's latency. The busiest line of all, hence ``_make``."""
    p50, p95 = known.p50 or candidate.p50, known.p95 or candidate.p95
    return Candidate._make((*candidate[:5], p50, p95, candidate.why, known.success))


# --------------------------------------------------------------------------------- the reason, without a caller's words


def _judged(traits: Traits, tier: Tier, tasks: tuple[str, ...], floor: float) -> str:
    asked = f"floor {share(floor)}" if floor > 0 else "without a floor"
    return f"{' or '.join(tasks)} {traits.confidence:.2f}, {tier.value} {asked}"


def _nothing(rejected: Iterable[Rejection], named: _Named, rule: Rule) -> str:
    if rule.refuse:
        return f"refused by rule {rule.name}"
    return "unknown model" if named.unknown else no_candidate(rejected)
