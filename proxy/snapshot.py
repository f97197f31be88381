"""The files of mounted configuration, read as one piece.

``configuration`` reads policies through ``snapshot``; ``watch`` asks for the ``fingerprint``. Knows how the kubelet
replaces files, not what is in them. Apart from ``watch``, so that verbs without a server import no event loop.

How a mounted ConfigMap or Secret changes (kubelet's AtomicWriter, seen on 1.36): the files are written to a new
directory ``..2026_...``, then a symlink ``..data_tmp`` to it is renamed onto ``..data``; what users see are symlinks to
``..data/NAME``. So two files read one after the other through ``..data`` may be of two versions.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from policies.load import SUFFIXES, TESTS

_TRIES = 10  # looks at a directory that keeps changing under us


class StillChanging(OSError):
    """Files were replaced faster than they could be read."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One file at one moment: the path people know, where its bytes are, and what changes when they do."""

    path: Path
    real: Path
    inode: int
    mtime_ns: int
    size: int


def snapshot(paths: Sequence[Path], *, tests: bool = False) -> Mapping[str, bytes]:
    """The bytes of every policy file at ``paths``, by the path people know, all of one moment.

    Of a directory these are its own ``*.yaml`` and ``*.yml``, without hidden ones, and without ``*.test.yaml`` unless
    ``tests`` are wanted: a mistake in a test is no reason to refuse a policy. Raises FileNotFoundError for a path
    that is missing, StillChanging, and any other OSError for files that cannot be read.
    """
    for _ in range(_TRIES):
        before = fingerprint(paths)
        for path in paths:
            path.stat()  # what is missing left no trace
        with suppress(FileNotFoundError):  # an old version is removed right after the swap
            files = {
                str(seen.path): seen.real.read_bytes()
                for seen in before
                if _wanted(seen.path, tests) or seen.path in paths
            }
            if fingerprint(paths) == before:
                return files
    raise StillChanging(f"still changing after {_TRIES} tries: {', '.join(map(str, paths))}")


def _wanted(path: Path, tests: bool) -> bool:
    return path.suffix in SUFFIXES and (tests or not path.name.endswith(TESTS))


def fingerprint(paths: Sequence[Path]) -> tuple[Seen, ...]:
    """What is at ``paths`` now, cheap enough to ask every few seconds. Missing files and directories leave no trace.

    Raises StillChanging, and any other OSError for what is there and cannot be looked at.
    """
    return tuple(seen for path in paths for seen in _settled(path))


def _settled(path: Path) -> tuple[Seen, ...]:
    """The files of one path, all through one resolved target, looked at again when that moved meanwhile."""
    for _ in range(_TRIES):
        with suppress(FileNotFoundError, NotADirectoryError):  # an old version being removed
            root = _root(path)
            files = _look(path, root)
            if _root(path) == root:
                return files
        if not path.exists():
            return ()
    raise StillChanging(f"still changing after {_TRIES} tries: {path}")


def _root(path: Path) -> Path:
    data = path / "..data"
    return _real(data if data.is_symlink() else path)


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path, strict=True))  # Path.resolve raises RuntimeError for a loop of links


def _look(path: Path, root: Path) -> tuple[Seen, ...]:
    if not root.is_dir():
        return (_see(path, root),)
    names = sorted(entry.name for entry in root.iterdir() if not entry.name.startswith(".") and entry.is_file())
    return tuple(_see(path / name, _real(root / name)) for name in names)


def _see(path: Path, real: Path) -> Seen:
    stat = real.stat()
    return Seen(path, real, stat.st_ino, stat.st_mtime_ns, stat.st_size)
