"""The one entry to a choice: ``decide(request, traits, policy, catalog, health, now) -> Decision``."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from adapters.ir import Tier
from policies.catalog import Deployment
from policies.classify import Traits


class Code(StrEnum):
    """Why a deployment was not eligible. Stable: dashboards and tests name them."""

    OPERATION = "operation"  # cannot do this operation
    CAPABILITY = "capability"  # mask, references, transparency it cannot take
    LIMIT = "limit"  # size, aspect, prompt length beyond it
    RETIRED = "retired"
    DENIED = "denied"  # allow / deny / require / avoid of the policy or rule
    NOT_ASKED = "not_asked"  # the caller pinned another model
    CREDENTIAL = "credential"  # no key is configured for the provider
    BREAKER = "breaker"
    UNKNOWN_PRICE = "unknown_price"  # under a ceiling, an unknown price is over it
    COST = "cost"
    LATENCY = "latency"
    UNKNOWN_QUALITY = "unknown_quality"
    QUALITY = "quality"  # lower quartile under the floor


@dataclass(frozen=True, slots=True)
class Health:
    """What live traffic says of one deployment, at the moment of the decision."""

    available: bool = True  # the breaker would admit a call
    detail: str = ""  # why not, for the record
    p50: float | None = None  # seconds, measured; None: too few samples
    p95: float | None = None
    success: float | None = None  # share of attempts that succeeded


HealthView = Mapping[str, Health]  # by deployment id; absent means nothing known


@dataclass(frozen=True, slots=True)
class Candidate:
    """An eligible deployment with the numbers it was ordered by."""

    deployment: Deployment
    price_usd: float | None  # for the whole request; None: unknown
    price_estimated: bool
    score: float | None
    p25: float | None
    p50: float  # seconds
    p95: float
    why: str  # a short clause for people: "cheapest above the floor 0.35"


@dataclass(frozen=True, slots=True)
class Rejection:
    deployment: Deployment
    code: Code
    detail: str


@dataclass(frozen=True, slots=True)
class Decision:
    """The deployments to try in order, and every other one with the reason. ``refusal`` set: a rule said no."""

    candidates: tuple[Candidate, ...]
    rejected: tuple[Rejection, ...]
    traits: Traits
    tier: Tier
    floor: float
    objective: str
    policy: str  # name of the RoutingPolicy
    rule: str  # name of the rule that applied; "" for none
    reason: str  # one line for the x-muxel-reason header
    refusal: str = ""
    mark: str = ""
