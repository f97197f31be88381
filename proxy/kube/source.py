"""ConfigMaps watched through the API as files: names and bytes, as a mounted directory has them.

``serve`` opens one where ``MUXEL_WATCH`` is set; ``configuration`` reads it beside the mounted files, ``metrics`` asks
how it is. A key ``*.yaml`` or ``*.yml`` of ``data`` or ``binaryData`` is a file ``configmap/NAMESPACE/NAME/KEY``; other
keys are other programs', and are passed over as other files of a directory are.

What is deleted: a ConfigMap that was named must be there. While it is not, that is a problem like a missing file: the
last good configuration stays in force and says so, for whoever deletes a policy in an incident must not be surprised by
a default. Of those that a label selects, each may come and go; that none is left is a problem again.
"""

import asyncio
import base64
import binascii
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic

from policies.load import SUFFIXES, Problem
from proxy.configuration import Reading
from proxy.kube.client import Api, connect
from proxy.kube.listwatch import Pace
from proxy.kube.resources import Contact, Object, Selection, config_maps
from proxy.kube.watch import Watch
from proxy.settings import Settings
from proxy.tasks import spawn

_log = logging.getLogger("muxel.kube")
_QUIET_SECONDS = 0.1  # without a change, and what was applied together has arrived
_LONGEST_BURST_SECONDS = 0.5


@dataclass(slots=True)
class ConfigMaps:
    """Every ConfigMap that was asked for. ``opened`` makes one whose watches run."""

    api: Api
    watches: tuple[Watch, ...] = ()
    news: asyncio.Event = field(default_factory=asyncio.Event)
    _begun: float = field(default_factory=monotonic)
    _passed_over: frozenset[str] = frozenset()

    def read(self) -> Reading:
        """The files as now known, by namespace, name and key, and what there should be and is not."""
        found = {f"configmap/{name}": one for watch in self.watches for name, one in watch.view.objects.items()}
        files, passed_over = {}, set()
        for name in sorted(found):
            for key, content in sorted(_keys(found[name])):
                if key.endswith(SUFFIXES):
                    files[f"{name}/{key}"] = content
                else:
                    passed_over.add(f"{name}/{key}")
        if passed_over - self._passed_over:
            fields = {"keys": sorted(passed_over)}
            _log.warning("keys that end in neither .yaml nor .yml are not read", extra={"fields": fields})
        self._passed_over = frozenset(passed_over)
        return files, [problem for watch in self.watches if (problem := _problem(watch))]

    async def listed(self, seconds: float) -> None:
        """Until each watch has listed once, ``seconds`` at most: what is missing then is for ``read`` to tell."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not all(watch.view.listed for watch in self.watches):
                    await self.news.wait()
                    self.news.clear()

    async def follow(self, reload: Callable[[], Awaitable[None]]) -> None:
        """Awaits ``reload()`` after each change, once for ConfigMaps that change together. Until cancelled."""
        while True:
            await self.news.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(_LONGEST_BURST_SECONDS):
                    await self._quiet()
            self.news.clear()
            try:
                await reload()
            except Exception:
                _log.exception("reload failed; still watching")

    async def _quiet(self) -> None:
        while self.news.is_set():
            self.news.clear()
            await asyncio.sleep(_QUIET_SECONDS)

    def contacts(self) -> Iterator[Contact]:
        now = monotonic()
        for watch in self.watches:
            yield Contact(_name(watch.selection), watch.view.connected, now - (watch.contact or self._begun))


@asynccontextmanager
async def opened(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[ConfigMaps]:
    """The ConfigMaps that ``settings.watch`` names, as they are at the start or as far as they could be read in time.

    Raises SettingsError where there is no cluster to ask.
    """
    api = await connect(environ, settings.service_account, settings.watch_read_seconds)
    source = ConfigMaps(api)
    pace = Pace(stream=settings.watch_stream_seconds, longest=settings.watch_retry_seconds)
    wanted = [one for reference in settings.watch for one in config_maps(reference, api.namespace)]
    source.watches = tuple(Watch(api, one, source.news.set, pace) for one in dict.fromkeys(wanted))
    running = [spawn(watch.run(), name=f"watch {_name(watch.selection)}") for watch in source.watches]
    try:
        await source.listed(settings.watch_start_seconds)
        yield source
    finally:
        for task in running:
            task.cancel()
        await asyncio.wait(running)
        await api.close()


def _keys(one: Object) -> Iterator[tuple[str, bytes]]:
    """Every key and its bytes, as a mount would have them."""
    for key, text in (one.get("data") or {}).items():
        yield key, text.encode("utf-8", "surrogatepass")
    for key, text in (one.get("binaryData") or {}).items():
        with suppress(binascii.Error):  # the server has checked it
            yield key, base64.b64decode(text)


def _problem(watch: Watch) -> Problem | None:
    view, name = watch.view, _name(watch.selection)
    if not view.listed:
        return Problem(name, 1, 1, f"cannot be read: {view.trouble or 'no answer yet from the API server'}")
    if view.objects:
        return None
    return Problem(name, 1, 1, "no such ConfigMap" if watch.selection.name else "no ConfigMap has these labels")


def _name(selection: Selection) -> str:
    return f"configmap/{selection.namespace}" + (f"/{selection.name}" if selection.name else f"?{selection.labels}")
