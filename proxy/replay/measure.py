"""What traffic would have cost: every request classified and decided, and what came of it added up.

Called by ``verbs.replay`` and the benchmark. Decides as a sidecar does that has just started: nothing measured, every
breaker shut. Does no IO and reads no clock. Sends nothing, and must not look at a prompt itself.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from operator import attrgetter

from adapters.ir import Ask, MediaRequest
from policies.catalog import Catalog
from policies.classify import Lexicon, Traits, classify
from policies.decide import Decision, decide, subject_of
from policies.explain import no_candidate_summary
from policies.load import Config
from policies.match import Policy, first_match
from policies.price import price
from proxy.traffic import Recorded

REASONS = 20  # different ones told of requests that nothing could serve
KEPT = 20_000  # outcomes, about 2 kB each

Baseline = Callable[[MediaRequest], float | None]  # dollars for all pictures of a request; None: not known


# ----------------------------------------------------------------------------------------------------- what is added up


@dataclass(slots=True)
class Sums:
    """One line of the report. Savings compare what is known on both sides: ``baseline_usd`` with ``compared_usd``."""

    requests: int = 0
    pictures: int = 0
    cost_usd: float = 0.0
    unknown_cost: int = 0  # requests; their cost is in no sum
    priced: int = 0  # pictures whose cost is known
    compared: int = 0  # requests
    compared_usd: float = 0.0
    baseline_usd: float = 0.0

    @property
    def saved(self) -> float | None:
        """Share of the baseline; None where there is nothing to compare with."""
        return 1 - self.compared_usd / self.baseline_usd if self.baseline_usd else None

    @property
    def each_usd(self) -> float | None:
        """A picture, on average."""
        return self.cost_usd / self.priced if self.priced else None

    def add(self, weight: int, pictures: int, cost: float | None, before: float | None) -> None:
        self.requests += weight
        self.pictures += weight * pictures
        if cost is None:
            self.unknown_cost += weight
            return
        self.priced += weight * pictures
        self.cost_usd += weight * cost
        if before is not None:
            self.compared += weight
            self.compared_usd += weight * cost
            self.baseline_usd += weight * before


@dataclass(frozen=True, slots=True)
class Served:
    """What one request comes to."""

    model: str
    task: str
    tier: str
    pictures: int
    usd: float | None
    before_usd: float | None
    p50: float
    p95: float
    waived: bool  # there was no floor
    clears: bool  # the floor, of every task it was held against
    able: Mapping[str, float]  # every model that could have served it, with its lowest price


@dataclass(slots=True)
class Tally:
    """What came of a replay so far. All counts are of requests, each line of traffic by its weight."""

    lines: int = 0
    served: Sums = field(default_factory=Sums)
    models: defaultdict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    tasks: defaultdict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    tiers: defaultdict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    apps: defaultdict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    alone: defaultdict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))  # against each model that could
    unserved: Counter[str] = field(default_factory=Counter)  # by reason
    violations: Counter[str] = field(default_factory=Counter)  # of the floor, by model: always empty
    waived: int = 0  # a rule or a caller named the model, so that there was no floor
    p50: Counter[float] = field(default_factory=Counter)  # seconds, of the chosen
    p95: Counter[float] = field(default_factory=Counter)

    @property
    def requests(self) -> int:
        return self.served.requests + self.unserved.total()

    def add(self, app: str, weight: int, outcome: Served | str) -> None:
        """Counts so many requests of one kind; a text is the reason why nothing would have been sent."""
        if isinstance(outcome, str):
            known = outcome in self.unserved or len(self.unserved) < REASONS
            self.unserved[outcome if known else "other reasons"] += weight
            return
        pictures, usd, before = outcome.pictures, outcome.usd, outcome.before_usd
        self.served.add(weight, pictures, usd, before)
        self.models[outcome.model].add(weight, pictures, usd, before)
        self.tasks[outcome.task].add(weight, pictures, usd, before)
        self.tiers[outcome.tier].add(weight, pictures, usd, before)
        self.apps[app].add(weight, pictures, usd, before)
        for model, least in outcome.able.items():
            self.alone[model].add(weight, pictures, usd, least)
        self.p50[outcome.p50] += weight
        self.p95[outcome.p95] += weight
        self.waived += weight * outcome.waived
        if not outcome.clears:
            self.violations[outcome.model] += weight

    def latency(self) -> tuple[float, float] | None:
        """Seconds: the median of the chosen deployments' p50, and the p95 that all but a twentieth stay within."""
        return (_quantile(self.p50, 0.5), _quantile(self.p95, 0.95)) if self.p50 else None

    def one_model(self) -> tuple[str, Sums] | None:
        """The one model that could have served the most requests, floors and all, at the lowest cost; with that cost as
        baseline. It is what routing is to be measured against where nothing else is known."""
        ranked = sorted(self.alone.items(), key=lambda one: (-one[1].compared, one[1].baseline_usd, one[0]))
        return ranked[0] if ranked else None


def largest_first(groups: Mapping[str, Sums]) -> list[tuple[str, Sums]]:
    return sorted(groups.items(), key=lambda group: (-group[1].pictures, group[0]))


