"""What is known of the selected objects, and what to ask the API next: a list, a watch from a version, or patience.

``watch`` feeds it with what came of each request. Pure: no IO, no clock, no chance; the jitter is an argument.

The rules, after client-go's reflector and what was measured on a real cluster:

- List first, watch from the version of the list. Objects are replaced whole by each list: a name that is no longer
  there was deleted while nobody watched.
- 410, as a status or as an ERROR event in a stream that opened well, means list again, and at once the first time:
  after each restart of an API server that is the normal case.
- Any other refusal means list again too, later; without an answer the watch goes on from where it was.
- A version that falls means the cluster was restored from a backup: list again.
- Failures in a row double the wait. Only a stream that lasted ends the row: a list that succeeds between two streams
  that fail does not, nor does the bookmark that a server sends before it ends a stream.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import assert_never

from proxy.kube.resources import Object


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. The server ends a stream within ``stream``; one that has not gone on for ``short`` is a failure."""

    stream: float = 300.0
    first: float = 0.8
    longest: float = 30.0
    short: float = 1.0


@dataclass(frozen=True, slots=True)
class View:
    """What is known. ``objects`` are by namespace/name and stand as last heard of, through any trouble."""

    objects: Mapping[str, Object] = field(default_factory=dict)
    listed: bool = False  # at least once
    version: str = ""  # to watch from; empty: a list is due
    connected: bool = False  # a stream is open, or has just ended as it should
    failures: int = 0  # in a row
    hurry: bool = False  # the one failure there was is no reason to wait
    wait: float = 0.0  # seconds the server asked for
    trouble: str = ""  # the last one, until a stream opens


@dataclass(frozen=True, slots=True)
class Listed:
    items: Sequence[Object]
    version: str


@dataclass(frozen=True, slots=True)
class Opened:
    """The server has taken a watch; whether it goes on with it shows the first event."""


@dataclass(frozen=True, slots=True)
class Told:
    """One event of a stream, as the API has it, ``lasted`` seconds after the stream opened."""

    event: Object
    lasted: float = 0.0


@dataclass(frozen=True, slots=True)
class Ended:
    """The server has ended a stream without an error."""

    lasted: float


@dataclass(frozen=True, slots=True)
class Refused:
    code: int
    message: str
    retry_after: float = 0.0


@dataclass(frozen=True, slots=True)
class Lost:
    """No answer, or a stream that broke after ``lasted`` seconds."""

    message: str
    lasted: float = 0.0


Event = Listed | Opened | Told | Ended | Refused | Lost


@dataclass(frozen=True, slots=True)
class Ask:
    """What to do next: after ``after`` seconds watch from ``version``, or list where that is empty."""

    after: float
    version: str


def step(view: View, event: Event, pace: Pace = Pace()) -> View:
    if isinstance(event, Told | Ended | Lost) and event.lasted >= pace.short:
        view = replace(view, failures=0, hurry=False, wait=0.0)
    match event:
        case Listed(items, version):
            return replace(view, objects={key(one): one for one in items}, listed=True, version=version)
        case Opened():
            return replace(view, connected=True, trouble="")
        case Told(told):
            return _told(view, told)
        case Ended(lasted):
            return view if lasted >= pace.short else _failed(view, "the server ends each stream at once")
        case Refused(410, message):
            return replace(_failed(view, message), version="", hurry=view.failures == 0)
        case Refused(429, message, retry_after):
            return _failed(view, message, retry_after)
        case Refused(_, message, retry_after):
            return replace(_failed(view, message, retry_after), version="")
        case Lost(message):
            return _failed(view, message)
        case _:
            assert_never(event)


def next_ask(view: View, pace: Pace, jitter: float) -> Ask:
    """``jitter`` from 0 to 1 spreads those who failed together: half of the wait is chance."""
    if not view.failures or view.hurry:
        return Ask(0.0, view.version)
    doubled = pace.first * 2.0 ** min(view.failures - 1, 16)
    return Ask(max(min(pace.longest, doubled) * (0.5 + jitter / 2), view.wait), view.version)


def same_objects(one: View, other: View) -> bool:
    """Whether both know the same objects in the same versions, after a list of each."""
    return one.listed == other.listed and _versions(one) == _versions(other)


def key(one: Object) -> str:
    metadata = one["metadata"]
    return f"{metadata.get('namespace', '')}/{metadata['name']}"


def _versions(view: View) -> dict[str, tuple[str, str]]:
    return {name: (one["metadata"].get("uid", ""), _version(one)) for name, one in view.objects.items()}


def _version(one: Object) -> str:
    return str((one.get("metadata") or {}).get("resourceVersion") or "")


def _told(view: View, event: Object) -> View:
    kind, one = event.get("type"), event.get("object") or {}
    if kind == "ERROR":
        return step(view, Refused(int(one.get("code") or 0), str(one.get("message") or one)))
    version = _version(one)
    if not version or _fell(view.version, version):
        return replace(_failed(view, f"version {version or 'none'} after {view.version}"), version="")
    heard = replace(view, version=version)
    match kind:
        case "ADDED" | "MODIFIED":
            return replace(heard, objects={**view.objects, key(one): one})
        case "DELETED":
            return replace(heard, objects={name: known for name, known in view.objects.items() if name != key(one)})
        case _:  # BOOKMARK, and what may come to be
            return heard


def _fell(before: str, now: str) -> bool:
    """Versions are comparable as integers since Kubernetes 1.35, and have always been etcd's revisions."""
    return before.isdigit() and now.isdigit() and int(now) < int(before)


def _failed(view: View, message: str, retry_after: float = 0.0) -> View:
    failures = view.failures + 1
    return replace(view, connected=False, failures=failures, hurry=False, wait=retry_after, trouble=message)
