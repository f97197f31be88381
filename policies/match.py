"""Policies compiled for the hot path: rules that match requests, selectors that pick deployments, plain numbers.

``load`` compiles every validated ``RoutingPolicy`` here once; ``decide`` asks ``first_match`` and the selectors, the
proxy reads ``resilience`` and ``output``. A match costs a few microseconds; what a rule can look at is in
``conditions``. Must not choose or order anything.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from adapters.ir import Tier
from policies import schema
from policies.catalog import Deployment
from policies.conditions import Condition, Holds, all_of, conditions_of
from policies.decision import Rewrite, Trace, Verdict
from policies.globs import names
from policies.rollout import Hold, Rollout
from policies.subject import Subject
from policies.when import headers_read

Selector = Callable[[Deployment], bool]


# ------------------------------------------------------------------------------------------------ the compiled policy


@dataclass(frozen=True, slots=True)
class Ceilings:
    cost_usd: float | None = None  # for the whole request
    latency_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class TierTerms:
    """``objective`` empty: the policy's."""

    floor: float
    objective: str = ""


@dataclass(frozen=True, slots=True)
class Weights:
    quality: float
    cost: float
    latency: float
    reliability: float


@dataclass(frozen=True, slots=True)
class Doubt:
    min_confidence: float
    action: str  # everyPlausibleTask | saferTier | ignore


@dataclass(frozen=True, slots=True)
class SessionTerms:
    consistency: str  # model | reference | none
    tolerance: float  # share by which a model may be worse than the best and still be kept for a name
    token: bool


@dataclass(frozen=True, slots=True)
class Attempts:
    max: int
    per_deployment: int
    deadline_seconds: float
    backoff_seconds: float
    max_retry_after_seconds: float


@dataclass(frozen=True, slots=True)
class FallBack:
    refused: bool
    ambiguous: bool
    failed_job: bool


@dataclass(frozen=True, slots=True)
class Breaker:
    failure_rate: float
    min_calls: int
    window_seconds: float
    open_seconds: float
    half_open_trials: int
    slow_seconds: float | None


@dataclass(frozen=True, slots=True)
class Resilience:
    attempts: Attempts
    fall_back: FallBack
    breaker: Breaker


@dataclass(frozen=True, slots=True)
class Output:
    fit: str  # exact | asIs


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """``holds`` says whether the rule applies, which is that all its conditions do; the rest is what it does, empty or
    None where it does nothing."""

    name: str
    conditions: tuple[Condition, ...]
    holds: Holds
    use: Selector | None
    require: Selector | None
    prefer: Selector | None
    avoid: Selector | None
    tier: Tier | None
    objective: str
    ceilings: Ceilings
    session: SessionTerms | None
    rewrite: Rewrite | None
    refuse: str
    mark: str


NO_RULE = Rule(
    name="",
    conditions=(),
    holds=lambda subject: True,
    use=None,
    require=None,
    prefer=None,
    avoid=None,
    tier=None,
    objective="",
    ceilings=Ceilings(),
    session=None,
    rewrite=None,
    refuse="",
    mark="",
)


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """One RoutingPolicy. Compared by identity: it holds functions."""

    name: str
    model_field: str  # pin | prefer | ignore
    objective: str
    weights: Weights
    max_extra: float  # share of the price that may be paid more for the latency asked for
    tiers: Mapping[Tier, TierTerms]
    default_tier: Tier
    ceilings: Ceilings
    doubt: Doubt
    session: SessionTerms
    allow: Selector | None
    deny: Selector | None
    rules: tuple[Rule, ...]
    resilience: Resilience
    output: Output
    rollout: Rollout | None
    digest: str  # of the document but its tests: the same text is the same policy, and any change makes another
    headers: frozenset[str] = frozenset()  # that its rules look at, in lower case


# ----------------------------------------------------------------------------------------------------- asking a policy


def first_match(policy: Policy, subject: Subject) -> Rule | None:
    """The first rule that holds. ``subject.faults`` then tells of those before it that could not be judged."""
    for rule in policy.rules:
        if rule.holds(subject):
            return rule
    return None


def trace(policy: Policy, subject: Subject) -> Trace:
    """What ``first_match`` comes to, rule by rule, and what each failed on. Slower, and only for explanations."""
    verdicts: list[Verdict] = []
    for rule in policy.rules:
        failed = next((one for one in rule.conditions if not one.holds(subject)), None)
        verdicts.append(Verdict(rule.name, f"{failed.key}: {failed.tell(subject)}" if failed else ""))
        if failed is None:
            break
    return Trace(tuple(verdicts), len(policy.rules) - len(verdicts))


