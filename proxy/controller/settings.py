"""Settings of the controller, read as those of the proxy are: environment and flags, and a change needs a restart."""

import re
from dataclasses import dataclass, fields
from pathlib import Path

from proxy.settings import SettingsError, address

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,230}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """Names in the environment are these in upper case behind ``MUXEL_``."""

    name: str = "muxel"  # writes NAME-compiled and NAME-status, and holds the Lease NAME-controller
    namespace: str = ""  # where it writes; empty: where it runs
    namespaces: tuple[str, ...] = ()  # whose sources it reads; empty: its own
    identity: str = ""  # of this replica, such as its pod's name; empty: the host's name
    admin_listen: str = "127.0.0.1:9090"  # probes and metrics
    webhook_listen: str = ""  # admission, behind TLS; empty: none
    tls_cert: Path | None = None  # certificate chain and key in PEM, read again when they change
    tls_key: Path | None = None
    webhook_configuration: str = ""  # without a certificate: the configuration to be told of one that is made and kept
    webhook_host: str = ""  # and the name the API server calls by, SERVICE.NAMESPACE.svc
    resync_seconds: float = 60.0  # between looks at what was written, without a change of the sources
    log_level: str = "info"
    loop: str = "uvloop"  # uvloop | asyncio

    def __post_init__(self) -> None:
        address(self.admin_listen, "admin_listen")
        if self.webhook_listen:
            self._check_certificate()
        if not _NAME.fullmatch(self.name):
            raise SettingsError("name", f"must be the name of a Kubernetes object; got {self.name!r}")
        for name in (*self.namespaces, *filter(None, (self.namespace,))):
            if not _NAMESPACE.fullmatch(name):
                raise SettingsError("namespaces", f"must be names of namespaces, separated by commas; got {name!r}")
        if not 1 <= self.resync_seconds < float("inf"):
            raise SettingsError("resync_seconds", f"must be a number of at least 1; got {self.resync_seconds}")
        if self.log_level not in ("debug", "info", "warning", "error"):
            raise SettingsError("log_level", f"must be debug, info, warning or error; got {self.log_level!r}")
        if self.loop not in ("uvloop", "asyncio"):
            raise SettingsError("loop", f"must be uvloop or asyncio; got {self.loop!r}")

    def _check_certificate(self) -> None:
        address(self.webhook_listen, "webhook_listen")
        given, kept = (self.tls_cert, self.tls_key), (self.webhook_configuration, self.webhook_host)
        if any(given) == any(kept) or not (all(given) or all(kept)):
            told = (
                "needs tls_cert and tls_key, or webhook_configuration and webhook_host: the API server speaks TLS alone"
            )
            raise SettingsError("webhook_listen", told)

    @property
    def compiled(self) -> str:
        return f"{self.name}-compiled"

    @property
    def status(self) -> str:
        return f"{self.name}-status"

    @property
    def secret(self) -> str:
        """Of the certificate that it keeps."""
        return f"{self.name}-webhook"

    @property
    def lease(self) -> str:
        return f"{self.name}-controller"


ENVIRONMENT = frozenset(f"MUXEL_{field.name.upper()}" for field in fields(ControllerSettings))
