"""Follows the selected objects of one API server for as long as it runs, whatever happens to the server.

``source`` runs one a selection, and so does whoever else needs objects. One loop of our own over list and watch;
``listwatch`` decides, this asks, waits and tells. Every request that fails is one line in the log, and no more than one
for as long as the trouble is the same.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from time import monotonic

from proxy.kube.listwatch import (
    Ended,
    Event,
    Listed,
    Lost,
    Opened,
    Pace,
    Refused,
    Told,
    View,
    next_ask,
    same_objects,
    step,
)
from proxy.kube.resources import ApiError, Lister, Selection, Unreachable

_PACE = Pace()
_log = logging.getLogger("muxel.kube")


@dataclass(slots=True)
class Watch:
    """One selection being followed: ``run`` it as a task. ``view`` is what is known now, always whole.

    ``changed`` is called, in the loop's own turn, at the first list and whenever the objects are others than before.
    """

    api: Lister
    selection: Selection
    changed: Callable[[], None]
    pace: Pace = _PACE
    view: View = field(default_factory=View)
    contact: float = field(default=0.0, init=False)  # monotonic seconds of the server's last good word, 0: none yet
    _rng: Random = field(default_factory=Random)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            ask = next_ask(self.view, self.pace, self._rng.random())
            await asyncio.sleep(ask.after)
            begun = monotonic()
            try:
                if ask.version:
                    await self._watch(ask.version)
                else:
                    self._take(Listed(*await self.api.list(self.selection)))
            except ApiError as error:
                self._take(Refused(error.code, str(error), error.retry_after))
            except Unreachable as error:
                self._take(Lost(str(error), monotonic() - begun if self.view.connected else 0.0))
            except Exception as error:  # a bug of ours must not leave a sidecar with old policies until it restarts
                _log.exception("watch failed; still watching")
                self._take(Lost(repr(error)))

    async def _watch(self, version: str) -> None:
        """One stream, to its end or to the event after which there is no going on with it."""
        seconds = self.pace.stream * (0.5 + self._rng.random() / 2)  # or all that started together come back together
        async with self.api.watch(self.selection, version, seconds) as events:
            begun = monotonic()
            self._take(Opened())
            async for event in events:
                self._take(Told(event, monotonic() - begun))
                if not self.view.connected:
                    return
        self._take(Ended(monotonic() - begun))

    def _take(self, event: Event) -> None:
        before, self.view = self.view, step(self.view, event, self.pace)
        if isinstance(event, Listed) or (self.view.connected and isinstance(event, Opened | Told | Ended)):
            self.contact = monotonic()
        if self.view.trouble and self.view.trouble != before.trouble:
            _log.warning("watch interrupted", extra={"fields": self._fields | {"trouble": self.view.trouble}})
        elif self.view.connected and not before.connected and isinstance(event, Opened):
            _log.info("watching", extra={"fields": self._fields})
        if not same_objects(before, self.view):
            self.changed()

    @property
    def _fields(self) -> dict[str, str]:
        selection = self.selection
        return {"namespace": selection.namespace, "name": selection.name, "labels": selection.labels}
