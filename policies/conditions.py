"""``match`` and ``when`` of a rule, compiled: each key a condition that holds or does not, and can tell why not.

``match`` compiles every rule here once. ``holds`` is the hot path; ``tell`` is only asked for an explanation. It may
name what the caller is and asks for, and what the rule wants, but no word of a prompt, no expression and no header's
value: what is told reaches callers, and those may be another's secrets.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from policies import schema
from policies.expressions import searcher
from policies.globs import names
from policies.problems import excerpt
from policies.subject import Fault, Subject
from policies.when import compile_when
from policies.windows import clock, compile_window, is_in

Holds = Callable[[Subject], bool]
Tell = Callable[[Subject], str]

SLACK = 0.02  # by how much an aspect may be off: providers' sizes are multiples of 8 to 64 pixels

UNSIZED = "no size was asked for"


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """``key`` is the user's; ``tell`` says, where it does not hold, why."""

    key: str
    holds: Holds
    tell: Tell


def conditions_of(rule: schema.Rule, where: str) -> tuple[Condition, ...]:
    """All that must hold for the rule, what reads the least first. Raises ValueError naming the field."""
    found: list[Condition] = []
    for name, (key, build) in _CONDITIONS.items():
        if (wanted := getattr(rule.match, name)) is not None:
            try:
                found.append(Condition(key, *build(wanted)))
            except ValueError as error:
                raise ValueError(f"{where}.match.{key}: {error}") from None
    if rule.when is not None:
        try:
            found.append(Condition("when", *_when(rule.name, rule.when)))
        except ValueError as error:
            raise ValueError(f"{where}.when: {error}") from None
    return tuple(found)


def all_of(conditions: Iterable[Condition]) -> Holds:
    tests = tuple(condition.holds for condition in conditions)

    def holds(subject: Subject) -> bool:
        for test in tests:  # noqa: SIM110 - half the time of all()
            if not test(subject):
                return False
        return True

    return holds


# ----------------------------------------------------------------------------------------------------- what is compared

Pair = tuple[Holds, Tell]


def _differs(value: object, wanted: Iterable[object]) -> str:
    if not value:
        return "none is given"
    choices, given = [str(choice) for choice in wanted], excerpt(str(value), 40)
    return f"{given} is not {choices[0]}" if len(choices) == 1 else f"{given} is none of {excerpt(', '.join(choices))}"


def _among(read: Callable[[Subject], object]) -> Callable[[Iterable[object]], Pair]:
    def build(wanted: Iterable[object]) -> Pair:
        choices = tuple(wanted)
        return lambda subject: read(subject) in choices, lambda subject: _differs(read(subject), choices)

    return build


def _named(read: Callable[[Subject], str]) -> Callable[[Iterable[str]], Pair]:
    def build(globs: Iterable[str]) -> Pair:
        wanted = tuple(globs)
        matches = names(wanted)
        return lambda subject: matches(read(subject)), lambda subject: _differs(read(subject), wanted)

    return build


def _at_least(read: Callable[[Subject], float | None]) -> Callable[[float], Pair]:
    """What is unknown is under every minimum, and over every maximum."""

    def build(least: float) -> Pair:
        def holds(subject: Subject) -> bool:
            value = read(subject)
            return value is not None and value >= least

        return holds, lambda subject: _beyond(read(subject), f"under {_figure(least)}")

    return build


def _at_most(read: Callable[[Subject], float | None]) -> Callable[[float], Pair]:
    def build(most: float) -> Pair:
        def holds(subject: Subject) -> bool:
            value = read(subject)
            return value is not None and value <= most

        return holds, lambda subject: _beyond(read(subject), f"over {_figure(most)}")

    return build


def _beyond(value: float | None, bound: str) -> str:
    return UNSIZED if value is None else f"{_figure(value)} is {bound}"


