"""The objects of the fake API server: resource versions, history, writes and their conflicts. Knows no HTTP.

``api_server`` is its only caller, and says in its docstring which semantics these are and where they are written down.
"""

import asyncio
import copy
import itertools
import json
import re
import uuid
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]
Key = tuple[str, str, str]  # resource, namespace, name

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_MIB = 1024 * 1024
_SERVERS_OWN = ("uid", "creationTimestamp", "resourceVersion", "namespace", "name", "managedFields", "generation")


class Refused(Exception):
    """An answer that is not a success: the ``Status`` object the server sends."""

    def __init__(self, code: int, reason: str, message: str, **more: Any) -> None:
        super().__init__(message)
        self.code = code
        self.headers: Mapping[str, str] = {}
        self.status: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
            **more,
        }


@dataclass(frozen=True, slots=True)
class Resource:
    """One kind as the API serves it.

    ``unconditional``: a PUT without a resourceVersion is accepted; ``put_creates``: so is one of what is not there.
    """

    group: str  # "" is core
    version: str
    plural: str
    kind: str
    unconditional: bool = True
    put_creates: bool = False

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def label(self) -> str:
        """As in the server's own messages."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


@dataclass(frozen=True, slots=True)
class Change:
    """One write. ``before`` or ``after`` is None where the object was not there, or is no more."""

    version: int
    resource: Resource
    before: Object | None
    after: Object | None


@dataclass(slots=True)
class Store:
    """Every object and every write. Objects handed out are copies."""

    version: int = 1000  # of the last write, whatever the object
    compacted: int = 1000  # what happened up to here can no longer be replayed
    history: list[Change] = field(default_factory=list)
    news: asyncio.Event = field(default_factory=asyncio.Event)  # set, and replaced, at each write
    _objects: dict[Key, Object] = field(default_factory=dict)
    _resources: dict[str, Resource] = field(default_factory=dict)
    _serial: Iterator[int] = field(default_factory=itertools.count)

    # ------------------------------------------------------------------------------------------------------- reading

    def get(self, resource: Resource, namespace: str, name: str) -> Object:
        found = self._objects.get((resource.label, namespace, name))
        if found is None:
            raise Refused(404, "NotFound", f'{resource.label} "{name}" not found', details=_details(resource, name))
        return copy.deepcopy(found)

    def all(self, resource: Resource, namespace: str) -> list[Object]:
        """Those of one namespace, or of all for "", in the order of etcd's keys."""
        return [
            copy.deepcopy(found)
            for (label, of, _), found in sorted(self._objects.items())
            if label == resource.label and namespace in ("", of)
        ]

    def after(self, version: int) -> list[Change]:
        return self.history[bisect_right(self.history, version, key=lambda change: change.version) :]

    def compact(self) -> None:
        """What happened until now can no longer be asked for, as after etcd's compaction and a restart of the server.

        Streams that are open go on: to them it was sent when it happened, or will be.
        """
        self.compacted = self.version

    # ------------------------------------------------------------------------------------------------------- writing

    def create(self, resource: Resource, namespace: str, sent: Object) -> Object:
        new = self._shaped(resource, namespace, sent)
        metadata = new["metadata"]
        if metadata.pop("resourceVersion", ""):
            raise Refused(400, "BadRequest", "resourceVersion should not be set on objects to be created")
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = f"{metadata['generateName']}{next(self._serial):05d}"
        name = metadata.get("name", "")
        if not _NAME.fullmatch(name) or len(name) > 253:
            raise _invalid(resource, name, "metadata.name", f'Invalid value: "{name}": a lowercase RFC 1123 subdomain')
        if (resource.label, namespace, name) in self._objects:
            raise Refused(409, "AlreadyExists", f'{resource.label} "{name}" already exists')
        metadata |= {"uid": str(uuid.uuid4()), "creationTimestamp": "2026-11-30T12:00:00Z"}
        return self._write(resource, None, new)

    def replace(self, resource: Resource, namespace: str, name: str, sent: Object) -> Object:
        if resource.put_creates and (resource.label, namespace, name) not in self._objects:
            metadata = {key: value for key, value in (sent.get("metadata") or {}).items() if key != "resourceVersion"}
            return self.create(resource, namespace, {**sent, "metadata": {"name": name} | metadata})
        old = self.get(resource, namespace, name)
        new = self._shaped(resource, namespace, sent)
        if new["metadata"].setdefault("name", name) != name:
            raise Refused(
                400, "BadRequest", f"the name of the object ({new['metadata']['name']}) does not match {name}"
            )
        if not new["metadata"].get("resourceVersion") and not resource.unconditional:
            raise _invalid(
                resource, name, "metadata.resourceVersion", "Invalid value: 0: must be specified for an update"
            )
        return self._update(resource, old, new)

    def merge(self, resource: Resource, namespace: str, name: str, patch: Object) -> Object:
        """RFC 7386."""
        old = self.get(resource, namespace, name)
        return self._update(resource, old, _merged(old, patch))

    def apply(self, resource: Resource, namespace: str, name: str, sent: Object, manager: str, force: bool) -> Object:
        """Server-side apply over leaves of mappings; a list is one leaf. Creates what is missing."""
        sent = self._shaped(resource, namespace, sent)
        if sent["metadata"].setdefault("name", name) != name:
            raise Refused(400, "BadRequest", f"the name of the object does not match {name}")
        mine = sorted(path for path, _ in _leaves(sent))
        if (resource.label, namespace, name) not in self._objects:
            sent["metadata"]["managedFields"] = [{"manager": manager, "operation": "Apply", "leaves": mine}]
            return self.create(resource, namespace, sent)
        old = self.get(resource, namespace, name)
        entries = old["metadata"].get("managedFields", [])
        was: list[str] = next((entry["leaves"] for entry in entries if entry["manager"] == manager), [])
        others = [entry for entry in entries if entry["manager"] != manager]
        held, wanted = dict(_leaves(old)), dict(_leaves(sent))
        for entry in others:
            clash = [path for path in entry["leaves"] if path in wanted and wanted[path] != held.get(path)]
            if clash and not force:
                told = f'Apply failed with {len(clash)} conflict: conflict with "{entry["manager"]}": .{clash[0]}'
                raise Refused(409, "Conflict", told)
            entry["leaves"] = [path for path in entry["leaves"] if path not in clash]
        new = _merged(old, sent)
        for path in was:
            if path not in wanted and not any(path in entry["leaves"] for entry in others):
                _remove(new, path)
        new["metadata"]["managedFields"] = [*others, {"manager": manager, "operation": "Apply", "leaves": mine}]
        return self._update(resource, old, new)

    def delete(self, resource: Resource, namespace: str, name: str, preconditions: Mapping[str, str]) -> Object:
        old = self.get(resource, namespace, name)
        for key, wanted in preconditions.items():
            if (held := old["metadata"][key]) != wanted:
                raise Refused(
                    409, "Conflict", f"Precondition failed: {key} in precondition: {wanted}, in object: {held}"
                )
        self._write(resource, old, None)
        return old

    def _shaped(self, resource: Resource, namespace: str, sent: Object) -> Object:
        for key, right in (("apiVersion", resource.api_version), ("kind", resource.kind)):
            if sent.get(key, right) != right:
                raise Refused(
                    400, "BadRequest", f"the {key} in the data ({sent[key]}) does not match the one ({right})"
                )
        new = {"apiVersion": resource.api_version, "kind": resource.kind, **copy.deepcopy(sent)}
        metadata = new["metadata"] = dict(new.get("metadata") or {})
        if metadata.setdefault("namespace", namespace) != namespace:
            told = "the namespace of the provided object does not match the namespace sent on the request"
            raise Refused(400, "BadRequest", told)
        return new

    def _update(self, resource: Resource, old: Object, new: Object) -> Object:
        name, metadata = old["metadata"]["name"], new["metadata"]
        if metadata.get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
            told = "the object has been modified; please apply your changes to the latest version and try again"
            raise Refused(409, "Conflict", f'Operation cannot be fulfilled on {resource.label} "{name}": {told}')
        if metadata.get("uid") not in (None, "", old["metadata"]["uid"]):
            raise Refused(409, "Conflict", f'Operation cannot be fulfilled on {resource.label} "{name}": uid mismatch')
        for key in _SERVERS_OWN:
            if key in old["metadata"] and (key != "managedFields" or key not in metadata):
                metadata[key] = old["metadata"][key]
        if new == old:
            return old  # nothing changed, nothing is written
        if old.get("immutable") and any(old.get(key) != new.get(key) for key in ("data", "binaryData", "immutable")):
            raise _invalid(resource, name, "data", "Forbidden: field is immutable when `immutable` is set")
        return self._write(resource, old, new)

    def _write(self, resource: Resource, old: Object | None, new: Object | None) -> Object:
        if new is not None:
            if resource.kind == "ConfigMap":
                _check_config_map(resource, new)
            self._resources[resource.label] = resource
        self.version += 1
        news, self.news = self.news, asyncio.Event()
        news.set()
        metadata = (new or old or {})["metadata"]
        key = (resource.label, metadata["namespace"], metadata["name"])
        if new is None:
            assert old is not None
            gone = copy.deepcopy(old)
            gone["metadata"]["resourceVersion"] = str(self.version)  # that of the deletion
            del self._objects[key]
            self.history.append(Change(self.version, resource, gone, None))
            return gone
        new["metadata"]["resourceVersion"] = str(self.version)
        self._objects[key] = copy.deepcopy(new)
        self.history.append(Change(self.version, resource, old, copy.deepcopy(new)))
        return copy.deepcopy(new)


