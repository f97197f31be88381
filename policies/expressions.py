"""The regular expressions of rules, as RE2 has them: time in proportion to the text, whatever expression and text.

``conditions`` compiles them, ``check`` asks what is wrong with one. The syntax is at
https://github.com/google/re2/wiki/Syntax.
"""

from collections.abc import Callable
from typing import NamedTuple

import re2

from policies.subject import PROMPT_SEARCHED

MEMORY = 1024 * 1024  # bytes one expression may grow to while it searches: hostile prompts make it use them all

_ABSENT = (  # by what such a thing begins with; the longer before the shorter
    ("(?<=", "lookbehind"),
    ("(?<!", "lookbehind"),
    ("(?=", "lookahead"),
    ("(?!", "lookahead"),
    ("(?>", "atomic groups"),
    ("(?#", "comments"),
    ("(?(", "conditions"),
    ("(?P=", "backreferences"),
    ("(?P>", "recursion"),
    ("(?R", "recursion"),
    ("(?&", "recursion"),
    ("*+", "possessive repetition"),
    ("++", "possessive repetition"),
    ("?+", "possessive repetition"),
    ("\\Z", "such escape: the end of the text is \\z"),
    ("\\k", "backreferences"),
    ("\\g", "backreferences"),
    *((f"\\{digit}", "backreferences") for digit in range(1, 10)),
)


class Mistake(NamedTuple):
    """``offset`` counts the characters of the expression before the place to blame."""

    offset: int
    message: str


def searcher(expression: str) -> Callable[[str], bool]:
    """Whether the expression is found in the start of a text, case ignored. Raises ValueError for one that is none."""
    try:
        search = re2.compile(expression.encode(), _options()).search
    except (re2.error, UnicodeEncodeError):
        raise ValueError(f"{expression!r} is not a regular expression") from None
    return lambda text: search(text[:PROMPT_SEARCHED].encode("utf-8", "replace")) is not None


def mistake(expression: str) -> Mistake | None:
    """What is wrong with an expression, in the words of somebody who knows another dialect."""
    try:
        re2.compile(expression.encode(), _options())
    except UnicodeEncodeError as error:
        return Mistake(error.start, "is not text")
    except re2.error as error:
        told = error.args[0]
        return _told(expression, told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told))
    return None


def _options() -> re2.Options:
    options = re2.Options()
    options.case_sensitive = False
    options.never_capture = True  # whether it is found is all that is asked, and costs less
    options.max_mem = MEMORY
    options.log_errors = False
    return options


def _told(expression: str, error: str) -> Mistake:
    """RE2 tells what it stumbled over, and not where; of what is unclosed it repeats everything."""
    if error.startswith("pattern too large"):
        return Mistake(0, "is too large a regular expression: repeat less, above all what is any of many characters")
    kind, _, part = error.partition(": ")
    if not part or part == expression:
        return Mistake(len(expression), f"is not a regular expression: {kind}")
    offset = max(0, expression.find(part))
    for sign, what in _ABSENT:
        if expression.startswith(sign, offset) or part.endswith(sign):
            return Mistake(offset, f"has {sign}, and the regular expressions here are RE2's, which has no {what}")
    return Mistake(offset, f"is not a regular expression: {kind} {part[:20]}")
