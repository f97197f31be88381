"""The record of a choice: what was eligible and in which order, what was not and why.

``decide`` writes it, ``explain``, the trace, the audit and the response headers read it. Values only, no behaviour.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from adapters.ir import Tier
from policies.catalog import Deployment
from policies.classify import Traits
from policies.subject import Fault


class Code(StrEnum):
    """Why a deployment was not eligible, the first that applies in this order. Stable: dashboards and tests name them.

    What passes stands last, so that it is told only of deployments that would be tried but for it.
    """

    OPERATION = "operation"  # does not do this operation, or its wire cannot send it yet
    RETIRED = "retired"
    DENIED = "denied"  # allow / deny / require / avoid of the policy or rule
    NOT_ASKED = "not_asked"  # the caller pinned another model
    SESSION = "session"  # takes no references, which the session is to be held together by
    CREDENTIAL = "credential"  # no key is configured for the provider
    CAPABILITY = "capability"  # mask, references, transparency, LoRAs, SVG it cannot take
    LIMIT = "limit"  # size, aspect, prompt length beyond it
    UNKNOWN_PRICE = "unknown_price"  # under a ceiling, an unknown price is over it
    COST = "cost"
    UNKNOWN_QUALITY = "unknown_quality"
    QUALITY = "quality"  # lower quartile under the floor
    BREAKER = "breaker"
    LATENCY = "latency"


@dataclass(frozen=True, slots=True)
class Health:
    """What live traffic says of one deployment, at the moment of the decision."""

    available: bool = True  # the breaker would admit a call
    detail: str = ""  # why not, for the record
    p50: float | None = None  # seconds, measured; None: never
    p95: float | None = None
    success: float | None = None  # share of attempts that succeeded


HealthView = Mapping[str, Health]  # by deployment id; absent means nothing known


class Candidate(NamedTuple):
    """An eligible deployment with the numbers it was ordered by.

    A named tuple, as is ``Rejection``: a decision makes over a hundred of the two, and a frozen dataclass takes four
    times as long to make. ``score`` and ``p25`` are of the plausible task this model is weakest at.
    """

    deployment: Deployment
    price_usd: float | None  # for the whole request; None: unknown
    price_estimated: bool
    score: float | None
    p25: float | None
    p50: float  # seconds, measured or else the prior
    p95: float
    why: str  # of the first: a short clause for people, "cheapest of 9 at $0.030"
    success: float | None = None  # measured share of attempts that succeeded
    task: str = ""  # whose score and p25 those are


class Rejection(NamedTuple):
    """``text`` has its numbers put in only for whoever reads ``detail``: hardly any rejection ever is."""

    deployment: Deployment
    code: Code
    text: str
    numbers: tuple[float | str, ...] = ()
    excess: float = 0.0  # how far over the limit, in the limit's own unit: tells near misses from far ones

    @property
    def detail(self) -> str:
        return self.text % self.numbers if self.numbers else self.text


def codes_of(rejected: Iterable[Rejection]) -> str:
    """``deployment:code`` of each, with commas between: for the trace."""
    return ",".join([f"{one.deployment.id}:{one.code.value}" for one in rejected])


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What a rule adds to the request. All but prefix and suffix only where the request has none of its own."""

    prompt_prefix: str = ""
    prompt_suffix: str = ""
    negative_prompt: str = ""
    size: tuple[int, int] | None = None
    aspect: tuple[int, int] | None = None
    resolution: str = ""
    duration: float | None = None  # of videos alone
    quality: str = ""
    seed: int | None = None
    steps: int | None = None
    guidance: float | None = None
    format: str = ""
    compression: int | None = None
    background: str = ""


class Verdict(NamedTuple):
    """One rule and the first of its conditions that failed, "tier: standard is not premium"; "" where all hold."""

    rule: str
    failed: str


class Trace(NamedTuple):
    """Every rule that was looked at, in order; the last of them may apply, and then ``unseen`` ones come after it."""

    verdicts: tuple[Verdict, ...]
    unseen: int


@dataclass(frozen=True, slots=True)
class Session:
    """What a caller's session has settled with its first frame; empty where nothing is settled yet."""

    name: str = ""  # the caller's: what picks a model where none is settled, or where that one cannot be had
    model: str = ""  # by its id in the catalog
    seed: int | None = None
    style: str = ""  # the rule whose rewrite it was given
    style_urls: tuple[str, ...] = ()  # of its style references
    digest: str = ""  # of its references
    strayed: bool = False  # this request comes with other references than those


@dataclass(frozen=True, slots=True)
class Decision:
    """The deployments to try in order, and every other one with the reason. ``refusal`` set: a rule said no."""

    candidates: tuple[Candidate, ...]
    rejected: tuple[Rejection, ...]
    codes: str  # of the rejected, as ``codes_of`` writes them
    traits: Traits
    tier: Tier
    floor: float  # that the lower quartile had to clear; 0 where a rule waived it
    objective: str
    policy: str  # name of the RoutingPolicy
    rule: str  # name of the rule that applied; "" for none
    reason: str  # one line for the x-muxel-reason header: ASCII, at most 200 characters, nothing the caller wrote
    refusal: str = ""
    mark: str = ""
    tasks: tuple[str, ...] = ()  # whose floor had to be cleared; more than one: the classifier was in doubt
    unknown_model: str = ""  # the caller insists on a model the catalog does not have; as the caller wrote it
    rewrite: Rewrite | None = None
    doubt: str = ""  # what the policy does about it, where the classifier was in doubt
    session: Session | None = None  # the one the request belongs to, unless they are ignored
    token: bool = False  # the caller is to be given one
    notes: tuple[str, ...] = ()  # what is worth knowing beside the reason: a session that left its model, ...
    faults: tuple[Fault, ...] = ()  # rules that were passed over because they could not be judged; also in the notes
