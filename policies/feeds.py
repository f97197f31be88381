"""The text of a feed -> rows: a price block or an arena's figure each, and every row that is neither, by line.

A feed is CSV with a head, or JSON lines; the keys are the same. One row is one whole price formula, so that a formula
is taken or left whole. The verb calls this, and ``refresh`` judges what the rows say; here a row is only read. The
columns are documented for people in ``policies/models/README.md``.
"""

import csv
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from io import StringIO
from math import isfinite
from typing import Any, TypeVar, get_args

import orjson
from pydantic import ValidationError

from adapters.ir import RESOLUTIONS
from policies import supply
from policies.document import SIZE, SPELLING, VideoResolution
from policies.problems import did_you_mean, excerpt
from policies.scores import Measure, category_of
from policies.verdicts import Place, Refusal

_WHOSE = ("deployment", "provider", "model", "remote", "region")
_SAID_BY = ("date", "source", "notes")
_PRICED = (
    "operation",
    "unit",
    "price_usd",
    "default",
    "seconds",
    "per_reference",
    "priority",
    "estimated",
    "multipliers",
)
PRICE_COLUMNS = frozenset({*_WHOSE, *_PRICED, *_SAID_BY})
SCORE_COLUMNS = frozenset({"model", "board", "category_or_dimension", "score", "scale", "ci95", "n", *_SAID_BY})

_UNITS = {
    "image": "image", "usd_per_image": "image", "usd_per_output_image": "image",
    "megapixel": "megapixel", "usd_per_megapixel": "megapixel",
    "size": "size", "usd_per_size": "size",
    "resolution": "resolution", "usd_per_resolution": "resolution",
    "second": "second", "usd_per_second": "second", "resolutionsecond": "resolutionSecond",
}  # fmt: skip
_WORDS_TO_MEDIA = frozenset({"", "generate", "text-to-image", "text-to-video", "image.generate", "video.generate"})
_EDITS = frozenset({"edit", "image-editing", "image.edit"})
_SCALES = frozenset({"elo", "elo (aa arena)"})
_MOST_ELO = 5000.0


@dataclass(frozen=True, slots=True)
class PriceRow:
    """A price block and whose it is: ``deployment`` is an id, or ``provider`` and one of the others is not empty.
    ``edit``: it is the price of work on given pictures. Without a price ``fault`` says why there is none."""

    place: Place
    deployment: str
    provider: str
    model: str
    remote: str
    region: str
    edit: bool
    price: supply.Price | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """An arena's figure for one model in one category. ``source`` tells the board where ``board`` is empty. Without a
    measure ``fault`` says why there is none."""

    place: Place
    model: str
    board: str
    category: str
    source: str
    measure: Measure | None
    date: date
    fault: str = ""


Row = TypeVar("Row")
Read = tuple[tuple[Row, ...], tuple[Refusal, ...]]  # and every row that could not be read


class _Unusable(Exception):
    """What is wrong with a row, as a sentence that names the field."""


# ------------------------------------------------------------------------------------------------------------ the feeds


def read_prices(file: str, text: str) -> Read[PriceRow]:
    return _read(file, text, PRICE_COLUMNS, _price_row)


def read_scores(file: str, text: str) -> Read[ScoreRow]:
    return _read(file, text, SCORE_COLUMNS, _score_row)


def _read(file: str, text: str, columns: frozenset[str], read: Callable[[Place, Mapping[str, Any]], Row]) -> Read[Row]:
    rows: list[Row] = []
    refused: list[Refusal] = []
    lines = _json_lines if text.lstrip("\ufeff \r\n\t").startswith("{") else _csv_lines
    for line, record in lines(text):
        place = Place(file, line)
        try:
            if isinstance(record, str):
                raise _Unusable(record)
            for key in record:
                if key not in columns:
                    raise _Unusable(f"{excerpt(key)} is not a column of this feed{did_you_mean(key, columns)}")
            rows.append(read(place, record))
        except _Unusable as error:
            refused.append(Refusal(place, "", str(error)))
    return tuple(rows), tuple(refused)


def _json_lines(text: str) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    for line, row in enumerate(text.lstrip("\ufeff").split("\n"), 1):
        if not row.strip():
            continue
        try:
            record = orjson.loads(row)
        except orjson.JSONDecodeError as error:
            yield line, f"not valid JSON: {error}"
            continue
        yield line, record if isinstance(record, dict) else "a line must be a JSON object"


