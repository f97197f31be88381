"""How each deployment has fared of late: seconds to a picture and share of successes, for the next decision.

``exchange`` records every attempt; ``view`` gives ``decide`` a plain mapping. Keeps the last samples of each deployment
in memory and nothing else. Time is an argument, in seconds on a monotonic clock.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

from adapters.ir import Cause, Vote
from policies.catalog import Catalog
from policies.decide import Health
from proxy.breaker import Breakers

SAMPLES = 64  # of each deployment
ENOUGH = 8  # successes before measured latency replaces the prior
STALE = 900.0  # seconds after which a sample no longer speaks
REFRESH = 0.25  # seconds a view may be old


@dataclass(slots=True)
class _Record:
    seconds: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=SAMPLES))  # (when, took)
    outcomes: deque[tuple[float, bool]] = field(default_factory=lambda: deque(maxlen=SAMPLES))  # (when, succeeded)


class HealthBook:
    """The health of every deployment seen."""

    def __init__(self, breakers: Breakers) -> None:
        self._breakers = breakers
        self._records: dict[str, _Record] = {}
        self._view: dict[str, Health] = {}
        self._viewed: tuple[float, int, int] | None = None

    def record(self, deployment: str, cause: Cause | None, seconds: float, now: float) -> None:
        """One attempt; ``cause`` None for a success in ``seconds``. Neutral causes say nothing of the upstream."""
        if cause is not None and cause.vote is Vote.NEUTRAL:
            return
        record = self._records.setdefault(deployment, _Record())
        record.outcomes.append((now, cause is None))
        if cause is None:
            record.seconds.append((now, seconds))

    def view(self, catalog: Catalog, now: float) -> Mapping[str, Health]:
        """What is known of the catalog's deployments. The same mapping for a moment, so that a busy sidecar does not
        rebuild it for every request; a breaker that changes shows at once."""
        key = (now // REFRESH, self._breakers.version, id(catalog))
        if key != self._viewed:
            self._viewed = key
            self._view = {
                deployment.id: health
                for deployment in catalog.deployments
                if (health := self._health(deployment.id, deployment.provider.name, now)) is not None
            }
        return self._view

    def _health(self, deployment: str, provider: str, now: float) -> Health | None:
        blocked = self._breakers.blocked(deployment, provider, now)
        record = self._records.get(deployment)
        if record is None:
            return Health(available=False, detail=blocked) if blocked else None
        since = now - STALE
        took = sorted(seconds for when, seconds in record.seconds if when >= since)
        outcomes = [succeeded for when, succeeded in record.outcomes if when >= since]
        measured = len(took) >= ENOUGH
        return Health(
            available=not blocked,
            detail=blocked,
            p50=took[len(took) // 2] if measured else None,
            p95=took[min(len(took) * 95 // 100, len(took) - 1)] if measured else None,
            success=sum(outcomes) / len(outcomes) if outcomes else None,
        )
