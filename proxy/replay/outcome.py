"""What one recorded request comes to under one configuration, and which requests come to the same.

``measure`` adds up the outcomes of one configuration, ``compare`` holds those of two against each other. Decides as a
sidecar does that has just started: nothing measured, every breaker shut. Sends nothing, and must not look at a prompt
itself.
"""

from bisect import bisect_left
from collections.abc import Container, Hashable, Mapping
from dataclasses import dataclass, field, fields
from operator import attrgetter

from adapters.ir import Ask, MediaRequest
from policies.classify import Traits, classify
from policies.decide import Decision, decide, subject_of
from policies.explain import no_candidate_summary
from policies.load import Config
from policies.match import Policy, first_match
from proxy.traffic import Recorded

# All of a request that its fitness and price can depend on; what only rules look at is covered by the rule that holds.
_SHAPE = attrgetter(
    *sorted({one.name for one in fields(MediaRequest)} - {"prompt", "negative_prompt", "extras", "ask"})
)
_ASKED = attrgetter(*sorted({one.name for one in fields(Ask)} - {"headers", "caller", "app", "namespace"}))


@dataclass(frozen=True, slots=True)
class Served:
    """What a request comes to that something can serve."""

    model: str
    deployment: str
    task: str
    tier: str
    pictures: int
    usd: float | None
    p50: float
    p95: float
    floor: float  # 0: there was none
    clears: bool  # the floor, of every task it was held against
    able: Mapping[str, float]  # every model that could have served it, with its lowest price


@dataclass(frozen=True, slots=True)
class Unserved:
    """What a request comes to for which nothing would be sent. ``refused_by`` is the rule that says so, if one does."""

    reason: str
    refused_by: str = ""


Outcome = Served | Unserved


@dataclass(frozen=True, slots=True)
class Side:
    """What traffic is decided against. ``credentials`` as in ``decide``, ``now`` in seconds since the epoch."""

    config: Config
    now: float
    credentials: Container[str] | None = None
    _prompt_limits: list[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        limits = {one.limits.max_prompt for one in self.config.catalog.deployments}
        object.__setattr__(self, "_prompt_limits", sorted(limit for limit in limits if limit is not None))

    def policy(self, request: MediaRequest) -> Policy | None:
        return self.config.policies.get(request.ask.policy or "default")

    def classify(self, recorded: Recorded) -> Traits:
        """What the request is about; what was recorded of it, where the words were not."""
        return recorded.traits or classify(recorded.request, self.config.lexicon())

    def kind(self, request: MediaRequest, traits: Traits) -> Hashable:
        """With ``likeness`` equal for two requests that are decided alike: by policy, rule, tier and length."""
        policy = self.policy(request)
        if policy is None:
            return None
        subject = subject_of(request, traits, policy, self.now)
        rule = first_match(policy, subject)
        length = len(request.prompt)
        if rule and (rewrite := rule.rewrite):
            length += len(rewrite.prompt_prefix) + len(rewrite.prompt_suffix)
        sure = traits.confidence >= policy.doubt.min_confidence
        return policy, rule, subject.tier, sure, bisect_left(self._prompt_limits, length)

    def decide(self, recorded: Recorded, traits: Traits) -> Decision | None:
        """None: there is no such policy."""
        request = recorded.request
        policy = self.policy(request)
        if policy is None:
            return None
        catalog, session = self.config.catalog, recorded.session
        return decide(request, traits, policy, catalog, {}, self.now, credentials=self.credentials, session=session)


def likeness(recorded: Recorded, traits: Traits) -> Hashable:
    """All of a request, whatever it is decided against, that a decision can depend on beside what rules look at: shape,
    wishes, plausible tasks."""
    plausible = tuple(task for task, _ in traits.tasks)
    request = recorded.request
    return traits.task, traits.runner_up, plausible, _SHAPE(request), _ASKED(request.ask), recorded.session_model


def outcome(recorded: Recorded, decision: Decision | None) -> Outcome:
    """What a decision comes to."""
    request = recorded.request
    if decision is None:
        return Unserved(f"there is no policy {request.ask.policy[:80]!r}")
    if decision.refusal:
        return Unserved(f"refused by rule {decision.rule}", decision.rule)
    if not decision.candidates:
        return Unserved(no_candidate_summary(decision))
    chosen = decision.candidates[0]
    able: dict[str, float] = {}
    for one in decision.candidates:
        if one.price_usd is not None:
            model = one.deployment.model.id
            able[model] = min(one.price_usd, able.get(model, one.price_usd))
    return Served(
        model=chosen.deployment.model.id,
        deployment=chosen.deployment.id,
        task=decision.traits.task,
        tier=decision.tier.value,
        pictures=request.n,
        usd=chosen.price_usd,
        p50=chosen.p50,
        p95=chosen.p95,
        floor=decision.floor,
        clears=clears(decision, decision),
        able=able,
    )


def clears(decision: Decision, bar: Decision) -> bool:
    """Whether the first choice of ``decision`` is above the floor of ``bar``, for every task that one asked about. Asks
    the catalog, not the decision's own figures: this is here to find them wrong."""
    scores = [decision.candidates[0].deployment.model.quality_for(task) for task in bar.tasks]
    return bar.floor <= 0 or all(score is not None and score.p25 >= bar.floor for score in scores)
