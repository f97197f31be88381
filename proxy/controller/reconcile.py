"""Sources as they are watched -> the compiled ConfigMap, the status and Events, written where they differ.

``run`` calls ``judge`` whenever something changed, on every replica, and ``write`` where this one leads. Nothing is
written that is there already, so that neither a resync nor its own writes make it run in a circle.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from policies.compose import Compiled, Source, compose
from policies.load import ConfigError
from proxy.configuration import WIRE_FACTS
from proxy.controller import status as statuses
from proxy.controller.admission import BadReview, Known, source_of
from proxy.controller.events import EventLog, Happening, Told, count_up, event, happenings
from proxy.controller.settings import ControllerSettings
from proxy.controller.status import Status
from proxy.controller.store import EVENTS, OURS, Object, Store, Wanted, over, says
from proxy.kube.resources import CONFIG_MAPS, ApiError, Unreachable
from proxy.kube.watch import Watch

HASH, SOURCES = "muxel.dev/policy-hash", "muxel.dev/sources"  # annotations of the compiled ConfigMap
STATUS = "muxel.dev/status"  # a label, by which health checks know the status from other ConfigMaps

_log = logging.getLogger("muxel.controller")


class Deposed(Exception):
    """This replica has ceased to lead between two writes."""


@dataclass(slots=True)
class Reconciler:
    """What one replica knows. ``leads`` is asked before every write."""

    settings: ControllerSettings
    namespace: str
    watches: Sequence[Watch]
    store: Store
    leads: Callable[[], bool]
    tasks: frozenset[str]
    sources: tuple[Source, ...] = field(default=(), init=False)
    outcome: Compiled | ConfigError | None = field(default=None, init=False)
    last_good: Compiled | None = field(default=None, init=False)
    trouble: str = field(default="", init=False)  # why the last write of this replica failed
    events: EventLog = field(default_factory=EventLog, init=False)

    def known(self) -> Known | None:
        """The sources for admission; None until every namespace was listed."""
        if not all(watch.view.listed for watch in self.watches):
            return None
        namespaces = frozenset(watch.selection.namespace for watch in self.watches)
        return Known(self._watched(), namespaces, self._own)

    def compose(self, sources: Sequence[Source], candidate: Source | None = None) -> Compiled:
        """What the sources are together. Raises ConfigError."""
        return compose(sources, WIRE_FACTS, self.tasks, candidate=candidate)

    async def judge(self) -> None:
        """Composes the sources as they now are, unless they are what was composed last."""
        known = self.known()
        if known is None:
            return
        sources = tuple(known.sources)
        if self.outcome is not None and sources == self.sources:
            return
        try:
            outcome: Compiled | ConfigError = await asyncio.to_thread(self.compose, sources)
        except ConfigError as error:
            outcome = error
        self.sources, self.outcome = sources, outcome
        self._tell(outcome)

    async def write(self) -> None:
        """Brings the API up to what was judged. Raises ApiError and Unreachable where something could not be written,
        and Deposed; whatever could be was."""
        sources, outcome = self.sources, self.outcome
        if outcome is None:
            return
        failed: ApiError | Unreachable | None = None
        in_force = ""
        try:
            in_force = await self._compiled(outcome)
        except (ApiError, Unreachable) as error:
            if isinstance(error, ApiError) and error.code == 409:  # somebody else wrote: not worth a word, try again
                raise
            failed = error
        if failed is None or isinstance(failed, ApiError):
            await self._status(sources, outcome, in_force, failed)
        if failed:
            raise failed

    async def _compiled(self, outcome: Compiled | ConfigError) -> str:
        """The hash in force, once the compiled ConfigMap is what it should be."""
        name = self.settings.compiled
        found = await self.store.get(CONFIG_MAPS, self.namespace, name)
        wanted = outcome if isinstance(outcome, Compiled) else self.last_good if found is None else None
        if wanted is None:
            return _noted(found)
        notes = {HASH: wanted.hash, SOURCES: ",".join(wanted.sources)}
        if await self._put(found, Wanted(name, wanted.data, OURS, notes), "compiled"):
            _log.info("compiled", extra={"fields": {"policy_hash": wanted.hash, "sources": wanted.sources}})
        return wanted.hash

    async def _status(
        self, sources: Sequence[Source], outcome: Compiled | ConfigError, in_force: str, failed: ApiError | None
    ) -> None:
        name = self.settings.status
        found = await self.store.get(CONFIG_MAPS, self.namespace, name)
        previous = statuses.read(found.get("data") or {}) if found else None
        if failed:
            in_force = in_force or (previous.hash if previous else "")
        status = statuses.judge(sources, outcome, in_force, previous, time.time(), str(failed) if failed else "")
        self.store.metrics.programmed.set(status.programmed)
        if await self._put(found, Wanted(name, statuses.write(status), {**OURS, STATUS: "true"}, {}), "status"):
            await self._send(previous, status)

    async def _put(self, found: Object | None, wanted: Wanted, what: str) -> bool:
        """Writes what is not there yet, if this replica may; whether it had to."""
        if says(found, wanted):
            return False
        if not self.leads():
            raise Deposed
        await self.store.put(CONFIG_MAPS, over(found, self.namespace, wanted), what)
        return True

    async def _send(self, previous: Status | None, status: Status) -> None:
        """Tells what happened. An Event that cannot be written is not worth a second try."""
        for happening in happenings(previous, status):
            try:
                await self._event(happening)
            except (ApiError, Unreachable) as error:
                _log.warning("event not written", extra={"fields": {"trouble": str(error)}})

    async def _event(self, happening: Happening) -> None:
        now = time.time()
        if again := self.events.again(happening):
            try:
                await self.store.patch(EVENTS, again.namespace, again.name, count_up(again, now), "event")
                self.events.note(happening, again)
                return
            except ApiError as error:
                if error.code != 404:
                    raise
                self.events.forget(happening)
        made = event(happening, self.settings.identity, now)
        await self.store.put(EVENTS, made, "event")
        self.events.note(happening, Told(made["metadata"]["namespace"], made["metadata"]["name"], 1))

    def _tell(self, outcome: Compiled | ConfigError) -> None:
        """The outcome in metrics and log."""
        metrics, valid = self.store.metrics, isinstance(outcome, Compiled)
        metrics.compositions.labels("valid" if valid else "invalid").inc()
        metrics.accepted.set(valid)
        for watch in self.watches:
            namespace = watch.selection.namespace
            metrics.sources.labels(namespace).set(sum(source.namespace == namespace for source in self.sources))
        if isinstance(outcome, Compiled):
            self.last_good = outcome
            metrics.hash.clear()
            metrics.hash.labels(outcome.hash).set(1)
        else:
            problems = [str(problem) for problem in outcome.problems]
            _log.error("policies refused, the last good stay in force", extra={"fields": {"problems": problems}})

    @property
    def _own(self) -> frozenset[str]:
        return frozenset(f"{self.namespace}/{name}" for name in (self.settings.compiled, self.settings.status))

    def _watched(self) -> tuple[Source, ...]:
        found = []
        for watch in self.watches:
            for one in watch.view.objects.values():
                try:
                    source = source_of(one)
                except BadReview:  # the API server would not have stored it
                    continue
                if source.id not in self._own:
                    found.append(source)
        return tuple(sorted(found, key=lambda source: (source.namespace, source.name)))


def _noted(found: Object | None) -> str:
    notes = (found["metadata"].get("annotations") or {}) if found else {}
    return str(notes.get(HASH, ""))
