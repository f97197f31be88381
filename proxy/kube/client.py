"""Calls of the Kubernetes API: JSON in and out, over the transport of the official client, ``kubernetes.aio``.

``source`` connects for a sidecar that watches ConfigMaps. Of the official client this uses configuration, TLS, URLs and
the pool of connections, not its models (they cost tens of milliseconds each to build), its watch (it loses its place
with a 410) nor its retries. Knows where credentials are; decides nothing about when to ask.
"""

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException, list_kube_config_contexts, load_kube_config

from proxy.kube.resources import ApiError, Object, Selection, Unreachable
from proxy.settings import SettingsError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
JSON = "application/json"
MERGE_PATCH = "application/merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"  # JSON is YAML

_CONNECT_SECONDS = 10.0
_PAGE = 100  # ConfigMaps may have a MiB each
_LONGEST_EVENT = 32 * 1024 * 1024  # a MiB of what JSON escapes sixfold, and what the server adds


@dataclass(slots=True)
class Api:
    """One API server. ``namespace`` is where this process runs; ``close`` it at the end."""

    namespace: str
    read_seconds: float  # without a byte, on a stream or for an answer, and the server is taken for gone
    _configure: Callable[[], Configuration]
    _authority: Callable[[], bytes] = field(default=lambda: b"")
    _client: ApiClient | None = field(default=None, init=False)
    _trusted: bytes = field(default=b"", init=False)

    async def list(self, selection: Selection) -> tuple[list[dict[str, Any]], str]:
        """Every selected object, as of the most recent moment, and the version to watch from. Raises ApiError,
        Unreachable.

        The most recent and not "any", which would be cheaper: a server that lags must not take policies back.
        """
        query, items = {**selection.query, "limit": str(_PAGE)}, list[dict[str, Any]]()
        while True:
            try:
                page = await self.call("GET", selection.resource.path(selection.namespace), query)
            except ApiError as error:
                if error.code != 410 or "continue" not in query:
                    raise
                query, items = dict(selection.query), []  # the pages have expired: all at once
                continue
            items += page.get("items") or []
            metadata = page.get("metadata") or {}
            if not metadata.get("continue"):
                return items, metadata.get("resourceVersion", "")
            query["continue"] = metadata["continue"]

    @asynccontextmanager
    async def watch(self, selection: Selection, version: str, seconds: float) -> AsyncIterator[AsyncIterator[Object]]:
        """The events after ``version`` until the server ends the stream, which it is asked to do after ``seconds``.

        An event is the API's: ``type``, and ``object``, which for ERROR is a Status. Raises ApiError, Unreachable.
        """
        query = {
            **selection.query,
            "watch": "true",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(max(1, round(seconds))),
        }
        within = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=self.read_seconds)
        path = selection.resource.path(selection.namespace)
        async with self._answer("GET", path, query, None, JSON, within) as response:
            yield _events(response.content)

    async def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] = {},
        body: Object | None = None,
        content_type: str = JSON,
    ) -> dict[str, Any]:
        """One request and the object it answers. Raises ApiError, Unreachable."""
        within = aiohttp.ClientTimeout(total=self.read_seconds, sock_connect=_CONNECT_SECONDS)
        async with self._answer(method, path, query, body, content_type, within) as response:
            return _object(await response.read())

    async def close(self) -> None:
        if self._client:
            client, self._client = self._client, None
            await client.close()  # type: ignore[no-untyped-call]

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: Object | None,
        content_type: str,
        within: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response of a success; everything else as one of our two exceptions, also while it is being read."""
        try:
            client = await self._connected()
            request = await client.param_serialize(
                method,
                path,
                query_params=list(query.items()),
                header_params={"Accept": JSON, "Content-Type": content_type},
                body=body,
                auth_settings=["BearerToken"],
            )
            answer = await client.call_api(*request, _request_timeout=within)
            response: aiohttp.ClientResponse = answer.response
            async with response:
                if response.status >= 400:
                    raise _error(response, await response.read())
                yield response
        except TimeoutError as error:
            raise Unreachable(f"no word within its time: {error or within}") from error
        except (aiohttp.ClientError, OSError, ConfigException) as error:
            raise Unreachable(str(error) or type(error).__name__) from error

    async def _connected(self) -> ApiClient:
        """The client; another one where the cluster's authority has changed since."""
        trusted = self._authority()
        if self._client and trusted != self._trusted:
            await self.close()
        if not self._client:
            self._client, self._trusted = ApiClient(self._configure()), trusted
        return self._client


