"""How the sandbox's providers misbehave: rules from YAML, changed at run time, and one fault at a time by header.

``app`` asks here what happens to a request; nothing here waits or answers. All chance comes from the generator that is
passed in.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from importlib.resources import files
from math import exp, log
from random import Random
from typing import Annotated, Any, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Share = Annotated[float, Field(ge=0, le=1)]
_Z95 = 1.6448536  # standard deviations from the median to the 95th percentile of a normal distribution


class Kind(StrEnum):
    """What can happen to a request. The order is that of precedence."""

    DOWN = "down"  # 503 to everything, polls and files too
    DENIED = "denied"  # 401
    RESET = "reset"  # the connection is closed without an answer
    HANG = "hang"  # no answer, ever
    THROTTLE = "throttle"  # 429 with Retry-After
    ERROR = "error"  # 500, or a job that fails
    REFUSE = "refuse"  # content policy, as the wire says it
    EMPTY = "empty"  # success without a picture
    TRUNCATE = "truncate"  # the answer stops half way
    LATENCY = "latency"  # by header only: this many seconds


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. ``value`` is Retry-After in seconds, the status of an error, or seconds of latency."""

    kind: Kind
    value: float | None = None


class FaultError(Exception):
    """Rules or a header that cannot be used; the message says where and why."""


class Latency(BaseModel):
    """Seconds to a picture, log-normal through these two percentiles."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    p50: float = Field(ge=0)
    p95: float = Field(ge=0)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.p95 < self.p50:
            raise ValueError("p95 must not be below p50")
        return self

    def sample(self, rng: Random) -> float:
        if not self.p50:
            return 0.0
        return self.p50 * exp(rng.gauss(0, 1) * log(self.p95 / self.p50) / _Z95)


class Rule(BaseModel):
    """The behaviour of the providers and models whose names match. Shares are of requests, 0..1; ``true`` is 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: str = "*"
    model: str = "*"
    latency: Latency = Latency(p50=0, p95=0)
    down: Share = 0
    denied: Share = 0
    reset: Share = 0
    hang: Share = 0
    throttle: Share = 0
    error: Share = 0
    refuse: Share = 0
    empty: Share = 0
    truncate: Share = 0
    poll_error: Share = 0
    retry_after: float = Field(default=1.0, ge=0)
    refuse_words: tuple[str, ...] = ()
    require_key: bool = False

    def matches(self, provider: str, model: str) -> bool:
        return fnmatchcase(provider, self.provider) and fnmatchcase(model, self.model)

    def pick(self, rng: Random, prompt: str) -> Fault | None:
        """What happens to one request to make a picture."""
        for kind in _BY_SHARE:
            share = getattr(self, kind)
            if share and rng.random() < share:
                return Fault(kind, self.retry_after if kind is Kind.THROTTLE else None)
        if any(word.lower() in prompt.lower() for word in self.refuse_words):
            return Fault(Kind.REFUSE)
        return None

    def pick_poll(self, rng: Random) -> Fault | None:
        """What happens to one look at a job or a file."""
        for kind, share in ((Kind.DOWN, self.down), (Kind.DENIED, self.denied), (Kind.ERROR, self.poll_error)):
            if share and rng.random() < share:
                return Fault(kind)
        return None


_BY_SHARE = tuple(kind for kind in Kind if kind is not Kind.LATENCY)


class Faults:
    """The rules in force: those it was made with, and for some providers what was put on top at run time."""

    def __init__(self, rules: Iterable[Rule] = ()) -> None:
        self._rules = tuple(rules)
        self._put: dict[str, Rule] = {}

    def of(self, provider: str, model: str) -> Rule:
        """The behaviour of one provider and model: later rules override what they name of earlier ones."""
        merged: dict[str, Any] = {}
        for rule in (*self._rules, *self._put.values()):
            if rule.matches(provider, model):
                merged |= {name: getattr(rule, name) for name in rule.model_fields_set}
        return Rule.model_construct(**merged)

    def put(self, document: object) -> None:
        """Puts one rule on top, in place of what was put for the same provider. Raises FaultError."""
        rule = _rule(document, "body")
        if "provider" not in rule.model_fields_set:
            raise FaultError("body: provider is required")
        self._put[rule.provider] = rule

    def clear(self, provider: str = "") -> None:
        """Takes back what was put for a provider, or for all."""
        if provider:
            self._put.pop(provider, None)
        else:
            self._put.clear()

    def show(self) -> dict[str, Any]:
        return {
            "rules": [rule.model_dump(exclude_unset=True) for rule in self._rules],
            "put": {name: rule.model_dump(exclude_unset=True) for name, rule in self._put.items()},
        }


def read_faults(text: str | bytes, source: str = "faults") -> Faults:
    """Rules from YAML, a list of them. Raises FaultError naming the source, the rule and the field."""
    try:
        documents = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise FaultError(f"{source}: {error}") from None
    if not isinstance(documents, list):
        raise FaultError(f"{source}: must be a list of rules")
    return Faults(_rule(document, f"{source}[{index}]") for index, document in enumerate(documents))


def shipped_faults() -> Faults:
    """The rules in ``faults.yaml`` beside this file."""
    return read_faults(files("proxy.sandbox").joinpath("faults.yaml").read_text(), "faults.yaml")


def read_fault_header(value: str) -> Fault:
    """ "throttle=7" -> Fault(THROTTLE, 7). Raises FaultError."""
    name, _, number = value.strip().partition("=")
    try:
        return Fault(Kind(name), float(number) if number else None)
    except ValueError:
        kinds = ", ".join(Kind)
        raise FaultError(
            f"x-sandbox-fault must be kind or kind=number with a kind of {kinds}; got {value[:40]!r}"
        ) from None


def _rule(document: object, source: str) -> Rule:
    if not isinstance(document, Mapping):
        raise FaultError(f"{source}: must be an object")
    try:
        return Rule.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise FaultError(f"{source}: {field}: {first['msg']}") from None
