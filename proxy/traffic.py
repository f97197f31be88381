"""Recorded traffic: what was asked for, one JSON object a line, without pictures and if need be without prompts.

``replay`` and ``diff`` read it, ``record`` writes what a sidecar was asked, and ``request`` of a policy's test has the
same keys in camelCase (``policies.cases``). Pure. A line holds what a decision is made from:

    operation                     image.generate where it is not told
    prompt, negative_prompt       the caller's words
    prompt_hash, prompt_length    in place of the prompt, where words may not be kept; then ``traits`` is needed
    traits                        what the classifier said then: task and confidence, and where known runner_up, tasks
                                  ({task: share}), language, tier; never beside a prompt, which is classified anew
    model                         as the caller wrote it
    n, size, aspect, resolution, duration, quality, format, background
                                  as in a request: "1024x1536", "16:9", "2K" or "720p", 8 (seconds), "high", "png",
                                  "transparent"
    references, style_references, loras    how many
    mask                          true where there was one
    tier, max_cost, max_latency, pin, policy, session, priority, caller
                                  the x-muxel-* headers; ``pin`` is x-muxel-model
    session_model                 the model that the session had settled on, where its token said so
    headers                       those that rules look at
    app                           who it was for: a label of reports
    weight                        how many such requests there were; 1

Everything may be absent; an operation that makes pictures of words needs ``prompt`` or ``traits``. Any other key is an
error. A rule that searches the prompt finds nothing where there is only a hash.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import orjson

from adapters.fields import (
    read_aspect,
    read_choice,
    read_flag,
    read_integer,
    read_number,
    read_object,
    read_size,
    read_text,
)
from adapters.ir import EDGES, Ask, InvalidRequest, Lora, Media, MediaRequest, Operation, Tier
from policies.classify import Traits
from policies.decision import Session
from policies.price import FROM_WORDS
from policies.problems import did_you_mean

MOST = 1_000_000_000  # requests of one line, and the highest ceiling
MANY = 1_000  # pictures of one request
LONGEST = 10_000_000  # characters of a prompt
_PICTURE = Media(url="recorded:")  # in the place of one that was not kept
_LORA = Lora("recorded:")


@dataclass(frozen=True, slots=True)
class Recorded:
    """One line. ``traits`` is set where the prompt was not kept: ``request.prompt`` then is as many blanks."""

    request: MediaRequest
    traits: Traits | None = None
    prompt_hash: str = ""
    app: str = ""
    weight: int = 1
    session_model: str = ""

    @property
    def session(self) -> Session | None:
        """What ``decide`` is to know of it; None where the name in the request says all."""
        return Session(self.request.ask.session, self.session_model) if self.session_model else None


class TrafficError(Exception):
    """A line that cannot be used, counted from 1, and why."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(f"line {line}: {message}")
        self.line = line


# ------------------------------------------------------------------------------------------------------------- reading


def read_traffic(lines: Iterable[bytes]) -> Iterator[Recorded]:
    """Every line that is not blank. Raises TrafficError at the first that is wrong."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield read_row(read_object(line))
            except InvalidRequest as error:
                raise TrafficError(number, error.message) from None


def read_row(row: Mapping[str, Any]) -> Recorded:
    """One object of the format above. Raises InvalidRequest naming the key."""
    request: dict[str, Any] = {"operation": Operation.GENERATE}
    told: dict[str, dict[str, Any]] = {"request": request, "ask": {}, "": {}}
    for key, value in row.items():
        reader = _READERS.get(key)
        if reader is None:
            raise InvalidRequest(key, f"{key[:40]!r} is not a known key{did_you_mean(key, _READERS)}")
        if value is not None and value != "":
            told[reader.part][reader.name or key] = reader.read(row, key)
    traits, length = told[""].get("traits"), told[""].pop("prompt_length", 0)
    if request.get("prompt"):
        if traits:
            raise InvalidRequest("traits", "traits stands in place of a prompt, never beside one")
    elif request["operation"] in FROM_WORDS and not traits:
        raise InvalidRequest("prompt", "prompt is required, or traits in its place")
    elif told[""].get("prompt_hash") and not traits:
        raise InvalidRequest("traits", "traits is required where the prompt is hashed")
    else:
        request["prompt"] = " " * length
    return Recorded(MediaRequest(**request, ask=Ask(**told["ask"])), **told[""])


def _read_traits(row: Mapping[str, Any]) -> Traits:
    if unknown := next((key for key in row if key not in _TRAITS), ""):
        raise InvalidRequest(unknown, f"{unknown[:40]!r} is not a known key of traits{did_you_mean(unknown, _TRAITS)}")
    task, confidence = read_text(row, "task", required=True), read_number(row, "confidence", 0, 1)
    if confidence is None:
        raise InvalidRequest("confidence", "confidence is required in traits")
    tasks = _object(row, "tasks") if row.get("tasks") is not None else {}
    return Traits(
        task=task,
        confidence=confidence,
        runner_up=read_text(row, "runner_up"),
        tasks=tuple((name, read_number(tasks, name, 0, 1) or 0.0) for name in tasks) or ((task, confidence),),
        language=read_text(row, "language") or "en",
        tier=_tier(row, "tier"),
    )


_TRAITS = ("task", "confidence", "runner_up", "tasks", "language", "tier")


def _object(row: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = row[key]
    if not isinstance(value, dict):
        raise InvalidRequest(key, f"{key} must be an object")
    return value


_Read = Callable[[Mapping[str, Any], str], Any]  # of a row and a key in it that is not null; raises InvalidRequest


class _Reader(NamedTuple):
    """How a key is read, and of what it is a part under which name; "" is the line itself, and the key's own name."""

    read: _Read
    part: str = "request"
    name: str = ""


