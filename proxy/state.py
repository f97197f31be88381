"""The configuration in force: one reference, swapped whole, and never replaced by a bad one.

``serve`` builds one ``State``, ``reloads`` calls ``reload`` at start and after each change; requests take ``current``
once and keep that snapshot to their end; ``admin`` and ``metrics`` read the rest. Knows no files, and no clock but what
it is handed.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from policies.load import Config, ConfigError, Problem


@dataclass(frozen=True, slots=True)
class Reload:
    """What came of one reload. ``hash`` is that of the configuration in force afterwards, empty where there is none."""

    ok: bool
    changed: bool
    hash: str
    problems: tuple[Problem, ...]
    at: float  # seconds since the epoch


@dataclass(slots=True)
class State:
    """``current`` is None only until the first load that succeeds; what is below it is for probes and metrics."""

    load: Callable[[], Config]
    current: Config | None = field(default=None, init=False)
    problems: tuple[Problem, ...] = field(default=(), init=False)  # of the last reload
    last_reload_successful: bool = field(default=False, init=False)
    last_success_timestamp: float = field(default=0.0, init=False)  # seconds since the epoch, 0: never
    reloads_total: int = field(default=0, init=False)
    reloads_failed_total: int = field(default=0, init=False)
    fallback: str = field(default="", init=False)  # lastGood or default, while what a start fell back on is in force

    in_force_since: float = field(default=0.0, init=False)  # seconds since the epoch

    def fall_back(self, config: Config, source: str, now: float) -> None:
        """Puts something in force where the first load was refused: ready, but not what is wanted."""
        self.current, self.fallback, self.in_force_since = config, source, now

    def reload(self, now: float) -> Reload:
        """Loads and swaps, or keeps the last good configuration and says why. Never raises for what an operator wrote.

        The reference is left alone where the content is the same, so that whatever was derived from it stays good.
        """
        self.reloads_total += 1
        try:
            config = self.load()
        except ConfigError as error:
            return self._keep(error.problems, now)
        except OSError as error:
            return self._keep((unreadable(error),), now)
        changed = self.current is None or config.hash != self.current.hash
        if changed:
            self.current, self.in_force_since = config, now
        self.problems = ()
        self.fallback = ""
        self.last_reload_successful = True
        self.last_success_timestamp = now
        return Reload(ok=True, changed=changed, hash=config.hash, problems=(), at=now)

    def _keep(self, problems: tuple[Problem, ...], now: float) -> Reload:
        self.problems = problems
        self.last_reload_successful = False
        self.reloads_failed_total += 1
        in_force = self.current.hash if self.current else ""
        return Reload(ok=False, changed=False, hash=in_force, problems=problems, at=now)


def unreadable(error: OSError) -> Problem:
    """A file that could not be read, told like any other mistake in it."""
    return Problem(str(error.filename or "configuration"), 1, 1, f"cannot be read: {error.strerror or error}")
