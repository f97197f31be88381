"""What is wrong in a file, and where: the one shape of a configuration error, and the nearest right spelling.

Used by every step of ``load``, by ``muxel check`` and by the watchers. Knows nothing of YAML or schemas.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from operator import attrgetter

LONGEST_GUESS = 64  # characters; comparing longer words costs more than the hint is worth


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. ``line`` and ``column`` count from 1."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


_READING_ORDER = attrgetter("file", "line", "column", "message")


class ConfigError(Exception):
    """Every problem found in a set of files, in reading order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(set(problems), key=_READING_ORDER))
        super().__init__("\n".join(map(str, self.problems)))


def excerpt(text: str, limit: int = 60) -> str:
    """``text`` on one line and no longer than ``limit``, for a message."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 3] + "..."


def did_you_mean(word: str, choices: Iterable[str]) -> str:
    """``; did you mean "x"?`` for the choice nearest to ``word``, case and underscores aside; "" if none is near."""
    if len(word) > LONGEST_GUESS:
        return ""
    folded = {_fold(choice): choice for choice in choices}
    near = get_close_matches(_fold(word), folded, n=1, cutoff=0.6)
    return f'; did you mean "{folded[near[0]]}"?' if near else ""


def _fold(word: str) -> str:
    return word.lower().replace("_", "")
