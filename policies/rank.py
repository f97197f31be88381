"""Ordering: which eligible deployment is tried first, and which after it.

``decide`` hands over the candidates and gets them back in the order to try them. Every scale is absolute: what one
candidate is worth never depends on which others survived, so removing a loser cannot change the winner. The exceptions
are asked for: a speed premium is a share of the cheapest price, a session may keep a choice near the best. Must not
reject anything.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from math import inf, log
from operator import attrgetter
from typing import NamedTuple

from policies.decision import Candidate
from policies.match import Weights

NEAR = 0.10  # share by which a candidate may be worse than the best and still be kept for a session

# ``hybrid`` rates cost and latency on logarithmic scales between these, 1 at the first and 0 at the second. They span
# a small picture on a cheap host to a long video, so that a rate never has to be clamped in practice.
COST_SCALE = (0.001, 10.0)  # dollars a picture
LATENCY_SCALE = (0.5, 300.0)  # seconds, p50
ASSUMED_SUCCESS = 0.95  # of a deployment nobody has called yet: neither shunned nor better than a good record


class Wish(NamedTuple):
    """What is wanted of the order. ``places`` puts some deployments, by id, before all others; 0 goes first."""

    objective: str  # cheapest | hybrid | fastest | best
    weights: Weights
    max_extra: float  # share ``cheapest`` may pay more for a candidate that meets ``max_latency``
    pictures: int = 1
    max_latency: float | None = None  # seconds, asked for by the caller
    session: str = ""
    places: Mapping[str, int] = {}

    def place(self, candidate: Candidate) -> int:
        return self.places.get(candidate.deployment.id, LAST)


LAST = 3  # the place of a deployment nobody prefers
LAST_ROUND = 1_000_000

Amount = Callable[[Candidate], float]  # what an objective minimises


def rank(candidates: Sequence[Candidate], wish: Wish) -> tuple[Candidate, ...]:
    """The order to try them in. The first one's ``why`` then says why it is first.

    Ties go to the lower price, then to the lower p50, then keep the order given, which is best quality first.
    """
    if not candidates:
        return ()
    amount = _amount(wish)
    ordered = sorted(candidates, key=attrgetter("p50"))  # stable sorts, the last tie-break first
    ordered.sort(key=_price)
    if amount is not _price:
        ordered.sort(key=amount)
    if wish.places:
        ordered.sort(key=wish.place)
    lead = [one for one in ordered if wish.place(one) == wish.place(ordered[0])] if wish.places else ordered
    quick = _worth_the_premium(lead, wish)
    pool = quick or lead
    first = _kept_for(wish.session, pool, amount) if wish.session else pool[0]
    why = _why(first, wish, len(lead), premium=bool(quick), kept=first is not pool[0])
    return _spread([first._replace(why=why), *(one for one in ordered if one is not first)], wish)


# ---------------------------------------------------------------------------------------------------------- objectives


def utility(candidate: Candidate, weights: Weights, pictures: int = 1) -> float:
    """What ``hybrid`` maximises, 0..1; unknown quality and unknown price are rated 0."""
    total = weights.quality + weights.cost + weights.latency + weights.reliability
    if total == 0:
        return 0.0
    price = candidate.price_usd
    success = ASSUMED_SUCCESS if candidate.success is None else candidate.success
    return (
        weights.quality * (candidate.score or 0.0)
        + weights.cost * (0.0 if price is None else _rate(price / pictures, *COST_SCALE))
        + weights.latency * _rate(candidate.p50, *LATENCY_SCALE)
        + weights.reliability * success
    ) / total


def _rate(value: float, best: float, worst: float) -> float:
    """1 at ``best`` and below, 0 at ``worst`` and above, equal ratios equally far apart between."""
    if value <= best:
        return 1.0
    return max(0.0, log(worst / value) / log(worst / best))


def _price(candidate: Candidate) -> float:
    """An unknown price stands last."""
    return inf if candidate.price_usd is None else candidate.price_usd


def _amount(wish: Wish) -> Amount:
    match wish.objective:
        case "fastest":
            return lambda one: one.p50
        case "best":
            return lambda one: -(one.score or 0.0)
        case "hybrid":
            return lambda one: -utility(one, wish.weights, wish.pictures)
        case _:
            return _price


# ----------------------------------------------------------------------------------------------- the first one's rights


def _worth_the_premium(lead: Sequence[Candidate], wish: Wish) -> list[Candidate]:
    """Those that meet the latency asked for at a bearable price, where the cheapest one does not meet it."""
    cheapest, asked = lead[0], wish.max_latency
    if wish.objective != "cheapest" or asked is None or cheapest.price_usd is None or cheapest.p95 <= asked:
        return []
    most = cheapest.price_usd * (1 + wish.max_extra)
    return [one for one in lead if one.p95 <= asked and _price(one) <= most]


def _kept_for(session: str, pool: Sequence[Candidate], amount: Amount) -> Candidate:
    """The session's own choice among those about as good as the best: small changes of prices do not change it."""
    best = amount(pool[0])
    near = [one for one in pool if amount(one) <= best + abs(best) * NEAR]
    return max(near, key=lambda one: _weight(session, one.deployment.id))


def _weight(session: str, deployment: str) -> bytes:
    """Rendezvous hashing: each session ranks deployments in its own way, whatever else is in the catalog."""
    return blake2b(f"{session}\0{deployment}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _why(first: Candidate, wish: Wish, among: int, *, premium: bool, kept: bool) -> str:
    price = "an unknown price" if first.price_usd is None else f"${first.price_usd:.3f}"
    of = f"of {among} preferred" if wish.places and wish.place(first) != LAST else f"of {among}"
    if kept:
        return f"near the {_SUPERLATIVES[wish.objective]} {of} and kept for the session, at {price}"
    if premium:
        return f"cheapest {of} to meet {wish.max_latency:g} s, at {price}"
    match wish.objective:
        case "fastest":
            return f"fastest {of} at {first.p50:.1f} s"
        case "best":
            return f"best {of} at {first.score or 0.0:.2f}"
        case "hybrid":
            return f"highest utility {of} at {utility(first, wish.weights, wish.pictures):.2f}"
        case _:
            return f"cheapest {of} at {price}"


_SUPERLATIVES = {"cheapest": "cheapest", "hybrid": "highest utility", "fastest": "fastest", "best": "best"}


# --------------------------------------------------------------------------------------------------------- falling back


def _spread(ordered: Sequence[Candidate], wish: Wish) -> tuple[Candidate, ...]:
    """In rounds: each provider's first candidate in the order given, then each one's second, and so on.

    When a deployment fails its whole provider is the likely reason, so the next attempt goes elsewhere. The second
    deployment of one model at one provider waits until the end. Preferred deployments stay before all others.
    """
    hosted: dict[str, list[str]] = {}
    turns: list[int] = []
    for one in ordered:
        deployment = one.deployment
        models, model = hosted.setdefault(deployment.provider.name, []), deployment.model.id
        turns.append(LAST_ROUND if model in models else len(models))
        models.append(model)
    spread = [ordered[index] for index in sorted(range(len(turns)), key=turns.__getitem__)]
    if wish.places:
        spread.sort(key=wish.place)
    return tuple(spread)
