"""Ordering: which eligible deployment is tried first, and which after it.

``decide`` hands over the candidates and gets them back in the order to try them. Every scale is absolute: what one
candidate is worth never depends on which others survived, so removing a loser cannot change the winner. The exceptions
are asked for: a speed premium is a share of the cheapest price, a session keeps its model, or one near the best. Must
not reject anything.
"""

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from itertools import chain
from math import inf, log
from operator import attrgetter
from typing import Any, NamedTuple

from policies.decision import Candidate
from policies.match import Weights

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
    session: str = ""  # the caller's name for it
    model: str = ""  # that the session has settled on
    tolerance: float = 0.0  # share by which a candidate may be worse than the best and still be a session's choice
    places: Mapping[str, int] = {}

    def place(self, candidate: Candidate) -> int:
        return self.places.get(candidate.deployment.id, LAST)


LAST = 3  # the place of a deployment nobody prefers

Amount = Callable[[Candidate], float]  # what an objective minimises


def rank(candidates: Sequence[Candidate], wish: Wish) -> tuple[Candidate, ...]:
    """The order to try them in. The first one's ``why`` then says why it is first.

    Ties go to the lower price, then to the lower p50, then keep the order given, which is best quality first. The model
    of a session goes before what anybody prefers, with all its deployments.
    """
    if not candidates:
        return ()
    amount = _amount(wish)
    ordered = sorted(candidates, key=attrgetter("p50"))  # stable sorts, the last tie-break first
    ordered.sort(key=_price)
    if amount is not _price:
        ordered.sort(key=amount)
    model = _session_model(ordered, wish, amount) if wish.session or wish.model else ""

    stands: dict[str, tuple[bool, int]] = {}  # by id, the lowest first; empty where all are equal
    if model or wish.places:
        stands = {one.deployment.id: (one.deployment.model.id != model, wish.place(one)) for one in ordered}
        ordered.sort(key=lambda one: stands[one.deployment.id])
    lead = _foremost(ordered, stands) if stands else ordered
    quick = _worth_the_premium(lead, wish)
    first = (quick or lead)[0]
    why = _why(first, wish, len(lead), premium=bool(quick), model=model)
    spread = _spread([first._replace(why=why), *(one for one in ordered if one is not first)])
    if stands:
        spread.sort(key=lambda one: stands[one.deployment.id])
    return tuple(spread)


def _foremost(ordered: list[Candidate], stands: Mapping[str, Any]) -> list[Candidate]:
    """Those that stand lowest; who is not listed stands last."""
    best = min(stands.get(one.deployment.id, LAST) for one in ordered)
    return [one for one in ordered if stands.get(one.deployment.id, LAST) == best]


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


def _session_model(ordered: list[Candidate], wish: Wish, amount: Amount) -> str:
    """The model the session has settled on, where it is there; else the session's own choice among those about as good
    as the best, which small changes of prices do not change."""
    if wish.model and any(one.deployment.model.id == wish.model for one in ordered):
        return wish.model
    if not wish.session:
        return ""
    lead = _foremost(ordered, wish.places) if wish.places else ordered
    pool = _worth_the_premium(lead, wish) or lead
    best = amount(pool[0])
    near = {one.deployment.model.id for one in pool if amount(one) <= best + abs(best) * wish.tolerance}
    return max(near, key=lambda model: _weight(wish.session, model))


def _weight(session: str, model: str) -> bytes:
    """Rendezvous hashing: each session ranks models in its own way, whatever else is in the catalog."""
    return blake2b(f"{session}\0{model}".encode("utf-8", "surrogatepass"), digest_size=8).digest()


def _why(first: Candidate, wish: Wish, among: int, *, premium: bool, model: str) -> str:
    price = "an unknown price" if first.price_usd is None else f"${first.price_usd:.3f}"
    of = f"of {among}"
    if model:
        of += " with the session's model"
    elif first.deployment.id in wish.places:
        of += " preferred"
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


# --------------------------------------------------------------------------------------------------------- falling back


def _spread(ordered: Sequence[Candidate]) -> list[Candidate]:
    """In rounds: each provider's first candidate in the order given, then each one's second, and so on.

    When a deployment fails its whole provider is the likely reason, so the next attempt goes elsewhere. The second
    deployment of one model at one provider waits until the end.
    """
    rounds: list[list[Candidate]] = []
    again: list[Candidate] = []
    hosted: dict[str, list[str]] = {}
    for one in ordered:
        deployment = one.deployment
        models, model = hosted.setdefault(deployment.provider.name, []), deployment.model.id
        if model in models:
            again.append(one)
            continue
        if len(models) == len(rounds):
            rounds.append([])
        rounds[len(models)].append(one)
        models.append(model)
    return [*chain.from_iterable(rounds), *again]
