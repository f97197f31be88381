"""How each deployment has fared of late: seconds to a picture and share of successes, for the next decision.

``exchange`` records every attempt; ``view`` gives ``decide`` a plain mapping. Each deployment has a histogram whose
counts decay, over what the catalog expects of it: the expectation counts as a few samples, so that one slow picture
does not turn traffic away, and what was seen is believed less the longer ago it was. In memory and nothing else. Time
is an argument, in seconds on a monotonic clock.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import accumulate
from math import erf, log, sqrt

from adapters.ir import Cause, Vote
from policies.catalog import Catalog, Deployment
from policies.decide import Health
from policies.rank import ASSUMED_SUCCESS
from proxy.breaker import Breakers

HALF_LIFE = 600.0  # seconds in which a sample comes to count half
PRIOR_WEIGHT = 8.0  # samples that the catalog's figures count for
FORGOTTEN = 0.01  # samples; of a deployment with less nothing is known any more
REFRESH = 0.25  # seconds a view may be old
DRIFT = 15.0  # seconds after which the figures of a deployment without new samples are worked out again

_STEP = 1.15  # between the edges of buckets: quantiles are within a few percent
_EDGES = tuple(0.05 * _STEP**n for n in range(74))  # seconds, upper: up to twenty minutes; the last bucket is open
_Z95 = 1.6449  # of a normal distribution


@dataclass(slots=True)
class _Record:
    """``seconds`` has a count for each bucket. All counts are as of ``seen``."""

    seen: float
    seconds: list[float] = field(default_factory=lambda: [0.0] * (len(_EDGES) + 1))
    succeeded: float = 0.0
    failed: float = 0.0
    told: Health | None = None  # what was last worked out, if no sample came since
    told_at: float = 0.0


class HealthBook:
    """The health of every deployment seen."""

    def __init__(self, breakers: Breakers) -> None:
        self._breakers = breakers
        self._records: dict[str, _Record] = {}
        self._view: dict[str, Health] = {}
        self._viewed: tuple[float, int] | None = None
        self._catalog: Catalog | None = None  # that was viewed

    def record(self, deployment: str, cause: Cause | None, seconds: float, now: float) -> None:
        """One attempt; ``cause`` None for a success in ``seconds``. Neutral causes say nothing of the upstream."""
        if cause is not None and cause.vote is Vote.NEUTRAL:
            return
        record = self._records.setdefault(deployment, _Record(now))
        _decay(record, now)
        record.told = None
        if cause is None:
            record.succeeded += 1
            record.seconds[bisect_left(_EDGES, seconds)] += 1
        else:
            record.failed += 1

    def view(self, catalog: Catalog, now: float) -> Mapping[str, Health]:
        """What is known of the catalog's deployments. The same mapping for a moment, so that a busy sidecar does not
        rebuild it for every request; a breaker that changes shows at once."""
        key = (now // REFRESH, self._breakers.version)
        if key != self._viewed or catalog is not self._catalog:
            self._viewed, self._catalog = key, catalog
            self._view = {
                deployment.id: health
                for deployment in catalog.deployments
                if (health := self._health(deployment, now)) is not None
            }
        return self._view

    def _health(self, deployment: Deployment, now: float) -> Health | None:
        blocked = self._breakers.blocked(deployment.id, deployment.provider.name, now)
        record = self._records.get(deployment.id)
        known = _known(record, deployment, now) if record else None
        if blocked:
            return replace(known or Health(), available=False, detail=blocked)
        return known


def _known(record: _Record, deployment: Deployment, now: float) -> Health | None:
    if record.told is None or now - record.told_at >= DRIFT:
        _decay(record, now)
        record.told, record.told_at = _work_out(record, _prior(deployment.p50, deployment.p95)), now
    return record.told if record.succeeded + record.failed >= FORGOTTEN else None


def _decay(record: _Record, now: float) -> None:
    kept = 0.5 ** ((now - record.seen) / HALF_LIFE)
    record.seen = now
    record.seconds = [count * kept for count in record.seconds]
    record.succeeded *= kept
    record.failed *= kept


def _work_out(record: _Record, prior: tuple[float, ...]) -> Health:
    counts = list(accumulate(map(sum, zip(prior, record.seconds, strict=True))))
    tried = PRIOR_WEIGHT + record.succeeded + record.failed
    return Health(
        p50=_quantile(counts, 0.5),
        p95=_quantile(counts, 0.95),
        success=(PRIOR_WEIGHT * ASSUMED_SUCCESS + record.succeeded) / tried,
    )


# ---------------------------------------------------------------------------------------------------------- histograms


@lru_cache(maxsize=1024)
def _prior(p50: float, p95: float) -> tuple[float, ...]:
    """A log-normal distribution with these quantiles, cut into the buckets."""
    spread = max(log(p95 / p50) / _Z95, 0.01)
    below = [0.5 * (1 + erf(log(edge / p50) / spread / sqrt(2))) for edge in _EDGES]
    return tuple(PRIOR_WEIGHT * (upper - lower) for lower, upper in zip([0.0, *below], [*below, 1.0], strict=True))


def _quantile(counts: list[float], share: float) -> float:
    """Seconds, between the edges of the bucket it falls in as its place there says. ``counts`` are running sums."""
    wanted = share * counts[-1]
    bucket = bisect_left(counts, wanted)
    if bucket == len(_EDGES):
        return _EDGES[-1]
    before = counts[bucket - 1] if bucket else 0.0
    inside = (wanted - before) / (counts[bucket] - before)
    seconds: float = _EDGES[bucket] * _STEP ** (inside - 1)
    return seconds
