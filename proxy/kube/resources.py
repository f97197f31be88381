"""What is asked of the Kubernetes API, and what can come of it, without the client that asks.

``watch`` and ``source`` are written against these; ``client`` carries them out.
"""

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

Object = Mapping[str, Any]


class ApiError(Exception):
    """An answer that is not a success. ``reason`` is the API's word: NotFound, Conflict, Expired, Forbidden, ..."""

    def __init__(self, code: int, reason: str, message: str, retry_after: float = 0.0) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after = retry_after  # seconds


class Unreachable(Exception):
    """No answer, or none that could be read: the network, TLS, a timeout, a missing token."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One namespaced kind, as its URLs name it. ``group`` is empty for the core."""

    group: str
    version: str
    plural: str

    def path(self, namespace: str, name: str = "") -> str:
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{base}/namespaces/{namespace}/{self.plural}" + (f"/{name}" if name else "")


@dataclass(frozen=True, slots=True)
class Contact:
    """How one watch fares: its name for people, whether its stream is open, seconds since the server's last word."""

    name: str
    connected: bool
    age: float


CONFIG_MAPS = Resource("", "v1", "configmaps")


@dataclass(frozen=True, slots=True)
class Selection:
    """Objects of one kind in one namespace: that of one ``name``, else those that ``labels``, a selector, selects."""

    resource: Resource
    namespace: str
    name: str = ""
    labels: str = ""

    @property
    def query(self) -> Mapping[str, str]:
        """A list of one name is what RBAC's ``resourceNames`` allows."""
        if self.name:
            return {"fieldSelector": f"metadata.name={self.name}"}
        return {"labelSelector": self.labels} if self.labels else {}


_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")


def config_maps(reference: str, own_namespace: str) -> tuple[Selection, ...]:
    """The ConfigMaps an operator means: ``NAMESPACE/NAME[,NAME...]`` or ``NAMESPACE?SELECTOR``.

    Without a namespace it is the one this runs in. Raises ValueError.
    """
    where, mark, labels = reference.partition("?")
    if mark:
        _check_name(where, optional=True)
        if not labels.strip():
            raise ValueError(f"a label selector must follow the ? of {reference!r}")
        return (Selection(CONFIG_MAPS, where or own_namespace, labels=labels.strip()),)
    namespace, slash, names = reference.rpartition("/")
    if slash:
        _check_name(namespace)
    found = [name.strip() for name in names.split(",")]
    for name in found:
        _check_name(name)
    return tuple(Selection(CONFIG_MAPS, namespace or own_namespace, name=name) for name in found)


def _check_name(name: str, optional: bool = False) -> None:
    if not _NAME.fullmatch(name) and not (optional and not name):
        raise ValueError(f"{name!r} is not the name of a Kubernetes object")


Events = AbstractAsyncContextManager[AsyncIterator[Object]]


class Lister(Protocol):
    """What the list-watch loop needs of an API. Both raise ApiError and Unreachable, the events too."""

    async def list(self, selection: Selection) -> tuple[list[dict[str, Any]], str]:
        """The selected objects and the version to watch from."""

    def watch(self, selection: Selection, version: str, seconds: float) -> Events:
        """The events after ``version`` until the server ends the stream, asked to do so after ``seconds``."""
