"""What one request asks of Muxel: the ``x-muxel-*`` headers -> Ask. Pure; ``app`` calls it for every request.

For which app of which namespace it is, a header may say where Muxel serves many. A sidecar serves one, and knows it
from its manifest: there a header that says otherwise is refused, since rules may give one app what they deny another.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from adapters.ir import Ask, InvalidRequest, Tier
from proxy.jobs import caller_digest

_NAMES = (
    "tier", "max-cost", "max-latency", "model", "policy", "session", "priority", "dry-run", "caller", "app",
    "namespace",
)  # fmt: skip
_KNOWN = frozenset(f"x-muxel-{name}" for name in _NAMES)
CREDENTIALS = ("authorization", "x-api-key", "api-key", "x-goog-api-key", "x-key")
_PRIORITIES = ("low", "normal", "high")


@dataclass(frozen=True, slots=True)
class Home:
    """Which app of which namespace this process serves. With a namespace it is the sidecar of that app, and both are
    facts; without one, ``app`` is what a request is for that does not say."""

    app: str = ""
    namespace: str = ""


ANYWHERE = Home()


def read_ask(headers: Mapping[str, str], home: Home = ANYWHERE) -> Ask:
    """Raises InvalidRequest naming the header for a value that cannot be used, and for an ``x-muxel-`` header that does
    not exist: a misspelt ceiling must not be money."""
    asked = {name: value.strip() for name, value in headers.items() if name.startswith("x-muxel-")}
    if not asked:
        return Ask(caller=caller_of(headers), app=home.app, namespace=home.namespace, headers=headers)
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
        app=_at_home(asked, "x-muxel-app", home.app, sure=bool(home.namespace and home.app)),
        namespace=_at_home(asked, "x-muxel-namespace", home.namespace, sure=bool(home.namespace)),
        headers=headers,
    )


def caller_of(headers: Mapping[str, str]) -> str:
    """Who calls, for rules and for the ownership of jobs: the name it gives, else a digest of its credential."""
    if name := headers.get("x-muxel-caller"):
        return name.strip()
    return caller_digest(next((headers[name] for name in CREDENTIALS if name in headers), ""))


def _at_home(asked: Mapping[str, str], name: str, own: str, *, sure: bool) -> str:
    given = asked.get(name, "") or own
    if sure and given != own:
        raise InvalidRequest(name, f"this sidecar serves {own!r} alone; {name} says {given[:80]!r}", status=403)
    return given


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