def _choice(*choices: str) -> _Read:
    return lambda row, key: read_choice(row, key, choices)


def _whole(low: int, high: int) -> _Read:
    return lambda row, key: read_integer(row, key, low, high)


def _many(one: object) -> _Read:
    return lambda row, key: (one,) * (read_integer(row, key, 0, MANY) or 0)


def _amount(row: Mapping[str, Any], key: str) -> float | None:
    return read_number(row, key, 0, MOST)


def _tier(row: Mapping[str, Any], key: str) -> Tier | None:
    name = read_choice(row, key, tuple(Tier))
    return Tier(name) if name else None


def _headers(row: Mapping[str, Any], key: str) -> Mapping[str, str]:
    headers = _object(row, key)
    return {name.lower(): read_text(headers, name) for name in headers}


_READERS: Mapping[str, _Reader] = {
    "operation": _Reader(lambda row, key: Operation(read_choice(row, key, tuple(Operation)) or Operation.GENERATE)),
    "prompt": _Reader(read_text),
    "negative_prompt": _Reader(read_text),
    "prompt_hash": _Reader(read_text, ""),
    "prompt_length": _Reader(_whole(0, LONGEST), ""),
    "traits": _Reader(lambda row, key: _read_traits(_object(row, key)), ""),
    "model": _Reader(read_text),
    "n": _Reader(_whole(1, MANY)),
    "size": _Reader(lambda row, key: read_size(read_text(row, key), key)),
    "aspect": _Reader(lambda row, key: read_aspect(read_text(row, key), key)),
    "resolution": _Reader(_choice(*EDGES)),
    "duration": _Reader(lambda row, key: _amount(row, key) or None),
    "quality": _Reader(_choice("low", "medium", "high")),
    "format": _Reader(_choice("png", "jpeg", "webp", "svg")),
    "background": _Reader(_choice("transparent", "opaque")),
    "references": _Reader(_many(_PICTURE)),
    "style_references": _Reader(_many(_PICTURE)),
    "loras": _Reader(_many(_LORA)),
    "mask": _Reader(lambda row, key: _PICTURE if read_flag(row, key) else None),
    "tier": _Reader(_tier, "ask"),
    "max_cost": _Reader(_amount, "ask"),
    "max_latency": _Reader(_amount, "ask"),
    "pin": _Reader(read_text, "ask", "model"),
    "policy": _Reader(read_text, "ask"),
    "session": _Reader(read_text, "ask"),
    "session_model": _Reader(read_text, ""),
    "priority": _Reader(_choice("low", "normal", "high"), "ask"),
    "caller": _Reader(read_text, "ask"),
    "headers": _Reader(_headers, "ask"),
    "app": _Reader(read_text, ""),
    "weight": _Reader(_whole(1, MOST), ""),
}

KEYS = frozenset(_READERS)  # every key a line may have


# ------------------------------------------------------------------------------------------------------------- writing

_USUAL = {"operation": Operation.GENERATE, "n": 1, "weight": 1}  # what is not worth writing
_CEILINGS = ("max_cost", "max_latency")  # for which 0 says something


def without_media(request: MediaRequest) -> MediaRequest:
    """All of a request that a line is made of, with blanks for its pictures: what may be kept for a while."""
    return replace(
        request,
        references=(_PICTURE,) * len(request.references),
        style_references=(_PICTURE,) * len(request.style_references),
        mask=_PICTURE if request.mask else None,
        loras=(_LORA,) * len(request.loras),
        webhook=None,
        extras={},
    )


def write_line(recorded: Recorded, headers: Collection[str] = ()) -> bytes:
    """The line that is read as ``recorded`` again, as far as a recording goes.

    ``headers`` are the names of those that may be written: the caller's key is among those of a request.
    """
    request, ask, traits = recorded.request, recorded.request.ask, recorded.traits
    row = {
        "operation": request.operation,
        "prompt": "" if traits else request.prompt,
        "negative_prompt": "" if traits else request.negative_prompt,
        "prompt_hash": recorded.prompt_hash,
        "prompt_length": len(request.prompt) if traits else 0,
        "traits": _write_traits(traits) if traits else None,
        "model": request.model,
        "n": request.n,
        "size": "{}x{}".format(*request.size) if request.size else "",
        "aspect": "{}:{}".format(*request.aspect) if request.aspect else "",
        "resolution": request.resolution,
        "duration": request.duration,
        "quality": request.quality,
        "format": request.format,
        "background": request.background,
        "references": len(request.references),
        "style_references": len(request.style_references),
        "loras": len(request.loras),
        "mask": request.mask is not None,
        "tier": ask.tier,
        "max_cost": ask.max_cost,
        "max_latency": ask.max_latency,
        "pin": ask.model,
        "policy": ask.policy,
        "session": ask.session,
        "session_model": recorded.session_model,
        "priority": ask.priority,
        "caller": ask.caller,
        "headers": {name: value for name, value in ask.headers.items() if name in headers},
        "app": recorded.app,
        "weight": recorded.weight,
    }
    told = {
        key: value
        for key, value in row.items()
        if (value and value != _USUAL.get(key)) or (value is not None and key in _CEILINGS)
    }
    return orjson.dumps(told, option=orjson.OPT_APPEND_NEWLINE)


def _write_traits(traits: Traits) -> dict[str, Any]:
    return {
        "task": traits.task,
        "confidence": traits.confidence,
        "runner_up": traits.runner_up,
        "tasks": dict(traits.tasks),
        "language": traits.language,
        "tier": traits.tier,
    }
