"""Keys: found by reference, put on calls to their own provider, and nowhere else.

``exchange`` asks which providers have a key and signs each upstream call. Keys are read from the environment at start
and from files at use, so that a rotated Secret is picked up without a restart; they are never logged.
"""

import base64
import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from urllib.parse import urlsplit

from adapters.ir import Auth, UpstreamCall
from policies.catalog import Credential, Provider
from proxy.clouds import Clouds

Origin = tuple[str, str, int]


@lru_cache(1024)
def origin(url: str) -> Origin:
    """Scheme, host and port. Raises ValueError for what is not an http(s) URL."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("not an http(s) URL")
    return parts.scheme, parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)


def may_see_key(provider: Provider, url: str) -> bool:
    """Whether ``url`` is the provider's own: its configured origin, or https on a host trusted with the key."""
    try:
        scheme, host, port = target = origin(url)
    except ValueError:
        return False
    if target == origin(provider.base_url):
        return True
    return scheme == "https" and port == 443 and any(fnmatchcase(host, pattern) for pattern in provider.trusted_hosts)


class Keyring:
    """The keys of a process, by reference. A file is read again when its inode or time changes."""

    def __init__(self, environ: Mapping[str, str], directory: Path | None, clouds: Clouds | None = None) -> None:
        self.clouds = clouds or Clouds()
        self._environ = environ
        self._directory = directory
        self._files: dict[Path, tuple[tuple[int, int], str]] = {}
        self._looked: tuple[int, int] | None = None
        self._usable: frozenset[str] = frozenset()

    def key(self, credential: Credential) -> str | None:
        """The key; "" where none is needed; None where it is missing. The file wins, since it can be rotated."""
        if not credential.needed:
            return ""
        return self._from_file(credential.file) or self._environ.get(credential.env) or None

    def has(self, credential: Credential) -> bool:
        """Whether a call can be signed, or needs not be."""
        return self.key(credential) is not None or self.clouds.sign(credential) is not None

    def usable(self, providers: Mapping[str, Provider], now: float) -> frozenset[str]:
        """The names of the providers that have what they need; looked up anew every second."""
        key = (int(now), id(providers))
        if key != self._looked:
            self._looked = key
            usable = frozenset(name for name, provider in providers.items() if self.has(provider.credential))
            if usable != self._usable:
                self._usable = usable
        return self._usable

    def headers(self, provider: Provider, auth: Auth, call: UpstreamCall) -> dict[str, str]:
        """The call's headers with the credential, if the URL may see it."""
        headers = dict(call.headers)
        if not provider.credential.needed or not may_see_key(provider, call.url):
            return headers
        if key := self.key(provider.credential):
            auth = provider.auth or auth
            if auth.scheme == "Basic":
                key = base64.b64encode(key.encode()).decode()
            headers[auth.header] = f"{auth.scheme} {key}" if auth.scheme else key
        elif sign := self.clouds.sign(provider.credential):
            return sign(call, headers)
        return headers

    def _from_file(self, name: str) -> str:
        """The key in the file of this name; "" where there is none."""
        if self._directory is None or not name:
            return ""
        path = self._directory / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            return ""
        try:
            status = os.stat(path)
            stamp = (status.st_ino, status.st_mtime_ns)
            if (known := self._files.get(path)) and known[0] == stamp:
                return known[1]
            key = path.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            return ""
        self._files[path] = (stamp, key)
        return key
