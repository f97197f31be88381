"""A Kubernetes API server on loopback: what a list-watch client and a controller rely on, true to the real semantics.

``async with ApiServer() as server`` serves any namespaced resource in ``RESOURCES``; a test writes through ``create``,
``apply_now`` and ``delete`` or through a client, and breaks things through ``blackhole``, ``kill_connections``,
``restart``, ``down``, ``rules``, ``rotate`` and the fields that say so. ``requests`` is every request that arrived.

The contract, each rule with its source. [D] is the API documentation: "concepts" is
kubernetes.io/docs/reference/using-api/api-concepts, "conventions" is sig-architecture/api-conventions.md, "rbac" is
reference/access-authn-authz/rbac. [M] was measured on a real 1.36. [S] was read in the source of kubernetes/kubernetes.
[?] is how the source is remembered, not looked up: likely, but build nothing on it alone.

Versions
- One counter over all objects of all kinds; every write takes the next number, a deletion too [D concepts: opaque, yet
  etcd's revision; comparable as integers since 1.35].
- A write that changes nothing writes nothing: same version, no event [? etcd3/store.go, GuaranteedUpdate].
- ``metadata.resourceVersion`` of a list is the store's current version, not that of its newest item [D concepts].

Lists
- Without resourceVersion: the most recent. "0": any; here the most recent too, which is within the contract. N: not
  older than N, and 504 Timeout "Too large resource version" where N is not reached yet [D concepts].
- ``limit`` gives pages of one moment; ``continue`` of a compacted moment is HTTP 410 Expired [D concepts].
- Order is that of etcd's keys: namespace, name [S watch_cache.go sorts by key].

Watches
- From N: every change after N, once, in order. An object that comes to match the selectors is ADDED, one that ceases to
  is DELETED [D concepts; ? cacher]. Without a version or from "0": ADDED for everything first [D concepts].
- From an N that was compacted: **HTTP 200 and, as the first event, ERROR with a Status of code 410, reason Expired,
  "too old resource version: N (M)"** [M]. After a restart of the server that is the normal case [M].
- From an N that is still to come: the stream opens and stays silent until then [?].
- A DELETED object carries the version of the deletion [?].
- BOOKMARK only where allowWatchBookmarks is set; every 60 s [M], and right before the end [S cacher.go]. The object
  has a kind and a resourceVersion, nothing else [D concepts].
- The stream ends, without an error, after timeoutSeconds [D]. A killed server cuts the chunked body [M].

Writes
- PUT and merge patches with a stale resourceVersion: 409 Conflict [D conventions]. PUT without one is accepted for
  ConfigMaps [S core/configmap/strategy.go] and Events [?], refused for Leases [S coordination/lease/strategy.go] with
  422 [?]. PUT of a Lease that is not there creates it [S same].
- POST with a resourceVersion is an error [S storage.ErrResourceVersionSetOnCreate], 400 here [?].
- POST of what exists: 409 AlreadyExists [D]. ``generateName`` [D].
- Server-side apply: ``fieldManager`` is required, another manager's field with another value is 409 unless ``force``,
  what a manager applied before and no longer does is removed unless shared [D server-side-apply]. Lists are atomic
  here; really that depends on the schema. managedFields hold paths of ours instead of fieldsV1.
- ``/status`` is served as the object itself: none of these kinds has the subresource; custom ones in tests may [?].
- A ConfigMap: 1 048 576 bytes of data in all, 422 "Too long: may not be more than 1048576 bytes" [M]; ``immutable``
  [M]; keys ``[-._a-zA-Z0-9]+``, none in both data and binaryData [D concepts/configuration/configmap].

Access
- An unknown bearer token: 401 Unauthorized [D]. What no rule allows: 403 Forbidden [D rbac].
- A rule with ``resourceNames`` allows list and watch for ``fieldSelector=metadata.name=NAME`` alone; by label or whole
  it is Forbidden [M]. It never allows create: the name is not known then [D rbac].
- A stream that is open stays open when the rules or the token change [? authorised once, at its start].
"""

import asyncio
import base64
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from tests.kube.pki import CertificateAuthority
from tests.kube.rbac import Rule, authorise
from tests.kube.selectors import Matches, matcher, pinned_name
from tests.kube.store import Object, Refused, Resource, Store
from tests.kube.streams import Asked, events

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
EVENTS = Resource("", "v1", "events", "Event")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease", unconditional=False, put_creates=True)
RESOURCES = (CONFIG_MAPS, EVENTS, LEASES)
_HUGE = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """One request that arrived, and what became of it. ``status`` is 0 while it is held in a blackhole."""

    verb: str
    resource: str
    namespace: str
    name: str
    query: Mapping[str, str]
    at: float  # of the loop's clock
    status: int


