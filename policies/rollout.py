"""The rollout of a policy: who takes part, and what two policies made of one request.

``match`` compiles ``Rollout`` out of a RoutingPolicy; the proxy asks ``takes_part`` of every request to a policy that
has one, and ``muxel explain`` compares as it does. Pure: the same caller is on the same side in every replica and after
every restart. What came of the requests, and when a candidate is held, is the proxy's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b

from policies.decision import Candidate, Decision

_HASHES = 2**64


@dataclass(frozen=True, slots=True)
class Hold:
    """What the candidate may do worse before it is held; None: no bound. Shares, but for the two first."""

    window_seconds: float
    min_requests: int
    max_error_rate: float | None
    max_error_rate_rise: float | None
    max_refusal_rise: float | None
    max_cost_rise: float | None
    max_unknown_cost_rise: float | None
    max_latency_rise: float | None


@dataclass(frozen=True, slots=True, eq=False)
class Rollout:
    """``invites`` says of a caller whether it takes part whatever the percent."""

    candidate: str  # name of the policy
    mode: str  # shadow | canary
    percent: float
    callers: tuple[str, ...]
    invites: Callable[[str], bool]
    sticky: str  # caller | session | request
    named: bool
    hold: Hold

    @property
    def paused(self) -> bool:
        return not self.percent and not self.callers


def takes_part(rollout: Rollout, policy: str, caller: str, session: str, request: str) -> bool:
    """Whether this request to ``policy`` is one for the candidate. ``caller`` and ``session`` are names, empty for
    none; ``request`` is an id.

    A larger percent keeps everybody who was in and adds others; another candidate draws others.
    """
    if rollout.invites(caller):
        return True
    if not 0 < rollout.percent < 100:
        return rollout.percent > 0
    match rollout.sticky:
        case "session":
            key = session or caller or request
        case "caller":
            key = caller or request
        case _:
            key = request
    drawn = blake2b("\0".join((policy, rollout.candidate, key)).encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(drawn.digest(), "big") * 100 < rollout.percent * _HASHES


# ----------------------------------------------------------------------------------------------------------- comparing


class Change(StrEnum):
    """What the candidate makes of a request, seen from the live policy. Stable: dashboards name them."""

    SAME = "same"  # the same deployment first
    HOST = "host"  # the same model, elsewhere
    MODEL = "model"
    LOST = "lost"  # the live policy has something to try, the candidate refuses or has nothing
    GAINED = "gained"  # the other way round
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What each would try first, None for nothing."""

    change: Change
    live: Candidate | None
    candidate: Candidate | None
    floor_delta: float  # the candidate's floor less the live one

    @property
    def cost_delta(self) -> float | None:
        """Dollars by which the candidate's choice is dearer; None where either price is not known."""
        live, candidate = self.live, self.candidate
        if live is None or candidate is None or live.price_usd is None or candidate.price_usd is None:
            return None
        return candidate.price_usd - live.price_usd


def compare(live: Decision, candidate: Decision) -> Comparison:
    """Two decisions for one request."""
    ours = live.candidates[0] if live.candidates else None
    theirs = candidate.candidates[0] if candidate.candidates else None
    return Comparison(_change(ours, theirs), ours, theirs, candidate.floor - live.floor)


def _change(live: Candidate | None, candidate: Candidate | None) -> Change:
    if live is None or candidate is None:
        return Change.NEITHER if live is candidate else Change.LOST if live else Change.GAINED
    if live.deployment.id == candidate.deployment.id:
        return Change.SAME
    return Change.HOST if live.deployment.model.id == candidate.deployment.model.id else Change.MODEL