async def connect(environ: Mapping[str, str], service_account: Path, read_seconds: float) -> Api:
    """The API server of ``KUBECONFIG``, or where that is not set of the pod's own cluster. Raises SettingsError."""
    if file := environ.get("KUBECONFIG"):
        return await _of_kubeconfig(file, read_seconds)
    host, port = environ.get("KUBERNETES_SERVICE_HOST"), environ.get("KUBERNETES_SERVICE_PORT")
    if not host or not port:
        raise SettingsError("watch", "needs a cluster: neither KUBERNETES_SERVICE_HOST nor KUBECONFIG is set")
    url = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    token, authority = service_account / "token", service_account / "ca.crt"
    try:
        authority.read_bytes()
        namespace = (service_account / "namespace").read_text().strip()
    except OSError as error:
        told = f"cannot read {error.filename}: {error.strerror}; is a service account mounted?"
        raise SettingsError("watch", told) from None

    def read_token(configuration: Configuration) -> None:
        """Before each request: the kubelet replaces it about once an hour."""
        configuration.api_key["BearerToken"] = f"Bearer {token.read_text().strip()}"

    def configure() -> Configuration:
        configuration = Configuration(host=url, ssl_ca_cert=str(authority), api_key={"BearerToken": "to be read"})
        configuration.refresh_api_key_hook = read_token  # type: ignore[assignment]
        # Python 3.13 would refuse the authorities of older clusters, which lack key identifiers.
        configuration.disable_strict_ssl_verification = True
        configuration.client_session_kwargs = {"trust_env": False}  # in the cluster: never by way of a proxy
        return configuration

    return Api(namespace, read_seconds, configure, authority.read_bytes)


async def _of_kubeconfig(file: str, read_seconds: float) -> Api:
    configuration = Configuration()
    try:
        await load_kube_config(  # type: ignore[no-untyped-call]
            config_file=file, client_configuration=configuration, persist_config=False
        )
        _, current = list_kube_config_contexts(file)  # type: ignore[no-untyped-call]
    except (ConfigException, OSError) as error:
        raise SettingsError("watch", f"cannot use KUBECONFIG {file}: {error}") from None
    return Api(current["context"].get("namespace") or "default", read_seconds, lambda: configuration)


async def _events(content: aiohttp.StreamReader) -> AsyncIterator[Object]:
    """A JSON object a line; ``readline`` would refuse what is longer than twice its buffer."""
    parts: list[bytes] = []
    held = 0
    async for chunk in content.iter_any():
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            whole, parts, held = b"".join((*parts, line)), [], 0
            if whole.strip():
                yield _object(whole)
        parts.append(rest)
        held += len(rest)
        if held > _LONGEST_EVENT:
            raise Unreachable(f"an event of more than {_LONGEST_EVENT} bytes")


def _object(text: bytes) -> dict[str, Any]:
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Unreachable(f"an answer that is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise Unreachable("an answer that is not an object")
    return found


def _error(response: aiohttp.ClientResponse, text: bytes) -> ApiError:
    """A ``Status``, or whatever stands between us and the server has said."""
    try:
        status = json.loads(text)
    except ValueError:
        status = {}
    status = status if isinstance(status, dict) else {}
    after = response.headers.get("Retry-After", "")
    return ApiError(
        response.status,
        str(status.get("reason") or response.reason or ""),
        str(status.get("message") or text[:200].decode("utf-8", "replace")),
        float(after) if after.isascii() and after.isdigit() else 0.0,
    )