@dataclass(slots=True)
class ApiServer:
    """Serves on ``url`` from ``__aenter__`` to ``__aexit__``; with ``authority`` over TLS."""

    resources: Sequence[Resource] = RESOURCES
    token: str = "first-token"
    rules: Sequence[Rule] | None = None  # None: everything is allowed
    bookmark_seconds: float = 60.0
    authority: CertificateAuthority | None = None
    host: str = "127.0.0.1"
    port: int = 0
    pages_expire: bool = False  # before the second can be asked for
    versions_expire: bool = False  # before a watch can be opened from them
    streams_end: bool = False  # as soon as they are opened
    store: Store = field(default_factory=Store)
    requests: list[Request] = field(default_factory=list)
    _light: asyncio.Event = field(default_factory=asyncio.Event)  # cleared: a blackhole
    _streams: set[asyncio.Transport] = field(default_factory=set)
    _transports: set[asyncio.Transport] = field(default_factory=set)
    _pages: dict[str, tuple[int, list[Object]]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _runner: web.AppRunner | None = None

    # --------------------------------------------------------------------------------------------------------- serving

    async def __aenter__(self) -> "ApiServer":
        self._light.set()
        await self._listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._light.set()
        await self._close()

    @property
    def url(self) -> str:
        scheme, host = "https" if self.authority else "http", f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What the kubelet sets in every pod."""
        return {"KUBERNETES_SERVICE_HOST": self.host, "KUBERNETES_SERVICE_PORT": str(self.port)}

    def write_service_account(self, directory: Path, namespace: str = "studio") -> Path:
        """The files of a mounted service account; again after ``rotate``."""
        directory.mkdir(exist_ok=True)
        (directory / "token").write_text(self.token)
        (directory / "namespace").write_text(namespace)
        if self.authority:
            (directory / "ca.crt").write_bytes(self.authority.pem)
        return directory

    async def _listen(self) -> None:
        app = web.Application(client_max_size=_HUGE)
        for base in ("/api/{version}", "/apis/{group}/{version}"):
            for place in ("/{plural}", "/namespaces/{namespace}/{plural}"):
                app.router.add_route("*", base + place, self._serve)
                app.router.add_route("*", base + place + "/{name}", self._serve)
                app.router.add_route("*", base + place + "/{name}/status", self._serve)
        app.router.add_get("/version", self._version)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        context: ssl.SSLContext | None = self.authority.server_context(self.host) if self.authority else None
        site = web.TCPSite(self._runner, self.host, self.port, ssl_context=context, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _close(self) -> None:
        if self._runner:
            runner, self._runner = self._runner, None
            for site in list(runner.sites):
                await site.stop()
            self.kill_connections()
            await runner.cleanup()

    # ----------------------------------------------------------------------------------------------- writes of the test

    def create(
        self, name: str, data: Mapping[str, str] | None = None, namespace: str = "studio", **more: Any
    ) -> Object:
        """A ConfigMap; ``labels`` go into its metadata, everything else beside ``data``."""
        labels = more.pop("labels", None)
        metadata: Object = {"name": name} | ({"labels": dict(labels)} if labels else {})
        return self.store.create(CONFIG_MAPS, namespace, {"metadata": metadata, "data": dict(data or {}), **more})

    def write(self, name: str, data: Mapping[str, str] | None = None, namespace: str = "studio", **more: Any) -> Object:
        """The data of a ConfigMap replaced whole, as kubectl replace does."""
        old = self.store.get(CONFIG_MAPS, namespace, name)
        return self.store.replace(CONFIG_MAPS, namespace, name, {**old, "data": dict(data or {}), **more})

    def delete(self, name: str, namespace: str = "studio") -> None:
        self.store.delete(CONFIG_MAPS, namespace, name, {})

    def get(self, name: str, namespace: str = "studio", resource: Resource = CONFIG_MAPS) -> Object:
        return self.store.get(resource, namespace, name)

    def all(self, resource: Resource, namespace: str = "") -> list[Object]:
        return self.store.all(resource, namespace)

    def bump(self, by: int = 1) -> None:
        """Writes elsewhere in the cluster, which move the version and nothing that anybody here watches."""
        self.store.version += by

    # ---------------------------------------------------------------------------------------------------------- trouble

    def blackhole(self, on: bool = True) -> None:
        """Connections are accepted, requests are read, and no byte is sent any more, on streams neither."""
        if on:
            self._light.clear()
        else:
            self._light.set()

    def kill_connections(self) -> None:
        """Every connection is reset, as when the server's process or a load balancer dies."""
        for transport in list(self._transports):
            transport.abort()
        self._transports.clear()

    def compact(self) -> None:
        """What happened until now can no longer be replayed; open streams go on."""
        self.store.compact()
        self._pages.clear()

    async def restart(self, advance: int = 4) -> None:
        """Killed and started again on the same port. Objects are kept, the history is not; the rest of the cluster has
        written ``advance`` times meanwhile."""
        async with self.down(advance):
            pass

    @asynccontextmanager
    async def down(self, advance: int = 4) -> AsyncIterator[None]:
        """Not there: connections are refused. At the end it starts as ``restart`` says."""
        await self._close()
        try:
            yield
        finally:
            self.bump(advance)
            self.compact()
            await self._listen()

    def rotate(self, token: str) -> None:
        """From now on ``token`` is the one that is known."""
        self.token = token

    def revoke(self) -> None:
        self.rules = ()

    # ---------------------------------------------------------------------------------------------------------- looking

    @property
    def watching(self) -> int:
        """Streams that are open."""
        return len(self._streams)

    def count(self, verb: str, resource: str = "configmaps", status: int | None = None) -> int:
        return sum(
            one.verb == verb and one.resource == resource and status in (None, one.status) for one in self.requests
        )

    # --------------------------------------------------------------------------------------------------------- requests

    async def _version(self, request: web.Request) -> web.Response:
        return web.json_response({"major": "1", "minor": "36", "gitVersion": "v1.36.2"})

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.transport:
            self._transports.add(request.transport)
        group, version, plural = (request.match_info.get(part, "") for part in ("group", "version", "plural"))
        namespace, name = (request.match_info.get(part, "") for part in ("namespace", "name"))
        wanted = (group, version, plural)
        resource = next((one for one in self.resources if (one.group, one.version, one.plural) == wanted), None)
        verb = self._verb(request, name)
        label = resource.label if resource else plural
        number = len(self.requests)
        at = asyncio.get_running_loop().time()
        self.requests.append(Request(verb, label, namespace, name, dict(request.query), at, 0))

        def answered(status: int) -> None:
            self.requests[number] = Request(verb, label, namespace, name, dict(request.query), at, status)

        await self._light.wait()
        try:
            if resource is None:
                raise Refused(404, "NotFound", "the server could not find the requested resource")
            self._authorise(request, verb, resource, namespace, name)
            if verb == "watch":
                answered(200)
                return await self._watch(request, resource, namespace)
            status, answer = await self._answer(request, verb, resource, namespace, name)
        except Refused as refused:
            answered(refused.code)
            return web.json_response(refused.status, status=refused.code, headers=dict(refused.headers))
        answered(status)
        return web.json_response(answer, status=status)

    @staticmethod
    def _verb(request: web.Request, name: str) -> str:
        if request.method == "GET":
            if name:
                return "get"
            return "watch" if request.query.get("watch", "").lower() in ("1", "true") else "list"
        return {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(request.method, "?")

    def _authorise(self, request: web.Request, verb: str, resource: Resource, namespace: str, name: str) -> None:
        if request.headers.get("Authorization", "").lower() != f"bearer {self.token}".lower():
            raise Refused(401, "Unauthorized", "Unauthorized")
        asked = name or (pinned_name(request.query.get("fieldSelector", "")) if verb in ("list", "watch") else "")
        if self.rules is not None:
            authorise(self.rules, verb, resource, namespace, asked)

    async def _answer(
        self, request: web.Request, verb: str, resource: Resource, namespace: str, name: str
    ) -> tuple[int, Object]:
        match verb:
            case "list":
                return 200, self._list(request, resource, namespace)
            case "get":
                return 200, self.store.get(resource, namespace, name)
            case "create":
                return 201, self.store.create(resource, namespace, await _body(request))
            case "update":
                return 200, self.store.replace(resource, namespace, name, await _body(request))
            case "patch":
                return await self._patch(request, resource, namespace, name)
            case "delete":
                options = await _body(request) if request.can_read_body else {}
                gone = self.store.delete(resource, namespace, name, options.get("preconditions") or {})
                details = {"name": name, "kind": resource.plural, "uid": gone["metadata"]["uid"]}
                return 200, {
                    "kind": "Status",
                    "apiVersion": "v1",
                    "metadata": {},
                    "status": "Success",
                    "details": details,
                }
        raise Refused(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")

    async def _patch(self, request: web.Request, resource: Resource, namespace: str, name: str) -> tuple[int, Object]:
        match request.content_type:
            case "application/apply-patch+yaml":
                manager = request.query.get("fieldManager", "")
                if not manager:
                    told = "PatchOptions is invalid: fieldManager: Required value: is required for apply patch"
                    raise Refused(422, "Invalid", told)
                there = any(one["metadata"]["name"] == name for one in self.store.all(resource, namespace))
                if not there:
                    self._authorise(request, "create", resource, namespace, "")
                force = request.query.get("force", "").lower() == "true"
                applied = self.store.apply(resource, namespace, name, await _body(request), manager, force)
                return 200 if there else 201, applied
            case "application/merge-patch+json" | "application/strategic-merge-patch+json":
                return 200, self.store.merge(resource, namespace, name, await _body(request))
            case other:
                told = f"the body of the request was in an unknown format: {other}"
                raise Refused(415, "UnsupportedMediaType", told)

    # ------------------------------------------------------------------------------------------------ lists and watches

    def _list(self, request: web.Request, resource: Resource, namespace: str) -> Object:
        query = request.query
        version = _version_asked(query.get("resourceVersion", ""))
        if version > self.store.version:
            cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
            told = f"Timeout: Too large resource version: {version}, current: {self.store.version}"
            raise Refused(504, "Timeout", told, details={"causes": [cause], "retryAfterSeconds": 1})
        if query.get("continue"):
            at, rest = self._continued(query["continue"])
        else:
            matches = _matcher(request, resource)
            at, rest = self.store.version, [one for one in self.store.all(resource, namespace) if matches(one)]
        limit = int(query.get("limit") or 0)
        metadata: Object = {"resourceVersion": str(at)}
        if limit and len(rest) > limit:
            token = base64.urlsafe_b64encode(json.dumps({"rv": at, "page": next(self._numbers)}).encode()).decode()
            self._pages[token] = at, rest[limit:]
            metadata |= {"continue": token, "remainingItemCount": len(rest) - limit}
            rest = rest[:limit]
        items = [{key: value for key, value in one.items() if key not in ("kind", "apiVersion")} for one in rest]
        return {
            "kind": f"{resource.kind}List",
            "apiVersion": resource.api_version,
            "metadata": metadata,
            "items": items,
        }

    def _continued(self, token: str) -> tuple[int, list[Object]]:
        if token not in self._pages or self.pages_expire:
            told = "The provided continue parameter is too old to display a consistent list result."
            raise Refused(410, "Expired", told)
        return self._pages[token]

    async def _watch(self, request: web.Request, resource: Resource, namespace: str) -> web.StreamResponse:
        query = request.query
        asked = Asked(
            resource=resource,
            namespace=namespace,
            matches=_matcher(request, resource),
            version=_version_asked(query.get("resourceVersion", "")),
            bookmarks=query.get("allowWatchBookmarks", "").lower() in ("1", "true"),
            seconds=0.0 if self.streams_end else float(query.get("timeoutSeconds") or 3600),
        )
        if self.versions_expire:
            self.bump()
            self.compact()
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        transport = request.transport
        assert transport
        self._streams.add(transport)
        try:
            with suppress(ConnectionResetError):
                async for event in events(self.store, asked, self.bookmark_seconds):
                    await self._light.wait()
                    await response.write(json.dumps(event).encode() + b"\n")
                await response.write_eof()
        finally:
            self._streams.discard(transport)
        return response


def _matcher(request: web.Request, resource: Resource) -> Matches:
    return matcher(request.query.get("labelSelector", ""), request.query.get("fieldSelector", ""), resource.kind)


def _version_asked(text: str) -> int:
    if text and not text.isdigit():
        raise Refused(
            400, "BadRequest", f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return int(text or 0)


async def _body(request: web.Request) -> Object:
    try:
        sent = json.loads(await request.read())
    except ValueError as error:
        raise Refused(400, "BadRequest", f"the object provided is unrecognized: {error}") from None
    if not isinstance(sent, dict):
        raise Refused(400, "BadRequest", "the object provided is unrecognized")
    return sent
