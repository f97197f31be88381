"""How sure a difference is: each request has an old and a new value, and the traffic is a sample of what is to come.

``compare`` adds the requests up, ``changes`` and ``markdown`` tell the estimates. Pure arithmetic over sums, so that a
million requests take no more room than one.

The intervals. A line of traffic is one draw, whatever its weight: that a line stands for seven requests makes it count
seven times, and makes nothing surer. So with weights w, differences d and old values o over n lines, the change of a
request on average is R = sum(w d) / sum(w), and of the whole, relative to what it was, P = sum(w d) / sum(w o). Both
are ratios of sums; their variances are those of the linearised ratio (the delta method, as survey sampling has it)::

    var R = n / (n - 1) * sum((w (d - R))^2)    / sum(w)^2
    var P = n / (n - 1) * sum((w (d - P o))^2)  / sum(w o)^2

and the interval is 1.96 standard deviations to either side. Since every request is decided twice, d is one number:
what requests differ in among themselves cancels, and small changes are told from nothing. Requests that come in bursts,
alike within each, are less of a sample than their number says.
"""

from dataclasses import dataclass
from math import sqrt

NORMAL = 1.959964  # of the standard deviation, to either side: 95 %


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval; ``low`` and ``high`` are None where there is but one line to judge by."""

    value: float
    low: float | None
    high: float | None

    def times(self, factor: float) -> "Estimate":
        """In another unit."""
        if self.low is None or self.high is None:
            return Estimate(self.value * factor, None, None)
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


@dataclass(slots=True)
class Lines:
    """Lines of traffic that are all alike: how many, what they weigh together, and the sum of their squared weights."""

    count: int = 0
    weight: int = 0
    squares: int = 0

    def add(self, weight: int) -> None:
        self.count += 1
        self.weight += weight
        self.squares += weight * weight


@dataclass(slots=True)
class Paired:
    """Sums over requests: w is the weight, o the old value, d the difference to the new one."""

    lines: int = 0
    weight: int = 0
    old: float = 0.0  # w o
    change: float = 0.0  # w d
    ww: float = 0.0
    wwd: float = 0.0
    wwdd: float = 0.0
    wwdo: float = 0.0
    wwoo: float = 0.0

    def add(self, lines: Lines, old: float, new: float) -> None:
        """Counts lines that all have these values."""
        change = new - old
        self.lines += lines.count
        self.weight += lines.weight
        self.old += lines.weight * old
        self.change += lines.weight * change
        self.ww += lines.squares
        self.wwd += lines.squares * change
        self.wwdd += lines.squares * change * change
        self.wwdo += lines.squares * change * old
        self.wwoo += lines.squares * old * old

    @property
    def new(self) -> float:
        return self.old + self.change

    def each(self) -> Estimate | None:
        """The change of a request, on average; None where there is none."""
        if not self.weight:
            return None
        rate = self.change / self.weight
        return self._estimate(rate, self.wwdd - 2 * rate * self.wwd + rate * rate * self.ww, self.weight)

    def share(self) -> Estimate | None:
        """The change relative to what it was; None where that was nothing."""
        if not self.old:
            return None
        share = self.change / self.old
        return self._estimate(share, self.wwdd - 2 * share * self.wwdo + share * share * self.wwoo, self.old)

    def _estimate(self, value: float, squares: float, whole: float) -> Estimate:
        if self.lines < 2:
            return Estimate(value, None, None)
        # Rounding may leave less than nothing where all requests change alike.
        half = NORMAL * sqrt(max(0.0, squares) * self.lines / (self.lines - 1)) / whole
        return Estimate(value, value - half, value + half)
