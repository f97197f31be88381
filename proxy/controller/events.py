"""Which Kubernetes Events follow from a change of status, and how a repeated one is counted. Pure: time is an argument.

``reconcile`` asks what happened and sends it. What happened is the difference of two statuses, and the older one is
read back from the API: neither a resync nor a new leader tells the same thing again.

Kubernetes shows an Event with its object only where ``involvedObject.uid`` is the object's own (seen on 1.36).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from proxy.controller.status import Observed, Status

LONGEST = 1024  # bytes of an Event's message (Kubernetes 1.36, validation of events)
REMEMBERED = 1000  # Events whose repetition is counted; an older one is told anew


@dataclass(frozen=True, slots=True)
class Happening:
    """Something to tell about one source."""

    source: Observed
    type: str  # Normal | Warning
    reason: str
    message: str


def happenings(previous: Status | None, status: Status) -> Iterator[Happening]:
    """What changed for each source: one that is now refused, or refused for something else, or mended, or in force."""
    before = {source.uid: source for source in previous.sources} if previous else {}
    for source in status.sources:
        old = before.get(source.uid)
        if source.errors:
            if old is None or (old.version, old.errors) != (source.version, source.errors):
                yield Happening(source, "Warning", "PolicyRefused", _refusal(source.errors, status))
        elif status.accepted and status.programmed and _news(old, source, previous):
            yield Happening(source, "Normal", "PolicyInForce", f"compiled, hash {status.hash}")


def _news(old: Observed | None, source: Observed, previous: Status | None) -> bool:
    changed = old is None or old.version != source.version
    return changed or bool(old and old.errors) or not (previous and previous.programmed)


def _refusal(errors: Sequence[str], status: Status) -> str:
    told = f"{status.conditions[1].message}. " if status.hash else ""
    return shortened(told + "\n".join(errors), LONGEST)


def shortened(text: str, limit: int) -> str:
    """``text`` in at most ``limit`` bytes of UTF-8."""
    encoded = text.encode()
    return text if len(encoded) <= limit else encoded[: limit - 3].decode(errors="ignore") + "..."


# ------------------------------------------------------------------------------------------------------ the API's form


@dataclass(frozen=True, slots=True)
class Told:
    """An Event that was created: by its name it is counted up when the same happens again."""

    namespace: str
    name: str
    count: int


@dataclass(slots=True)
class EventLog:
    """The Events of this process that may repeat."""

    told: dict[Happening, Told] = field(default_factory=dict)

    def again(self, happening: Happening) -> Told | None:
        """The Event to count up, with its new count; None: it is the first."""
        told = self.told.get(_key(happening))
        return replace(told, count=told.count + 1) if told else None

    def note(self, happening: Happening, told: Told) -> None:
        self.told.pop(_key(happening), None)
        self.told[_key(happening)] = told
        while len(self.told) > REMEMBERED:
            del self.told[next(iter(self.told))]

    def forget(self, happening: Happening) -> None:
        """The API has it no longer: Events live an hour."""
        self.told.pop(_key(happening), None)


def _key(happening: Happening) -> Happening:
    """The same happening of another version of its source is a repetition."""
    return replace(happening, source=replace(happening.source, version="", errors=()))


def event(happening: Happening, instance: str, now: float) -> dict[str, Any]:
    """A new core/v1 Event, named as client-go names them."""
    source, time = happening.source, _time(now)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": source.namespace, "name": f"{source.name[:220].rstrip('.-')}.{int(now * 1e9):x}"},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "namespace": source.namespace,
            "name": source.name,
            "uid": source.uid,
            "resourceVersion": source.version,
        },
        "type": happening.type,
        "reason": happening.reason,
        "message": happening.message,
        "source": {"component": "muxel-controller"},
        "reportingComponent": "muxel-controller",
        "reportingInstance": instance[:128],
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    }


def count_up(told: Told, now: float) -> dict[str, Any]:
    """The patch of an Event that has happened again."""
    return {"count": told.count, "lastTimestamp": _time(now)}


def _time(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
