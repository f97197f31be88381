"""``when:`` of a rule: conditions in CEL, checked with their types when they are read, evaluated with a bound.

``conditions`` compiles them, ``check`` asks what is wrong with one. The engine, cel-expr-python, is an extra: it is
imported only when a policy has a ``when``. What an expression does not read is not bound, which is most of the cost.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from policies.expressions import Mistake, mistake
from policies.problems import did_you_mean
from policies.subject import PROMPT_SEARCHED, Subject
from policies.windows import zone, zones

MISSING = "needs the CEL engine, which is not installed: install cel-expr-python, or Muxel with its extra cel"


class Engineless(Exception):
    """cel-expr-python is not installed."""


class Variable(NamedTuple):
    """``type`` is the name of a CEL type."""

    type: str
    read: Callable[[Subject], Any]


def _text(text: str) -> str:
    """Without the surrogates that stand for bytes which are not UTF-8: the engine would fail on them."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _headers(subject: Subject) -> dict[str, str]:
    return {_text(name): _text(value) for name, value in subject.request.ask.headers.items()}


def _edge(index: int) -> Callable[[Subject], int]:
    return lambda subject: (subject.request.dimensions() or (0, 0))[index]


VARIABLES: Mapping[str, Variable] = {
    "request.operation": Variable("STRING", lambda subject: subject.request.operation.value),
    "request.model": Variable("STRING", lambda subject: _text(subject.request.model)),
    "request.prompt": Variable("STRING", lambda subject: _text(subject.request.prompt[:PROMPT_SEARCHED])),
    "request.prompt_length": Variable("INT", lambda subject: len(subject.request.prompt)),
    "request.width": Variable("INT", _edge(0)),
    "request.height": Variable("INT", _edge(1)),
    "request.n": Variable("INT", lambda subject: subject.request.n),
    "request.references": Variable("INT", lambda subject: len(subject.request.references)),
    "request.masked": Variable("BOOL", lambda subject: subject.request.mask is not None),
    "request.language": Variable("STRING", lambda subject: subject.traits.language),
    "request.headers": Variable("STRING:STRING", _headers),
    "request.caller": Variable("STRING", lambda subject: _text(subject.request.ask.caller)),
    "request.app": Variable("STRING", lambda subject: _text(subject.request.ask.app)),
    "request.namespace": Variable("STRING", lambda subject: _text(subject.request.ask.namespace)),
    "traits.task": Variable("STRING", lambda subject: subject.traits.task),
    "traits.confidence": Variable("DOUBLE", lambda subject: subject.traits.confidence),
    "traits.runner_up": Variable("STRING", lambda subject: subject.traits.runner_up),
    "traits.tasks": Variable("STRING:DOUBLE", lambda subject: dict(subject.traits.tasks)),
    "tier": Variable("STRING", lambda subject: subject.tier.value),
    "now": Variable("TIMESTAMP", lambda subject: datetime.fromtimestamp(subject.now, UTC)),
}


_LITERAL = re.compile(r"""'([^'\n]*)'|"([^"\n]*)"|request\.headers\.(\w+)""")


def headers_read(expression: str) -> frozenset[str]:
    """The headers an expression may look at, in lower case: every text in it, where it looks at headers at all."""
    if "request.headers" not in expression:
        return frozenset()
    return frozenset(name.lower() for found in _LITERAL.findall(expression) for name in found if name)


# ------------------------------------------------------------------------------------------------------------ checking


def mistakes(expression: str) -> tuple[Mistake, ...]:
    """Everything that is wrong with an expression: syntax, names, types. Raises Engineless."""
    try:
        program = _environment().compile(expression)
    except RuntimeError as error:
        return tuple(_mistake(expression, *found) for found in _ERROR.findall(str(error))) or (
            Mistake(0, "is not CEL"),
        )
    kind = program.return_type().name()
    if kind != "BOOL":
        return (Mistake(0, f"must be true or false, and is of type {kind.lower()}"),)
    return (*_expressions(expression), *_zones(expression))


@lru_cache(maxsize=1)
def _environment() -> Any:
    try:
        from cel_expr_python import cel
    except ImportError:
        raise Engineless(MISSING) from None

    def type_of(name: str) -> Any:
        key, _, value = name.partition(":")
        return cel.Type.Map(getattr(cel.Type, key), getattr(cel.Type, value)) if value else getattr(cel.Type, name)

    return cel.NewEnv(variables={name: type_of(variable.type) for name, variable in VARIABLES.items()})


