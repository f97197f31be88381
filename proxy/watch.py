"""Notices that mounted configuration changed.

``serve`` runs ``watch`` over the policy paths and the credentials directory. Knows when to look again, and how the
kubelet mounts what never changes; ``snapshot`` knows how to look. Parses nothing and decides nothing.

Every event of a kubelet swap is on the directory: a watch on a file follows its symlink and dies with the first update.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path

from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from proxy.snapshot import Seen, fingerprint

_log = logging.getLogger("muxel.watch")

_QUIET_MS = 200  # this long without an event and a burst of them is over
_LONGEST_BURST_MS = 1000

_MOUNTINFO = Path("/proc/self/mountinfo")
_PINNED = re.compile(r"/\.\.\d{4}_")  # the kubelet's own name for one version of a volume


async def watch(
    paths: Sequence[Path],
    reload: Callable[[], Awaitable[None] | None],
    *,
    poll_seconds: float = 5.0,
    stop: asyncio.Event,
) -> None:
    """Calls ``reload`` once at the start and again whenever files at ``paths`` have changed, until ``stop`` is set.

    The first call is there so that nothing written between the caller's own load and the first look is lost. A path may
    be a file or a directory, and may be missing, deleted or replaced at any time. Events only shorten the wait: what
    decides is the fingerprint, taken at the latest every ``poll_seconds``, so one kubelet swap is one reload whatever
    the events were. A ``reload`` that raises is logged and the watch goes on. A cancelled watch sets ``stop``.
    """
    _warn_of_subpaths(paths)
    seen: tuple[Seen, ...] | str | None = None
    while not stop.is_set():
        # Armed anew for each wait and before the look: nothing falls in between, and a directory that was replaced, or
        # that has only now appeared, needs no case of its own.
        with _arm(paths) as notify:
            now = await asyncio.to_thread(_fingerprint_or_error, paths)
            if now != seen:
                seen = now
                await _call(reload)
            await _wait(notify, poll_seconds, stop)


def subpath_mounts(paths: Sequence[Path], mountinfo: str) -> tuple[Path, ...]:
    """Of ``paths`` and the files in them, those that will never change, because one file or one version is mounted.

    ``subPath`` does that. ``mountinfo`` is the text of /proc/self/mountinfo: field 4 is what of its filesystem
    is mounted, field 5 where (proc_pid_mountinfo(5)).
    """
    watched = [path.absolute() for path in paths]
    found = []
    for line in mountinfo.splitlines():
        root, point = (_unescape(field) for field in line.split(" ", 5)[3:5])
        place = Path(point)
        concerns = any(place.parent == path or path.is_relative_to(place) for path in watched)
        if concerns and (place.is_file() or _PINNED.search(root)):
            found.append(place)
    return tuple(found)


def _warn_of_subpaths(paths: Sequence[Path]) -> None:
    with suppress(OSError):  # not Linux
        for path in subpath_mounts(paths, _MOUNTINFO.read_text()):
            _log.warning("%s is a subPath mount: changes to it are never seen; mount its directory instead", path)


def _unescape(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), field)


def _fingerprint_or_error(paths: Sequence[Path]) -> tuple[Seen, ...] | str:
    """The text of an error is a state of the files as well: it is the reload that meets and tells it."""
    try:
        return fingerprint(paths)
    except OSError as error:
        return str(error)


def _arm(paths: Sequence[Path]) -> AbstractContextManager[RustNotify | None]:
    """A directory watch on each path, or on the nearest directory above that exists. None: only the poll is left."""
    directories = {str(next(place for place in (path, *path.absolute().parents) if place.is_dir())) for path in paths}
    try:
        return RustNotify(sorted(directories), False, False, 0, False, False)
    except (OSError, WatchfilesRustInternalError) as error:
        # Nodes run out of inotify instances: 128 for each user id by default, and all sidecars share ours.
        _log.debug("no file events, polling only: %s", error)
        return nullcontext()


async def _wait(notify: RustNotify | None, seconds: float, stop: asyncio.Event) -> None:
    """Until a burst of events is over, ``seconds`` have passed, or ``stop`` is set."""
    if notify is None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await stop.wait()
        return
    try:
        await asyncio.to_thread(notify.watch, _LONGEST_BURST_MS, _QUIET_MS, int(seconds * 1000), stop)
    except asyncio.CancelledError:
        stop.set()  # the thread listens to nothing else and would hold up the exit
        raise


async def _call(reload: Callable[[], Awaitable[None] | None]) -> None:
    try:
        if (pending := reload()) is not None:
            await pending
    except Exception:
        _log.exception("reload failed; still watching")
