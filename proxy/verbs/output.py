"""How verbs answer: exit statuses, one JSON object, tables, complaints. Used by every module of this package."""

import sys
from collections.abc import Iterable, Sequence
from typing import IO

import orjson

from policies.problems import Problem

OK, PROBLEM, USAGE = 0, 1, 2


def print_json(value: object) -> None:
    sys.stdout.buffer.write(orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE))
    sys.stdout.flush()


def table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], to: IO[str] | None = None) -> None:
    """Columns as wide as they need to be, the last one left ragged; to standard output unless said."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    for line in lines:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(line, widths, strict=False)), line[-1]]), file=to)


def refuse(problems: Sequence[Problem]) -> int:
    """Every problem on standard error, each at the start of its line for editors to find; the status."""
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"muxel: {len(problems)} problem{'s' * (len(problems) != 1)}", file=sys.stderr)
    return PROBLEM


def fail(message: str, status: int) -> int:
    """``message`` on standard error; the status, to be returned."""
    print(f"muxel: {message}", file=sys.stderr)
    return status
