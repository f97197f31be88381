"""Prometheus metrics of one process. ``exchange`` and ``state`` feed them; ``admin`` serves them.

Label values come from configuration and enums alone, never from callers, so that their number stays bounded.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320, 640)
_MICROSECONDS = (50e-6, 100e-6, 200e-6, 400e-6, 800e-6, 1.6e-3, 5e-3, 20e-3)


class Exposition:
    """What a registry looks like to who scrapes it."""

    content_type = CONTENT_TYPE_LATEST
    registry: CollectorRegistry

    def exposition(self) -> bytes:
        """The OpenMetrics text."""
        text: bytes = generate_latest(self.registry)  # type: ignore[no-untyped-call]
        return text


class Metrics(Exposition):
    """A registry of its own, so that two of these can live in one test process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._count_requests(self.registry)
        self._count_rollouts(self.registry)
        self._watch_configuration(self.registry)

    def _count_requests(self, registry: CollectorRegistry) -> None:
        self.requests = Counter(
            "muxel_requests", "Requests by outcome", ["wire", "operation", "outcome"], registry=registry
        )
        self.request_seconds = Histogram(
            "muxel_request_seconds", "From request to reply", ["wire", "operation"], buckets=_SECONDS, registry=registry
        )
        self.decisions = Counter(
            "muxel_decisions", "Deployments chosen first", ["task", "tier", "model", "provider"], registry=registry
        )
        self.decide_seconds = Histogram(
            "muxel_decide_seconds", "Classifying and deciding", buckets=_MICROSECONDS, registry=registry
        )
        self.rejections = Counter("muxel_rejections", "Requests nothing was eligible for", ["task"], registry=registry)
        self.rule_faults = Counter(
            "muxel_rule_faults", "Rules passed over because their when failed", ["policy", "rule"], registry=registry
        )
        self.attempts = Counter(
            "muxel_attempts", "Upstream attempts by outcome", ["provider", "model", "outcome"], registry=registry
        )
        self.attempt_seconds = Histogram(
            "muxel_attempt_seconds", "Upstream attempts", ["provider", "model"], buckets=_SECONDS, registry=registry
        )
        self.cost = Counter(
            "muxel_cost_usd", "Money spent; kind reported, exact or estimated", ["provider", "model", "kind"],
            registry=registry,
        )  # fmt: skip
        self.unpriced = Counter(
            "muxel_unpriced", "Successes whose cost is not known", ["provider", "model"], registry=registry
        )
        self.webhooks = Counter(
            "muxel_webhooks", "Messages to callers' webhooks by outcome", ["outcome"], registry=registry
        )
        self.recorded = Counter(
            "muxel_recorded_requests", "Requests for the recording: written, dropped or failed", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self.breaker_open = Gauge(
            "muxel_breaker_open", "1 open, 0.5 half open, 0 closed", ["deployment"], registry=registry
        )
        self.in_flight = Gauge("muxel_requests_in_flight", "Requests being worked on", registry=registry)
        self.body_bytes = Gauge("muxel_body_bytes", "Bytes of request bodies held", registry=registry)

    def _count_rollouts(self, registry: CollectorRegistry) -> None:
        self.rollout_state = Gauge(
            "muxel_rollout_state", "0 off, 1 shadow, 2 canary, 3 held", ["policy", "candidate"], registry=registry
        )
        self.rollout_requests = Counter(
            "muxel_rollout_requests", "Requests of a canary by arm", ["policy", "arm", "outcome"], registry=registry
        )
        self.rollout_seconds = Histogram(
            "muxel_rollout_seconds", "From decision to picture, by arm", ["policy", "arm"], buckets=_SECONDS,
            registry=registry,
        )  # fmt: skip
        self.rollout_cost = Counter(
            "muxel_rollout_cost_usd", "Money spent by arm, where it is known", ["policy", "arm"], registry=registry
        )
        self.rollout_pictures = Counter(
            "muxel_rollout_pictures", "Pictures that money was spent on, by arm", ["policy", "arm"], registry=registry
        )
        self.rollout_comparisons = Counter(
            "muxel_rollout_comparisons", "Decisions by both policies", ["policy", "change"], registry=registry
        )
        self.rollout_compared = Counter(
            "muxel_rollout_compared_usd", "Price of what each policy would try first, for the same requests",
            ["policy", "choice"], registry=registry,
        )  # fmt: skip
        self.rollout_holds = Counter(
            "muxel_rollout_holds", "Candidates held, by the bound that was broken", ["policy", "bound"],
            registry=registry,
        )  # fmt: skip

    def _watch_configuration(self, registry: CollectorRegistry) -> None:
        self.config_ok = Gauge(
            "muxel_config_last_reload_successful", "1 if the last reload was good", registry=registry
        )
        self.config_time = Gauge(
            "muxel_config_last_reload_success_timestamp_seconds", "When it last was good", registry=registry
        )
        self.reloads = Counter("muxel_config_reloads", "Reloads tried", registry=registry)
        self.reloads_failed = Counter("muxel_config_reloads_failed", "Reloads refused", registry=registry)
        self.config_age = Gauge("muxel_config_age_seconds", "How long the same one is in force", registry=registry)
        self.config_fallback = Gauge(
            "muxel_config_fallback", "1 while what a start fell back on is in force", ["source"], registry=registry
        )
        self.watch_connected = Gauge(
            "muxel_config_watch_connected", "1 while the API server streams changes", ["source"], registry=registry
        )
        self.watch_age = Gauge(
            "muxel_config_watch_age_seconds", "Since the API server's last good word", ["source"], registry=registry
        )
        self.config_hash = Gauge("muxel_config_hash", "The configuration in force", ["hash"], registry=registry)