_ERROR = re.compile(
    r"^(?:INVALID_ARGUMENT: )?ERROR: <input>:(\d+):(\d+): (.*?)(?: \[INVALID_ARGUMENT\])?$", re.MULTILINE
)
_UNDECLARED = re.compile(r"(?:Syntax error: )?(?:undeclared reference to '|reserved identifier: )([\w.]*)")
_OVERLOAD = re.compile(r"found no matching overload for '([^']*)' applied to '(.*)'")
_MIXED = frozenset(("(int, double)", "(double, int)"))
_FUNCTIONS = (
    "all", "bool", "bytes", "contains", "double", "duration", "dyn", "endsWith", "exists", "exists_one", "filter",
    "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear", "getFullYear", "getHours", "getMilliseconds",
    "getMinutes", "getMonth", "getSeconds", "has", "int", "map", "matches", "size", "startsWith", "string", "timestamp",
    "type", "uint",
)  # fmt: skip


def _mistake(expression: str, line: str, column: str, message: str) -> Mistake:
    lines = expression.split("\n")
    offset = sum(len(row) + 1 for row in lines[: int(line) - 1]) + int(column) - 1
    if found := _UNDECLARED.match(message):
        return _unknown(expression, offset, found[1])
    if found := _OVERLOAD.match(message):
        sign = found[1].strip("_@").replace("_", " ").strip() or found[1]
        mixed = "; write both numbers with a point, or neither" if found[2] in _MIXED else ""
        return Mistake(offset, f"{sign} cannot be applied to {found[2]}{mixed}")
    return Mistake(offset, f"is not CEL: {message.partition(' expecting ')[0].removeprefix('Syntax error: ')}")


def _unknown(expression: str, offset: int, name: str) -> Mistake:
    """The engine points at the dot of a name and at the bracket of a call: here it is at their first letter."""
    first = expression.rfind(name.partition(".")[0], 0, offset + len(name))
    called = expression[offset : offset + 1] == "(" or name in _FUNCTIONS
    if called:
        first = expression.rfind(name, 0, offset)
    known = _FUNCTIONS if called else VARIABLES
    what = "function" if called else "name"
    whole = next((one for one in known if one.endswith("." + name.partition(".")[0])), "")
    hint = did_you_mean(name, known) or (f'; did you mean "{whole}"?' if whole else "")
    return Mistake(offset if first < 0 else first, f'has the unknown {what} "{name}"{hint}')


_TEXT = r"""(r?)("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_MATCHES = re.compile(rf"\bmatches\(\s*{_TEXT}\s*\)")
_CLOCK = re.compile(rf"\.get[A-Z]\w+\(\s*{_TEXT}\s*\)")
_SHIFT = re.compile(r"[+-]?\d{1,2}:\d{2}")


def _expressions(expression: str) -> Iterator[Mistake]:
    """Wrong regular expressions that are written out: the engine finds them only when it comes to them."""
    for found in _MATCHES.finditer(expression):
        raw, text = found[1], found[2][1:-1]
        if wrong := mistake(text if raw else text.replace("\\\\", "\\")):
            yield Mistake(found.start(2) + (1 + wrong.offset if raw else 0), wrong.message)


def _zones(expression: str) -> Iterator[Mistake]:
    for found in _CLOCK.finditer(expression):
        name = found[2][1:-1]
        try:
            if not _SHIFT.fullmatch(name):
                zone(name)
        except ValueError:
            yield Mistake(found.start(2) + 1, f'has the unknown time zone "{name[:60]}"{did_you_mean(name, zones())}')


# ---------------------------------------------------------------------------------------------------------- evaluating

Evaluate = Callable[[Subject], bool | str]


def compile_when(expression: str) -> Evaluate:
    """Whether it holds; a text is why that could not be told. Raises ValueError for a wrong one, and Engineless."""
    if wrong := mistakes(expression):
        raise ValueError(f"{expression!r} {wrong[0].message}")
    program = _environment().compile(expression)
    checked = program.serialize()  # has the names that were resolved, and perhaps some more
    bound = tuple((name, variable.read) for name, variable in VARIABLES.items() if name.encode() in checked)

    def evaluate(subject: Subject) -> bool | str:
        try:
            result = program.eval(data={name: read(subject) for name, read in bound}).value()
        except RuntimeError as error:
            return _fault(str(error))
        return result if isinstance(result, bool) else _fault(str(result))

    return evaluate


_FAULTS = {
    "Iteration budget exceeded": "it took too many steps",
    "Key not found": "a map has no such key",
    "divide by zero": "it divides by zero",
    "modulus by zero": "it divides by zero",
    "overflow": "a number is too large",
    "too big": "a number is too large",
    "Invalid timezone": "there is no such time zone",
    "Index error": "a list has no such place",
    "invalid regular expression": "a regular expression is wrong",
    "onversion": "a value cannot be converted",
    "cannot convert": "a value cannot be converted",
}


def _fault(message: str) -> str:
    """In words of ours alone: the engine's may repeat what the caller wrote."""
    return next((told for sign, told in _FAULTS.items() if sign in message), "it cannot be evaluated")
