"""What traffic would have cost: every request classified and decided, and what came of it added up.

Called by ``verbs.replay`` and the benchmark; ``compare`` adds up with the same sums. What a request comes to is
``outcome``. Does no IO and reads no clock.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Container, Hashable, Iterable, Mapping
from dataclasses import dataclass, field

from adapters.ir import MediaRequest
from policies.catalog import Catalog
from policies.load import Config
from policies.price import price
from proxy.replay.outcome import Outcome, Side, Unserved, likeness, outcome
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

    def add(self, app: str, weight: int, outcome: Outcome, before: float | None = None) -> None:
        """Counts so many requests of one kind. ``before`` is what each cost, in dollars."""
        if isinstance(outcome, Unserved):
            count(self.unserved, outcome.reason, weight)
            return
        pictures, usd = outcome.pictures, outcome.usd
        self.served.add(weight, pictures, usd, before)
        self.models[outcome.model].add(weight, pictures, usd, before)
        self.tasks[outcome.task].add(weight, pictures, usd, before)
        self.tiers[outcome.tier].add(weight, pictures, usd, before)
        self.apps[app].add(weight, pictures, usd, before)
        for model, least in outcome.able.items():
            self.alone[model].add(weight, pictures, usd, least)
        self.p50[outcome.p50] += weight
        self.p95[outcome.p95] += weight
        self.waived += weight * (outcome.floor <= 0)
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


def count(reasons: Counter[str], reason: str, weight: int) -> None:
    """One more of a reason; there are never many different ones."""
    known = reason in reasons or len(reasons) < REASONS
    reasons[reason if known else "other reasons"] += weight


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


@dataclass(frozen=True, slots=True)
class Replay:
    """What traffic is decided against and compared with. ``credentials`` as in ``decide``, ``now`` in seconds since the
    epoch."""

    config: Config
    baseline: Baseline
    now: float
    credentials: Container[str] | None = None

    def run(self, traffic: Iterable[Recorded]) -> Tally:
        """Words differ and requests hardly do, so each kind of request is decided once, and added up at the end."""
        tally, side = Tally(), Side(self.config, self.now, self.credentials)
        kept: dict[Hashable, tuple[Outcome, float | None, Counter[str]]] = {}
        for recorded in traffic:
            request, traits = recorded.request, side.classify(recorded)
            key = side.kind(request, traits), likeness(recorded, traits)
            found = kept.get(key)
            if found is None:
                if len(kept) >= KEPT:
                    _count(tally, kept.values())
                    kept.clear()
                came_to = outcome(recorded, side.decide(recorded, traits))
                found = kept[key] = came_to, self.baseline(request), Counter()
            found[2][request.ask.app] += recorded.weight
            tally.lines += 1
        _count(tally, kept.values())
        return tally


def _count(tally: Tally, found: Iterable[tuple[Outcome, float | None, Counter[str]]]) -> None:
    for came_to, before, apps in found:
        for app, weight in apps.items():
            tally.add(app, weight, came_to, before)


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
