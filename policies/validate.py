"""One parsed document against its pydantic model: the typed document, or every mistake in the user's own spelling.

Called by ``load``. Turns pydantic's error list into problems: the path in camelCase without the tags pydantic adds for
unions, the position of the key or the value to blame, a sentence that says what is expected. Values are not quoted
except where they are one of a few choices: a key pasted into the wrong field must not end up in a log.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

import orjson
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from policies.document import SPELLING
from policies.parse import Document, Path
from policies.problems import Problem, did_you_mean, excerpt

MOST = 100  # problems told of one document; each costs a search for the nearest spelling

_NUMBER = re.compile(r"-?\d+(\.\d+)?", re.ASCII)

M = TypeVar("M", bound=BaseModel)


def validate(document: Document, model: type[M]) -> M | list[Problem]:
    """The document as ``model``. Strict: a quoted number is text, and nothing is guessed."""
    try:
        return model.model_validate_json(orjson.dumps(document.data), strict=True)
    except ValidationError as error:
        details = [detail for detail in error.errors(include_url=False) if not _follows(detail)]
        problems = [_problem(document, model, detail) for detail in details[:MOST]]
        if len(details) > MOST:
            problems.append(document.problem((), f"there are {len(details) - MOST} further problems in this document"))
        return problems


def _follows(detail: ErrorDetails) -> bool:
    """Whether this only follows from other mistakes: pydantic counts the valid items of a list."""
    return detail["type"] == "too_short" and bool(detail["input"])


def spell(path: Path) -> str:
    """``spec.rules[2].match.task``"""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"[\w/-]{1,60}", part):
            text += f".{part}" if text else part
        else:
            text += f'["{excerpt(part)}"]'
    return text


def _problem(document: Document, model: type[BaseModel], detail: ErrorDetails) -> Problem:
    loc = detail["loc"]
    in_key = loc[-1:] == ("[key]",) and detail["type"] != "extra_forbidden"  # a user may write such a key
    path, keys = _resolve(model, loc[:-1] if in_key else loc)
    match detail["type"]:
        case "extra_forbidden":
            hint = did_you_mean(str(path[-1]), keys)
            return document.problem(path, f"{spell(path)} is not a known key{hint}", key=True)
        case "union_tag_invalid" | "union_tag_not_found":
            path = (*path, detail["ctx"]["discriminator"].strip("'"))
    subject = f"the key {spell(path)}" if in_key else spell(path)
    return document.problem(path, f"{subject} {_expectation(detail)}", key=in_key)


def _expectation(detail: ErrorDetails) -> str:
    """What should be there, as the rest of a sentence that begins with the path."""
    kind, given, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind in _EXPECTED:
        return _EXPECTED[kind].format(**context) + _instead(kind, given)
    match kind:
        case "missing" | "union_tag_not_found":
            return "is required"
        case "literal_error" | "enum":
            return _choice(given, re.findall(r"'([^']*)'", context["expected"]))
        case "union_tag_invalid":
            return _choice(context["tag"], re.findall(r"'([^']*)'", context["expected_tags"]))
        case "string_pattern_mismatch":
            return f"must be {SPELLING.get(context['pattern'], 'text of the form ' + context['pattern'])}"
        case _:
            return detail["msg"]


_EXPECTED = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "date_type": "must be a date such as 2026-11-20",
    "date_parsing": "must be a date such as 2026-11-20",
    "date_from_datetime_parsing": "must be a date such as 2026-11-20",
    "date_from_datetime_inexact": "must be a date such as 2026-11-20",
    "tuple_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "too_short": "must not be empty",
    "string_too_short": "must not be empty",
    "string_too_long": "must be at most {max_length} characters long",
}


def _instead(kind: str, given: object) -> str:
    """What stands there now, where a type was expected."""
    match given:
        case _ if not kind.endswith("_type"):
            return ""
        case bool() | int() | float() if kind == "string_type":
            return f", not {_name(given)}: put it in quotes"
        case str() if kind in ("int_type", "float_type") and _NUMBER.fullmatch(given):
            return ", not text: take the quotes away"
        case float() if kind == "int_type":
            return f", not {given}"
        case _:
            return f", not {_name(given)}"


def _name(value: object) -> str:
    match value:
        case None:
            return "empty"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "a mapping"


def _choice(given: object, choices: list[str]) -> str:
    listed = f"must be one of {', '.join(choices)}"
    if not isinstance(given, str):
        return f"{listed}; put it in quotes" if str(given) in choices else listed
    hint = did_you_mean(given, choices)
    return f'has the unknown value "{excerpt(given)}"{hint}' if hint else f'{listed}, not "{excerpt(given)}"'


def _resolve(model: type[BaseModel], loc: tuple[str | int, ...]) -> tuple[Path, Iterable[str]]:
    """The user's path for pydantic's ``loc``, and the keys that may stand where it ends.

    Inside a union of models pydantic puts the tag of the one it chose into ``loc``, which the user never wrote.
    """
    path: list[str | int] = []
    here: tuple[Any, ...] = (model,)
    keys: Iterable[str] = ()
    for part in loc:
        models = [kind for kind in here if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if len(models) > 1:
            here = tuple(kind for kind in models if str(part) in _tags(kind))
            continue
        path.append(part)
        if models:
            fields = {field.alias or name: field.annotation for name, field in models[0].model_fields.items()}
            keys = fields
            here = tuple(_alternatives(fields.get(str(part))))
        else:
            here = tuple(inner for kind in here for inner in _items(kind))
    return tuple(path), keys


def _tags(model: type[BaseModel]) -> Iterable[str]:
    unit = model.model_fields.get("unit")
    return (model.__name__, *get_args(unit.annotation)) if unit else (model.__name__,)


def _alternatives(annotation: Any) -> Iterator[Any]:
    """The types a value may have, with unions and annotations opened."""
    origin = get_origin(annotation)
    if origin in (Union, UnionType):
        for choice in get_args(annotation):
            yield from _alternatives(choice)
    elif hasattr(annotation, "__metadata__"):
        yield from _alternatives(get_args(annotation)[0])
    elif annotation not in (None, NoneType):
        yield annotation


def _items(kind: Any) -> Iterator[Any]:
    """The types of what is inside a tuple or a mapping."""
    arguments = get_args(kind)
    if arguments:
        yield from _alternatives(arguments[1] if issubclass(get_origin(kind), Mapping) else arguments[0])
