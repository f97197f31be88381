"""Which configurations lie at the paths an operator names. Used by the verbs that look at trees: check and test."""

import os
from collections.abc import Sequence
from pathlib import Path

from policies.load import GROUP, SUFFIXES, TESTS


def configurations(paths: Sequence[Path]) -> list[list[Path]]:
    """Lists of paths that are read together, ``paths`` themselves first.

    Manifests lie in trees: each directory below, hidden ones aside, in which a YAML file speaks of us is a
    configuration of its own. One that holds nothing of ours but ``*.test.yaml`` belongs to the configuration around it,
    and one that is itself among ``paths`` to that of ``paths``.
    """
    together = list(paths)
    named = {path.resolve() for path in paths}
    found = [together]
    for path in paths:
        around = {str(path): together}
        for place, names, files in os.walk(path):
            names[:] = sorted(name for name in names if not name.startswith("."))
            if Path(place) != path:
                around[place] = _owner(Path(place), files, around[str(Path(place).parent)], together, named)
                if around[place] not in found:
                    found.append(around[place])
    return found


def _owner(place: Path, files: Sequence[str], around: list[Path], together: list[Path], named: set[Path]) -> list[Path]:
    """The configuration that the files of a directory belong to."""
    if place.resolve() in named:
        return together
    ours = [name for name in files if name.endswith(SUFFIXES) and _speaks_of_us(place / name)]
    if not ours:
        return around
    if all(name.endswith(TESTS) for name in ours):
        around.append(place)
        return around
    return [place]


def _speaks_of_us(file: Path) -> bool:
    """True also of a file that cannot be read: reading it with its directory tells why."""
    try:
        return GROUP.encode() in file.read_bytes()
    except OSError:
        return True


def missing(paths: Sequence[Path]) -> str:
    """What of ``paths`` is not there, as a complaint; "" where all is."""
    return ", ".join(f"{path}: no such file or directory" for path in paths if not path.exists())