def _quantile(counts: Mapping[float, int], share: float) -> float:
    wanted, seen = share * sum(counts.values()), 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= wanted:
            break
    return value


# -------------------------------------------------------------------------------------------------------- what is asked

# All of a request that its fitness and price can depend on; what only rules look at is covered by the rule that holds.
_SHAPE = attrgetter(
    *sorted({one.name for one in fields(MediaRequest)} - {"prompt", "negative_prompt", "extras", "ask"})
)
_ASKED = attrgetter(*sorted({one.name for one in fields(Ask)} - {"headers", "caller", "app", "namespace"}))


@dataclass(frozen=True, slots=True)
class Replay:
    """What traffic is decided against. ``credentials`` as in ``decide``, ``now`` in seconds since the epoch."""

    config: Config
    lexicon: Lexicon
    baseline: Baseline
    now: float
    credentials: Container[str] | None = None

    def run(self, traffic: Iterable[Recorded]) -> Tally:
        """Words differ and requests hardly do, so each kind of request is decided once, and added up at the end."""
        tally, kept = Tally(), dict[tuple[object, ...], tuple[Served | str, Counter[str]]]()
        limits = {one.limits.max_prompt for one in self.config.catalog.deployments}
        prompt_limits = sorted(limit for limit in limits if limit is not None)
        for recorded in traffic:
            request = recorded.request
            policy = self.config.policies.get(request.ask.policy or "default")
            traits = recorded.traits or classify(request, self.lexicon)
            key = _alike(request, traits, policy, prompt_limits, self.now)
            found = kept.get(key)
            if found is None:
                if len(kept) >= KEPT:
                    _count(tally, kept.values())
                    kept.clear()
                found = kept[key] = self._outcome(request, traits, policy), Counter()
            found[1][request.ask.app] += recorded.weight
            tally.lines += 1
        _count(tally, kept.values())
        return tally

    def _outcome(self, request: MediaRequest, traits: Traits, policy: Policy | None) -> Served | str:
        """A text is the reason why nothing would be sent."""
        if policy is None:
            return f"there is no policy {request.ask.policy[:80]!r}"
        decision = decide(request, traits, policy, self.config.catalog, {}, self.now, credentials=self.credentials)
        if decision.refusal:
            return f"refused by rule {decision.rule}"
        if not decision.candidates:
            return no_candidate_summary(decision)
        chosen = decision.candidates[0]
        able: dict[str, float] = {}
        for one in decision.candidates:
            if one.price_usd is not None:
                model = one.deployment.model.id
                able[model] = min(one.price_usd, able.get(model, one.price_usd))
        return Served(
            model=chosen.deployment.model.id,
            task=traits.task,
            tier=decision.tier.value,
            pictures=request.n,
            usd=chosen.price_usd,
            before_usd=self.baseline(request),
            p50=chosen.p50,
            p95=chosen.p95,
            waived=decision.floor <= 0,
            clears=_clears(decision),
            able=able,
        )


def _count(tally: Tally, found: Iterable[tuple[Served | str, Counter[str]]]) -> None:
    for outcome, apps in found:
        for app, weight in apps.items():
            tally.add(app, weight, outcome)


def _alike(
    request: MediaRequest, traits: Traits, policy: Policy | None, prompt_limits: Sequence[int], now: float
) -> tuple[object, ...]:
    """Equal for two requests that are decided alike: by shape, length, wishes, plausible tasks and rule."""
    if policy is None:
        return (request.ask.policy,)
    subject = subject_of(request, traits, policy, now)
    rule = first_match(policy, subject)
    length = len(request.prompt)
    if rule and (rewrite := rule.rewrite):
        length += len(rewrite.prompt_prefix) + len(rewrite.prompt_suffix)
    sure = traits.confidence >= policy.doubt.min_confidence
    plausible = tuple(task for task, _ in traits.tasks)
    return (
        policy, rule, subject.tier, sure, traits.task, traits.runner_up, plausible, bisect_left(prompt_limits, length),
        _SHAPE(request), _ASKED(request.ask),
    )  # fmt: skip


def _clears(decision: Decision) -> bool:
    """Asks the catalog, not the decision's own figures: this is here to find them wrong."""
    scores = [decision.candidates[0].deployment.model.quality_for(task) for task in decision.tasks]
    return decision.floor <= 0 or all(score is not None and score.p25 >= decision.floor for score in scores)


# -------------------------------------------------------------------------------------------------- what it cost before


def per_picture(usd: float) -> Baseline:
    """The same price for every picture, whatever it shows."""
    return lambda request: request.n * usd


def of_model(catalog: Catalog, name: str) -> Baseline:
    """The named model for every request, where it is cheapest. Unknown for an operation that it does not do."""
    return lambda request: _cheapest(request, catalog, name)


def as_asked(catalog: Catalog) -> Baseline:
    """For each request the model that its caller named."""
    return lambda request: _cheapest(request, catalog, request.model)


def _cheapest(request: MediaRequest, catalog: Catalog, name: str) -> float | None:
    hosts = [host for host in catalog.by_name.get(name, ()) if request.operation in host.operations]
    prices = [usd for host in hosts if (usd := price(request, host)) is not None]
    return min(prices, default=None)
