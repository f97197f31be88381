"""YAML text -> documents in which every key and value knows its line and column.

Stricter than YAML: duplicate keys and tags are refused, only ``true`` and ``false`` are booleans, numbers are decimal,
dates stay text, merge keys are plain keys. Aliases share what they name and are bounded, so that a small file cannot
stand for a huge one. Called by ``load``; knows nothing of kinds and schemas, and raises nothing.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isinf
from typing import Any, NamedTuple, Protocol

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from policies.problems import Problem, excerpt

MAX_BYTES = 4 * 1024 * 1024  # four times what a ConfigMap can hold
MAX_DEPTH = 100
MAX_ALIASED = 1_000_000  # values and characters that the aliases of one file may stand for

Path = tuple[str | int, ...]  # keys and indices from the top of a document

_WORDS = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
# At most 18 digits, so that it fits 64 bits; a longer one is read as a float.
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)


class Mark(Protocol):
    """A position as libyaml gives it: counted from 0, within the text."""

    line: int
    column: int
    index: int


class Place(NamedTuple):
    """Where a value starts; for a mapping also where its keys are; and the places of what is inside."""

    mark: Mark
    keys: Mapping[str, Mark] = {}
    values: Mapping[str, "Place"] | Sequence["Place"] = ()

    def inside(self, part: str | int) -> "Place | None":
        try:
            return self.values[part]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            return None


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a text starts in its file, when it is a value of another document. ``scale`` 0: everything is there."""

    line: int = 1
    column: int = 1
    scale: int = 1

    def at(self, line: int, column: int) -> tuple[int, int]:
        """Line and column in the file, from 1, of what is at this line and column of the text, from 0."""
        return self.line + self.scale * line, self.column + self.scale * column


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document: plain data, and the place of everything in it."""

    file: str
    data: Any
    place: Place
    origin: Origin = Origin()
    text: str = field(default="", repr=False)  # of the whole file, or of the value of another document

    def locate(self, path: Path, *, key: bool = False) -> tuple[int, int]:
        """Line and column of the value at ``path``, or of its key; if there is none, of the innermost part there is."""
        place = self.place
        for index, part in enumerate(path):
            if key and index == len(path) - 1 and part in place.keys:
                mark = place.keys[str(part)]
                return self.origin.at(mark.line, mark.column)
            inner = place.inside(part)
            if inner is None:
                break
            place = inner
        return self.origin.at(place.mark.line, place.mark.column)

    def problem(self, path: Path, message: str, *, key: bool = False) -> Problem:
        return Problem(self.file, *self.locate(path, key=key), message)

    def problem_inside(self, path: Path, offset: int, message: str) -> Problem:
        """A problem of the character at ``offset`` of the text at ``path``."""
        mark, value = self.place.mark, self.data
        place: Place | None = self.place
        for part in path:
            place, value = place and place.inside(part), value[part]
        mark = place.mark if place else mark
        return Problem(self.file, *self.origin.at(*_inside(self.text, mark, value, offset)), message)


@dataclass(frozen=True, slots=True)
class Parsed:
    """``complete`` is False when the rest of the text could not be read, so that names may be missing."""

    documents: tuple[Document, ...]
    problems: tuple[Problem, ...]
    complete: bool


def parse(file: str, content: str | bytes, origin: Origin | None = None) -> Parsed:
    """Every document of the text that is not empty, and every problem. What follows a syntax error is not read."""
    composer = _Composer(file, origin or Origin())
    try:
        composer.read(_decode(content))
    except _Unreadable as error:
        composer.report(error.line, error.column, error.message)
        return Parsed(tuple(composer.documents), tuple(composer.problems), complete=False)
    return Parsed(tuple(composer.documents), tuple(composer.problems), complete=True)


class _Unreadable(Exception):
    """The text ends here for us. Line and column count from 0, within the text."""

    def __init__(self, line: int, column: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.column = column
        self.message = message


def _decode(content: str | bytes) -> str:
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    if len(raw) > MAX_BYTES:
        raise _Unreadable(0, 0, f"the file is larger than {MAX_BYTES // 1024 // 1024} MiB")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Unreadable(*_line_column(raw, error.start), "the file is not UTF-8 text") from None


def _line_column(raw: bytes, offset: int) -> tuple[int, int]:
    before = raw[:offset]
    line = before[before.rfind(b"\n") + 1 :]
    return before.count(b"\n"), len(line.decode("utf-8", "replace"))


def _unreadable(error: yaml.YAMLError, text: str) -> _Unreadable:
    match error:
        case yaml.MarkedYAMLError(problem_mark=mark) if mark:
            message = f"not valid YAML: {error.problem}"
            if error.context:
                message += f" {error.context}"
            if error.context_mark and (above := mark.line - error.context_mark.line):
                message += f" that starts {above} line{'s' if above > 1 else ''} above"
            return _Unreadable(mark.line, mark.column, message)
        case yaml.reader.ReaderError():
            where = _line_column(text.encode(), error.position)
            return _Unreadable(*where, f"not valid YAML: {error.reason}")
        case _:
            return _Unreadable(0, 0, "not valid YAML")


class _Composer:
    """The parser's events put together. Recursion is bounded by MAX_DEPTH before libyaml's own limits are met."""

    def __init__(self, file: str, origin: Origin) -> None:
        self.documents: list[Document] = []
        self.problems: list[Problem] = []
        self._file = file
        self._origin = origin
        self._next: Any = None
        self._anchors: dict[str, tuple[Any, Place, int]] = {}  # with the size of what it names
        self._size = 0  # values and characters so far, aliases written out
        self._aliased = 0  # the part of it that came by aliases

    def read(self, text: str) -> None:
        """Fills ``documents`` and ``problems``. Raises _Unreadable."""
        try:
            self._next = yaml.CSafeLoader(text).get_event
            while not isinstance(event := self._next(), StreamEndEvent):
                if isinstance(event, DocumentStartEvent):
                    self._anchors.clear()
                    data, place = self._value(self._next(), 0)
                    if data is not None:
                        self.documents.append(Document(self._file, data, place, self._origin, text))
        except yaml.YAMLError as error:
            raise _unreadable(error, text) from None

    def report(self, line: int, column: int, message: str) -> None:
        self.problems.append(Problem(self._file, *self._origin.at(line, column), message))

    def _value(self, event: Any, depth: int) -> tuple[Any, Place]:
        mark = event.start_mark
        if type(event) is AliasEvent:
            return self._alias(event)
        before = self._size
        self._size += 1
        if depth == MAX_DEPTH:
            raise _Unreadable(mark.line, mark.column, f"nested more than {MAX_DEPTH} levels deep")
        if event.tag is not None:
            self.report(mark.line, mark.column, f"YAML tags are not supported: {excerpt(event.tag)}")
        data: Any
        if type(event) is ScalarEvent:
            self._size += len(event.value)
            data, place = _scalar(event), Place(mark)
        elif type(event) is MappingStartEvent:
            data, keys, values = self._mapping(depth + 1)
            place = Place(mark, keys, values)
        else:
            data, places = self._sequence(depth + 1)
            place = Place(mark, {}, places)
        if event.anchor is not None:
            self._anchors[event.anchor] = data, place, self._size - before
        return data, place

    def _mapping(self, depth: int) -> tuple[dict[str, Any], dict[str, Mark], dict[str, Place]]:
        data: dict[str, Any] = {}
        keys: dict[str, Mark] = {}
        values: dict[str, Place] = {}
        while type(event := self._next()) is not MappingEndEvent:
            mark = event.start_mark
            if type(event) is not ScalarEvent:
                self.report(mark.line, mark.column, "a key must be plain text")
                self._value(event, depth)
                self._value(self._next(), depth)
                continue
            name = event.value  # as written: 512 and on are keys like any other
            value, place = self._value(self._next(), depth)
            if name in data:
                line, column = self._origin.at(keys[name].line, keys[name].column)
                message = f'duplicate key "{excerpt(name)}"; it is already at {line}:{column}'
                self.report(mark.line, mark.column, message)
                continue
            self._size += len(name)
            data[name], values[name], keys[name] = value, place, mark
        return data, keys, values

    def _sequence(self, depth: int) -> tuple[list[Any], list[Place]]:
        data: list[Any] = []
        places: list[Place] = []
        while type(event := self._next()) is not SequenceEndEvent:
            value, place = self._value(event, depth)
            data.append(value)
            places.append(place)
        return data, places

    def _alias(self, event: AliasEvent) -> tuple[Any, Place]:
        mark: Any = event.start_mark
        if event.anchor not in self._anchors:
            raise _Unreadable(
                mark.line, mark.column, f"there is no finished anchor &{excerpt(str(event.anchor))} before this alias"
            )
        data, place, size = self._anchors[event.anchor]
        self._size += size
        self._aliased += size
        if self._aliased > MAX_ALIASED:
            raise _Unreadable(
                mark.line, mark.column, f"the aliases up to here stand for more than {MAX_ALIASED} values"
            )
        return data, place


_ESCAPED = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|\r\n|.)", re.DOTALL)
_BLANK_ESCAPES = frozenset("tnNvfr_LP \t\n\r")  # those that stand for a blank, a line break or nothing


def _inside(text: str, mark: Mark, value: str, offset: int) -> tuple[int, int]:
    """Line and column, from 0, of a character of a scalar in its document. YAML folds lines and drops indents, but
    whatever is not blank keeps its order: so many of those lie before the character, here as there."""
    ahead = sum(not character.isspace() for character in value[:offset])
    ends = not value[offset:].strip()
    at = mark.index
    for at, after, blank in _characters(text, mark.index):
        if not blank:
            if not ahead:
                break
            ahead -= 1
            if not ahead and ends:
                at = after
                break
    return mark.line + text.count("\n", mark.index, at), at - text.rfind("\n", 0, at) - 1


def _characters(text: str, start: int) -> Iterator[tuple[int, int, bool]]:
    """Of the scalar that starts there: where each begins and ends, and whether it is blank."""
    quote, at = text[start : start + 1], start
    if quote in ("|", ">"):
        at = text.find("\n", start) + 1
    elif quote in ("'", '"'):
        at += 1
    while at < len(text):
        after, blank = at + 1, text[at].isspace()
        if quote == "'" and text.startswith("''", at):
            after = at + 2
        elif quote == '"' and (escaped := _ESCAPED.match(text, at)):
            after, code = escaped.end(), next(filter(None, escaped.groups()), "")
            blank = chr(int(code, 16)).isspace() if code else text[at + 1] in _BLANK_ESCAPES
        yield at, after, blank
        at = after


def _scalar(event: ScalarEvent) -> Any:
    """None, a boolean, a number or text. What is quoted is text."""
    text: str = event.value
    if not event.implicit[0] or event.style:
        return text
    if text[:1] in "-+.0123456789" and text:
        if _INTEGER.fullmatch(text):
            return int(text)
        if _FLOAT.fullmatch(text) and not isinf(number := float(text)):
            return number
        return text
    return _WORDS.get(text, text)