# ----------------------------------------------------------------------------------------------------------- compiling


def compile_policy(document: schema.RoutingPolicy) -> Policy:
    """Raises ValueError, naming the field, for what the schema cannot check: expressions and time zones. Raises
    Engineless for a ``when`` where its engine is not installed."""
    spec = document.spec
    resilience = spec.resilience
    return Policy(
        name=document.metadata.name,
        model_field=spec.model_field,
        objective=spec.objective,
        weights=Weights(**spec.weights.model_dump()),
        max_extra=spec.speed_premium.max_extra,
        tiers={tier: _tier_terms(getattr(spec.tiers, tier.value)) for tier in Tier},
        default_tier=spec.default_tier,
        ceilings=Ceilings(**spec.ceilings.model_dump()),
        doubt=Doubt(**spec.on_doubt.model_dump()),
        session=SessionTerms(**spec.session.model_dump()),
        allow=compile_selector(spec.allow),
        deny=compile_selector(spec.deny),
        rules=tuple(_rule(rule, f"spec.rules[{index}]") for index, rule in enumerate(spec.rules)),
        resilience=Resilience(
            attempts=Attempts(**resilience.attempts.model_dump()),
            fall_back=FallBack(**resilience.fall_back.model_dump()),
            breaker=Breaker(**resilience.breaker.model_dump()),
        ),
        output=Output(**spec.output.model_dump()),
        headers=frozenset[str]().union(*map(_headers, spec.rules)),
        rollout=_rollout(spec.rollout) if spec.rollout else None,
        digest=hashlib.sha256(document.model_dump_json(exclude={"spec": {"tests"}}).encode()).hexdigest()[:12],
    )


def _rollout(spec: schema.Rollout) -> Rollout:
    whole = 100.0 if spec.mode == "shadow" and not spec.callers else 0.0
    return Rollout(
        candidate=spec.candidate,
        mode=spec.mode,
        percent=whole if spec.percent is None else spec.percent,
        callers=spec.callers,
        invites=names(spec.callers),
        sticky=spec.sticky,
        named=spec.named,
        hold=Hold(**spec.hold.model_dump()),
    )


def _tier_terms(spec: schema.TierSpec) -> TierTerms:
    return TierTerms(spec.floor, spec.objective or "")


def _headers(rule: schema.Rule) -> frozenset[str]:
    """The names of the headers a rule looks at, in lower case."""
    return frozenset(map(str.lower, rule.match.headers or ())) | headers_read(rule.when or "")


def _rule(rule: schema.Rule, where: str) -> Rule:
    conditions = conditions_of(rule, where)
    return Rule(
        name=rule.name,
        conditions=conditions,
        holds=all_of(conditions),
        use=compile_selector(rule.use),
        require=compile_selector(rule.require),
        prefer=compile_selector(rule.prefer),
        avoid=compile_selector(rule.avoid),
        tier=rule.tier,
        objective=rule.objective or "",
        ceilings=Ceilings(**rule.ceilings.model_dump()) if rule.ceilings else Ceilings(),
        session=SessionTerms(**rule.session.model_dump()) if rule.session else None,
        rewrite=_rewrite(rule.rewrite) if rule.rewrite else None,
        refuse=rule.refuse or "",
        mark=rule.mark or "",
    )


def _rewrite(spec: schema.Rewrite) -> Rewrite:
    values = {name: value for name, value in spec.model_dump().items() if value is not None}
    values |= {name: _pair(values[name]) for name in ("size", "aspect") if name in values}
    return Rewrite(**values)


def _pair(text: str) -> tuple[int, int]:
    """16:9 and 1024x1536"""
    width, height = map(int, text.replace("x", ":").split(":"))
    return width, height


def compile_selector(selector: schema.Selector | None) -> Selector | None:
    """Which deployments are meant. A model is meant by its id, an alias, or ``model@provider``."""
    if selector is None:
        return None
    models, providers = names(selector.models), names(selector.providers)
    vendors, regions = names(selector.vendors), names(selector.regions)

    def selects(deployment: Deployment) -> bool:
        model, provider = deployment.model, deployment.provider.name
        return (
            providers(provider)
            or vendors(model.vendor)
            or regions(deployment.region)
            or any(map(models, (model.id, deployment.id, f"{model.id}@{provider}", *model.aliases)))
        )

    return selects
