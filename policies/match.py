"""Policies compiled for the hot path: rules that match requests, selectors that pick deployments, plain numbers.

``load`` compiles every validated ``RoutingPolicy`` here once; ``decide`` asks ``first_match`` and the selectors, the
proxy reads ``resilience`` and ``output``. A match costs a few microseconds. Must not choose or order anything.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from adapters.ir import MediaRequest, Tier
from policies import schema
from policies.catalog import Deployment
from policies.classify import Traits
from policies.decision import Rewrite

PROMPT_SEARCHED = 4_000  # characters a rule's expression is searched for in: bounds what a costly expression can do

Selector = Callable[[Deployment], bool]
Condition = Callable[[MediaRequest, Traits, Tier], bool]
Names = Callable[[str], bool]


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
    """``holds`` says whether the rule applies; the rest is what it does, empty or None where it does nothing."""

    name: str
    holds: Condition
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
    holds=lambda request, traits, tier: True,
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
    headers: frozenset[str] = frozenset()  # that its rules look at, in lower case


# ----------------------------------------------------------------------------------------------------- asking a policy


def first_match(policy: Policy, request: MediaRequest, traits: Traits, tier: Tier) -> Rule | None:
    """The first rule that holds; ``tier`` is the one known before any rule."""
    for rule in policy.rules:
        if rule.holds(request, traits, tier):
            return rule
    return None


# ----------------------------------------------------------------------------------------------------------- compiling


def compile_policy(document: schema.RoutingPolicy) -> Policy:
    """Raises ValueError, naming the field, for an expression that is none: the one thing the schema cannot check."""
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
        headers=frozenset(name.lower() for rule in spec.rules for name in rule.match.headers or ()),
    )


def _tier_terms(spec: schema.TierSpec) -> TierTerms:
    return TierTerms(spec.floor, spec.objective or "")


def _rule(rule: schema.Rule, where: str) -> Rule:
    return Rule(
        name=rule.name,
        holds=_condition(rule.match, f"{where}.match"),
        use=compile_selector(rule.use),
        require=compile_selector(rule.require),
        prefer=compile_selector(rule.prefer),
        avoid=compile_selector(rule.avoid),
        tier=rule.tier,
        objective=rule.objective or "",
        ceilings=Ceilings(**rule.ceilings.model_dump()) if rule.ceilings else Ceilings(),
        session=SessionTerms(**rule.session.model_dump()) if rule.session else None,
        rewrite=Rewrite(**rule.rewrite.model_dump()) if rule.rewrite else None,
        refuse=rule.refuse or "",
        mark=rule.mark or "",
    )


def compile_selector(selector: schema.Selector | None) -> Selector | None:
    """Which deployments are meant. A model is meant by its id, an alias, or ``model@provider``."""
    if selector is None:
        return None
    models, providers = _names(selector.models), _names(selector.providers)
    vendors, regions = _names(selector.vendors), _names(selector.regions)

    def selects(deployment: Deployment) -> bool:
        model, provider = deployment.model, deployment.provider.name
        return (
            providers(provider)
            or vendors(model.vendor)
            or regions(deployment.region)
            or any(map(models, (model.id, deployment.id, f"{model.id}@{provider}", *model.aliases)))
        )

    return selects


def _names(globs: Iterable[str]) -> Names:
    """Whether a name is one of these; ``*`` stands for any run of characters, and nothing else is special."""
    pattern = "|".join(".*".join(map(re.escape, glob.split("*"))) for glob in globs)
    if not pattern:
        return lambda name: False
    search = re.compile(pattern, re.DOTALL).fullmatch
    return lambda name: search(name) is not None


def _condition(match: schema.Match, where: str) -> Condition:
    """All the keys given, as one function. Keys that read the least stand first in ``_CONDITIONS``."""
    given = {key: value for key in _CONDITIONS if (value := getattr(match, key)) is not None}
    try:
        conditions = tuple(_CONDITIONS[key](value) for key, value in given.items())
    except re.error as error:
        raise ValueError(f"{where}.prompt: {match.prompt!r} is not a regular expression: {error}") from None

    def holds(request: MediaRequest, traits: Traits, tier: Tier) -> bool:
        return all(condition(request, traits, tier) for condition in conditions)

    return holds


def _caller(globs: Iterable[str]) -> Condition:
    matches = _names(globs)
    return lambda request, traits, tier: matches(request.ask.caller)


def _headers(globs: Mapping[str, str]) -> Condition:
    wanted = tuple((name.lower(), _names((glob,))) for name, glob in globs.items())

    def holds(request: MediaRequest, traits: Traits, tier: Tier) -> bool:
        headers = request.ask.headers
        return all(name in headers and matches(headers[name]) for name, matches in wanted)

    return holds


def _prompt(expression: str) -> Condition:
    search = re.compile(expression, re.IGNORECASE).search
    return lambda request, traits, tier: search(request.prompt, 0, PROMPT_SEARCHED) is not None


def _pixels(holds: Callable[[int], bool]) -> Condition:
    """A request that names no size has no pixels to compare, and matches neither a minimum nor a maximum."""

    def compare(request: MediaRequest, traits: Traits, tier: Tier) -> bool:
        size = request.dimensions()
        return size is not None and holds(size[0] * size[1])

    return compare


_CONDITIONS: dict[str, Callable[[Any], Condition]] = {
    "operation": lambda operations: lambda request, traits, tier: request.operation in operations,
    "task": lambda tasks: lambda request, traits, tier: traits.task in tasks,
    "tier": lambda tiers: lambda request, traits, tier: tier in tiers,
    "language": lambda languages: lambda request, traits, tier: traits.language in languages,
    "min_confidence": lambda least: lambda request, traits, tier: traits.confidence >= least,
    "max_confidence": lambda most: lambda request, traits, tier: traits.confidence <= most,
    "min_references": lambda least: lambda request, traits, tier: len(request.references) >= least,
    "min_pixels": lambda least: _pixels(lambda pixels: pixels >= least),
    "max_pixels": lambda most: _pixels(lambda pixels: pixels <= most),
    "caller": _caller,
    "headers": _headers,
    "prompt": _prompt,
}
