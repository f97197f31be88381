"""Prometheus metrics of a controller. ``reconcile`` and ``webhook`` feed them; the admin port serves them."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from proxy.metrics import Exposition

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5)


class ControllerMetrics(Exposition):
    """A registry of its own, so that two of these can live in one test process."""

    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        self.leader = Gauge("muxel_controller_leader", "1 for the replica that writes", registry=registry)
        self.sources = Gauge("muxel_controller_sources", "ConfigMaps of policies", ["namespace"], registry=registry)
        self.accepted = Gauge("muxel_controller_accepted", "1 if all sources are right together", registry=registry)
        self.programmed = Gauge(
            "muxel_controller_programmed", "1 if the compiled ConfigMap is what the sources say; the leader knows",
            registry=registry,
        )  # fmt: skip
        self.hash = Gauge("muxel_controller_config_hash", "What is compiled", ["hash"], registry=registry)
        self.compositions = Counter(
            "muxel_controller_compositions", "Sets of sources judged; valid or invalid", ["outcome"], registry=registry
        )
        self.writes = Counter(
            "muxel_controller_writes", "Writes to the API; of compiled, status, event, lease or certificate",
            ["object", "outcome"], registry=registry,
        )  # fmt: skip
        self.reviews = Counter(
            "muxel_controller_reviews", "Admission reviews; allowed, denied, malformed or unready", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self.review_seconds = Histogram(
            "muxel_controller_review_seconds", "From review to answer", buckets=_SECONDS, registry=registry
        )
