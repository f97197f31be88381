"""What came of the sources, as the ConfigMap ``<name>-status`` tells it: conditions, hash, errors, what was observed.

``reconcile`` asks for the verdict and writes it where it differs. Pure: time is an argument. The keys are flat text
because that is what health checks of Argo CD (Lua without a string library) and Flux (CEL) can compare:

    accepted, programmed   "True" or "False": the sources are right; the compiled ConfigMap is what they say
    observedHash           hash of what is in force, as sidecars show it; empty: nothing is
    message                one line for a person
    errors                 one a line: NAMESPACE/NAME/KEY:LINE:COLUMN: what is wrong there
    conditions, sources    JSON: the conditions as of a Kubernetes object; every source with what was seen of it
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

import orjson

from policies.compose import Compiled, Source
from policies.problems import ConfigError, Problem

MOST_ERRORS = 200  # lines; one document alone may have a hundred

ACCEPTED, PROGRAMMED = "Accepted", "Programmed"
TRUE, FALSE = "True", "False"


@dataclass(frozen=True, slots=True)
class Condition:
    """As in any Kubernetes status; ``since`` is when ``status`` last changed."""

    type: str
    status: str
    reason: str
    message: str
    since: str  # RFC 3339


@dataclass(frozen=True, slots=True)
class Observed:
    """One source as it was last judged. A ConfigMap has no generation: ``version`` is its resourceVersion."""

    namespace: str
    name: str
    uid: str
    version: str
    errors: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Status:
    conditions: tuple[Condition, Condition]  # accepted, programmed
    hash: str
    errors: tuple[str, ...]
    sources: tuple[Observed, ...]

    @property
    def accepted(self) -> bool:
        return self.conditions[0].status == TRUE

    @property
    def programmed(self) -> bool:
        return self.conditions[1].status == TRUE


def judge(
    sources: Sequence[Source],
    outcome: Compiled | ConfigError,
    in_force: str,
    previous: Status | None,
    now: float,
    failure: str = "",
) -> Status:
    """The status after ``outcome``. ``in_force`` is the hash of the compiled ConfigMap as it now is, "" where there is
    none; ``failure`` why it could not be written."""
    problems = outcome.problems if isinstance(outcome, ConfigError) else ()
    before = {condition.type: condition for condition in previous.conditions} if previous else {}
    conditions = (
        _kept(_accepted(outcome, sources, now), before),
        _kept(_programmed(outcome, in_force, failure, now), before),
    )
    errors = [str(problem) for problem in problems]
    if len(errors) > MOST_ERRORS:
        errors = [*errors[:MOST_ERRORS], f"and {len(errors) - MOST_ERRORS} more"]
    return Status(
        conditions=conditions,
        hash=in_force,
        errors=tuple(errors),
        sources=tuple(
            Observed(source.namespace, source.name, source.uid, source.version, blamed(problems, source.id))
            for source in sorted(sources, key=lambda source: (source.namespace, source.name))
        ),
    )


def blamed(problems: Iterable[Problem], source: str) -> tuple[str, ...]:
    """The problems in the files of one source, ``NAMESPACE/NAME``."""
    return tuple(str(problem) for problem in problems if problem.file.startswith(source + "/"))


def _accepted(outcome: Compiled | ConfigError, sources: Sequence[Source], now: float) -> Condition:
    if isinstance(outcome, Compiled):
        count = len(sources)
        message = f"{count} source{'s' * (count != 1)}, hash {outcome.hash}"
        return Condition(ACCEPTED, TRUE, "Valid", message, _time(now))
    first, count = str(outcome.problems[0]), len(outcome.problems)
    message = first if count == 1 else f"{count} problems, the first is {first}"
    return Condition(ACCEPTED, FALSE, "Invalid", message, _time(now))


def _programmed(outcome: Compiled | ConfigError, in_force: str, failure: str, now: float) -> Condition:
    if failure:
        return Condition(PROGRAMMED, FALSE, "WriteFailed", failure, _time(now))
    if isinstance(outcome, Compiled):
        return Condition(PROGRAMMED, TRUE, "Compiled", f"sidecars get {in_force}", _time(now))
    if in_force:
        message = f"the last good policies stay in force, hash {in_force}"
        return Condition(PROGRAMMED, FALSE, "LastGoodKept", message, _time(now))
    message = "nothing was right yet, so there is nothing for sidecars to mount"
    return Condition(PROGRAMMED, FALSE, "NothingCompiled", message, _time(now))


def _kept(condition: Condition, before: Mapping[str, Condition]) -> Condition:
    """The condition with the time of the last change of its status."""
    old = before.get(condition.type)
    return replace(condition, since=old.since) if old and old.status == condition.status else condition


def _time(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# ---------------------------------------------------------------------------------------------------- the ConfigMap


def write(status: Status) -> dict[str, str]:
    """The data of the status ConfigMap."""
    accepted, programmed = status.conditions
    return {
        "accepted": accepted.status,
        "programmed": programmed.status,
        "observedHash": status.hash,
        "message": f"{accepted.message}; {programmed.message}",
        "errors": "".join(f"{error}\n" for error in status.errors),
        "conditions": _json([_condition(condition) for condition in status.conditions]),
        "sources": _json([asdict(source) for source in status.sources]),
    }


def _condition(condition: Condition) -> dict[str, str]:
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": condition.since,
    }


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n"


def read(data: Mapping[str, str]) -> Status | None:
    """What ``write`` wrote; None for anything else, as of a hand or of another version, which is written anew."""
    try:
        accepted, programmed = (
            Condition(row["type"], row["status"], row["reason"], row["message"], row["lastTransitionTime"])
            for row in orjson.loads(data["conditions"])
        )
        return Status(
            conditions=(accepted, programmed),
            hash=data["observedHash"],
            errors=tuple(data["errors"].splitlines()),
            sources=tuple(_observed(row) for row in orjson.loads(data["sources"])),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _observed(row: Mapping[str, Any]) -> Observed:
    return Observed(row["namespace"], row["name"], row["uid"], row["version"], tuple(row["errors"]))
