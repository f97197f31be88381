"""MediaRequest -> Traits: what the prompt is about, how sure we are, and by which signals."""

from dataclasses import dataclass

from adapters.ir import Tier


@dataclass(frozen=True, slots=True)
class Traits:
    """What the classifier says of a request. ``tasks`` are the plausible ones with their probability, best first."""

    task: str
    confidence: float
    runner_up: str = ""
    tasks: tuple[tuple[str, float], ...] = ()
    signals: tuple[str, ...] = ()
    language: str = "en"
    tier: Tier | None = None  # from words like "draft" or "print-ready", or the caller's quality field
