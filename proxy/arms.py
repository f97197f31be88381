"""How the two arms of a canary fare, and whether the candidate does worse than chance explains. Values and functions.

``rollout`` records every outcome and asks for the verdict. Time is an argument, in seconds on a monotonic clock.

Callers keep to one arm, and those of one arm ask for other things than those of the other: what an arm spends says
little. So a sample has, beside what was spent and how long it took, what the live policy's first choice for the same
request was expected to cost and take. An arm's cost is the sum spent over the sum expected, its latency likewise, and
the arms' ratios are compared. Every bound is held against the end of a confidence interval, not against the figure
itself: Wilson's for a share, Newcombe's for the difference of two, the linearized ratio estimator's for cost and
latency. The intervals are wide, ``SURE`` standard errors, because the question is asked again after every request.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from math import inf, sqrt
from typing import NamedTuple

from policies.rollout import Hold

BOUNDS = (  # fields of ``hold``
    "maxErrorRate", "maxErrorRateRise", "maxRefusalRise", "maxCostRise", "maxUnknownCostRise", "maxLatencyRise",
)  # fmt: skip
SURE = 3.0  # standard errors: one in 740 by chance, for a single look
ROUNDING = 1e-9  # by which a figure may pass its bound through the arithmetic alone
SLICES = 20  # of a window: what is forgotten, is forgotten in steps of a twentieth


class Outcome(Enum):
    """How a request ended for its arm."""

    OK = "ok"
    FAILED = "failed"  # not by the caller's fault
    REFUSED = "refused"  # turned away, maybe by the caller's doing: on content, as invalid, with nothing eligible
    OTHER = "other"  # says nothing of the policy: a hang-up, a dry run


class Sample(NamedTuple):
    """One request that has ended. Dollars and seconds are of a success; None: not known."""

    outcome: Outcome
    pictures: int = 0
    cost: float | None = None
    expected_cost: float | None = None  # of what the live policy would try first
    seconds: float | None = None
    expected_seconds: float | None = None


class Sums(NamedTuple):
    """Of pairs of an actual and an expected figure: what a ratio of sums and its error are worked out from."""

    n: int = 0
    actual: float = 0.0
    expected: float = 0.0
    actual_2: float = 0.0
    expected_2: float = 0.0
    product: float = 0.0


class Tally(NamedTuple):
    """What came of a number of requests. ``priced`` are successes whose cost could be expected."""

    ok: int = 0
    failed: int = 0
    refused: int = 0
    pictures: int = 0
    paid: float = 0.0  # dollars, for ``pictures_paid``
    pictures_paid: int = 0
    priced: int = 0
    unpriced: int = 0  # of those, the ones that cost nobody knows what
    cost: Sums = Sums()
    seconds: Sums = Sums()

    @property
    def requests(self) -> int:
        return self.ok + self.failed + self.refused

    @property
    def error_rate(self) -> float:
        return self.failed / self.requests if self.requests else 0.0

    @property
    def cost_per_picture(self) -> float | None:
        return self.paid / self.pictures_paid if self.pictures_paid else None


@dataclass(frozen=True, slots=True)
class Window:
    """The slices that are not forgotten, oldest first, each with its number, and the sum of them."""

    slices: tuple[tuple[int, Tally], ...] = ()
    total: Tally = field(default_factory=Tally)


@dataclass(frozen=True, slots=True)
class Arms:
    live: Window = field(default_factory=Window)
    candidate: Window = field(default_factory=Window)


class Verdict(NamedTuple):
    """Why the candidate is to be held: the one of ``BOUNDS`` that is broken, and the figures."""

    bound: str
    reason: str


# ----------------------------------------------------------------------------------------------------------- recording


def record(arms: Arms, candidate: bool, sample: Sample, hold: Hold, now: float) -> Arms:
    """With one more sample in the arm it belongs to."""
    if sample.outcome is Outcome.OTHER:
        return arms
    if candidate:
        return replace(arms, candidate=_add(arms.candidate, sample, hold, now))
    return replace(arms, live=_add(arms.live, sample, hold, now))


def _add(window: Window, sample: Sample, hold: Hold, now: float) -> Window:
    number, one = int(now // (hold.window_seconds / SLICES)), _tally(sample)
    window = _fresh(window, hold, now)
    if window.slices and window.slices[-1][0] == number:
        slices = (*window.slices[:-1], (number, _sum(window.slices[-1][1], one)))
    else:
        slices = (*window.slices, (number, one))
    return Window(slices, _sum(window.total, one))


def _fresh(window: Window, hold: Hold, now: float) -> Window:
    """Without what is older than the window."""
    oldest = int(now // (hold.window_seconds / SLICES)) - SLICES + 1
    if not window.slices or window.slices[0][0] >= oldest:
        return window
    slices = tuple(one for one in window.slices if one[0] >= oldest)
    total = Tally()
    for _, tally in slices:  # summed anew: floats that are added and taken away again leave dust
        total = _sum(total, tally)
    return Window(slices, total)


def _tally(sample: Sample) -> Tally:
    if sample.outcome is not Outcome.OK:
        return Tally(failed=int(sample.outcome is Outcome.FAILED), refused=int(sample.outcome is Outcome.REFUSED))
    paid = sample.cost is not None
    expected = sample.expected_cost is not None
    return Tally(
        ok=1,
        pictures=sample.pictures,
        paid=sample.cost or 0.0,
        pictures_paid=sample.pictures if paid else 0,
        priced=int(expected),
        unpriced=int(expected and not paid),
        cost=_pair(sample.cost, sample.expected_cost),
        seconds=_pair(sample.seconds, sample.expected_seconds),
    )


def _pair(actual: float | None, expected: float | None) -> Sums:
    if actual is None or expected is None:
        return Sums()
    return Sums(1, actual, expected, actual * actual, expected * expected, actual * expected)


def _sum(one: Tally, other: Tally) -> Tally:
    return Tally(
        one.ok + other.ok,
        one.failed + other.failed,
        one.refused + other.refused,
        one.pictures + other.pictures,
        one.paid + other.paid,
        one.pictures_paid + other.pictures_paid,
        one.priced + other.priced,
        one.unpriced + other.unpriced,
        _both(one.cost, other.cost),
        _both(one.seconds, other.seconds),
    )


def _both(one: Sums, other: Sums) -> Sums:
    return Sums(
        one.n + other.n,
        one.actual + other.actual,
        one.expected + other.expected,
        one.actual_2 + other.actual_2,
        one.expected_2 + other.expected_2,
        one.product + other.product,
    )


# ------------------------------------------------------------------------------------------------------------- judging


def figures(arms: Arms, hold: Hold, now: float) -> tuple[Tally, Tally]:
    """What is known of the live arm and of the candidate."""
    return _fresh(arms.live, hold, now).total, _fresh(arms.candidate, hold, now).total


def verdict(arms: Arms, hold: Hold, now: float) -> Verdict | None:
    """The first bound that the candidate has surely broken; None while it has broken none."""
    live, candidate = figures(arms, hold, now)
    if candidate.requests < hold.min_requests:
        return None
    return next(_broken(live, candidate, hold), None)


def _broken(live: Tally, candidate: Tally, hold: Hold) -> Iterator[Verdict]:
    least = hold.min_requests
    if (most := hold.max_error_rate) is not None:
        low, _ = wilson(candidate.failed, candidate.requests)
        excused = live.requests >= least and live.error_rate > most
        if low > most + ROUNDING and not excused:
            yield Verdict("maxErrorRate", f"{_of(candidate.failed, candidate.requests)} failed, above {most:.3g}")
    shares = (
        ("maxErrorRateRise", "failed", hold.max_error_rate_rise, _failed(candidate), _failed(live)),
        ("maxRefusalRise", "were refused", hold.max_refusal_rise, _refused(candidate), _refused(live)),
        ("maxUnknownCostRise", "have no known cost", hold.max_unknown_cost_rise, _unknown(candidate), _unknown(live)),
    )  # fmt: skip
    for bound, what, most, ours, theirs in shares:
        if most is not None and min(ours[1], theirs[1]) >= least and rise(ours, theirs) > most + ROUNDING:
            yield Verdict(
                bound, f"{_of(*ours)} {what}, of the live policy's {_of(*theirs)}; allowed is {most:.3g} more"
            )
    if (most := hold.max_cost_rise) is not None and candidate.cost.n >= least:
        # What is expected is expected of the live policy, so a live arm that is too thin is taken to keep to it.
        against = live.cost if live.cost.n >= least else Sums(1, 1.0, 1.0, 1.0, 1.0, 1.0)
        yield from _dearer("maxCostRise", "costs", candidate.cost, against, most)
    most = hold.max_latency_rise
    if most is not None and min(candidate.seconds.n, live.seconds.n) >= least:
        yield from _dearer("maxLatencyRise", "takes", candidate.seconds, live.seconds, most)


def _dearer(bound: str, what: str, candidate: Sums, live: Sums, most: float) -> Iterator[Verdict]:
    (ours, our_error), (theirs, their_error) = ratio(candidate), ratio(live)
    if ours == theirs == inf:
        return
    # Whether ours is above theirs * (1 + most): the difference of the two sides against its own standard error.
    allowed = theirs * (1 + most)
    error = sqrt(our_error**2 + ((1 + most) * their_error) ** 2)
    if ours - allowed > SURE * error + ROUNDING:
        text = (
            f"{what} {ours:.2f} times what is expected of the live policy, which itself {what} {theirs:.2f} times that"
        )
        yield Verdict(bound, f"{text}; allowed is {most:.3g} more")


def _failed(tally: Tally) -> tuple[int, int]:
    return tally.failed, tally.requests


def _refused(tally: Tally) -> tuple[int, int]:
    return tally.refused, tally.requests


def _unknown(tally: Tally) -> tuple[int, int]:
    return tally.unpriced, tally.priced


def _of(some: int, total: int) -> str:
    return f"{some} of {total}"


# ---------------------------------------------------------------------------------------------------------- statistics


def wilson(some: int, total: int) -> tuple[float, float]:
    """The interval in which the true share lies: Wilson's score interval, sound also for few and for none."""
    if not total:
        return 0.0, 1.0
    share, z2 = some / total, SURE * SURE
    middle = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = SURE / (1 + z2 / total) * sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def rise(ours: tuple[int, int], theirs: tuple[int, int]) -> float:
    """The least by which our share is above theirs, below 0 where it may be none: Newcombe's hybrid score interval for
    the difference of two shares, lower end. Each is (how many, of how many)."""
    share, other = ours[0] / ours[1], theirs[0] / theirs[1]
    low, high = wilson(*ours)[0], wilson(*theirs)[1]
    return share - other - sqrt((share - low) ** 2 + (high - other) ** 2)


def ratio(sums: Sums) -> tuple[float, float]:
    """The ratio of two sums, and its standard error by linearization: how far single pairs are off the ratio. Infinite
    where something was spent and nothing expected."""
    if not sums.expected:
        return (inf, 0.0) if sums.actual else (1.0, 0.0)
    found = sums.actual / sums.expected
    off = sums.actual_2 - 2 * found * sums.product + found * found * sums.expected_2
    spread = max(off, 0.0) * sums.n / max(sums.n - 1, 1)
    return found, sqrt(spread) / sums.expected
