"""How an arena's Elo becomes a score: the one place of the arithmetic that policies/models/README.md tells of.

``scores.yaml`` beside it says which categories stand for which task and what the reference is there. ``rescore``
computes new scores by it; the tests hold every shipped score to it. Knows neither feeds nor catalogs.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import floor, sqrt
from typing import Any

import yaml


@dataclass(frozen=True, slots=True)
class Basis:
    """The categories of one board whose mean stands for a task, and the Elo that scores 0.5 there."""

    board: str
    categories: tuple[str, ...]
    reference: int
    transferred: bool  # nobody compared for the task itself


@dataclass(frozen=True, slots=True)
class Measure:
    """What an arena says of one model in one category; ``half`` is half of its 95 % interval, in Elo."""

    elo: float
    half: float
    votes: int | None = None


@dataclass(frozen=True, slots=True)
class Citation:
    """What the source of a score says. ``relative`` is the model it was taken from, "" for itself, moved by ``offset``;
    ``elo``, ``half`` and ``reference`` are whole Elo, and all that the score follows from."""

    board: str
    categories: tuple[str, ...]
    relative: str
    offset: int
    elo: int
    half: int
    reference: int


@dataclass(frozen=True, slots=True)
class Board:
    """How sources name it, the operations it is about, and the models whose mean is the reference in each category."""

    cited: str
    known: tuple[str, ...]
    does: frozenset[str]
    panel: tuple[str, ...]
    names: Mapping[str, str]  # of models, where they mean another one than on other boards


@dataclass(frozen=True, slots=True)
class Standard:
    """``scores.yaml``. The bases of a task are in the order in which they are looked for."""

    quartile: float
    spread: Mapping[bool, float]  # Elo, by whether the score is estimated
    drift: float
    boards: Mapping[str, Board]
    tasks: Mapping[str, tuple[Basis, ...]]
    names: Mapping[str, str]

    def board_of(self, source: str) -> str:
        """The board a source speaks of; "" for another arena, whose figures mean something else."""
        return next((name for name, board in self.boards.items() if _speaks_of(board, source)), "")


def _speaks_of(board: Board, source: str) -> bool:
    return any(phrase in source for phrase in (board.cited, *board.known))


@cache
def load_standard() -> Standard:
    data = yaml.safe_load(files("policies").joinpath("scores.yaml").read_text("utf-8"))
    return Standard(
        quartile=data["quartile"],
        spread={False: data["spread"]["measured"], True: data["spread"]["estimated"]},
        drift=data["drift"],
        boards={name: _board(spec) for name, spec in data["boards"].items()},
        tasks={
            task: tuple(map(_basis, spec if isinstance(spec, list) else [spec])) for task, spec in data["tasks"].items()
        },
        names=data["names"],
    )


def _board(spec: Mapping[str, Any]) -> Board:
    return Board(
        spec["cited"], tuple(spec["known"]), frozenset(spec["does"]), tuple(spec["panel"]), spec.get("names", {})
    )


def _basis(spec: Mapping[str, object]) -> Basis:
    match spec:
        case {"board": str(board), "categories": [*categories], "reference": int(reference)}:
            transferred = bool(spec.get("transferred")) or len(categories) > 1
            return Basis(board, tuple(map(str, categories)), reference, transferred)
        case _:
            raise ValueError(f"scores.yaml: a task needs board, categories and reference; got {spec}")


def grade(elo: float, half: float, reference: float, *, estimated: bool) -> tuple[float, float]:
    """Score and p25 of a model at ``elo`` +- ``half``, three digits each."""
    standard = load_standard()
    sigma = sqrt((half / 1.96) ** 2 + standard.spread[estimated] ** 2)
    return round(_win(elo, reference), 3), round(_win(elo - standard.quartile * sigma, reference), 3)


def _win(elo: float, reference: float) -> float:
    """The chance to be preferred to the reference."""
    return float(1 / (1 + 10 ** ((reference - elo) / 400)))


def pool(measures: Sequence[Measure]) -> Measure:
    """Several categories as one: the mean, and the half interval of a mean of independent figures."""
    count = len(measures)
    return Measure(
        sum(one.elo for one in measures) / count,
        sqrt(sum(one.half**2 for one in measures)) / count,
        measures[0].votes if count == 1 else None,
    )


def whole(elo: float) -> int:
    """Elo as sources cite it: halves go up."""
    return floor(elo + 0.5)


def category_of(name: str) -> str:
    """``tag:product_and_object_generation`` and ``product-and-object-generation`` are one category."""
    return name.rpartition(":")[2].strip().lower().replace("_", "-")


_CITED = re.compile(
    r"(?P<board>Artificial Analysis .+?), (?P<categories>[^,:]+?)"
    r"(, of (?P<relative>.+?)( (?P<sign>plus|less) (?P<offset>\d+))?)?"
    r": Elo (?P<elo>\d+) \+-(?P<half>\d+) against (?P<reference>\d+)"
)


def cite(citation: Citation) -> str:
    """The source of a score, from which it can be computed again."""
    relative = f", of {citation.relative}" if citation.relative else ""
    if citation.offset:
        relative += f" {'plus' if citation.offset > 0 else 'less'} {abs(citation.offset)}"
    board = load_standard().boards[citation.board].cited
    return (
        f"{board}, {' and '.join(citation.categories)}{relative}:"
        f" Elo {citation.elo} +-{citation.half} against {citation.reference}"
    )


def read_citation(source: str) -> Citation | None:
    """What ``cite`` wrote; None for any other source."""
    found = _CITED.fullmatch(source)
    board = next((name for name, one in load_standard().boards.items() if found and one.cited == found["board"]), "")
    if found is None or not board:
        return None
    offset = int(found["offset"] or 0)
    return Citation(
        board,
        tuple(_categories(found["categories"])),
        found["relative"] or "",
        -offset if found["sign"] == "less" else offset,
        *(int(found[name]) for name in ("elo", "half", "reference")),
    )


def _categories(text: str) -> Sequence[str]:
    """The categories a citation joins by "and", which some have in their names as well: those of a basis are known."""
    known = {
        " and ".join(basis.categories): basis.categories for bases in load_standard().tasks.values() for basis in bases
    }
    return known.get(text, (text,))
