"""What becomes of the rows of a feed that change nothing: refused, unmatched, confirmed or superseded.

``feeds``, ``reprice`` and ``rescore`` note it here row by row; ``refresh`` hands it on. No row ends nowhere.
"""

from dataclasses import dataclass, field
from datetime import date


@dataclass(frozen=True, slots=True)
class Place:
    """Where a row starts."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far a figure may move by itself: a price by a factor either way, a score by a difference. ``today`` ends
    what can be known; ``forced`` are ids whose figures were looked at."""

    today: date
    price_factor: float = 3.0
    score_difference: float = 0.15
    forced: frozenset[str] = frozenset()

    def takes(self, *ids: str) -> bool:
        """Whether one of these was looked at, whatever it says."""
        return not self.forced.isdisjoint(ids)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that was not taken, and why. ``subject`` is what it is about, "" where it does not say; ``force`` is what
    admits it after a look, "" where nothing does."""

    place: Place
    subject: str
    reason: str
    force: str = ""

    def __str__(self) -> str:
        hint = f" (--force {self.force} takes it)" if self.force else ""
        return ": ".join(filter(None, (str(self.place), self.subject, self.reason))) + hint


@dataclass(frozen=True, slots=True)
class Unmatched:
    """Rows that are about nothing the catalog has: what they name, how many, and the first of them."""

    what: str
    rows: int
    place: Place


@dataclass(slots=True)
class Verdicts:
    """``confirmed`` counts the figures that are in force already, ``superseded`` rows with a newer one beside them;
    ``named`` are the models that rows were about."""

    named: set[str] = field(default_factory=set)
    refused: list[Refusal] = field(default_factory=list)
    confirmed: int = 0
    superseded: int = 0
    _unmatched: dict[str, list[Place]] = field(default_factory=dict)

    def refuse(self, place: Place, subject: str, reason: str, force: str = "") -> None:
        self.refused.append(Refusal(place, subject, reason, force))

    def miss(self, place: Place, what: str) -> None:
        self._unmatched.setdefault(what, []).append(place)

    def unmatched(self) -> tuple[Unmatched, ...]:
        return tuple(Unmatched(what, len(places), places[0]) for what, places in sorted(self._unmatched.items()))