def _csv_lines(text: str) -> Iterator[tuple[int, Mapping[str, Any] | str]]:
    """One record a row. A row may span lines; its number is that of its first."""
    reader = csv.reader(StringIO(text.lstrip("\ufeff"), newline=""), strict=True)
    head: list[str] = []
    line = 1
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                pass
            elif not head:
                head = [cell.strip() for cell in cells]
                if len(set(head)) != len(head):
                    yield line, "the head has a column twice"
                    return
            elif len(cells) > len(head):
                yield line, f"has {len(cells)} cells under {len(head)} columns: a text with a comma needs quotes"
            else:
                yield line, {key: cell.strip() for key, cell in zip(head, cells, strict=False)}
            line = reader.line_num + 1
    except csv.Error as error:
        yield line, f"not valid CSV: {error}"


# ------------------------------------------------------------------------------------------------------------- the rows


def _price_row(place: Place, record: Mapping[str, Any]) -> PriceRow:
    names = {key: _text(record, key) for key in _WHOSE}
    if not names["deployment"] and not (names["provider"] and (names["model"] or names["remote"])):
        raise _Unusable("says not whose price it is: give deployment, or provider with model or remote")
    try:
        return PriceRow(place=place, edit=_is_edit(record), price=_price(record), **names)
    except _Unusable as error:  # its deployment is known, and no other row of it may be taken alone
        return PriceRow(place=place, edit=False, price=None, fault=str(error), **names)


def _is_edit(record: Mapping[str, Any]) -> bool:
    operation = _text(record, "operation").lower()
    if operation not in _WORDS_TO_MEDIA | _EDITS:
        raise _Unusable(f'operation must be generate or edit, not "{excerpt(operation)}"')
    return operation in _EDITS


