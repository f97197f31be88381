"""What is asked of the Kubernetes API, and what can come of it, without the client that asks.

``watch`` and ``source`` are written against these; ``client`` carries them out.
"""

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


Events = AbstractAsyncContextManager[AsyncIterator[Object]]


class Lister(Protocol):
    """What the list-watch loop needs of an API. Both raise ApiError and Unreachable, the events too."""

    async def list(self, selection: Selection) -> tuple[list[dict[str, Any]], str]:
        """The selected objects and the version to watch from."""

    def watch(self, selection: Selection, version: str, seconds: float) -> Events:
        """The events after ``version`` until the server ends the stream, asked to do so after ``seconds``."""
