"""Keeps the webhook's own certificate: the leader renews it and tells the API server, every replica shows it.

``run`` starts it where no certificate is given. The Secret is the only place the keys are in; a replica holds the leaf
in its TLS context, by way of memory and never of a disk.
"""

import asyncio
import base64
import logging
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from time import time

from proxy.controller.certificates import Bundle, at, due, read, renewed, write
from proxy.controller.store import OURS, Object, Store
from proxy.kube.resources import ApiError, Resource, Unreachable

SECRETS = Resource("", "v1", "secrets")
CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"

_log = logging.getLogger("muxel.controller.certificate")


@dataclass(slots=True)
class Keeper:
    """``run`` it as a task. ``context`` is the webhook port's, which cannot shake hands before ``shown``."""

    store: Store
    leads: Callable[[], bool]
    namespace: str
    secret: str
    configuration: str  # name of the ValidatingWebhookConfiguration
    host: str
    seconds: float = 60.0  # between looks
    context: ssl.SSLContext = field(default_factory=lambda: ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
    shown: Bundle | None = field(default=None, init=False)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.once()
            except (ApiError, Unreachable) as error:
                _log.warning("certificate not kept", extra={"fields": {"trouble": str(error)}})
            except Exception:
                _log.exception("certificate not kept")
            await asyncio.sleep(self.seconds if self.shown else min(1.0, self.seconds))

    async def once(self) -> None:
        """Renews, tells and shows what is due. Raises ApiError, Unreachable."""
        found = await self.store.get(SECRETS, self.namespace, self.secret)
        bundle = read(found.get("data") or {}) if found else None
        if self.leads() and due(bundle, self.host, at(time())):
            bundle = renewed(bundle, self.host, at(time()))
            await self.store.put(SECRETS, self._secret(found, bundle), "certificate")
            _log.info("certificate renewed", extra={"fields": {"host": self.host}})
        if bundle is None:
            return
        if self.leads():
            await self._trust(bundle)
        if bundle != self.shown:
            _load(self.context, bundle)
            self.shown = bundle

    def _secret(self, found: Object | None, bundle: Bundle) -> Object:
        """The Secret over the one that was found."""
        old: Object = found["metadata"] if found else {"namespace": self.namespace, "name": self.secret}
        metadata = {**old, "labels": {**(old.get("labels") or {}), **OURS}}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": (found or {}).get("type") or "kubernetes.io/tls",
            "metadata": metadata,
            "data": write(bundle),
        }

    async def _trust(self, bundle: Bundle) -> None:
        """Has the API server trust the authority, before a leaf of it is shown."""
        path = f"{CONFIGURATIONS}/{self.configuration}"
        found = await self.store.call("GET", path)
        wanted = base64.b64encode(bundle.authorities).decode()
        if all(hook["clientConfig"].get("caBundle") == wanted for hook in found.get("webhooks") or ()):
            return
        for hook in found["webhooks"]:
            hook["clientConfig"]["caBundle"] = wanted
        await self.store.call("PUT", path, found)
        _log.info("authority told", extra={"fields": {"configuration": self.configuration}})


def _load(context: ssl.SSLContext, bundle: Bundle) -> None:
    """``load_cert_chain`` takes files alone: this one is in memory, for the root file system is read-only."""
    descriptor = os.memfd_create("muxel-webhook", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, bundle.leaf + bundle.leaf_key)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
