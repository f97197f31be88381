"""What one request asks of Muxel: the ``x-muxel-*`` headers -> Ask. Pure; ``exchange`` calls it for every request."""

from collections.abc import Mapping

from adapters.ir import Ask, InvalidRequest, Tier
from proxy.jobs import caller_digest

_KNOWN = frozenset(
    f"x-muxel-{name}"
    for name in ("tier", "max-cost", "max-latency", "model", "policy", "session", "priority", "dry-run", "caller")
)
CREDENTIALS = ("authorization", "x-api-key", "api-key", "x-goog-api-key", "x-key")
_PRIORITIES = ("low", "normal", "high")


def read_ask(headers: Mapping[str, str]) -> Ask:
    """Raises InvalidRequest naming the header for a value that cannot be used, and for an ``x-muxel-`` header that does
    not exist: a misspelt ceiling must not be money."""
    asked = {name: value.strip() for name, value in headers.items() if name.startswith("x-muxel-")}
    if not asked:
        return Ask(caller=caller_of(headers), headers=headers)
    for name in asked:
        if name not in _KNOWN:
            raise InvalidRequest(name, f"there is no header {name}; known are {', '.join(sorted(_KNOWN))}")
    return Ask(
        tier=Tier(tier) if (tier := _choice(asked, "x-muxel-tier", tuple(Tier))) else None,
        max_cost=_number(asked, "x-muxel-max-cost"),
        max_latency=_number(asked, "x-muxel-max-latency"),
        model=asked.get("x-muxel-model", ""),
        policy=asked.get("x-muxel-policy", ""),
        session=asked.get("x-muxel-session", ""),
        priority=_choice(asked, "x-muxel-priority", _PRIORITIES),
        dry_run=_choice(asked, "x-muxel-dry-run", ("true", "false", "1", "0")) in ("true", "1"),
        caller=caller_of(headers),
        headers=headers,
    )


def caller_of(headers: Mapping[str, str]) -> str:
    """Who calls, for rules and for the ownership of jobs: the name it gives, else a digest of its credential."""
    if name := headers.get("x-muxel-caller"):
        return name.strip()
    return caller_digest(next((headers[name] for name in CREDENTIALS if name in headers), ""))


def _choice(asked: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    value = asked.get(name, "").lower()
    if value and value not in choices:
        raise InvalidRequest(name, f"{name} must be one of {', '.join(choices)}; got {value[:40]!r}")
    return value


def _number(asked: Mapping[str, str], name: str) -> float | None:
    text = asked.get(name, "").removeprefix("$")
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise InvalidRequest(name, f"{name} must be a number that is not negative; got {text[:40]!r}")
    return value
