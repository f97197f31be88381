"""What the controller reads and writes at the API, beside its watches: two ConfigMaps, Events, one Lease.

``reconcile`` and ``elect`` call it. A write carries the version that was read, so that of two writers one is refused.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from proxy.controller.metrics import ControllerMetrics
from proxy.kube.client import JSON, MERGE_PATCH, Api
from proxy.kube.resources import ApiError, Resource, Unreachable

EVENTS = Resource("", "v1", "events")
LEASES = Resource("coordination.k8s.io", "v1", "leases")
OURS = {"app.kubernetes.io/managed-by": "muxel-controller"}  # labels of all that it writes
CALL_SECONDS = 20.0

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Store:
    """``Api`` as the controller uses it. Everything raises ApiError and Unreachable."""

    api: Api
    metrics: ControllerMetrics

    async def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        try:
            return await self.call("GET", resource.path(namespace, name))
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def put(self, resource: Resource, found: Mapping[str, Any], what: str) -> Object:
        """Creates what has no version yet and replaces what has one. ``what`` it is in the metrics."""
        metadata = found["metadata"]
        if metadata.get("resourceVersion"):
            path = resource.path(metadata["namespace"], metadata["name"])
            return await self._write("PUT", path, found, what)
        return await self._write("POST", resource.path(metadata["namespace"]), found, what)

    async def patch(self, resource: Resource, namespace: str, name: str, change: Mapping[str, Any], what: str) -> None:
        await self._write("PATCH", resource.path(namespace, name), change, what, MERGE_PATCH)

    async def _write(
        self, method: str, path: str, body: Mapping[str, Any], what: str, content_type: str = JSON
    ) -> Object:
        try:
            written = await self.call(method, path, body, content_type)
        except (ApiError, Unreachable) as error:
            reason = error.reason if isinstance(error, ApiError) else "Unreachable"
            self.metrics.writes.labels(what, reason).inc()
            raise
        self.metrics.writes.labels(what, "ok").inc()
        return written

    async def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, content_type: str = JSON
    ) -> Object:
        """Sooner given up than a stream, which may be silent for a minute."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                return await self.api.call(method, path, body=body, content_type=content_type)
        except TimeoutError:
            raise Unreachable(f"no answer to {method} {path} within {CALL_SECONDS:g} s") from None


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one of its ConfigMaps should say; ``labels`` and ``notes``, its annotations, are by their whole names."""

    name: str
    data: Mapping[str, str]
    labels: Mapping[str, str]
    notes: Mapping[str, str]


def over(found: Object | None, namespace: str, wanted: Wanted) -> Object:
    """The ConfigMap as wanted, over the one that was ``found``: what others have noted on it stays."""
    old: Object = found["metadata"] if found else {"namespace": namespace, "name": wanted.name}
    metadata = {
        **old,
        "labels": {**(old.get("labels") or {}), **wanted.labels},
        "annotations": {**(old.get("annotations") or {}), **wanted.notes},
    }
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(wanted.data)}


def says(found: Object | None, wanted: Wanted) -> bool:
    """Whether what is stored is what is wanted, whatever else others have noted on it."""
    if found is None or (found.get("data") or {}) != wanted.data or found.get("binaryData"):
        return False
    labels, notes = (found["metadata"].get(part) or {} for part in ("labels", "annotations"))
    return wanted.labels.items() <= labels.items() and wanted.notes.items() <= notes.items()