def _price(record: Mapping[str, Any]) -> supply.Price:
    written = _text(record, "unit", required=True)
    unit = _UNITS.get(written.lower())
    if unit is None:
        known = ", ".join(dict.fromkeys(_UNITS.values()))
        raise _Unusable(f'unit "{excerpt(written)}" is not known: it must be one of {known}')
    data = {
        "formula": {"unit": unit} | _FORMULAS[unit](record),
        "perReference": _dollars(record.get("per_reference") or 0.0, "per_reference"),
        "priority": _table(record.get("priority") or {}, "priority"),
        "estimated": _flag(record, "estimated"),
        "source": _text(record, "source", required=True),
        "asOf": _date(record).isoformat(),
    }
    try:
        written_out = {key: value for key, value in data.items() if value}
        return supply.Price.model_validate_json(orjson.dumps(written_out), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"][2 if first["loc"][0] == "formula" else 0 :])
        raise _Unusable(f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}") from None


def _per_unit(record: Mapping[str, Any]) -> dict[str, Any]:
    return {"usd": _dollars(_given(record, "price_usd"), "price_usd")}


def _per_second(record: Mapping[str, Any]) -> dict[str, Any]:
    return _per_unit(record) | _length(record, "default")


def _length(record: Mapping[str, Any], key: str) -> dict[str, float]:
    """The length charged where none is asked for, by what its formula calls it."""
    seconds = record.get("seconds")
    return {} if seconds in (None, "") else {key: _number(seconds, "seconds")}


def _per_megapixel(record: Mapping[str, Any]) -> dict[str, Any]:
    figures = _table(_given(record, "price_usd"), "price_usd")
    if not {"first", "extra"} <= figures.keys() <= {"first", "extra", "reference"}:
        raise _Unusable("price_usd by megapixel must give first and extra, and may give reference")
    return dict(figures)


def _per_size(record: Mapping[str, Any]) -> dict[str, Any]:
    usd = _table(_given(record, "price_usd"), "price_usd")
    for name in usd:
        if not re.fullmatch(SIZE, name):
            raise _Unusable(f'price_usd must be by {SPELLING[SIZE]}, not "{excerpt(name)}"')
    return {"usd": usd}


def _per_resolution(record: Mapping[str, Any]) -> dict[str, Any]:
    return _by_class(record, tuple(RESOLUTIONS), "1K")


def _per_resolution_second(record: Mapping[str, Any]) -> dict[str, Any]:
    return _by_class(record, get_args(VideoResolution), "720p") | _length(record, "seconds")


def _by_class(record: Mapping[str, Any], classes: Collection[str], unsaid: str) -> dict[str, Any]:
    usd = _table(_given(record, "price_usd"), "price_usd")
    for name in usd:
        if name not in classes:
            raise _Unusable(f'price_usd must be by {", ".join(classes)}, not "{excerpt(name)}"')
    default = _text(record, "default") or unsaid
    if default not in usd:
        raise _Unusable(f'default "{excerpt(default)}" has no price in price_usd')
    return {"usd": usd, "default": default}


_FORMULAS: Mapping[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
    "image": _per_unit,
    "megapixel": _per_megapixel,
    "size": _per_size,
    "resolution": _per_resolution,
    "second": _per_second,
    "resolutionSecond": _per_resolution_second,
}


def _score_row(place: Place, record: Mapping[str, Any]) -> ScoreRow:
    model = _text(record, "model", required=True)
    category = category_of(_text(record, "category_or_dimension", required=True))
    board, source = _text(record, "board"), _text(record, "source", required=True)
    try:
        return ScoreRow(place, model, board, category, source, _measure(record), _date(record))
    except _Unusable as error:  # most of an arena's rows are about what no catalog has: those may be as they like
        return ScoreRow(place, model, board, category, source, None, date.min, str(error))


def _measure(record: Mapping[str, Any]) -> Measure:
    scale = _text(record, "scale", required=True)
    if scale.lower() not in _SCALES:
        raise _Unusable(f'scale "{excerpt(scale)}" is not Elo: nothing else becomes a score')
    elo = _number(_given(record, "score"), "score")
    if not 0 < elo < _MOST_ELO:
        raise _Unusable(f"score {elo:g} is no Elo")
    votes = record.get("n")
    return Measure(elo, _half(_given(record, "ci95")), None if votes in (None, "") else _count(votes))


# ----------------------------------------------------------------------------------------------------------- the fields


def _given(record: Mapping[str, Any], key: str) -> Any:
    value = record.get(key)
    if value is None or value == "":
        raise _Unusable(f"{key} is required")
    return value


def _text(record: Mapping[str, Any], key: str, *, required: bool = False) -> str:
    value = _given(record, key) if required else record.get(key) or ""
    if not isinstance(value, str):
        raise _Unusable(f"{key} must be text")
    return value


def _number(value: object, key: str) -> float:
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    except (ValueError, OverflowError):
        number = None
    if number is None or not isfinite(number):
        raise _Unusable(f'{key} must be a number, not "{excerpt(str(value))}"')
    return number


def _dollars(value: object, key: str) -> float:
    usd = _number(value, key)
    if usd < 0:
        raise _Unusable(f"{key} {usd:g} is negative")
    return usd


def _table(value: object, key: str) -> dict[str, float]:
    """``{"1K": 0.04}`` of JSON, or the same as ``1K=0.04 2K=0.06`` in a cell."""
    if isinstance(value, str):
        pairs = [pair.partition("=") for pair in value.replace(";", " ").split()]
        if not all(sign for _, sign, _ in pairs):
            raise _Unusable(f'{key} must be figures such as 1K=0.04 2K=0.06, not "{excerpt(value)}"')
        if len({name for name, _, _ in pairs}) != len(pairs):
            raise _Unusable(f"{key} has a name twice")
        value = {name: figure for name, _, figure in pairs}
    if not isinstance(value, dict):
        raise _Unusable(f"{key} must be an object of figures by name")
    return {name: _dollars(figure, f"{key} {excerpt(name)}") for name, figure in value.items()}


def _flag(record: Mapping[str, Any], key: str) -> bool:
    value = record.get(key)
    match value.lower() if isinstance(value, str) else value:
        case None | "" | "false" | False:
            return False
        case "true" | True:
            return True
        case _:
            raise _Unusable(f"{key} must be true or false")


def _date(record: Mapping[str, Any]) -> date:
    text = _text(record, "date", required=True)
    try:
        if len(text) == 10:  # fromisoformat reads 20261120 and 2026-W47 as well
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise _Unusable(f'date must be a day such as 2026-11-20, not "{excerpt(text)}"')


def _half(value: object) -> float:
    """Half of an interval: ``12``, ``±12``, ``+-12`` or, as two sides, ``-11/+13``; 0 is that of a board's anchor."""
    sides = [side.strip("±+- ") for side in value.split("/")] if isinstance(value, str) else [value]
    halves = [_number(side, "ci95") for side in sides]
    if len(halves) > 2 or min(halves) < 0:
        raise _Unusable(f'ci95 must be half an interval in Elo such as 12 or -11/+13, not "{excerpt(str(value))}"')
    return sum(halves) / len(halves)


def _count(value: object) -> int:
    number = _number(value, "n")
    if number < 0 or number != int(number):
        raise _Unusable(f"n {number:g} is no number of votes")
    return int(number)