def _check_config_map(resource: Resource, new: Object) -> None:
    name, data, binary = new["metadata"]["name"], new.get("data") or {}, new.get("binaryData") or {}
    for key in (*data, *binary):
        if not _DATA_KEY.fullmatch(key) or len(key) > 253:
            raise _invalid(resource, name, f"data[{key}]", f'Invalid value: "{key}": a valid config key')
    if both := data.keys() & binary.keys():
        raise _invalid(
            resource,
            name,
            f"data[{min(both)}]",
            f'Invalid value: "{min(both)}": duplicate of key present in binaryData',
        )
    if any(not isinstance(text, str) for text in (*data.values(), *binary.values())):
        raise Refused(400, "BadRequest", "json: cannot unmarshal into Go struct field ConfigMap.data of type string")
    size = sum(len(text.encode()) for text in data.values()) + sum(len(text) * 3 // 4 for text in binary.values())
    if size > _MIB:
        raise _invalid(resource, name, "[]", f"Too long: may not be more than {_MIB} bytes")


def _invalid(resource: Resource, name: str, path: str, why: str) -> Refused:
    return Refused(422, "Invalid", f'{resource.kind} "{name}" is invalid: {path}: {why}')


def _details(resource: Resource, name: str) -> Object:
    return {"name": name, "kind": resource.plural} | ({"group": resource.group} if resource.group else {})


def _merged(old: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    new = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            new.pop(key, None)
        else:
            new[key] = _merged(new.get(key), value)
    return new


def _leaves(sent: Object, above: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """What can be owned, by its path as JSON text: neither the identity of the object nor what the server keeps."""
    for key, value in sent.items():
        path = (*above, key)
        if path in (("apiVersion",), ("kind",)) or (above == ("metadata",) and key in _SERVERS_OWN):
            continue
        if isinstance(value, dict) and value:
            yield from _leaves(value, path)
        else:
            yield json.dumps(path), value


def _remove(new: Object, leaf: str) -> None:
    *above, last = json.loads(leaf)
    for key in above:
        new = new.get(key, {})
    new.pop(last, None)
