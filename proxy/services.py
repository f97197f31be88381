"""What the parts of one process share: one value, built at start by ``serve`` and handed down. Holds no behaviour but
that of booking money, which every way to end an attempt needs."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from policies.decide import Candidate
from proxy.auth import Keyring
from proxy.breaker import Breakers
from proxy.health import HealthBook
from proxy.jobs import JobBook, Sealer
from proxy.media import MediaStore
from proxy.metrics import Metrics
from proxy.record import Recorder
from proxy.settings import Settings
from proxy.state import State
from proxy.tracing import Tracing
from proxy.transport import Transport


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    state: State
    keyring: Keyring
    transport: Transport
    breakers: Breakers
    health: HealthBook
    media: MediaStore
    jobs: JobBook
    sealer: Sealer
    metrics: Metrics
    tracing: Tracing
    monotonic: Callable[[], float] = field(default=time.monotonic)
    wall: Callable[[], float] = field(default=time.time)
    recorder: Recorder | None = None  # where requests are to be written down
    work: set[asyncio.Future[Any]] = field(default_factory=set)  # what is to end before the process does, but for jobs

    def book(self, candidate: Candidate, reported: float | None) -> float | None:
        """Counts the money of one purchase, as the provider reported it or by the catalog; dollars, None if unknown."""
        deployment = candidate.deployment
        labels = (deployment.provider.name, deployment.model.id)
        cost = reported if reported is not None else candidate.price_usd
        if cost is None:
            self.metrics.unpriced.labels(*labels).inc()
            return None
        kind = "reported" if reported is not None else "estimated" if candidate.price_estimated else "exact"
        self.metrics.cost.labels(*labels, kind).inc(cost)
        return cost
