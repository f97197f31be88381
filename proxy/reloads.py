"""Loads of the configuration, from the first to the last: one at a time, told everywhere, the last good one kept.

``serve`` asks for the ``first`` before it builds anything, and runs ``Reloads`` from there on. Knows what follows from
a load, in metrics, breakers, log and state directory; nothing of where files come from.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from policies import screen
from policies.load import Config, ConfigError, load_documents
from proxy.configuration import WIRE_FACTS, Loader
from proxy.lastgood import FILE, LastGood, read, save
from proxy.services import Services
from proxy.settings import Settings
from proxy.state import Reload

_log = logging.getLogger("muxel.serve")


@dataclass(frozen=True, slots=True)
class First:
    """What a process starts with. ``fallback`` is lastGood or default where that is not what was asked for."""

    config: Config
    fallback: str = ""


def first(load: Loader, settings: Settings) -> First:
    """The configuration to start with, by ``on_invalid_start`` where what there is cannot be used.

    Raises ConfigError or OSError where it is to fail, and where there is no last good one to fall back on.
    """
    try:
        return First(load())
    except (ConfigError, OSError) as error:
        match settings.on_invalid_start:
            case "lastGood":
                return _last_good(settings, error)
            case "default":
                return First(load_documents({}, WIRE_FACTS), "default")
        raise


def _last_good(settings: Settings, error: Exception) -> First:
    """The files of the last good load; what a later version of us does not accept any more is no help either."""
    assert settings.state_dir is not None
    if (kept := read(settings.state_dir)) is None:
        _log.error("no last good configuration is kept", extra={"fields": {"state_dir": str(settings.state_dir)}})
        raise error
    try:
        return First(load_documents(kept.files, WIRE_FACTS), "lastGood")
    except ConfigError as refused:
        problems = [str(problem) for problem in refused.problems]
        _log.error("the last good configuration is refused, too", extra={"fields": {"problems": problems}})
        raise error from None


@dataclass(slots=True)
class Reloads:
    """``adapt`` is what ``State`` does to each configuration after its load: the sandbox."""

    services: Services
    load: Loader
    adapt: Callable[[Config], Config]
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)
    _kept: str = field(default="", init=False)  # the hash of what is in the state directory
    _refused: bool = field(default=False, init=False)  # the last one was

    async def begin(self, first: First) -> None:
        """The first reload, of what ``first`` has loaded already, or in its place what it fell back on."""
        state = self.services.state
        reload = state.reload(self.services.wall())
        if state.current is None:
            if not first.fallback:
                raise ConfigError(state.problems)
            first.config.lexicon()  # compiled here, and not by the first request
            state.fall_back(self.adapt(first.config), first.fallback, self.services.wall())
        self._tell(reload)
        if self.services.settings.state_dir and (kept := read(self.services.settings.state_dir)):
            self._kept = kept.hash
        await self._keep(reload)

    async def reload(self) -> None:
        """Loads anew, beside the event loop: parsing takes as long as many requests."""
        async with self._one:
            reload = await asyncio.to_thread(self.services.state.reload, self.services.wall())
            self._tell(reload)
            await self._keep(reload)

    def _tell(self, reload: Reload) -> None:
        """What follows from a reload; a bad one changes nothing but what is told."""
        state, metrics = self.services.state, self.services.metrics
        current = state.current
        assert current is not None
        metrics.reloads.inc()
        metrics.config_ok.set(int(reload.ok))
        metrics.config_time.set(state.last_success_timestamp)
        metrics.config_fallback.clear()
        if state.fallback:
            metrics.config_fallback.labels(state.fallback).set(1)
        if not reload.ok:
            metrics.reloads_failed.inc()
            problems = [str(problem) for problem in reload.problems]
            fields = {"in_force": current.hash, "fallback": state.fallback, "problems": problems}
            _log.error("configuration refused", extra={"fields": fields})
        if reload.changed or state.fallback:
            metrics.config_hash.clear()
            metrics.config_hash.labels(current.hash).set(1)
            self.services.breakers.configure(current.policies["default"].resilience.breaker)
            self.services.rollouts.configure(current.policies)
        if reload.changed:
            screen.forget()
            fields = {"policy_hash": current.hash, "sources": current.sources}
            _log.info("configuration loaded", extra={"fields": fields})
        elif reload.ok and self._refused:
            _log.info("configuration mended", extra={"fields": {"policy_hash": current.hash}})
        self._refused = not reload.ok

    async def _keep(self, reload: Reload) -> None:
        """Saves the files of a good load that is another than the one kept. A disk that is full stops nothing."""
        directory = self.services.settings.state_dir
        if directory is None or not reload.ok or self.load.good is None or reload.hash == self._kept:
            return
        files, _ = self.load.good
        try:
            await asyncio.to_thread(save, directory, LastGood(files, reload.hash, reload.at))
            self._kept = reload.hash
        except OSError as error:
            self._complain(directory, error)

    @staticmethod
    def _complain(directory: Path, error: OSError) -> None:
        fields = {"file": str(directory / FILE), "problem": error.strerror or str(error)}
        _log.error("the last good configuration cannot be kept", extra={"fields": fields})
