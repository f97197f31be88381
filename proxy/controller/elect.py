"""Holds the Lease for as long as this replica runs, or waits for it. ``run`` starts it; the rules are in ``lease``."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from time import monotonic, time

from proxy.controller import lease
from proxy.controller.store import LEASES, Store
from proxy.kube.resources import ApiError, Unreachable

_log = logging.getLogger("muxel.controller.lease")


@dataclass(slots=True)
class Election:
    """``run`` it as a task. ``changed`` is called when this replica has come to lead, or has ceased to."""

    store: Store
    namespace: str
    name: str
    identity: str
    changed: Callable[[], None]
    retry_seconds: float = lease.RETRY
    _seen: lease.Seen | None = field(default=None, init=False)
    _until: float = field(default=0.0, init=False)  # monotonic; leads before it
    _told: bool = field(default=False, init=False)
    _rng: Random = field(default_factory=Random)

    def leads(self) -> bool:
        """Whether this replica may write now."""
        return monotonic() < self._until

    async def run(self) -> None:
        """Until cancelled; then ``release`` it."""
        while True:
            try:
                async with asyncio.timeout(lease.RENEW_WITHIN / 2):  # or there would be no second try
                    await self._try()
            except ApiError as error:
                if error.code != 409:  # another replica was faster
                    _log.warning("lease not written", extra={"fields": {"trouble": str(error)}})
            except (Unreachable, TimeoutError) as error:
                _log.warning("lease not written", extra={"fields": {"trouble": str(error) or "no answer"}})
            except Exception:  # a Lease of a form that nobody foresaw; without a next try nobody would lead
                _log.exception("lease not understood")
            self._tell()
            await asyncio.sleep(self.retry_seconds * (1 + 0.2 * self._rng.random()))
            self._tell()

    async def release(self) -> None:
        """Lets another replica lead at once instead of after the Lease has run out."""
        leads, self._until = self.leads(), 0.0
        if leads:
            with suppress(ApiError, Unreachable, TimeoutError):
                await self._release()
        self._tell()

    async def _release(self) -> None:
        async with asyncio.timeout(lease.RENEW_WITHIN / 2):
            found = await self.store.get(LEASES, self.namespace, self.name)
            if found and (found.get("spec") or {}).get("holderIdentity") == self.identity:
                await self.store.put(LEASES, lease.released(found, time()), "lease")

    async def _try(self) -> None:
        begun = monotonic()  # what others count from cannot be later than the write
        found = await self.store.get(LEASES, self.namespace, self.name)
        if found is None:
            found = lease.new(self.name, self.namespace)
        else:
            self._seen = lease.see(found, self._seen, begun)
            if not lease.free(self._seen, self.identity, begun):
                self._until = 0.0
                return
        written = await self.store.put(LEASES, lease.held(found, self.identity, time()), "lease")
        self._seen = lease.see(written, None, begun)
        self._until = begun + lease.RENEW_WITHIN

    def _tell(self) -> None:
        if (leads := self.leads()) != self._told:
            self._told = leads
            self.store.metrics.leader.set(leads)
            _log.info("leading" if leads else "not leading", extra={"fields": {"identity": self.identity}})
            self.changed()
