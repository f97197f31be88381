"""Process settings: ports, paths and limits. Environment and flags; a change needs a restart.

``cli`` builds one ``Settings`` at start and hands it down; nothing else reads the environment, except for credentials
(``auth``) and the standard ``OTEL_*`` names (``tracing``). What may change while running is policy, not here.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

from proxy.kube.resources import config_maps

MIB = 1024 * 1024


class SettingsError(Exception):
    """A setting that cannot be used, by its name in ``Settings``."""

    def __init__(self, name: str, complaint: str) -> None:
        super().__init__(f"{name} {complaint}")
        self.name = name
        self.complaint = complaint


@dataclass(frozen=True, slots=True)
class Settings:
    """Names in the environment are these in upper case behind ``MUXEL_``. They avoid what Kubernetes sets for a Service
    called muxel (``MUXEL_PORT``, ``MUXEL_SERVICE_HOST``)."""

    listen: str = "127.0.0.1:8080"  # callers; loopback, since whoever reaches it can spend the keys
    admin_listen: str = "127.0.0.1:9090"  # probes and metrics
    policy: tuple[Path, ...] = ()  # files and directories, in the environment separated like PATH
    credentials: Path | None = None  # directory of key files
    sandbox: str = "auto"  # auto: when no provider has a key | always | never | the URL of one that runs
    max_body_bytes: int = 64 * MIB  # one request
    body_budget_bytes: int = 256 * MIB  # all requests being read or held at once
    media_budget_bytes: int = 256 * MIB  # pictures kept for callers to fetch
    drain_seconds: float = 30.0
    tls_listen: str = ""  # callers whose SDK speaks nothing but TLS; empty: none
    tls_cert: Path | None = None  # certificate chain and key in PEM, read again when they change
    tls_key: Path | None = None
    hosts: tuple[str, ...] = ()  # "muxel.svc=fal.run": what is asked of the first is meant for the second
    webhook_hosts: tuple[str, ...] = ()  # patterns of names in the cluster that callers' webhooks may have
    public_url: str = ""  # how callers see us, where the Host header does not say
    app: str = ""  # which app is served: the Pod's own name for it, by the downward API
    namespace: str = ""  # of that app. Where it is set no x-muxel-app or x-muxel-namespace may say otherwise
    seal_key_file: Path | None = None  # shared by replicas, so that each can answer any job id
    record: Path | None = None  # requests are written here, for replay and diff
    record_prompts: str = "hash"  # keep | hash: hashed with a key derived from the seal key
    record_share: float = 1.0  # of all requests
    record_max_bytes: int = 256 * MIB  # then the file becomes .1 in place of the last one, and a new one is begun
    log_level: str = "info"
    loop: str = "uvloop"  # uvloop | asyncio
    watch: tuple[str, ...] = ()  # ConfigMaps read through the API: NAMESPACE/NAME,NAME or NAMESPACE?LABELS; see --help
    watch_start_seconds: float = 10.0  # a start waits no longer for the API server
    watch_read_seconds: float = 75.0  # without a byte, and the API server is taken for gone; bookmarks come each 60 s
    watch_stream_seconds: float = 300.0  # the longest that the server is asked to let a stream last
    watch_retry_seconds: float = 30.0  # the longest pause between two tries
    service_account: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")  # token, ca.crt and namespace
    on_invalid_start: str = "fail"  # or start with the files of lastGood, or with default: what Muxel ships, alone
    state_dir: Path | None = None  # where the last good files are kept

    def __post_init__(self) -> None:
        self._check_addresses()
        if self.sandbox not in ("auto", "always", "never") and not self.sandbox.startswith("http://"):
            raise SettingsError("sandbox", f"must be auto, always, never or an http URL; got {self.sandbox!r}")
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise SettingsError("log_level", f"must be debug, info, warning or error; got {self.log_level!r}")
        if self.loop not in ("uvloop", "asyncio"):
            raise SettingsError("loop", f"must be uvloop or asyncio; got {self.loop!r}")
        if self.record_prompts not in ("keep", "hash"):
            raise SettingsError("record_prompts", f"must be keep or hash; got {self.record_prompts!r}")
        if not 0 <= self.record_share <= 1:
            raise SettingsError("record_share", f"must be from 0 to 1; got {self.record_share}")
        self._check_delivery()
        for name in ("max_body_bytes", "body_budget_bytes", "media_budget_bytes", "record_max_bytes"):
            if getattr(self, name) < 1:
                raise SettingsError(name, "must be positive")
        if self.body_budget_bytes < self.max_body_bytes:
            raise SettingsError("body_budget_bytes", f"must hold a body of max_body_bytes, {self.max_body_bytes}")
        if not 0 <= self.drain_seconds < float("inf"):
            raise SettingsError("drain_seconds", f"must be a number that is not negative; got {self.drain_seconds}")

    def _check_addresses(self) -> None:
        for name in ("listen", "admin_listen", "tls_listen"):
            if name != "tls_listen" or self.tls_listen:
                address(getattr(self, name), name)
        if self.tls_listen and not (self.tls_cert and self.tls_key):
            raise SettingsError("tls_listen", "needs tls_cert and tls_key")
        for pair in self.hosts:
            if not all(pair.partition("=")):
                raise SettingsError("hosts", f"must be NAME=NAME, separated by commas; got {pair!r}")

    def _check_delivery(self) -> None:
        for reference in self.watch:
            try:
                config_maps(reference, "default")
            except ValueError as error:
                raise SettingsError("watch", str(error)) from None
        if self.on_invalid_start not in ("fail", "lastGood", "default"):
            told = f"must be fail, lastGood or default; got {self.on_invalid_start!r}"
            raise SettingsError("on_invalid_start", told)
        if self.on_invalid_start == "lastGood" and not self.state_dir:
            raise SettingsError("on_invalid_start", "needs a state_dir for lastGood")
        for name in ("watch_start_seconds", "watch_read_seconds", "watch_stream_seconds", "watch_retry_seconds"):
            if not 0 < getattr(self, name) < float("inf"):
                raise SettingsError(name, f"must be a positive number; got {getattr(self, name)}")


ENVIRONMENT = frozenset(f"MUXEL_{field.name.upper()}" for field in fields(Settings))


def address(value: str, name: str) -> tuple[str, int]:
    """ "127.0.0.1:8080" or "[::1]:8080" -> (host, port). Raises SettingsError naming the setting."""
    host, colon, port = value.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise SettingsError(name, f"must be HOST:PORT; got {value!r}")
    return host.strip("[]") or "0.0.0.0", int(port)


def from_environment(environ: Mapping[str, str]) -> Settings:
    """The settings found under ``MUXEL_*``. Raises SettingsError naming the variable that cannot be used."""
    return read_environment(Settings, environ)


S = TypeVar("S", bound="DataclassInstance")


def read_environment(kind: type[S], environ: Mapping[str, str]) -> S:
    """Settings of any kind, likewise."""
    values: dict[str, object] = {}
    for name in (field.name for field in fields(kind)):
        variable = f"MUXEL_{name.upper()}"
        if text := environ.get(variable, ""):
            try:
                values[name] = _READ.get(name, str)(text)
            except ValueError:
                raise SettingsError(variable, f"is not a number: {text!r}") from None
    try:
        return kind(**values)
    except SettingsError as error:
        raise SettingsError(f"MUXEL_{error.name.upper()}", error.complaint) from None


def _paths(text: str) -> tuple[Path, ...]:
    return tuple(Path(part) for part in text.split(os.pathsep) if part)


def _references(text: str) -> tuple[str, ...]:
    return tuple(word for part in text.split(";") if (word := part.strip()))


def words(text: str) -> tuple[str, ...]:
    return tuple(word for part in text.split(",") if (word := part.strip()))


_READ: Mapping[str, Callable[[str], object]] = {
    "policy": _paths,
    "watch": _references,
    "watch_start_seconds": float,
    "watch_read_seconds": float,
    "watch_stream_seconds": float,
    "watch_retry_seconds": float,
    "service_account": Path,
    "state_dir": Path,
    "credentials": Path,
    "tls_cert": Path,
    "tls_key": Path,
    "hosts": words,
    "webhook_hosts": words,
    "seal_key_file": Path,
    "namespaces": words,
    "resync_seconds": float,
    "max_body_bytes": int,
    "body_budget_bytes": int,
    "media_budget_bytes": int,
    "drain_seconds": float,
    "record": Path,
    "record_share": float,
    "record_max_bytes": int,
}