def _figure(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def _headers(globs: Mapping[str, str]) -> Pair:
    wanted = tuple((name.lower(), names((glob,))) for name, glob in globs.items())

    def failing(subject: Subject) -> str:
        headers = subject.request.ask.headers
        for name, matches in wanted:
            if name not in headers:
                return f"there is no {name}"
            if not matches(headers[name]):
                return f"{name} does not match"
        return ""

    return lambda subject: not failing(subject), failing


def _prompt(expression: str) -> Pair:
    found = searcher(expression)
    return lambda subject: found(subject.request.prompt), lambda subject: "the expression is not found"


# ------------------------------------------------------------------------------------------------- sizes and references


def _references(subject: Subject) -> int:
    return len(subject.request.references)


def _pixels(subject: Subject) -> int | None:
    size = subject.request.dimensions()
    return None if size is None else size[0] * size[1]


def _other_size(wanted: Iterable[str]) -> Tell:
    def tell(subject: Subject) -> str:
        size = subject.request.dimensions()
        return _differs("{}x{}".format(*size), wanted) if size else UNSIZED

    return tell


def _sizes(wanted: Iterable[str]) -> Pair:
    sizes = frozenset(tuple(map(int, size.split("x"))) for size in wanted)
    return lambda subject: subject.request.dimensions() in sizes, _other_size(wanted)


def _aspects(wanted: Iterable[str]) -> Pair:
    tests = tuple(_aspect(name) for name in wanted)

    def holds(subject: Subject) -> bool:
        size = subject.request.dimensions()
        return size is not None and any(test(*size) for test in tests)

    return holds, _other_size(wanted)


def _aspect(name: str) -> Callable[[int, int], bool]:
    """Of width and height. Every picture is one of wide, tall and square."""
    more = 1 + SLACK
    match name:
        case "wide":
            return lambda width, height: width > height * more
        case "tall":
            return lambda width, height: height > width * more
        case "square":
            return lambda width, height: width <= height * more and height <= width * more
    across, down = map(int, name.split(":"))
    return lambda width, height: width * down <= height * across * more and height * across <= width * down * more


# ------------------------------------------------------------------------------------------------------- time, and CEL


def _during(specs: Iterable[schema.Window]) -> Pair:
    windows = tuple(map(compile_window, specs))
    places = tuple(dict.fromkeys(window.zone for window in windows))

    def tell(subject: Subject) -> str:
        return f"it is {', '.join(f'{clock(subject.now, place)} in {place}' for place in places)}"

    return lambda subject: any(is_in(window, subject.now) for window in windows), tell


def _when(rule: str, expression: str) -> Pair:
    evaluate = compile_when(expression)

    def holds(subject: Subject) -> bool:
        result = evaluate(subject)
        if isinstance(result, str):
            subject.faults.append(Fault(rule, result))
            return False
        return result

    def tell(subject: Subject) -> str:
        result = evaluate(subject)
        return f"failed: {result}" if isinstance(result, str) else "is false"

    return holds, tell


_CONDITIONS: dict[str, tuple[str, Callable[[Any], Pair]]] = {
    "operation": ("operation", _among(lambda subject: subject.request.operation)),
    "task": ("task", _among(lambda subject: subject.traits.task)),
    "tier": ("tier", _among(lambda subject: subject.tier)),
    "language": ("language", _among(lambda subject: subject.traits.language)),
    "min_confidence": ("minConfidence", _at_least(lambda subject: subject.traits.confidence)),
    "max_confidence": ("maxConfidence", _at_most(lambda subject: subject.traits.confidence)),
    "min_references": ("minReferences", _at_least(_references)),
    "max_references": ("maxReferences", _at_most(_references)),
    "size": ("size", _sizes),
    "aspect": ("aspect", _aspects),
    "min_pixels": ("minPixels", _at_least(_pixels)),
    "max_pixels": ("maxPixels", _at_most(_pixels)),
    "caller": ("caller", _named(lambda subject: subject.request.ask.caller)),
    "app": ("app", _named(lambda subject: subject.request.ask.app)),
    "namespace": ("namespace", _named(lambda subject: subject.request.ask.namespace)),
    "headers": ("headers", _headers),
    "during": ("during", _during),
    "prompt": ("prompt", _prompt),
}
